"""Weights between the base and what was trained: most of what was learned, and less of what was lost on the way.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT): base + share * (trained - base).
"""

from __future__ import annotations

from typing import Any


def copy_trained(model: Any) -> dict[str, Any]:
    """What will be trained, as it is before, by name; in the main memory."""
    return {name: each.detach().to("cpu", copy=True) for name, each in model.named_parameters() if each.requires_grad}


def interpolate(model: Any, before: dict[str, Any] | None, share: float) -> None:
    """Keep a share of the change of every trained weight, in place.

    Args:
        before: what `copy_trained` gave. None for adapters: their change is a product, and linear in its second factor.
        share: from 0, the base, to 1, what was trained.
    """
    import torch

    with torch.no_grad():
        for name, each in model.named_parameters():
            if before is not None and name in before:
                each.copy_(torch.lerp(before[name].to(each.device, torch.float32), each.float(), share))
            elif before is None and ".lora_B." in name:
                each.mul_(share)
