"""Rows of labels, from values and back; which label of a sample counts. Inside the transactions of the operations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Subquery, delete, insert, select, update
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
from annotation_store.review_values import Evidence, EvidencePart, LabelDraft, LabelRecord, Reasoning
from annotation_store.samples import MANY, insert_row
from core.types import Label


@dataclass(frozen=True, slots=True)
class Standing:
    """What `settled` has to know of a label."""

    key: int
    by_person: bool
    supersedes: int | None
    undone: bool


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
    key = settled(standing_labels(connection, sample_key))
    known = connection.scalar(select(SettledLabelRow.label_key).where(SettledLabelRow.sample_key == sample_key))
    if key == known:
        return key
    if key is None:
        connection.execute(delete(SettledLabelRow).where(SettledLabelRow.sample_key == sample_key))
    elif known is None:
        connection.execute(insert(SettledLabelRow).values(sample_key=sample_key, label_key=key))
    else:
        connection.execute(
            update(SettledLabelRow).where(SettledLabelRow.sample_key == sample_key).values(label_key=key)
        )
    return key


def standing_labels(connection: Connection, sample_key: int) -> list[Standing]:
    """All labels of a sample, for `settled`."""
    undone = select(undone_keys(sample_key).c.label_key)
    rows = connection.execute(
        select(LabelRow.key, LabelRow.reviewer.is_not(None), LabelRow.supersedes_key, LabelRow.key.in_(undone))
        .where(LabelRow.sample_key == sample_key)
        .order_by(LabelRow.key)
    )
    return [Standing(key, bool(person), supersedes, bool(gone)) for key, person, supersedes, gone in rows]


def undone_keys(*sample_keys: int) -> Subquery:
    """Labels of these samples that were taken back, with the time: a subquery of `label_key` and `created_at`."""
    done, undo = aliased(EventRow), aliased(EventRow)
    return (
        select(done.label_key, undo.created_at)
        .join(undo, undo.undoes_key == done.key)
        .where(done.sample_key.in_(sample_keys), done.label_key.is_not(None))
        .subquery()
    )


def own_standing(connection: Connection, sample_key: int, reviewer: str) -> int | None:
    """The label of this reviewer that stands, which a new one of the same reviewer supersedes."""
    own = set(
        connection.scalars(select(LabelRow.key).where(LabelRow.sample_key == sample_key, LabelRow.reviewer == reviewer))
    )
    if not own:
        return None
    found = [label.key for label in standing(standing_labels(connection, sample_key)) if label.key in own]
    return max(found, default=None)


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
) -> int:
    """Append a label with its reasoning and evidence, and give its key."""
    values = label_values(draft, now)
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
        connection.execute(insert(LabelReasoningRow).values(label_key=key, **reasoning_values(draft.reasoning)))
    if draft.evidence:
        connection.execute(insert(EvidenceRow), [evidence_values(each) | {"label_key": key} for each in draft.evidence])
    return key


def label_values(draft: LabelDraft, now: str) -> dict[str, object]:
    """The columns of a label that its draft gives."""
    return {
        "id": new_id("l1"),
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
    rows = connection.execute(
        select(
            LabelRow,
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
        .where(LabelRow.sample_key.in_(sample_keys))
        .order_by(LabelRow.key)
    ).all()
    if not rows:
        return []
    evidence: dict[int, list[Evidence]] = {}
    marked = connection.execute(
        select(EvidenceRow)
        .join(LabelRow, LabelRow.key == EvidenceRow.label_key)
        .where(LabelRow.sample_key.in_(sample_keys))
        .order_by(EvidenceRow.key)
    )
    for each in marked:
        evidence.setdefault(each.label_key, []).append(
            Evidence(EvidencePart(each.part), each.start, each.end, each.words, each.step, each.position)
        )
    gone = undone_keys(*sample_keys)
    undone = {row[0]: row[1] for row in connection.execute(select(gone.c.label_key, gone.c.created_at))}
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
