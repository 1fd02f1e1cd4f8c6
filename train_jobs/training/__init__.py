"""What supervised training and reinforcement share: rows, the base, the loop, the checkpoint that comes of it."""
