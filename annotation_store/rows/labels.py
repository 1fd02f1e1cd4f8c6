"""Rows of labels, from values and back; which label of a sample counts. Inside the transactions of the operations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.orm import aliased

from annotation_store.columns import new_id, to_json
from annotation_store.models import (
    EventRow,
    EvidenceRow,
    LabelReasoningRow,
    LabelRow,
    SampleRow,
    SettledLabelRow,
    VerdictRow,
)
from annotation_store.rows.samples import MANY, insert_row, inserting
from annotation_store.values.review import Evidence, EvidencePart, LabelDraft, LabelRecord, Reasoning
from core.types import Label

_done, _undo = aliased(EventRow), aliased(EventRow)
# Events that gave a label and were taken back.
_TAKEN_BACK = (
    select(_done.label_key, _undo.created_at)
    .join(_undo, _undo.undoes_key == _done.key)
    .where(_done.label_key.is_not(None))
)
_UNDONE_OF = select(
    _TAKEN_BACK.where(_done.sample_key == bindparam("of_sample")).subquery().c.label_key
).scalar_subquery()
_STANDING = (
    select(
        LabelRow.key,
        LabelRow.reviewer,
        LabelRow.supersedes_key,
        LabelRow.key.in_(_UNDONE_OF).label("undone"),
        LabelRow.id,
        SettledLabelRow.label_key.label("settled_key"),
    )
    .outerjoin(SettledLabelRow, SettledLabelRow.label_key == LabelRow.key)
    .where(LabelRow.sample_key == bindparam("of_sample"))
    .order_by(LabelRow.key)
)
_SETTLE_ANEW = update(SettledLabelRow).where(SettledLabelRow.sample_key == bindparam("of_sample"))
_UNSETTLE = delete(SettledLabelRow).where(SettledLabelRow.sample_key == bindparam("of_sample"))
_LABELS = (
    select(
        LabelRow.key,
        LabelRow.id,
        LabelRow.reviewer,
        LabelRow.source,
        LabelRow.request_label,
        LabelRow.response_label,
        LabelRow.categories,
        LabelRow.confidence,
        LabelRow.note,
        LabelRow.supersedes_key,
        LabelRow.audited,
        LabelRow.policy_version,
        LabelRow.created_at,
        SampleRow.id.label("sample_id"),
        VerdictRow.id.label("verdict_id"),
        LabelReasoningRow.steps,
        LabelReasoningRow.original,
        LabelReasoningRow.first_wrong_step,
        LabelReasoningRow.target,
        LabelReasoningRow.protocol_version,
        SettledLabelRow.label_key.label("settled_key"),
    )
    .join(SampleRow, SampleRow.key == LabelRow.sample_key)
    .outerjoin(VerdictRow, VerdictRow.key == LabelRow.verdict_key)
    .outerjoin(LabelReasoningRow, LabelReasoningRow.label_key == LabelRow.key)
    .outerjoin(SettledLabelRow, SettledLabelRow.label_key == LabelRow.key)
    .where(LabelRow.sample_key.in_(bindparam("keys", expanding=True)))
    .order_by(LabelRow.key)
)
_EVIDENCE = (
    select(
        EvidenceRow.label_key,
        EvidenceRow.part,
        EvidenceRow.start,
        EvidenceRow.end,
        EvidenceRow.words,
        EvidenceRow.step,
        EvidenceRow.position,
    )
    .join(LabelRow, LabelRow.key == EvidenceRow.label_key)
    .where(LabelRow.sample_key.in_(bindparam("keys", expanding=True)))
    .order_by(EvidenceRow.key)
)
_UNDONE = _TAKEN_BACK.where(_done.sample_key.in_(bindparam("keys", expanding=True)))


@dataclass(frozen=True, slots=True)
class Standing:
    """What `settled` has to know of a label."""

    key: int
    by_person: bool
    supersedes: int | None
    undone: bool
    reviewer: str | None = None
    id: str = ""
    counts: bool = False
    """Whether it is written down as the one that counts."""


def standing(labels: Sequence[Standing]) -> list[Standing]:
    """Those that were not taken back and that no such one supersedes."""
    alive = [label for label in labels if not label.undone]
    replaced = {label.supersedes for label in alive}
    return [label for label in alive if label.key not in replaced]


def settled(labels: Sequence[Standing]) -> int | None:
    """The label that counts: the latest of a person, else the latest imported one.

    A label that was taken back, or that a standing one supersedes, does not count.
    """
    best = max(standing(labels), key=lambda label: (label.by_person, label.key), default=None)
    return None if best is None else best.key


def settle(connection: Connection, sample_key: int) -> int | None:
    """Write down which label of a sample counts now, and give its key."""
    return settle_among(connection, sample_key, standing_labels(connection, sample_key))


def settle_among(connection: Connection, sample_key: int, labels: Sequence[Standing]) -> int | None:
    """The same for all labels of the sample, as they were just read or written."""
    key = settled(labels)
    known = next((label.key for label in labels if label.counts), None)
    if key == known:
        return key
    if key is None:
        connection.execute(_UNSETTLE, {"of_sample": sample_key})
    elif known is None:
        connection.execute(inserting(SettledLabelRow), {"sample_key": sample_key, "label_key": key})
    else:
        connection.execute(_SETTLE_ANEW, {"of_sample": sample_key, "label_key": key})
    return key


def standing_labels(connection: Connection, sample_key: int) -> list[Standing]:
    """All labels of a sample, for `settled`."""
    return [
        Standing(
            row.key,
            row.reviewer is not None,
            row.supersedes_key,
            bool(row.undone),
            row.reviewer,
            row.id,
            row.settled_key is not None,
        )
        for row in connection.execute(_STANDING, {"of_sample": sample_key})
    ]


def own_standing(labels: Sequence[Standing], reviewer: str) -> Standing | None:
    """Of the labels of a sample, the one of this reviewer that stands: a new one of the same reviewer supersedes it."""
    own = [label for label in standing(labels) if label.reviewer == reviewer]
    return max(own, key=lambda label: label.key, default=None)


def write_label(
    connection: Connection,
    sample_key: int,
    draft: LabelDraft,
    now: str,
    *,
    reviewer: str | None = None,
    source: str | None = None,
    verdict_key: int | None = None,
    supersedes_key: int | None = None,
    audited: bool = False,
    policy_version: str | None = None,
    label_id: str | None = None,
) -> int:
    """Append a label with its reasoning and evidence, and give its key. `label_id`: its name, new unless given."""
    values = label_values(draft, now, label_id or new_id("l1"))
    values |= {
        "sample_key": sample_key,
        "reviewer": reviewer,
        "source": source,
        "verdict_key": verdict_key,
        "supersedes_key": supersedes_key,
        "audited": audited,
        "policy_version": policy_version,
    }
    key = insert_row(connection, LabelRow, **values)
    if draft.reasoning is not None:
        connection.execute(inserting(LabelReasoningRow), {"label_key": key, **reasoning_values(draft.reasoning)})
    if draft.evidence:
        connection.execute(
            inserting(EvidenceRow), [evidence_values(each) | {"label_key": key} for each in draft.evidence]
        )
    return key


def label_values(draft: LabelDraft, now: str, label_id: str) -> dict[str, object]:
    """The columns of a label that its draft gives."""
    return {
        "id": label_id,
        "request_label": draft.request.value,
        "response_label": draft.response.value,
        "categories": to_json(draft.categories),
        "confidence": draft.confidence,
        "note": draft.note,
        "created_at": now,
    }


def reasoning_values(reasoning: Reasoning) -> dict[str, object]:
    """The columns of a label's reasoning."""
    return {
        "steps": to_json(reasoning.steps),
        "original": None if reasoning.original is None else to_json(reasoning.original),
        "first_wrong_step": reasoning.first_wrong_step,
        "target": reasoning.target,
        "protocol_version": reasoning.protocol_version,
    }


