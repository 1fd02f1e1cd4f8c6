"""Examples as tensors: one prompt with two answers after it, the first look's and the deliberation's.

Both answers share the prompt's keys and values, as they do when the guard runs: the prompt is computed once, the
attention mask keeps the answers from seeing each other, and both continue the prompt's positions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.encode import EncodedPrompt, PromptEncoder, stack_pixels
from core.types import Label
from core.vision import DecodedMedia
from train_jobs.builtin.examples import Example
from train_jobs.builtin.render import Letter
from train_jobs.builtin.targets import assessment, first_words

PROMPT_WEIGHT, REASONING_WEIGHT, FORM_WEIGHT, LABEL_WEIGHT = 0.15, 0.6, 0.3, 6.0
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
    cells: npt.NDArray[np.int64] | None = None
    """For a lesson in reading: the letters in each merged patch, shape (merged patches, SLOTS)."""
    begun: npt.NDArray[np.int64] | None = None
    """For a lesson in reading: the text token that begins in each merged patch, shape (merged patches,), else -100."""


SLOTS = 8
"""Places for letters in a merged patch of 32 x 32 pixels: two rows of four."""
LETTERS = 96
"""Nothing, the 94 visible ASCII characters, and any other."""


def letter_cells(letters: Sequence[Letter], size: tuple[int, int], grid: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Which letter stands where, in the merged patches of a picture of `size` (height, width) resized to `grid`."""
    rows, columns = grid[1] // 2, grid[2] // 2
    cells = np.zeros((rows * columns, SLOTS), dtype=np.int64)
    for x, y, letter in letters:
        right, down = x * columns * 32 / size[1], y * rows * 32 / size[0]
        if 0 <= right < columns * 32 and 0 <= down < rows * 32:
            slot = int(down % 32 // 16) * 4 + int(right % 32 // 8)
            cells[int(down // 32) * columns + int(right // 32), slot] = min(max(ord(letter) - 32, 1), LETTERS - 1)
    return cells


def cell_of(x: float, y: float, size: tuple[int, int], grid: tuple[int, int, int]) -> int | None:
    """The merged patch at a point of a picture of `size` (height, width) resized to `grid`; none outside."""
    rows, columns = grid[1] // 2, grid[2] // 2
    right, down = int(x * columns / size[1]), int(y * rows / size[0])
    return down * columns + right if 0 <= right < columns and 0 <= down < rows else None


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
            return self._reading(example.medium, first_words(example.evidence.shown or "", 40), example.letters)
        prompt = self.prompts.encode(example.sample, () if example.medium is None else (example.medium,))
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
        looked = looked[:last]
        ids += looked
        targets += [*looked[1:], self.end]
        weights += [0.0] * len(looked)
        middle = len(ids)
        if not example.deliberates:
            return Line(prompt, tuple(ids), (start, middle), tuple(targets), tuple(weights), soft)

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
        return Line(prompt, tuple(ids), (start, middle), tuple(targets), tuple(weights), soft)

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

    def _reading(self, medium: DecodedMedia, text: str, letters: Sequence[Letter]) -> Line:
        """A picture and its transcription, nothing else: many fit into one batch."""
        patches = self.prompts.patches(medium)
        merged = patches.grid[0] * patches.grid[1] * patches.grid[2] // 4
        controls = self.prompts.controls
        ids = (controls["<|vision_start|>"], *[controls["<|image_pad|>"]] * merged, controls["<|vision_end|>"])
        prompt = EncodedPrompt(ids, (0, *[1] * merged, 0), (patches,))
        read = self.prompts.plain_ids(f' "{text}".')
        targets = [*ids[1:], *read, self.end]
        weights = [0.0] * (len(ids) - 1) + [1.0] * len(read) + [0.0]
        cells = letter_cells(letters, medium.frames.shape[1:3], patches.grid)
        begun = self._tokens_begun(text, letters, medium.frames.shape[1:3], patches.grid)
        return Line(prompt, (*ids, *read), (len(ids), len(ids)), tuple(targets), tuple(weights), {}, cells, begun)

    def _tokens_begun(
        self, text: str, letters: Sequence[Letter], size: tuple[int, int], grid: tuple[int, int, int]
    ) -> npt.NDArray[np.int64]:
        """Which token of the text begins in which merged patch; the longest where several do."""
        backend: Any = self.prompts.tokenizer
        encoded = backend.backend_tokenizer.encode(text, add_special_tokens=False)
        before = np.cumsum([0, *(not letter.isspace() for letter in text)])
        begun = np.full(grid[1] * grid[2] // 4, -100, dtype=np.int64)
        length = np.zeros(len(begun), dtype=np.int64)
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            drawn = int(before[start])
            if before[end] == before[start] or drawn >= len(letters):
                continue
            cell = cell_of(letters[drawn][0], letters[drawn][1], size, grid)
            if cell is not None and end - start > length[cell]:
                begun[cell], length[cell] = token, end - start
        return begun

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
    cells = begun = None
    if any(line.cells is not None for line in lines):
        unknown = [
            np.full((each.grid[1] * each.grid[2] // 4, SLOTS), -100) if line.cells is None else line.cells
            for line in lines
            for each in line.prompt.images
        ]
        cells = torch.from_numpy(np.concatenate(unknown)).to(device)
        starts = [
            np.full(each.grid[1] * each.grid[2] // 4, -100) if line.begun is None else line.begun
            for line in lines
            for each in line.prompt.images
        ]
        begun = torch.from_numpy(np.concatenate(starts)).to(device)
    to = {name: value.to(device) if hasattr(value, "to") else value for name, value in inputs.items()}
    return {
        "inputs": to,
        "cells": cells,
        "begun": begun,
        "where": torch.from_numpy(np.array(where, dtype=np.int64).reshape(-1, 2)).to(device),
        "targets": torch.tensor(targets, device=device),
        "weights": torch.tensor(weights, device=device),
        "label_where": torch.from_numpy(np.array(label_where, dtype=np.int64).reshape(-1, 2)).to(device),
        "label_soft": torch.tensor(label_soft, device=device),
    }


def by_length(lines: Sequence[Line], budget: int) -> list[list[Line]]:
    """Lines grouped into batches of like length, each with at most `budget` padded tokens."""
    batches: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: len(line.ids)):
        if batches and (len(batches[-1]) + 1) * len(line.ids) <= budget:
            batches[-1].append(line)
        else:
            batches.append([line])
    return batches
