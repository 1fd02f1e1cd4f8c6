"""An export from beginning to end, with flat memory however many rows there are."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from annotation_store.database import explained
from annotation_store.outgoing.media_beside import MediaBeside, StoredFiles
from annotation_store.outgoing.sharegpt_rows import ShareGptRows
from annotation_store.outgoing.values import ExportForm, ExportProgress, ExportReport
from annotation_store.outgoing.writers import CsvWriter, JsonlWriter, ParquetWriter, ShareGptWriter
from annotation_store.reading.selecting import Selection, count_selected, read_selected, selected
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Exported
from core.checkpoints.folder import named_protocol
from core.errors import Cancelled, StoreError
from core.prompt.protocol import Protocol

Writer = JsonlWriter | CsvWriter | ParquetWriter | ShareGptWriter


def export(
    store: AnnotationStore,
    media: StoredFiles,
    selection: Selection,
    form: ExportForm,
    folder: Path,
    *,
    name: str = "guardroom",
    protocol: Protocol | None = None,
    progress: Callable[[ExportProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> ExportReport:
    """Write all samples that pass a filter into a new folder, with their media copied beside them.

    The folder appears when everything is written, or not at all.

    Args:
        folder: a path that does not exist yet.
        name: the beginning of the files' names.
        protocol: in which the targets of the ShareGPT form are written; that of named_protocol(None) unless given.

    Raises:
        StoreError: the folder is there already, the disk or the database failed.
        MediaError: a medium is missing or damaged.
        Cancelled: it was stopped; nothing is left behind.
    """
    started = time.perf_counter()
    if folder.exists():
        raise StoreError(f"{folder} is there already; name a new folder for the export.")
    with explained("Exporting"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.parent))
    try:
        with explained("Exporting"):
            beside = MediaBeside(part, media)

            def place(item: Exported) -> list[str]:
                return [beside.place(ref) for ref in item.sample.media]

            with ExitStack() as files:
                writer = _writer(form, part, name, place, files, protocol)
                rows = _write(store, selection, writer, progress, stop)
                writer.close()
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    written = tuple(folder / path.name for path in writer.paths)
    return ExportReport(written, rows, beside.count, dict(writer.left_out), time.perf_counter() - started)


def _write(
    store: AnnotationStore,
    selection: Selection,
    writer: Writer,
    progress: Callable[[ExportProgress], None] | None,
    stop: threading.Event | None,
) -> int:
    rows = seen = 0
    # One transaction: the export is what the store held at one moment.
    with store.reading("Exporting") as connection:
        total = count_selected(connection, selection) if progress else 0
        for keys in selected(connection, selection):
            if stop and stop.is_set():
                raise Cancelled("The export was stopped before its end; nothing was kept of it.")
            rows += writer.write(read_selected(connection, keys))
            seen += len(keys)
            if progress:
                progress(ExportProgress(seen, total))
    return rows


def _writer(
    form: ExportForm,
    folder: Path,
    name: str,
    place: Callable[[Exported], list[str]],
    files: ExitStack,
    protocol: Protocol | None,
) -> Writer:
    match form:
        case ExportForm.JSONL:
            return JsonlWriter(folder, name, place, files)
        case ExportForm.CSV:
            return CsvWriter(folder, name, place, files)
        case ExportForm.PARQUET:
            return ParquetWriter(folder, name, place, files)
        case ExportForm.SHAREGPT:
            rows = ShareGptRows(protocol or named_protocol(None))
            return ShareGptWriter(folder, name, place, files, rows)
