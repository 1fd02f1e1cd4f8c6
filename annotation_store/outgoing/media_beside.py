"""Copies of media beside an export, every byte checked on the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from core.errors import MediaDamaged
from core.types import MediaRef

_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif", "image/bmp": ".bmp",
    "video/mp4": ".mp4", "video/quicktime": ".mov", "video/webm": ".webm", "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi", "video/avi": ".avi", "video/mpeg": ".mpg",
}  # fmt: skip
_CHUNK = 1 << 20


class StoredFiles(Protocol):
    """Where media lie (`core.media.store.MediaStore`)."""

    def path(self, digest: str) -> Path:
        """The file of a digest; MediaError when it is not there."""


def copy_verified(source: Path, target: Path, digest: str) -> int:
    """Copy a file and hash it on the way; the copy is on the disk when this returns. Gives its size in bytes.

    Raises:
        MediaDamaged: the bytes are not those of the digest; nothing is left at `target` then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    found, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as read, part.open("wb") as write:
            while chunk := read.read(_CHUNK):
                found.update(chunk)
                size += len(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
        if found.hexdigest() != digest:
            raise MediaDamaged(
                f"The media file {digest[:12]}… has changed on disk, so it is not copied; send the original once more."
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return size


class MediaBeside:
    """The folder `media` of an export. Each file is copied once."""

    def __init__(self, folder: Path, media: StoredFiles) -> None:
        self._folder = folder
        self._media = media
        self.count = 0

    def place(self, ref: MediaRef) -> str:
        """Copy a medium, and give its path relative to the export.

        Raises:
            MediaError: it is not stored.
            MediaDamaged: its bytes have changed.
        """
        name = f"media/{ref.digest}{_ENDINGS.get(ref.media_type, '')}"
        target = self._folder / name
        if not target.exists():
            copy_verified(self._media.path(ref.digest), target, ref.digest)
            self.count += 1
        return name
