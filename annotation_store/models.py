"""The tables. Rows have short integer keys of their own; `id` is the name by which the rest of Guardroom knows a thing.

Everything that is said about a sample points at the sample's key and goes when the sample goes, so a later deletion
is one statement. What models say (verdicts) and what people say (reports) never share a row, and no row is updated.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Double, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from annotation_store.columns import AnyText

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}
"""Every constraint has a name, or later migrations could not address it."""


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {str: AnyText, float: Double}


class SampleRow(Base):
    """A sample, once, however often it was judged."""

    __tablename__ = "samples"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    """`Sample.id`: digest of the content."""
    request: Mapped[str]
    response: Mapped[str | None]
    modality: Mapped[str]
    created_at: Mapped[str]
    """When it was first seen (all times: UTC, ISO 8601 with microseconds)."""


class MediaRow(Base):
    """What is known of a media file; the bytes lie in the data folder under their digest."""

    __tablename__ = "media"

    key: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    media_type: Mapped[str]
    modality: Mapped[str]
    byte_size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    duration_s: Mapped[float | None]
    frame_count: Mapped[int | None]
    created_at: Mapped[str]


class SampleMediaRow(Base):
    """Which media a sample has, in order; the same file may stand at several positions."""

    __tablename__ = "sample_media"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    media_key: Mapped[int] = mapped_column(ForeignKey("media.key"), index=True)


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
