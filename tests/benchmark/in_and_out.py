"""Speed of imports and exports by file: `python -m tests.benchmark.in_and_out [--rows N] [--into N]`.

A JSONL file of N rows is imported into a store of `--into` rows (parsing, hashing, labels and search index included),
compared for near-duplicates, exported in every form, and frozen. Seconds of the CPU stand beside those of the clock,
because they alone mean something on a busy machine. Memory is what the process takes more at its peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from annotation_store.bulk import import_rows
from annotation_store.duplicates.passing import mark_duplicates
from annotation_store.incoming.previewing import preview
from annotation_store.incoming.running import run_import
from annotation_store.outgoing.exporting import export
from annotation_store.outgoing.values import ExportForm
from annotation_store.selecting import Selection
from annotation_store.snapshots.freezing import freeze
from annotation_store.store import AnnotationStore
from core.limits import MediaLimits
from core.media import MediaStore
from core.snapshot_check import verify
from core.video import VideoReader
from tests.benchmark.review import some_rows


def write_file(path: Path, rows: int, start: int) -> Path:
    """Labelled rows in the schema of the benchmarks."""
    with path.open("w", encoding="utf-8") as file:
        for row in some_rows(rows, start, seed=2, labelled=True):
            sample, label = row.sample, row.label
            assert label is not None
            response = label.response.value if sample.response else None
            said = {"request": sample.request, "response": sample.response, "request_label": label.request.value}
            file.write(json.dumps({"id": str(row.row)} | said | {"response_label": response}) + "\n")
    return path


def timed(what: str, bar: str, rows: int, work: Callable[[], object]) -> str:
    """A row of the table."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    speeds = f"{rows / clock:,.0f} | {rows / cpu:,.0f}"
    return f"| {what} | {bar} | {clock:.1f} s | {cpu:.1f} s | {speeds} | {more:.0f} MiB |"


def measure(rows: int, into: int) -> Iterator[str]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder, limits = Path(name), MediaLimits()
        store = AnnotationStore.open(folder / "guardroom.db")
        media = MediaStore(folder / "media", limits, VideoReader(limits))
        for start in range(0, into, 50_000):
            some = list(some_rows(min(50_000, into - start), start, start))
            import_rows(store, some, source="-", file_name="-", form="jsonl", imported_by="benchmark")
        path = write_file(folder / "rows.jsonl", rows, into)
        chosen = preview(path).proposed
        yield timed(
            f"import of a JSONL file into {into:,} rows", "≥ 5,000 rows/s", rows,
            lambda: run_import(store, media, path, chosen, source="set", imported_by="benchmark"),
        )  # fmt: skip
        labelled = Selection(source="set")
        for form in ExportForm:
            target = folder / form.value
            yield timed(
                f"export as {form.value}", "50,000 rows ≤ 10 s", rows,
                lambda form=form, target=target: export(store, media, labelled, form, target),  # type: ignore[misc]
            )  # fmt: skip
        yield timed("near-duplicates", "", rows + into, lambda: mark_duplicates(store, media))
        yield timed(
            "freezing", "", rows,
            lambda: freeze(
                store, media, folder / "snapshots", labelled, name="set", created_by="benchmark", protocol_version="-"
            ),
        )  # fmt: skip
        (frozen,) = (folder / "snapshots").iterdir()
        yield timed("verifying", "", rows, lambda: verify(frozen))
        store.close()
        media.close()


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.in_and_out", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="rows that come in and go out (default 50000)")
    parser.add_argument("--into", type=int, default=0, help="rows that are in the store already (default 0)")
    given = parser.parse_args()
    print("| what | bar | clock | CPU | rows/s | rows/s of CPU | more memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for row in measure(max(given.rows, 100), max(given.into, 0)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
