"""Speed of the review store: `python -m tests.benchmark.review [--rows N] [--steps N]`.

Fills a store with N rows by import (search index and hashing included), then measures the next item, what is left and
submitting in it, and one more import on top. With 1000000 rows the filling takes minutes and about 2 GB of disk.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from annotation_store.bulk import ImportRow, import_rows
from annotation_store.claims import claim_next, release
from annotation_store.decisions import submit
from annotation_store.left import left
from annotation_store.reasons import Reason, ReasonKind, ReasonRules
from annotation_store.review_values import Claim, LabelDraft, QueueFilter
from annotation_store.store import AnnotationStore
from annotation_store.weights import set_weight
from core.types import Label, Sample
from tests.benchmark import label_studio
from tests.benchmark.clocks import HEAD, Took, row, speed, spread, took

WORDS = [
    f"{first}{last}" for first in "bcdfghklmnprstvwz" for last in ("ake", "ill", "ost", "une", "arp", "ent", "idge")
]
KINDS = (ReasonKind.FIRST_LOOK, ReasonKind.BAND, ReasonKind.GENERATIONS, ReasonKind.AUDIT)
FILLING = 50_000
"""Rows that are made at once while a store is filled."""


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


def bring(store: AnnotationStore, rows: list[ImportRow]) -> Took:
    """Import rows that are in memory already."""

    def work() -> None:
        counts = import_rows(store, rows, source="benchmark", file_name="-", form="jsonl", imported_by="benchmark")
        assert counts.new_samples == len(rows)

    return took(work)


def filled(folder: Path, rows: int) -> AnnotationStore:
    """A store with so many rows, all of them in the queue."""
    store = AnnotationStore.open(folder / "guardroom.db", ReasonRules(audit_share=0.0))
    for start in range(0, rows, FILLING):
        bring(store, list(some_rows(min(FILLING, rows - start), start, start)))
    return store


def next_and_back(store: AnnotationStore, wanted: QueueFilter | None = None) -> Took:
    """The time for the next item; putting it back is not measured."""
    claims: list[Claim | None] = []
    time_taken = took(lambda: claims.append(claim_next(store, "ann", wanted)))
    (claim,) = claims
    assert claim is not None
    release(store, claim.token)
    return time_taken


def decide(store: AnnotationStore) -> Took:
    """The time for handing in a label; taking the item is not measured."""
    claim = claim_next(store, "ann")
    assert claim is not None
    absent = claim.item.sample.response is None
    draft = LabelDraft(Label.HARMFUL, Label.ABSENT if absent else Label.UNHARMFUL)
    return took(lambda: submit(store, claim.token, draft))


def measure(rows: int, steps: int) -> Iterator[str]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as folder, filled(Path(folder), rows) as store:
        for name, wanted, bar, peer in (
            ("next item", None, "p95 ≤ 5 ms", label_studio.next_item(rows)),
            ("next item of one reason and checkpoint", QueueFilter(ReasonKind.BAND, None, "guard-1"), "p95 ≤ 5 ms", ""),
            ("next item with a common word", QueueFilter(words="commonword"), "p95 ≤ 100 ms", ""),
            ("next item with a rare word", QueueFilter(words="rareword"), "p95 ≤ 100 ms", ""),
        ):
            next_and_back(store, wanted)
            times = [next_and_back(store, wanted) for _ in range(steps)]
            yield row(f"{name}, {rows:,} rows", bar, spread(times), peer)
        decide(store)
        times = [decide(store) for _ in range(min(steps, rows // 2))]
        yield row(f"submit, {rows:,} rows", "≤ 10 ms", spread(times), label_studio.SUBMIT)
        times = [took(lambda: left(store)) for _ in range(steps)]
        yield row(f"what is left, {rows:,} rows", "from counters", spread(times))
        times = [took(lambda: set_weight(store, ReasonKind.BAND, random.uniform(0.1, 2.0), "owner")) for _ in range(20)]
        yield row(f"changing a weight, {rows:,} rows", "rewrites no rows", spread(times))
        more = list(some_rows(10_000, rows, 1, labelled=True))
        yield row(
            f"import of 10,000 labelled rows into {rows:,}", "≥ 5,000 rows/s", speed(len(more), bring(store, more))
        )


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.review", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000, help="rows in the store (default 1000)")
    parser.add_argument("--steps", type=int, default=200, help="times that each thing is done (default 200)")
    given = parser.parse_args()
    print(HEAD, flush=True)
    for line in measure(max(given.rows, 100), max(given.steps, 20)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
