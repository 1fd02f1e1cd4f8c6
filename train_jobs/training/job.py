"""What every training does around its loop: the base is loaded before it, and what came of it is kept after it.

The checkpoint goes to the registry, the figures to the report, and the rest goes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoints.registry import Registry
from core.snapshots.folder import Snapshot
from train_jobs.training.base import Base, computes_in, load_base
from train_jobs.training.dataset import Example, open_snapshot
from train_jobs.training.saving import save_checkpoint

if TYPE_CHECKING:
    from train_jobs.recipes.grpo import GrpoSettings
    from train_jobs.recipes.sft import SftSettings
    from train_jobs.runs.context import JobContext


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a training."""

    base: Base
    """As it is now: its engine speaks with the trained weights."""
    model: Any
    """The best of the validated models where there was a choice, else the last; adapters still apart."""
    steps: int
    figures: Mapping[str, Any]
    """For the checkpoint's card and the report."""
    validation: Sequence[Example]
    """What the calibration is fitted on."""
    facts: Mapping[str, Any]
    """What was trained on, in counts."""
    looks_trained: bool = True
    """Whether first looks were in the mix."""


def run_training(
    context: JobContext, settings: SftSettings | GrpoSettings, train: Callable[[Base, Snapshot], Trained]
) -> None:
    """Load the base, train, save the checkpoint and register it. Of several processes the first alone saves.

    Raises:
        JobError, Cancelled: as `train`.
        GuardroomError: the base or the snapshot cannot be read, or the checkpoint cannot be registered.
        OSError: the disk refused.
    """
    began = time.monotonic()
    snapshot = open_snapshot(context.spec.snapshot)
    context.progress(0, 1, "loading the base")
    base = load_base(
        context.spec.base, context.device, settings, snapshot, lambda done, words: print(words, flush=True)
    )
    try:
        trained = train(base, snapshot)
        if context.process:
            return
        context.progress(trained.steps, trained.steps, "saving the checkpoint")
        folder = context.run.result / "checkpoint"
        calibrated = save_checkpoint(
            folder, trained.base, trained.model, trained.validation, looks_trained=trained.looks_trained
        )
    finally:
        base.close()
    figures = {**trained.figures, **calibrated}
    _register(context, snapshot, folder, seconds=time.monotonic() - began, figures=figures, data=trained.facts)


def shared_arguments(
    context: JobContext, settings: SftSettings | GrpoSettings, steps: int, *, at_once: int, accumulation: int
) -> dict[str, Any]:
    """What the recipes of both kinds say, in the words of transformers' TrainingArguments.

    Args:
        steps: updates of the whole training.
        at_once: sequences that one process computes at once.
        accumulation: forward passes of one update in one process.
    """
    return {
        "output_dir": str(context.run.checkpoints),
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "lr_scheduler_type": settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": min(math.ceil(settings.warm_up * steps), steps - 1),  # one update alone must teach something
        "max_grad_norm": settings.clip_norm,
        "optim": "adamw_torch",
        "bf16": computes_in(settings.precision, context.device) == "bfloat16",
        "use_cpu": context.device == "cpu",
        "logging_strategy": "steps",
        "save_strategy": "steps",
        "save_total_limit": 2,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": settings.seed,
        "data_seed": settings.seed,
    }


def _register(
    context: JobContext,
    snapshot: Snapshot,
    folder: Path,
    *,
    seconds: float,
    figures: Mapping[str, Any],
    data: Mapping[str, Any],
) -> None:
    """Register the checkpoint folder, write the report, and remove what was only needed to resume."""
    registry = Registry(context.run.path.parent.parent)
    card = registry.add(
        folder,
        name=context.spec.name,
        base=registry.base_of(context.spec.base),
        run=context.run.id,
        snapshot=snapshot.manifest.digest,
        recipe=context.spec.recipe,
        author=context.spec.author,
        figures=figures,
        keep=False,
    )
    context.run.write_report(
        {
            "kind": context.spec.kind.value,
            "checkpoint": card.id,
            "snapshot": snapshot.manifest.digest,
            "base": card.base,
            "recipe": context.spec.recipe,
            "seconds": round(seconds, 1),
            "figures": dict(figures),
            "data": dict(data),
        }
    )
    # Optimiser states are three times the weights.
    for saved in context.run.complete_checkpoints():
        context.run.remove_checkpoint(saved.path)
