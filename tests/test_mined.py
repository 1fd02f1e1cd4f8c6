"""Laws of sending what a training has mined to the review queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation_store.mining.from_training import AT_ONCE, MinedSample, Sent, enqueue_mined
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from core.errors import StoreError
from core.types import Label, Sample
from tests.queueing import enqueue
from tests.review import HARMFUL, UNHARMFUL, add, bring, open_store, reason, recount, rows_of

H, U, A = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT
BREAD, KNOT, WARM = (Sample(text) for text in ("How do I bake bread?", "Is this a good knot?", "Is it warm?"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def mined(sample: Sample, wrong: int = 3) -> MinedSample:
    return MinedSample(sample.id, ((U, A),) * wrong + ((H, A),) * (4 - wrong), wrong)


def test_a_stored_sample_waits_with_the_reason_and_whose_label_and_answers_it_is_about(store: AnnotationStore) -> None:
    bring(store, rows_of(**{BREAD.request: HARMFUL}), source="everyday")
    assert enqueue_mined(store, [mined(BREAD)], "guard-1", "ann") == Sent(opened=1)
    claim = claim_next(store, "bo")
    assert claim is not None
    (why,) = claim.item.reasons
    assert (why.kind, why.strength, why.checkpoint_id) == (ReasonKind.GENERATIONS, 0.75, "guard-1")
    assert why.words == "3 of 4 sampled generations disagree with the label of everyday."
    assert left(store) == recount(store)


def test_what_waits_already_what_is_decided_and_what_is_not_stored_are_told_apart(store: AnnotationStore) -> None:
    bring(store, rows_of(**{BREAD.request: HARMFUL, KNOT.request: HARMFUL}))
    enqueue(store, {BREAD.id: [reason()]})
    add(store, WARM, reason(strength=1.0, kind=ReasonKind.REPORTED))
    claim = claim_next(store, "ann")
    assert claim is not None
    assert claim.item.sample == WARM
    submit(store, claim.token, UNHARMFUL)
    every = [mined(BREAD), mined(KNOT), mined(WARM), mined(Sample("not stored"))]
    assert enqueue_mined(store, every, "guard-1", "ann") == Sent(opened=1, waiting=1, decided=1, missing=1)
    assert left(store).total == 2
    assert [each.kind for each in trail(store, WARM.id).reasons].count(ReasonKind.GENERATIONS) == 1
    assert enqueue_mined(store, every, "guard-1", "ann") == Sent(waiting=2, decided=1, missing=1), "twice is as once"
    assert left(store) == recount(store)


def test_decided_samples_are_opened_again_only_where_that_is_asked_for(store: AnnotationStore) -> None:
    add(store, WARM, reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    submit(store, claim.token, UNHARMFUL)
    assert enqueue_mined(store, [mined(WARM)], "guard-1", "bo", reopen=True) == Sent(reopened=1)
    assert left(store) == recount(store)
    assert left(store).total == 1
    known = trail(store, WARM.id)
    assert known.events[-1].reviewer == "bo"
    assert known.labels[-1].settled, "the label counts until there is another one"


def test_many_go_in_several_transactions_and_each_is_told(store: AnnotationStore) -> None:
    samples = [Sample(f"number {at}") for at in range(AT_ONCE + 5)]
    bring(store, rows_of(**{each.request: HARMFUL for each in samples}))
    told: list[int] = []
    done = enqueue_mined(store, [mined(each) for each in samples], "guard-1", "ann", on_done=told.append)
    assert done == Sent(opened=len(samples))
    assert told == [AT_ONCE, AT_ONCE + 5]
    assert left(store) == recount(store)


def test_somebody_must_have_sent_them(store: AnnotationStore) -> None:
    with pytest.raises(StoreError, match="names no reviewer"):
        enqueue_mined(store, [], "guard-1", " ")
