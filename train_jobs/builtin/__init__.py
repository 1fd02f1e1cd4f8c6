"""The pieces behind `python -m train_jobs.builtin_guard`: corpora, renderings, targets, network, training, scoring."""
