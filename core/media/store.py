"""Media files: what is accepted, where it is kept, how it becomes pixels.

Files are kept by the digest of their bytes under the data root, and everything that reads them reads those copies: a
name that somebody gave a file is shown in messages and used nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import MediaDamaged, MediaError
from core.files import sync_folder
from core.media import images
from core.media.identify import ACCEPTED, HEAD_BYTES, FileKind, check_complete, identify
from core.media.limits import MediaLimits
from core.media.sampling import sample_times
from core.media.video import VideoReader
from core.media.vision import DecodedMedia, VisionSpec, resize_frames, resized_size
from core.types import MediaRef, Modality, Preprocessing

__all__ = ["MediaLimits", "MediaStore", "shown_name"]

MAX_WINDOWS = 32
"""Windows of frames that a long video is swept in at most."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024**2
_STALE_S = 24 * 3600.0
_LONGEST_NAME = 60


def shown_name(name: str) -> str:
    """A file's name as a message may show it: one line, at most 60 characters, in quotes.

    Control, formatting (right-to-left override and the like) and undecodable characters are shown as their codes.
    """
    base = re.split(r"[/\\\\]", name)[-1] or name
    safe = "".join(
        each if each.isprintable() else f"\\x{ord(each):02x}" if ord(each) < 256 else f"\\u{ord(each):04x}"
        for each in base
    ).replace('"', "'")
    if len(safe) > _LONGEST_NAME:
        head = _LONGEST_NAME * 2 // 3
        safe = f"{safe[:head]}…{safe[-(_LONGEST_NAME - head - 1) :]}"
    return f'"{safe}"'


class MediaStore:
    """Content-addressed media under one folder: `root/ab/abcdef…`, the name being the sha256 of the bytes."""

    def __init__(self, root: Path, limits: MediaLimits, reader: VideoReader) -> None:
        """Create the folder where it is missing, and remove what a crash left half copied a day ago or earlier."""
        self.root = root
        self.limits = limits
        self.reader = reader
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE_S:
                    left.unlink()

    # -- taking in ---------------------------------------------------------------------------------------------------

    def accept(self, path: Path, file_name: str | None = None) -> MediaRef:
        """Copy a file into the store, if it is one that can be moderated. The same bytes are stored once.

        Args:
            path: a file that may be deleted or changed by others at any time; it is read once.
            file_name: the name that the person knows it by, for messages.

        Raises:
            MediaError: there is no such file, or it is not an accepted kind.
            MediaDamaged: it is damaged, or beyond a limit.
        """
        try:
            with self._copied(path) as (copy, digest, size):
                reference = self._examined(copy, digest, size)
                self._keep(copy, digest)
                return reference
        except MediaError as error:
            raise type(error)(f"{shown_name(file_name or path.name)} {error}") from error.__cause__

    @contextlib.contextmanager
    def _copied(self, path: Path) -> Iterator[tuple[Path, str, int]]:
        """A private copy of the file with its digest and size; gone afterwards unless it was moved away."""
        with _opened_regular(path) as source:
            handle, name = tempfile.mkstemp(dir=self._incoming)
            copy = Path(name)
            try:
                digest, size = hashlib.sha256(), 0
                with os.fdopen(handle, "wb") as target:
                    while chunk := source.read(_CHUNK):
                        size += len(chunk)
                        if size > self.limits.max_bytes:
                            raise MediaDamaged(self._too_large(os.fstat(source.fileno()).st_size))
                        digest.update(chunk)
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
                yield copy, digest.hexdigest(), size
            finally:
                copy.unlink(missing_ok=True)

    def _too_large(self, size: int) -> str:
        return (
            f"has {size / 1024**2:,.1f} MiB; files of at most {self.limits.max_bytes / 1024**2:,.1f} MiB are accepted."
        )

    def _examined(self, copy: Path, digest: str, size: int) -> MediaRef:
        with copy.open("rb") as file:
            kind = identify(file.read(HEAD_BYTES))
        if kind.picture is not None:
            with images.opened(copy, kind, self.limits.max_image_pixels) as image:
                animated = images.is_animated(image)
                width, height = images.upright_size(image)
                if not animated:
                    image.load()  # proves it whole
            if not animated:
                return MediaRef(digest, kind.media_type, Modality.IMAGE, size, width, height)
        check_complete(copy, kind)
        return self._examined_video(copy, kind, digest, size)

    def _examined_video(self, copy: Path, kind: FileKind, digest: str, size: int) -> MediaRef:
        facts = self.reader.probe(copy)
        if facts.duration_s > self.limits.max_video_seconds + 1:
            most = self.limits.max_video_seconds
            raise MediaDamaged(f"lasts {facts.duration_s:,.0f} s; videos of at most {most:,.0f} s are accepted.")
        return MediaRef(
            digest,
            kind.media_type,
            Modality.VIDEO,
            size,
            facts.width,
            facts.height,
            duration_s=round(facts.duration_s, 6),
            frame_count=facts.frame_count,
        )

    def _keep(self, copy: Path, digest: str) -> None:
        """Move a copy to its place: whole and on disk, or not there. A stored file that has rotted is replaced."""
        target = self._place(digest)
        if target.is_file() and _sha256(target) == digest:
            return
        target.parent.mkdir(exist_ok=True)
        os.replace(copy, target)
        for folder in (target.parent, self.root):
            sync_folder(folder)

    # -- giving out --------------------------------------------------------------------------------------------------

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise MediaError(f"{shown_name(digest)} is not a digest; 64 hexadecimal digits are expected.")
        return self.root / digest[:2] / digest

    def path(self, digest: str) -> Path:
        """Where a stored file is.

        Raises:
            MediaError: it is not stored.
        """
        place = self._place(digest)
        if not place.is_file():
            raise MediaError(f"The media file {digest[:12]}… is not in the store.")
        return place

    def verified_path(self, digest: str) -> Path:
        """Where a stored file is, after its bytes were hashed again.

        Raises:
            MediaError: it is not stored.
            MediaDamaged: its bytes are no longer those that were stored.
        """
        place = self.path(digest)
        if _sha256(place) != digest:
            raise MediaDamaged(
                f"The media file {digest[:12]}… has changed on disk, so it is not used; send the original once more."
            )
        return place

    def remove(self, digest: str) -> None:
        """Remove a stored file for good; one that is not there is no error.

        Raises:
            OSError: it cannot be removed.
        """
        self._place(digest).unlink(missing_ok=True)

    def decode(
        self, ref: MediaRef, preprocessing: Preprocessing, spec: VisionSpec, max_windows: int = MAX_WINDOWS
    ) -> DecodedMedia:
        """Pixels for the checkpoint: a still image as one frame, a video as frames sampled over its whole duration.

        Frames come in the size that `PromptEncoder` will ask for, so that memory stays small. A video gives
        `preprocessing.fps` frames a second, at most `max_windows` times what one prompt holds (`core.media.sampling`).

        Raises:
            MediaError: it is not stored.
            MediaDamaged: it cannot be decoded, not within the limits, or has changed on disk.
        """
        return decode_file(
            self.verified_path(ref.digest), ref, preprocessing, spec, self.limits, self.reader, max_windows
        )

    def close(self) -> None:
        """End the video reader's worker."""
        self.reader.close()


