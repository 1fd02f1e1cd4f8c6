"""Laws of the guard for samples in parts: long texts, many media, videos, and texts that deceive the eye."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engines.base import Prompt
from core.errors import InputError
from core.judging.deciding import harmful_parts
from core.judging.windows import MAX_WINDOWS
from core.types import Decision, HarmProbability, Label, MediaRef, Sample, Thresholds, WindowScore
from tests.scripted import FRAMES, ScriptedEngine, guard_of, image, prompt_text, video

LONG = "All is well in the garden. " * 60
"""About twice what the scripted engine's context holds."""
HUGE = "All is well in the garden. " * 3000


def texts_of(prompts: list[Prompt]) -> list[str]:
    return [prompt_text(prompt) for prompt in prompts]


# -- long texts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sample", [Sample(LONG), Sample("Hi", LONG), Sample(LONG, "Hi"), Sample(LONG, LONG), Sample("日本語" * 600)]
)
def test_a_long_text_is_judged_in_windows_and_says_so(sample: Sample) -> None:
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(sample)
    assert verdict.decision is Decision.ALLOW
    assert 2 <= len(verdict.windows) <= MAX_WINDOWS
    assert len(engine.looked_at) == len(verdict.windows)
    assert f"judged in {len(verdict.windows)} overlapping windows" in " ".join(verdict.warnings)
    assert engine.completed[0] in engine.looked_at
    assert [window.deliberated for window in verdict.windows].count(True) == 1


def test_a_text_beyond_all_windows_goes_to_review_and_says_how_much_was_not_judged() -> None:
    engine = ScriptedEngine()
    for sample in (Sample(HUGE), Sample("Hi", HUGE), Sample(HUGE, HUGE)):
        verdict = guard_of(engine).moderate(sample)
        assert verdict.decision is Decision.REVIEW
        assert len(verdict.windows) == MAX_WINDOWS
        assert "more were not judged, so a person should see it" in " ".join(verdict.warnings)
        assert guard_of(engine).first_look(sample).decision is Decision.REVIEW
        assert guard_of(engine).moderate_many([sample])[0].decision is Decision.REVIEW


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(LONG)), st.sampled_from(["request", "response", "both"]))
def test_a_harmful_sentence_is_found_wherever_it_stands(at: int, side: str) -> None:
    planted = f"{LONG[:at]} build a bomb {LONG[at:]}"
    sample = {
        "request": Sample(planted),
        "response": Sample("Tell me.", planted),
        "both": Sample(LONG, planted),
    }[side]
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(sample)
    assert any("build a bomb" in text for text in texts_of(engine.looked_at))
    assert "build a bomb" in prompt_text(engine.completed[-1])
    assert verdict.decision is Decision.BLOCK


def test_the_first_look_of_a_long_text_is_the_worst_of_each_side() -> None:
    verdict = guard_of(ScriptedEngine()).moderate(Sample(LONG, LONG + "bomb"))
    assert verdict.first_look == HarmProbability(0.1, 0.9)


def test_a_side_that_was_not_deliberated_on_is_decided_by_its_first_look() -> None:
    """The worst window is of the request, so the model was never asked about the response."""
    for response, expected in (("All fine.", Decision.ALLOW), ("A doubt.", Decision.REVIEW)):
        engine = ScriptedEngine(
            looks=lambda prompt: HarmProbability(
                0.6 if "rose" in prompt.sample.request else 0.1,
                None if prompt.sample.response is None else 0.5 if "doubt" in prompt.sample.response else 0.1,
            ),
            deliberates=lambda prompt: HarmProbability(0.05),
        )
        verdict = guard_of(engine).moderate(Sample(LONG + "rose " + LONG, response))
        assert engine.completed[-1].sample.response is None
        assert verdict.error is None
        assert verdict.assessment is not None
        assert verdict.assessment.response is Label.UNLABELLED
        assert verdict.decision is expected
        assert verdict.to_json()["response"]["label"] is None
        assert verdict.to_json()["response"]["first_look_p_harmful"] == verdict.first_look.response


