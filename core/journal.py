"""Files of JSON lines that only grow: whole lines, on disk when the call returns, readable after any crash.

A line that a crash tore (the last one, without its newline) was never promised to anybody: readers leave it out, and
the next writer cuts it off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.files import sync_folder
from core.json_lines import json_line


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Add a line for each value; all of them are on disk afterwards. The file and its folder are made when missing.

    One writer at a time: whoever shares a file holds a lock around this.

    Raises:
        ValueError: a value is no JSON. Nothing was written then.
        OSError: the disk refused.
    """
    data = b"".join(map(json_line, values))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("ab") as file:
        whole = _whole(path)
        if whole < file.tell():
            file.truncate(whole)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        sync_folder(path.parent)


def read_lines(path: Path) -> list[Any]:
    """The values of all whole lines; empty when there is no file.

    Raises:
        ValueError: a line other than a torn last one is no JSON; the message names it.
        OSError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    values = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise ValueError(f"{path}, line {number}, is damaged") from None
    return values


def _whole(path: Path) -> int:
    """Bytes up to the end of the last whole line. Read from the back, because the file may be large."""
    step = 1 << 16
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - step)
            file.seek(start)
            if (at := file.read(end - start).rfind(b"\n")) >= 0:
                return start + at + 1
            end = start
    return 0
