"""Muon, for the matrices inside a network: momentum made orthogonal. It takes fewer examples than AdamW.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. torch.optim.Muon does the same in bfloat16, which a CPU
without such arithmetic emulates so slowly that nothing is gained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz step, as published."""
STEPS = 5
LIKE_ADAMW = 0.2
"""Root mean square of an update by learning rate, so that AdamW's rate serves (Moonlight, arXiv 2502.16982)."""


def orthogonal(matrix: Any) -> Any:
    """Roughly the nearest matrix with orthonormal rows (or columns), same shape and dtype."""
    import torch

    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def muon(parameters: Iterable[Any], lr: float, weight_decay: float, momentum: float = 0.95) -> Any:
    """A torch optimizer: Muon with Nesterov momentum and decoupled weight decay, for parameters of two dimensions."""
    import torch

    class Muon(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            """One update of every parameter that has a gradient."""
            for group in self.param_groups:
                rate = group["lr"]
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    held = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    held.lerp_(parameter.grad, 1 - momentum)
                    update = orthogonal(parameter.grad.lerp(held, momentum))
                    parameter.mul_(1 - rate * group["weight_decay"])
                    parameter.add_(update, alpha=-rate * LIKE_ADAMW * max(update.shape) ** 0.5)

    return Muon(parameters, {"lr": lr, "weight_decay": weight_decay})


INSIDE = ("blocks.", "merger", ".layers.")
"""Parts of the names of those matrices: everything but embeddings, patch embedding and the head."""


def optimizers(modules: Sequence[Any], rate: float, weight_decay: float) -> list[Any]:
    """Muon for the matrices of transformer blocks and mergers, AdamW for everything else; decay for matrices alone."""
    import torch

    named = [(name, each) for module in modules for name, each in module.named_parameters()]
    inside = [each for name, each in named if each.ndim == 2 and any(part in name for part in INSIDE)]
    mine = {id(each) for each in inside}
    rest = [each for _, each in named if id(each) not in mine]
    groups = [
        {"params": [each for each in rest if each.ndim >= 2], "weight_decay": weight_decay},
        {"params": [each for each in rest if each.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
    return [muon(inside, rate, weight_decay), adamw]
