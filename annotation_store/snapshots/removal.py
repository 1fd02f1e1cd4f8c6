"""Taking deleted samples out of the folders of snapshots.

A snapshot is a promise about bytes, and a deletion must break it: the rows of the sample go, and media that no other
row names. The manifest records which samples were removed and when, the digest before each removal, and the new digest
of what is left, so a training run that names the old digest still finds out what became of it.

A removal can be cut off at any moment and is then finished by the next one: the new files are written beside the old,
`manifest.next.json` is the point from which on it counts, and the real manifest is replaced last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sqlalchemy import delete, select, update

from annotation_store.columns import now_text, to_json
from annotation_store.database import explained
from annotation_store.models import SnapshotMemberRow, SnapshotRow, TombstoneRow
from annotation_store.snapshots.folders import write_manifest
from annotation_store.store import AnnotationStore
from core.errors import SnapshotError
from core.files import sync_folder
from core.snapshots.folder import (
    MANIFEST,
    USED,
    FileEntry,
    Manifest,
    Removal,
    content_digest,
    item_from_json,
    media_name,
    parse_manifest,
    read_manifest,
    rows_name,
)
from core.types import Sample

NEXT = "manifest.next.json"
_NEW = ".new"


def remove_deleted(store: AnnotationStore, root: Path) -> list[str]:
    """Take every deleted sample out of every snapshot that still holds it; the digests of those that were changed.

    Called after a deletion and at the start of the app; nothing happens where nothing is left to do.

    Raises:
        StoreError: a folder or the database failed; what was not done is done by the next call.
    """
    with store.reading("Looking for snapshots to clean") as connection:
        rows = connection.execute(
            select(SnapshotRow.key, SnapshotRow.digest, SnapshotRow.folder, SnapshotMemberRow.sample_id)
            .join(SnapshotMemberRow, SnapshotMemberRow.snapshot_key == SnapshotRow.key)
            .join(TombstoneRow, TombstoneRow.sample_id == SnapshotMemberRow.sample_id)
            .order_by(SnapshotRow.key)
        ).all()
    wanted: dict[tuple[int, str, str], set[str]] = {}
    for key, digest, folder, sample_id in rows:
        wanted.setdefault((key, digest, folder), set()).add(sample_id)
    changed = []
    for (key, digest, folder), sample_ids in wanted.items():
        now = now_text()
        with explained(f"Removing a sample from the snapshot {folder}"):
            counts = erase(root / folder, sample_ids, now)
        with store.writing("Noting what was removed from a snapshot") as connection:
            for sample_id in sample_ids:
                connection.execute(
                    delete(SnapshotMemberRow).where(
                        SnapshotMemberRow.snapshot_key == key, SnapshotMemberRow.sample_id == sample_id
                    )
                )
            if counts is not None:
                before = json.loads(connection.scalar(select(SnapshotRow.counts).where(SnapshotRow.key == key)) or "{}")
                connection.execute(
                    update(SnapshotRow).where(SnapshotRow.key == key).values(counts=to_json(before | counts))
                )
            connection.execute(
                update(SnapshotRow).where(SnapshotRow.key == key, SnapshotRow.broken_at.is_(None)).values(broken_at=now)
            )
        changed.append(digest)
    return changed


def erase(folder: Path, sample_ids: Collection[str], now: str) -> dict[str, int] | None:
    """Take samples out of a snapshot's folder. Needs no database, and can be repeated.

    A file that was damaged before stays known as damaged: its old hash stays in the manifest, so `verify` still says
    so. A folder whose manifest cannot be read is removed as a whole, because what it holds can no longer be told.

    Returns:
        Rows by split that are left; none where there is no folder any more.

    Raises:
        OSError: the disk failed.
    """
    if not folder.exists():
        return None
    _finish(folder)
    try:
        manifest = read_manifest(folder)
    except SnapshotError:
        shutil.rmtree(folder)
        return None
    wanted = set(sample_ids) - {each.sample_id for each in manifest.removed}
    if not wanted:
        return dict(manifest.counts)
    entries = {each.path: each for each in manifest.files}
    kept_media: set[str] = set()
    counts = {split.value: 0 for split in USED}
    for split in USED:
        name = rows_name(split)
        if (folder / name).is_file():
            counts[split.value], entry = _without(folder, name, wanted, kept_media, entries.get(name))
            if entry is not None:
                entries[name] = entry
    files = tuple(each for path, each in sorted(entries.items()) if not path.startswith("media/") or path in kept_media)
    after = replace(
        manifest,
        digest=content_digest(manifest.protocol_version, files),
        counts=counts,
        files=files,
        removed=manifest.removed + tuple(Removal(each, now, manifest.digest) for each in sorted(wanted)),
    )
    write_manifest(folder, after, NEXT)
    _finish(folder)
    return counts


def _without(
    folder: Path, name: str, wanted: Collection[str], kept_media: set[str], entry: FileEntry | None
) -> tuple[int, FileEntry | None]:
    """Write a file of rows anew beside the old one, without these samples and without rows that are damaged.

    Gives how many rows are left, and the new entry; none where the file was not what the manifest says.
    """
    before, after = hashlib.sha256(), hashlib.sha256()
    rows = size = 0
    with (folder / name).open("rb") as source, (folder / (name + _NEW)).open("wb") as target:
        for line in source:
            before.update(line)
            sample = _sample(line)
            if sample is None or sample.id in wanted:
                continue
            rows += 1
            kept_media.update(media_name(ref.digest) for ref in sample.media)
            size += target.write(line)
            after.update(line)
        target.flush()
        os.fsync(target.fileno())
    whole = entry is not None and before.hexdigest() == entry.sha256
    return rows, FileEntry(name, after.hexdigest(), size) if whole else None


def _sample(line: bytes) -> Sample | None:
    """The sample of a row; none when the row is damaged, for it may be the one that is to go."""
    try:
        row = json.loads(line)
        sample = item_from_json(row).sample
        return sample if sample.id == row["id"] else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _finish(folder: Path) -> None:
    """Do what `manifest.next.json` says, if it is there; else forget what was begun."""
    coming = folder / NEXT
    if not coming.exists():
        _drop_new(folder)
        return
    manifest = parse_manifest(coming.read_bytes(), str(coming))
    for split in USED:
        fresh = folder / (rows_name(split) + _NEW)
        if fresh.exists():
            os.replace(fresh, folder / rows_name(split))
    _drop_media(folder, manifest)
    os.replace(coming, folder / MANIFEST)
    sync_folder(folder)


def _drop_media(folder: Path, manifest: Manifest) -> None:
    listed = {each.path for each in manifest.files}
    for path in sorted((folder / "media").glob("*/*")):
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
            with suppress(OSError):  # another file may still be in it
                path.parent.rmdir()


def _drop_new(folder: Path) -> None:
    for path in [*folder.glob(f"*{_NEW}"), *folder.glob("*.part")]:
        path.unlink(missing_ok=True)
