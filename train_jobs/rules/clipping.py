"""Dynamic clipping (GuardReasoner-VL, arXiv 2505.11049): first the policy may move, then ever less."""

from __future__ import annotations


def clip_bound(step: int, steps: int, epsilon: float = 0.2) -> float:
    """B_s = epsilon * prod over i = 1..s of (S - i) / S; the policy ratio is clipped to [1 - B_s, 1 + B_s]
    (dynamic clipping of GuardReasoner-VL, arXiv 2505.11049).

    It closes after about sqrt(S) steps and is 0 at s = S: with S = 100 it is 0.172 at 5, 0.113 at 10, 0.021 at 20 and
    0.001 at 30.

    Args:
        step: s, the update in progress, from 1 (0 gives epsilon).
        steps: S, updates of the whole training.
        epsilon: the bound before the first update, 0.2 in the paper.

    Raises:
        ValueError: the step lies outside the training.
    """
    if not (0 <= step <= steps and steps >= 1):
        raise ValueError(f"step {step} lies outside a training of {steps} steps")
    bound = epsilon
    for done in range(1, step + 1):
        bound *= (steps - done) / steps
        if bound == 0.0:
            break
    return bound
