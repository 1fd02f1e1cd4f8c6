"""Can this label be right? Pure checks of a draft against its sample, before anything is stored."""

from __future__ import annotations

from collections.abc import Collection

from annotation_store.values.review import Evidence, EvidencePart, LabelDraft
from core.conclusion import Fit, conclusions
from core.errors import LabelRefused
from core.types import Label, Modality, Sample

MAX_NOTE_CHARS = 10_000
NOTHING_SAID = (Label.UNLABELLED, Label.ABSENT)


def check_draft(draft: LabelDraft, sample: Sample, categories: Collection[str] | None = None) -> tuple[str, ...]:
    """Refuse a label that cannot be right, and warn of one that may not be.

    Args:
        categories: hazard category ids that are accepted; none accepts any.

    Returns:
        Warnings, one sentence each.

    Raises:
        LabelRefused: a side is labelled that is not there, nothing is labelled at all, a figure lies outside its
            range, evidence lies outside the sample, a category is unknown, or the reasoning concludes the opposite.
    """
    _check_sides(draft, sample)
    if draft.confidence is not None and not 0.0 <= draft.confidence <= 1.0:
        raise LabelRefused(f"A confidence of {draft.confidence} cannot be stored; 0 to 1 is accepted.")
    if len(draft.note) > MAX_NOTE_CHARS:
        raise LabelRefused(f"The note has {len(draft.note):,} characters; at most {MAX_NOTE_CHARS:,} are accepted.")
    if categories is not None and (unknown := [each for each in draft.categories if each not in categories]):
        raise LabelRefused(f"{unknown[0][:80]!r} is no hazard category; accepted are {', '.join(sorted(categories))}.")
    steps = _check_reasoning(draft)
    for evidence in draft.evidence:
        _check_evidence(evidence, sample, steps)
    return _check_conclusion(draft)


def _check_sides(draft: LabelDraft, sample: Sample) -> None:
    if draft.request is Label.ABSENT:
        raise LabelRefused("The request is labelled absent, but every sample has a request.")
    if sample.response is None and draft.response is not Label.ABSENT:
        raise LabelRefused(f"The response is labelled {draft.response.value}, but the sample has no response.")
    if sample.response is not None and draft.response is Label.ABSENT:
        raise LabelRefused("The response is labelled absent, but the sample has one; say harmful or unharmful.")
    if draft.request in NOTHING_SAID and draft.response in NOTHING_SAID:
        raise LabelRefused("Nothing is labelled; say harmful or unharmful of the request or the response.")


def _check_reasoning(draft: LabelDraft) -> int:
    """How many steps evidence can be tied to."""
    reasoning = draft.reasoning
    if reasoning is None:
        return 0
    if not reasoning.steps or not all(step.strip() for step in reasoning.steps):
        raise LabelRefused("The reasoning has an empty step; write something in each step, or leave it out.")
    wrong = reasoning.first_wrong_step
    if wrong is not None and not 1 <= wrong <= len(reasoning.original or ()):
        raise LabelRefused(
            f"Step {wrong} is marked as the first wrong one, but the model's reasoning has "
            f"{len(reasoning.original or ())} steps."
        )
    if wrong is not None and reasoning.steps == reasoning.original:
        raise LabelRefused(f"Step {wrong} is marked as wrong, but the reasoning was not changed; correct the step.")
    return len(reasoning.steps)


def _check_evidence(evidence: Evidence, sample: Sample, steps: int) -> None:
    if evidence.part is EvidencePart.MEDIA:
        if not 0 <= evidence.position < len(sample.media):
            raise LabelRefused(
                f"Evidence points at medium {evidence.position + 1}, but the sample has {len(sample.media)}."
            )
        ref = sample.media[evidence.position]
        if ref.modality is not Modality.VIDEO:
            raise LabelRefused("Evidence from and to a time belongs to a video, but the medium is a still image.")
        end, unit = (ref.duration_s or 0.0) + 1.0, "seconds"
    else:
        text = sample.request if evidence.part is EvidencePart.REQUEST else sample.response
        if text is None:
            raise LabelRefused("Evidence points at the response, but the sample has none.")
        end, unit = float(len(text)), "characters"
        if text[int(evidence.start) : int(evidence.end)] != evidence.words:
            raise LabelRefused(
                f"The marked words “{evidence.words[:80]}” do not stand at {evidence.start:.0f} to {evidence.end:.0f} "
                f"of the {evidence.part.value}."
            )
    if not 0 <= evidence.start < evidence.end <= end:
        raise LabelRefused(
            f"Evidence from {evidence.start:g} to {evidence.end:g} {unit} does not lie within the "
            f"{evidence.part.value}."
        )
    if evidence.step is not None and not 1 <= evidence.step <= steps:
        raise LabelRefused(f"Evidence is tied to step {evidence.step}, but the reasoning has {steps} steps.")


def _check_conclusion(draft: LabelDraft) -> tuple[str, ...]:
    if draft.reasoning is None:
        return ()
    found = conclusions(draft.reasoning.steps, draft.request, draft.response)
    for each in found:
        if each.fit is Fit.OPPOSITE:
            raise LabelRefused(f"{each.words}. Change the label or the reasoning.")
    return tuple(each.words for each in found if each.fit is Fit.UNCLEAR)
