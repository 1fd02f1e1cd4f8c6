"""What the processes of the store's soak do: each function is the whole of one process.

A line in the file `said` is an acknowledgement: it is written after the store's function has returned, and never
before. Processes are killed while they do this, so each line goes to the file in one call.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path

from annotation_store.incoming.bulk import import_rows
from annotation_store.incoming.values import ImportRow
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import second_opinion, skip, submit, undo
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import Claim, LabelDraft, Reasoning
from core.errors import StaleClaim, StoreError
from core.types import Label, Sample
from tests.queueing import enqueue
from tests.review import open_store
from tests.verdicts import verdict_on

WHY = Reason(ReasonKind.BAND, 0.5, "Because it is in the band.", "guard-1")


class Said:
    """Acknowledgements, one a line."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())


def said_in(path: Path) -> list[list[str]]:
    """The whole lines; a last one that a kill cut off was no acknowledgement."""
    if not path.exists():
        return []
    return [line.split(" ") for line in path.read_text().split("\n")[:-1]]


def draft_for(claim: Claim, dice: random.Random) -> LabelDraft:
    """A label, often with a note and reasoning, so that the search index changes too."""
    answered = claim.item.sample.response is not None
    reasoning = Reasoning(("The request is harmful.",)) if dice.random() < 0.5 and not answered else None
    note = f"noted by dice {dice.randrange(1000)}" if dice.random() < 0.5 else ""
    return LabelDraft(Label.HARMFUL, Label.UNHARMFUL if answered else Label.ABSENT, note=note, reasoning=reasoning)


def add_item(store: AnnotationStore, name: str) -> None:
    """One more sample with a verdict, in the queue."""
    sample = Sample(f"request {name}")
    store.record(sample, verdict_on(sample, f"v-{name}"))
    enqueue(store, {sample.id: [WHY]})


def review_until_killed(database: Path, said: Path, name: str, seed: int) -> None:
    """Decide, skip, ask and take back for ever, and put new items in; every event is acknowledged by its id."""
    acknowledge, dice = Said(said), random.Random(seed)
    number = 0
    with open_store(database) as store:
        acknowledge("ready")
        while True:
            claim = claim_next(store, name)
            if claim is None or dice.random() < 0.3:
                number += 1
                add_item(store, f"{name} {seed} {number}")
            if claim is None:
                continue
            way = dice.random()
            if way < 0.8:
                done = submit(store, claim.token, draft_for(claim, dice))
                acknowledge("label", done.event.id, done.label.id)
            elif way < 0.9:
                acknowledge("event", skip(store, claim.token, "not now").id)
            else:
                acknowledge("event", second_opinion(store, claim.token, "unsure", draft_for(claim, dice)).event.id)
            if dice.random() < 0.1:
                with suppress(StoreError):  # another reviewer may have acted on it since
                    acknowledge("event", undo(store, name).event.id)


def decide_all(database: Path, said: Path, name: str, lost: float) -> None:
    """Decide items until none is left, letting the share `lost` of the leases run out on the way.

    Acknowledges each decision, each lease that was let run out, and each stale token that was refused or, which must
    not be, taken.
    """
    acknowledge, dice = Said(said), random.Random(name)
    stale: list[tuple[str, LabelDraft]] = []

    def try_stale(token: str, draft: LabelDraft) -> None:
        try:
            submit(store, token, draft)
            acknowledge("taken", token)
        except StaleClaim:
            acknowledge("refused", token)

    with open_store(database) as store:
        waited = 0
        while waited < 3:
            careless = dice.random() < lost
            claim = claim_next(store, name, lease_s=0.01 if careless else 300.0)
            if claim is None:
                waited += 1
                time.sleep(0.05)  # longer than the leases that others let run out
                continue
            waited = 0
            draft = draft_for(claim, dice)
            if careless:
                acknowledge("expired", claim.item.sample_id)
                stale.append((claim.token, draft))
                time.sleep(0.012)
                if dice.random() < 0.5:
                    try_stale(*stale[-1])
                continue
            submit(store, claim.token, draft)
            acknowledge("decided", claim.item.sample_id)
        for token, draft in stale:
            try_stale(token, draft)


def write_along(database: Path, said: Path, name: str, times: int) -> None:
    """One of many writers: records, reports, claims, decides and skips so many times; says every failure."""
    acknowledge, dice = Said(said), random.Random(name)
    with open_store(database) as store:
        for number in range(times):
            try:
                add_item(store, f"{name} {number}")
                store.report(f"v-{name} {number}", "it is wrong", name)
                claim = claim_next(store, name)
                if claim is not None and dice.random() < 0.2:
                    skip(store, claim.token, "not now")
                elif claim is not None:
                    submit(store, claim.token, draft_for(claim, dice))
                acknowledge("written")
            except StoreError as error:
                acknowledge("failed", str(error))


def import_along(database: Path, said: Path, rows: int) -> None:
    """One import beside them."""
    acknowledge = Said(said)
    some = (
        ImportRow(number, Sample(f"imported request number {number}", f"with answer {number}"), reasons=(WHY,))
        for number in range(rows)
    )
    with open_store(database) as store:
        try:
            counts = import_rows(
                store, some, source="set", file_name="set.jsonl", form="jsonl", imported_by="ann", chunk=500
            )
            acknowledge("imported", str(counts.new_samples))
        except StoreError as error:
            acknowledge("failed", str(error))
