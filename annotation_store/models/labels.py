"""What people say of a sample: labels with the reasoning they corrected and the evidence they marked.

Rows of labels, reasoning and evidence are written once and never updated: a correction is a new label that names the
one it supersedes, and taking a label back is an event. Which label counts is kept beside them (`SettledLabelRow`).
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class LabelRow(Base):
    """One answer of one reviewer, or one that came with a file."""

    __tablename__ = "labels"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), index=True)
    reviewer: Mapped[str | None]
    """Who gave it; none for a label that was imported."""
    source: Mapped[str | None]
    """Which data set gave it; none for a reviewer's."""
    request_label: Mapped[str]
    response_label: Mapped[str]
    categories: Mapped[str]
    """JSON list of hazard category ids."""
    confidence: Mapped[float | None]
    """In [0, 1]; none when the reviewer did not say."""
    note: Mapped[str]
    verdict_key: Mapped[int | None] = mapped_column(ForeignKey("verdicts.key", ondelete="SET NULL"), index=True)
    """The verdict that the reviewer saw."""
    supersedes_key: Mapped[int | None] = mapped_column(ForeignKey("labels.key", ondelete="SET NULL"), index=True)
    audited: Mapped[bool]
    """Whether the sample was in the random audit share: figures over those are unbiased and kept apart."""
    policy_version: Mapped[str | None]
    created_at: Mapped[str]

    __table_args__ = (CheckConstraint("(reviewer IS NULL) <> (source IS NULL)", name="ck_labels_one_author"),)


class LabelReasoningRow(Base):
    """The reasoning that belongs to a label: what it was, where it went wrong, what it is now."""

    __tablename__ = "label_reasoning"

    label_key: Mapped[int] = mapped_column(ForeignKey("labels.key", ondelete="CASCADE"), primary_key=True)
    steps: Mapped[str]
    """JSON list: the steps as the reviewer leaves them (the training target)."""
    original: Mapped[str | None]
    """JSON list: the model's own steps; none when there were none."""
    first_wrong_step: Mapped[int | None]
    """Counted from 1 in `original`; none when no step was marked."""
    target: Mapped[str | None]
    """The target as text, of an imported row that holds it word for word; else it is rendered from the steps."""
    protocol_version: Mapped[str | None]
    """The protocol that `target` is written in."""


class EvidenceRow(Base):
    """A stretch of the sample that shows why: words of a text, or seconds of a video."""

    __tablename__ = "evidence"

    key: Mapped[int] = mapped_column(primary_key=True)
    label_key: Mapped[int] = mapped_column(ForeignKey("labels.key", ondelete="CASCADE"), index=True)
    part: Mapped[str]
    """request, response or media."""
    position: Mapped[int]
    """Which of the sample's media, from 0; 0 for texts."""
    start: Mapped[float]
    """Characters of a text, seconds of a video."""
    end: Mapped[float]
    words: Mapped[str]
    """The marked words of a text; what a reviewer wrote about the stretch of a video."""
    step: Mapped[int | None]
    """The step of the label's reasoning that it belongs to, from 1."""


class SettledLabelRow(Base):
    """Which label of a sample counts now, for export, snapshots and figures. Derived from labels and events."""

    __tablename__ = "settled_labels"

    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True)
    label_key: Mapped[int] = mapped_column(ForeignKey("labels.key", ondelete="CASCADE"), index=True)
