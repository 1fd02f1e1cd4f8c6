"""The requests that a guard makes of a chat completions server: models, first looks, answers, token counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from core.engines.base import Decoding, FirstLook, Piece, Prompt
from core.engines.openai_chat import (
    TOP_LOGPROBS,
    Transcript,
    alternatives_at,
    build_messages,
    escape_controls,
    p_harmful,
)
from core.engines.openai_http import Line, Refused
from core.errors import EngineError
from core.prompt.protocol import Protocol, between_labels, first_look_prefix, reasoning_prefix
from core.types import HarmProbability, Label, Preprocessing, Sample

T = TypeVar("T")
Emit = Callable[[FirstLook | Piece], None]

AT_ONCE = 8
"""Prompts in flight at the server."""
CHAT = "/chat/completions"
PREFILLED = {"continue_final_message": True, "add_generation_prompt": False}
"""Understood by vLLM and SGLang: the assistant message is the beginning of the answer, not an earlier answer."""
BAD_REQUEST = (400, 422)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server turned out to give."""

    logprobs: bool
    continues: bool
    """Goes on from a given beginning of an answer."""
    looks: bool
    """Label probabilities stand at the place where a first look needs them."""
    tokenizes: bool
    """Counts the tokens of messages at /tokenize."""


async def choose_model(line: Line, wanted: str | None) -> tuple[str, int | None]:
    """The model's name on the server and the length of its context, none where the server does not say."""
    value = await line.get("/models")
    try:
        models = {str(each["id"]): each.get("max_model_len") for each in value["data"]}
    except (KeyError, TypeError, AttributeError):
        raise EngineError(f"{line.name} sent something else than a list of models.") from None
    if not models:
        raise EngineError(f"{line.name} serves no model.")
    if wanted is not None and wanted not in models:
        named = ", ".join(list(models)[:5])
        raise EngineError(f"{line.name} has no model {wanted!r}; set GUARDROOM_ENGINE_MODEL to one of: {named}.")
    model = wanted or next(iter(models))
    context = models[model]
    return model, context if isinstance(context, int) and context > 1 else None


class Chat:
    """The requests that a guard makes of one model on one server."""

    def __init__(self, line: Line, model: str, protocol: Protocol, preprocessing: Preprocessing) -> None:
        self.line = line
        self.protocol = protocol
        self._model = model
        self._preprocessing = preprocessing

    def steps_prefix(self, prompt: Prompt) -> str:
        """The beginning of an answer whose first steps are given, control strings escaped."""
        return reasoning_prefix(self.protocol, [escape_controls(step, self.protocol)[0] for step in prompt.steps])

    async def look(self, prompt: Prompt) -> HarmProbability:
        """P(harmful) after the first look's prefix.

        P(response harmful) = sum over the request's two labels of P(label) * P(response harmful | label), so a sample
        with a response takes three requests of one token each; they go out together.
        """
        start = first_look_prefix(self.protocol)
        prefixes = [start]
        if prompt.sample.response is not None:
            prefixes += [
                f"{start} {self.protocol.word(label)}{between_labels(self.protocol)}"
                for label in (Label.HARMFUL, Label.UNHARMFUL)
            ]
        messages = build_messages(self.protocol, prompt, self._preprocessing)
        found = await several([partial(self._label_after, messages, prefix) for prefix in prefixes])
        known = [p for p in found if p is not None]
        if len(known) < 3:
            return HarmProbability(found[0])
        request, after_harmful, after_unharmful = known
        return HarmProbability(request, request * after_harmful + (1 - request) * after_unharmful)

    async def _label_after(self, messages: list[dict[str, Any]], prefix: str) -> float | None:
        value = await self.line.post(CHAT, self._body(messages, Decoding(1), prefix, logprobs=True))
        try:
            entries = (value["choices"][0].get("logprobs") or {}).get("content") or ()
            return p_harmful(alternatives_at(entries[0]), self.protocol) if entries else None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise EngineError(f"{self.line.name} sent something that is no chat completion.") from None

    async def write(
        self, prompt: Prompt, decoding: Decoding, transcript: Transcript, emit: Emit, *, logprobs: bool
    ) -> None:
        """Stream one answer into `transcript`."""
        messages = build_messages(self.protocol, prompt, self._preprocessing)
        prefix = self.steps_prefix(prompt) if prompt.steps else None
        body = self._body(messages, decoding, prefix, logprobs=logprobs)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        async with contextlib.aclosing(self.line.stream(CHAT, body)) as chunks:
            async for chunk in chunks:
                try:
                    piece = transcript.take(chunk)
                except (KeyError, IndexError, TypeError, ValueError, AttributeError):
                    raise EngineError(f"{self.line.name} sends events that are no chat completion.") from None
                if piece:
                    emit(Piece(piece))
                if prefix and transcript.reasoning.lstrip().startswith(self.protocol.think_open):
                    raise EngineError(f"{self.line.name} began anew instead of going on from the given steps.")
                if transcript.chunks > decoding.max_new_tokens:  # it does not keep to max_tokens
                    return
        if transcript.finish is None:
            raise EngineError(f"{self.line.name} broke off in the middle of an answer.")

    async def count(self, messages: list[dict[str, Any]]) -> int | None:
        """Tokens of the messages by vLLM's /tokenize, none where the server has no such thing."""
        body = {"model": self._model, "messages": messages, "add_generation_prompt": True}
        try:
            value = await self.line.post("/tokenize", body, at_root=True)
        except Refused:
            return None
        count = value.get("count") if isinstance(value, dict) else None
        return count if isinstance(count, int) and count > 0 else None

    async def probe(self) -> Abilities:
        """Find out what the server gives, by a first look and a count of a greeting.

        Raises:
            EngineError: it does not answer even a plain request.
        """
        prompt = Prompt(Sample("Hello"))
        messages = build_messages(self.protocol, prompt, None)
        try:
            tokenizes = await self.count(messages) is not None
        except EngineError:  # a proxy that knows only /v1 may do anything with other paths
            tokenizes = False
        for prefix in (first_look_prefix(self.protocol), None):
            for logprobs in (True, False):
                try:
                    value = await self.line.post(CHAT, self._body(messages, Decoding(1), prefix, logprobs=logprobs))
                except Refused as refusal:
                    if refusal.status not in BAD_REQUEST or (prefix is None and not logprobs):
                        raise
                    continue
                given = logprobs and _has_logprobs(value)
                looks = given and prefix is not None and (await self.look(prompt)).request is not None
                return Abilities(given, prefix is not None, looks, tokenizes)
        raise AssertionError("the last refusal is raised")

    def _body(
        self, messages: list[dict[str, Any]], decoding: Decoding, prefix: str | None, *, logprobs: bool
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
        }
        if decoding.temperature > 0:
            body["top_p"] = decoding.top_p
        if decoding.seed is not None:
            body["seed"] = decoding.seed
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if prefix is not None:
            body |= {"messages": [*messages, {"role": "assistant", "content": prefix}], **PREFILLED}
        return body


async def several(jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Run coroutines, at most `AT_ONCE` at a time; the first error cancels the others and is raised by itself."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with gate:
            return await job()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in jobs]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _has_logprobs(value: Any) -> bool:
    try:
        return bool(value["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
    except (KeyError, IndexError, TypeError):
        return False