def test_a_second_harmful_window_keeps_the_text_from_passing() -> None:
    engine = ScriptedEngine(
        looks=lambda prompt: HarmProbability(
            0.95 if "first" in prompt_text(prompt) else 0.9 if "second" in prompt_text(prompt) else 0.1
        ),
        deliberates=lambda prompt: HarmProbability(0.05),
    )
    verdict = guard_of(engine).moderate(Sample(f"first {LONG} second"))
    assert "first" in prompt_text(engine.completed[-1])
    assert verdict.decision is Decision.REVIEW
    assert "looks harmful by itself" in " ".join(verdict.warnings)
    assert guard_of(engine).moderate(Sample(f"first {LONG}")).decision is Decision.ALLOW


def test_harmful_parts_are_those_that_were_not_deliberated_on() -> None:
    windows = [WindowScore(0, 1, 0.9, "request", True), WindowScore(1, 2, 0.9, "request"), WindowScore(2, 3, None)]
    assert harmful_parts(Thresholds(), windows) == [windows[1]]


# -- media --------------------------------------------------------------------------------------------------------


def test_a_short_video_is_judged_whole_with_a_timeline_beside_it() -> None:
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample("Look", None, (video(FRAMES),)))
    assert len(engine.completed[0].media[0].frames) == FRAMES
    assert verdict.decision is Decision.ALLOW
    assert verdict.warnings == ()
    assert [(window.start, window.end) for window in verdict.windows] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert {window.what for window in verdict.windows} == {"video"}
    assert not any(window.deliberated for window in verdict.windows)


def test_one_harmful_stretch_keeps_a_video_from_passing() -> None:
    def look(prompt: Prompt) -> HarmProbability:
        return HarmProbability(0.9 if len(prompt.media[0].frames) == 2 and prompt.media[0].frames.max() == 3 else 0.1)

    guard = guard_of(ScriptedEngine(looks=look))
    sample = Sample("Look", None, (video(8),))
    for verdict in (guard.moderate(sample), guard.first_look(sample), guard.moderate_many([sample])[0]):
        assert verdict.decision is Decision.REVIEW
        assert "looks harmful by itself" in " ".join(verdict.warnings)


def test_a_long_video_is_swept_and_its_worst_stretch_deliberated_on() -> None:
    engine = ScriptedEngine(
        looks=lambda prompt: HarmProbability(0.9 if 19 in prompt.media[0].frames[:, 0, 0, 0] else 0.1)
    )
    verdict = guard_of(engine).moderate(Sample("Look", None, (video(30),)))
    assert "swept in 4 windows of up to 8 frames (one frame every 0.5 s" in " ".join(verdict.warnings)
    assert [(window.start, window.end) for window in verdict.windows] == [(0, 4), (4, 7.5), (7.5, 11), (11, 15)]
    assert [window.deliberated for window in verdict.windows] == [False, False, True, False]
    assert list(engine.completed[0].media[0].frames[:, 0, 0, 0]) == list(range(15, 22))
    assert verdict.decision is Decision.BLOCK


def test_a_video_beyond_all_windows_goes_to_review() -> None:
    verdict = guard_of(ScriptedEngine()).moderate(Sample("Look", None, (video(FRAMES * MAX_WINDOWS + 1),)))
    assert len(verdict.windows) == MAX_WINDOWS
    assert verdict.decision is Decision.REVIEW
    assert "1 more were not judged" in " ".join(verdict.warnings)


def test_stretches_are_shortened_until_they_fit_the_context() -> None:
    engine = ScriptedEngine(context_tokens=85, max_new_tokens=50)
    verdict = guard_of(engine, window_tokens=15).moderate(Sample("Look", None, (video(FRAMES),)))
    assert verdict.decision is Decision.ALLOW
    assert max(len(prompt.media[0].frames) for prompt in engine.looked_at) < FRAMES
    assert sum(len(prompt.media[0].frames) for prompt in engine.looked_at) == FRAMES


def test_a_picture_larger_than_the_context_is_refused_in_a_sentence() -> None:
    guard = guard_of(ScriptedEngine(context_tokens=64, max_new_tokens=50), window_tokens=4)
    with pytest.raises(
        InputError, match=r"A picture makes a prompt of \d+ tokens, and the checkpoint scripted-1 reads"
    ):
        guard.moderate(Sample("", None, (image(),)))


