"""Deleting a sample with everything that was said about it. A tombstone without content stays.

The rows go in one transaction, which also notes the files to remove: should the process die before they are gone, the
next deletion, or `finish_removals` at the start of the app, removes them.
"""

from __future__ import annotations

import json
from typing import Protocol

from sqlalchemy import Connection, delete, insert, select, update

from annotation_store.columns import now_text, to_json
from annotation_store.database import forget_deleted
from annotation_store.models import (
    MediaRow,
    PendingRemovalRow,
    QueueItemRow,
    SampleMediaRow,
    SampleRow,
    SnapshotMemberRow,
    SnapshotRow,
    TombstoneRow,
)
from annotation_store.queue.items import DECIDED, set_item
from annotation_store.rows.samples import sample_key
from annotation_store.rows.words import out_of_the_index
from annotation_store.rules.names import named
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Tombstone
from core.errors import StoreError


class MediaFiles(Protocol):
    """Where media files lie (`core.media.store.MediaStore`)."""

    def remove(self, digest: str) -> None:
        """Remove a file; one that is not there is no error."""


def delete_sample(
    store: AnnotationStore, sample_id: str, deleted_by: str, reason: str, files: MediaFiles | None = None
) -> Tombstone:
    """Delete a sample, its verdicts, reports, labels and events, its search entries, and media that no other needs.

    Snapshots on disk are named by the tombstone and marked as broken in the store; taking the sample out of their
    folders is the caller's part, as is asking the person once more beforehand.

    Args:
        files: where the media lie; without it the files are removed by a later `finish_removals`.

    Raises:
        StoreError: there is no such sample, no reason is given, or the database or a file failed.
    """
    named(deleted_by)
    if not reason.strip():
        raise StoreError("No reason is given for the deletion; a few words are expected.")
    with store.writing("Deleting the sample") as connection:
        key, now = sample_key(connection, sample_id), now_text()
        snapshots = connection.execute(
            select(SnapshotRow.key, SnapshotRow.digest)
            .join(SnapshotMemberRow, SnapshotMemberRow.snapshot_key == SnapshotRow.key)
            .where(SnapshotMemberRow.sample_id == sample_id)
            .order_by(SnapshotRow.key)
        ).all()
        media = connection.scalars(
            select(SampleMediaRow.media_key).where(SampleMediaRow.sample_key == key).distinct()
        ).all()
        if connection.scalar(select(QueueItemRow.state).where(QueueItemRow.sample_key == key)) is not None:
            set_item(connection, key, now, state=DECIDED, stage="first")
        with out_of_the_index(connection, key):
            connection.execute(delete(SampleRow).where(SampleRow.key == key))
        gone = [digest for each in media if (digest := _drop_unused(connection, each, now)) is not None]
        stone = Tombstone(
            sample_id, reason.strip(), deleted_by, now, tuple(gone), tuple(row.digest for row in snapshots)
        )
        connection.execute(
            insert(TombstoneRow).values(
                sample_id=sample_id,
                reason=stone.reason,
                deleted_by=deleted_by,
                deleted_at=now,
                media=to_json(stone.media),
                snapshots=to_json(stone.snapshots),
            )
        )
        connection.execute(
            update(SnapshotRow)
            .where(SnapshotRow.key.in_([row.key for row in snapshots]), SnapshotRow.broken_at.is_(None))
            .values(broken_at=now)
        )
    if files is not None:
        finish_removals(store, files)
    forget_deleted(store.engine, store.writing)
    return stone


def finish_removals(store: AnnotationStore, files: MediaFiles) -> list[str]:
    """Remove the media files that deleted samples left behind; the digests of those removed now.

    Raises:
        StoreError: a file cannot be removed, or the database failed; what is left is tried again the next time.
    """
    removed = []
    with store.writing("Removing media files") as connection:
        for digest in connection.scalars(select(PendingRemovalRow.digest)).all():
            # The same file may have come back with another sample meanwhile.
            if connection.scalar(select(MediaRow.key).where(MediaRow.digest == digest)) is None:
                files.remove(digest)
                removed.append(digest)
            connection.execute(delete(PendingRemovalRow).where(PendingRemovalRow.digest == digest))
    return removed


def tombstone(store: AnnotationStore, sample_id: str) -> Tombstone | None:
    """What is left of a deleted sample; none for one that was not deleted.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Reading the tombstone") as connection:
        row = connection.execute(
            select(
                TombstoneRow.sample_id,
                TombstoneRow.reason,
                TombstoneRow.deleted_by,
                TombstoneRow.deleted_at,
                TombstoneRow.media,
                TombstoneRow.snapshots,
            ).where(TombstoneRow.sample_id == sample_id)
        ).one_or_none()
    if row is None:
        return None
    return Tombstone(*row[:4], tuple(json.loads(row.media)), tuple(json.loads(row.snapshots)))


def _drop_unused(connection: Connection, media_key: int, now: str) -> str | None:
    """Drop a medium that no sample has any more, and note its file for removal; its digest if so."""
    if connection.scalar(select(SampleMediaRow.sample_key).where(SampleMediaRow.media_key == media_key).limit(1)):
        return None
    digest = connection.scalar(select(MediaRow.digest).where(MediaRow.key == media_key))
    connection.execute(delete(MediaRow).where(MediaRow.key == media_key))
    connection.execute(delete(PendingRemovalRow).where(PendingRemovalRow.digest == digest))
    connection.execute(insert(PendingRemovalRow).values(digest=digest, created_at=now))
    return digest
