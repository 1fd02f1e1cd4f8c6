"""The papers' rules of reinforcement learning, pure: rewards, dynamic clipping, concatenation."""