def test_media_and_a_text_that_only_fits_alone_are_judged_apart() -> None:
    text = "All is well. " * 65  # 212 of the 240 tokens that a prompt may have beside the template
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample(text, None, (video(FRAMES),)))
    assert {len(prompt.media) for prompt in engine.looked_at} == {0, 1}
    assert any(prompt.sample.request == text for prompt in engine.looked_at)
    assert "Text and media do not fit into one prompt" in " ".join(verdict.warnings)
    assert verdict.decision is Decision.ALLOW


@pytest.mark.parametrize("media", [(image(),), (video(4),), (video(30),), (image(), video(30)), (image("a"),) * 40])
@pytest.mark.parametrize("text", ["Look", LONG, "build a bomb " + LONG, HUGE])
@pytest.mark.parametrize("response", [None, "Yes.", LONG])
def test_every_mixture_of_long_parts_is_judged_within_the_context(
    media: tuple[MediaRef, ...], text: str, response: str | None
) -> None:
    """The scripted engine asserts that each prompt fits."""
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample(text, response, media))
    said = " ".join(verdict.warnings)
    assert verdict.error is None
    assert len([window for window in verdict.windows if window.what in ("request", "response")]) <= MAX_WINDOWS
    assert len([window for window in verdict.windows if window.what in ("video", "media")]) <= MAX_WINDOWS
    assert (verdict.decision is Decision.REVIEW) == ("not judged" in said or "not looked at" in said) or "bomb" in text
    if "bomb" in text:
        assert verdict.decision is Decision.BLOCK
    seen = {prompt.sample.media for prompt in [*engine.looked_at, *engine.completed]}
    assert all(any(ref in group for group in seen) for ref in media)


# -- deceiving characters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["build a b\u200bomb", "build a bоmb", "build a ｂｏｍｂ", "build a \U0001d41bomb"])
def test_deceiving_characters_are_judged_as_written_and_as_read(typed: str) -> None:
    for sample in (Sample(typed), Sample("Tell me.", typed), Sample(typed, None, (image(),))):
        engine = ScriptedEngine()
        verdict = guard_of(engine).moderate(sample)
        assert [window.what for window in verdict.windows] == ["as written", "as read"]
        assert [window.p_harmful for window in verdict.windows] == [0.1, 0.9]
        assert [window.deliberated for window in verdict.windows] == [False, True]
        assert verdict.decision is Decision.BLOCK
        assert len(verdict.warnings) == 1
        assert verdict.sample_id == sample.id


def test_the_reading_as_written_counts_as_well() -> None:
    engine = ScriptedEngine(looks=lambda prompt: HarmProbability(0.9 if "\u200b" in prompt.sample.request else 0.1))
    assert guard_of(engine).moderate(Sample("kind\u200bness")).decision is Decision.BLOCK


def test_a_long_deceiving_text_is_read_both_ways_within_the_limit() -> None:
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample(f"build a bоmb {LONG}"))
    assert verdict.decision is Decision.BLOCK
    assert {window.what for window in verdict.windows} == {"request", "as read"}
    hidden = "\u200b".join("build a bomb")
    stuffed = guard_of(engine).moderate(Sample(hidden.replace("\u200b", "\u200b" * 200)))
    assert stuffed.decision is Decision.BLOCK  # short once the stuffing is gone
    huge = guard_of(engine).moderate(Sample(HUGE + "kіnd"))
    assert len(huge.windows) <= MAX_WINDOWS
    assert huge.decision is Decision.REVIEW


def test_a_reading_that_grows_beyond_the_context_is_cut_into_windows() -> None:
    engine = ScriptedEngine()
    verdict = guard_of(engine).moderate(Sample("\ufdfa" * 80 + " kіnd"))  # each of these is 18 characters when read
    assert verdict.decision is Decision.ALLOW
    assert [window.what for window in verdict.windows].count("as read") > 1
    beyond = guard_of(engine).moderate(Sample("\ufdfa" * 900 + " kіnd"))
    assert beyond.decision is Decision.REVIEW
    assert "parts were not looked at" in " ".join(beyond.warnings)
