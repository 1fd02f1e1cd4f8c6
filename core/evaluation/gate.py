"""May this checkpoint go live? The gate compares it with the one that is live, on the same rows. Pure.

Two tests by paired bootstrap: on the held-out split of the snapshot, and on the evaluation files together (the gold
labels that nobody here has made). A significant loss on either refuses; fewer than 200 held-out rows is not enough
evidence. A person may override both, but only with a written reason, which the promotion keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.evaluation.bootstrap import RESAMPLES, Difference, signed
from core.evaluation.comparison import SetComparison, compare_set, pair_rows
from core.evaluation.rows import HELD_OUT, VALIDATION, ScoredRow, scored_rows

LEAST_ROWS = 200
"""Held-out rows below which nothing is concluded."""
GOLD = "gold"
"""The evaluation files, taken together."""


class Outcome(StrEnum):
    """What the figures say."""

    PASSED = "passed"
    LOSS = "significant loss"
    NOT_ENOUGH = "not enough evidence"


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate says, and why."""

    outcome: Outcome
    allowed: bool
    """Whether the checkpoint may be promoted now."""
    overridden: bool
    """It may, although the figures are against it or too few, because a reason is written."""
    reason: str
    """The written one."""
    sentences: tuple[str, ...]
    """For the person, the deciding one first."""
    held_out: SetComparison | None
    gold: SetComparison | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the promotion's record and the API."""
        return {
            "outcome": self.outcome.value,
            "allowed": self.allowed,
            "overridden": self.overridden,
            "reason": self.reason,
            "sentences": list(self.sentences),
            "held_out": figures(self.held_out),
            "gold": figures(self.gold),
        }


def figures(found: SetComparison | None) -> dict[str, Any] | None:
    """The figures of one test as plain values."""
    if found is None or found.difference is None:
        return None
    return {
        "rows": found.rows,
        "measure": found.measure,
        "difference": found.difference.value,
        **asdict(found.difference),
    }


def judge(
    before: Sequence[ScoredRow],
    after: Sequence[ScoredRow],
    *,
    reason: str = "",
    least_rows: int = LEAST_ROWS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> GateDecision:
    """Let a checkpoint pass, or not.

    Args:
        before: the rows of the checkpoint that is live.
        after: those of the one that is to go live; what both have scored under the same true labels is compared.
        reason: why the person promotes all the same; empty when none is written.
    """
    pairs = pair_rows(scored_rows(before), scored_rows(after))
    held_out = _tested(HELD_OUT, [p for p in pairs if p[1].row.set == HELD_OUT], resamples, seed)
    gold = _tested(GOLD, [p for p in pairs if p[1].row.set not in (HELD_OUT, VALIDATION)], resamples, seed)
    losses = [each for each in (held_out, gold) if each is not None and each.difference and each.difference.is_loss]
    count = 0 if held_out is None else held_out.rows
    if losses:
        outcome = Outcome.LOSS
        deciding = [_loss(each) for each in losses]
    elif count < least_rows:
        outcome = Outcome.NOT_ENOUGH
        deciding = [
            f"Both checkpoints have scored {count} held-out rows in common; with fewer than {least_rows} there is not "
            "enough evidence. Label more, or evaluate both on the same snapshot."
        ]
    else:
        outcome = Outcome.PASSED
        deciding = ["No significant loss."]
    reason = " ".join(reason.split())
    passed = outcome is Outcome.PASSED
    overridden = not passed and bool(reason)
    if overridden:
        deciding.append(f"Promoted all the same, for this reason: {reason}")
    elif not passed:
        deciding.append("To promote it all the same, write down why.")
    told = [_said(each) for each in (held_out, gold) if each is not None and each not in losses]
    if gold is None:
        told.append("No evaluation file was scored by both, so the held-out rows alone speak.")
    return GateDecision(outcome, passed or overridden, overridden, reason, (*deciding, *told), held_out, gold)


def _tested(name: str, pairs: Sequence[tuple[ScoredRow, ScoredRow]], resamples: int, seed: int) -> SetComparison | None:
    return compare_set(name, pairs, resamples=resamples, seed=seed) if pairs else None


def _loss(found: SetComparison) -> str:
    where = "the held-out rows" if found.name == HELD_OUT else "the evaluation files"
    return f"A significant loss on {where}: {_figures(found)}."


def _said(found: SetComparison) -> str:
    where = "Held-out" if found.name == HELD_OUT else "Evaluation files"
    return f"{where}: {_figures(found)}."


def _figures(found: SetComparison) -> str:
    difference: Difference | None = found.difference
    if difference is None:
        return f"{found.rows} rows, none of them labelled"
    return (
        f"{found.measure} {difference.before:.3f} before, {difference.after:.3f} after, a difference of "
        f"{signed(difference.value)} (95% interval {signed(difference.low)} to {signed(difference.high)}, "
        f"{found.rows:,} rows)"
    )
