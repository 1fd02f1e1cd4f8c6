"""Examples as tensors: one prompt with two answers after it, the first look's and the deliberation's.

Both answers share the prompt's keys and values, as they do when the guard runs: the prompt is computed once, the
attention mask keeps the answers from seeing each other, and both continue the prompt's positions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from core.media.vision import DecodedMedia
from core.prompt.encode import EncodedPrompt, PromptEncoder, stack_pixels
from core.types import Label
from train_jobs.builtin.examples import Example
from train_jobs.builtin.network import MEANING
from train_jobs.builtin.pointing import Pointers, pointers
from train_jobs.builtin.targets import assessment
from train_jobs.builtin.wordcode import (
    CONSTANT,
    UNKNOWN,
    blurred,
    codes,
    misread,
    word_cells,
    word_order,
)

PROMPT_WEIGHT, REASONING_WEIGHT, FORM_WEIGHT, LABEL_WEIGHT = 0.15, 0.6, 0.3, 6.0
"""Of a token's cross-entropy: in the prompt, up to the closing think tag, after it, and as a label."""
BARE_ROWS = 0.35
"""Share of rows, in practice with the word code, in which typed tokens lose what they mean and keep their spelling."""
PROMPT_SHARE = 0.12
"""Share of the prompt's tokens whose loss is computed; their weight is raised so that the sum stays the same."""


@dataclass(frozen=True, slots=True)
class Line:
    """One example as ids. `targets[i]` is what should follow `ids[i]`; weight 0 means that it is not trained."""

    prompt: EncodedPrompt
    ids: tuple[int, ...]
    """Prompt, first-look answer, deliberation; in lessons in reading a picture and its transcription."""
    first_look: tuple[int, int]
    """Where the first-look answer begins and ends; both the same when there is none."""
    targets: tuple[int, ...]
    weights: tuple[float, ...]
    soft: dict[int, float]
    """P(harmful) wanted of the label that follows, by position."""
    opening: int = 0
    """Where the content of the user's turn begins."""
    cells: npt.NDArray[np.int64] | None = None
    """The token in each merged patch of its medium, shape (merged patches,), as `wordcode.word_cells` gives them; none
    without a medium, and where a picture was worn."""
    pointers: Pointers = field(default_factory=Pointers)
    """Where attention heads should look while the line quotes what its medium shows."""
    meant: tuple[int, str] | None = None
    """The position before the first look's label of the request, and the request of the corpus that the line says."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the medium of an example shows, where its letters are known."""

    order: list[tuple[int, int]]
    """The tokens in reading order with their merged patches; see `wordcode.word_order`."""
    cells: npt.NDArray[np.int64]
    """See `Line.cells`."""
    places: list[int]
    """Positions in the prompt of the merged patches of a still image, or of the first frames that show the words."""


def words_of(example: Example, prompt: EncodedPrompt, tokenizer: Any) -> Words | None:
    """The words of an example's medium and where the prompt holds them; none without a medium or known letters."""
    if example.letters is None or example.medium is None:
        return None
    (patches,) = (*prompt.images, *prompt.videos)
    times, merged = patches.grid[0], patches.grid[1] * patches.grid[2] // 4
    size = example.medium.frames.shape[1:3]
    order = word_order(example.letters, example.evidence.shown or "", tokenizer, size, patches.grid)
    cells = word_cells(order, merged)
    frames_each = math.ceil(len(example.medium.frames) / times)
    begin, count = example.showing
    spans = [(at * frames_each, (at + 1) * frames_each) for at in range(times)]
    shown = np.concatenate([cells * (first < begin + count and begin < last) for first, last in spans])
    earliest = begin // frames_each
    pads = [at for at, kind in enumerate(prompt.types) if kind]
    return Words(order or [], shown, pads[earliest * merged : (earliest + 1) * merged])


