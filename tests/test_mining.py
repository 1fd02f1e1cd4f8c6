"""Laws of mining: which generations are wrong, which samples are kept, and that a stopped run goes on where it was."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_store.bulk import ImportRow
from annotation_store.claims import claim_next
from annotation_store.decisions import submit
from annotation_store.deletion import delete_sample
from annotation_store.left import left
from annotation_store.mining import (
    Findings,
    MiningRun,
    MiningSettings,
    MiningState,
    begin,
    findings,
    mining_runs,
    resume,
)
from annotation_store.reasons import ReasonKind, generations_disagree, generations_wrong
from annotation_store.selecting import Selection
from annotation_store.store import AnnotationStore
from annotation_store.trails import trail
from app import mine_present, mine_tab
from app.identity import OwnerGate
from app.mine_work import MiningReport, mine, next_size
from app.services import Services
from core.engines.base import Completion, Decoding, Prompt
from core.engines.transformers_engine import TransformersEngine
from core.errors import Cancelled, EngineError, InputError, MediaDamaged, StoreError
from core.generations import Generations, sample_generations
from core.guard import Guard
from core.limits import MediaLimits
from core.live import LiveGuard
from core.media import MediaStore
from core.mining import (
    DEFAULT_GENERATIONS,
    Answer,
    KeepRule,
    Sampling,
    judge,
    keep,
    keep_by_vote,
    vote_entropy,
    wrong,
)
from core.protocol import render_result
from core.settings import Settings
from core.types import Calibrations, HarmProbability, Label, MediaRef, Sample
from core.video import VideoReader
from core.vision import DecodedMedia
from tests.openai_client import connected
from tests.openai_client import guard_of as guard_at
from tests.review import HARMFUL, UNHARMFUL, add, bring, open_store, reason
from tests.running import has_weights
from tests.scripted import PROTOCOL, ScriptedEngine, as_sure, decode, guard_of, image

H, U, A, N = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED
LABELS = st.sampled_from([H, U, A, N])
ANSWERS = st.none() | st.tuples(st.sampled_from([H, U]), st.sampled_from([H, U, A]))


# -- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "gold", "is_wrong"),
    [
        ((U, A), (U, A), False),
        ((H, A), (U, A), True),
        ((U, U), (U, H), True),
        ((H, H), (U, H), True),
        ((U, A), (U, H), True),  # the response's label is missing
        (None, (U, A), True),
        (None, (N, H), True),
        ((H, A), (N, A), False),
        ((H, H), (N, H), False),
        ((H, U), (N, H), True),
        (None, (N, A), False),
        (None, (N, N), False),
        ((U, N), (U, H), False),  # the part that was judged does not hold the response
        ((H, H), (H, A), False),  # without a response there is nothing to be right about
    ],
)
def test_a_generation_is_wrong_where_a_labelled_side_differs_or_is_missing(
    answer: Answer | None, gold: Answer, is_wrong: bool
) -> None:
    assert wrong(answer, gold) is is_wrong


@given(ANSWERS, LABELS, LABELS, LABELS)
def test_what_is_said_of_an_unlabelled_side_never_counts(
    answer: Answer | None, other: Label, request: Label, response: Label
) -> None:
    if answer is not None:
        assert wrong((other, answer[1]), (N, response)) == wrong(answer, (N, response))
        assert wrong((answer[0], other), (request, N)) == wrong(answer, (request, N))


@pytest.mark.parametrize(
    ("wrongs", "kept_by"),
    [
        (0, set()),
        (1, {KeepRule.OMNI_V1, KeepRule.OMNI_V2}),
        (3, {KeepRule.OMNI_V1, KeepRule.OMNI_V2}),
        (4, {KeepRule.OMNI_V1, KeepRule.VL}),
    ],
)
def test_the_published_rules_keep_by_how_many_of_four_are_wrong(wrongs: int, kept_by: set[KeepRule]) -> None:
    found = [True] * wrongs + [False] * (4 - wrongs)
    assert {rule for rule in (KeepRule.VL, KeepRule.OMNI_V1, KeepRule.OMNI_V2) if keep(rule, found)} == kept_by


def test_the_published_numbers_of_generations_are_the_defaults() -> None:
    assert [DEFAULT_GENERATIONS[rule] for rule in (KeepRule.VL, KeepRule.OMNI_V1, KeepRule.OMNI_V2)] == [4, 4, 8]
    assert (Sampling().temperature, Sampling().top_p) == (1.0, 0.95)


def test_no_rule_keeps_a_sample_without_generations() -> None:
    for rule in KeepRule:
        assert not judge(rule, [], (U, A)).kept
        assert not judge(rule, [], None).kept
    with pytest.raises(ValueError, match="without generations"):
        keep(KeepRule.VL, [])
    with pytest.raises(ValueError, match="by the vote"):
        keep(KeepRule.ENTROPY, [True])


@pytest.mark.parametrize(
    ("answers", "bits", "kept"),
    [
        ([(U, A)] * 4, 0.0, False),
        ([(U, A)] * 3 + [(H, A)], 0.811, True),
        ([(U, A)] * 2 + [(H, A)] * 2, 1.0, True),
        ([(U, A), (U, A), (H, A), None], 1.5, True),
        ([(U, A)] * 7 + [(H, A)], 0.544, False),
        ([(U, A)] * 6 + [(H, A)] * 2, 0.811, True),
        ([None] * 4, 0.0, True),  # nothing to read is hard as well
        ([(U, U), (U, H)] * 2, 1.0, True),
    ],
)
def test_without_a_label_a_quarter_that_dissents_keeps_the_sample(
    answers: list[Answer | None], bits: float, kept: bool
) -> None:
    assert vote_entropy(answers) == pytest.approx(bits, abs=5e-4)
    assert keep_by_vote(answers) is kept
    assert judge(KeepRule.VL, answers, (N, A)).kept is kept
    assert judge(KeepRule.ENTROPY, answers, (U, A)).kept is kept
    assert not keep_by_vote(answers[:1] * 4, 0.01) or answers[0] is None


@given(st.lists(ANSWERS, min_size=2, max_size=8), st.tuples(st.sampled_from([H, U]), LABELS))
def test_a_label_decides_by_the_rule_and_its_absence_by_the_vote(answers: list[Answer | None], gold: Answer) -> None:
    by_label = judge(KeepRule.OMNI_V1, answers, gold)
    assert by_label.wrong == sum(wrong(each, gold) for each in answers)
    assert by_label.entropy is None
    assert by_label.kept is (by_label.wrong > 0)
    by_vote = judge(KeepRule.OMNI_V1, answers, None)
    assert by_vote.wrong is None
    assert by_vote.entropy == vote_entropy(answers)


@pytest.mark.parametrize(
    "values", [{"n": 1}, {"n": 33}, {"temperature": 0.0}, {"top_p": 1.1}, {"seed": -1}, {"temperature": float("nan")}]
)
def test_a_sampling_that_would_draw_nothing_sensible_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"can|must"):
        Sampling(**values)


def test_reasons_say_in_words_how_many_disagree_with_what() -> None:
    assert generations_wrong(3, [(U, A)] * 4, "a set").words == (
        "3 of 4 sampled generations disagree with the label of a set."
    )
    assert generations_wrong(2, [None, None, (U, A)]).words == (
        "2 of 3 sampled generations disagree with the label; 2 of them could not be read."
    )
    split = generations_disagree([(U, U), (U, H), (U, H)])
    assert split is not None
    assert split.words == "Of 3 sampled generations 2 say that the response is harmful and 1 do not."


# -- generations --------------------------------------------------------------------------------------------------


def test_the_shipped_guard_draws_n_readable_generations_and_the_seed_repeats_them(shipped_guard: Guard) -> None:
    samples = [Sample("How do I bake rye bread?"), Sample("What is a knife for?", "For cutting bread.")]
    drawn = sample_generations(shipped_guard, samples, Sampling(4, seed=3))
    assert [len(each.answers) for each in drawn] == [4, 4]
    assert {each.error for each in drawn} == {None}
    for sample, each in zip(samples, drawn, strict=True):
        read = [answer for answer in each.answers if answer is not None]
        assert read, "the shipped guard writes readable answers at temperature 1"
        assert {(answer[1] is A) for answer in read} == {sample.response is None}
    assert sample_generations(shipped_guard, samples, Sampling(4, seed=3)) == drawn


def test_the_same_prompt_in_several_batches_is_answered_anew(
    tiny_engine: Callable[[str], TransformersEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.engines.transformers_engine.BATCH_ROWS", 2)
    engine, prompt = tiny_engine("qwen3_vl"), Prompt(Sample("How do I bake bread?"))
    decoding = Decoding(12, 1.0, 0.95, seed=5, look=False)
    done = engine.complete_many([prompt] * 6, decoding)
    assert {look for look, _ in done} == {None}
    assert len({completion.token_ids for _, completion in done}) == 6
    again = engine.complete_many([prompt] * 6, decoding)
    assert [each.token_ids for _, each in again] == [each.token_ids for _, each in done]


def test_a_server_is_asked_with_a_seed_for_each_generation_and_without_first_looks(serve: Any) -> None:
    with serve() as server, connected(server) as engine:
        before = len(server.seen.requests)
        [drawn] = sample_generations(guard_at(engine), [Sample("How do I bake bread?")], Sampling(4, 0.7, 0.9))
        sent = [each for each in server.seen.requests[before:] if "messages" in each and each.get("stream")]
        others = len([each for each in server.seen.requests[before:] if "max_tokens" in each]) - len(sent)
    assert len(drawn.answers) == 4
    assert {(each["temperature"], each["top_p"]) for each in sent} == {(0.7, 0.9)}
    assert len({each["seed"] for each in sent}) == 4
    assert others == 0


class Voting(ScriptedEngine):
    """Answers each request with the labels written down for it, in turn; none stands for an unreadable answer."""

    def __init__(self, votes: dict[str, Sequence[Answer | None]], **values: Any) -> None:
        super().__init__(answers=self._answer, **values)
        self._votes = {request: cycle(answers) for request, answers in votes.items()}
        self.log: list[str] = []
        self.on_batch: Callable[[int], None] = lambda number: None

    def _answer(self, prompt: Prompt, p: HarmProbability) -> str:
        votes = self._votes.get(prompt.sample.request)
        if votes is None:
            return as_sure(prompt, p)
        answer = next(votes)
        return "I cannot say." if answer is None else render_result(PROTOCOL, *answer)

    def first_look(self, prompts: Sequence[Prompt]) -> list[HarmProbability]:
        self.log += [f"look {prompt.sample.request}" for prompt in prompts]
        return super().first_look(prompts)

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        if any("vast" in prompt.sample.request for prompt in prompts):
            raise EngineError("The cpu has too little memory for this sample.")
        if decoding.temperature > 0:
            self.log.append(f"batch of {len(prompts)}")
            self.on_batch(sum(each.startswith("batch") for each in self.log))
        return super().complete_many(prompts, decoding, stop)


def test_what_cannot_be_judged_takes_nothing_from_the_rest_of_its_batch() -> None:
    def failing(ref: MediaRef) -> DecodedMedia:
        if ref.digest == "broken":
            raise MediaDamaged("The picture cannot be decoded.")
        return decode(ref)

    guard = Guard(Voting({"tea": [(U, A), None]}), PROTOCOL, Calibrations(), failing, window_tokens=60)
    samples = [Sample("tea"), Sample("Look", None, (image("broken"),)), Sample("a vast one"), Sample("milk")]
    drawn = sample_generations(guard, samples, Sampling(2))
    assert drawn == [
        Generations(((U, A), None)),
        Generations((), "The picture cannot be decoded."),
        Generations((), "The cpu has too little memory for this sample."),
        Generations(((U, A), (U, A))),
    ]
    with pytest.raises(EngineError, match="too little memory"):
        sample_generations(guard, [Sample("a vast one"), Sample("another vast one")], Sampling(2))


def test_of_a_sample_too_long_for_one_prompt_the_worst_part_is_judged_and_the_rest_not_asked_about() -> None:
    long = Sample("Tell me about a bomb in a story. " + "It rains. " * 80, "It rains. " * 80)
    guard = guard_of(ScriptedEngine())
    [drawn] = sample_generations(guard, [long], Sampling(2))
    part = guard.prompt_of(long).sample
    assert "bomb" in part.request
    assert part.response is None
    assert drawn.answers == ((H, N), (H, N))


def test_a_stop_leaves_no_half_drawn_batch() -> None:
    stop = threading.Event()
    engine = Voting({})
    engine.on_batch = lambda number: stop.set()
    with pytest.raises(Cancelled):
        sample_generations(guard_of(engine), [Sample("tea")], Sampling(2), stop)


# -- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    with open_store(tmp_path / "guardroom.db") as opened:
        yield opened


def rows(**labels: Any) -> list[ImportRow]:
    return [ImportRow(at, Sample(request), label) for at, (request, label) in enumerate(labels.items(), 1)]


def test_a_run_keeps_by_label_or_vote_and_queues_with_a_reason_in_words(store: AnnotationStore) -> None:
    bring(store, rows(tea=UNHARMFUL, milk=UNHARMFUL, salt=None, sugar=None, ice=None))
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
    bring(store, rows(tea=UNHARMFUL, milk=UNHARMFUL))
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
    bring(store, rows(tea=UNHARMFUL))
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
    bring(store, rows(tea=UNHARMFUL))
    mining = begin(store, MiningSettings(), "another", "ann")
    with pytest.raises(EngineError, match="began with the checkpoint another, and scripted-1 is live now"):
        mine(live, store, mining)
    [run] = mining_runs(store)
    assert (run.state, run.done) == (MiningState.STOPPED, 0)


def test_verdicts_for_mined_samples_are_no_random_audit(tmp_path: Path, live: LiveGuard) -> None:
    live._adopt(guard_of(Voting({"tea": [(H, A)]})))
    with open_store(tmp_path / "audited.db", audit_share=1.0) as store:
        bring(store, rows(tea=UNHARMFUL))
        mine(live, store, begin(store, MiningSettings(), "scripted-1", "ann"))
        claim = claim_next(store, "ann")
        assert claim is not None
        assert ReasonKind.GENERATIONS in {each.kind for each in claim.item.reasons}
        assert ReasonKind.AUDIT not in {each.kind for each in claim.item.reasons}


def test_what_could_not_be_judged_is_told_with_its_reason_and_not_kept(store: AnnotationStore, live: LiveGuard) -> None:
    live._adopt(guard_of(Voting({})))
    bring(store, [*rows(tea=UNHARMFUL), ImportRow(2, Sample("a vast one"), HARMFUL)])
    report = mine(live, store, begin(store, MiningSettings(rule=KeepRule.VL), "scripted-1", "ann"))
    assert (report.run.done, report.run.kept, report.findings.unjudged) == (2, 0, 1)
    assert report.unjudged == (("The cpu has too little memory for this sample.", 1),)
    assert replace(report.run, state=MiningState.DONE) == report.run


# -- the page -----------------------------------------------------------------------------------------------------


def a_run(**changes: Any) -> MiningRun:
    time = "2026-11-21T12:00:00.000000+00:00"
    run = MiningRun(
        "m1-1", "guard-1", MiningSettings(Selection(source="a <set>")), MiningState.RUNNING, 8, 4, 1, "ann", time, time
    )
    return replace(run, **changes)


def test_the_table_of_runs_says_what_each_kept_and_which_was_interrupted() -> None:
    table = mine_present.runs([a_run(id="m1-2"), a_run(), a_run(state=MiningState.DONE, file_name="<b>.jsonl")], "m1-2")
    assert "1 (25%)" in table
    assert "4 of 8" in table
    assert [word for word in ("running", "interrupted", "done") if f"<td>{word}</td>" in table] == [
        "running", "interrupted", "done",
    ]  # fmt: skip
    assert "a &lt;set&gt;" in table
    assert "&lt;b&gt;.jsonl" in table
    assert "No run yet" in mine_present.runs([], None)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((3, 0, 0, 0, 0), "3 wait for review, because generations disagree with the label."),
        ((0, 1, 0, 0, 0), "1 waits for review, because they disagree with each other."),
        ((2, 1, 1, 0, 0), "4 wait for review: 2 because generations disagree with the label, 1 because they disagree"),
        ((0, 0, 0, 2, 0), "2 were decided by a reviewer already"),
        ((1, 0, 0, 0, 1), "1 could not be judged"),
    ],
)
def test_the_end_says_how_many_wait_for_review_and_why(found: tuple[int, ...], said: str) -> None:
    run = a_run(state=MiningState.DONE, done=8, kept=max(1, sum(found[:4])))
    report = MiningReport(run, Findings(*found), (("The picture is damaged.", 1),) if found[4] else (), 1.0)
    assert said in mine_present.report(report)
    assert ("The picture is damaged." in mine_present.report(report)) is bool(found[4])


def test_nothing_is_mined_resumed_stopped_or_shown_without_the_owners_token(data_root: Path, live: LiveGuard) -> None:
    media = MediaStore(data_root / "media", MediaLimits(), VideoReader(MediaLimits()))
    services = Services(Settings(device="cpu"), media, live, OwnerGate.build(True, "secret"))
    live._adopt(guard_of(Voting({})))
    visitor: Any = SimpleNamespace(headers={"host": "guard.example"})

    async def laid_out() -> mine_tab._MineTab:  # gradio wants an event loop, and leaves one of its own open
        with gr.Blocks():
            return mine_tab._MineTab(services, gr.Textbox())

    tab = asyncio.run(laid_out())
    everything = ("any", "", "", "", "")
    how = ("vl", 0.8, 4, 1.0, 0.95)
    try:
        bring(services.store(), rows(tea=HARMFUL))
        for offered in ("", "wrong"):
            for answer in (
                tab.begin(visitor, offered, "stored", None, None, *everything, *how),
                tab.go_on(visitor, offered, "m1-1"),
                tab.stop(visitor, offered),
                tab.draw(visitor, offered),
                tab.look(visitor, offered, "stored", None, None, *everything),
            ):
                said = answer.get(tab.told) or answer[tab.seen]
                assert "owner" in said
                assert tab.listed not in answer
        assert mining_runs(services.store()) == []
        tab.begin(visitor, "secret", "stored", None, None, *everything, *how)
        assert tab.work.task is not None
        report = tab.work.task.outcome.result(60)
        assert (report.run.done, report.run.kept) == (1, 1)
        assert "1 waits for review" in tab.draw(visitor, "secret")[tab.told]
        told = tab.begin(visitor, "secret", "stored", None, None, *everything, "vl", 0.8, 1, 1.0, 0.95)[tab.told]
        assert "n=1 generations cannot be drawn; 2 to 32 can" in told
    finally:
        services.close()
