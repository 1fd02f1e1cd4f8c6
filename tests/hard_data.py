"""Snapshots of labelled samples for training, written without a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from core.media.store import MediaStore
from core.snapshots.folder import Split
from core.types import Label, Sample
from tests import snapshots

Labelled = tuple[Sample, Label, Label]
"""A sample with the labels of request and response."""


def write_snapshot(folder: Path, splits: Mapping[Split, Sequence[Labelled]], media: MediaStore | None = None) -> Path:
    """A complete snapshot of these samples; their media come from the store."""
    items = {split: [snapshots.item(*row) for row in rows] for split, rows in splits.items()}
    refs = [ref for rows in splits.values() for sample, _, _ in rows for ref in sample.media]
    assert media is not None or not refs
    return snapshots.write_snapshot(folder, items, {ref.digest: media.path(ref.digest) for ref in refs if media})
