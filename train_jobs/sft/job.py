"""Supervised fine-tuning as a job: a snapshot, a base and a recipe in, a checkpoint in the registry out.

`python -m train_jobs.launch --help` launches one by hand.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import Cancelled
from core.snapshots.folder import Snapshot
from train_jobs.recipes.sft import SftSettings, check_settings
from train_jobs.several.ranks import Share, filled_up, share_batch, spread
from train_jobs.several.sharding import check_sharded, whole
from train_jobs.sft.prepared import PREPARED, Prepared, prepare
from train_jobs.training.adapters import adapter, freeze
from train_jobs.training.base import Base
from train_jobs.training.collator import COLUMN, RowCollator
from train_jobs.training.dataset import labelled_sides, training_order
from train_jobs.training.job import Trained, run_training, shared_arguments
from train_jobs.training.validation import LEAST_SIDES, first_look_f1

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext


def run(context: JobContext) -> None:
    """Train. The job's function; see `train_jobs.runs.context`.

    Raises:
        JobError: the recipe or the data cannot be used.
        Cancelled: it was stopped; a checkpoint was saved if training had begun.
        GuardroomError: the base or the snapshot cannot be read.
    """
    settings = check_settings(context.spec.settings, "The recipe of this job")

    def prepare_and_train(base: Base, snapshot: Snapshot) -> Trained:
        prepared = prepare(context, settings, base, snapshot)
        check_sharded(each.sample for each in prepared.examples)
        if context.stop_agreed():
            raise Cancelled("Cancelled before the first step.")
        print(json.dumps(dict(prepared.facts)), flush=True)
        return train(context, settings, base, prepared)

    run_training(context, settings, prepare_and_train)
    if not context.process:
        (context.run.rollouts / PREPARED).unlink(missing_ok=True)  # texts are people's


def train(context: JobContext, settings: SftSettings, base: Base, prepared: Prepared) -> Trained:
    """Train with trl's SFTTrainer, from the last complete checkpoint where there is one.

    Raises:
        Cancelled: it was stopped; a checkpoint was saved first.
    """
    from datasets import Dataset

    from train_jobs.sft.trainer import make_trainer
    from train_jobs.training.callbacks import make_callback

    share = share_batch(settings.batch, settings.at_once, context.processes)
    order = training_order(
        prepared.examples,
        prepared.replayed,
        epochs=settings.epochs,
        batch=settings.at_once,
        first_look_share=settings.first_look_share,
        seed=settings.seed,
    )
    rows, steps = len(order), math.ceil(len(order) / settings.batch)
    if context.processes > 1:
        order = filled_up(order, settings.batch)
    every = max(1, round(steps / (settings.epochs * settings.checks_an_epoch)))
    choosing = labelled_sides(prepared.validation) >= LEAST_SIDES
    seen: dict[str, float] = {}

    def validate() -> Mapping[str, float]:
        if not prepared.validation:
            return {}
        looks = spread(context, [each.sample for each in prepared.validation], base.first_looks)
        seen["validation_f1"] = first_look_f1(prepared.validation, looks)
        return dict(seen)

    before = validate().get("validation_f1")
    base.engine.model.train()
    freeze(base.engine.model, settings)
    started = time.monotonic()
    callback = make_callback(context, steps, lambda: seen.get("validation_f1"))
    trainer = make_trainer(
        labels=base.label_ids,
        validate=validate,
        model=base.engine.model,
        args=trainer_arguments(context, settings, share, steps, every, choosing, checked=bool(prepared.validation)),
        data_collator=RowCollator(base.lines(settings), base.pad_id, base.folder.model_type),
        train_dataset=Dataset.from_dict({COLUMN: [row.to_json() for row in order]}),
        eval_dataset=Dataset.from_dict({COLUMN: [""]}) if prepared.validation else None,
        processing_class=base.engine.tokenizer,
        peft_config=adapter(settings, base),
        callbacks=[callback],
    )
    if before is not None and context.resume_from() is None:
        context.metric({"step": 0, "validation_f1": before})
    resume = context.resume_from()
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    if callback.stopping and trainer.state.global_step < steps:
        raise Cancelled(f"Cancelled after step {trainer.state.global_step} of {steps}; resuming goes on from there.")
    figures = {
        "validation_f1": round(trainer.state.best_metric, 5) if choosing else seen.get("validation_f1"),
        "validation_f1_before": before,
        "chosen_by_validation": choosing,
        "steps": trainer.state.global_step,
        "rows": rows,
        "train_seconds": round(time.monotonic() - started, 1),
        "loss": callback.last.get("loss"),
        "tokens_per_s": round(callback.tokens / callback.seconds, 1) if callback.seconds else None,
        "device_memory_bytes": callback.last.get("device_memory_bytes"),
    }
    trainer.model.eval()
    return Trained(
        *whole(context, trainer, base, settings), steps, figures, prepared.validation, prepared.facts,
        looks_trained=settings.first_look_share > 0,
    )  # fmt: skip


def trainer_arguments(
    context: JobContext,
    settings: SftSettings,
    share: Share,
    steps: int,
    every: int,
    choosing: bool,
    *,
    checked: bool = True,
) -> Any:
    """The recipe's constants in trl's words. Our rows are in their order for all epochs already: one pass over them.

    Args:
        every: updates between two checkpoints, and between two validations.
        choosing: keep the checkpoint of the best validation.
        checked: whether there is anything to validate on.
    """
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        **shared_arguments(context, settings, steps, at_once=share.at_once, accumulation=share.accumulation),
        num_train_epochs=1,
        ddp_find_unused_parameters=False,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        train_sampling_strategy="sequential",
        logging_steps=1 if steps <= 2000 else 10,
        eval_strategy="steps" if checked else "no",
        eval_steps=every,
        save_steps=every,
        load_best_model_at_end=choosing,
        metric_for_best_model="choice" if choosing else None,
        greater_is_better=True if choosing else None,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        dataloader_pin_memory=context.device == "cuda",
    )
