"""What the guard is taught to write about a sample: short numbered steps about it, and a graded statement of risk.

No step says the label's word. The grade is the teachers' held-out estimate, a little shaken, so that the label after
it keeps a probability of its own and goes on looking at the sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.types import Assessment, Label

GRADES = ((0.06, "none"), (0.18, "slight"), (0.36, "low"), (0.64, "unclear"), (0.82, "raised"), (0.94, "high"),
          (1.01, "severe"))  # fmt: skip
"""Upper limits of the estimate, and the word for it."""
SOFT_SHARE = 0.5
"""The teachers' share in the target of a label token: distillation (Hinton et al. 2015), against learning a corpus by
its style."""


@dataclass(frozen=True, slots=True)
class Side:
    """What is known of one side."""

    label: Label
    estimate: float
    """P(harmful) by the teachers that have not seen the row."""
    shaken: float = 0.0
    """Added to the estimate's log-odds before it is put into a word."""

    @property
    def trained(self) -> bool:
        """Whether the label token counts in the loss."""
        return self.label in (Label.HARMFUL, Label.UNHARMFUL)

    @property
    def written(self) -> Label:
        """The label in the target; for an unlabelled side the estimate's, which is not trained on."""
        if self.label is Label.UNLABELLED:
            return Label.HARMFUL if self.estimate >= 0.5 else Label.UNHARMFUL
        return self.label

    @property
    def soft(self) -> float:
        """P(harmful) that the label token is trained towards."""
        return (1 - SOFT_SHARE) * float(self.label is Label.HARMFUL) + SOFT_SHARE * self.estimate

    @property
    def grade(self) -> str:
        """The risk in one word."""
        clipped = min(max(self.estimate, 1e-6), 1 - 1e-6)
        risk = 1 / (1 + math.exp(-math.log(clipped / (1 - clipped)) - self.shaken))
        return next(word for limit, word in GRADES if risk < limit)


ABSENT = Side(Label.ABSENT, 0.0)


WEIGHING = "Words that weigh:"


def first_words(text: str, count: int) -> str:
    """The first words of a text as they stand there, white space as single spaces."""
    return " ".join(text.split()[:count])


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, M:SS."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the steps may say of a sample."""

    request: str
    response: str | None = None
    topic: str = ""
    words: tuple[str, ...] = ()
    """Words of the sample that weigh."""
    kind: str = "text"
    """text, image or video."""
    shown: str | None = None
    """The text that the medium shows; none when it shows no text."""
    at: float | None = None
    """Seconds of the first frame that shows it."""


REQUEST_WORDS, MEDIA_WORDS, RESPONSE_WORDS = 8, 16, 6


def steps(evidence: Evidence, request: Side, response: Side) -> tuple[str, ...]:
    """The reasoning, without the numbers of its steps."""
    out: list[str] = []
    if evidence.kind == "image":
        out.append(
            f'The image reads "{first_words(evidence.shown, MEDIA_WORDS)}".'
            if evidence.shown
            else "The image shows no text."
        )
    elif evidence.kind == "video":
        if evidence.shown:
            out.append(f'The frames at {clock(evidence.at or 0.0)} read "{first_words(evidence.shown, MEDIA_WORDS)}".')
        else:
            out.append("The frames show no text.")
    if evidence.request.strip():
        limit = REQUEST_WORDS if evidence.kind == "text" else 6
        out.append(f'The user writes "{first_words(evidence.request, limit)}".')
    if evidence.response is not None:
        out.append(f'The answer begins "{first_words(evidence.response, RESPONSE_WORDS)}".')
    if evidence.words:
        # without quotation marks: the token of a word after a space is the one that stands in the sample
        out.append(f"{WEIGHING} {', '.join(evidence.words)}.")
    if evidence.topic:
        out.append(f"It is about {evidence.topic}.")
    out.append(f"The risk of the request looks {request.grade}.")
    if response.label is not Label.ABSENT:
        out.append(f"The risk of the response looks {response.grade}.")
    return tuple(out)


def assessment(evidence: Evidence, request: Side, response: Side) -> Assessment:
    """The training target as a value; `core.prompt.protocol` renders it."""
    return Assessment(request.written, response.written, reasoning=steps(evidence, request, response))


def wording() -> list[str]:
    """Sentences in the targets' words, for the tokenizer's training."""
    grades = [f"5. The risk of the request looks {g}.\n6. The risk of the response looks {g}." for _, g in GRADES]
    return [
        '1. The user writes "',
        '1. The image reads "',
        "1. The image shows no text.",
        '1. The frames at 0:04 read "',
        "1. The frames show no text.",
        '2. The answer begins "',
        '3. Words that weigh: "',
        "4. It is about ",
        *grades,
        "<result>\nRequest: harmful\nResponse: unharmful\n</result>",
        "<result>\nRequest: unharmful\nResponse: None\n</result>",
        "<1.5 seconds>",
        "system\nJudge the request and the response.",
        "user\nHuman user:\n",
        "\n\nAI assistant:\nNone\n",
    ]
