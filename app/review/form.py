"""What a reviewer has filled in, and the label that it makes. Pure; nothing here knows the page or the database."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotation_store.values.review import Evidence, EvidencePart, Item, LabelDraft, LabelRecord, Reasoning
from core.errors import InputError
from core.prompt.protocol import split_steps
from core.types import Label, Modality, Sample, Verdict

CONFIDENCE = (("unsure", 0.5), ("fairly sure", 0.75), ("sure", 1.0))
"""Words and the figure that each stands for."""


@dataclass(frozen=True, slots=True)
class Form:
    """The decision as far as it is filled in."""

    request: str | None = None
    """harmful, unharmful or nothing yet."""
    response: str | None = None
    categories: tuple[str, ...] = ()
    confidence: float | None = None
    note: str = ""
    reasoning: str = ""
    """The corrected steps, one a line; empty when nothing is said about the reasoning."""
    first_wrong: int | None = None
    """In the model's steps, from 1."""
    evidence: tuple[Evidence, ...] = ()
    before_mark: str = ""
    """The reasoning as it stood before a step was marked, which taking the mark back restores."""


def steps_of(verdict: Verdict | None) -> tuple[str, ...]:
    """The model's steps, also those of an answer that could not be read."""
    if verdict is None:
        return ()
    if verdict.assessment is not None:
        return verdict.assessment.reasoning
    if verdict.generation is None:
        return ()
    return split_steps(verdict.generation.text.split("</think>")[0].replace("<think>", ""))


def lines_of(reasoning: str) -> tuple[str, ...]:
    """The steps of the text field: a line each; numbers in front do not count."""
    return tuple(step for line in reasoning.splitlines() for step in split_steps(line) if step.strip())


def as_lines(steps: Sequence[str]) -> str:
    """Steps as the text field shows them, numbered so that they can be told apart."""
    return "\n".join(f"{number}. {' '.join(step.split())}" for number, step in enumerate(steps, 1))


def filled_from(item: Item) -> Form:
    """What stands already, for an item that was opened again; else nothing, so that nobody is led."""
    said = item.labels[-1] if item.labels else None
    return filled_with(said, item.verdict) if said is not None else Form()


def filled_with(record: LabelRecord, verdict: Verdict | None) -> Form:
    """A stored label, to be changed."""
    said = record.draft
    reasoning = said.reasoning
    same = reasoning is not None and reasoning.original in (None, steps_of(verdict))
    return Form(
        _word(said.request),
        _word(said.response),
        said.categories,
        said.confidence,
        said.note,
        as_lines(reasoning.steps) if reasoning else "",
        reasoning.first_wrong_step if reasoning and same else None,
        said.evidence,
    )


def draft_of(form: Form, item: Item) -> LabelDraft:
    """The label that the form makes. What cannot be right is refused by the store, in its words."""
    response = Label.ABSENT if item.sample.response is None else _label(form.response)
    return LabelDraft(
        _label(form.request),
        response,
        form.categories,
        form.confidence,
        form.note.strip(),
        _reasoning(form, item.verdict),
        form.evidence,
    )


def _reasoning(form: Form, verdict: Verdict | None) -> Reasoning | None:
    steps = lines_of(form.reasoning)
    if not steps:
        return None
    original = steps_of(verdict) or None
    return Reasoning(steps, original, form.first_wrong if original else None)


def marked_wrong(form: Form, step: int, steps: Sequence[str]) -> Form:
    """Mark the first wrong step, or take the mark back.

    The field then holds the model's steps up to that one, to be rewritten; with the mark taken back, what stood there
    before. What a person wrote, or let the guard write, is never touched.
    """
    if not 1 <= step <= len(steps):
        return form
    untouched = is_models_own(form.reasoning, steps)
    if form.first_wrong == step:
        return replace(form, first_wrong=None, reasoning=form.before_mark if untouched else form.reasoning)
    if not untouched:
        return replace(form, first_wrong=step)
    before = form.reasoning if form.first_wrong is None else form.before_mark
    return replace(form, first_wrong=step, reasoning=as_lines(steps[:step]), before_mark=before)


def is_models_own(reasoning: str, steps: Sequence[str]) -> bool:
    """Whether the field holds nothing but the model's first steps, none to all of them."""
    written = lines_of(reasoning)
    return any(written == lines_of(as_lines(steps[:count])) for count in range(len(steps) + 1))


def with_evidence(form: Form, message: Mapping[str, Any], sample: Sample) -> Form:
    """Add what was marked in a text or on a video. Offsets count characters of the stored text.

    Raises:
        InputError: it lies outside the sample.
    """
    part = EvidencePart(str(message.get("part")))
    start, end = _figure(message.get("start")), _figure(message.get("end"))
    if part is EvidencePart.MEDIA:
        position = int(_figure(message.get("position", 0)))
        if not 0 <= position < len(sample.media) or sample.media[position].modality is not Modality.VIDEO:
            raise InputError("Only a stretch of a video can be marked by its times.")
        if not end > start:
            raise InputError(f"The stretch ends at {end:.2f} s, not after its start at {start:.2f} s.")
        found = Evidence(part, start, end, position=position)
    else:
        text = sample.request if part is EvidencePart.REQUEST else sample.response or ""
        if not 0 <= start < end <= len(text):
            raise InputError("No words are marked; select some in the request or the response.")
        found = Evidence(part, start, end, text[int(start) : int(end)])
    same = (found.part, found.start, found.end, found.position)
    known = tuple(each for each in form.evidence if (each.part, each.start, each.end, each.position) != same)
    return replace(form, evidence=(*known, found))


def without_evidence(form: Form, at: int) -> Form:
    """Take one piece of evidence back."""
    return replace(form, evidence=tuple(each for place, each in enumerate(form.evidence) if place != at))


def tied(form: Form, at: int, step: int | None) -> Form:
    """Tie a piece of evidence to a step of the corrected reasoning, or to none."""
    changed = tuple(
        replace(each, step=step or None) if place == at else each for place, each in enumerate(form.evidence)
    )
    return replace(form, evidence=changed)


def _label(word: str | None) -> Label:
    return Label(word) if word in ("harmful", "unharmful") else Label.UNLABELLED


def _word(label: Label) -> str | None:
    return label.value if label in (Label.HARMFUL, Label.UNHARMFUL) else None


def _figure(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{str(value)[:40]!r} is no place in the sample; a number is expected.")
    return float(value)
