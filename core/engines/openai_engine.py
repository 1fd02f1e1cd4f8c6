"""An OpenAI-compatible server (vLLM, SGLang) as the engine: the same protocol, over chat completions.

What a server cannot give is found out when connecting and said in the warnings of every verdict: probabilities where it
sends no log probabilities, a first look where it does not go on from a given beginning of an answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from core.checkpoints.folder import OMNI_EVALUATION, named_protocol
from core.engines.base import Completion, Decoding, FirstLook, Prompt
from core.engines.openai_calls import Abilities, Chat, Emit, choose_model, several
from core.engines.openai_chat import (
    PICTURE_TOKENS,
    PIXELS_PER_TOKEN,
    SPEC,
    TURN_TOKENS,
    Transcript,
    build_messages,
    estimate_picture_tokens,
    estimate_text_tokens,
    prompt_warnings,
)
from core.engines.openai_http import SILENCE_S, Line
from core.errors import EngineError, ProtocolError
from core.media.vision import VisionSpec
from core.prompt.protocol import Protocol
from core.settings import Settings
from core.types import CheckpointInfo, FinishReason, HarmProbability

T = TypeVar("T")

CONTEXT_TOKENS = 8192
"""Assumed where the server does not say."""
MAX_NEW_TOKENS = 4096
"""As in the published evaluation (arXiv 2602.03328); at most half of the context."""
POLL_S = 0.02
"""How often a stop is looked for while the server is silent."""


class OpenAIEngine:
    """A model behind a URL. Not safe for two threads; `core.serving.live` gives it one owner."""

    name = "openai"
    device = "server"
    dtype = "unknown"

    def __init__(self, chat: Chat, loop: Loop, info: CheckpointInfo, abilities: Abilities, assumed: bool) -> None:
        """Use `connect`, which asks the server what it can do."""
        self.info = info
        self.abilities = abilities
        self.warnings = _warnings(abilities, info.context_tokens if assumed else None)
        self._chat = chat
        self._loop = loop

    def count_tokens(self, prompt: Prompt) -> int:
        """Length of the prompt in tokens: the text counted by the server's /tokenize (vLLM), or estimated without one;
        pictures are always estimated, from their size. Both estimates are meant to err on the long side.

        Raises:
            EngineError: the server cannot be reached.
        """
        protocol = self._chat.protocol
        pictures = estimate_picture_tokens(prompt.media, self.info.preprocessing)
        given = estimate_text_tokens(self._chat.steps_prefix(prompt)) if prompt.steps else 0
        messages = build_messages(protocol, prompt, None)
        counted = self._loop.run(self._chat.count(messages)) if self.abilities.tokenizes else None
        if counted is None:
            counted = sum(estimate_text_tokens(message["content"]) + TURN_TOKENS for message in messages)
        return counted + pictures + given

    def prompt_warnings(self, prompt: Prompt) -> tuple[str, ...]:
        """Control strings that were escaped, and videos that are sent as pictures."""
        return prompt_warnings(self._chat.protocol, prompt)

    def first_look(self, prompts: Sequence[Prompt]) -> list[HarmProbability]:
        """P(harmful) of each prompt before any reasoning, uncalibrated; without values where the server gives none.

        Raises:
            EngineError: the server cannot be reached or refuses.
        """

        async def one(prompt: Prompt) -> HarmProbability:
            return await self._chat.look(prompt) if self.abilities.looks else HarmProbability()

        return self._loop.run(several([partial(one, prompt) for prompt in prompts]))

    def complete(
        self, prompt: Prompt, decoding: Decoding, stop: threading.Event, emit: Emit
    ) -> tuple[HarmProbability | None, Completion]:
        """Write the answer to one prompt; see `core.engines.base.Engine`.

        Raises:
            EngineError: the server cannot be reached, refuses, breaks off or falls silent.
        """
        return self._loop.run(self._answer(prompt, decoding, stop, emit))

    def complete_many(
        self, prompts: Sequence[Prompt], decoding: Decoding, stop: threading.Event | None = None
    ) -> list[tuple[HarmProbability | None, Completion]]:
        """Many prompts, several in flight at once; the server batches them. Results in the given order.

        Raises:
            EngineError: as `complete`; the first failure ends all.
        """
        jobs = [
            # A server that keeps to its seed answers the same prompt with the same seed the same.
            partial(self._answer, prompt, _seeded(decoding, at), stop, lambda event: None)
            for at, prompt in enumerate(prompts)
        ]
        return self._loop.run(several(jobs))

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(self._chat.line.close())
        self._loop.close()

    async def _answer(
        self, prompt: Prompt, decoding: Decoding, stop: threading.Event | None, emit: Emit
    ) -> tuple[HarmProbability | None, Completion]:
        """Look, then stream; a set `stop` cancels whatever is under way, which closes its connection."""
        if prompt.steps and not self.abilities.continues:
            raise EngineError(f"{self._chat.line.name} cannot go on from given steps of reasoning.")
        transcript = Transcript(self._chat.protocol, prompt, time.perf_counter())
        first: HarmProbability | None = None

        async def work() -> None:
            nonlocal first
            # Steps that a person gave leave no room for a look before the reasoning.
            if self.abilities.looks and decoding.look and not prompt.steps:
                first = await self._chat.look(prompt)
                emit(FirstLook(first))
            await self._chat.write(prompt, decoding, transcript, emit, logprobs=self.abilities.logprobs)

        task = asyncio.create_task(work())
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=POLL_S if stop is not None else None)
                if stop is not None and stop.is_set():
                    task.cancel()
            await task
        except asyncio.CancelledError:
            if stop is None or not stop.is_set():
                raise
            return first, transcript.completion(FinishReason.CANCELLED)
        finally:
            task.cancel()
            await asyncio.wait({task})  # until its connection is closed
        return first, transcript.completion(transcript.finish or FinishReason.LENGTH)


def _seeded(decoding: Decoding, at: int) -> Decoding:
    """With a seed of its own for the prompt at this place, where there is a seed at all."""
    return decoding if decoding.seed is None else replace(decoding, seed=decoding.seed + at)


class Loop:
    """Runs coroutines for callers who know of none, one at a time, and keeps the connections between two runs."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, in this thread, or in another where this one has a loop of its own (a notebook)."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(work)
        with ThreadPoolExecutor(1) as other:
            return other.submit(self._runner.run, work).result()

    def close(self) -> None:
        """End the loop."""
        self._runner.close()


