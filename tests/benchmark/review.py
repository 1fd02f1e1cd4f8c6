"""Speed of the review store: `python -m tests.benchmark.review [--rows N] [--steps N] [--keep FOLDER]`.

Fills a store with N rows by import (search index and hashing included), then measures the next item, what is left and
submitting in it, and one more import on top, and counts the questions that scan a table. With 1000000 rows the filling
takes minutes and about 2 GB of disk; `--keep` fills once and measures in a copy from then on.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from annotation_store.incoming.bulk import import_rows
from annotation_store.incoming.values import ImportRow
from annotation_store.review.claims import claim_next, heartbeat, held, release
from annotation_store.review.decisions import recent, skip, submit, undo
from annotation_store.review.progress import left, pace
from annotation_store.review.weights import set_weight
from annotation_store.rules.reasons import ReasonRules
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import Claim, LabelDraft, QueueFilter
from core.types import Label, Modality, Sample
from tests.benchmark import label_studio
from tests.benchmark.clocks import HEAD, Took, row, speed, spread, took
from tests.plans import watched

WORDS = [
    f"{first}{last}" for first in "bcdfghklmnprstvwz" for last in ("ake", "ill", "ost", "une", "arp", "ent", "idge")
]
WORD_KINDS = {
    "commonword": "common word", "rareword": "rare word", "lateword": "word of the last items",
    "nowhereword": "word that nothing has",
}  # fmt: skip
KINDS = (ReasonKind.FIRST_LOOK, ReasonKind.BAND, ReasonKind.GENERATIONS, ReasonKind.AUDIT)
NAME = "guardroom.db"
FILLING = 50_000
"""Rows that are made at once while a store is filled."""


def some_rows(count: int, start: int, seed: int, *, labelled: bool = False) -> Iterator[ImportRow]:
    """Rows of about 40 words; every third has a response; every one is in the queue unless it is labelled.

    A fifth have a common word, one in 5,000 a rare one, and the last half percent in the order of the queue a late one.
    """
    dice = random.Random(seed)
    for number in range(start, start + count):
        text = " ".join(dice.choices(WORDS, k=20))
        kind, strength, checkpoint = dice.choice(KINDS), dice.random(), f"guard-{number % 3}"
        if dice.random() < 0.2:
            text += " commonword"
        if strength < 0.005:
            text += " lateword"
        if number % 5_000 == 17:
            text += " rareword"
        response = " ".join(dice.choices(WORDS, k=60)) if number % 3 == 0 else None
        sample = Sample(f"{text} {number}", response)
        if labelled:
            yield ImportRow(number, sample, LabelDraft(Label.HARMFUL, Label.UNHARMFUL if response else Label.ABSENT))
        else:
            yield ImportRow(number, sample, reasons=(Reason(kind, strength, "Because it is hard.", checkpoint),))


def bring(store: AnnotationStore, rows: list[ImportRow]) -> Took:
    """Import rows that are in memory already."""

    def work() -> None:
        counts = import_rows(store, rows, source="benchmark", file_name="-", form="jsonl", imported_by="benchmark")
        assert counts.new_samples == len(rows)

    return took(work)


def filled(folder: Path, rows: int, keep: Path | None = None) -> AnnotationStore:
    """A store with so many rows, all of them in the queue.

    Args:
        keep: a folder for filled stores: this one is a copy of the one that lies there, and filled there when missing.
    """
    path = folder / NAME
    if keep is not None and rows:
        shutil.copyfile(_kept(keep, rows), path)
    store = AnnotationStore.open(path, ReasonRules(audit_share=0.0))
    if keep is None:
        _fill(store, rows)
    return store


def _kept(keep: Path, rows: int) -> Path:
    """The filled store of that size; whole or not there."""
    path = keep / f"queue-{rows}.db"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=keep) as folder:
            with filled(Path(folder), 0) as store:
                _fill(store, rows)
            os.replace(Path(folder) / NAME, path)
    return path


def _fill(store: AnnotationStore, rows: int) -> None:
    for start in range(0, rows, FILLING):
        bring(store, list(some_rows(min(FILLING, rows - start), start, start)))


def next_and_back(store: AnnotationStore, wanted: QueueFilter | None = None) -> Took:
    """The time for the next item, or for the answer that there is none; putting it back is not measured."""
    claims: list[Claim | None] = []
    time_taken = took(lambda: claims.append(claim_next(store, "ann", wanted)))
    (claim,) = claims
    if claim is not None:
        release(store, claim.token)
    return time_taken


def decide(store: AnnotationStore) -> Took:
    """The time for handing in a label; taking the item is not measured."""
    claim = claim_next(store, "ann")
    assert claim is not None
    draft = _draft(claim)
    return took(lambda: submit(store, claim.token, draft))


def _draft(claim: Claim) -> LabelDraft:
    return LabelDraft(Label.HARMFUL, Label.ABSENT if claim.item.sample.response is None else Label.UNHARMFUL)


def questions(store: AnnotationStore) -> tuple[int, int]:
    """How many statements the queue asks the database, and how many of them look at every row of a table."""
    with watched(store) as plans:
        for wanted in (None, QueueFilter(ReasonKind.BAND, Modality.TEXT, "guard-1"), *map(words, WORD_KINDS)):
            claim = claim_next(store, "bob", wanted)
            if claim is not None:
                submit(store, claim.token, _draft(claim))
            left(store, wanted)
        claim = claim_next(store, "bob")
        assert claim is not None
        heartbeat(store, claim.token)
        held(store, "bob")
        skip(store, claim.token, "not now")
        undo(store, "bob")
        recent(store, "bob")
        pace(store, datetime.now(UTC), "bob")
    return len(plans.steps), len(plans.scans)


def words(word: str) -> QueueFilter:
    """Only items with that word."""
    return QueueFilter(words=word)


def measure(rows: int, steps: int, keep: Path | None = None) -> Iterator[str]:
    """The rows of the table. `keep`: as for `filled`."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=keep) as folder, filled(Path(folder), rows, keep) as store:
        for name, wanted, bar, peer in (
            ("next item", None, "p95 ≤ 5 ms", label_studio.next_item(rows)),
            ("next item of one reason and checkpoint", QueueFilter(ReasonKind.BAND, None, "guard-1"), "p95 ≤ 5 ms", ""),
            *((f"next item with a {kind}", words(word), "p95 ≤ 100 ms", "") for word, kind in WORD_KINDS.items()),
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
        asked, scans = questions(store)
        yield row(f"plans that scan a table, {rows:,} rows", "0", (f"{scans} of {asked} statements", ""))
        more = list(some_rows(10_000, rows, 1, labelled=True))
        yield row(
            f"import of 10,000 labelled rows into {rows:,}", "≥ 5,000 rows/s", speed(len(more), bring(store, more))
        )


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.review", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000, help="rows in the store (default 1000)")
    parser.add_argument("--steps", type=int, default=200, help="times that each thing is done (default 200)")
    parser.add_argument("--keep", type=Path, help="a folder where filled stores are kept, for the next time")
    given = parser.parse_args()
    print(HEAD, flush=True)
    for line in measure(max(given.rows, 100), max(given.steps, 20), given.keep):
        print(line, flush=True)


if __name__ == "__main__":
    main()
