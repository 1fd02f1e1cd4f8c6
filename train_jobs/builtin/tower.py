"""Lessons for the vision tower alone: it names the letters in each patch of drawn text, before it meets the language.

The speller that reads the letters off the tower guides it in training and is no part of the guard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.prompt.encode import stack_pixels
from train_jobs.builtin.batches import Encoder, Line
from train_jobs.builtin.examples import Deck
from train_jobs.builtin.letters import LETTERS, SIZE, codes, speller

ROWS = 32
"""Drawn lines in one step: few, for many steps teach more than large ones."""
RATE = 2.5e-3
PAGES, FULL_VARIETY = 0.3, 0.65
"""Share of pages among the lines at the end, and the share of the lessons by which the lines have all their variety:
all of it at once teaches nothing for a long time."""
EMPTY_WEIGHT = 0.1
"""An empty place counts a tenth of a letter."""
CODE_WEIGHT = 0.05
"""Weight of the squared distance from the code, in letters, beside the cross-entropy."""


def spelling_loss(reader: Any, merged: Any, cells: Any) -> tuple[Any, float]:
    """How far merged patches are from the letter code: cross-entropy of the letters and distance from their code.

    Also the share of letters that are read rightly off them.

    Args:
        reader: `letters.speller()`.
        merged: shape (merged patches, width).
        cells: letter numbers, shape (merged patches, SLOTS), -100 where unknown.
    """
    import torch

    known = cells[:, 0] >= 0
    code = torch.from_numpy(codes(cells[known].cpu().numpy())).to(merged.device)
    apart = CODE_WEIGHT * (merged[known] - code).square().sum(-1).mean() / SIZE**2
    logits, wanted = reader(merged[known]).view(-1, LETTERS), cells[known].reshape(-1)
    weight = torch.ones(LETTERS, device=logits.device)
    weight[0] = EMPTY_WEIGHT
    loss = torch.nn.functional.cross_entropy(logits, wanted, weight=weight)
    letters = wanted > 0
    right = (logits.argmax(-1)[letters] == wanted[letters]).float().mean() if letters.any() else torch.tensor(0.0)
    return loss + apart, float(right)


def look(tower: Any, lines: Sequence[Line], device: str) -> tuple[Any, Any]:
    """The tower's merged patches of drawn lines, shape (merged patches, width), and their letters."""
    import torch

    pixels, grids = stack_pixels([each for line in lines for each in line.prompt.images])
    made = tower(torch.from_numpy(pixels).to(device), grid_thw=torch.from_numpy(grids).to(device))
    cells = np.concatenate([line.cells for line in lines if line.cells is not None])
    return made.pooler_output, torch.from_numpy(cells).to(device)


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
    return RATE * min(1.0, (step + 1) / 30) * min(1.0, (1.02 - progress) / 0.4)


def pretrain(
    tower: Any, encoder: Encoder, deck: Deck, budget: Budget, log: Path, say: Callable[[str], None], device: str = "cpu"
) -> Any:
    """Train the tower; returns the speller that was trained with it.

    Args:
        log: JSON lines of loss and letter accuracy are added to it.
    """
    import torch

    from train_jobs.builtin.muon import optimizers

    reader = speller().to(device)
    both = optimizers([tower, reader], RATE, 0.02)
    start, step = time.monotonic(), 0
    kept: list[tuple[float, float]] = []
    with log.open("a", encoding="utf-8") as file:
        while (progress := budget.progress(step, time.monotonic() - start)) < 1:
            for group in (group for each in both for group in each.param_groups):
                group["lr"] = rate(step, progress)
            deck.variety = min(1.0, progress / FULL_VARIETY)
            pages = PAGES * (deck.variety - 0.5) / 0.5
            kinds = ["page" if encoder.rng.random() < pages else "line" for _ in range(ROWS)]
            made, cells = look(tower, [encoder.line(deck.draw(kind)) for kind in kinds], device)
            loss, right = spelling_loss(reader, made, cells)
            for each in both:
                each.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*tower.parameters(), *reader.parameters()], 1.0)
            for each in both:
                each.step()
            step += 1
            kept.append((float(loss.detach()), right))
            if step % 25 == 0:
                loss_now, right_now = (round(sum(each) / len(kept), 4) for each in zip(*kept, strict=True))
                file.write(json.dumps({"tower_step": step, "spelling": loss_now, "letters": right_now}) + "\n")
                file.flush()
                say(f"tower: step {step}, {100 * right_now:.0f}% of letters")
                kept = []
    deck.variety = 1.0
    return reader


def save(tower: Any, reader: Any, path: Path) -> None:
    """Write the tower and the speller, atomically."""
    import torch

    part = path.with_suffix(".part")
    torch.save({"tower": tower.state_dict(), "speller": reader.state_dict()}, part)
    part.replace(path)


def load(path: Path, device: str) -> tuple[Any, Any]:
    """What `save` wrote: the states of the tower and of the speller."""
    import torch

    state = torch.load(path, weights_only=True, map_location=device)
    return state["tower"], state["speller"]