class Encoder:
    """Turns examples into lines through the protocol's own encoder."""

    def __init__(self, prompts: PromptEncoder, rng: random.Random) -> None:
        self.prompts = prompts
        self.rng = rng
        protocol = prompts.protocol
        self.harmful, self.unharmful = prompts.label_id(protocol.harmful), prompts.label_id(protocol.unharmful)
        self.end = prompts.controls["<|im_end|>"]
        self.close = prompts.controls[protocol.think_close]

    def line(self, example: Example) -> Line:
        """One example as ids, targets and weights."""
        if example.reading_only and example.medium is not None:
            return self._reading(example, example.medium)
        prompt = self.prompts.encode(example.sample, () if example.medium is None else (example.medium,))
        opening = self._content_start(prompt)
        looked, spots = self._first_look(example)
        start, middle = len(prompt.ids), len(prompt.ids) + len(looked)
        ids = [*prompt.ids, *looked]
        targets = [*prompt.ids[1:], self.end, *looked[1:], self.end]
        weights = [*self._prompt_weights(prompt, opening), *[0.0] * len(looked)]
        sides = (example.request, example.response)
        soft = {start + spot - 1: side.soft for spot, side in zip(spots, sides, strict=True) if side.trained}
        told: list[int] = []
        if example.deliberates:
            told, told_weights, told_soft = self._deliberation(example)
            # the prompt's last token is followed by both answers: the deliberation's beginning is what it learns
            targets[start - 1], weights[start - 1] = told[0], REASONING_WEIGHT
            ids += told
            targets += [*told[1:], self.end]
            weights += told_weights
            soft |= {middle + at: wanted for at, wanted in told_soft.items()}
        words = words_of(example, prompt, self.prompts.tokenizer)
        return Line(
            prompt,
            tuple(ids),
            (start, middle),
            tuple(targets),
            tuple(weights),
            soft,
            opening,
            None if words is None else words.cells,
            Pointers() if words is None else pointers(words.order, words.places, told, middle),
            None if example.meant is None else (start + spots[0] - 1, example.meant),
        )

    def _prompt_weights(self, prompt: EncodedPrompt, opening: int) -> list[float]:
        """A weight for every token of the prompt: a random share of what follows in the user's turn is trained."""
        controls = frozenset(self.prompts.controls.values())
        weights = [0.0] * len(prompt.ids)
        for at in range(opening, len(prompt.ids) - 1):
            typed = prompt.types[at + 1] == 0 and prompt.ids[at + 1] not in controls
            if typed and self.rng.random() < PROMPT_SHARE:
                weights[at] = PROMPT_WEIGHT / PROMPT_SHARE
        return weights

    def _first_look(self, example: Example) -> tuple[list[int], tuple[int, int]]:
        """The answer without reasoning up to its last label, which is left out, and where the labels stand in it."""
        said = assessment(example.evidence, example.request, example.response)
        looked = self.prompts.target_ids(said, with_reasoning=False)
        request, response = self._label_spots(looked)
        last = request if example.response.label is Label.ABSENT else response
        return looked[:last], (request, response)

    def _deliberation(self, example: Example) -> tuple[list[int], list[float], dict[int, float]]:
        """The reasoned answer with its end, the weight of what follows each token, and P(harmful) wanted of labels."""
        said = assessment(example.evidence, example.request, example.response)
        told = [*self.prompts.target_ids(said), self.end]
        closed = told.index(self.close)
        weights = [REASONING_WEIGHT if at < closed else FORM_WEIGHT for at in range(len(told) - 1)] + [0.0]
        soft: dict[int, float] = {}
        for spot, side in zip(self._label_spots(told), (example.request, example.response), strict=True):
            if side.label is Label.ABSENT:
                continue
            weights[spot - 1] = 0.0
            if side.trained:
                soft[spot - 1] = side.soft
        return told, weights, soft

    def copying(self) -> Line:
        """Tokens at random and the same once more, for the first lessons in quoting: only the repeat is trained."""
        first = len(self.prompts.controls) + 256
        tokenizer: Any = self.prompts.tokenizer
        said = [self.rng.randrange(first, len(tokenizer)) for _ in range(self.rng.randint(12, 60))]
        begin = self.rng.randint(0, len(said) // 2)
        again = said[begin : begin + self.rng.randint(8, 30)]
        ids = (*said, *again)
        weights = [0.0] * len(said) + [1.0] * (len(again) - 1) + [0.0]
        prompt = EncodedPrompt(ids, (0,) * len(ids), ())
        return Line(prompt, ids, (len(ids), len(ids)), (*ids[1:], self.end), tuple(weights), {})

    def _reading(self, example: Example, medium: DecodedMedia) -> Line:
        """A picture and its transcription, nothing else: many fit into one batch."""
        patches = self.prompts.patches(medium)
        merged = patches.grid[0] * patches.grid[1] * patches.grid[2] // 4
        controls = self.prompts.controls
        ids = (controls["<|vision_start|>"], *[controls["<|image_pad|>"]] * merged, controls["<|vision_end|>"])
        prompt = EncodedPrompt(ids, (0, *[1] * merged, 0), (patches,))
        read = self.prompts.plain_ids(f' "{" ".join((example.evidence.shown or "").split())}".')
        words = words_of(example, prompt, self.prompts.tokenizer)
        return Line(
            prompt,
            (*ids, *read),
            (len(ids), len(ids)),
            (*ids[1:], *read, self.end),
            (*[0.0] * (len(ids) - 1), *[1.0] * len(read), 0.0),
            {},
            cells=None if words is None else words.cells,
            pointers=Pointers() if words is None else pointers(words.order, words.places, read, len(ids)),
        )

    def _content_start(self, prompt: EncodedPrompt) -> int:
        """Where the user's words begin: what stands before them is the same in every row and teaches nothing."""
        opened = self.prompts.controls["<|im_start|>"]
        _, user, *_ = (at for at, token in enumerate(prompt.ids) if token == opened)
        return user + 3  # after the control token, the role's name and the line break

    def _label_spots(self, told: Sequence[int]) -> tuple[int, int]:
        """Positions of the request's and the response's label in an answer."""
        keys = [
            self.prompts.plain_ids(f"\n{key}")[1:]
            for key in (self.prompts.protocol.request_key, self.prompts.protocol.response_key)
        ]
        begin = list(told).index(self.close)
        spots = []
        for key in keys:
            at = next(at for at in range(begin, len(told)) if list(told[at : at + len(key)]) == key)
            spots.append(at + len(key))
            begin = at + len(key)
        return spots[0], spots[1]


def collate(lines: Sequence[Line], model: Any, pad: int, device: str) -> dict[str, Any]:
    """Lines padded on the right, with a four-dimensional attention mask and explicit positions.

    Returns:
        Tensors on `device`: `inputs`, for the model's forward pass; `content`, the prompts' tokens from the user's
        content on, shape (lines, tokens), bool; `where`, row and position of trained tokens, shape (tokens, 2), with
        their `targets` and `weights`; `label_where`, likewise of labels, with `label_soft`, the wanted P(harmful); and
        `cells`, the token in every merged patch of the batch (those of images first), none where no line knows its own.
    """
    import torch

    rows, longest = len(lines), max(len(line.ids) for line in lines)
    ids = torch.full((rows, longest), pad, dtype=torch.long)
    types = torch.zeros(rows, longest, dtype=torch.int32)
    content = torch.zeros(rows, longest, dtype=torch.bool)
    mask = torch.ones(rows, 1, longest, longest, dtype=torch.bool).tril()
    for row, line in enumerate(lines):
        ids[row, : len(line.ids)] = torch.tensor(line.ids)
        types[row, : len(line.prompt.types)] = torch.tensor(line.prompt.types, dtype=torch.int32)
        content[row, line.opening : len(line.prompt.ids)] = True
        begin, end = line.first_look
        mask[row, 0, end:, begin:end] = False
    pixels, grids = _media(lines)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask} | pixels | grids
    if grids:
        inputs["mm_token_type_ids"] = types
    inputs["position_ids"] = _positions(lines, ids, types, grids, model)
    trained = [(row, at) for row, line in enumerate(lines) for at, weight in enumerate(line.weights) if weight]
    labels = [(row, at) for row, line in enumerate(lines) for at in line.soft]
    cells = _cells(lines)
    return {
        "inputs": {name: value.to(device) for name, value in inputs.items()} | {"use_cache": False},
        "content": content.to(device),
        "cells": None if cells is None else torch.from_numpy(cells).to(device),
        "where": torch.tensor(trained, dtype=torch.long, device=device).reshape(-1, 2),
        "targets": torch.tensor([lines[row].targets[at] for row, at in trained], dtype=torch.long, device=device),
        "weights": torch.tensor([lines[row].weights[at] for row, at in trained], device=device),
        "label_where": torch.tensor(labels, dtype=torch.long, device=device).reshape(-1, 2),
        "label_soft": torch.tensor([lines[row].soft[at] for row, at in labels], device=device),
    }


