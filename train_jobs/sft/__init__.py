"""Supervised fine-tuning: the rows with their reasoning, replay, the trainer, the job."""
