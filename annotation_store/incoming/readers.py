"""Rows of files, one at a time: each is a mapping of column to value, or a refusal with its reason."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from annotation_store.columns import unescape_text
from annotation_store.incoming import files
from annotation_store.incoming.values import Form, ImportLimits, Refused, Row
from annotation_store.outgoing.cells import CSV_MARK, PARQUET_MARK, read_cell
from core.errors import InputError
from core.media.store import shown_name

Read = tuple[int, Row | Refused]
"""Row number, counted from 1, and the row."""

Position = Callable[[], float]
"""How much of the file has been read, in [0, 1]."""

_BOM = b"\xef\xbb\xbf"
_FIRST_READ = 1 << 18
_BETWEEN = re.compile(r"[\s,]*")


class Reader:
    """The rows of one file or folder, in order; iterate it once."""

    def __init__(self, path: Path, form: Form, limits: ImportLimits) -> None:
        self.path = path
        self.form = form
        self.limits = limits
        self.ours = False
        """Whether Guardroom wrote it; known once the first row was read."""
        self.share = 0.0
        """How much of it has been read."""

    def __iter__(self) -> Iterator[Read]:
        readers = {
            Form.JSONL: self._jsonl,
            Form.JSON: self._json,
            Form.CSV: self._csv,
            Form.PARQUET: self._parquet,
            Form.FOLDER: self._folder,
        }
        number = 0
        for number, row in readers[self.form]():
            if number > self.limits.max_rows:
                raise InputError(f"{shown_name(self.path.name)} has more than {self.limits.max_rows:,} rows; split it.")
            yield number, row
        self.share = 1.0

    # -- JSON ------------------------------------------------------------------------------------------------------

    def _jsonl(self) -> Iterator[Read]:
        most = self.limits.max_row_bytes
        with files.opened(self.path, self.limits) as file:
            size = max(1, os.fstat(file.fileno()).st_size)
            number, read = 0, 0
            while line := file.readline(most + 1):
                number += 1
                read += len(line)
                self.share = read / size if read < size else 1.0
                if len(line) > most:
                    while line and not line.endswith(b"\n"):  # pass over the rest of it
                        line = file.readline(most)
                        read += len(line)
                    yield number, Refused(number, f"The line has more than {most:,} bytes.")
                elif number == 1 and line.startswith(_BOM):
                    yield number, _json_row(number, line.removeprefix(_BOM))
                elif line.strip():
                    yield number, _json_row(number, line)

    def _json(self) -> Iterator[Read]:
        """The objects of a list, decoded one after the other: the list is never in memory as a whole."""
        most = self.limits.max_row_bytes
        with files.opened(self.path, self.limits) as binary:
            size = max(1, os.fstat(binary.fileno()).st_size)
            with open(binary.fileno(), encoding="utf-8-sig", closefd=False) as file:
                text = self._more(file, _FIRST_READ)
                at, number = text.find("[") + 1, 0
                while True:
                    at = _after_space(text, at)
                    if text.startswith("]", at):
                        return
                    try:
                        value, end = _DECODER.raw_decode(text, at)
                    except (ValueError, RecursionError) as error:
                        text, at = text[at:], 0
                        more = "" if len(text) > most else self._more(file, max(_FIRST_READ, len(text)))
                        if not more:
                            raise self._broken(number + 1, error) from None
                        text += more
                        continue
                    number += 1
                    at = end
                    self.share = min(1.0, binary.tell() / size)
                    yield number, _as_row(number, value)

    def _more(self, file: Any, count: int) -> str:
        try:
            more: str = file.read(count)
        except UnicodeDecodeError:
            raise InputError(f"{shown_name(self.path.name)} is not UTF-8 text.") from None
        return more

    def _broken(self, number: int, error: Exception) -> InputError:
        what = " ".join(str(error).split())[:120] or "nested too deeply"
        return InputError(
            f"{shown_name(self.path.name)} cannot be read from object {number} on ({what}); a list of objects is "
            f"expected, each of at most {self.limits.max_row_bytes:,} characters."
        )

    # -- CSV -------------------------------------------------------------------------------------------------------

    def _csv(self) -> Iterator[Read]:
        csv.field_size_limit(self.limits.max_row_bytes)
        with files.opened(self.path, self.limits) as binary:
            size = max(1, os.fstat(binary.fileno()).st_size)
            lines = _CsvLines(binary, self.limits.max_row_bytes)
            reader = csv.reader(lines, strict=True)
            header: list[str] | None = None
            number = 0
            while True:
                lines.row_bytes = 0
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if header is None:
                        raise InputError(
                            f"{shown_name(self.path.name)} has no readable first line ({error})."
                        ) from None
                    number += 1
                    yield number, Refused(number, f"The row cannot be read as CSV ({error}).")
                    continue
                self.share = min(1.0, lines.read / size)
                if header is None:
                    header = self._header(cells)
                    continue
                if not cells:
                    continue
                number += 1
                yield number, self._csv_row(number, header, cells)

    def _header(self, cells: list[str]) -> list[str]:
        header = [cell.strip() for cell in cells]
        if len(set(header)) != len(header) or not all(header):
            raise InputError(
                f"{shown_name(self.path.name)} has a first line in which column names are empty or stand twice."
            )
        self.ours = CSV_MARK in header
        return header

    def _csv_row(self, number: int, header: list[str], cells: list[str]) -> Row | Refused:
        if len(cells) != len(header):
            return Refused(number, f"The row has {len(cells)} cells; the first line names {len(header)} columns.")
        if any("\udc80" <= each <= "\udcff" for cell in cells for each in cell if each > "\ud7ff"):
            return Refused(number, "The row is not UTF-8 text.")
        if not self.ours:
            return {name: cell if cell else None for name, cell in zip(header, cells, strict=True)}
        return {name: read_cell(cell) for name, cell in zip(header, cells, strict=True) if name != CSV_MARK}

    # -- Parquet ---------------------------------------------------------------------------------------------------

    def _parquet(self) -> Iterator[Read]:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        with files.opened(self.path, self.limits) as file:
            try:
                table = parquet.ParquetFile(file)
                self.ours = PARQUET_MARK.encode() in (table.schema_arrow.metadata or {})
                total = max(1, table.metadata.num_rows)
                number = 0
                # Small batches: a row may hold the bytes of its pictures.
                for batch in table.iter_batches(batch_size=64 if table.num_row_groups else 1):
                    for row in batch.to_pylist():
                        number += 1
                        self.share = number / total
                        yield number, _unescaped(row) if self.ours else row
            except InputError:
                raise
            except Exception as error:  # pyarrow raises many kinds for a damaged file
                what = " ".join(str(error).split())[:160]
                raise InputError(f"{shown_name(self.path.name)} is damaged as a Parquet file ({what}).") from None

    # -- folders ---------------------------------------------------------------------------------------------------

    def _folder(self) -> Iterator[Read]:
        """Every file below the folder that is not hidden, in the order of its path; links are not followed."""
        number = 0
        for parent, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(parent) / name
                if name.startswith(".") or path.is_symlink():
                    continue
                number += 1
                yield number, {"media": path.relative_to(self.path).as_posix()}


class _CsvLines:
    """The lines of a CSV file as text, counting bytes so that an unclosed quote cannot take in the whole file."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.read = 0
        self.row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._most + 1)
        if not line:
            raise StopIteration
        if not self.read:
            line = line.removeprefix(_BOM)
        self.read += len(line)
        self.row_bytes += len(line)
        if self.row_bytes > self._most:
            while line and not line.endswith(b"\n"):  # pass over the rest of it
                line = self._file.readline(self._most)
                self.read += len(line)
            raise csv.Error(f"more than {self._most:,} bytes; perhaps a quote is not closed")
        return line.decode("utf-8", "surrogateescape")


def _after_space(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _json_row(number: int, line: bytes) -> Row | Refused:
    try:
        text = line.decode()
        if text.startswith("{"):  # nothing stands around the object in nearly all lines, so no space is looked for
            row: Row
            row, end = _DECODER.raw_decode(text)
            if text[end:] in ("\n", "\r\n", ""):
                return row
        return _as_row(number, _DECODER.decode(text))
    except UnicodeDecodeError:
        return Refused(number, "The line is not UTF-8 text.")
    except RecursionError:
        return Refused(number, "The line is nested too deeply.")
    except ValueError as error:
        return Refused(number, f"The line is not JSON ({' '.join(str(error).split())[:120]}).")


def _as_row(number: int, value: Any) -> Row | Refused:
    if isinstance(value, dict):
        return value
    return Refused(number, f"The row is a {type(value).__name__}; an object with columns is expected.")


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return unescape_text(value)
    if isinstance(value, list):
        return [_unescaped(each) for each in value]
    if isinstance(value, dict):
        return {name: _unescaped(each) for name, each in value.items()}
    return value
