"""Laws of mining: which generations are wrong, which samples are kept, and how generations are drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_store.rules.reasons import generations_disagree, generations_wrong
from core.engines.base import Decoding, Prompt
from core.engines.transformers_engine import TransformersEngine
from core.errors import Cancelled, EngineError, MediaDamaged
from core.judging.guard import Guard
from core.media.vision import DecodedMedia
from core.mining.generations import Generations, sample_generations
from core.mining.rules import (
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
from core.types import Calibrations, Label, MediaRef, Sample
from tests.openai_client import connected
from tests.openai_client import guard_of as guard_at
from tests.scripted import PROTOCOL, ScriptedEngine, Voting, decode, guard_of, image

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
