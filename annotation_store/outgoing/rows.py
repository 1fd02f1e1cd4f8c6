"""A sample with its label as one plain row: what exports write, and what an import of Guardroom's own files reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from annotation_store.values.review import Evidence, EvidencePart, Exported, LabelDraft, Reasoning
from core.types import Label

STATED = (Label.HARMFUL, Label.UNHARMFUL)


def plain_row(item: Exported, media: list[str]) -> dict[str, Any]:
    """One row with JSON values, always with the same keys in the same order.

    Args:
        media: the paths under which the media lie beside the export.
    """
    sample, record = item.sample, item.label
    draft = record.draft if record else None
    reasoning = draft.reasoning if draft else None
    return {
        "id": item.sample_id,
        "modality": sample.modality.value,
        "request": sample.request,
        "response": sample.response,
        "media": media,
        "request_label": _word(draft.request if draft else None),
        "response_label": _word(draft.response if draft else None),
        "categories": list(draft.categories) if draft else [],
        "reasoning": list(reasoning.steps) if reasoning else [],
        "confidence": draft.confidence if draft else None,
        "note": draft.note if draft else "",
        "label_detail": _detail(draft) if draft else None,
        "reviewer": record.reviewer if record else None,
        "source": record.source if record else None,
        "labelled_at": record.created_at if record else None,
        "split": item.split.value if item.split else None,
    }


def _word(label: Label | None) -> str | None:
    return label.value if label in STATED and label is not None else None


def _detail(draft: LabelDraft) -> dict[str, Any] | None:
    """What of a label has no column of its own; none when there is nothing."""
    said = draft.reasoning
    detail: dict[str, Any] = {}
    if said:
        stated = {
            "original": None if said.original is None else list(said.original),
            "first_wrong_step": said.first_wrong_step,
            "target": said.target,
            "target_protocol": said.protocol_version,
        }
        detail = {name: value for name, value in stated.items() if value is not None}
    if draft.evidence:
        detail["evidence"] = [asdict(each) | {"part": each.part.value} for each in draft.evidence]
    return detail or None


def detailed(draft: LabelDraft, detail: Mapping[str, Any]) -> LabelDraft:
    """The draft with what `plain_row` wrote into `label_detail`.

    Raises:
        KeyError, TypeError, ValueError: it is nothing that was written there.
    """
    said = draft.reasoning
    if said is not None:
        original = detail.get("original")
        wrong, target, protocol = (detail.get(name) for name in ("first_wrong_step", "target", "target_protocol"))
        if not (
            (original is None or (isinstance(original, list) and all(isinstance(each, str) for each in original)))
            and (wrong is None or (isinstance(wrong, int) and not isinstance(wrong, bool)))
            and all(each is None or isinstance(each, str) for each in (target, protocol))
        ):
            raise ValueError("no such reasoning")
        said = Reasoning(said.steps, None if original is None else tuple(original), wrong, target, protocol)
    evidence = tuple(_evidence(each) for each in detail.get("evidence", ()))
    return LabelDraft(draft.request, draft.response, draft.categories, draft.confidence, draft.note, said, evidence)


def _evidence(said: Mapping[str, Any]) -> Evidence:
    step, words = said["step"], said["words"]
    if not isinstance(words, str) or not (step is None or isinstance(step, int)):
        raise ValueError("no such evidence")
    return Evidence(
        EvidencePart(said["part"]), float(said["start"]), float(said["end"]), words, step, int(said["position"])
    )
