"""Speed as ratios against peers, in alternating pairs: `python -m tests.benchmark`."""
