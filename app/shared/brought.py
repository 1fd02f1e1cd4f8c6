"""What a person brings for an import: a file handed in, or a path on this machine."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError


def brought(file: str | None, path: str | None, uploads: Path | None) -> Path:
    """The file or folder to read; a zip archive is unpacked below the folder of uploads.

    Raises:
        InputError: neither is named, or the archive cannot be unpacked.
    """
    from annotation_store.incoming.archives import unpacked

    named = (path or "").strip() or file
    if not named:
        raise InputError("No file is named; drop one or write a path.")
    return unpacked(Path(named).expanduser(), uploads)
