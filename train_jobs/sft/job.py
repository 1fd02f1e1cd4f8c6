"""Supervised fine-tuning as a job: a snapshot, a base and a recipe in, a checkpoint in the registry out.

`python -m train_jobs.launch --help` launches one by hand.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import Cancelled
from train_jobs.recipes.sft import SftSettings, check_settings
from train_jobs.several.ranks import Share, filled_up, share_batch, spread
from train_jobs.several.sharding import check_sharded, whole
from train_jobs.sft.prepared import PREPARED, Prepared, prepare
from train_jobs.training import saving
from train_jobs.training.adapters import adapter, freeze
from train_jobs.training.base import Base, computes_in, load_base
from train_jobs.training.collator import COLUMN, RowCollator
from train_jobs.training.dataset import labelled_sides, open_snapshot, training_order
from train_jobs.training.finishing import finish
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
    began = time.monotonic()
    settings = check_settings(context.spec.settings, "The recipe of this job")
    snapshot = open_snapshot(context.spec.snapshot)
    context.progress(0, 1, "loading the base")
    base = load_base(
        context.spec.base, context.device, settings, snapshot, lambda done, words: print(words, flush=True)
    )
    try:
        prepared = prepare(context, settings, base, snapshot)
        check_sharded(each.sample for each in prepared.examples)
        if context.stop_agreed():
            raise Cancelled("Cancelled before the first step.")
        print(json.dumps(dict(prepared.facts)), flush=True)
        trained = train(context, settings, base, prepared)
        if context.process:
            return
        context.progress(trained.steps, trained.steps, "saving the checkpoint")
        folder = context.run.result / "checkpoint"
        looks = settings.first_look_share > 0
        facts = saving.save_checkpoint(folder, trained.base, trained.model, prepared.validation, looks_trained=looks)
    finally:
        base.close()
    figures = trained.figures | facts
    finish(context, snapshot, folder, seconds=time.monotonic() - began, figures=figures, data=prepared.facts)
    (context.run.rollouts / PREPARED).unlink(missing_ok=True)  # texts are people's


# -- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a training."""

    base: Base
    """As it is now: its engine speaks with the trained weights."""
    model: Any
    """The best of the validated models where there was a choice, else the last; adapters still apart."""
    steps: int
    figures: dict[str, Any]


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
    return Trained(*whole(context, trainer, base, settings), steps, figures)


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

    computed = computes_in(settings.precision, context.device)
    return SFTConfig(
        output_dir=str(context.run.checkpoints),
        num_train_epochs=1,
        per_device_train_batch_size=share.at_once,
        gradient_accumulation_steps=share.accumulation,
        ddp_find_unused_parameters=False,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=min(math.ceil(settings.warm_up * steps), steps - 1),  # one update alone must teach something
        max_grad_norm=settings.clip_norm,
        optim="adamw_torch",
        bf16=computed == "bfloat16",
        use_cpu=context.device == "cpu",
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        train_sampling_strategy="sequential",
        logging_strategy="steps",
        logging_steps=1 if steps <= 2000 else 10,
        eval_strategy="steps" if checked else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=choosing,
        metric_for_best_model="choice" if choosing else None,
        greater_is_better=True if choosing else None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        dataloader_num_workers=0,
        dataloader_pin_memory=context.device == "cuda",
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
    )
