"""The runs there are: the list, the open one with its curves, its rollouts and its hard samples."""
