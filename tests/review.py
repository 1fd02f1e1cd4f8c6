"""Stores with something to review, for tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from annotation_store.incoming.bulk import import_rows
from annotation_store.incoming.values import ImportCounts, ImportRow
from annotation_store.models import ClaimRow, QueueItemRow, QueueReasonRow
from annotation_store.rules.reasons import ReasonRules
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import LabelDraft, Left
from core.types import Label, Sample, Verdict
from tests.queueing import enqueue
from tests.verdicts import verdict_on

HARMFUL = LabelDraft(Label.HARMFUL)
UNHARMFUL = LabelDraft(Label.UNHARMFUL)


def open_store(path: Path, **rules: Any) -> AnnotationStore:
    """A store whose audit share is empty, so that nothing depends on the ids of the samples."""
    return AnnotationStore.open(path, ReasonRules(**{"audit_share": 0.0} | rules))


def add(store: AnnotationStore, sample: Sample, *reasons: Reason, **changes: Any) -> Verdict:
    """A sample with a clear verdict and these reasons."""
    verdict = verdict_on(sample, f"v-{sample.id}-{changes.get('checkpoint_id', '')}", **changes)
    store.record(sample, verdict)
    enqueue(store, {sample.id: reasons})
    return verdict


def reason(kind: ReasonKind = ReasonKind.BAND, strength: float = 1.0, checkpoint_id: str = "guard-1") -> Reason:
    """A reason of any kind."""
    return Reason(kind, strength, f"Because of {kind.value}.", checkpoint_id)


def expire(store: AnnotationStore, token: str) -> None:
    """Let the time of a claim be over, without waiting for it."""
    with store.writing("Expiring") as connection:
        connection.execute(
            update(ClaimRow).where(ClaimRow.token == token).values(expires_at="2026-01-01T12:00:00.000000+00:00")
        )


def bring(store: AnnotationStore, rows: list[ImportRow], source: str = "set", **options: Any) -> ImportCounts:
    """Import rows from a file of no importance."""
    return import_rows(store, rows, source=source, file_name="set.jsonl", form="jsonl", imported_by="ann", **options)


def rows_of(**labels: LabelDraft | None) -> list[ImportRow]:
    """Rows of a file: each request with its label."""
    return [ImportRow(at, Sample(request), label) for at, (request, label) in enumerate(labels.items(), 1)]


def recount(store: AnnotationStore) -> Left:
    """What `left` must say, counted from the rows."""
    with store.reading("Counting") as connection:
        rows = connection.execute(
            select(
                QueueReasonRow.sample_key, QueueReasonRow.kind, QueueReasonRow.modality, QueueReasonRow.checkpoint_id
            )
            .join(QueueItemRow, QueueItemRow.sample_key == QueueReasonRow.sample_key)
            .where(QueueItemRow.state == "open")
        ).all()
    items = {row.sample_key: row.modality for row in rows}
    pairs = {(row.sample_key, row.checkpoint_id) for row in rows if row.checkpoint_id}
    return Left(
        len(items),
        dict(Counter(row.kind for row in rows)),
        dict(Counter(items.values())),
        dict(Counter(checkpoint for _, checkpoint in pairs)),
    )
