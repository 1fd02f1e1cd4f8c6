"""What models say (verdicts) and what visitors say of it (reports). They never share a row, and no row is updated."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class VerdictRow(Base):
    """One judgement by one checkpoint. `document` is the whole of it; the other columns are there to be asked by."""

    __tablename__ = "verdicts"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), index=True)
    checkpoint_id: Mapped[str]
    protocol_version: Mapped[str]
    decision: Mapped[str]
    request_label: Mapped[str | None]
    """None, like the response's, when the model's text could not be read; `error` then says why."""
    response_label: Mapped[str | None]
    p_request: Mapped[float | None]
    """Deliberated P(harmful)."""
    p_response: Mapped[float | None]
    first_look_p_request: Mapped[float | None]
    first_look_p_response: Mapped[float | None]
    error: Mapped[str | None]
    created_at: Mapped[str]
    document: Mapped[str]
    """JSON of `core.verdict_json`."""


class ReportRow(Base):
    """A person pressed "this verdict is wrong"."""

    __tablename__ = "reports"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    verdict_key: Mapped[int] = mapped_column(ForeignKey("verdicts.key", ondelete="CASCADE"))
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), index=True)
    note: Mapped[str]
    reporter: Mapped[str]
    created_at: Mapped[str]

    __table_args__ = (Index(None, "verdict_key", "reporter"),)
