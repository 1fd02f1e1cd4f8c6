"""Why a sample is in the queue, as a value: the kinds of reasons, and one reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReasonKind(StrEnum):
    """The kinds of reasons, in the order in which pages show them."""

    SECOND_OPINION = "second_opinion"
    """A reviewer asked for another's opinion."""
    REPORTED = "reported"
    """A visitor says that the verdict is wrong."""
    UNREADABLE = "unreadable"
    """The answer could not be parsed, or was cut off."""
    FIRST_LOOK = "first_look"
    """First look and deliberation disagree."""
    GENERATIONS = "generations"
    """n sampled generations disagree, or are wrong (mining)."""
    BAND = "band"
    """A probability lies inside the review band."""
    EVALUATION = "evaluation"
    """A checkpoint was wrong on it in an evaluation."""
    IMPORTED = "imported"
    """Came by file and is to be labelled."""
    AUDIT = "audit"
    """Drawn at random, whatever the verdict says."""
    REOPENED = "reopened"
    """A reviewer opened it again."""


KIND_NAMES = {
    ReasonKind.SECOND_OPINION: "second opinion",
    ReasonKind.REPORTED: "reported by a visitor",
    ReasonKind.UNREADABLE: "unreadable or cut off",
    ReasonKind.FIRST_LOOK: "first look against deliberation",
    ReasonKind.GENERATIONS: "generations disagree",
    ReasonKind.BAND: "inside the review band",
    ReasonKind.EVALUATION: "wrong in an evaluation",
    ReasonKind.IMPORTED: "imported without a label",
    ReasonKind.AUDIT: "random audit",
    ReasonKind.REOPENED: "opened again",
}
"""Short, for lists and filters."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why one sample is in the queue."""

    kind: ReasonKind
    strength: float
    """In [0, 1]."""
    words: str
    """One sentence for the reviewer."""
    checkpoint_id: str = ""
    """Whose verdict it is about; empty when no checkpoint's."""
