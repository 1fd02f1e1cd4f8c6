"""Giving out media files only when their bytes are those that were stored, and remembering which are not."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqlalchemy import select, update

from annotation_store.columns import now_text
from annotation_store.models import MediaRow, SampleMediaRow, SampleRow
from annotation_store.store import AnnotationStore
from core.errors import MediaDamaged, MediaError


class VerifiedFiles(Protocol):
    """Where media files lie (`core.media.store.MediaStore`)."""

    def verified_path(self, digest: str) -> Path:
        """The file, after its bytes were hashed again; MediaDamaged when they changed."""


def media_path(store: AnnotationStore, files: VerifiedFiles, digest: str) -> Path:
    """The file of a stored medium, its bytes checked against its digest just now.

    Raises:
        MediaError: no stored sample has it, or the file is not there.
        MediaDamaged: its bytes are not those that were stored. It is never given out, and the store remembers it.
        StoreError: the database failed.
    """
    with store.reading("Looking up the medium") as connection:
        row = connection.execute(select(MediaRow.damaged_at).where(MediaRow.digest == digest)).one_or_none()
    if row is None:
        raise MediaError(f"The media file {digest[:12]}… belongs to no stored sample.")
    try:
        path = files.verified_path(digest)
    except MediaDamaged:
        if row.damaged_at is None:
            _mark(store, digest, now_text())
        raise
    if row.damaged_at is not None:
        _mark(store, digest, None)
    return path


def damaged_media(store: AnnotationStore) -> dict[str, list[str]]:
    """Media that were found damaged, with the ids of the samples that have them.

    Raises:
        StoreError: the database failed.
    """
    found: dict[str, list[str]] = {}
    with store.reading("Listing damaged media") as connection:
        rows = connection.execute(
            select(MediaRow.digest, SampleRow.id)
            .join(SampleMediaRow, SampleMediaRow.media_key == MediaRow.key)
            .join(SampleRow, SampleRow.key == SampleMediaRow.sample_key)
            .where(MediaRow.damaged_at.is_not(None))
            .order_by(MediaRow.key, SampleRow.key)
        )
        for digest, sample_id in rows:
            samples = found.setdefault(digest, [])
            if sample_id not in samples:
                samples.append(sample_id)
    return found


def _mark(store: AnnotationStore, digest: str, damaged_at: str | None) -> None:
    with store.writing("Noting the state of a medium") as connection:
        connection.execute(update(MediaRow).where(MediaRow.digest == digest).values(damaged_at=damaged_at))