def evidence_values(evidence: Evidence) -> dict[str, object]:
    """The columns of a stretch of evidence."""
    return {
        "part": evidence.part.value,
        "position": evidence.position,
        "start": evidence.start,
        "end": evidence.end,
        "words": evidence.words,
        "step": evidence.step,
    }


def read_labels(connection: Connection, sample_keys: Sequence[int]) -> list[LabelRecord]:
    """All labels of these samples, oldest first."""
    records: list[LabelRecord] = []
    for start in range(0, len(sample_keys), MANY):
        records += _read_some(connection, list(sample_keys[start : start + MANY]))
    return records


def _read_some(connection: Connection, sample_keys: list[int]) -> list[LabelRecord]:
    rows = connection.execute(_LABELS, {"keys": sample_keys}).all()
    if not rows:
        return []
    evidence: dict[int, list[Evidence]] = {}
    for each in connection.execute(_EVIDENCE, {"keys": sample_keys}):
        evidence.setdefault(each.label_key, []).append(
            Evidence(EvidencePart(each.part), each.start, each.end, each.words, each.step, each.position)
        )
    undone = {row[0]: row[1] for row in connection.execute(_UNDONE, {"keys": sample_keys})}
    ids = {row.key: row.id for row in rows}
    # A label that was taken back supersedes nothing any more.
    replaced = {row.supersedes_key: row.id for row in rows if row.supersedes_key is not None and row.key not in undone}
    return [
        LabelRecord(
            id=row.id,
            sample_id=row.sample_id,
            draft=LabelDraft(
                request=Label(row.request_label),
                response=Label(row.response_label),
                categories=tuple(json.loads(row.categories)),
                confidence=row.confidence,
                note=row.note,
                reasoning=None if row.steps is None else Reasoning(
                    tuple(json.loads(row.steps)),
                    None if row.original is None else tuple(json.loads(row.original)),
                    row.first_wrong_step,
                    row.target,
                    row.protocol_version,
                ),
                evidence=tuple(evidence.get(row.key, ())),
            ),
            reviewer=row.reviewer,
            source=row.source,
            created_at=row.created_at,
            supersedes=ids.get(row.supersedes_key),
            superseded_by=replaced.get(row.key),
            undone_at=undone.get(row.key),
            verdict_id=row.verdict_id,
            policy_version=row.policy_version,
            audited=bool(row.audited),
            settled=row.settled_key is not None,
        )
        for row in rows
    ]  # fmt: skip
