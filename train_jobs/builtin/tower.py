"""Lessons for the vision tower alone: to write down drawn words, before it meets the language model.

What tells how well it writes guides it in training and is no part of the guard.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
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
RATE, WEIGHT_DECAY = 2.0e-3, 0.02
SAVE_EVERY_S = 240.0
LOG, STATE = "tower.jsonl", "tower-state.pt"
"""In the work folder: loss and accuracy as JSON lines, and what interrupted lessons go on from."""
PAGES, FULL_VARIETY = 0.45, 0.5
"""Share of pages among the lines at the end, and the share of the lessons by which the lines have all their variety:
all of it at once teaches nothing for a long time."""
DISTANCE_WEIGHT = 1.5
"""Weight of the squared distance from the word code, in spellings, beside the cross-entropy."""
SPELLING_BLOCK, SPELLING_WEIGHT, EMPTY_WEIGHT = 3, 1.0, 0.5
"""The block (from 0) after which each patch is asked for the letters in it and their places in their tokens, the weight
of that, and what the empty patches count beside those with letters. To gather a word comes easier from there."""


class Judge:
    """Reads a tower's words and, halfway, its letters; holds what has to be learned for that.

    Args:
        spelled: spellings of all tokens, shape (vocabulary, SPELLING), on the tower's device.
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

    def state(self) -> dict[str, Any]:
        """For `load`."""
        return {"reader": self.reader.state_dict(), "probe": self.probe.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.reader.load_state_dict(state["reader"])
        self.probe.load_state_dict(state["probe"])

    def wording_loss(self, merged: Any, cells: Any) -> tuple[Any, float]:
        """How far merged patches are from the word code: cross-entropy of the tokens and distance from their spellings.

        Args:
            merged: shape (merged patches, WIDTH).
            cells: token ids, shape (merged patches,), NOTHING in empty patches, UNKNOWN where not known.

        Returns:
            The loss, a scalar tensor, and the share of tokens that are read rightly.
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
            parts: patch, character's number and place of each letter, shape (letters, 3); `wordcode.letter_places`.

        Returns:
            A scalar tensor: the mean over patches with letters, and EMPTY_WEIGHT times that over the empty ones.
        """
        import torch

        wanted = torch.zeros(len(hidden), self.letters.shape[-1], device=hidden.device)
        wanted.index_add_(0, parts[:, 0], self.letters[parts[:, 1], parts[:, 2]])
        apart = (self.probe(hidden) - wanted).square().sum(-1)
        some = wanted.square().sum(-1) > 0
        # sums over all patches, not means over chosen ones: either kind may be missing
        lettered = (apart * some).sum() / some.sum().clamp(min=1)
        empty = (apart * ~some).sum() / (~some).sum().clamp(min=1)
        return lettered + EMPTY_WEIGHT * empty


def look(
    tower: Any, examples: Sequence[Example], prompts: PromptEncoder, device: str
) -> tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What the tower makes of lessons in reading, whose letters are known.

    Returns:
        The merged patches of all pictures, shape (merged patches, WIDTH), their tokens, shape (merged patches,), and
        their letters, shape (letters, 3), as `Judge` takes them.
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
    """How long the lessons take: minutes, a number of steps, or whichever of the two is over first."""

    minutes: float | None
    steps: int | None

    def progress(self, step: int, seconds: float) -> float:
        """How much of them is over, 0 at the start, 1 and more at the end."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(by_steps, by_time)


def rate(step: int, progress: float) -> float:
    """Learning rate: warm-up over 60 steps, then level, over the last two fifths to nearly nothing."""
    return RATE * min(1.0, (step + 1) / 60) * min(1.0, (1.02 - progress) / 0.4)


class Lessons:
    """The tower's training, which an interruption does not undo.

    Args:
        tower: the vision tower, on `device`; a hook is left in it.
        spelled: spellings of all tokens, shape (vocabulary, SPELLING).
        deck: draws the lines; other lessons must not draw from it.
        work: folder of LOG and STATE.
    """

    def __init__(
        self,
        tower: Any,
        spelled: Any,
        prompts: PromptEncoder,
        deck: Deck,
        budget: Budget,
        work: Path,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        from train_jobs.builtin.muon import optimizers

        self.tower = tower
        self.prompts = prompts
        self.deck = deck
        self.budget = budget
        self.work = work
        self.device = device
        self.seed = seed
        self.judge = Judge(spelled.to(device), tower.config.hidden_size)
        self.step = 0
        self.seconds = 0.0
        self._rng = random.Random(seed)
        self._halfway: Any = None
        tower.blocks[SPELLING_BLOCK].register_forward_hook(self._keep_halfway)
        self._optimizers = optimizers([tower, self.judge.reader, self.judge.probe], RATE, WEIGHT_DECAY)

    def _keep_halfway(self, module: Any, given: Any, made: Any) -> None:
        self._halfway = made

    def save_state(self) -> None:
        """Write tower, judge, optimisers and place, atomically."""
        _write(
            self.work / STATE,
            {
                "tower": self.tower.state_dict(),
                "judge": self.judge.state(),
                "optimizers": [each.state_dict() for each in self._optimizers],
                "step": self.step,
                "seconds": self.seconds,
            },
        )

    def load_state(self) -> bool:
        """Go on from the last save, if there is one, with other examples than at first."""
        import torch

        if not (self.work / STATE).is_file():
            return False
        state = torch.load(self.work / STATE, weights_only=True, map_location=self.device)
        self.tower.load_state_dict(state["tower"])
        self.judge.load(state["judge"])
        for each, held in zip(self._optimizers, state["optimizers"], strict=True):
            each.load_state_dict(held)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self._rng = random.Random(self.seed + self.step)
        self.deck.reseed(self.seed + self.step)
        return True

    def one_step(self, progress: float) -> tuple[float, float]:
        """Draw lines, compute, update; returns the loss of the words and the share of tokens that were read rightly."""
        import torch

        for group in (group for each in self._optimizers for group in each.param_groups):
            group["lr"] = rate(self.step, progress)
        self.deck.variety = min(1.0, progress / FULL_VARIETY)
        kinds = ["page" if self._rng.random() < PAGES * self.deck.variety else "line" for _ in range(ROWS)]
        made, cells, parts = look(self.tower, [self.deck.draw(kind) for kind in kinds], self.prompts, self.device)
        words, right = self.judge.wording_loss(made, torch.from_numpy(cells).to(self.device))
        spelling = self.judge.spelling_loss(self._halfway, torch.from_numpy(parts).to(self.device))
        for each in self._optimizers:
            each.zero_grad(set_to_none=True)
        (words + SPELLING_WEIGHT * spelling).backward()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        for each in self._optimizers:
            each.step()
        self.step += 1
        return float(words.detach()), right

    def run(self) -> None:
        """Train until the budget is spent."""
        last = saved = time.monotonic()
        kept: list[tuple[float, float]] = []
        with (self.work / LOG).open("a", encoding="utf-8") as file:
            while (progress := self.budget.progress(self.step, self.seconds)) < 1:
                kept.append(self.one_step(progress))
                now = time.monotonic()
                self.seconds, last = self.seconds + now - last, now
                if self.step % 25 == 0:
                    loss, right = (round(sum(each) / len(kept), 4) for each in zip(*kept, strict=True))
                    file.write(json.dumps({"tower_step": self.step, "loss": loss, "words": right}) + "\n")
                    file.flush()
                    kept = []
                if now - saved > SAVE_EVERY_S:
                    self.save_state()
                    saved = now
        self.deck.variety = 1.0
        self.save_state()


def save(tower: Any, judge: Judge, path: Path) -> None:
    """Write the tower and what judged it, atomically."""
    _write(path, {"tower": tower.state_dict(), "judge": judge.state()})


def _write(path: Path, state: dict[str, Any]) -> None:
    import torch

    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load(path: Path, device: str) -> tuple[Any, Any]:
    """What `save` wrote: the states of the tower and of its judge."""
    import torch

    state = torch.load(path, weights_only=True, map_location=device)
    return state["tower"], state["judge"]
