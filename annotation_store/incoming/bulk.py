"""Taking in many rows: samples, labels by their source, and reasons, through executemany, some thousands a transaction.

Transactions are short on purpose, so that reviewers' decisions go on between them. An import that is broken off can be
run again from its first row: what is known already is met and not doubled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import update

from annotation_store.columns import new_id, now_text, to_json
from annotation_store.incoming.chunk import Chunk, totals
from annotation_store.incoming.values import ImportCounts, ImportRow, Refused
from annotation_store.models import ImportBatchRow
from annotation_store.rows.samples import insert_row
from annotation_store.store import AnnotationStore
from core.errors import StoreError

CHUNK = 4_000
"""Rows of one transaction at most."""

CHUNK_CHARS = 8_000_000
"""Characters of one transaction, beyond which no further row joins it: long texts make short transactions too."""


def import_rows(
    store: AnnotationStore,
    rows: Iterable[ImportRow | Refused],
    *,
    source: str,
    file_name: str,
    form: str,
    imported_by: str,
    mapping: dict[str, Any] | None = None,
    progress: Callable[[ImportCounts], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    chunk: int = CHUNK,
) -> ImportCounts:
    """Take in rows as they come, a transaction for each `chunk` of them.

    A sample that is stored already is met, not doubled; a label that its source has given already is not given again,
    and a different one supersedes it. A person's label always counts before an imported one. A sample that was deleted
    is refused.

    Args:
        rows: read lazily; an exception from it ends the import with the state "stopped" and goes on
            to the caller.
        source: the name under which the labels stand.
        progress: called after each transaction.
        stopped: asked before each transaction; True ends the import there.

    Raises:
        StoreError: the source is not named, or the database failed.
    """
    if not source.strip():
        raise StoreError("The import names no source for its labels; a name such as the data set's is expected.")
    counts = ImportCounts(new_id("b1"))
    with store.writing("Beginning the import") as connection:
        batch_key = insert_row(
            connection,
            ImportBatchRow,
            id=counts.batch_id,
            source=source,
            file_name=file_name,
            form=form,
            mapping=to_json(mapping or {}),
            imported_by=imported_by,
            state="running",
            started_at=now_text(),
            **totals(counts),
        )
    state = "stopped"
    waiting = iter(rows)
    try:
        while not (stopped and stopped()):
            if not (some := _chunk(waiting, chunk)):
                state = "done"
                break
            with store.writing("Importing") as connection:
                counts = Chunk(connection, batch_key, source, counts).take(some)
            if progress:
                progress(counts)
    finally:
        with store.writing("Ending the import") as connection:
            connection.execute(
                update(ImportBatchRow)
                .where(ImportBatchRow.key == batch_key)
                .values(state=state, finished_at=now_text())
            )
    return counts


def _chunk(rows: Iterator[ImportRow | Refused], most: int) -> list[ImportRow | Refused]:
    """The rows of the next transaction; none at the end."""
    some: list[ImportRow | Refused] = []
    chars = 0
    for row in islice(rows, most):
        some.append(row)
        if isinstance(row, ImportRow):
            chars += len(row.sample.request) + len(row.sample.response or "")
            if chars > CHUNK_CHARS:
                break
    return some
