"""Two checkpoints on the same rows: what each figure gained or lost, and the samples whose label flipped. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.evaluation.bootstrap import RESAMPLES, Difference, accuracy_of, f1_of, paired
from core.evaluation.rows import SIDES, EvaluationRow, ScoredRow, Side


@dataclass(frozen=True, slots=True)
class Flip:
    """A side that the two checkpoints call differently."""

    row: EvaluationRow
    side: Side
    truth: bool | None
    """Whether it is harmful; none where nobody said."""
    before: bool | None
    """Whether it was called harmful; none where that could not be read."""
    after: bool | None

    @property
    def mended(self) -> bool | None:
        """True when it was wrong and is right, False the other way round, none when that cannot be said."""
        if self.truth is None or (self.before == self.truth) == (self.after == self.truth):
            return None
        return self.after == self.truth


@dataclass(frozen=True, slots=True)
class SetComparison:
    """One set, or several together."""

    name: str
    rows: int
    measure: str
    """F1, or accuracy where nothing is harmful and F1 would say nothing."""
    difference: Difference | None
    """Of both sides together; none when nothing is labelled."""
    by_side: dict[Side, Difference]
    """F1 of each side on which it is defined."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a page shows of two evaluations side by side."""

    before: str
    after: str
    """Checkpoint ids."""
    rows: int
    """That both have scored under the same true labels."""
    only_before: int
    only_after: int
    """Rows that one alone has scored, or has scored under another true label."""
    sets: tuple[SetComparison, ...]
    flips: tuple[Flip, ...]
    """Broken ones first, then mended ones, then the rest, each as they stand in their sets."""


def pair_rows(before: Sequence[ScoredRow], after: Sequence[ScoredRow]) -> list[tuple[ScoredRow, ScoredRow]]:
    """Rows that both evaluations hold: the same content in the same set under the same true labels."""
    known = {each.key: each for each in before}
    return [
        (was, now)
        for now in after
        if (was := known.get(now.key)) is not None
        and (was.row.request, was.row.response) == (now.row.request, now.row.response)
    ]


def compare(
    before: Sequence[ScoredRow], after: Sequence[ScoredRow], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Lay two evaluations over each other. Differences are after minus before, with 95% intervals."""
    pairs = pair_rows(before, after)
    names = list(dict.fromkeys(now.row.set for _, now in pairs))
    by_set = [(name, [pair for pair in pairs if pair[1].row.set == name]) for name in names]
    return Comparison(
        before=_name(before),
        after=_name(after),
        rows=len(pairs),
        only_before=len(before) - len(pairs),
        only_after=len(after) - len(pairs),
        sets=tuple(compare_set(name, some, resamples=resamples, seed=seed) for name, some in by_set),
        flips=tuple(flips(pairs)),
    )


def compare_set(
    name: str, pairs: Sequence[tuple[ScoredRow, ScoredRow]], *, resamples: int = RESAMPLES, seed: int = 0
) -> SetComparison:
    """The differences over these rows. Both sides of a row are drawn together: they come from one generation."""
    was, now = [pair[0].both for pair in pairs], [pair[1].both for pair in pairs]
    measure = "F1" if any(each.harmful for each in now) else "accuracy"
    statistic = f1_of if measure == "F1" else accuracy_of
    labelled = any(each.labelled for each in now)
    whole = paired(was, now, statistic, resamples=resamples, seed=seed) if labelled else None
    sides = {}
    for side in SIDES:
        counts = [(a.counts(side), b.counts(side)) for a, b in pairs if b.row.truth(side) is not None]
        if any(count.harmful for _, count in counts):
            found = paired([a for a, _ in counts], [b for _, b in counts], resamples=resamples, seed=seed)
            if found is not None:
                sides[side] = found
    return SetComparison(name, len(pairs), measure, whole, sides)


def flips(pairs: Sequence[tuple[ScoredRow, ScoredRow]]) -> list[Flip]:
    """Every side that the two call differently, the broken ones first."""
    found = [
        Flip(now.row, side, now.row.truth(side), was.said(side), now.said(side))
        for was, now in pairs
        for side in SIDES
        if was.said(side) != now.said(side)
    ]
    order = {False: 0, True: 1, None: 2}
    return sorted(found, key=lambda flip: order[flip.mended])


def _name(rows: Sequence[ScoredRow]) -> str:
    return rows[0].verdict.checkpoint_id if rows else ""
