"""Hard examples into the review queue, wherever they were found.

values            what a run is told and tells
runs              begin, resume, mining_runs, findings: n sampled generations of each sample
from_training     enqueue_mined: what a policy got wrong while it was trained
from_evaluation   enqueue_errors: what a checkpoint got wrong in an evaluation; bound to its split
"""
