"""Everything that the store knows of one sample, for the sample's own page."""

from __future__ import annotations

import json

from sqlalchemy import select

from annotation_store.models import (
    EventRow,
    GroupMemberRow,
    GroupRow,
    ImportBatchRow,
    ImportedSampleRow,
    QueueItemRow,
    ReportRow,
    SampleRow,
    SnapshotMemberRow,
    SnapshotRow,
    VerdictRow,
)
from annotation_store.queue.views import read_reasons
from annotation_store.rows.events import read_events
from annotation_store.rows.labels import read_labels
from annotation_store.rows.samples import read_samples, sample_key
from annotation_store.store import AnnotationStore
from annotation_store.values.reports import Report
from annotation_store.values.review import ImportRef, SnapshotRef, Trail
from core.verdict_json import verdict_from_document


def trail(store: AnnotationStore, sample_id: str) -> Trail:
    """The whole trail of a sample: verdicts, reports, labels with corrections, events, snapshots, imports.

    Raises:
        StoreError: there is no such sample, it was deleted (`deletion.tombstone` says more), or the database failed.
    """
    with store.reading("Reading the sample's trail") as connection:
        key = sample_key(connection, sample_id)
        documents = connection.scalars(
            select(VerdictRow.document).where(VerdictRow.sample_key == key).order_by(VerdictRow.key)
        )
        reports = connection.execute(
            select(ReportRow.id, VerdictRow.id, SampleRow.id, ReportRow.note, ReportRow.reporter, ReportRow.created_at)
            .join(VerdictRow, VerdictRow.key == ReportRow.verdict_key)
            .join(SampleRow, SampleRow.key == ReportRow.sample_key)
            .where(ReportRow.sample_key == key)
            .order_by(ReportRow.key)
        )
        events = connection.scalars(select(EventRow.key).where(EventRow.sample_key == key)).all()
        snapshots = connection.execute(
            select(
                SnapshotRow.digest,
                SnapshotRow.name,
                SnapshotRow.folder,
                SnapshotMemberRow.split,
                SnapshotRow.created_at,
            )
            .join(SnapshotMemberRow, SnapshotMemberRow.snapshot_key == SnapshotRow.key)
            .where(SnapshotMemberRow.sample_id == sample_id)
            .order_by(SnapshotRow.key)
        )
        imports = connection.execute(
            select(
                ImportBatchRow.id,
                ImportBatchRow.source,
                ImportBatchRow.file_name,
                ImportedSampleRow.row,
                ImportedSampleRow.external_id,
                ImportBatchRow.started_at,
            )
            .join(ImportedSampleRow, ImportedSampleRow.batch_key == ImportBatchRow.key)
            .where(ImportedSampleRow.sample_key == key)
            .order_by(ImportBatchRow.key)
        )
        return Trail(
            sample_id=sample_id,
            sample=read_samples(connection, [key])[key],
            created_at=str(connection.scalar(select(SampleRow.created_at).where(SampleRow.key == key))),
            state=connection.scalar(select(QueueItemRow.state).where(QueueItemRow.sample_key == key)),
            reasons=read_reasons(connection, key),
            verdicts=tuple(verdict_from_document(json.loads(document)) for document in documents),
            reports=tuple(Report(*row) for row in reports),
            labels=tuple(read_labels(connection, [key])),
            events=tuple(read_events(connection, events)),
            snapshots=tuple(SnapshotRef(*row) for row in snapshots),
            imports=tuple(ImportRef(*row) for row in imports),
            split=connection.scalar(
                select(GroupRow.split)
                .join(GroupMemberRow, GroupMemberRow.group_key == GroupRow.key)
                .where(GroupMemberRow.sample_key == key)
            ),
        )
