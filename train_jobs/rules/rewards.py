"""Rewards of reinforcement learning: pure functions of what a completion says, what is right, and how long it is.

A reward is a sum of named terms, so that pages can show accuracy apart from what is added for length. Sources:
GuardReasoner-Omni (arXiv 2602.03328) and GuardReasoner-VL (arXiv 2505.11049).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.mining.rules import SAID, Answer

ACCURACY = "accuracy"
"""The term that is there in every form: what the labels are worth, without anything for length."""


class RewardForm(StrEnum):
    """Which of the papers' rewards."""

    OMNI_V1 = "omni-v1"
    """Error-driven exploration (GuardReasoner-Omni v1)."""
    OMNI_V2 = "omni-v2"
    """Concise correctness (GuardReasoner-Omni v2)."""
    VL = "vl"
    """Length-aware safety (GuardReasoner-VL), as published but for a floor under the length."""
    VL_ORDERED = "vl-ordered"
    """The same idea in a form that keeps right above half right above wrong above unreadable at every length."""


LENGTH_TERM: Mapping[RewardForm, str] = {
    RewardForm.OMNI_V1: "exploration",
    RewardForm.OMNI_V2: "conciseness",
    RewardForm.VL: "length",
    RewardForm.VL_ORDERED: "length",
}
"""What the term is called that goes by length."""

READABLE = "readable"
"""The term of `vl-ordered` that sets the unreadable below the wrong."""
UNREADABLE_STEP, ORDERED_SPAN = 0.5, 0.4
"""Of `vl-ordered`: how far the unreadable lies below the wrong, and how much length can take away. The span is smaller
than every step between two ranks (0.5), so length moves a completion inside its rank only. (Ours, not published.)"""


