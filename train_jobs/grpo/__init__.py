"""Reinforcement learning: the hard samples, the rollouts with their rewards, the trainer, the job."""
