"""Laws of dynamic clipping, against values worked out by hand."""

from __future__ import annotations

import itertools

import pytest

from train_jobs.rules.clipping import clip_bound


@pytest.mark.parametrize(("step", "bound"), [(0, 0.2), (1, 0.198), (5, 0.172), (10, 0.113), (20, 0.021), (30, 0.001)])
def test_the_bound_is_the_papers(step: int, bound: float) -> None:
    assert clip_bound(step, 100) == pytest.approx(bound, abs=5e-4)


def test_a_short_training_by_hand() -> None:
    # S = 4: 3/4, then 3/4 * 2/4, then 3/4 * 2/4 * 1/4, then 0
    assert [clip_bound(s, 4, 0.4) for s in range(5)] == pytest.approx([0.4, 0.3, 0.15, 0.0375, 0.0])


def test_the_bound_only_closes() -> None:
    bounds = [clip_bound(s, 1000) for s in range(1001)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(bounds))
    assert bounds[-1] == 0.0
    assert bounds[32] > 0.5 * bounds[0] > bounds[64], "it closes after about the square root of the steps"


@pytest.mark.parametrize(("step", "steps"), [(-1, 10), (11, 10), (0, 0)])
def test_a_step_outside_the_training_is_refused(step: int, steps: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} lies outside a training of {steps} steps"):
        clip_bound(step, steps)
