"""Which samples are hard, by several sampled generations each: pure rules. Nothing here knows a model.

The labels of a generation are compared side by side with the label that the sample has. A side counts only where
somebody labelled it and the model was asked for it; an answer that could not be read is wrong on every such side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.types import Label

Answer = tuple[Label, Label]
"""Request and response label: of one generation, or of the person or file that labelled the sample."""

SAID = frozenset({Label.HARMFUL, Label.UNHARMFUL})

MOST_GENERATIONS = 32
"""Of one sample: so many rows fit into one batch."""

DEFAULT_BITS = 0.8
"""Vote entropy from which a sample without a label is kept. One dissenter among four, or two among eight, give 0.811
bits; one among eight gives 0.544 and is let go. (Not published: the papers mine labelled samples alone.)"""


class KeepRule(StrEnum):
    """When a sample is kept (arXiv 2602.03328); all but the last compare with the sample's label."""

    VL = "vl"
    """All n wrong (GuardReasoner-VL, arXiv 2505.11049)."""
    OMNI_V1 = "omni-v1"
    """At least one wrong (GuardReasoner-Omni v1, arXiv 2602.03328)."""
    OMNI_V2 = "omni-v2"
    """Some wrong, some right (GuardReasoner-Omni v2)."""
    ENTROPY = "entropy"
    """The generations disagree among themselves, whatever the label says."""


DEFAULT_GENERATIONS: Mapping[KeepRule, int] = {
    KeepRule.VL: 4,
    KeepRule.OMNI_V1: 4,
    KeepRule.OMNI_V2: 8,
    KeepRule.ENTROPY: 4,
}
"""n of each rule (arXiv 2602.03328); for vote entropy, which is ours, that of the cheaper ones."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the generations are drawn."""

    n: int = 4
    """Generations of one sample."""
    temperature: float = 1.0
    top_p: float = 0.95
    seed: int = 0
    """The same seed over the same batch of samples gives the same generations, where the engine can do that."""

    def __post_init__(self) -> None:
        if not (isinstance(self.n, int) and 2 <= self.n <= MOST_GENERATIONS):
            raise ValueError(f"n={self.n} generations cannot be drawn; 2 to {MOST_GENERATIONS} can")
        if not (0 < self.temperature <= 2 and 0 < self.top_p <= 1):
            raise ValueError(
                f"temperature={self.temperature} must lie in (0, 2] and top_p={self.top_p} in (0, 1], or the "
                "generations are all the same or noise"
            )
        if not (isinstance(self.seed, int) and 0 <= self.seed < 2**31):
            raise ValueError(f"seed={self.seed} must be a whole number from 0 to {2**31 - 1}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the generations of one sample come to."""

    kept: bool
    wrong: int | None = None
    """How many were wrong; none where there was no label to compare with."""
    entropy: float | None = None
    """Vote entropy in bits; none where there was a label."""


def is_labelled(gold: Answer | None) -> bool:
    """Whether at least one side says harmful or unharmful."""
    return gold is not None and any(side in SAID for side in gold)


def wrong(answer: Answer | None, gold: Answer) -> bool:
    """Whether a generation is wrong: either label differs from the gold one, or is missing (arXiv 2602.03328).

    A side whose gold label is unlabelled or absent never counts (§1), nor does one that the model was not asked for
    (unlabelled in `answer`: its part of a long sample does not hold that side). Without any labelled side nothing is
    wrong.

    Args:
        answer: what the generation says; none when it could not be read, which is wrong wherever a side counts.
        gold: the sample's label.
    """
    if answer is None:
        return is_labelled(gold)
    return any(
        true in SAID and said is not Label.UNLABELLED and said is not true
        for said, true in zip(answer, gold, strict=True)
    )


_KEEPS: Mapping[KeepRule, Callable[[Sequence[bool]], bool]] = {
    KeepRule.VL: all,
    KeepRule.OMNI_V1: any,
    KeepRule.OMNI_V2: lambda wrongs: any(wrongs) and not all(wrongs),
}


def keep(rule: KeepRule, wrongs: Sequence[bool]) -> bool:
    """Whether a sample is kept whose generations are wrong where `wrongs` says so (arXiv 2602.03328).

    Raises:
        ValueError: there are no generations, or the rule does not compare with labels.
    """
    if rule not in _KEEPS:
        raise ValueError(f"the rule {rule.value} goes by the vote and not by labels")
    if not wrongs:
        raise ValueError("a sample without generations can be neither kept nor let go")
    return _KEEPS[rule](wrongs)


def vote_entropy(answers: Sequence[Answer | None]) -> float:
    """Entropy in bits of the answers' distribution, from 0 (all agree) to log2 n.

    An answer that could not be read (none) is a value of its own.
    """
    if not answers:
        return 0.0
    shares = [answers.count(each) / len(answers) for each in set(answers)]
    return max(0.0, -sum(share * math.log2(share) for share in shares))


def keep_by_vote(answers: Sequence[Answer | None], least_bits: float = DEFAULT_BITS) -> bool:
    """Whether a sample without a label is kept: the vote's entropy reaches `least_bits`, or no answer could be read."""
    if not answers:
        return False
    return all(each is None for each in answers) or vote_entropy(answers) >= least_bits


def judge(
    rule: KeepRule, answers: Sequence[Answer | None], gold: Answer | None, least_bits: float = DEFAULT_BITS
) -> Outcome:
    """Apply a rule to one sample: by its label where it has one, by the vote where it has none (arXiv 2602.03328).

    Args:
        answers: of the n generations, none for each that could not be read; empty when the sample could not be judged.
        gold: the sample's label, none when it has none.
        least_bits: the threshold of the vote entropy.
    """
    if not answers:
        return Outcome(False)
    if rule is KeepRule.ENTROPY or gold is None or not is_labelled(gold):
        return Outcome(keep_by_vote(answers, least_bits), entropy=vote_entropy(answers))
    wrongs = [wrong(each, gold) for each in answers]
    return Outcome(keep(rule, wrongs), wrong=sum(wrongs))
