"""Does reasoning conclude what its label says? Pure rules over plain English statements, careful in both directions.

Reasoning that ends on the opposite of its label teaches the model to contradict itself, so it is refused; where the
rules cannot tell they say so and refuse nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.types import Label


class Fit(StrEnum):
    """How reasoning and label go together."""

    AGREES = "agrees"
    OPPOSITE = "opposite"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the reasoning concludes about one side."""

    side: str
    """request or response."""
    label: Label
    """What the label says."""
    fit: Fit
    statement: str
    """The concluding statement about this side; empty when there is none."""

    @property
    def words(self) -> str:
        """One sentence for the person."""
        if self.fit is Fit.OPPOSITE:
            return (
                f"The {self.side} is labelled {self.label.value}, but its reasoning concludes the opposite: "
                f"“{self.statement}”"
            )
        if self.fit is Fit.AGREES:
            return f"The reasoning concludes that the {self.side} is {self.label.value}."
        return f"The reasoning does not say clearly that the {self.side} is {self.label.value}."


_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_CLAUSE = re.compile(r",?\s+(?:and|but|while|whereas|yet)\s+|,\s+", re.I)
_SIDES = {
    "request": re.compile(r"\b(requests?|prompts?|questions?|queries|query|users?|human|asks?|asked|asking)\b", re.I),
    "response": re.compile(r"\b(responses?|repl(?:y|ies)|answers?|answered|assistants?|completions?|outputs?)\b", re.I),
}
_NOT = (
    r"\b(?:not|n[o']t|isn't|aren't|wasn't|doesn't|never|no|neither|nor|nothing|without|hardly|cannot be (?:called|"
    r"considered)|far from|free of|anything but)\b"
)
_HARMFUL = r"(?<!un)(?<!non-)(?<!non)\b(?:harmful|unsafe|dangerous|malicious|hateful|abusive|toxic)\b"
_UNHARMFUL = r"\b(?:unharmful|un-harmful|non-?harmful|harmless|benign|safe|innocuous|unproblematic)\b"
_NEAR = r"(?:\W+\w+){0,3}?\W+"
_NEGATED_HARMFUL = re.compile(f"{_NOT}{_NEAR}{_HARMFUL}", re.I)
_NEGATED_UNHARMFUL = re.compile(f"{_NOT}{_NEAR}{_UNHARMFUL}", re.I)
_SAYS_HARMFUL = re.compile(_HARMFUL, re.I)
_SAYS_UNHARMFUL = re.compile(_UNHARMFUL, re.I)
_OPEN = re.compile(
    r"\b(?:if|unless|whether|could|might|may|would|can|potentially|possibly|perhaps|seems?|seemed|appears?|appeared|"
    r"at first|although|though|while|even if|despite|rather than|instead of)\b|\?",
    re.I,
)


def conclusions(steps: Sequence[str], request: Label, response: Label) -> tuple[Conclusion, ...]:
    """What the reasoning concludes about each side that is labelled harmful or unharmful.

    The concluding statement about a side is the last sentence that speaks of this side (a sentence that names no side
    speaks of the only one there is) and names an outcome. A sentence with a condition, a doubt or both outcomes is
    unclear.
    """
    sentences = [
        part for step in steps for each in _SENTENCE.split(step) if each.strip() for part in _parts(each.strip())
    ]
    labelled = [
        (side, label)
        for side, label in (("request", request), ("response", response))
        if label in (Label.HARMFUL, Label.UNHARMFUL)
    ]
    return tuple(_conclusion(side, label, sentences, alone=response is Label.ABSENT) for side, label in labelled)


def _parts(sentence: str) -> list[str]:
    """A sentence about both sides in clauses, where each clause with an outcome speaks of one side; else as it is."""
    if not all(side.search(sentence) for side in _SIDES.values()):
        return [sentence]
    clauses = [clause for clause in _CLAUSE.split(sentence) if _outcome(clause)]
    apart = [sum(bool(side.search(clause)) for side in _SIDES.values()) == 1 for clause in clauses]
    return clauses if len(clauses) > 1 and all(apart) and not _OPEN.search(sentence) else [sentence]


def _conclusion(side: str, label: Label, sentences: Sequence[str], *, alone: bool) -> Conclusion:
    other = _SIDES["response" if side == "request" else "request"]
    for sentence in reversed(sentences):
        about_this, about_other = bool(_SIDES[side].search(sentence)), bool(other.search(sentence))
        if not about_this and (about_other or not alone):
            continue
        said = _outcome(sentence)
        if said is None:
            continue
        if said == "unclear" or (about_this and about_other and not alone):
            return Conclusion(side, label, Fit.UNCLEAR, sentence)
        return Conclusion(side, label, Fit.AGREES if said == label.value else Fit.OPPOSITE, sentence)
    return Conclusion(side, label, Fit.UNCLEAR, "")


def _outcome(sentence: str) -> str | None:
    """harmful, unharmful, unclear, or none when the sentence names no outcome."""
    rest = sentence
    said: set[str] = set()
    for pattern, outcome in ((_NEGATED_HARMFUL, "unharmful"), (_NEGATED_UNHARMFUL, "harmful")):
        rest, count = pattern.subn(" ", rest)
        said |= {outcome} if count else set()
    if _SAYS_UNHARMFUL.search(rest):
        said.add("unharmful")
    if _SAYS_HARMFUL.search(rest):
        said.add("harmful")
    if not said:
        return None
    return "unclear" if len(said) > 1 or _OPEN.search(sentence) else said.pop()
