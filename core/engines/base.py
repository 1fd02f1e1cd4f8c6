"""What an engine is: prompts in, first looks and completions out. The guard above it knows no tokenizer and no URL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from core.media.vision import DecodedMedia
from core.types import CheckpointInfo, FinishReason, Generation, HarmProbability, Sample


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sample with its decoded pixels, and perhaps the first steps of the reasoning as given."""

    sample: Sample
    media: tuple[DecodedMedia, ...] = ()
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to write: temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """Of many prompts each draws its own; the same prompts with the same seed give the same where the engine can."""
    look: bool = True
    """Whether the first look is wanted besides; without it the engine may spare itself the work."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after a prompt. Times are seconds from the start of the prompt's computation."""

    text: str
    """Everything it wrote, tags included, without the end-of-turn token."""
    reasoning: str
    """The text before its own closing think tag."""
    answer: str
    """The text after that tag; empty when it was never written."""
    token_ids: tuple[int, ...]
    """Empty for an engine that returns text only."""
    token_count: int
    finish_reason: FinishReason
    ttft_s: float | None
    latency_s: float
    probability: HarmProbability
    """Read off the label tokens that it wrote, uncalibrated."""

    @property
    def generation(self) -> Generation:
        """The part of it that a verdict keeps."""
        return Generation(self.text, self.token_count, self.finish_reason, self.ttft_s, self.latency_s)


@dataclass(frozen=True, slots=True)
class FirstLook:
    """P(harmful) before any reasoning, uncalibrated."""

    probability: HarmProbability


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of text."""

    text: str


class Engine(Interface):
    """One loaded model, or a server. Not safe for two threads: `core.serving.live` gives it one owner."""

    name: str
    device: str
    dtype: str
    info: CheckpointInfo
    warnings: tuple[str, ...]
    """What this engine cannot give, in words, for every verdict."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Length of the prompt in tokens, media included; an estimate where the engine has no tokenizer."""

    def prompt_warnings(self, prompt: Prompt) -> tuple[str, ...]:
        """What of this one prompt the engine cannot take as it is, in words, for its verdict."""

    def first_look(self, prompts: Sequence[Prompt]) -> list[HarmProbability]:
        """P(harmful) of each prompt before any reasoning."""

    def complete(
        self, prompt: Prompt, decoding: Decoding, stop: threading.Event, emit: Callable[[FirstLook | Piece], None]
    ) -> tuple[HarmProbability | None, Completion]:
        """Write the answer to one prompt.

        Args:
            stop: setting it ends the writing within one token; the completion then says `cancelled`.
            emit: told the first look as soon as the prompt is read, then every piece of text.

        Returns:
            The first look (none where the engine cannot read one) and the completion.
        """

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        """First look and completion of many prompts of mixed modalities, in their order.

        The same prompt may stand there several times; where the decoding samples, each time draws its own completion.

        Args:
            stop: setting it ends all that is being written; those completions then say `cancelled`.
        """

    def close(self) -> None:
        """Free the model's memory."""
