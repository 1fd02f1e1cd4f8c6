"""The loss at the places of a sequence that count, and what the model makes of rows: for training and for scoring."""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from train_jobs.training.collator import Line, collate

TILE = 1 << 25
"""Logits that are held at once, in numbers: places times vocabulary."""
TRAINED = ("trained_at", "trained_tokens", "trained_weights", "trained_p")
"""The entries of a batch that are no inputs of the model; the first goes with them, see `give_states_at`."""
SCORED_TOKENS = 8_192
"""Padded tokens of a batch that is scored."""


def place_losses(hidden: Any, head: Any, tokens: Any, p_harmful: Any, labels: tuple[int, int]) -> Any:
    """The loss at every place that counts, unweighted, float32, shape (places,).

    Words: cross-entropy. Labels: cross-entropy over the whole vocabulary against P(harmful) on the one label token and
    the rest on the other; for a hard label that is the same as for a word.

    Args:
        hidden: last hidden states, shape (places, width).
        head: the language-model head.
        tokens: the wanted tokens, shape (places,).
        p_harmful: shape (places,), below 0 where the place is no label.
        labels: the tokens of harmful and unharmful.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    def some(states: Any, wanted: Any, p: Any) -> Any:
        log_p = torch.log_softmax(head(states).float(), dim=-1)
        word = log_p.gather(1, wanted[:, None])[:, 0]
        label = p * log_p[:, labels[0]] + (1 - p) * log_p[:, labels[1]]
        return -torch.where(p < 0, word, label)

    rows = max(1, TILE // head.weight.shape[0])
    if len(tokens) <= rows:
        return some(hidden, tokens, p_harmful)
    parts = zip(hidden.split(rows), tokens.split(rows), p_harmful.split(rows), strict=True)
    return torch.cat([checkpoint(some, *part, use_reentrant=False) for part in parts])


def give_states_at(model: Any) -> None:
    """Let `model(..., trained_at=places)` return the last hidden states at those places as `states`, no logits.

    The head is then applied to what counts alone, which on a CPU is most of a small model's work saved. Any wrapping of
    the model (adapters, mixed precision) stays around it, because it is the model's own forward that is extended.
    """
    from transformers.utils import ModelOutput

    original = model.forward

    @functools.wraps(type(model).forward)  # `generate` looks at the signature
    def forward(self: Any, *args: Any, trained_at: Any = None, **inputs: Any) -> Any:
        if trained_at is None:
            return original(*args, **inputs)
        hidden = self.base_model(*args, use_cache=False, **inputs).last_hidden_state
        return ModelOutput(states=hidden[trained_at[:, 0], trained_at[:, 1]])

    model.forward = types.MethodType(forward, model)


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model makes of a row."""

    nats: float
    """Minus the log-probability of all words and labels that count, weights left aside."""
    right: float
    """The least probability that a wanted label gets against the other one; 1 where no label counts."""


def score_lines(
    model: Any, lines: Sequence[Line], pad_id: int, model_type: str, labels: tuple[int, int]
) -> list[Scored]:
    """Score rows as they stand, in batches of like length; results in the given order.

    Args:
        labels: the tokens of harmful and unharmful.
    """
    import torch

    device = model.get_input_embeddings().weight.device
    found: dict[int, Scored] = {}
    waiting = sorted(range(len(lines)), key=lambda at: len(lines[at].prompt.ids))
    was_training = model.training
    model.eval()
    while waiting:
        longest = len(lines[waiting[-1]].prompt.ids)
        group = [waiting.pop() for _ in range(min(len(waiting), max(1, SCORED_TOKENS // longest)))]
        batch = collate([lines[at] for at in group], pad_id, model_type)
        given = {name: value.to(device) for name, value in batch.items() if name not in TRAINED[1:]}
        with torch.inference_mode():
            states = model(**given)["states"]
            head = model.get_output_embeddings()
            tokens, wanted = batch["trained_tokens"].to(device), batch["trained_p"].to(device)
            nats = place_losses(states, head, tokens, wanted, labels).cpu()
            is_label = batch["trained_p"] >= 0
            logits = head(states[is_label.to(device)]).float()
            p = torch.sigmoid(logits[:, labels[0]] - logits[:, labels[1]]).cpu()
        at_row = batch["trained_at"][:, 0]
        for row, place in enumerate(group):
            said = p[at_row[is_label] == row]
            truth = batch["trained_p"][is_label][at_row[is_label] == row]
            right = torch.where(truth >= 0.5, said, 1 - said)
            found[place] = Scored(float(nats[at_row == row].sum()), float(right.min()) if len(right) else 1.0)
    model.train(was_training)
    return [found[at] for at in range(len(lines))]
