"""What an export is told and tells: frozen values without sqlalchemy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ExportForm(StrEnum):
    """The kinds of files that an export can write."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    SHAREGPT = "sharegpt"
    """Turns with the rendered target, as LLaMA-Factory and ms-swift read them; only whole labels can be written."""


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export has come."""

    rows: int
    total: int


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export has written."""

    files: tuple[Path, ...]
    """The data files; media lie in the folder `media` beside them."""
    rows: int
    media: int
    """Media files."""
    left_out: Mapping[str, int]
    """Selected samples that this form cannot hold, by reason."""
    seconds: float
