"""Padding that need not be computed: rows of like length together, each stretch without the columns that none uses."""

from __future__ import annotations

from typing import Any

AT_ONCE = 8
"""Rows of a stretch: enough to keep a CPU busy, few enough that they are of like length."""


def stretches(attention_mask: Any, at_once: int = AT_ONCE) -> list[tuple[list[int], slice]]:
    """Split a batch that is padded on both sides (prompts on the left, completions on the right).

    Args:
        attention_mask: 0 at padding, shape (rows, width); no row is padding alone.
        at_once: rows of a stretch at most.

    Returns:
        For each stretch the numbers of its rows, and the columns that at least one of them uses. Together they hold
        every row once.
    """
    used = attention_mask.bool().int().cpu()
    width = used.shape[1]
    first = used.argmax(dim=1).tolist()
    last = [width - back for back in used.flip(1).argmax(dim=1).tolist()]
    order = sorted(range(len(first)), key=lambda row: last[row] - first[row])
    found = []
    for start in range(0, len(order), at_once):
        rows = sorted(order[start : start + at_once])
        found.append((rows, slice(min(first[row] for row in rows), max(last[row] for row in rows))))
    return found
