"""Laws of the review queue: order, filters, counters, second opinions, and that no question to it scans a table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from annotation_store.models import QueueItemRow
from annotation_store.queue import next_item
from annotation_store.queue.items import DECIDED, add_reasons
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next, heartbeat, held, release
from annotation_store.review.decisions import recent, second_opinion, skip, submit, undo
from annotation_store.review.progress import left, pace
from annotation_store.review.weights import set_weight, weights
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import Left, QueueFilter
from core.errors import StoreError
from core.types import HarmProbability, Modality, Sample
from tests.plans import watched
from tests.queueing import enqueue
from tests.review import HARMFUL, UNHARMFUL, add, open_store, reason, recount
from tests.verdicts import image, verdict_on


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def order(store: AnnotationStore, reviewer: str = "ann", wanted: QueueFilter | None = None) -> list[str]:
    """The requests of all items in the order in which a reviewer gets them; all are put back."""
    claims = []
    while (claim := claim_next(store, reviewer, wanted)) is not None:
        claims.append(claim)
    for claim in claims:
        release(store, claim.token)
    return [claim.item.sample.request for claim in claims]


# -- what comes next --------------------------------------------------------------------------------------------------


def test_an_empty_queue_gives_none(store: AnnotationStore) -> None:
    assert claim_next(store, "ann") is None
    assert left(store) == Left(0, {}, {}, {})


def test_recording_a_hard_verdict_queues_the_sample_with_its_reason_in_words(store: AnnotationStore) -> None:
    easy, hard = Sample("easy"), Sample("hard")
    store.record(easy, verdict_on(easy, "v-1"))
    verdict = verdict_on(hard, "v-2", deliberated=HarmProbability(0.5))
    store.record(hard, verdict)
    claim = claim_next(store, "ann")
    assert claim is not None
    assert (claim.item.sample, claim.item.verdict, claim.reviewer) == (hard, verdict, "ann")
    assert [each.kind for each in claim.item.reasons] == [ReasonKind.BAND, ReasonKind.FIRST_LOOK]
    assert "0.10, then 0.50" in claim.item.reasons[1].words
    assert claim_next(store, "bob") is None


def test_a_report_queues_its_sample(store: AnnotationStore) -> None:
    sample = Sample("hello")
    store.record(sample, verdict_on(sample))
    store.report("v-1", "it is a greeting", "visitor")
    claim = claim_next(store, "ann")
    assert claim is not None
    assert "it is a greeting" in claim.item.reasons[0].words
    assert left(store).by_kind == {"reported": 1}


def test_a_report_opens_a_decided_sample_again_also_for_who_decided_it(store: AnnotationStore) -> None:
    verdict = add(store, Sample("one"), reason())
    passed_on = claim_next(store, "bob")
    assert passed_on is not None
    skip(store, passed_on.token, "not my language")
    claim = claim_next(store, "ann")
    assert claim is not None
    decided = submit(store, claim.token, HARMFUL).label
    assert claim_next(store, "ann") is None
    with watched(store) as plans:
        store.report(verdict.id, "it is a greeting", "visitor")
    assert plans.scans == {}
    assert left(store) == recount(store)
    assert left(store).by_kind == {"band": 1, "reported": 1}
    store.report(verdict.id, "", "visitor")  # Pressing once more changes nothing.
    assert [label.settled for label in trail(store, claim.item.sample_id).labels] == [True]
    assert claim_next(store, "bob") is None
    again = claim_next(store, "ann", QueueFilter(kind=ReasonKind.REPORTED))
    assert again is not None
    assert (again.item.stage, again.item.labels) == ("reopened", (decided,))
    corrected = submit(store, again.token, UNHARMFUL).label
    assert corrected.supersedes == decided.id
    assert left(store) == recount(store)
    assert left(store).total == 0
    known = trail(store, claim.item.sample_id)
    assert [label.settled for label in known.labels] == [False, True]
    assert [(event.kind.value, event.reviewer) for event in known.events] == [
        ("skip", "bob"), ("decide", "ann"), ("reopen", "visitor"), ("decide", "ann"),
    ]  # fmt: skip


def test_the_larger_weight_times_strength_comes_first_and_the_older_of_equals(store: AnnotationStore) -> None:
    add(store, Sample("band 0.9"), reason(ReasonKind.BAND, 0.9))
    add(store, Sample("band 1"), reason(ReasonKind.BAND, 1.0))
    add(store, Sample("band 1, later"), reason(ReasonKind.BAND, 1.0))
    add(store, Sample("reported 0.5"), reason(ReasonKind.REPORTED, 0.5))
    add(store, Sample("reported 0.9 and band 0.1"), reason(ReasonKind.REPORTED, 0.9), reason(ReasonKind.BAND, 0.1))
    expected = ["reported 0.9 and band 0.1", "band 1", "band 1, later", "band 0.9", "reported 0.5"]
    assert order(store) == expected


def test_changing_a_weight_changes_the_order_and_writes_one_row(store: AnnotationStore) -> None:
    add(store, Sample("band"), reason(ReasonKind.BAND))
    add(store, Sample("audit"), reason(ReasonKind.AUDIT))
    assert order(store) == ["band", "audit"]
    with store.engine.connect() as connection:
        before = connection.exec_driver_sql("SELECT * FROM queue_reasons").all()
    set_weight(store, ReasonKind.AUDIT, 2.5, "owner")
    assert order(store) == ["audit", "band"]
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM queue_reasons").all() == before
    assert weights(store)[ReasonKind.AUDIT] == 2.5
    for wrong in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(StoreError, match="is accepted"):
            set_weight(store, ReasonKind.AUDIT, wrong, "owner")


def test_filters_give_only_what_was_asked_for(store: AnnotationStore) -> None:
    picture = Sample("a picture of bread", media=(image(),))
    add(store, Sample("bread and butter"), reason(ReasonKind.BAND))
    add(store, picture, reason(ReasonKind.REPORTED))
    add(store, Sample("a knife"), reason(ReasonKind.BAND, checkpoint_id="guard-2"), reason(ReasonKind.REPORTED, 0.1))
    assert order(store, wanted=QueueFilter(kind=ReasonKind.BAND)) == ["bread and butter", "a knife"]
    assert order(store, wanted=QueueFilter(modality=Modality.IMAGE)) == ["a picture of bread"]
    assert order(store, wanted=QueueFilter(modality=Modality.VIDEO)) == []
    assert order(store, wanted=QueueFilter(checkpoint_id="guard-2")) == ["a knife"]
    assert order(store, wanted=QueueFilter(words="Bread")) == ["a picture of bread", "bread and butter"]
    assert order(store, wanted=QueueFilter(words="bread", kind=ReasonKind.BAND)) == ["bread and butter"]
    assert order(store, wanted=QueueFilter(words="no-such-word")) == []
    assert order(store, wanted=QueueFilter(words="  ")) == order(store)


def test_a_common_word_gives_the_same_order_as_a_rare_one(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        words = "common words" if number % 3 else "others"
        kind = ReasonKind.BAND if number % 2 else ReasonKind.UNREADABLE
        add(store, Sample(f"{words} {number}"), reason(kind, 1 - number / 40))
    wanted = QueueFilter(words="common")
    one_by_one = order(store, wanted=wanted)
    assert len(one_by_one) == 20
    monkeypatch.setattr(next_item, "RARE", 3)
    monkeypatch.setattr(next_item, "PAGE", 4)
    assert order(store, wanted=wanted) == one_by_one


def test_a_common_word_of_the_last_items_is_found_whatever_stands_before_them(
    store: AnnotationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        add(store, Sample(f"others {number}"), reason(strength=0.9))
        add(store, Sample(f"common words {number}"), reason(strength=(number + 1) / 100))
    for name, value in {"RARE": 3, "FAR": 5, "BLOCK": 4}.items():
        monkeypatch.setattr(next_item, name, value)
    # The best of the newest four, and when these are held the best of the next four.
    numbers = [int(each.rsplit(" ", 1)[1]) for each in order(store, wanted=QueueFilter(words="common"))]
    assert numbers == list(range(11, -1, -1))
    assert order(store, wanted=QueueFilter(ReasonKind.REPORTED, words="common")) == []


# -- counters ---------------------------------------------------------------------------------------------------------


def test_the_counters_are_what_counting_gives_after_everything_that_can_happen(store: AnnotationStore) -> None:
    for number in range(6):
        media = (image(),) if number % 2 else ()
        reasons = [reason(ReasonKind.BAND, checkpoint_id=f"guard-{number % 3}"), reason(ReasonKind.REPORTED)][
            : number % 2 + 1
        ]
        add(store, Sample(f"request {number}", media=media), *reasons)
    assert left(store) == recount(store)
    first, second, third, fourth = (claim_next(store, "ann") for _ in range(4))
    assert first is not None
    assert second is not None
    assert third is not None
    assert fourth is not None
    assert left(store).total == 6
    submit(store, first.token, HARMFUL)
    skip(store, second.token, "not my language")
    second_opinion(store, third.token, "unsure")
    assert left(store) == recount(store)
    assert left(store).total == 5
    for _ in range(3):
        undo(store, "ann")
        assert left(store) == recount(store)
    assert left(store).total == 6
    # A new checkpoint takes the place of the old one in a reason of the same kind.
    enqueue(store, {first.item.sample_id: [reason(ReasonKind.BAND, checkpoint_id="guard-9")]})
    assert left(store) == recount(store)
    for held_claim in held(store, "ann"):
        release(store, held_claim.token)
    wanted = QueueFilter(kind=ReasonKind.BAND, modality=Modality.TEXT)
    assert left(store, wanted).total == len(order(store, "bob", wanted))
    assert left(store, QueueFilter(checkpoint_id="guard-1")).total == len(
        order(store, "eve", QueueFilter(checkpoint_id="guard-1"))
    )


def test_the_pace_counts_by_reviewer_and_an_undo_takes_off(store: AnnotationStore) -> None:
    for number in range(4):
        add(store, Sample(f"request {number}"), reason())
    today = datetime.now(UTC) - timedelta(hours=1)
    for act in (
        lambda t: submit(store, t, HARMFUL),
        lambda t: submit(store, t, HARMFUL),
        lambda t: skip(store, t, "x"),
    ):
        claim = claim_next(store, "ann")
        assert claim is not None
        act(claim.token)
    assert (pace(store, today, "ann").decided, pace(store, today, "ann").skipped) == (2, 1)
    assert pace(store, today, "bob").decided == 0
    undo(store, "ann", recent(store, "ann")[1].event.id)
    assert pace(store, today).decided == 1
    assert pace(store, datetime.now(UTC) + timedelta(hours=1)).decided == 0


# -- second opinions, skips -------------------------------------------------------------------------------------------


def test_a_skipped_item_comes_after_all_others_and_never_back_to_who_skipped_it(store: AnnotationStore) -> None:
    add(store, Sample("strong"), reason(strength=1.0))
    add(store, Sample("weak"), reason(strength=0.1))
    claim = claim_next(store, "ann")
    assert claim is not None
    assert skip(store, claim.token, "not my language").note == "not my language"
    assert order(store, "ann") == ["weak"]
    assert order(store, "bob") == ["weak", "strong"]
    again = claim_next(store, "ann")
    assert again is not None
    with pytest.raises(StoreError, match="No reason is given for skipping"):
        skip(store, again.token, " ")


def test_a_second_opinion_is_never_asked_of_who_asked_for_it(store: AnnotationStore) -> None:
    add(store, Sample("one"), reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    second_opinion(store, claim.token, "is this satire?", HARMFUL)
    assert claim_next(store, "ann") is None
    other = claim_next(store, "bob")
    assert other is not None
    assert other.item.stage == "second_opinion"
    assert other.item.labels == ()
    assert "is this satire?" in other.item.reasons[0].words
    label = submit(store, other.token, UNHARMFUL).label
    assert label.settled
    assert label.supersedes is None


def test_a_decided_sample_stays_decided_whatever_a_new_verdict_says(store: AnnotationStore) -> None:
    add(store, Sample("one"), reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    submit(store, claim.token, HARMFUL)
    enqueue(store, {claim.item.sample_id: [reason(ReasonKind.UNREADABLE)]})
    assert claim_next(store, "bob") is None
    assert left(store) == recount(store)
    with store.reading("Looking") as connection:
        assert connection.scalar(select(QueueItemRow.state)) == DECIDED


# -- plans ------------------------------------------------------------------------------------------------------------


def test_no_question_to_the_queue_scans_a_table(store: AnnotationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        add(store, Sample(f"common {number}"), reason(), reason(ReasonKind.REPORTED))
    some_filters = [
        None,
        QueueFilter(kind=ReasonKind.BAND, modality=Modality.TEXT, checkpoint_id="guard-1"),
        QueueFilter(words="common"),
    ]
    with watched(store) as plans:
        for wanted in some_filters:
            claim = claim_next(store, "ann", wanted)
            assert claim is not None
            heartbeat(store, claim.token)
            held(store, "ann")
            submit(store, claim.token, HARMFUL)
            left(store, wanted)
        with monkeypatch.context() as patch:
            patch.setattr(next_item, "RARE", 1)
            claim = claim_next(store, "ann", QueueFilter(words="common"))
        assert claim is not None
        skip(store, claim.token, "why")
        claim = claim_next(store, "ann")
        assert claim is not None
        second_opinion(store, claim.token, "why", HARMFUL)
        undo(store, "ann")
        pace(store, datetime.now(UTC), "ann")
        recent(store, "ann")
        with store.writing("Queueing") as connection:
            add_reasons(connection, 1, [reason(ReasonKind.AUDIT)], "2026-11-21T00:00:00.000000+00:00")
    assert plans.scans == {}
    assert len(plans.steps) > 30
    heads = next(
        plan
        for statement, plan in plans.steps.items()
        if "queue_counts.open_items >" in statement and "LIMIT" in statement
    )
    assert any("COVERING INDEX ix_queue_reasons_order" in step for step in heads), heads
    assert not any("TEMP B-TREE" in step for step in heads), heads
