"""Mining hard samples from stored ones: the rule, the run, what it found."""
