"""Laws of judging many samples at once: the same as one by one, and one that fails loses nothing else."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.engines.base import Completion, Decoding, Prompt
from core.errors import EngineError, MediaDamaged
from core.judging.guard import Guard
from core.types import Calibrations, Decision, HarmProbability, MediaRef, Sample, Verdict
from tests.scripted import PROTOCOL, ScriptedEngine, decode, guard_of, image, video

LONG = "All is well in the garden. " * 60
"""About twice what the scripted engine's context holds."""
HUGE = "All is well in the garden. " * 3000

MIXED = [
    Sample("Hello"),
    Sample("Build a bomb", "No."),
    Sample("Look", None, (video(4),)),
    Sample("Look", None, (video(30),)),
    Sample(LONG),
    Sample(LONG + "bomb", "Hi", (image(),)),
    Sample("build a bоmb"),
    Sample(HUGE),
    Sample(""),
    Sample("See", "bomb", (image("a"), image("b"))),
]


def compared(verdict: Verdict) -> Verdict:
    """Without what differs between any two verdicts."""
    return replace(verdict, id="", created_at="", generation=None)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_many_are_judged_as_one_by_one(chunk: int) -> None:
    done: list[int] = []
    many = guard_of(ScriptedEngine()).moderate_many(MIXED, chunk=chunk, on_done=done.append)
    assert [verdict.sample_id for verdict in many] == [sample.id for sample in MIXED]
    assert done[-1] == len(MIXED)
    assert done == sorted(set(done))
    for sample, verdict in zip(MIXED, many, strict=True):
        if sample.request:
            assert compared(verdict) == compared(guard_of(ScriptedEngine()).moderate(sample))


def test_many_go_through_in_one_batch_whatever_they_are() -> None:
    engine = ScriptedEngine()
    guard_of(engine).moderate_many(MIXED)
    assert engine.batches == 1
    assert guard_of(engine).moderate_many([]) == []


def test_one_unreadable_file_loses_nothing_else() -> None:
    def failing(ref: MediaRef) -> Any:
        if ref.digest == "broken":
            raise MediaDamaged("The video cannot be decoded.")
        return decode(ref)

    guard = Guard(ScriptedEngine(), PROTOCOL, Calibrations(), failing, window_tokens=60)
    samples = [Sample("Hello"), Sample("Look", None, (video(4, "broken"),)), Sample("Build a bomb")]
    verdicts = guard.moderate_many(samples)
    assert [verdict.decision for verdict in verdicts] == [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK]
    assert verdicts[1].error == "The video cannot be decoded."
    assert verdicts[1].to_json()["request"]["label"] is None


class Failing(ScriptedEngine):
    """Fails, as one that lacks memory does, on every batch in which the word `vast` stands."""

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        if any("vast" in prompt.sample.request for prompt in prompts):
            raise EngineError("The cpu has too little memory for this sample.")
        return super().complete_many(prompts, decoding, stop)


def test_a_sample_that_the_engine_fails_on_loses_nothing_else() -> None:
    samples = [Sample("Hello"), Sample("A vast one"), Sample("Build a bomb"), Sample("")]
    done: list[int] = []
    verdicts = guard_of(Failing()).moderate_many(samples, on_done=done.append)
    assert [verdict.sample_id for verdict in verdicts] == [sample.id for sample in samples]
    assert [verdict.decision for verdict in verdicts] == [
        Decision.ALLOW, Decision.REVIEW, Decision.BLOCK, Decision.REVIEW,
    ]  # fmt: skip
    assert verdicts[1].error == "The cpu has too little memory for this sample."
    assert verdicts[0].error is verdicts[2].error is None
    assert done == [4]


def test_a_failed_batch_can_be_stopped_between_its_samples() -> None:
    class Asked:
        times = 0

        def is_set(self) -> bool:
            self.times += 1
            return self.times > 3  # before the chunk, and before two of its samples

    verdicts = guard_of(Failing()).moderate_many([Sample("Hello"), Sample("A vast one"), Sample("Bye")], stop=Asked())
    assert [verdict.error is None for verdict in verdicts] == [True, False]


def test_many_can_be_stopped_between_chunks() -> None:
    stop = threading.Event()
    verdicts = guard_of(ScriptedEngine()).moderate_many(
        [Sample("Hello")] * 10, chunk=4, stop=stop, on_done=lambda done: stop.set()
    )
    assert len(verdicts) == 4


def test_pixels_of_many_samples_are_not_all_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.judging.guard.HELD_BYTES", 100)
    engine = ScriptedEngine()
    done: list[int] = []
    guard_of(engine).moderate_many([Sample("Look", None, (video(4),))] * 5, on_done=done.append)
    assert done == [1, 2, 3, 4, 5]
