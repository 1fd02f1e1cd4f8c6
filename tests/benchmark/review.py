"""Speed of the review store: `python -m tests.benchmark.review [--rows N] [--steps N]`.

Fills a store with N rows by import (search index and hashing included), then measures the next item, what is left and
submitting in it, and one more import on top. With 1000000 rows the filling takes minutes and about 2 GB of disk.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from annotation_store.bulk import ImportRow, import_rows
from annotation_store.claims import claim_next, release
from annotation_store.decisions import submit
from annotation_store.left import left
from annotation_store.reasons import Reason, ReasonKind, ReasonRules
from annotation_store.review_values import LabelDraft, QueueFilter
from annotation_store.store import AnnotationStore
from annotation_store.weights import set_weight
from core.types import Label, Sample

WORDS = [
    f"{first}{last}" for first in "bcdfghklmnprstvwz" for last in ("ake", "ill", "ost", "une", "arp", "ent", "idge")
]
KINDS = (ReasonKind.FIRST_LOOK, ReasonKind.BAND, ReasonKind.GENERATIONS, ReasonKind.AUDIT)


def some_rows(count: int, start: int, seed: int, *, labelled: bool = False) -> Iterator[ImportRow]:
    """Rows of about 40 words; every third has a response; every one is in the queue unless it is labelled."""
    dice = random.Random(seed)
    for number in range(start, start + count):
        text = " ".join(dice.choices(WORDS, k=20))
        if dice.random() < 0.2:
            text += " commonword"
        if number % 5_000 == 17:
            text += " rareword"
        response = " ".join(dice.choices(WORDS, k=60)) if number % 3 == 0 else None
        sample = Sample(f"{text} {number}", response)
        if labelled:
            yield ImportRow(number, sample, LabelDraft(Label.HARMFUL, Label.UNHARMFUL if response else Label.ABSENT))
        else:
            kind, checkpoint = dice.choice(KINDS), f"guard-{number % 3}"
            yield ImportRow(number, sample, reasons=(Reason(kind, dice.random(), "Because it is hard.", checkpoint),))


def bring(store: AnnotationStore, rows: list[ImportRow]) -> float:
    """Import rows that are in memory already; rows a second."""
    begin = time.perf_counter()
    counts = import_rows(store, rows, source="benchmark", file_name="-", form="jsonl", imported_by="benchmark")
    assert counts.new_samples == len(rows)
    return len(rows) / (time.perf_counter() - begin)


def milliseconds(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and 95th percentile."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begin))
    taken.sort()
    return taken[len(taken) // 2], taken[min(int(0.95 * len(taken)), len(taken) - 1)]


def next_and_back(store: AnnotationStore, wanted: QueueFilter | None = None) -> float:
    """Milliseconds for the next item; putting it back is not measured."""
    begin = time.perf_counter()
    claim = claim_next(store, "ann", wanted)
    taken = 1000 * (time.perf_counter() - begin)
    assert claim is not None
    release(store, claim.token)
    return taken


def measure(rows: int, steps: int) -> Iterator[tuple[str, str, str]]:
    """What, bar, and the figure."""
    with tempfile.TemporaryDirectory() as folder:
        store = AnnotationStore.open(Path(folder) / "guardroom.db", ReasonRules(audit_share=0.0))
        speed = 0.0
        for start in range(0, rows, 50_000):
            some = list(some_rows(min(50_000, rows - start), start, start))
            speed = bring(store, some)
        yield f"import, the last {min(rows, 50_000):,} of {rows:,} rows", "≥ 5,000 rows/s", f"{speed:,.0f} rows/s"
        more = list(some_rows(10_000, rows, 1, labelled=True))
        yield f"import of 10,000 labelled rows into {rows:,}", "≥ 5,000 rows/s", f"{bring(store, more):,.0f} rows/s"
        for name, wanted, bar in (
            ("next item", None, "p95 ≤ 5 ms"),
            ("next item of one reason and checkpoint", QueueFilter(ReasonKind.BAND, None, "guard-1"), "p95 ≤ 5 ms"),
            ("next item with a common word", QueueFilter(words="commonword"), "p95 ≤ 100 ms"),
            ("next item with a rare word", QueueFilter(words="rareword"), "p95 ≤ 100 ms"),
        ):
            taken = sorted(next_and_back(store, wanted) for _ in range(steps))
            yield f"{name}, {rows:,} rows", bar, f"{taken[steps // 2]:.2f} ms, p95 {taken[int(0.95 * steps)]:.2f} ms"

        def decide() -> float:
            claim = claim_next(store, "ann")
            assert claim is not None
            absent = claim.item.sample.response is None
            draft = LabelDraft(Label.HARMFUL, Label.ABSENT if absent else Label.UNHARMFUL)
            begin = time.perf_counter()
            submit(store, claim.token, draft)
            return 1000 * (time.perf_counter() - begin)

        taken = sorted(decide() for _ in range(min(steps, rows // 2)))
        figure = f"{taken[len(taken) // 2]:.2f} ms, p95 {taken[int(0.95 * len(taken))]:.2f} ms"
        yield f"submit, {rows:,} rows", "≤ 10 ms", figure
        middle, worst = milliseconds(lambda: left(store), steps)
        yield f"what is left, {rows:,} rows", "from counters", f"{middle:.2f} ms, p95 {worst:.2f} ms"
        middle, worst = milliseconds(lambda: set_weight(store, ReasonKind.BAND, random.uniform(0.1, 2.0), "owner"), 20)
        yield f"changing a weight, {rows:,} rows", "rewrites no rows", f"{middle:.2f} ms, p95 {worst:.2f} ms"
        store.close()


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.review", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000, help="rows in the store (default 1000)")
    parser.add_argument("--steps", type=int, default=200, help="times that each thing is done (default 200)")
    given = parser.parse_args()
    print("| what | bar | median, 95th percentile |\n| --- | --- | --- |", flush=True)
    for row in measure(max(given.rows, 100), max(given.steps, 20)):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
