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
from train_jobs.builtin.targets import assessment, first_words
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
BARE_ROWS = 0.35
"""Share of rows, in practice with the word code, in which typed tokens lose what they mean and keep their spelling."""
PROMPT_SHARE = 0.12
"""Share of the prompt's tokens whose loss is computed; their weight is raised so that the sum stays the same."""


@dataclass(frozen=True, slots=True)
class Line:
    """One example as ids. `targets[i]` is what should follow `ids[i]`; weight 0 means that it is not trained."""

    prompt: EncodedPrompt
    ids: tuple[int, ...]
    """Prompt, first-look answer, deliberation."""
    first_look: tuple[int, int]
    """Where the first-look answer begins and ends; both the same when there is none."""
    targets: tuple[int, ...]
    weights: tuple[float, ...]
    soft: dict[int, float]
    """P(harmful) wanted at label positions."""
    opening: int = 0
    """Where the user's turn begins."""
    cells: npt.NDArray[np.int64] | None = None
    """The tokens in each merged patch of its medium where they are known, shape (merged patches,)."""
    pointers: Pointers = field(default_factory=Pointers)
    """Where attention heads should look, in lessons in reading."""
    meant: tuple[int, str] | None = None
    """Where the first look's label is foretold, and the request that the example says."""


def order_of(example: Example, grid: tuple[int, int, int], tokenizer: Any) -> list[tuple[int, int]] | None:
    """The tokens that an example's medium shows, in reading order with their merged patches, if that is known."""
    if example.letters is None or example.medium is None:
        return None
    return word_order(example.letters, example.evidence.shown or "", tokenizer, example.medium.frames.shape[1:3], grid)