def connect(settings: Settings, silence_s: float = SILENCE_S) -> tuple[OpenAIEngine, Protocol, VisionSpec]:
    """Reach the server that the settings name and find out what it can do.

    Args:
        silence_s: seconds without a byte after which the server counts as gone.

    Returns:
        The engine, the protocol (`settings.protocol`, else omni-v1), and how media are resized for it.

    Raises:
        EngineError: there is no such server or model, the key is wrong, or the protocol cannot be used.
    """
    if settings.engine_url is None:
        raise EngineError("No server is named; set GUARDROOM_ENGINE_URL to one like http://127.0.0.1:8000/v1.")
    try:
        protocol = named_protocol(settings.protocol)
    except ProtocolError as error:
        raise EngineError(str(error)) from None
    key = settings.engine_key.get_secret_value() if settings.engine_key else None
    line = Line(settings.engine_url, key, silence_s)
    loop = Loop()
    try:
        engine = loop.run(_connect(line, loop, settings.engine_model, protocol))
    except BaseException:
        loop.run(line.close())
        loop.close()
        raise
    return engine, protocol, SPEC


async def _connect(line: Line, loop: Loop, wanted: str | None, protocol: Protocol) -> OpenAIEngine:
    model, context = await choose_model(line, wanted)
    max_new_tokens = min(MAX_NEW_TOKENS, (context or CONTEXT_TOKENS) // 2)
    room = (context or CONTEXT_TOKENS) - max_new_tokens
    a_frame = OMNI_EVALUATION.frame_max_pixels // PIXELS_PER_TOKEN + PICTURE_TOKENS
    # A quarter of the room stays for the text. A longer video is swept in windows of so many frames.
    frames = max(2, min(OMNI_EVALUATION.max_frames, room * 3 // 4 // a_frame))
    preprocessing = replace(OMNI_EVALUATION, max_frames=frames)
    chat = Chat(line, model, protocol, preprocessing)
    info = CheckpointInfo(
        id=model,
        source=str(line.base),
        protocol_version=protocol.version,
        preprocessing=preprocessing,
        context_tokens=context or CONTEXT_TOKENS,
        max_new_tokens=max_new_tokens,
    )
    return OpenAIEngine(chat, loop, info, await chat.probe(), assumed=context is None)


def _warnings(abilities: Abilities, assumed_context: int | None) -> tuple[str, ...]:
    warnings = []
    if not abilities.logprobs:
        warnings.append("The server gives no log probabilities, so there is no first look and no probability.")
    elif not abilities.continues:
        warnings.append("The server does not go on from a given beginning of an answer, so there is no first look.")
    elif not abilities.looks:
        warnings.append("The server gives no label probabilities before the reasoning, so there is no first look.")
    if assumed_context is not None:
        warnings.append(f"The server does not say how long its context is; {assumed_context} tokens are assumed.")
    return tuple(warnings)
