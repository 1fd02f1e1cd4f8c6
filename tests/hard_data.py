"""Snapshots written as plain folders, without a store: samples with labels and media for training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.json_lines import json_line
from core.media.store import MediaStore
from core.snapshots.folder import (
    MANIFEST,
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

Labelled = tuple[Sample, Label, Label]
"""A sample with the labels of request and response."""


def write_snapshot(folder: Path, splits: Mapping[Split, Sequence[Labelled]], media: MediaStore | None = None) -> Path:
    """A complete snapshot of these samples."""
    folder.mkdir(parents=True)
    for split in USED:
        rows = sorted(splits.get(split, ()), key=lambda row: row[0].id)
        items = [
            SnapshotItem(sample, Assessment(request, response), Origin(f"{split.value}-{at}", reviewer="ann"))
            for at, (sample, request, response) in enumerate(rows)
        ]
        (folder / rows_name(split)).write_bytes(b"".join(json_line(item_to_json(item)) for item in items))
        for ref in (ref for sample, _, _ in rows for ref in sample.media):
            assert media is not None
            target = folder / media_name(ref.digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(media.path(ref.digest).read_bytes())
    files = tuple(
        FileEntry(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(path for path in folder.rglob("*") if path.is_file())
    )
    digest = content_digest("guardroom-v1", files)
    counts = {split.value: len(splits.get(split, ())) for split in USED}
    made = ("ann", "2026-01-01T00:00:00.000+00:00", "guardroom-v1", "policy-1")
    manifest = Manifest(digest, digest, folder.name, *made, {}, counts, {}, files)
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return folder
