"""Writing a snapshot's folder: rows first, then media, the manifest last, everything on the disk before it counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from annotation_store.outgoing.media_beside import StoredFiles, copy_verified
from core.files import sync_folder
from core.json_lines import json_line
from core.snapshots.folder import (
    MANIFEST,
    USED,
    FileEntry,
    Manifest,
    SnapshotItem,
    Split,
    item_to_json,
    manifest_bytes,
    media_name,
    rows_name,
)


class RowFiles:
    """The files of the three splits, written row by row."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self.counts = {split.value: 0 for split in USED}
        self.media: dict[str, int] = {}
        """Digest and size of every medium that a row names."""
        self._open: dict[Split, _Hashed] = {
            split: _Hashed(files.enter_context((folder / rows_name(split)).open("wb"))) for split in USED
        }

    def write(self, split: Split, item: SnapshotItem) -> None:
        """Append a row. Rows must come sorted by sample id."""
        self._open[split].write(json_line(item_to_json(item)))
        self.counts[split.value] += 1
        self.media |= {ref.digest: ref.byte_size for ref in item.sample.media}

    def close(self) -> list[FileEntry]:
        """Bring the files to the disk and say what they are."""
        return [file.entry(rows_name(split)) for split, file in self._open.items()]


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def entry(self, path: str) -> FileEntry:
        self._file.flush()
        os.fsync(self._file.fileno())
        return FileEntry(path, self._digest.hexdigest(), self._size)


def copy_media(
    folder: Path, digests: list[str], media: StoredFiles, progress: Callable[[int], None]
) -> list[FileEntry]:
    """Copy the media into a snapshot, every byte checked.

    Raises:
        MediaError: one is not stored any more.
        MediaDamaged: one has changed on disk.
    """
    entries = []
    for done, digest in enumerate(sorted(digests)):
        progress(done)
        name = media_name(digest)
        entries.append(FileEntry(name, digest, copy_verified(media.path(digest), folder / name, digest)))
    return entries


def write_manifest(folder: Path, manifest: Manifest, name: str = MANIFEST) -> None:
    """Write the manifest: whole and on the disk, or not there."""
    write_whole(folder / name, manifest_bytes(manifest))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when all of it is on the disk."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(path.parent)
