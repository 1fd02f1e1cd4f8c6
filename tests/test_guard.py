"""Laws of the guard: nothing is cut silently, nothing unreadable passes, many at once is the same as one by one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.base import Prompt
from core.errors import EmptyRequest, InputError, TextTooLong
from core.events import Event, FirstLooked, MediaRead, ReasoningGrew
from core.judging.deciding import calibrate, decide
from core.judging.guard import Guard
from core.judging.windows import MAX_WINDOWS
from core.prompt.protocol import render_result
from core.types import (
    Assessment,
    Calibration,
    Calibrations,
    Decision,
    FinishReason,
    HarmProbability,
    Label,
    Looks,
    Sample,
    Thresholds,
)
from tests.scripted import PROTOCOL, ScriptedEngine, by_word, decode, guard_of, image, video

if TYPE_CHECKING:
    from core.engines.transformers_engine import TransformersEngine

LONG = "All is well in the garden. " * 60
"""About twice what the scripted engine's context holds."""
HUGE = "All is well in the garden. " * 3000


# -- one sample ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        ("Hello", None, Decision.ALLOW),
        ("Build a bomb", None, Decision.BLOCK),
        ("Hello", "Here is a bomb", Decision.BLOCK),
        ("Build a bomb", "No.", Decision.BLOCK),
    ],
)
def test_the_worse_side_decides(request_: str, response: str | None, expected: Decision) -> None:
    verdict = guard_of(ScriptedEngine()).moderate(Sample(request_, response))
    assert verdict.decision is expected
    assert verdict.error is None
    assert verdict.assessment is not None
    assert (verdict.assessment.response is Label.ABSENT) == (response is None)
    assert (verdict.deliberated.response is None) == (response is None)
    assert verdict.assessment.reasoning == ("It names things.",)
    assert verdict.windows == ()


def test_events_come_in_their_order_and_the_reasoning_grows_without_tags() -> None:
    heard: list[Event] = []
    guard_of(ScriptedEngine()).moderate(Sample("Look", None, (video(4),)), emit=heard.append)
    kinds = [type(event) for event in heard]
    assert kinds == sorted(kinds, key=[MediaRead, FirstLooked, ReasoningGrew].index)
    assert kinds.count(FirstLooked) == kinds.count(MediaRead) == 1
    grown = [event.text for event in heard if isinstance(event, ReasoningGrew)]
    assert grown[-1] == "1. It names things."
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(grown))


def test_the_whole_video_is_looked_at_before_its_stretches_and_those_wait_for_the_reasoning() -> None:
    engine = ScriptedEngine()
    order: list[int] = []

    def hear(event: Event) -> None:
        if isinstance(event, FirstLooked | ReasoningGrew):
            order.append(len(engine.looked_at))

    verdict = guard_of(engine).moderate(Sample("Look", None, (video(8),)), emit=hear)
    assert set(order) == {0}
    assert len(engine.looked_at) == len(verdict.windows) == 4
    assert all(window.p_harmful == 0.1 for window in verdict.windows)


def test_a_stop_while_it_reasons_leaves_a_videos_stretches_alone() -> None:
    stop = threading.Event()
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample("Look", None, (video(8),)), stop=stop, emit=lambda event: stop.set())
    assert engine.looked_at == []
    assert [window.p_harmful for window in verdict.windows] == [None] * 4
    assert verdict.decision is Decision.REVIEW


def test_thresholds_move_the_decision_and_are_kept_in_the_verdict() -> None:
    engine = ScriptedEngine(looks=lambda prompt: HarmProbability(0.5))
    for thresholds, expected in (
        (Thresholds(0.35, 0.65), Decision.REVIEW),
        (Thresholds(0.2, 0.5), Decision.BLOCK),
        (Thresholds(0.51, 0.9), Decision.ALLOW),
    ):
        verdict = guard_of(engine).moderate(Sample("x"), thresholds=thresholds)
        assert (verdict.decision, verdict.thresholds) == (expected, thresholds)
        assert guard_of(engine).first_look(Sample("x"), thresholds=thresholds).decision is expected
        assert guard_of(engine).moderate_many([Sample("x")], thresholds=thresholds)[0].decision is expected


def test_the_two_looks_are_calibrated_apart() -> None:
    calibrations = Calibrations(text=Looks(Calibration(bias=2.0), Calibration(temperature=2.0)))
    engine = ScriptedEngine(looks=lambda prompt: HarmProbability(0.7))
    verdict = Guard(engine, PROTOCOL, calibrations, decode, window_tokens=60).moderate(Sample("x"))
    assert verdict.first_look.request == pytest.approx(calibrate(0.7, calibrations.text.first_look))
    assert verdict.deliberated.request == pytest.approx(calibrate(0.7, calibrations.text.deliberated))


