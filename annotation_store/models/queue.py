"""The review queue: what waits, why, with which weight, who holds what, and how much is left.

The next item is found without a scan: `QueueCountRow` names the combinations that have something open, the index of
`QueueReasonRow` gives the head of each, and the weights order the heads.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class QueueItemRow(Base):
    """A sample that is or was in the queue."""

    __tablename__ = "queue_items"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str]
    """open or decided. An open item that somebody holds stays open: the claim hides it while it lasts."""
    stage: Mapped[str]
    """first, second_opinion or reopened: what the next label is to the earlier ones."""
    created_at: Mapped[str]
    changed_at: Mapped[str]


class QueueReasonRow(Base):
    """Why a sample is in the queue. A new verdict with the same reason takes the place of the earlier reason."""

    __tablename__ = "queue_reasons"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str]
    """The checkpoint whose verdict is the reason; empty when it is no checkpoint's."""
    modality: Mapped[str]
    """The sample's, repeated here for the index."""
    open: Mapped[bool]
    """The item's state, repeated here for the index."""
    turn: Mapped[int]
    """How often the item was skipped: those come after all others."""
    weakness: Mapped[float]
    """1 - strength, so that the index runs from the strongest to the weakest."""
    words: Mapped[str]
    created_at: Mapped[str]

    __table_args__ = (
        Index(
            "ix_queue_reasons_order", "open", "kind", "modality", "checkpoint_id", "turn", "weakness", "sample_key"
        ),
    )  # fmt: skip


class QueueCountRow(Base):
    """How many open items there are. Kept up with every change, never counted.

    With an empty kind it counts items (of one checkpoint, or of all when that is empty too), so that an item with two
    reasons is not counted twice.
    """

    __tablename__ = "queue_counts"

    kind: Mapped[str] = mapped_column(primary_key=True)
    modality: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(primary_key=True)
    open_items: Mapped[int]

    __table_args__ = (Index("ix_queue_counts_open", "open_items", "kind", "modality", "checkpoint_id"),)


class ReasonWeightRow(Base):
    """A weight that the owner gave to a kind of reason; without a row it has the weight of `rules.reasons`."""

    __tablename__ = "reason_weights"

    kind: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]
    changed_by: Mapped[str]
    changed_at: Mapped[str]


class ClaimRow(Base):
    """Who holds an item until when. A claim whose time is over holds nothing and is replaced by the next one."""

    __tablename__ = "claims"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    token: Mapped[str] = mapped_column(unique=True)
    reviewer: Mapped[str]
    claimed_at: Mapped[str]
    heartbeat_at: Mapped[str]
    expires_at: Mapped[str]

    __table_args__ = (Index(None, "reviewer", "expires_at"),)


class PassRow(Base):
    """An item that a reviewer has decided, skipped or sent on: it is not offered to the same reviewer again."""

    __tablename__ = "passes"

    reviewer: Mapped[str] = mapped_column(primary_key=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True, index=True)
    created_at: Mapped[str]
