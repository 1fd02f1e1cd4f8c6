"""A zip archive in place of a file, as exports with media are: unpacked once, with nothing outside its folder."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from annotation_store.incoming.files import FORMS
from annotation_store.incoming.values import ImportLimits
from core.errors import InputError
from core.media.store import shown_name

MAX_ENTRIES = 500_000
BESIDE = ("__MACOSX", ".DS_Store", "dataset_info.json")
"""What archives hold beside the rows and their media."""
_PIECE = 1024 * 1024


def unpacked(path: Path, into: Path | None, limits: ImportLimits | None = None) -> Path:
    """What an import reads of a path: of a zip archive its one file with rows, or its folder of media.

    Everything else is returned as it is. The same archive is unpacked once.

    Args:
        into: the folder below which it is unpacked; the system's folder for temporary files unless given.

    Raises:
        InputError: the archive is damaged, locked or too large, leads out of its folder, or holds several files with
            rows.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        return path
    limits = limits or ImportLimits()
    state = path.stat()
    named = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = (into or Path(tempfile.gettempdir())) / f"unpacked-{named}"
    if not folder.is_dir():
        part = Path(tempfile.mkdtemp(prefix="unpacking-", dir=folder.parent))
        try:
            _unpack(path, part, limits)
            part.rename(folder)
        except OSError as error:
            raise InputError(f"{shown_name(path.name)} cannot be unpacked ({error.strerror or error}).") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _what_to_read(folder, shown_name(path.name))


def _unpack(path: Path, into: Path, limits: ImportLimits) -> None:
    name = shown_name(path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [each for each in archive.infolist() if not each.is_dir() and not _beside(each.filename)]
            if len(entries) > MAX_ENTRIES:
                raise InputError(f"{name} holds {len(entries):,} files; at most {MAX_ENTRIES:,} are accepted.")
            left = limits.max_file_bytes
            for entry in entries:
                left -= _written(archive, entry, into, name, left, limits)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f"{name} is no zip archive that can be read ({error}).") from None


def _beside(named: str) -> bool:
    return any(part in BESIDE for part in PurePosixPath(named).parts)


def _written(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, into: Path, name: str, left: int, limits: ImportLimits
) -> int:
    """Write one file; returns its bytes, counted while they are read: what an archive says of itself may be false."""
    inner = PurePosixPath(entry.filename)
    shown = shown_name(entry.filename)
    if inner.is_absolute() or ".." in inner.parts or "\\" in entry.filename or "\0" in entry.filename:
        raise InputError(f"{name} holds {shown}, which leads out of the archive's folder; nothing was unpacked.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise InputError(f"{name} holds {shown}, which is a link; only ordinary files are accepted.")
    if entry.flag_bits & 1:
        raise InputError(f"{name} is locked with a password; an archive without one is expected.")
    target = into.joinpath(*inner.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(entry) as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > left:
                most = limits.max_file_bytes / 1024**3
                raise InputError(f"{name} holds more than {most:,.1f} GiB, which is the most that is accepted.")
            file.write(piece)
    return size


def _what_to_read(folder: Path, name: str) -> Path:
    """The one file with rows, or the folder when it holds media alone; through folders that hold nothing but one."""
    while True:
        inside = sorted(folder.iterdir())
        rows = [each for each in inside if each.is_file() and each.suffix.lower() in FORMS]
        if len(rows) == 1:
            return rows[0]
        if rows:
            names = ", ".join(shown_name(each.name) for each in rows[:5])
            raise InputError(
                f"{name} holds {len(rows)} files with rows ({names}); unpack it and import one after the other."
            )
        if not inside:
            raise InputError(f"{name} is empty; an archive with a file of rows or with media is expected.")
        if len(inside) > 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]
