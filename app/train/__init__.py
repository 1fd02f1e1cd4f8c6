"""The Train tab: a new run, the runs there are, and the endpoints for the same."""
