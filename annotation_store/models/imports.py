"""What came in by file: each import, the samples it brought, and the rows it refused."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from annotation_store.models.base import Base


class ImportBatchRow(Base):
    """One import of one file or folder."""

    __tablename__ = "import_batches"

    key: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str]
    """The name under which its labels stand."""
    file_name: Mapped[str]
    form: Mapped[str]
    """jsonl, csv, parquet, folder, benchmarks or sharegpt."""
    mapping: Mapped[str]
    """JSON: which column became what."""
    imported_by: Mapped[str]
    state: Mapped[str]
    """running, done or stopped."""
    rows: Mapped[int]
    """Rows taken in, those known already included."""
    new_samples: Mapped[int]
    new_labels: Mapped[int]
    queued: Mapped[int]
    refused: Mapped[int]
    started_at: Mapped[str]
    finished_at: Mapped[str | None]


class ImportedSampleRow(Base):
    """A sample that an import brought or met."""

    __tablename__ = "imported_samples"

    batch_key: Mapped[int] = mapped_column(ForeignKey("import_batches.key", ondelete="CASCADE"), primary_key=True)
    sample_key: Mapped[int] = mapped_column(ForeignKey("samples.key", ondelete="CASCADE"), primary_key=True, index=True)
    row: Mapped[int]
    """Counted from 1 in the file."""
    external_id: Mapped[str | None]
    """What the file called it."""
    extra: Mapped[str | None]
    """JSON: what the file said beyond our columns (benchmark, licence and the like), for the way out."""


class RefusedRow(Base):
    """A row that was not taken in. What it held is not kept: it may be what nobody wants to keep."""

    __tablename__ = "refused_rows"

    batch_key: Mapped[int] = mapped_column(ForeignKey("import_batches.key", ondelete="CASCADE"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