def decode_file(
    path: Path,
    ref: MediaRef,
    preprocessing: Preprocessing,
    spec: VisionSpec,
    limits: MediaLimits,
    reader: VideoReader,
    max_windows: int = MAX_WINDOWS,
) -> DecodedMedia:
    """Pixels of a file whose bytes are known to be those of `ref`; see `MediaStore.decode`.

    Raises:
        MediaDamaged: it cannot be decoded, or not within the limits.
    """
    try:
        if ref.modality is Modality.IMAGE:
            return _still(path, preprocessing, spec, limits)
        facts = reader.probe(path)
        most = max_windows * preprocessing.max_frames
        times = sample_times(facts.times, facts.duration_s, preprocessing.fps, most)
        size = resized_size(
            facts.height,
            facts.width,
            factor=spec.factor,
            min_pixels=preprocessing.frame_min_pixels,
            max_pixels=preprocessing.frame_max_pixels,
        )
        return reader.read(path, times, size)
    except MediaError as error:
        if str(error)[:1].isupper():  # a sentence already
            raise
        raise type(error)(f"The {ref.modality.value} {ref.digest[:12]}… {error}") from error.__cause__


def _still(path: Path, preprocessing: Preprocessing, spec: VisionSpec, limits: MediaLimits) -> DecodedMedia:
    with path.open("rb") as file:
        kind = identify(file.read(HEAD_BYTES))
    frames = images.read_still(path, kind, limits.max_image_pixels)
    pixels = {
        "factor": spec.factor,
        "min_pixels": preprocessing.image_min_pixels,
        "max_pixels": preprocessing.image_max_pixels,
    }
    size = resized_size(*frames.shape[1:3], **pixels)
    # The encoder applies the rule once more. For very thin pictures that would change the size a second time, so
    # the first time is left to it.
    return DecodedMedia(resize_frames(frames, size) if resized_size(*size, **pixels) == size else frames)


def _opened_regular(path: Path) -> BinaryIO:
    """Open a file for reading; anything but a regular file (a pipe would wait for ever) is refused."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"is not there any more; send it once more: {ACCEPTED}.") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot be opened ({getattr(error, 'strerror', None) or error}); {ACCEPTED}.") from None
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise MediaError(f"is {'a folder' if stat.S_ISDIR(mode) else 'not an ordinary file'}; {ACCEPTED}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
