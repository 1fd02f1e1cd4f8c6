"""Intervals by resampling rows, and the paired comparison of two checkpoints on the same rows.

A row's answers to its two sides stay together, because they come from one generation. Rows that count alike are drawn
together: the number of rows of each kind in a resample is multinomial, so a resample costs the number of kinds and not
the number of rows. Percentile intervals (Efron and Tibshirani 1993, chapter 13); the paired test is that of Koehn
(2004), with rows in place of sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.metrics import Confusion, Floats, Integers

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with the level's probability."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of one checkpoint minus that of another on the same rows."""

    before: float
    after: float
    low: float
    high: float
    """Of the difference."""

    @property
    def value(self) -> float:
        """What was gained; negative is a loss."""
        return self.after - self.before

    @property
    def is_loss(self) -> bool:
        """The whole interval lies below 0."""
        return self.high < 0

    @property
    def is_gain(self) -> bool:
        """The whole interval lies above 0."""
        return self.low > 0


Statistic = Callable[[Integers], Floats]
"""From counts, shape (resamples, 4) in the order of `Confusion`, to a figure each; not a number where undefined."""


def f1_of(counts: Integers) -> Floats:
    """F1 of each row of counts, shape (n, 4) to (n,); not a number where nothing is harmful."""
    hits, alarms, misses = counts[:, 0], counts[:, 1], counts[:, 2]
    values: Floats = np.full(len(counts), np.nan)
    np.divide(2.0 * hits, 2.0 * hits + alarms + misses, out=values, where=(hits + misses) > 0)
    return values


def accuracy_of(counts: Integers) -> Floats:
    """The share that is right, shape (n, 4) to (n,); not a number where there is nothing."""
    values, whole = np.full(len(counts), np.nan), counts.sum(axis=1)
    np.divide(counts[:, 0] + counts[:, 3], whole, out=values, where=whole > 0)
    return values


def as_counts(rows: Sequence[Confusion]) -> Integers:
    """What each row counts, shape (rows, 4), int64, in the order of `Confusion`."""
    values = [(each.hits, each.false_alarms, each.misses, each.passes) for each in rows]
    return np.array(values, dtype=np.int64).reshape(len(values), 4)


def interval(
    rows: Sequence[Confusion],
    statistic: Statistic = f1_of,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """The percentile interval of a figure over these rows; none where the figure is undefined."""
    return average_interval([rows], statistic, resamples=resamples, level=level, seed=seed)


def average_interval(
    sets: Sequence[Sequence[Confusion]],
    statistic: Statistic = f1_of,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """The interval of an average over sets that is weighted by labelled samples; each set is resampled by itself.

    Sets on which the figure is undefined are left out, as in `core.evaluation.metrics.weighted_average`.
    """
    random = np.random.default_rng(seed)
    drawn: list[Floats] = []
    weights: list[int] = []
    for rows in sets:
        counts = as_counts(rows)
        whole = counts.sum(axis=0, keepdims=True)
        if len(rows) and not np.isnan(statistic(whole))[0]:
            drawn.append(statistic(_resampled(counts, resamples, random)))
            weights.append(int(whole.sum()))
    if not drawn:
        return None
    values, weight = np.stack(drawn), np.array(weights, dtype=np.float64)[:, None]
    known = ~np.isnan(values)  # a small set may lose all its harmful rows in a resample
    totals = (known * weight).sum(axis=0)
    averages = (np.where(known, values, 0.0) * weight).sum(axis=0)[totals > 0] / totals[totals > 0]
    return _between(averages, level)


def paired(
    before: Sequence[Confusion],
    after: Sequence[Confusion],
    statistic: Statistic = f1_of,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference | None:
    """The difference of a figure between two checkpoints, with its interval; none where the figure is undefined.

    Args:
        before: what each row counts for the one, in the same order as `after`.
        after: and for the other.

    Raises:
        ValueError: the two are not of one length.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} rows before and {len(after)} after cannot be paired; the same rows are needed")
    both = np.concatenate([as_counts(before), as_counts(after)], axis=1)
    whole = both.sum(axis=0, keepdims=True)
    was, now = float(statistic(whole[:, :4])[0]), float(statistic(whole[:, 4:])[0])
    if np.isnan(was) or np.isnan(now):
        return None
    drawn = _resampled(both, resamples, np.random.default_rng(seed))
    gained = statistic(drawn[:, 4:]) - statistic(drawn[:, :4])
    found = _between(gained[~np.isnan(gained)], level)
    return Difference(was, now, found.low, found.high)


def _resampled(counts: Integers, resamples: int, random: np.random.Generator) -> Integers:
    """Sums over as many rows drawn with replacement, shape (rows, n) to (resamples, n)."""
    kinds, sizes = np.unique(counts, axis=0, return_counts=True)
    drawn: Integers = random.multinomial(len(counts), sizes / len(counts), size=resamples) @ kinds
    return drawn


def _between(values: Floats, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def signed(value: float) -> str:
    """A difference to three decimals with its sign; what rounds to nothing has none."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"
