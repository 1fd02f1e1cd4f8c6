"""Lessons for the vision tower alone: to write down drawn words, before it meets the language model.

What tells how well it writes guides it in training and is no part of the guard.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.prompt.encode import PromptEncoder, stack_pixels
from train_jobs.builtin import wordcode
from train_jobs.builtin.examples import Deck, Example
from train_jobs.builtin.network import MARKED, MEANING, SPELLING

ROWS = 32
"""Drawn lines in one step: few, for many steps teach more than large ones."""
RATE = 2.0e-3
PAGES, FULL_VARIETY = 0.45, 0.5
"""Share of pages among the lines at the end, and the share of the lessons by which the lines have all their variety:
all of it at once teaches nothing for a long time."""
DISTANCE_WEIGHT = 1.5
"""Weight of the squared distance from the word code, in spellings, beside the cross-entropy."""
SPELLING_BLOCK, SPELLING_WEIGHT, EMPTY_WEIGHT = 3, 1.0, 0.5
"""The block after which each patch is asked for the letters in it and their places in their words, the weight of that,
and what an empty patch counts beside one with letters. To gather a word comes easier from there."""


class Judge:
    """Reads a tower's words and, halfway, its letters; holds what has to be learned for that.

    Args:
        spelled: spellings of all tokens, shape (vocabulary, SPELLING).
        width: the tower's hidden size.
    """

    def __init__(self, spelled: Any, width: int) -> None:
        import torch

        self.spelled = spelled
        self.letters = torch.from_numpy(wordcode.letter_table()).to(spelled.device)
        self.reader = wordcode.reader(len(spelled)).to(spelled.device)
        self.probe = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, SPELLING - MARKED)).to(
            spelled.device
        )

    def parameters(self) -> list[Any]:
        """What is learned beside the tower."""
        return [*self.reader.parameters(), *self.probe.parameters()]

    def state(self) -> dict[str, Any]:
        """For `load`."""
        return {"reader": self.reader.state_dict(), "probe": self.probe.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.reader.load_state_dict(state["reader"])
        self.probe.load_state_dict(state["probe"])

    def wording_loss(self, merged: Any, cells: Any) -> tuple[Any, float]:
        """How far merged patches are from the word code: cross-entropy of the tokens and distance from their code.

        Also the share of tokens that are read rightly.

        Args:
            merged: shape (merged patches, WIDTH).
            cells: token ids, shape (merged patches,), UNKNOWN where not known.
        """
        import torch

        known = cells != wordcode.UNKNOWN
        merged, cells = merged[known], cells[known]
        if not len(cells):
            return merged.sum() * 0.0, 0.0
        apart = (merged - wordcode.codes(cells, self.spelled))[:, MEANING:].square().sum(-1).mean()
        loss = DISTANCE_WEIGHT * apart / wordcode.LENGTH**2
        written = cells > wordcode.NOTHING
        if not written.any():
            return loss, 0.0
        logits, wanted = self.reader(merged[written], self.spelled), cells[written]
        right = (logits.argmax(-1) == wanted).float().mean()
        return loss + torch.nn.functional.cross_entropy(logits, wanted), float(right)

    def spelling_loss(self, hidden: Any, parts: Any) -> Any:
        """Squared distance of each patch, halfway through the tower, from its letters at their places.

        Args:
            hidden: shape (patches, tower's hidden size).
            parts: patch, letter and place of each letter, shape (letters, 3).
        """
        import torch

        wanted = torch.zeros(len(hidden), self.letters.shape[-1], device=hidden.device)
        wanted.index_add_(0, parts[:, 0], self.letters[parts[:, 1], parts[:, 2]])
        apart = (self.probe(hidden) - wanted).square().sum(-1)
        some = wanted.square().sum(-1) > 0
        return (apart * torch.where(some, 1.0, 0.0)).sum() / some.sum().clamp(min=1) + EMPTY_WEIGHT * (
            apart * torch.where(some, 0.0, 1.0)
        ).sum() / (~some).sum().clamp(min=1)


def look(
    tower: Any, examples: Sequence[Example], prompts: PromptEncoder, device: str
) -> tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The tower's merged patches of drawn lines, shape (merged patches, WIDTH), their tokens and their letters.

    The letters are as `Judge.spelling_loss` takes them.
    """
    import torch

    patches, cells, parts = [], [], []
    before = 0
    for example in examples:
        assert example.medium is not None
        assert example.letters is not None
        seen = prompts.patches(example.medium)
        where = example.letters, example.evidence.shown or "", prompts.tokenizer
        size = example.medium.frames.shape[1:3]
        patches.append(seen)
        order = wordcode.word_order(*where, size, seen.grid)
        cells.append(wordcode.word_cells(order, seen.grid[1] * seen.grid[2] // 4))
        parts.append(wordcode.letter_places(*where, size, seen.grid) + np.array([before, 0, 0]))
        before += seen.grid[1] * seen.grid[2]
    pixels, grids = stack_pixels(patches)
    made = tower(torch.from_numpy(pixels).to(device), grid_thw=torch.from_numpy(grids).to(device))
    return made.pooler_output, np.concatenate(cells), np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the lessons take: minutes, or a number of steps."""

    minutes: float | None
    steps: int | None

    def progress(self, step: int, seconds: float) -> float:
        """How much of them is over."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_time)


def rate(step: int, progress: float) -> float:
    """Learning rate: warm-up, then level, over the last two fifths to nothing."""
    return RATE * min(1.0, (step + 1) / 60) * min(1.0, (1.02 - progress) / 0.4)


def pretrain(
    tower: Any,
    spelled: Any,
    prompts: PromptEncoder,
    deck: Deck,
    budget: Budget,
    log: Path,
    say: Callable[[str], None],
    device: str = "cpu",
) -> Judge:
    """Train the tower; returns what judged it.

    Args:
        spelled: spellings of all tokens, shape (vocabulary, SPELLING).
        log: JSON lines of loss and accuracy are added to it.
    """
    import torch

    from train_jobs.builtin.muon import optimizers

    judge = Judge(spelled.to(device), tower.config.hidden_size)
    halfway: list[Any] = []
    hook = tower.blocks[SPELLING_BLOCK].register_forward_hook(lambda module, given, made: halfway.append(made))
    both = optimizers([tower, judge.reader, judge.probe], RATE, 0.02)
    start, step = time.monotonic(), 0
    rng = random.Random(0)
    kept: list[tuple[float, float]] = []
    with log.open("a", encoding="utf-8") as file:
        while (progress := budget.progress(step, time.monotonic() - start)) < 1:
            for group in (group for each in both for group in each.param_groups):
                group["lr"] = rate(step, progress)
            deck.variety = min(1.0, progress / FULL_VARIETY)
            kinds = ["page" if rng.random() < PAGES * deck.variety else "line" for _ in range(ROWS)]
            made, cells, parts = look(tower, [deck.draw(kind) for kind in kinds], prompts, device)
            words, right = judge.wording_loss(made, torch.from_numpy(cells).to(device))
            spelling = judge.spelling_loss(halfway.pop(), torch.from_numpy(parts).to(device))
            for each in both:
                each.zero_grad(set_to_none=True)
            (words + SPELLING_WEIGHT * spelling).backward()
            torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
            for each in both:
                each.step()
            step += 1
            kept.append((float(words.detach()), right))
            if step % 25 == 0:
                loss_now, right_now = (round(sum(each) / len(kept), 4) for each in zip(*kept, strict=True))
                file.write(json.dumps({"tower_step": step, "loss": loss_now, "words": right_now}) + "\n")
                file.flush()
                say(f"tower: step {step}, {100 * right_now:.0f}% of words")
                kept = []
    hook.remove()
    deck.variety = 1.0
    return judge


def save(tower: Any, judge: Judge, path: Path) -> None:
    """Write the tower and what judged it, atomically."""
    import torch

    part = path.with_suffix(".part")
    torch.save({"tower": tower.state_dict(), "judge": judge.state()}, part)
    part.replace(path)


def load(path: Path, device: str) -> tuple[Any, Any]:
    """What `save` wrote: the states of the tower and of its judge."""
    import torch

    state = torch.load(path, weights_only=True, map_location=device)
    return state["tower"], state["judge"]
