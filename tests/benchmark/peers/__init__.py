"""What the benchmark compares with: the plainest code that does the same."""
