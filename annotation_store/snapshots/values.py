"""What freezing tells: frozen values without sqlalchemy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FreezeProgress:
    """How far freezing has come."""

    doing: str
    """comparing, writing or copying media."""
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot as the store knows it."""

    digest: str
    """When it was frozen."""
    name: str
    folder: Path
    selection: Mapping[str, Any]
    protocol_version: str
    counts: Mapping[str, int]
    """Rows by split, deleted ones no longer counted."""
    created_by: str
    created_at: str
    changed_at: str | None
    """When a sample in it was deleted: from then on the folder's manifest has a digest of its own."""
    left_out: Mapping[str, int]
    """Selected samples that it does not hold, by reason."""
