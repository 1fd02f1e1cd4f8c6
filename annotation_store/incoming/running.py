"""An import from beginning to end, row by row, with progress, stop and a reason for every refused row."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from sqlalchemy import select

from annotation_store.incoming.bulk import CHUNK, import_rows
from annotation_store.incoming.files import form_of
from annotation_store.incoming.interpreting import Accepting, Interpreter
from annotation_store.incoming.readers import Reader
from annotation_store.incoming.values import (
    Columns,
    Form,
    ImportCounts,
    ImportLimits,
    ImportProgress,
    ImportReport,
    ImportRow,
    Refused,
)
from annotation_store.models import ImportBatchRow, RefusedRow
from annotation_store.outgoing.cells import write_cell
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from core.errors import InputError, StoreError
from core.policy import load_policy

MEDIA_CHUNK = 100
"""Rows of one transaction where rows bring media, which take longer to read."""


class Queueing(StrEnum):
    """Which imported samples are to be reviewed."""

    UNLABELLED = "unlabelled"
    """Those for which the file brings no label."""
    ALL = "all"
    NONE = "none"


def run_import(
    store: AnnotationStore,
    media: Accepting,
    path: Path,
    columns: Columns,
    *,
    source: str,
    imported_by: str,
    queueing: Queueing = Queueing.UNLABELLED,
    limits: ImportLimits | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> ImportReport:
    """Take in a file or a folder of media. What `preview` showed is what happens.

    The same file can be imported again at any time, also after it was stopped: known samples are met, not doubled.

    Args:
        media: the media store; media that rows name are looked for in the file's folder, and nowhere else.
        columns: what becomes what, as in the preview.
        source: the name under which the file's labels stand.

    Raises:
        InputError: the file cannot be read, or not to its end; what was taken in before stays.
        StoreError: the source is not named, or the database failed.
    """
    limits = limits or ImportLimits()
    form = form_of(path)
    work = _Work(path, form, columns, source, queueing, limits, media, stop)
    started = time.perf_counter()

    def tell(counts: ImportCounts) -> None:
        if progress:
            done = counts.rows + counts.refused
            progress(
                ImportProgress(
                    work.reader.share,
                    counts.rows,
                    counts.new_samples,
                    counts.new_labels,
                    counts.queued,
                    counts.refused,
                    done / max(time.perf_counter() - started, 1e-9),
                )
            )

    with_media = form is Form.FOLDER or any((columns.media, columns.images, columns.videos))
    counts = import_rows(
        store,
        work.rows(),
        source=source,
        file_name=path.name,
        form=form.value,
        imported_by=imported_by,
        mapping=columns.named(),
        progress=tell,
        stopped=lambda: work.stopped,
        chunk=MEDIA_CHUNK if with_media else CHUNK,
    )
    return ImportReport(
        counts.batch_id,
        form,
        counts.rows,
        counts.new_samples,
        counts.new_labels,
        counts.queued,
        counts.refused,
        time.perf_counter() - started,
        work.stopped,
    )


class _Work:
    """The rows on their way from the file to the store."""

    def __init__(
        self,
        path: Path,
        form: Form,
        columns: Columns,
        source: str,
        queueing: Queueing,
        limits: ImportLimits,
        media: Accepting,
        stop: threading.Event | None,
    ) -> None:
        self.reader = Reader(path, form, limits)
        folder = path if form is Form.FOLDER else path.parent
        self._interpreter = Interpreter(columns, folder, limits, load_policy(), media, source)
        self._queueing = queueing
        self._most_refused = limits.max_refusals
        self._stop = stop
        why = Reason(ReasonKind.IMPORTED, 1.0, f"Came with an import from {source} and is to be labelled.")
        self._why = (why,)  # one tuple for all rows: what is alike is written at once
        self.stopped = False

    def rows(self) -> Iterator[ImportRow | Refused]:
        """Every row, good or refused. Ends early when it is stopped."""
        refused = 0
        for number, row in self.reader:
            if (self._stop and self._stop.is_set()) or refused >= self._most_refused:
                self.stopped = True
                return
            if isinstance(row, Refused):
                refused += 1
                yield row
                continue
            try:
                sample, draft, external_id, extra = self._interpreter.read(row)
            except InputError as error:
                refused += 1
                yield Refused(number, str(error))
                continue
            wanted = self._queueing is Queueing.ALL or (self._queueing is Queueing.UNLABELLED and draft is None)
            yield ImportRow(number, sample, draft, self._why if wanted else (), external_id, extra)


def refused_rows(store: AnnotationStore, batch_id: str, limit: int = 200, after: int = 0) -> list[Refused]:
    """The refused rows of an import in the order of the file, from the row after `after` on.

    Raises:
        StoreError: there is no such import, or the database failed.
    """
    with store.reading("Reading the refused rows") as connection:
        key = connection.scalar(select(ImportBatchRow.key).where(ImportBatchRow.id == batch_id))
        if key is None:
            raise StoreError(f"There is no import {batch_id[:80]!r} in the store; the id of one is expected.")
        rows = connection.execute(
            select(RefusedRow.row, RefusedRow.reason)
            .where(RefusedRow.batch_key == key, RefusedRow.row > after)
            .order_by(RefusedRow.row)
            .limit(limit)
        )
        return [Refused(row.row, row.reason) for row in rows]


def write_refused(store: AnnotationStore, batch_id: str, path: Path, page: int = 10_000) -> int:
    """Write all stored refusals of an import as CSV, in the order of the file; the number of rows.

    Formulas are made harmless (`outgoing.cells`).

    Args:
        page: rows that are held at once.

    Raises:
        StoreError: there is no such import, or the database failed.
        OSError: the file cannot be written.
    """
    written = after = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, quoting=csv.QUOTE_ALL)
        out.writerow(["row", "reason"])
        while rows := refused_rows(store, batch_id, page, after):
            out.writerows((each.row, write_cell(each.reason)) for each in rows)
            written, after = written + len(rows), rows[-1].row
    return written
