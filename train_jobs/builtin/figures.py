"""Pure arithmetic on scores: calibration, thresholds, error rates, and what the reasoning quotes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from core.evaluation.metrics import calibration_error as calibration_error
from core.evaluation.metrics import f1 as f1
from core.evaluation.metrics import reliability as reliability
from core.evaluation.metrics import roc_auc as roc_auc
from core.judging.deciding import calibrate
from core.types import Calibration, Thresholds

BAND = 0.3
"""Least width of the review band."""
LEAST_SLOPE = 0.05
"""Least factor on the log-odds in calibration: scores that say little keep their order and lose their spread."""
REVIEWED_AT_MOST, BLOCKED_AT_MOST = 0.08, 0.008
"""Shares of harmless validation rows that the thresholds may hold up, and block."""


def logits(p: Sequence[float]) -> npt.NDArray[np.float64]:
    """Log-odds, shape as given; probabilities kept off 0 and 1."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), 1e-7, 1 - 1e-7)
    return np.log(clipped / (1 - clipped))


def fit_calibration(p: Sequence[float], harmful: Sequence[bool]) -> Calibration:
    """Temperature and bias that minimise the log loss (Platt 1999).

    Raises:
        ValueError: only one kind of label is given.
    """
    truth = np.asarray(harmful, dtype=np.float64)
    if len(set(truth.tolist())) < 2:
        raise ValueError("calibration needs harmful and unharmful rows")
    inputs = np.stack([logits(p), np.ones(len(truth))], axis=1)
    slope, bias = _logistic(inputs, truth)
    if slope < LEAST_SLOPE:
        slope = LEAST_SLOPE
        bias = float(_logistic(inputs[:, 1:], truth, LEAST_SLOPE * inputs[:, 0])[0])
    return Calibration(temperature=round(1 / slope, 4), bias=round(bias, 4))


def _logistic(
    inputs: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], offset: npt.NDArray[np.float64] | float = 0.0
) -> npt.NDArray[np.float64]:
    """Logistic regression on `inputs`, shape (rows, columns), by Newton's method; the last column is the constant.

    A touch of ridge towards slope 1 keeps the minimum finite where the rows can be separated.
    """
    start = np.array([1.0, 0.0])[-inputs.shape[1] :]
    weights = start.copy()

    def loss(at: npt.NDArray[np.float64]) -> float:
        scores = inputs @ at + offset
        return float((np.logaddexp(0, scores) - truth * scores).mean()) + 1e-4 * float(((at - start) ** 2).sum())

    for _ in range(100):
        guess = 1 / (1 + np.exp(-np.clip(inputs @ weights + offset, -60, 60)))
        gradient = inputs.T @ (guess - truth) / len(truth) + 2e-4 * (weights - start)
        curvature = (inputs * (guess * (1 - guess))[:, None]).T @ inputs / len(truth) + 2e-4 * np.eye(len(start))
        step, length = np.linalg.solve(curvature, gradient), 1.0
        while loss(weights - length * step) > loss(weights) and length > 1e-6:
            length /= 2  # a full step may overshoot where the curve is nearly flat
        weights = weights - length * step
    return weights


def calibrated(p: Sequence[float], calibration: Calibration) -> list[float]:
    """Each probability after `core.judging.deciding.calibrate`."""
    return [float(value) for each in p if (value := calibrate(each, calibration)) is not None]


def choose_thresholds(harmless: Sequence[float]) -> Thresholds:
    """Thresholds on calibrated probabilities from those of harmless rows.

    Review begins where at most 8% of the harmless rows lie, but not above 0.6; block where at most 0.8% lie, and at
    least the band's width above.
    """
    ordered = np.sort(np.asarray(harmless, dtype=np.float64))

    def above(share: float) -> float:
        return float(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * (1 - share)))])

    review = round(min(max(above(REVIEWED_AT_MOST), 0.25), 0.6), 2)
    block = round(min(max(above(BLOCKED_AT_MOST), review + BAND), 0.95), 2)
    return Thresholds(review, block)


def recall_at(p: Sequence[float], harmless: Sequence[float], false_alarms: float) -> float:
    """Share of the harmful rows `p` above the value that only this share of the harmless rows exceeds."""
    ordered = np.sort(np.asarray(harmless, dtype=np.float64))[::-1]
    limit = float(ordered[min(len(ordered) - 1, round(false_alarms * len(ordered)))])
    return float((np.asarray(p, dtype=np.float64) > limit).mean())


_QUOTED = re.compile(r'"([^"]+)"|^Words that weigh: (.+)\.$')
_WORD = re.compile(r"\w+")


def quoted_words(steps: Sequence[str], sample_text: str) -> tuple[int, int]:
    """How many words the steps give as the sample's, in quotation marks or as weighing, and how many stand there."""
    there = set(_WORD.findall(sample_text.lower()))
    quoted = [
        word for step in steps for found in _QUOTED.findall(step) for word in _WORD.findall(" ".join(found).lower())
    ]
    return len(quoted), sum(word in there for word in quoted)
