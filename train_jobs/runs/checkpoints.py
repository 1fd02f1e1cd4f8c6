"""Checkpoints of a running job: a folder is complete when its marker, written last, is there with all that it names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.files import replace_file
from train_jobs.runs.files import plain, pretty

MARKER = "complete.json"
"""Written last into a checkpoint's folder, with the names and sizes of its files."""


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """One complete checkpoint of a run."""

    path: Path
    step: int
    facts: Mapping[str, Any]
    """What the job noted beside it, such as a validation figure."""


def write_marker(checkpoint: Path, step: int, facts: Mapping[str, Any]) -> None:
    """Say that a folder is whole: its files go to the disk first.

    Raises:
        OSError: it cannot be written; the checkpoint stays incomplete.
    """
    files = {}
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MARKER):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        files[str(file.relative_to(checkpoint))] = file.stat().st_size
    told = {
        "step": step,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "files": files,
        "facts": plain(dict(facts)),
    }
    replace_file(checkpoint / MARKER, pretty(told), durable=True)


def read_checkpoint(folder: Path) -> SavedCheckpoint | None:
    """A checkpoint by its marker; none when the marker is missing, or a file that it names is missing or cut off."""
    try:
        told = json.loads((folder / MARKER).read_bytes())
        step, files, facts = int(told["step"]), dict(told["files"]), dict(told["facts"])
        whole = all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SavedCheckpoint(folder, step, facts) if whole else None
