"""The letter code: how the vision tower writes down, in the language model's input space, which letters a patch shows.

It is fixed before training begins. So the tower can learn to write it while the language model, which needs no pixels
for that, learns to read it, and both meet when they are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from train_jobs.builtin.network import WIDTH
from train_jobs.builtin.render import Letter

SLOTS = 8
"""Places for letters in a merged patch of 32 x 32 pixels: two rows of four."""
LETTERS = 96
"""Nothing, the 94 visible ASCII characters, and any other."""
FREE = 8
"""Dimensions before the letters'; the first holds what every token embedding holds there."""
SIZE = 0.5
"""Norm of one letter; that of a token's embedding is about 1."""
SHARPNESS = 12.0
"""Logit of a letter whose code is met exactly."""
CODE_SEED = 5
CONSTANT = -0.35
"""What the code holds in its first dimension: about what the token embeddings hold there."""
MISREAD, FALSE = 0.12, 0.01
"""Largest share of letters that practice with the code misreads, and share of empty places where it sees one."""


def table() -> npt.NDArray[np.float32]:
    """The code of each letter, shape (LETTERS, (WIDTH - FREE) / SLOTS). Nothing is zero, a capital near its letter."""
    rng = np.random.default_rng(CODE_SEED)
    made = rng.normal(size=(LETTERS, (WIDTH - FREE) // SLOTS))
    made[:, 0] = 0.0
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    capitals = np.arange(ord("A"), ord("Z") + 1) - 32
    made[capitals] = 0.8 * made[capitals + 32]
    made[capitals, 0] = 0.6
    made[0] = 0.0
    return (SIZE * made).astype(np.float32)


def codes(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Letters in merged patches, shape (merged patches, SLOTS), as vectors of shape (merged patches, WIDTH)."""
    out = np.zeros((len(cells), WIDTH), dtype=np.float32)
    out[:, 0] = CONSTANT
    out[:, FREE:] = table()[np.maximum(cells, 0)].reshape(len(cells), -1)
    return out


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


def misread(cells: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The code of the letters as an imperfect tower might write it: some wrong, some missed, some faint.

    Returns:
        Shape (merged patches, WIDTH).
    """
    share = rng.uniform(0, MISREAD)
    seen = np.where(
        rng.random(cells.shape) < np.where(cells > 0, share, share * FALSE / MISREAD),
        np.where(rng.random(cells.shape) < 0.4, 0, rng.integers(1, LETTERS, cells.shape)),
        cells,
    )
    out = codes(seen)
    faint = rng.uniform(0.7, 1.1, (*cells.shape, 1)).astype(np.float32)
    out[:, FREE:] = (out[:, FREE:].reshape(*cells.shape, -1) * faint).reshape(len(cells), -1)
    out += rng.normal(0, rng.uniform(0, 0.04), out.shape).astype(np.float32)
    return out


def speller() -> Any:
    """Reads letters off merged patches by their nearness to the code; only how common each letter is gets learnt."""
    import torch

    class Speller(torch.nn.Module):
        table: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.from_numpy(table()), persistent=False)
            self.bias = torch.nn.Parameter(torch.zeros(LETTERS))

        def forward(self, merged: torch.Tensor) -> torch.Tensor:
            """Logits, (merged patches, WIDTH) -> (merged patches, SLOTS * LETTERS)."""
            places = merged[:, FREE:].reshape(len(merged), SLOTS, -1)
            logits: torch.Tensor = SHARPNESS / SIZE**2 * places @ self.table.T + self.bias
            return logits.reshape(len(merged), -1)

    return Speller()
