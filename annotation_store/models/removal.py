"""What is left of a deleted sample, and files that are still to be removed."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class TombstoneRow(Base):
    """A deleted sample: that it was here, who deleted it and why, and none of its content."""

    __tablename__ = "tombstones"

    key: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[str] = mapped_column(unique=True)
    reason: Mapped[str]
    deleted_by: Mapped[str]
    deleted_at: Mapped[str]
    media: Mapped[str]
    """JSON list: digests of the media that went with it."""
    snapshots: Mapped[str]
    """JSON list: digests of the snapshots that held it."""


class PendingRemovalRow(Base):
    """A media file that no sample needs any more and that lies on the disk until its removal is done."""

    __tablename__ = "pending_removals"

    digest: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[str]
