"""Which samples are nearly the same, and the split that each group of them has for ever."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class TextSignatureRow(Base):
    """The MinHash signature of a sample's texts."""

    __tablename__ = "text_signatures"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    """Little-endian 32-bit minima, one a permutation."""


class TextBandRow(Base):
    """One band of a signature: samples that share a band's value are candidates."""

    __tablename__ = "text_bands"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    band: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index(None, "value", "band"),)


class ImageHashRow(Base):
    """The perceptual hash of a picture, or of one frame of a video."""

    __tablename__ = "image_hashes"

    media_key: Mapped[int] = mapped_column(ForeignKey("media.key", ondelete="CASCADE"), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True)
    """0 for a still image."""
    hash: Mapped[int] = mapped_column(BigInteger)
    """64 bits as a signed number."""


class ImageBandRow(Base):
    """One band of a perceptual hash: hashes that differ little share at least one."""

    __tablename__ = "image_bands"

    media_key: Mapped[int] = mapped_column(ForeignKey("media.key", ondelete="CASCADE"), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True)
    band: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]

    __table_args__ = (Index(None, "value", "band"),)


class GroupRow(Base):
    """A near-duplicate group. Its split is given once and never changed, also when all its samples are deleted."""

    __tablename__ = "duplicate_groups"

    key: Mapped[int] = mapped_column(primary_key=True)
    split: Mapped[str | None]
    """train, validation or test; none until it was first needed."""
    assigned_at: Mapped[str | None]
    created_at: Mapped[str]


class GroupMemberRow(Base):
    """Which group a sample belongs to: at most one."""

    __tablename__ = "group_members"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    group_key: Mapped[int] = mapped_column(ForeignKey("duplicate_groups.key"), index=True)
