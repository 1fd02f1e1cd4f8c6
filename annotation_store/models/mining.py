"""Searches for hard samples with several generations each, so that a stopped one can go on."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class MiningRunRow(Base):
    """One search over stored samples or an imported file."""

    __tablename__ = "mining_runs"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    checkpoint_id: Mapped[str]
    rule: Mapped[str]
    """vl, omni-v1, omni-v2 or entropy."""
    settings: Mapped[str]
    """JSON: n, temperature, top-p, and which samples."""
    state: Mapped[str]
    """running, stopped or done."""
    total: Mapped[int]
    done: Mapped[int]
    kept: Mapped[int]
    started_by: Mapped[str]
    started_at: Mapped[str]
    changed_at: Mapped[str]


class MinedSampleRow(Base):
    """What the generations said about one sample."""

    __tablename__ = "mined_samples"

    run_key: Mapped[int] = mapped_column(ForeignKey("mining_runs.key", ondelete="CASCADE"), primary_key=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True, index=True)
    answers: Mapped[str]
    """JSON list: request and response label of each generation, null where it could not be read."""
    wrong: Mapped[int | None]
    """How many were wrong; none without a label to compare with."""
    entropy: Mapped[float | None]
    """Vote entropy in bits; none with a label."""
    kept: Mapped[bool]
