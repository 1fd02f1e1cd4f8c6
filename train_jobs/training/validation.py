"""How good the guard is on the validation split while it trains: F1 of the first look, read as it is served."""

from __future__ import annotations

from collections.abc import Sequence

from core.evaluation.metrics import confusion
from core.types import HarmProbability, Label
from train_jobs.training.dataset import Example
from train_jobs.training.rows import STATED

LEAST_SIDES = 20
"""Labelled sides of a validation split below which its F1 is noise, and the last checkpoint is kept."""


def first_look_f1(examples: Sequence[Example], looks: Sequence[HarmProbability]) -> float:
    """F1 over all labelled sides, harmful from 0.5 on, uncalibrated; the accuracy where nothing is harmful.

    Raises:
        ValueError: the two are not of one length.
    """
    truth: list[bool] = []
    said: list[bool | None] = []
    for example, look in zip(examples, looks, strict=True):
        for label, p in (
            (example.assessment.request, look.request),
            (example.assessment.response, look.response),
        ):
            if label in STATED:
                truth.append(label is Label.HARMFUL)
                said.append(None if p is None else p >= 0.5)
    counted = confusion(truth, said)
    value = counted.f1 if counted.f1 is not None else counted.accuracy
    return 0.0 if value is None else value


def sides(examples: Sequence[Example], looks: Sequence[HarmProbability]) -> list[tuple[float, bool]]:
    """Probability and truth of every labelled side that was read."""
    return [
        (p, label is Label.HARMFUL)
        for example, look in zip(examples, looks, strict=True)
        for label, p in ((example.assessment.request, look.request), (example.assessment.response, look.response))
        if label in STATED and p is not None
    ]
