"""Snapshots by hand, for tests of what reads them: no store is needed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.json_lines import json_line
from core.snapshots.folder import (
    USED,
    FileEntry,
    Manifest,
    Origin,
    SnapshotItem,
    Split,
    content_digest,
    item_to_json,
    manifest_bytes,
    media_name,
    rows_name,
)
from core.types import Assessment, Label, Sample


def item(sample: Sample, request: Label, response: Label = Label.ABSENT, *categories: str) -> SnapshotItem:
    """A labelled row."""
    return SnapshotItem(sample, Assessment(request, response, categories), Origin(f"l-{sample.id}", reviewer="ann"))


def write_snapshot(
    folder: Path, rows: Mapping[Split, Sequence[SnapshotItem]], media: Mapping[str, Path] | None = None
) -> Path:
    """A whole snapshot folder. `media`: files by digest."""
    folder.mkdir(parents=True)
    for split in USED:
        items = sorted(rows.get(split, ()), key=lambda each: each.sample.id)
        (folder / rows_name(split)).write_bytes(b"".join(json_line(item_to_json(each)) for each in items))
    for digest, path in (media or {}).items():
        (folder / media_name(digest)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / media_name(digest))
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(
        FileEntry(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in paths
    )
    digest = content_digest("guardroom-v1", files)
    manifest = Manifest(
        digest, digest, "by hand", "ann", "2026-11-21T00:00:00+00:00", "guardroom-v1", "p1", {},
        {split.value: len(rows.get(split, ())) for split in USED}, {}, files,
    )  # fmt: skip
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))
    return folder