def words_of(example: Example, prompt: EncodedPrompt, tokenizer: Any) -> npt.NDArray[np.int64] | None:
    """Which tokens the merged patches of an example's medium show, shape (merged patches,), if that is known."""
    if example.letters is None or example.medium is None:
        return None
    (patches,) = (*prompt.images, *prompt.videos)
    shown = word_cells(order_of(example, patches.grid, tokenizer), patches.grid[1] * patches.grid[2] // 4)
    begin, count = example.showing
    each = math.ceil(len(example.medium.frames) / patches.grid[0])
    spans = [(at * each, (at + 1) * each) for at in range(patches.grid[0])]
    return np.concatenate([shown * (first < begin + count and begin < last) for first, last in spans])


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
        cells = words_of(example, prompt, self.prompts.tokenizer)
        ids = list(prompt.ids)
        targets = [*ids[1:], self.end]
        weights = [0.0] * len(ids)
        opening = self._content_start(prompt)
        for at in range(opening, len(ids) - 1):
            if (
                prompt.types[at + 1] == 0
                and ids[at + 1] not in self.prompts.controls.values()
                and self.rng.random() < PROMPT_SHARE
            ):
                weights[at] = PROMPT_WEIGHT / PROMPT_SHARE
        soft: dict[int, float] = {}
        start = len(ids)
        said = assessment(example.evidence, example.request, example.response)
        looked = self.prompts.target_ids(said, with_reasoning=False)
        spots = self._label_spots(looked)
        last = spots[1] if example.response.label is not Label.ABSENT else spots[0]
        for spot, side in zip(spots, (example.request, example.response), strict=True):
            if side.trained:
                soft[start + spot - 1] = side.soft
        meant = None if example.meant is None else (start + spots[0] - 1, example.meant)
        looked = looked[:last]
        ids += looked
        targets += [*looked[1:], self.end]
        weights += [0.0] * len(looked)
        middle = len(ids)
        if not example.deliberates:
            shown = self._pointers(example, prompt, (), middle)
            known = (tuple(targets), tuple(weights), soft, opening, cells, shown, meant)
            return Line(prompt, tuple(ids), (start, middle), *known)

        told = [*self.prompts.target_ids(said), self.end]
        closed = told.index(self.close)
        weights[start - 1], targets[start - 1] = REASONING_WEIGHT, told[0]
        spots = self._label_spots(told)
        ids += told
        targets += [*told[1:], self.end]
        weights += [REASONING_WEIGHT if at < closed else FORM_WEIGHT for at in range(len(told) - 1)] + [0.0]
        for spot, side in zip(spots, (example.request, example.response), strict=True):
            if side.label is Label.ABSENT:
                continue
            weights[middle + spot - 1] = 0.0
            if side.trained:
                soft[middle + spot - 1] = side.soft
        shown = self._pointers(example, prompt, told, middle)
        known = (tuple(targets), tuple(weights), soft, opening, cells, shown, meant)
        return Line(prompt, tuple(ids), (start, middle), *known)

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
        read = self.prompts.plain_ids(f' "{first_words(example.evidence.shown or "", 40)}".')
        targets = [*ids[1:], *read, self.end]
        weights = [0.0] * (len(ids) - 1) + [1.0] * len(read) + [0.0]
        order = order_of(example, patches.grid, self.prompts.tokenizer)
        cells = word_cells(order, merged)
        shown = pointers(order or (), range(1, merged + 1), read, len(ids))
        everything = (*ids, *read)
        return Line(prompt, everything, (len(ids), len(ids)), tuple(targets), tuple(weights), {}, 0, cells, shown)

    def _pointers(self, example: Example, prompt: EncodedPrompt, told: Sequence[int], start: int) -> Pointers:
        """Where heads should look while an answer quotes what the medium shows, in the first frames that show it."""
        if example.letters is None or example.medium is None:
            return Pointers()
        (patches,) = (*prompt.images, *prompt.videos)
        order = order_of(example, patches.grid, self.prompts.tokenizer)
        each = math.ceil(len(example.medium.frames) / patches.grid[0])
        merged, group = patches.grid[1] * patches.grid[2] // 4, example.showing[0] // each
        places = [at for at, kind in enumerate(prompt.types) if kind][group * merged : (group + 1) * merged]
        return pointers(order or (), places, told, start)

    def _content_start(self, prompt: EncodedPrompt) -> int:
        """Where the user turn begins: what stands before it is the same in every row and teaches nothing."""
        opened = self.prompts.controls["<|im_start|>"]
        return [at for at, token in enumerate(prompt.ids) if token == opened][1] + 3

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
        `inputs` for the model's forward pass; `where` (row, position) of trained tokens, with `targets` and `weights`;
        and `label_where` with `label_soft`, the wanted P(harmful).
    """
    import torch

    longest = max(len(line.ids) for line in lines)
    rows = len(lines)
    ids = torch.full((rows, longest), pad, dtype=torch.long)
    types = torch.zeros(rows, longest, dtype=torch.int32)
    real = torch.zeros(rows, longest, dtype=torch.long)
    content = torch.zeros(rows, longest, dtype=torch.bool)
    mask = torch.ones(rows, 1, longest, longest, dtype=torch.bool).tril()
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    weights: list[float] = []
    label_where: list[tuple[int, int]] = []
    label_soft: list[float] = []
    for row, line in enumerate(lines):
        ids[row, : len(line.ids)] = torch.tensor(line.ids)
        types[row, : len(line.prompt.types)] = torch.tensor(line.prompt.types, dtype=torch.int32)
        real[row, : len(line.prompt.ids)] = 1
        content[row, line.opening : len(line.prompt.ids)] = True
        begin, end = line.first_look
        mask[row, 0, end:, begin:end] = False
        for at, weight in enumerate(line.weights):
            if weight:
                where.append((row, at))
                targets.append(line.targets[at])
                weights.append(weight)
        for at, wanted in line.soft.items():
            label_where.append((row, at))
            label_soft.append(wanted)
    images = [each for line in lines for each in line.prompt.images]
    videos = [each for line in lines for each in line.prompt.videos]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    grids: dict[str, Any] = {}
    for kind, patches, name in (("image", images, "pixel_values"), ("video", videos, "pixel_values_videos")):
        if patches:
            pixels, grid = stack_pixels(patches)
            inputs[name] = torch.from_numpy(pixels)
            grids[f"{kind}_grid_thw"] = torch.from_numpy(grid)
    inputs |= grids
    if grids:
        inputs["mm_token_type_ids"] = types
        positions, _ = model.model.get_rope_index(ids, types, attention_mask=real, **grids)
    else:
        positions = torch.arange(longest).expand(3, rows, longest).clone()
    for row, line in enumerate(lines):
        prompt = len(line.prompt.ids)
        begin, end = line.first_look
        next_position = int(positions[:, row, :prompt].max()) + 1
        positions[:, row, prompt:] = next_position + torch.arange(longest - prompt)
        positions[:, row, end:] = next_position + torch.arange(longest - end)
    inputs["position_ids"] = positions
    cells = None
    media = [line for kind in ("images", "videos") for line in lines if getattr(line.prompt, kind)]
    if any(line.cells is not None for line in media):
        cells = torch.from_numpy(
            np.concatenate([unknown(line) if line.cells is None else line.cells for line in media])
        )
        cells = cells.to(device)
    to = {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
    return {
        "inputs": to,
        "content": content.to(device),
        "cells": cells,
        "where": torch.from_numpy(np.array(where, dtype=np.int64).reshape(-1, 2)).to(device),
        "targets": torch.tensor(targets, device=device),
        "weights": torch.tensor(weights, device=device),
        "label_where": torch.from_numpy(np.array(label_where, dtype=np.int64).reshape(-1, 2)).to(device),
        "label_soft": torch.tensor(label_soft, device=device),
    }


def unknown(line: Line) -> npt.NDArray[np.int64]:
    """In place of the tokens of a line whose picture was worn."""
    merged = sum(math.prod(each.grid) // 4 for each in (*line.prompt.images, *line.prompt.videos))
    return np.full(merged, UNKNOWN)


def coded(batch: dict[str, Any], model: Any, rng: np.random.Generator) -> dict[str, Any]:
    """The batch with the word code in place of its pixels, imperfect as a tower's would be: practice in reading.

    Of some typed tokens nothing but the spelling is left, so that what spellings mean is learned from typed text too.
    Every medium's words must be known.
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
    """Lines grouped into batches of like length, each with at most `budget` padded tokens."""
    batches: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: len(line.ids)):
        if batches and (len(batches[-1]) + 1) * len(line.ids) <= budget:
            batches[-1].append(line)
        else:
            batches.append([line])
    return batches
