"""Speed of imports and exports by file: `python -m tests.benchmark.in_and_out [--rows N] [--into N] [--keep FOLDER]`.

JSONL files of N rows, without labels and with them, are imported into a store of `--into` rows (parsing, hashing, queue
or labels, and search index included). Into an empty store, they are then compared for near-duplicates, exported in
every form, frozen, and verified.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from annotation_store.duplicates.passing import mark_duplicates
from annotation_store.incoming.previewing import preview
from annotation_store.incoming.running import run_import
from annotation_store.outgoing.exporting import export
from annotation_store.outgoing.values import ExportForm
from annotation_store.reading.selecting import Selection
from annotation_store.snapshots.freezing import freeze
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.snapshots.check import verify
from tests.benchmark import label_studio
from tests.benchmark.clocks import HEAD, row, speed, took
from tests.benchmark.review import filled, some_rows


def write_file(path: Path, rows: int, start: int, *, labelled: bool) -> Path:
    """Rows in the schema of the benchmarks."""
    with path.open("w", encoding="utf-8") as file:
        for each in some_rows(rows, start, seed=start + 2, labelled=labelled):
            sample, label = each.sample, each.label
            said = {"id": str(each.row), "request": sample.request, "response": sample.response}
            if label is not None:
                response = label.response.value if sample.response else None
                said |= {"request_label": label.request.value, "response_label": response}
            file.write(json.dumps(said) + "\n")
    return path


def timed(what: str, bar: str, rows: int, work: Callable[[], object], peer: str = "") -> str:
    """A row of the table, with what the process takes more memory at its peak."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    time_taken = took(work)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    by_clock, of_cpu = speed(rows, time_taken)
    figures = (f"{by_clock} ({time_taken.clock:.1f} s)", f"{of_cpu} ({time_taken.cpu:.1f} s), {more:+.0f} MiB")
    return row(what, bar, figures, peer)


def measure(rows: int, into: int, keep: Path | None = None) -> Iterator[str]:
    """The rows of the table. `keep`: as for `tests.benchmark.review.filled`."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=keep) as name, ExitStack() as opened:
        folder, limits = Path(name), MediaLimits()
        store = opened.enter_context(filled(folder, into, keep))
        media = opened.enter_context(closing(MediaStore(folder / "media", limits, VideoReader(limits))))
        for at, (labelled, source) in enumerate(((False, "tasks"), (True, "set"))):
            path = write_file(folder / f"{source}.jsonl", rows, into + at * rows, labelled=labelled)
            chosen, held = preview(path).proposed, into + at * rows
            yield timed(
                f"import of a JSONL file {'with' if labelled else 'without'} labels into "
                + (f"{held:,} rows" if held else "an empty store"),
                "≥ 5,000 rows/s" if held else "≥ 27,000 rows/s", rows,
                lambda: run_import(store, media, path, chosen, source=source, imported_by="benchmark"),  # noqa: B023
                "" if held else label_studio.IMPORT,
            )  # fmt: skip
        if into:
            return
        exported = Selection(source="set")
        for form in ExportForm:
            target = folder / form.value
            yield timed(
                f"export as {form.value}", "50,000 rows ≤ 10 s", rows,
                lambda form=form, target=target: export(store, media, exported, form, target),  # type: ignore[misc]
            )  # fmt: skip
        yield timed("near-duplicates", "", 2 * rows, lambda: mark_duplicates(store, media))
        yield timed(
            "freezing", "", rows,
            lambda: freeze(
                store, media, folder / "snapshots", exported, name="set", created_by="benchmark", protocol_version="-"
            ),
        )  # fmt: skip
        (frozen,) = (folder / "snapshots").iterdir()
        yield timed("verifying", "", rows, lambda: verify(frozen))


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.in_and_out", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="rows that come in and go out (default 50000)")
    parser.add_argument("--into", type=int, default=0, help="rows that are in the store already (default 0)")
    parser.add_argument("--keep", type=Path, help="a folder where filled stores are kept, for the next time")
    given = parser.parse_args()
    print(HEAD, flush=True)
    for line in measure(max(given.rows, 100), max(given.into, 0), given.keep):
        print(line, flush=True)


if __name__ == "__main__":
    main()
