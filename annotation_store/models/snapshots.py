"""Which snapshots were frozen, and what each of them holds."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class SnapshotRow(Base):
    """A directory on disk, known by the digest of its content."""

    __tablename__ = "snapshots"

    key: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    folder: Mapped[str]
    """Relative to the folder of snapshots."""
    selection: Mapped[str]
    """JSON: the filter that was frozen."""
    protocol_version: Mapped[str]
    counts: Mapped[str]
    """JSON: rows by split."""
    created_by: Mapped[str]
    created_at: Mapped[str]
    broken_at: Mapped[str | None]
    """When a sample in it was deleted: from then on its content is no longer what the digest says."""


class SnapshotMemberRow(Base):
    """A sample in a snapshot, by id: this stays when the sample is deleted, so that the snapshot can be cleaned."""

    __tablename__ = "snapshot_members"

    snapshot_key: Mapped[int] = mapped_column(ForeignKey("snapshots.key", ondelete="CASCADE"), primary_key=True)
    sample_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    label_id: Mapped[str | None]
    split: Mapped[str]
