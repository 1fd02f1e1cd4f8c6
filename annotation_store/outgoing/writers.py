"""Writers of the four forms: rows in, files out, a page at a time."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from annotation_store.columns import escape_text
from annotation_store.outgoing.cells import CSV_MARK, PARQUET_MARK, write_cell
from annotation_store.outgoing.rows import plain_row
from annotation_store.outgoing.sharegpt_rows import ShareGptRows
from annotation_store.values.review import Exported
from core.json_lines import json_line

Place = Callable[[Exported], list[str]]
"""Copies the media of a sample and gives their paths."""

LISTS = ("media", "categories", "reasoning")
OBJECTS = ("label_detail",)
COLUMNS = (
    "id", "modality", "request", "response", "media", "request_label", "response_label", "categories", "reasoning",
    "confidence", "note", "label_detail", "reviewer", "source", "labelled_at", "split",
)  # fmt: skip


class JsonlWriter:
    """One object a line."""

    def __init__(self, folder: Path, name: str, place: Place, files: ExitStack) -> None:
        self.paths = [folder / f"{name}.jsonl"]
        self.left_out: dict[str, int] = {}
        self._place = place
        self._file: BinaryIO = files.enter_context(self.paths[0].open("wb"))

    def write(self, items: Sequence[Exported]) -> int:
        """Write a page; gives the number of rows written."""
        self._file.writelines(json_line(plain_row(item, self._place(item))) for item in items)
        return len(items)

    def close(self) -> None:
        """Write what is still to be written."""


class CsvWriter:
    """Every cell in quotes, lists and objects as JSON text, formulas made harmless."""

    def __init__(self, folder: Path, name: str, place: Place, files: ExitStack) -> None:
        self.paths = [folder / f"{name}.csv"]
        self.left_out: dict[str, int] = {}
        self._place = place
        file = files.enter_context(self.paths[0].open("w", encoding="utf-8", newline=""))
        self._csv = csv.writer(file, quoting=csv.QUOTE_ALL)
        self._csv.writerow([*COLUMNS, CSV_MARK])

    def write(self, items: Sequence[Exported]) -> int:
        """Write a page; gives the number of rows written."""
        for item in items:
            row = plain_row(item, self._place(item))
            self._csv.writerow([*(write_cell(_as_text(row[name])) for name in COLUMNS), "1"])
        return len(items)

    def close(self) -> None:
        """Write what is still to be written."""


class ParquetWriter:
    """Texts, lists of texts, one number; objects as JSON text."""

    def __init__(self, folder: Path, name: str, place: Place, files: ExitStack) -> None:
        self.paths = [folder / f"{name}.parquet"]
        self.left_out: dict[str, int] = {}
        self._place = place
        self._arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
        texts = self._arrow.list_(self._arrow.string())
        kinds = dict.fromkeys(LISTS, texts) | {"confidence": self._arrow.float64()}
        schema = self._arrow.schema([(name, kinds.get(name, self._arrow.string())) for name in COLUMNS])
        self._schema = schema.with_metadata({PARQUET_MARK: "1"})
        self._writer = files.enter_context(parquet.ParquetWriter(self.paths[0], self._schema, compression="zstd"))
        self._waiting: list[dict[str, Any]] = []

    def write(self, items: Sequence[Exported]) -> int:
        """Write a page; gives the number of rows written."""
        for item in items:
            row = plain_row(item, self._place(item))
            self._waiting.append(
                {name: _escaped(_as_text(value) if name in OBJECTS else value) for name, value in row.items()}
            )
        if len(self._waiting) >= 4_000:
            self.close()
        return len(items)

    def close(self) -> None:
        """Write what is still to be written."""
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []


class ShareGptWriter:
    """One file for each mixture of media, so that every row of a file has the same columns.

    A loader that guesses a column's type from the first rows cannot be misled by empty lists then.
    """

    def __init__(self, folder: Path, name: str, place: Place, files: ExitStack, rows: ShareGptRows) -> None:
        self.paths: list[Path] = []
        self.left_out = rows.left_out
        self._folder = folder
        self._name = name
        self._place = place
        self._files = files
        self._rows = rows
        self._open: dict[str, BinaryIO] = {}
        self._media: dict[str, tuple[str, ...]] = {}

    def write(self, items: Sequence[Exported]) -> int:
        """Write a page; gives the number of rows written."""
        written = 0
        for item in items:
            if (reason := self._rows.why_not(item)) is not None:
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
                continue
            row = self._rows.row(item, self._place(item))
            columns = tuple(name for name in ("images", "videos") if name in row)
            kind = "-".join(name[:-1] for name in columns) or "text"
            if kind not in self._open:
                path = self._folder / f"{self._name}-{kind}.jsonl"
                self._open[kind] = self._files.enter_context(path.open("wb"))
                self._media[kind] = columns
                self.paths.append(path)
            self._open[kind].write(json_line(row))
            written += 1
        return written

    def close(self) -> None:
        """Write the description by which LLaMA-Factory finds the files."""
        info = {
            f"{self._name}-{kind}": {
                "file_name": f"{self._name}-{kind}.jsonl",
                "formatting": "sharegpt",
                "columns": {"messages": "messages"} | {name: name for name in columns},
                "tags": {
                    "role_tag": "role",
                    "content_tag": "content",
                    "user_tag": "user",
                    "assistant_tag": "assistant",
                    "system_tag": "system",
                },
            }
            for kind, columns in sorted(self._media.items())
        }
        if info:
            (self._folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def _as_text(value: Any) -> str | None:
    """A cell of text: lists and objects as JSON, empty ones as nothing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else None
    return repr(value)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape_text(value)
    return [escape_text(each) for each in value] if isinstance(value, list) else value
