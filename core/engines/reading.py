"""Follows a generation token by token: splits reasoning from answer by token id, and reads the label probabilities.

Imports torch at its top: only `core.engines.transformers_engine` imports it, and that only when a model is loaded.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from core.prompt.encode import PromptEncoder
from core.types import FinishReason, HarmProbability, Label


class LabelTokens:
    """The first tokens of the words harmful and unharmful, after a key with and without a space of its own."""

    def __init__(self, encoder: PromptEncoder) -> None:
        protocol = encoder.protocol
        self.after_key = (encoder.label_id(protocol.harmful), encoder.label_id(protocol.unharmful))
        self.after_space = (encoder.plain_ids(protocol.harmful)[0], encoder.plain_ids(protocol.unharmful)[0])


def p_harmful(logits: torch.Tensor, tokens: tuple[int, int]) -> torch.Tensor:
    """P(harmful) from next-token logits, shape (..., vocabulary) to (...), float32: a softmax over two tokens alone.

    Args:
        tokens: those of harmful and of unharmful.
    """
    harmful, unharmful = tokens
    return torch.sigmoid(logits[..., harmful].float() - logits[..., unharmful].float())


class Row:
    """What one sequence of a batch has written so far."""

    def __init__(self, encoder: PromptEncoder, decoder: Any, emit: Callable[[str], None] | None) -> None:
        protocol = encoder.protocol
        self.ids: list[int] = []
        self.text = ""
        self.reasoning = ""
        self.answer = ""
        self.first_piece_at: float | None = None
        self.probability: dict[str, float] = {}
        self.closed = False
        self._decoder = decoder
        self._emit = emit
        self._close_id = encoder.controls.get(protocol.think_close)
        self._close_tag = protocol.think_close
        self._open_tag = protocol.think_open
        self._keys = {
            "request": re.compile(r"\s*" + re.escape(protocol.request_key) + r"([ \t]*)", re.IGNORECASE),
            "response": re.compile(r"\s*" + re.escape(protocol.response_key) + r"([ \t]*)", re.IGNORECASE),
        }
        self._result_open = protocol.result_open
        self._read: tuple[str, tuple[int, int]] | None = None

    def push(self, token: int) -> None:
        """Take the next token that the model chose."""
        if self._read is not None:
            side, tokens = self._read
            self._read = None
            if token not in tokens:  # it wrote something else there, so the reading says nothing
                del self.probability[side]
        self.ids.append(token)
        piece: str = self._decoder(token)
        if piece and self.first_piece_at is None:
            self.first_piece_at = time.perf_counter()
        self.text += piece
        if self.closed:
            self.answer += piece
        elif token == self._close_id:
            self.closed = True
        else:
            self.reasoning += piece
            if self._close_id is None and self._close_tag in self.reasoning:
                self.reasoning, self.answer = self.reasoning.split(self._close_tag, 1)
                self.closed = True
        if piece and self._emit is not None:
            self._emit(piece)

    def awaits(self) -> tuple[str, bool] | None:
        """The side whose label comes next and whether a space was already written; none elsewhere.

        A key counts where the parser looks for it: at the start of a line of the result block.
        """
        if not self.closed or len(self.probability) == len(self._keys):
            return None
        _, opened, block = self.answer.partition(self._result_open)
        if not opened:
            return None
        line = block.rpartition("\n")[2]
        for side, key in self._keys.items():
            if side not in self.probability and (match := key.fullmatch(line)):
                return side, bool(match.group(1))
        return None

    def note(self, side: str, p_harmful: float, tokens: tuple[int, int]) -> None:
        """Keep a reading of the label that comes next; it is dropped again if neither of the tokens is written."""
        self.probability[side] = p_harmful
        self._read = (side, tokens)

    @property
    def plain_reasoning(self) -> str:
        """The reasoning without its opening tag."""
        return self.reasoning.strip().removeprefix(self._open_tag).strip()

    @property
    def harm(self) -> HarmProbability:
        """The probabilities read off the labels that were written."""
        return HarmProbability(self.probability.get("request"), self.probability.get("response"))


class Watch(LogitsProcessor, BaseStreamer):
    """Sees the logits before each choice of a `generate` call and the token after it, and changes neither."""

    def __init__(
        self,
        rows: list[Row],
        labels: LabelTokens,
        end_ids: frozenset[int],
        on_prefill: Callable[[], None] | None,
    ) -> None:
        self.rows = rows
        self.live = [True] * len(rows)
        self.finish = [FinishReason.LENGTH] * len(rows)
        self.last_token_at = [time.perf_counter()] * len(rows)
        self._labels = labels
        self._end_ids = end_ids
        self._on_prefill = on_prefill
        self._prompt_seen = False

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Called with the raw next-token logits, before temperature and top-p."""
        if self._on_prefill is not None:
            self._on_prefill()
            self._on_prefill = None
        for at, row in enumerate(self.rows):
            if self.live[at] and (awaited := row.awaits()) is not None:
                side, spaced = awaited
                tokens = self._labels.after_space if spaced else self._labels.after_key
                row.note(side, float(p_harmful(scores[at], tokens)), tokens)
        return scores

    def put(self, value: torch.Tensor) -> None:
        """Called once with the prompt, then with one token for each row."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        now = time.perf_counter()
        for at, token in enumerate(value.reshape(-1).tolist()):
            if not self.live[at]:
                continue
            self.last_token_at[at] = now
            if token in self._end_ids:
                self.live[at] = False
                self.finish[at] = FinishReason.STOP
            else:
                self.rows[at].push(token)

    def end(self) -> None:
        """Nothing is held back."""


class StopWhen(StoppingCriteria):
    """Ends every row of a batch once an event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Shape (batch,), bool."""
        return torch.full((input_ids.shape[0],), self._event.is_set(), dtype=torch.bool, device=input_ids.device)


@torch.inference_mode()
def look(
    model: Any,
    cache: Any,
    attention_mask: torch.Tensor,
    encoder: PromptEncoder,
    labels: LabelTokens,
    has_response: list[bool],
) -> list[HarmProbability]:
    """The first look, on copies of the prompts' KV cache: the cache itself stays as it is.

    P(response harmful) = sum over the request's two labels of P(label) * P(response harmful | label).

    Args:
        cache: keys and values of the left-padded prompts.
        attention_mask: of the prompts, shape (batch, prompt length).
    """

    def after(past: Any, mask: torch.Tensor, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = mask.shape[0]
        more = torch.tensor([ids] * rows, device=mask.device)
        positions = mask.sum(-1, keepdim=True) + torch.arange(len(ids), device=mask.device)
        deltas = getattr(getattr(model, "model", None), "rope_deltas", None)
        if deltas is not None:
            positions = (positions + deltas.to(mask.device)).expand(3, rows, -1)
        mask = torch.cat([mask, mask.new_ones(rows, len(ids))], dim=1)
        out = model(
            input_ids=more, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        return p_harmful(out.logits[:, -1], labels.after_key), mask

    past = copy.deepcopy(cache)
    request, mask = after(past, attention_mask, encoder.first_look_ids())
    response: torch.Tensor | None = None
    if any(has_response):
        given_harmful, _ = after(copy.deepcopy(past), mask, encoder.between_labels_ids(Label.HARMFUL))
        given_unharmful, _ = after(past, mask, encoder.between_labels_ids(Label.UNHARMFUL))
        response = request * given_harmful + (1 - request) * given_unharmful
    return [
        HarmProbability(float(request[at]), float(response[at]) if response is not None and wanted else None)
        for at, wanted in enumerate(has_response)
    ]
