"""Lessons in where to look: attention heads are shown the patch of the word before, and of the word to write next.

To read a page aloud takes two steps that help only together, and so short a run finds them late if at all: a drawn
word must know which word stands before it, and the word just written must find the one that stands after it. Heads of
the group that begins with spellings (`network.begin_with_reading`) are told both, as long as the lessons last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from train_jobs.builtin.network import QUOTING

BEFORE_LAYER, NEXT_LAYERS = 0, (1, 3)
"""In which layer a drawn word looks for the one before it, and in which ones what is written looks for the next."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Pairs of positions in one line: where a head stands, and where it should look."""

    before: tuple[tuple[int, int], ...] = ()
    """Patch of each drawn word, and the patch of the one before it."""
    following: tuple[tuple[int, int], ...] = ()
    """What is written just before each token of the quote, and the patch in which that token is drawn."""


def pointers(order: Sequence[tuple[int, int]], patches: Sequence[int], written: Sequence[int], start: int) -> Pointers:
    """What a line teaches of looking. Where a quote begins is only told for texts of three tokens and more.

    Args:
        order: token and merged patch of each drawn token in reading order, patch -1 where it has none.
        patches: position of each merged patch in the line.
        written: the tokens of the answer, in which the drawn text is quoted.
        start: position of the answer's first token in the line.
    """
    places = [patches[patch] if patch >= 0 else -1 for _, patch in order]
    before = tuple((here, earlier) for earlier, here in pairwise(places) if 0 <= earlier < here)
    # quoted, the first word lacks the space before it, so that it is another token: the two after it tell the quote
    known = [token for token, _ in order[1:]]
    first = next((at for at in range(2, len(written)) if known and list(written[at : at + 2]) == known[:2]), None)
    if first is None:
        return Pointers(before)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(written[first:], known, strict=False))
    following = ((start + first - 2 + at, places[at]) for at in range(1 + len(list(same))))
    return Pointers(before, tuple(pair for pair in following if pair[1] >= 0))


class Watch:
    """Keeps the unrotated queries and keys of a forward pass, and tells how far heads look from where they should.

    Args:
        model: the network, in which hooks are left.
    """

    def __init__(self, model: Any) -> None:
        self.language = model.model.language_model
        self.asked: dict[int, Any] = {}
        """Queries by layer, shape (lines, tokens, heads, head dimension)."""
        self.offered: dict[int, Any] = {}
        """Keys by layer, shape (lines, tokens, groups of heads, head dimension)."""
        for number in (BEFORE_LAYER, *NEXT_LAYERS):
            attention = self.language.layers[number].self_attn
            attention.q_norm.register_forward_hook(self._keep(self.asked, number))
            attention.k_norm.register_forward_hook(self._keep(self.offered, number))

    @staticmethod
    def _keep(where: dict[int, Any], number: int) -> Any:
        def hook(module: Any, given: Any, made: Any) -> None:
            where[number] = made

        return hook

    def loss(self, lines: Sequence[Pointers], positions: Any) -> Any | None:
        """Mean negative log of the attention at the wanted places, of the last forward pass, which is then forgotten.

        Only later positions are left out of the shares; those of the first look, unseen by the deliberation, count too.

        Args:
            lines: of each line in the batch.
            positions: position ids of the batch, shape (3, lines, tokens), long, on the model's device.

        Returns:
            A scalar tensor; none when the lines teach nothing of it.
        """
        import torch

        cos, sin = self.language.rotary_emb(self.asked[BEFORE_LAYER], positions)
        total, count = torch.zeros((), device=cos.device), 0
        for number in (BEFORE_LAYER, *NEXT_LAYERS):
            pairs = [
                (row, at, place)
                for row, line in enumerate(lines)
                for at, place in (line.before if number == BEFORE_LAYER else line.following)
            ]
            if not pairs:
                continue
            rows, ats, places = torch.tensor(pairs, device=cos.device).T
            shared = self.asked[number].shape[2] // self.offered[number].shape[2]
            ask = _turned(self.asked[number][rows, ats, QUOTING * shared], cos[rows, ats], sin[rows, ats])
            offer = _turned(self.offered[number][:, :, QUOTING], cos, sin)[rows]
            scores = torch.einsum("nd,ntd->nt", ask, offer) / ask.shape[-1] ** 0.5
            later = torch.arange(scores.shape[1], device=cos.device) > ats[:, None]
            share = torch.log_softmax(scores.masked_fill(later, float("-inf")), dim=-1)
            total = total - share[torch.arange(len(places)), places].sum()
            count += len(pairs)
        self.asked.clear()
        self.offered.clear()
        return total / count if count else None


def _turned(vectors: Any, cos: Any, sin: Any) -> Any:
    """Rotary position embedding of the last dimension, as the network applies it; shapes broadcast."""
    import torch

    left, right = vectors.chunk(2, dim=-1)
    return vectors * cos + torch.cat([-right, left], dim=-1) * sin
