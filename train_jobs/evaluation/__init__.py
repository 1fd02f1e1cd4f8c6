"""Evaluation of a checkpoint: the sets, the scored rows, the report, the job."""
