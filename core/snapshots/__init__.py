"""Frozen labelled samples on disk, where the annotation store and the training jobs meet."""
