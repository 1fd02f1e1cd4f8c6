"""Laws of a mining run: it keeps with a reason, goes on where it was stopped, and lets others come first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from annotation_store.deletion import delete_sample
from annotation_store.incoming.values import ImportRow
from annotation_store.mining.runs import begin, findings, mining_runs, resume
from annotation_store.mining.values import MiningSettings, MiningState
from annotation_store.reading.selecting import Selection
from annotation_store.reading.trails import trail
from annotation_store.review.claims import claim_next
from annotation_store.review.decisions import submit
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from app.mine.work import mine, next_size
from core.errors import EngineError, InputError, StoreError
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.mining.rules import (
    Answer,
    KeepRule,
    Sampling,
)
from core.serving.live import LiveGuard
from core.settings import Settings
from core.types import Label, Sample
from tests.review import HARMFUL, UNHARMFUL, add, bring, open_store, reason, rows_of
from tests.running import has_weights
from tests.scripted import Voting, guard_of

H, U, A = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT


# -- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def test_a_run_keeps_by_label_or_vote_and_queues_with_a_reason_in_words(store: AnnotationStore) -> None:
    bring(store, rows_of(tea=UNHARMFUL, milk=UNHARMFUL, salt=None, sugar=None, ice=None))
    run = begin(store, MiningSettings(rule=KeepRule.OMNI_V1), "guard-1", "ann")
    answers: dict[str, list[Answer | None]] = {
        "tea": [(H, A), (H, A), None, (U, A)], "milk": [(U, A)] * 4, "salt": [(U, A), (U, A), (H, A), (H, A)],
        "sugar": [(H, A)] * 4, "ice": [None] * 4,
    }  # fmt: skip
    while batch := run.next(2):
        run.record([(each, answers[each.sample.request]) for each in batch])
    done = run.end(stopped=False)
    assert (done.state, done.total, done.done, done.kept) == (MiningState.DONE, 5, 5, 3)
    assert mining_runs(store) == [done]
    found = findings(store, done.id)
    assert (found.against_label, found.among_themselves, found.unreadable, found.waiting) == (1, 1, 1, 3)
    assert left(store).total == 3
    words = {}
    while (claim := claim_next(store, "ann")) is not None:
        [reason] = claim.item.reasons
        assert reason.checkpoint_id == "guard-1"
        words[claim.item.sample.request] = (reason.kind, reason.words)
    assert words == {
        "tea": (
            ReasonKind.GENERATIONS,
            "3 of 4 sampled generations disagree with the label of set; 1 of them could not be read.",
        ),
        "salt": (ReasonKind.GENERATIONS, "Of 4 sampled generations 2 say harmful and 2 do not."),
        "ice": (ReasonKind.UNREADABLE, "None of 4 sampled generations could be read."),
    }


def test_a_resumed_run_skips_what_it_has_done_and_takes_what_came_since(store: AnnotationStore) -> None:
    bring(store, [ImportRow(at, Sample(f"number {at}"), UNHARMFUL) for at in range(1, 8)])
    first = begin(store, MiningSettings(), "guard-1", "ann")
    batch = first.next(3)
    first.record([(each, [(H, A)] * 4) for each in batch])
    first.end(stopped=True)
    bring(store, [ImportRow(1, Sample("new"), UNHARMFUL)], "other")
    gone = first.next(1)[0]
    delete_sample(store, gone.sample_id, "ann", "a person's request")
    second = resume(store, first.run.id)
    assert (second.run.total, second.run.done, second.run.kept, second.run.state) == (7 - 1 + 1, 3, 3, "running")
    seen = []
    while some := second.next(2):
        seen += some
        second.record([(each, [(U, A)] * 4) for each in some])
    assert not {each.sample_id for each in seen} & {each.sample_id for each in (*batch, gone)}
    assert "new" in {each.sample.request for each in seen}
    done = second.end(stopped=False)
    assert (done.done, done.total, done.kept) == (7, 7, 3)
    with pytest.raises(StoreError, match="is done"):
        resume(store, done.id)
    with pytest.raises(StoreError, match="no mining run"):
        resume(store, "m1-nothing")


def test_a_batch_recorded_twice_counts_once_and_a_deleted_sample_not_at_all(store: AnnotationStore) -> None:
    bring(store, rows_of(tea=UNHARMFUL, milk=UNHARMFUL))
    run = begin(store, MiningSettings(), "guard-1", "ann")
    batch = run.next(2)
    delete_sample(store, batch[0].sample_id, "ann", "a person's request")
    for _ in range(2):
        run.record([(each, [(H, A)] * 4) for each in batch])
    assert (run.run.done, run.run.kept) == (1, 1)
    assert run.end(stopped=False).total == 1


def test_a_sample_that_a_reviewer_has_decided_is_kept_and_not_opened_again(store: AnnotationStore) -> None:
    add(store, Sample("tea"), reason())
    claim = claim_next(store, "ann")
    assert claim is not None
    submit(store, claim.token, UNHARMFUL)
    run = begin(store, MiningSettings(), "guard-2", "ann")
    [candidate] = run.next(5)
    assert (candidate.gold, candidate.labelled_by, candidate.has_verdict) == ((U, A), "", False)
    run.record([(candidate, [(H, A)] * 4)])
    found = findings(store, run.end(stopped=False).id)
    assert (found.waiting, found.decided) == (0, 1)
    assert left(store).total == 0
    assert "4 of 4 sampled generations disagree with the label." in {
        each.words for each in trail(store, candidate.sample_id).reasons
    }


def test_a_filter_that_nothing_passes_begins_no_run(store: AnnotationStore) -> None:
    bring(store, rows_of(tea=UNHARMFUL))
    with pytest.raises(InputError, match="No stored sample passes"):
        begin(store, MiningSettings(Selection(source="nobody")), "guard-1", "ann")
    assert mining_runs(store) == []


# -- from beginning to end ----------------------------------------------------------------------------------------


@pytest.fixture
def live(data_root: Path) -> Iterator[LiveGuard]:
    settings = Settings(device="cpu", threads=1)
    guard = LiveGuard(settings, MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits())))
    yield guard
    guard.close()


def test_a_run_of_the_shipped_guard_is_stopped_and_resumed_and_no_sample_is_drawn_twice(
    store: AnnotationStore, live: LiveGuard
) -> None:
    if not has_weights():
        pytest.skip("the built-in guard has no weights")
    list(live.load("builtin"))
    foods = ("bread", "rice", "soup", "a cake", "rye rolls", "noodles")
    bring(
        store,
        [
            ImportRow(at, Sample(f"How do I make {food}?"), (HARMFUL, UNHARMFUL, None)[at % 3])
            for at, food in enumerate(foods)
        ],
    )
    stop = threading.Event()
    settings = MiningSettings(rule=KeepRule.OMNI_V1, sampling=Sampling(8, seed=1))
    checkpoint = live.call(lambda guard: guard.engine.info.id)
    first = mine(live, store, begin(store, settings, checkpoint, "ann"), progress=lambda told: stop.set(), stop=stop)
    assert (first.run.state, first.run.done, first.run.total) == (MiningState.STOPPED, 1, 6)
    told: list[int] = []
    second = mine(live, store, resume(store, first.run.id), progress=lambda now: told.append(now.run.done))
    assert told == sorted(set(told))
    assert told[0] > 1
    assert (second.run.state, second.run.done, second.unjudged) == (MiningState.DONE, 6, ())
    # Harmless requests labelled harmful are wrong in most generations, so some are kept by the label.
    assert second.findings.against_label >= 1
    assert second.findings.waiting == second.run.kept == left(store).total
    kept = 0
    while (claim := claim_next(store, "ann")) is not None:
        kept += 1
        assert claim.item.verdict is not None, "the reviewer sees what the guard says"
        assert claim.item.verdict.checkpoint_id == checkpoint
        assert len(trail(store, claim.item.sample_id).verdicts) == 1
    assert kept == second.run.kept


def test_whoever_waits_for_the_guard_comes_before_the_next_batch(store: AnnotationStore, live: LiveGuard) -> None:
    engine = Voting({})
    live._adopt(guard_of(engine))
    bring(store, [ImportRow(at, Sample(f"number {at}"), UNHARMFUL) for at in range(24)])
    visitors: list[threading.Thread] = []

    def visit(number: int) -> None:
        if number == 1:
            visitor = threading.Thread(target=lambda: live.first_look(Sample("a visitor")))
            visitor.start()
            visitors.append(visitor)
            deadline = time.monotonic() + 30
            while not live._waiting and time.monotonic() < deadline:
                time.sleep(0.01)

    engine.on_batch = visit
    report = mine(live, store, begin(store, MiningSettings(), "scripted-1", "ann"))
    visitors[0].join()
    assert report.run.done == 24
    assert engine.log == ["batch of 8", "look a visitor", "batch of 16", "batch of 32", "batch of 32", "batch of 8"]


@pytest.mark.parametrize(("took_s", "size"), [(0.1, 8), (3.0, 4), (9.0, 2)])
def test_batches_grow_while_they_are_quick_and_shrink_when_others_would_wait_long(took_s: float, size: int) -> None:
    assert next_size(4, took_s, 8) == size
    assert next_size(1, 100.0, 8) == 1
    assert next_size(8, 0.1, 8) == 8


def test_a_run_belongs_to_the_checkpoint_that_it_began_with(store: AnnotationStore, live: LiveGuard) -> None:
    live._adopt(guard_of(Voting({})))
    bring(store, rows_of(tea=UNHARMFUL))
    mining = begin(store, MiningSettings(), "another", "ann")
    with pytest.raises(EngineError, match="began with the checkpoint another, and scripted-1 is live now"):
        mine(live, store, mining)
    [run] = mining_runs(store)
    assert (run.state, run.done) == (MiningState.STOPPED, 0)


def test_verdicts_for_mined_samples_are_no_random_audit(tmp_path: Path, live: LiveGuard) -> None:
    live._adopt(guard_of(Voting({"tea": [(H, A)]})))
    with open_store(tmp_path / "audited.db", audit_share=1.0) as store:
        bring(store, rows_of(tea=UNHARMFUL))
        mine(live, store, begin(store, MiningSettings(), "scripted-1", "ann"))
        claim = claim_next(store, "ann")
        assert claim is not None
        assert ReasonKind.GENERATIONS in {each.kind for each in claim.item.reasons}
        assert ReasonKind.AUDIT not in {each.kind for each in claim.item.reasons}


def test_what_could_not_be_judged_is_told_with_its_reason_and_not_kept(store: AnnotationStore, live: LiveGuard) -> None:
    live._adopt(guard_of(Voting({})))
    bring(store, [*rows_of(tea=UNHARMFUL), ImportRow(2, Sample("a vast one"), HARMFUL)])
    report = mine(live, store, begin(store, MiningSettings(rule=KeepRule.VL), "scripted-1", "ann"))
    assert (report.run.done, report.run.kept, report.findings.unjudged) == (2, 0, 1)
    assert report.unjudged == (("The cpu has too little memory for this sample.", 1),)
    assert replace(report.run, state=MiningState.DONE) == report.run
