"""A loaded guard that scores many prompts at once, and the benchmark files as rows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.engines.base import Completion, Decoding, Prompt
from core.judging.deciding import calibrate_both, decide, read
from core.judging.guard import Guard
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.loading import load_guard
from core.settings import Settings
from core.types import Assessment, Calibrations, Decision, HarmProbability, Sample, Thresholds
from train_jobs.builtin.corpus import TextRow, row_from_json
from train_jobs.builtin.examples import beginning

REQUEST_WORDS, RESPONSE_WORDS = 150, 110
"""Longer texts are scored by their beginning, as they were trained on."""
CHUNK = 256


def read_benchmark(folder: Path, name: str) -> list[TextRow]:
    """The rows of one evaluation file."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [row_from_json(json.loads(line)) for line in lines]


def prompt_of(row: TextRow) -> Prompt:
    """A row as typed text."""
    response = None if row.response is None else beginning(row.response, RESPONSE_WORDS)
    return Prompt(Sample(beginning(row.request, REQUEST_WORDS), response))


@dataclass(frozen=True, slots=True)
class Answer:
    """First look and deliberation of one prompt, calibrated where the judge is."""

    first: HarmProbability
    deliberated: HarmProbability
    assessment: Assessment | None
    completion: Completion
    decision: Decision


class Judge:
    """The guard of one checkpoint folder, for scoring."""

    def __init__(self, folder: Path, work: Path, say: Callable[[str], None] = print) -> None:
        self.reader = VideoReader(MediaLimits())
        self.store = MediaStore(work / "media", MediaLimits(), self.reader)
        settings = Settings(data=work)
        self.guard: Guard = load_guard(str(folder), settings, self.store, lambda done, what: None)
        self.engine = self.guard.engine
        self.say = say

    def close(self) -> None:
        """End the video reader's worker."""
        self.store.close()

    def looks(self, prompts: Sequence[Prompt], what: str) -> list[HarmProbability]:
        """Uncalibrated first looks."""
        start, done = time.monotonic(), []
        for at in range(0, len(prompts), CHUNK):
            done += self.engine.first_look(prompts[at : at + CHUNK])
        self.say(f"  first look, {what}: {len(prompts)} in {time.monotonic() - start:.0f} s")
        return done

    def answers(self, prompts: Sequence[Prompt], what: str) -> list[tuple[HarmProbability, Completion]]:
        """Uncalibrated first looks and completions."""
        start = time.monotonic()
        decoding = Decoding(self.engine.info.max_new_tokens)
        done: list[tuple[HarmProbability, Completion]] = []
        for at in range(0, len(prompts), CHUNK):
            for look, completion in self.engine.complete_many(prompts[at : at + CHUNK], decoding):
                done.append((look or HarmProbability(), completion))
        self.say(f"  deliberation, {what}: {len(prompts)} in {time.monotonic() - start:.0f} s")
        return done

    def judged(
        self,
        prompts: Sequence[Prompt],
        what: str,
        calibrations: Calibrations,
        thresholds: Thresholds,
    ) -> list[Answer]:
        """Calibrated answers with decisions, as the guard makes them."""
        out = []
        for prompt, (look, completion) in zip(prompts, self.answers(prompts, what), strict=True):
            has_response = prompt.sample.response is not None
            said, _ = read(self.guard.protocol, completion, has_response=has_response)
            fitted = calibrations.of(media=bool(prompt.media))
            looked = calibrate_both(look, fitted.first_look)
            told = calibrate_both(completion.probability, fitted.deliberated)
            out.append(Answer(looked, told, said, completion, decide(thresholds, said, told, looked)))
        return out

    def timed(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """One after the other, as the app does it; the first is a warm-up and left out."""
        decoding = Decoding(self.engine.info.max_new_tokens)
        done = [self.engine.complete(p, decoding, threading.Event(), lambda event: None)[1] for p in prompts]
        return done[1:]