@dataclass(frozen=True, slots=True)
class RewardRule:
    """A reward with its constants.

    Raises:
        ValueError: a constant cannot be used; the message names it.
    """

    form: RewardForm
    length_term: bool = True
    """False leaves out all that goes by length: the papers' ablation."""
    most: float = 0.2
    """The largest bonus of exploration (0.2), or the largest penalty of conciseness (0.4)."""
    scale: float = 300.0
    """Tokens over which it grows: 300 of exploration, 250 of conciseness."""
    free: float = 250.0
    """Tokens of conciseness without a penalty."""
    beta: float = 1.0
    """Of the VL forms: beyond this share of the completion limit length no longer counts. 1 for VL, 1/6 for Eco."""
    floor: float = 0.25
    """Of the VL forms: shorter completions count as this share of the limit. The published form has none
    and diverges."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", RewardForm(self.form))
        for name in ("most", "scale", "beta", "floor"):
            value = getattr(self, name)
            if not (0 < value < math.inf):
                raise ValueError(f"{name}={value} of a reward must be a positive number")
        if not (0 <= self.free < math.inf):
            raise ValueError(f"free={self.free} of a reward must be 0 or more tokens")
        if self.beta > 1 or self.floor > 1:
            raise ValueError(f"beta={self.beta} and floor={self.floor} of a reward are shares of the limit, at most 1")


@dataclass(frozen=True, slots=True)
class Reward:
    """What one completion gets."""

    accuracy: float
    """Share of the labelled sides that are right, in [0, 1]; 0 when nothing could be read."""
    readable: bool
    """Whether the parser of serving read an answer: the gate."""
    terms: Mapping[str, float]
    """Named parts; their sum is the reward."""

    @property
    def total(self) -> float:
        """The reward."""
        return sum(self.terms.values())

    @property
    def right(self) -> bool:
        """Every labelled side is right."""
        return self.accuracy == 1.0


def accuracy(said: Answer | None, gold: Answer) -> float:
    """acc = 0.5 [request right] + 0.5 [response right], over the labelled sides alone.

    A side that nobody labelled, or that the sample does not have, leaves its weight to the other: with one labelled
    side acc is 0 or 1.

    Args:
        said: request and response label of the completion; none when it could not be read, which makes acc 0.
        gold: the sample's labels.

    Raises:
        ValueError: no side is labelled, so there is nothing to reward.
    """
    labelled = [side for side, label in enumerate(gold) if label in SAID]
    if not labelled:
        raise ValueError("no side of the sample is labelled harmful or unharmful, so nothing can be rewarded")
    if said is None:
        return 0.0
    return sum(said[side] is gold[side] for side in labelled) / len(labelled)


def exploration(acc: float, length: int, *, most: float = 0.2, scale: float = 300.0) -> float:
    """E = 0 when acc = 1, else 0.2 tanh(L / 300): what is wrong may think on (GuardReasoner-Omni v1, arXiv 2602.03328).

    Args:
        length: L, tokens of the completion with its end-of-turn token.
    """
    return 0.0 if acc == 1.0 else most * math.tanh(length / scale)


def conciseness(acc: float, length: int, *, most: float = 0.4, scale: float = 250.0, free: float = 250.0) -> float:
    """P = 0.4 tanh(max(0, (L - 250) / 250)) when acc = 1, else 0 (GuardReasoner-Omni v2, arXiv 2602.03328).

    The released code computes P and then drops it; the paper's text intends it, and so does this.
    """
    return most * math.tanh(max(0.0, (length - free) / scale)) if acc == 1.0 else 0.0


def normalised_length(length: int, limit: int) -> float:
    """l_norm = L / the completion limit, in (0, 1]. How it is computed is not published; this is the natural way."""
    return min(1.0, max(length, 1) / limit)


def safety(acc: float, l_norm: float, *, beta: float = 1.0, floor: float = 0.25) -> float:
    """(-1 + acc) / min(max(l_norm, floor), beta)^2 (GuardReasoner-VL, arXiv 2505.11049); `acc` with the gate applied.

    The published form has no floor, diverges for short completions, and lets one very short wrong answer flatten the
    advantages of its group.
    """
    return (acc - 1.0) / min(max(l_norm, floor), beta) ** 2


def shortness(l_norm: float, *, beta: float = 1.0, floor: float = 0.25) -> float:
    """How short, in [0, 1]: the factor 1 / min(max(l_norm, floor), beta)^2 of `safety`, its range brought to [0, 1].

    0 from beta on, 1 at the floor; 0 everywhere when the floor is not below beta.
    """
    if floor >= beta:
        return 0.0
    return (min(max(l_norm, floor), beta) ** -2 - beta**-2) / (floor**-2 - beta**-2)


def reward(rule: RewardRule, said: Answer | None, gold: Answer, length: int, limit: int) -> Reward:
    """The reward of one completion.

    - omni-v1: gate (acc + E); ceilings: all wrong 0.2, half right 0.7, right 1.
    - omni-v2: gate (acc - P).
    - vl: (-1 + gate acc) / min(l_norm, beta)^2.
    - vl-ordered: -1 + gate acc - 0.5 (1 - gate) - 0.4 shortness [not right], so that right (0) > half right
      (-0.9 to -0.5) > wrong (-1.4 to -1) > unreadable (-1.9 to -1.5).

    Args:
        said: what serving's parser read (the gate: none means 0).
        gold: the sample's labels, at least one side harmful or unharmful.
        length: tokens of the completion with its end-of-turn token.
        limit: tokens that a completion may have.

    Raises:
        ValueError: no side of the sample is labelled.
    """
    acc = accuracy(said, gold)
    readable = said is not None
    name = LENGTH_TERM[rule.form]
    if rule.form is RewardForm.OMNI_V1:
        bonus = exploration(acc, length, most=rule.most, scale=rule.scale) if readable else 0.0
        terms = {ACCURACY: acc, name: bonus}
    elif rule.form is RewardForm.OMNI_V2:
        penalty = conciseness(acc, length, most=rule.most, scale=rule.scale, free=rule.free)
        terms = {ACCURACY: acc, name: -penalty}
    else:
        l_norm = normalised_length(length, limit)
        terms = {ACCURACY: acc - 1.0}
        if rule.form is RewardForm.VL:
            terms[name] = safety(acc, l_norm, beta=rule.beta, floor=rule.floor) - (acc - 1.0)
        else:
            terms[READABLE] = 0.0 if readable else -UNREADABLE_STEP
            short = shortness(l_norm, beta=rule.beta, floor=rule.floor)
            terms[name] = 0.0 if acc == 1.0 else -ORDERED_SPAN * short
    if not rule.length_term:
        terms[name] = 0.0
    return Reward(acc, readable, terms)


def mask_wrong_group(group: Sequence[Reward]) -> list[Reward]:
    """A group in which length alone would decide, without anything but its accuracy: all rewards are then equal.

    That is a group whose completions are all equally wrong: none is right, and accuracy is the same for all. Equal
    rewards have no advantage, so such a group moves nothing. (An option; the published form rewards length there.)
    Other groups are given back as they are.
    """
    lone = group and not group[0].right and all(each.accuracy == group[0].accuracy for each in group)
    if not lone:
        return list(group)
    return [
        Reward(
            each.accuracy,
            each.readable,
            {term: each.terms[ACCURACY] if term == ACCURACY else 0.0 for term in each.terms},
        )
        for each in group
    ]
