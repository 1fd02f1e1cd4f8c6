"""How the model behind the small chat completions server writes: held to the answer's form, its tokens handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tokenizers.decoders import DecodeStream
from transformers import LogitsProcessor
from transformers.generation.streamers import BaseStreamer

from core.engines.transformers_engine import TransformersEngine


def end_ids(engine: TransformersEngine) -> list[int]:
    """The tokens that end an answer."""
    ids: list[int] = engine.model.generation_config.eos_token_id
    return ids


class Script(LogitsProcessor):
    """Raises the logits of what the answer's form asks for next. The two label words are raised alike."""

    def __init__(self, engine: TransformersEngine, prefix: str, has_response: bool) -> None:
        encoder, protocol = engine.encoder, engine.encoder.protocol
        labels = (encoder.plain_ids(f" {protocol.harmful}"), encoder.plain_ids(f" {protocol.unharmful}"))
        response: Any = labels if has_response else encoder.plain_ids(f" {protocol.absent}")
        between = encoder.plain_ids(f"\n{protocol.response_key}")
        end = [*encoder.plain_ids(f"\n{protocol.result_close}"), end_ids(engine)[0]]
        rest: list[Any] = [labels, *between, response, *end]
        if prefix.endswith(protocol.response_key):
            rest = [response, *end]
        elif not prefix.endswith(protocol.request_key):
            number = prefix.count("\n") or 1
            opening = "" if prefix else f"{protocol.think_open}\n"
            steps = f"{opening}{number}. the user asks for bread\n{number + 1}. Judge the request\n"
            closing = f"{protocol.think_close}\n{protocol.result_open}\n{protocol.answers_header}{protocol.request_key}"
            rest = [*encoder.template_ids(steps + closing), *rest]
        self._next: list[Any] = []
        for each in rest:
            self._next += each if isinstance(each, list) else [each]
        self._choice: tuple[list[int], list[int]] | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self._choice is not None:
            chosen = next(word for word in self._choice if word[0] == int(input_ids[0, -1]))
            self._next = chosen[1:] + self._next
            self._choice = None
        if not self._next:
            return scores
        wanted = self._next.pop(0)
        raised: Any = scores.clone()
        if isinstance(wanted, tuple):
            self._choice = wanted
            raised[0, [word[0] for word in wanted]] += 100.0
        else:
            raised[0, wanted] += 1000.0
        return raised  # type: ignore[no-any-return]


class Tap(LogitsProcessor, BaseStreamer):
    """Hands on every token with its most probable alternatives."""

    def __init__(self, engine: TransformersEngine, tell: Callable[[str, dict[str, Any]], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._decode = DecodeStream(skip_special_tokens=False)
        self._top: list[dict[str, Any]] = []
        self._logprobs = torch.empty(0)
        self._prompt_seen = False
        self.ended = False

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self._logprobs = torch.log_softmax(scores[0].float(), -1)
        values, ids = self._logprobs.topk(20)
        self._top = [
            {"token": self._engine.tokenizer.decode([at]), "logprob": max(value, -9999.0)}
            for at, value in zip(ids.tolist(), values.tolist(), strict=True)
        ]
        return scores

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        token = int(value.reshape(-1)[0])
        if token in end_ids(self._engine):
            self.ended = True
            return
        text = self._engine.tokenizer.decode([token])
        entry = {"token": text, "logprob": float(self._logprobs[token]), "top_logprobs": self._top}
        self._tell(self._decode.step(self._engine.tokenizer.backend_tokenizer, token) or "", entry)

    def end(self) -> None:
        pass
