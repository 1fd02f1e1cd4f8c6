"""Stores with something to review, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import update

from annotation_store.bulk import ImportCounts, ImportRow, import_rows
from annotation_store.enqueue import enqueue
from annotation_store.models import ClaimRow
from annotation_store.reasons import Reason, ReasonKind, ReasonRules
from annotation_store.review_values import LabelDraft
from annotation_store.store import AnnotationStore
from core.types import Label, Sample, Verdict
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
