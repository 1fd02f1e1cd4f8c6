"""Samples, their media, and the words beside them that can be searched for."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


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
    damaged_at: Mapped[str | None]
    """When a reading found other bytes than were stored; none again once a reading found the right ones."""


class SampleMediaRow(Base):
    """Which media a sample has, in order; the same file may stand at several positions."""

    __tablename__ = "sample_media"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    media_key: Mapped[int] = mapped_column(ForeignKey("media.key"), index=True)


class SampleWordsRow(Base):
    """What models reasoned and people noted about a sample, gathered for the search index: see `rows.words`."""

    __tablename__ = "sample_words"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    reasoning: Mapped[str]
    notes: Mapped[str]
