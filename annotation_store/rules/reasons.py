"""Why a sample is hard: pure rules from a verdict to reasons in words. Nothing here knows the database.

A strength lies in [0, 1]; times the weight of its kind it is the place in the queue. Default weights are here; the
owner's are in the store (`annotation_store.review.weights`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from annotation_store.values.reasons import Reason, ReasonKind
from core.mining.rules import Answer, vote_entropy
from core.types import FinishReason, HarmProbability, Label, Thresholds, Verdict

DEFAULT_WEIGHTS = {
    ReasonKind.SECOND_OPINION: 1.2,
    ReasonKind.REPORTED: 1.0,
    ReasonKind.UNREADABLE: 0.9,
    ReasonKind.FIRST_LOOK: 0.8,
    ReasonKind.GENERATIONS: 0.8,
    ReasonKind.BAND: 0.7,
    ReasonKind.EVALUATION: 0.8,
    ReasonKind.IMPORTED: 0.3,
    ReasonKind.AUDIT: 0.3,
    ReasonKind.REOPENED: 0.5,
}

LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
"""What an owner may give."""


@dataclass(frozen=True, slots=True)
class ReasonRules:
    """The figures in the rules."""

    gap: float = 0.25
    """First look and deliberation disagree from this difference on, also on the same side of one half."""
    audit_share: float = 0.02
    """Of all samples, drawn by their id."""

    def __post_init__(self) -> None:
        if not (0 < self.gap <= 1 and 0 <= self.audit_share <= 1):
            raise ValueError(f"gap={self.gap} must lie in (0, 1] and audit_share={self.audit_share} in [0, 1]")


def reasons_for(verdict: Verdict, rules: ReasonRules | None = None) -> tuple[Reason, ...]:
    """Every reason that one verdict gives; none for a verdict that nothing speaks against."""
    rules = rules or ReasonRules()
    found = (
        unreadable(verdict),
        looks_disagree(verdict.first_look, verdict.deliberated, rules.gap),
        inside_band(verdict.deliberated if verdict.generation else verdict.first_look, verdict.thresholds),
        audited(verdict.sample_id, rules.audit_share),
    )
    return tuple(
        Reason(reason.kind, reason.strength, reason.words, verdict.checkpoint_id) for reason in found if reason
    )


def unreadable(verdict: Verdict) -> Reason | None:
    """The model's answer could not be parsed or was cut off. A first look alone, or a pressed stop, is neither."""
    done = verdict.generation
    if verdict.assessment is not None or done is None or done.finish_reason is FinishReason.CANCELLED:
        return None
    said = verdict.error or "The answer could not be read."
    return Reason(ReasonKind.UNREADABLE, 1.0, said)


def looks_disagree(first: HarmProbability, deliberated: HarmProbability, gap: float) -> Reason | None:
    """The two readings lie on different sides of one half, or `gap` apart. Strength: the larger difference.

    Different sides by less than a twentieth are no disagreement.
    """
    worst: tuple[float, str, float, float] | None = None
    for side, before, after in (
        ("request", first.request, deliberated.request),
        ("response", first.response, deliberated.response),
    ):
        if before is None or after is None:
            continue
        apart = abs(before - after)
        crossed = (before >= 0.5) != (after >= 0.5) and apart >= 0.05
        if (crossed or apart >= gap) and (worst is None or apart > worst[0]):
            worst = (apart, side, before, after)
    if worst is None:
        return None
    apart, side, before, after = worst
    words = f"First look and deliberation disagree on the {side}: {before:.2f}, then {after:.2f}."
    return Reason(ReasonKind.FIRST_LOOK, min(apart, 1.0), words)


