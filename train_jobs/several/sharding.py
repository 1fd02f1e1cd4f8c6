"""Trainings whose processes hold a part of the weights each (FSDP, DeepSpeed ZeRO-3): what they cannot do, and how the
weights are put together at the end.

A process that reads a picture asks all others for their parts of the vision tower; one whose batch has none does not
take part, and all would wait for ever. So texts alone are trained in this way; DDP and ZeRO-2 take everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from core.errors import JobError
from core.types import Sample
from train_jobs.several.ranks import shards_weights
from train_jobs.training.adapters import adapter
from train_jobs.training.base import Base, load_base

if TYPE_CHECKING:
    from train_jobs.recipes.grpo import GrpoSettings
    from train_jobs.recipes.sft import SftSettings
    from train_jobs.runs.context import JobContext


def check_sharded(samples: Iterable[Sample]) -> None:
    """Refuse what would never end.

    Raises:
        JobError: weights are shared out, and a sample holds pictures or videos.
    """
    if shards_weights() and any(sample.media for sample in samples):
        raise JobError(
            "FSDP and DeepSpeed ZeRO-3 train on texts alone here, and some of the samples hold pictures or videos; "
            "take an accelerate file for DDP or ZeRO-2, or a snapshot of texts."
        )


def whole(context: JobContext, trainer: Any, base: Base, settings: SftSettings | GrpoSettings) -> tuple[Base, Any]:
    """The base and the trained model with whole weights, adapters still apart.

    Where every process has them already it is what was trained; else they come together in the first process, in a
    model of its own; the others get what they have. Call it in all processes.

    Raises:
        JobError: the parts do not make the model.
    """
    if not shards_weights():
        return base, trainer.model
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if context.process:
        return base, trainer.model
    fresh = load_base(context.spec.base, context.device, settings, base.snapshot)
    model: Any = fresh.engine.model
    if (config := adapter(settings, fresh)) is not None:
        from peft import get_peft_model

        model = get_peft_model(model, config)
    found = model.load_state_dict(state, strict=False)
    lacking = [name for name in found.missing_keys if not name.endswith("lm_head.weight")]  # may be tied
    if found.unexpected_keys or lacking:
        raise JobError(
            f"The trained parts do not make the model: {len(lacking)} tensors are missing and "
            f"{len(found.unexpected_keys)} are unknown; the run's last checkpoint is whole."
        )
    return fresh, model.eval()
