"""Opening what a person names for an import, and never anything beside it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from annotation_store.incoming.values import Form, ImportLimits
from core.errors import InputError
from core.media.store import shown_name

FORMS = {
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".json": Form.JSON,
    ".csv": Form.CSV,
    ".parquet": Form.PARQUET,
}
"""By the end of the file's name; what it holds is looked at as well."""


def form_of(path: Path) -> Form:
    """The form of a file or folder, by its name and its first bytes.

    Raises:
        InputError: it is not there, or none that can be imported.
    """
    name = shown_name(path.name)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return Form.FOLDER
        if not stat.S_ISREG(mode):
            raise InputError(f"{name} is not an ordinary file; a file or a folder is expected.")
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be opened ({getattr(error, 'strerror', None) or error}).") from None
    if head[:4] == b"PAR1":
        return Form.PARQUET
    form = FORMS.get(path.suffix.lower())
    if form is None or form is Form.PARQUET:
        raise InputError(
            f"{name} cannot be imported; .jsonl, .json, .csv and .parquet files, folders of media and zip archives of "
            "these can be. A file whose rows name media is given by its path, or in a zip archive with its media."
        )
    if not head.strip():
        raise InputError(f"{name} is empty; a file with rows is expected.")
    if form in (Form.JSON, Form.JSONL):
        # Both endings are used for both forms.
        return Form.JSON if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[" else Form.JSONL
    return form


def opened(path: Path, limits: ImportLimits) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        InputError: it is no such file, or larger than is accepted.
    """
    name = shown_name(path.name)
    try:
        # O_NONBLOCK: a pipe that was put in the file's place must not wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{name} cannot be opened ({error.strerror}).") from None
    state = os.fstat(handle)
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise InputError(f"{name} is not an ordinary file; a file or a folder is expected.")
    if state.st_size > limits.max_file_bytes:
        file.close()
        raise InputError(
            f"{name} has {state.st_size / 1024**3:,.1f} GiB; files of at most "
            f"{limits.max_file_bytes / 1024**3:,.1f} GiB are accepted."
        )
    return file


def media_file(folder: Path, named: str) -> Path:
    """The medium that a row names, inside the import's folder.

    Args:
        folder: resolved already.

    Raises:
        InputError: the path leads out of the folder, by itself or by a link, or there is no such file.
    """
    shown = shown_name(named)
    if not named or "\0" in named or "://" in named:
        raise InputError(f"The medium {shown} is not a path; one relative to the import's folder is expected.")
    try:
        path = (folder / named).resolve()
        inside = path.is_relative_to(folder)
        there = inside and path.is_file()
    except (OSError, ValueError, RuntimeError):
        raise InputError(f"The medium {shown} is not a path that can be read.") from None
    if not inside:
        raise InputError(f"The medium {shown} does not lie in the import's folder, so it is not read.")
    if not there:
        raise InputError(f"The medium {shown} is not in the import's folder.")
    return path
