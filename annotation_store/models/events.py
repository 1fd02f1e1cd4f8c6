"""What reviewers did, in order, and how many of it in which quarter of an hour."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class EventRow(Base):
    """One action on one sample. Never changed: an undo is another event that names it."""

    __tablename__ = "events"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    """decide, skip, second_opinion, undo or reopen."""
    reviewer: Mapped[str]
    note: Mapped[str]
    """Why, in the reviewer's words."""
    label_key: Mapped[int | None] = mapped_column(ForeignKey("labels.key", ondelete="CASCADE"), index=True)
    undoes_key: Mapped[int | None] = mapped_column(ForeignKey("events.key", ondelete="CASCADE"), unique=True)
    token: Mapped[str | None] = mapped_column(unique=True)
    """The claim that it ended: handing in the same twice is one event."""
    before: Mapped[str | None]
    """JSON: what an undo has to put back."""
    created_at: Mapped[str]

    __table_args__ = (Index(None, "reviewer", "key"),)


class PaceCountRow(Base):
    """How often a reviewer did something in a quarter of an hour: every time zone's days are sums of such."""

    __tablename__ = "pace_counts"

    reviewer: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    quarter: Mapped[str] = mapped_column(primary_key=True)
    """Its beginning in UTC, as 2026-11-21T09:15."""
    events: Mapped[int]

    __table_args__ = (Index(None, "kind", "quarter"),)