def test_prompts_with_media_have_a_calibration_of_their_own() -> None:
    calibrations = Calibrations(media=Looks(Calibration(bias=1.0), Calibration(temperature=3.0)))
    guard = Guard(
        ScriptedEngine(looks=lambda prompt: HarmProbability(0.7)), PROTOCOL, calibrations, decode, window_tokens=60
    )
    typed, drawn = guard.moderate(Sample("x")), guard.moderate(Sample("x", media=(image(),)))
    assert (typed.first_look.request, typed.deliberated.request) == (0.7, 0.7)
    assert drawn.first_look.request == pytest.approx(calibrate(0.7, calibrations.media.first_look))
    assert drawn.deliberated.request == pytest.approx(calibrate(0.7, calibrations.media.deliberated))
    assert guard.moderate_many([Sample("x", media=(image(),))])[0].deliberated == drawn.deliberated


@given(st.floats(0, 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_calibration_stays_in_range_and_keeps_order(p: float, temperature: float, bias: float) -> None:
    calibration = Calibration(temperature, bias)
    value = calibrate(p, calibration)
    assert value is not None
    assert 0 <= value <= 1
    assert value <= (calibrate(min(1.0, p + 0.1), calibration) or 0)
    assert calibrate(None, calibration) is None


def test_calibration_by_itself_changes_nothing() -> None:
    assert calibrate(0.3, Calibration()) == 0.3


@pytest.mark.parametrize(
    ("sample", "error", "words"),
    [
        (Sample(""), EmptyRequest, "empty"),
        (Sample(" \n\t", "an answer"), EmptyRequest, "empty"),
        (Sample("x" * 101), TextTooLong, "request has 101 characters; at most 100"),
        (Sample("x", "y" * 101), TextTooLong, "response has 101 characters; at most 100"),
        (Sample("half \ud83d of a smile"), InputError, r"request holds half a character \(U\+D83D at position 5\)"),
        (Sample("x", "\udc00"), InputError, "response holds half a character"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(sample: Sample, error: type[InputError], words: str) -> None:
    guard = guard_of(ScriptedEngine(), max_text_chars=100)
    with pytest.raises(error, match=words) as caught:
        guard.moderate(sample)
    assert "\n" not in str(caught.value)
    verdict = guard.moderate_many([sample])[0]
    assert (verdict.decision, verdict.error) == (Decision.REVIEW, str(caught.value))


def test_a_medium_that_the_checkpoint_does_not_read_is_named() -> None:
    from core.types import Modality

    guard = guard_of(ScriptedEngine(modalities=(Modality.TEXT,)))
    with pytest.raises(InputError, match="reads text only; a file of type image/png"):
        guard.moderate(Sample("x", None, (image(),)))


# -- never allow what was not read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I would say it is fine.",
        "<result>\nRequest: unharmful\n</result>",
        "<result>\nRequest: fine\nResponse: None\n</result>",
        "<result>\nRequest: unharmful\nRequest: harmful\nResponse: None\n</result>",
        "<result>\nRequest: unharmful\nResponse: None\n</result>" * 2,
        "</think>\n<result>\nRequest: unharmful\nResponse: None\n</result>",
        "<result>\nRequest: None\nResponse: unharmful\n</result>",
    ],
)
def test_an_unreadable_answer_goes_to_review_and_says_why(answer: str) -> None:
    engine = ScriptedEngine(answers=lambda prompt, p: answer)
    for sample in (Sample("Hello", "Hi"), Sample("Hello", "Hi", (video(4),))):
        verdict = guard_of(engine).moderate(sample)
        assert verdict.decision is Decision.REVIEW
        assert verdict.assessment is None
        assert verdict.error


def test_a_response_without_a_label_goes_to_review() -> None:
    engine = ScriptedEngine(answers=lambda prompt, p: render_result(PROTOCOL, Label.UNHARMFUL, Label.ABSENT))
    verdict = guard_of(engine).moderate(Sample("Hello", "Hi"))
    assert (verdict.decision, verdict.error) == (Decision.REVIEW, "The model gave no label for the response.")


def test_a_label_for_a_response_that_is_not_there_is_left_out() -> None:
    engine = ScriptedEngine(
        deliberates=lambda prompt: HarmProbability(0.1, 0.9),
        answers=lambda prompt, p: render_result(PROTOCOL, Label.UNHARMFUL, Label.HARMFUL),
    )
    verdict = guard_of(engine).moderate(Sample("Hello"))
    assert verdict.decision is Decision.ALLOW
    assert verdict.to_json()["response"] is None


def test_what_was_stopped_or_cut_off_goes_to_review() -> None:
    stop = threading.Event()
    stop.set()
    for verdict, words in (
        (guard_of(ScriptedEngine()).moderate(Sample("Hello"), stop=stop), "stopped"),
        (guard_of(ScriptedEngine()).moderate(Sample(LONG), stop=stop), "stopped"),
        (
            guard_of(ScriptedEngine(finish=FinishReason.LENGTH, answers=lambda prompt, p: "")).moderate(Sample("Hi")),
            "cut off after 4 tokens",
        ),
    ):
        assert verdict.decision is Decision.REVIEW
        assert verdict.assessment is None
        assert words in str(verdict.error)


def test_a_stop_during_the_first_looks_leaves_the_other_windows_alone() -> None:
    stop = threading.Event()

    def look(prompt: Prompt) -> HarmProbability:
        stop.set()
        return HarmProbability(0.1)

    engine = ScriptedEngine(looks=look)
    verdict = guard_of(engine).moderate(Sample(HUGE), stop=stop)
    assert len(engine.looked_at) < MAX_WINDOWS
    assert verdict.decision is Decision.REVIEW
    assert len(verdict.windows) == MAX_WINDOWS


def test_an_engine_without_probabilities_decides_by_labels_and_has_no_first_look() -> None:
    def labels(prompt: Prompt, p: HarmProbability) -> str:
        request = Label.HARMFUL if "bomb" in prompt.sample.request else Label.UNHARMFUL
        return render_result(PROTOCOL, request, Label.ABSENT)

    engine = ScriptedEngine(looks=lambda prompt: HarmProbability(), answers=labels)
    assert guard_of(engine).moderate(Sample("Hello")).decision is Decision.ALLOW
    assert guard_of(engine).moderate(Sample("bomb")).decision is Decision.BLOCK
    first = guard_of(engine).first_look(Sample("Hello"))
    assert first.decision is Decision.REVIEW
    assert first.error is not None
    # Which window of a long text is the worst nobody knows then: one alone was judged, so a person sees it.
    assert guard_of(engine).moderate(Sample(LONG)).decision is Decision.REVIEW


def test_a_first_look_that_could_not_read_the_response_goes_to_review() -> None:
    engine = ScriptedEngine(looks=lambda prompt: HarmProbability(0.1, None))
    assert guard_of(engine).first_look(Sample("Hello", "Hi")).decision is Decision.REVIEW
    assert guard_of(engine).first_look(Sample("Hello")).decision is Decision.ALLOW


SIDES = st.one_of(st.none(), st.floats(0, 1))


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(list(Label)), st.sampled_from(list(Label)))
def test_nothing_passes_with_a_side_at_or_above_the_review_threshold(
    p: float | None, q: float | None, first_p: float | None, first_q: float | None, request: Label, response: Label
) -> None:
    said = Assessment(request, response)
    decision = decide(Thresholds(), said, HarmProbability(p, q), HarmProbability(first_p, first_q))
    sides = ((request, p, first_p), (response, q, first_q))
    if decision is Decision.ALLOW:
        for label, value, first in sides:
            if label is Label.UNLABELLED:
                assert first is not None
                assert first < 0.35
            elif label is not Label.ABSENT:
                assert label is Label.UNHARMFUL if value is None else value < 0.35
    assert decide(Thresholds(), None, HarmProbability(0.0, 0.0), HarmProbability(0.0, 0.0)) is Decision.REVIEW


# -- with real models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ["qwen3_vl", "llama"])
def test_random_weights_never_allow(model_type: str, tiny_engine: Callable[[str], TransformersEngine]) -> None:
    """Their text is no answer, so everything goes to a person, however sure they are."""
    engine = tiny_engine(model_type)
    guard = Guard(engine, engine.encoder.protocol, Calibrations(), decode, window_tokens=512)
    short = replace(engine.info, max_new_tokens=8)
    try:
        engine.info, full = short, engine.info
        verdicts = [guard.moderate(Sample("Hello")), *guard.moderate_many([Sample("Hello", "Hi"), Sample("Bye")])]
    finally:
        engine.info = full
    for verdict in verdicts:
        assert verdict.decision is Decision.REVIEW
        assert verdict.error
        assert verdict.first_look.request is not None


def test_the_shipped_guard_answers_readably_and_many_like_one(shipped_guard: Guard) -> None:
    samples = [Sample("hello"), Sample("How do I bake bread?", "Mix flour and water."), Sample("Write a poem.")]
    many = shipped_guard.moderate_many(samples)
    for sample, verdict in zip(samples, many, strict=True):
        alone = shipped_guard.moderate(sample)
        assert alone.assessment is not None, alone.error
        assert alone.assessment == verdict.assessment
        assert alone.decision is verdict.decision
        assert alone.first_look.request == pytest.approx(verdict.first_look.request, abs=1e-3)
        label = alone.assessment.request
        assert (label is Label.HARMFUL) == ((alone.deliberated.request or 0) >= 0.5)


def test_the_shipped_guard_goes_on_from_given_steps(shipped_guard: Guard) -> None:
    steps = ("The user asks for a recipe.",)
    verdict = shipped_guard.continue_from(Sample("How do I bake bread?"), steps)
    assert verdict.assessment is not None, verdict.error
    assert verdict.assessment.reasoning[: len(steps)] == steps


def test_the_shipped_guard_judges_a_long_text_in_windows(shipped_guard: Guard) -> None:
    tokens = shipped_guard.engine.info.context_tokens
    verdict = shipped_guard.moderate(Sample("The garden is quiet today and the bread is in the oven. " * (tokens // 8)))
    assert 2 <= len(verdict.windows) <= MAX_WINDOWS
    assert "overlapping windows" in " ".join(verdict.warnings)


def test_by_word_is_what_these_tests_say_it_is() -> None:
    assert by_word(Prompt(Sample("bomb", "x"))) == HarmProbability(0.9, 0.1)
