"""The snapshots that the store knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select

from annotation_store.models import SnapshotRow
from annotation_store.snapshots.values import SnapshotInfo
from annotation_store.store import AnnotationStore
from core.errors import StoreError


def snapshots(store: AnnotationStore, root: Path, limit: int = 100) -> list[SnapshotInfo]:
    """Snapshots, newest first.

    Args:
        root: the folder of snapshots.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Listing the snapshots") as connection:
        rows = connection.execute(select(SnapshotRow).order_by(SnapshotRow.key.desc()).limit(limit)).all()
    return [_info(row, root) for row in rows]


def snapshot(store: AnnotationStore, root: Path, digest: str) -> SnapshotInfo:
    """The snapshot of a digest.

    Raises:
        StoreError: there is none, or the database failed.
    """
    with store.reading("Reading the snapshot") as connection:
        row = connection.execute(select(SnapshotRow).where(SnapshotRow.digest == digest)).one_or_none()
    if row is None:
        raise StoreError(f"There is no snapshot {digest[:80]!r} in the store; the digest of a frozen one is expected.")
    return _info(row, root)


def _info(row: Row[Any], root: Path) -> SnapshotInfo:
    counts = json.loads(row.counts)
    left_out = counts.pop("left_out", {})
    return SnapshotInfo(
        row.digest,
        row.name,
        root / row.folder,
        json.loads(row.selection),
        row.protocol_version,
        counts,
        row.created_by,
        row.created_at,
        row.broken_at,
        left_out,
    )
