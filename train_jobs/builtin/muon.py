"""Muon, for the matrices inside a network: momentum made orthogonal. It takes fewer examples than AdamW.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. torch.optim.Muon does the same in bfloat16, which a CPU
without such arithmetic emulates so slowly that nothing is gained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz step, as published."""
STEPS = 5
LIKE_ADAMW = 0.2
"""Root mean square of an update by learning rate, so that AdamW's rate serves (Moonlight, arXiv 2502.16982)."""


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest matrix with orthonormal rows (or columns), same shape and dtype."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for parameters of two dimensions."""

    def __init__(
        self, parameters: Iterable[torch.Tensor], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                held = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                held.lerp_(parameter.grad, 1 - momentum)
                update = orthogonal(parameter.grad.lerp(held, momentum))
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(update, alpha=-rate * LIKE_ADAMW * max(update.shape) ** 0.5)


def optimizers(modules: Sequence[Any], rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks and mergers, AdamW for everything else."""
    named = [(name, each) for module in modules for name, each in module.named_parameters()]
    inside = [each for name, each in named if each.ndim == 2 and ("blocks" in name or "merger" in name)]
    mine = {id(each) for each in inside}
    rest = [each for _, each in named if id(each) not in mine]
    return [
        Muon(inside, rate, weight_decay),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=weight_decay, fused=True),
    ]