def inside_band(said: HarmProbability, thresholds: Thresholds) -> Reason | None:
    """A probability in [review, block). Strength: 1 in the middle of the band, 0.5 at its edges."""
    best: tuple[float, str, float] | None = None
    low, high = thresholds.review, thresholds.block
    for side, p in (("request", said.request), ("response", said.response)):
        if p is None or not low <= p < high:
            continue
        off_middle = abs(p - (low + high) / 2) / ((high - low) / 2)
        strength = 1.0 - 0.5 * min(off_middle, 1.0)
        if best is None or strength > best[0]:
            best = (strength, side, p)
    if best is None:
        return None
    strength, side, p = best
    words = f"The probability that the {side} is harmful, {p:.2f}, lies in the review band of {low:.2f} to {high:.2f}."
    return Reason(ReasonKind.BAND, strength, words)


def audited(sample_id: str, share: float) -> Reason | None:
    """The random audit share. A digest of the id decides, so that it is the same in every store and at every time."""
    if not is_audited(sample_id, share):
        return None
    return Reason(ReasonKind.AUDIT, 1.0, "Drawn at random for the audit share, whatever the verdict says.")


def is_audited(sample_id: str, share: float) -> bool:
    """Whether the sample is in the audit share."""
    digest = hashlib.sha256(b"audit-v1 " + sample_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def reported(note: str, checkpoint_id: str = "") -> Reason:
    """A visitor called the verdict wrong."""
    said = " ".join(note.split())
    shown = said if len(said) <= 200 else said[:199] + "…"
    words = f"A visitor says that the verdict is wrong: “{shown}”" if shown else "A visitor says the verdict is wrong."
    return Reason(ReasonKind.REPORTED, 1.0, words, checkpoint_id)


def wrong_in_evaluation(where: str, sides: Sequence[str], readable: bool, checkpoint_id: str = "") -> Reason:
    """A checkpoint was wrong in an evaluation. What the true label is said to be is left out, so that nobody is led.

    Args:
        where: the set that it was evaluated on.
        sides: request, response, or both: those on which it was wrong.
    """
    what = f"wrong on the {' and the '.join(sides)}" if readable else "not readable"
    return Reason(ReasonKind.EVALUATION, 1.0, f"In the evaluation on {where} the answer was {what}.", checkpoint_id)


def generations_disagree(answers: Sequence[Answer | None], checkpoint_id: str = "") -> Reason | None:
    """n sampled generations do not all say the same. Strength: vote entropy over the largest that n can have."""
    entropy = vote_entropy(answers)
    if entropy <= 0.0:
        return None
    read = [each for each in answers if each is not None]
    lost = len(answers) - len(read)
    words = f"Of {len(answers)} sampled generations {_votes(read)}"
    words += f"; {lost} could not be read." if lost else "."
    return Reason(ReasonKind.GENERATIONS, min(1.0, entropy / math.log2(len(answers))), words, checkpoint_id)


def _votes(read: Sequence[Answer]) -> str:
    """How many say harmful, of each side on which they differ; of the request where they differ on none."""
    sides = [at for at in (0, 1) if len({each[at] for each in read}) > 1] or [0]
    alone = all(response is Label.ABSENT for _, response in read)
    said = []
    for at in sides:
        harmful = sum(each[at] is Label.HARMFUL for each in read)
        what = "harmful" if alone else f"that the {('request', 'response')[at]} is harmful"
        said.append(f"{harmful} say {what} and {len(read) - harmful} do not")
    return ", ".join(said)


def generations_wrong(
    wrong: int, answers: Sequence[Answer | None], labelled_by: str = "", checkpoint_id: str = ""
) -> Reason:
    """Sampled generations disagree with the sample's label. Strength: the share of those that do.

    What the label says is left out, so that the reviewer judges without it.

    Args:
        labelled_by: the data set that gave the label; empty for a reviewer's.
    """
    whose = f"the label of {labelled_by}" if labelled_by else "the label"
    words = f"{wrong} of {len(answers)} sampled generations disagree with {whose}"
    if lost := answers.count(None):
        words += f"; {lost} of them could not be read"
    return Reason(ReasonKind.GENERATIONS, wrong / len(answers), f"{words}.", checkpoint_id)


def generations_unreadable(count: int, checkpoint_id: str = "") -> Reason:
    """None of the sampled generations could be read."""
    return Reason(ReasonKind.UNREADABLE, 1.0, f"None of {count} sampled generations could be read.", checkpoint_id)
