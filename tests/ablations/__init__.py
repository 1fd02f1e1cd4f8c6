"""What each part of the recipes of reinforcement learning is worth: `python -m tests.ablations`."""
