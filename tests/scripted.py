"""An engine without a model: what it answers is written down in the test.

For the guard's own rules, which need exact probabilities and a context of a known size. Everything that a real model
can show is tested with one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np

from core.engines.base import Completion, Decoding, FirstLook, Piece, Prompt
from core.errors import EngineError
from core.judging.guard import Guard
from core.media.vision import DecodedMedia
from core.mining.rules import Answer
from core.prompt.protocol import Protocol, render_result
from core.types import (
    Calibrations,
    CheckpointInfo,
    FinishReason,
    HarmProbability,
    Label,
    MediaRef,
    Modality,
    Preprocessing,
    Thresholds,
)

PROTOCOL = Protocol("test", "test-1", "Judge.")
FRAMES = 8
"""Frames that one prompt holds at most."""
TEMPLATE_TOKENS, MEDIUM_TOKENS, FRAME_TOKENS = 10, 2, 5


def prompt_text(prompt: Prompt) -> str:
    """Request and response of a prompt."""
    return f"{prompt.sample.request} {prompt.sample.response or ''}"


def by_word(prompt: Prompt) -> HarmProbability:
    """0.9 for a side that names a bomb, 0.1 for any other."""
    sides = (prompt.sample.request, prompt.sample.response)
    found = [None if side is None else 0.9 if "bomb" in side else 0.1 for side in sides]
    return HarmProbability(found[0], found[1])


def as_sure(prompt: Prompt, p: HarmProbability) -> str:
    """The answer that goes with these probabilities."""

    def label(value: float | None) -> Label:
        return Label.ABSENT if value is None else Label.HARMFUL if value >= 0.5 else Label.UNHARMFUL

    return render_result(PROTOCOL, label(p.request), label(p.response))


@dataclass
class ScriptedEngine:
    """Four characters are a token; the looks, the deliberation and the answer are functions of the prompt."""

    looks: Callable[[Prompt], HarmProbability] = by_word
    deliberates: Callable[[Prompt], HarmProbability] | None = None
    """The same as the looks unless given."""
    answers: Callable[[Prompt, HarmProbability], str] = as_sure
    finish: FinishReason = FinishReason.STOP
    context_tokens: int = 300
    max_new_tokens: int = 50
    modalities: tuple[Modality, ...] = (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    name: str = "scripted"
    device: str = "cpu"
    dtype: str = "none"
    warnings: tuple[str, ...] = ()
    looked_at: list[Prompt] = field(default_factory=list)
    completed: list[Prompt] = field(default_factory=list)
    batches: int = 0

    def __post_init__(self) -> None:
        self.info = CheckpointInfo(
            "scripted-1", "test", PROTOCOL.version, Preprocessing("test", 2.0, FRAMES, 1, 1000, 1, 1000),
            self.context_tokens, self.max_new_tokens, Thresholds(), True, self.modalities,
        )  # fmt: skip

    def count_tokens(self, prompt: Prompt) -> int:
        media = sum(MEDIUM_TOKENS + FRAME_TOKENS * len(medium.frames) for medium in prompt.media)
        return TEMPLATE_TOKENS + media + -(-len(prompt_text(prompt)) // 4)

    def prompt_warnings(self, prompt: Prompt) -> tuple[str, ...]:
        return ()

    def first_look(self, prompts: Sequence[Prompt]) -> list[HarmProbability]:
        for prompt in prompts:
            assert self.count_tokens(prompt) + self.max_new_tokens <= self.context_tokens
        self.looked_at += prompts
        return [self.looks(prompt) for prompt in prompts]

    def complete(
        self, prompt: Prompt, decoding: Decoding, stop: threading.Event, emit: Callable[[FirstLook | Piece], None]
    ) -> tuple[HarmProbability | None, Completion]:
        assert self.count_tokens(prompt) + self.max_new_tokens <= self.context_tokens
        self.completed.append(prompt)
        look = self.looks(prompt)
        emit(FirstLook(look))
        p = (self.deliberates or self.looks)(prompt)
        reasoning, answer = "1. It names things.", "\n" + self.answers(prompt, p)
        pieces = ["<think>\n", reasoning, "\n</think>", answer]
        for piece in pieces:
            emit(Piece(piece))
        finish = FinishReason.CANCELLED if stop.is_set() else self.finish
        text = "".join(pieces)
        return look, Completion(text, reasoning, answer, (), len(pieces), finish, 0.01, 0.02, p)

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        self.batches += 1
        return [self.complete(prompt, decoding, stop or threading.Event(), lambda event: None) for prompt in prompts]

    def close(self) -> None:
        """Nothing is held."""


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


def image(digest: str = "i") -> MediaRef:
    return MediaRef(digest, "image/png", Modality.IMAGE, 1, 4, 4)


def video(frames: int, digest: str = "v") -> MediaRef:
    return MediaRef(digest, "video/mp4", Modality.VIDEO, 1, 4, 4, frames / 2, frames)


def decode(ref: MediaRef) -> DecodedMedia:
    """Black pixels; a video's frames come twice a second, and each bears its number in its pixels."""
    if ref.modality is Modality.IMAGE:
        return DecodedMedia(np.zeros((1, 4, 4, 3), np.uint8))
    count = ref.frame_count or 0
    frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3))
    return DecodedMedia(np.ascontiguousarray(frames), tuple(at / 2 for at in range(count)))


def guard_of(engine: ScriptedEngine, *, window_tokens: int = 60, max_text_chars: int = 1_000_000) -> Guard:
    return Guard(engine, PROTOCOL, Calibrations(), decode, window_tokens=window_tokens, max_text_chars=max_text_chars)
