"""What an import would do, from the first rows, without storing anything."""

from __future__ import annotations

import re
from pathlib import Path

from annotation_store.incoming.files import form_of
from annotation_store.incoming.interpreting import Interpreter
from annotation_store.incoming.proposing import propose
from annotation_store.incoming.readers import Reader
from annotation_store.incoming.values import Columns, Form, ImportLimits, Preview, PreviewRow, Refused, Row
from core.errors import InputError
from core.media.store import shown_name
from core.policy import load_policy

ROWS = 20
_SHOWN_CHARS = 2_000


def preview(
    path: Path, *, columns: Columns | None = None, rows: int = ROWS, limits: ImportLimits | None = None
) -> Preview:
    """Look at the first rows of a file, or of a folder of media.

    Args:
        path: the file; media that its rows name are looked for in its folder.
        columns: what the person chose; what the names of the columns suggest unless given.

    Raises:
        InputError: it cannot be imported at all, or a chosen column is not there.
    """
    limits = limits or ImportLimits()
    form = form_of(path)
    reader = Reader(path, form, limits)
    read: list[tuple[int, Row | Refused]] = []
    for each in reader:
        read.append(each)
        if len(read) == rows:
            break
    if not read:
        raise InputError(f"{shown_name(path.name)} has no rows; a file with rows is expected.")
    names = tuple(dict.fromkeys(name for _, row in read if not isinstance(row, Refused) for name in row))
    if missing := [name for name in (columns.named().values() if columns else ()) if name not in names]:
        raise InputError(f"There is no column {missing[0][:60]!r}; the file has {', '.join(names)[:500]}.")
    chosen = columns or propose(names)
    folder = path if form is Form.FOLDER else path.parent
    interpreter = Interpreter(chosen, folder, limits, load_policy(), media=None)
    return Preview(
        form=form,
        file_name=path.name,
        byte_size=0 if form is Form.FOLDER else path.stat().st_size,
        columns=names,
        proposed=chosen,
        rows=tuple(_shown(interpreter, chosen, number, row) for number, row in read),
        source=_source(path, read),
        ours=reader.ours,
    )


def _shown(interpreter: Interpreter, columns: Columns, number: int, row: Row | Refused) -> PreviewRow:
    if isinstance(row, Refused):
        return PreviewRow(number, "", None, (), "unlabelled", "unlabelled", 0, row.reason)
    try:
        sample, draft, _, _ = interpreter.read(row)
    except InputError as error:
        return PreviewRow(number, _words(row, columns.request), None, (), "unlabelled", "unlabelled", 0, str(error))
    response = "absent" if sample.response is None else "unlabelled"
    return PreviewRow(
        row=number,
        request=sample.request[:_SHOWN_CHARS],
        response=None if sample.response is None else sample.response[:_SHOWN_CHARS],
        media=tuple(_paths(row, columns)),
        request_label=draft.request.value if draft else "unlabelled",
        response_label=draft.response.value if draft else response,
        steps=len(draft.reasoning.steps) if draft and draft.reasoning else 0,
        refused=None,
    )


def _words(row: Row, column: str | None) -> str:
    value = row.get(column) if column else None
    return value[:_SHOWN_CHARS] if isinstance(value, str) else ""


def _paths(row: Row, columns: Columns) -> list[str]:
    found: list[str] = []
    for column in filter(None, (columns.media, columns.images, columns.videos)):
        value = row.get(column)
        for each in value if isinstance(value, list) else [value]:
            named = each.get("path") if isinstance(each, dict) else each
            found += [str(named)] if named else []
    return found


def _source(path: Path, read: list[tuple[int, Row | Refused]]) -> str:
    """The benchmark that the first row names, or the file's name."""
    first = next((row for _, row in read if not isinstance(row, Refused)), {})
    named = first.get("benchmark")
    if isinstance(named, str) and named.strip():
        return named.strip()[:80]
    return re.sub(r"[^\w.-]+", "-", path.stem).strip("-")[:80] or "imported"