def _media(lines: Sequence[Line]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lines' pixels, and their grids, under the names by which the model takes them; nothing without media."""
    import torch

    pixels: dict[str, Any] = {}
    grids: dict[str, Any] = {}
    images = [each for line in lines for each in line.prompt.images]
    videos = [each for line in lines for each in line.prompt.videos]
    for patches, name, grid_name in (
        (images, "pixel_values", "image_grid_thw"),
        (videos, "pixel_values_videos", "video_grid_thw"),
    ):
        if patches:
            values, grid = stack_pixels(patches)
            pixels[name], grids[grid_name] = torch.from_numpy(values), torch.from_numpy(grid)
    return pixels, grids


def _positions(lines: Sequence[Line], ids: Any, types: Any, grids: dict[str, Any], model: Any) -> Any:
    """Position ids, shape (3, lines, tokens): both answers continue the prompt's."""
    import torch

    rows, longest = ids.shape
    if grids:
        lengths = torch.tensor([len(line.prompt.ids) for line in lines])
        real = (torch.arange(longest) < lengths[:, None]).long()
        positions, _ = model.model.get_rope_index(ids, types, attention_mask=real, **grids)
    else:
        positions = torch.arange(longest).expand(3, rows, longest).clone()
    for row, line in enumerate(lines):
        prompt, end = len(line.prompt.ids), line.first_look[1]
        following = int(positions[:, row, :prompt].max()) + 1
        positions[:, row, prompt:] = following + torch.arange(longest - prompt)
        positions[:, row, end:] = following + torch.arange(longest - end)
    return positions


def _cells(lines: Sequence[Line]) -> npt.NDArray[np.int64] | None:
    """The token in every merged patch in the order in which the tower sees them, UNKNOWN where a picture was worn."""
    found = []
    for line in [*(line for line in lines if line.prompt.images), *(line for line in lines if line.prompt.videos)]:
        merged = sum(math.prod(each.grid) // 4 for each in (*line.prompt.images, *line.prompt.videos))
        found.append(np.full(merged, UNKNOWN) if line.cells is None else line.cells)
    return np.concatenate(found) if any(line.cells is not None for line in lines) else None


def coded(batch: dict[str, Any], model: Any, rng: np.random.Generator) -> dict[str, Any]:
    """The batch with the word code in place of its pixels, imperfect as a tower's would be: practice in reading.

    Of some tokens in the user's turn nothing but the spelling is left, so that what spellings mean is learned from
    typed text too. Media must not be worn: patches whose words are not known are written as empty ones.

    Args:
        batch: what `collate` gave.
        rng: draws what is misread, blurred and left without its meaning.
    """
    import torch

    inputs = dict(batch["inputs"])
    ids = inputs.pop("input_ids")
    table = model.get_input_embeddings().weight
    spelled = table.detach()[:, MEANING:]
    embedded = table[ids]
    share = torch.from_numpy(
        np.where(rng.random(len(ids)) < BARE_ROWS, rng.uniform(0.3, 1.0, len(ids)), 0.0).astype(np.float32)
    ).to(ids.device)
    bare = torch.from_numpy(rng.random(tuple(ids.shape)).astype(np.float32)).to(ids.device) < share[:, None]
    bare &= (spelled[ids, 0] > 0) & batch["content"]
    only = torch.zeros_like(embedded[..., :MEANING])
    only[..., 0] = CONSTANT
    embedded = torch.cat([torch.where(bare[..., None], only, embedded[..., :MEANING]), embedded[..., MEANING:]], -1)
    if batch["cells"] is not None:
        types = inputs.pop("mm_token_type_ids")
        seen = misread(batch["cells"].cpu().numpy(), rng, len(table))
        written = blurred(codes(torch.from_numpy(seen).to(table.device), spelled), rng)
        places = torch.cat([(types == kind).nonzero() for kind in (1, 2)])
        embedded = embedded.index_put((places[:, 0], places[:, 1]), written)
    kept = {name: inputs[name] for name in ("attention_mask", "position_ids", "use_cache")}
    return batch | {"inputs": {"inputs_embeds": embedded} | kept}


def by_length(lines: Sequence[Line], budget: int) -> list[list[Line]]:
    """Lines grouped into batches of like length, each with at most `budget` padded tokens unless one line is longer."""
    batches: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: len(line.ids)):
        if batches and (len(batches[-1]) + 1) * len(line.ids) <= budget:
            batches[-1].append(line)
        else:
            batches.append([line])
    return batches
