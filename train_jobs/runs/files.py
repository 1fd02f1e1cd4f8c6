"""Lines that are appended, the end of a log, and JSON that every reader accepts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.json_lines import json_line


def plain(value: Any) -> Any:
    """JSON values: numbers of numpy and torch as plain ones, those that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    return plain(value.item()) if hasattr(value, "item") else str(value)


def pretty(value: Any) -> bytes:
    """A small JSON file.

    Raises:
        TypeError, ValueError: it is not plain JSON.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1).encode() + b"\n"


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one object as a line; a half line that somebody left who died is ended first.

    Raises:
        OSError: it cannot be written.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        end = os.fstat(fd).st_size
        torn = end > 0 and os.pread(fd, 1, end - 1) != b"\n"
        data = (b"\n" if torn else b"") + json_line(value)
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of such a file; torn lines are left out, and a missing file has none."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return


def tail(path: Path, lines: int, longest: int) -> str:
    """The last lines of a text file, at most `longest` bytes of it; empty when there is none.

    A progress bar's carriage returns overwrite, as they do in a terminal.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - longest))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    kept = text.split("\n")[1:] if size > longest else text.split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in kept]
    while shown and not shown[-1].strip():
        shown.pop()
    return "\n".join(shown[-lines:])
