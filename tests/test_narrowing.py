"""Laws of leaving padding out."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train_jobs.training.narrowing import stretches


def mask_of(rows: list[tuple[int, int]], prompt_width: int, width: int) -> torch.Tensor:
    """Prompts of these lengths on the left of `prompt_width`, completions of these lengths on its right."""
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for row, (prompt, completion) in zip(mask, rows, strict=True):
        row[prompt_width - prompt : prompt_width + completion] = 1
    return mask


def test_rows_of_like_length_go_together_without_the_columns_that_none_uses() -> None:
    mask = mask_of([(2, 1), (5, 6), (1, 1), (4, 6)], 5, 12)
    assert stretches(mask, 2) == [([0, 2], slice(3, 6)), ([1, 3], slice(0, 11))]
    assert stretches(mask, 4) == [([0, 1, 2, 3], slice(0, 11))]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), min_size=1, max_size=12), st.integers(1, 5))
def test_every_row_is_there_once_and_nothing_of_it_is_cut(rows: list[tuple[int, int]], at_once: int) -> None:
    mask = mask_of(rows, 7, 16)
    found = stretches(mask, at_once)
    assert sorted(row for some, _ in found for row in some) == list(range(len(rows)))
    assert all(len(some) <= at_once for some, _ in found)
    for some, columns in found:
        part = mask[some, columns]
        assert torch.equal(part.sum(1), mask[some].sum(1))
        assert part[:, 0].any()
        assert part[:, -1].any()
