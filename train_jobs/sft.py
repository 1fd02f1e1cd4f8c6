"""Supervised fine-tuning as a job: a snapshot, a base and a recipe in, a checkpoint in the registry out.

`python -m train_jobs.launch --help` launches one by hand.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Cancelled, JobError
from core.json_lines import json_line
from core.registry import Registry
from core.snapshot import Snapshot, Split
from train_jobs import replay, saving, synthesise, teachers
from train_jobs.base import Base, computes_in, load_base
from train_jobs.collator import COLUMN, LineEncoder, RowCollator
from train_jobs.dataset import (
    Example,
    count_labels,
    count_sources,
    labelled_sides,
    open_snapshot,
    read_examples,
    rows_of,
    training_order,
)
from train_jobs.recipes import SftSettings, check_settings
from train_jobs.rows import TrainRow
from train_jobs.validation import LEAST_SIDES, first_look_f1

if TYPE_CHECKING:
    from train_jobs.context import JobContext

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
TEXT_LORA_TARGETS = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""For models that are a language model and nothing else."""
PREPARED = "prepared.json"
"""Among the rollouts: the rows that were prepared, so that a resumed run trains on the same."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run trains on."""

    examples: tuple[Example, ...]
    validation: tuple[Example, ...]
    replayed: tuple[TrainRow, ...]
    facts: Mapping[str, Any]
    """Counts for the report: sources of the reasoning, labels, what was left out, what the teacher did."""


def run(context: JobContext) -> None:
    """Train. The job's function; see `train_jobs.context`.

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
        context.check_stop("Cancelled before the first step.")
        _say(prepared.facts)
        trained = train(context, settings, base, prepared)
        context.progress(trained.steps, trained.steps, "saving the checkpoint")
        folder = context.run.result / "checkpoint"
        looks = settings.first_look_share > 0
        facts = saving.save_checkpoint(folder, base, trained.model, prepared.validation, looks_trained=looks)
    finally:
        base.close()
    registry = Registry(context.run.path.parent.parent)
    figures = trained.figures | facts
    card = registry.add(
        folder,
        name=context.spec.name,
        base=registry.id_of(context.spec.base),
        run=context.run.id,
        snapshot=snapshot.manifest.digest,
        recipe=context.spec.recipe,
        author=context.spec.author,
        figures=figures,
        keep=False,
    )
    context.run.write_report(
        {
            "kind": "sft",
            "checkpoint": card.id,
            "snapshot": snapshot.manifest.digest,
            "base": card.base,
            "recipe": context.spec.recipe,
            "seconds": round(time.monotonic() - began, 1),
            "figures": figures,
            "data": dict(prepared.facts),
        }
    )
    _leave_only_the_result(context)


def _leave_only_the_result(context: JobContext) -> None:
    """What was only needed to resume goes: optimiser states are three times the weights, and texts are people's."""
    (context.run.rollouts / PREPARED).unlink(missing_ok=True)
    for saved in context.run.complete_checkpoints():
        context.run.remove_checkpoint(saved.path)


# -- data -----------------------------------------------------------------------------------------------------------


def prepare(context: JobContext, settings: SftSettings, base: Base, snapshot: Snapshot) -> Prepared:
    """Read the snapshot, fill in reasoning, and draw the replayed rows; once for a run, however often it is resumed.

    Raises:
        JobError: nothing is left to train on.
    """
    kept = context.run.rollouts / PREPARED
    validation = read_examples(snapshot, Split.VALIDATION)
    examples = read_examples(snapshot, Split.TRAIN)
    encoder = base.lines(settings)
    examples, too_long = _fitting(examples, encoder, base)
    validation, _ = _fitting(validation, encoder, base)
    if not examples:
        raise JobError(
            f"The snapshot {snapshot.manifest.name!r} has no labelled training sample that fits into "
            f"{encoder.longest:,} tokens ({too_long} are longer); label more, or take a recipe for longer sequences."
        )
    if (saved := _read_prepared(kept, snapshot, settings, examples)) is not None:
        examples, replayed, facts = saved
    else:
        examples, replayed, facts = _make(context, settings, base, examples)
        facts |= {"left_out_too_long": too_long}
        _write_prepared(kept, snapshot, settings, examples, replayed, facts)
    facts |= {"validation": len(validation), "validation_sides": labelled_sides(validation)}
    return Prepared(tuple(examples), tuple(validation), tuple(replayed), facts)


def _make(
    context: JobContext, settings: SftSettings, base: Base, examples: list[Example]
) -> tuple[list[Example], list[TrainRow], dict[str, Any]]:
    def telling(words: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            context.check_stop("Cancelled before the first step.")
            context.progress(done, total, words)

        return tell

    replayed: list[TrainRow] = []
    wanted = round(settings.replay * 2 * len(examples))
    if wanted:
        texts = replay.replay_texts(base, wanted, settings.seed, telling("writing texts for replay"))
        replayed = replay.replay_rows(base, texts, settings.replay_reasoned, telling("answering the texts for replay"))
    examples = synthesise.agrees(base.score, examples)
    tell_teacher = telling("writing missing reasoning")

    def told(tally: synthesise.Tally) -> None:
        done = tally.kept + sum(tally.refused.values())
        context.metric({"teacher": tally.to_json()})
        tell_teacher(done, tally.asked)

    examples, tally = teachers.fill_in(context, settings, base, examples, replayed, told)
    fitting = []
    encoder = base.lines(settings)
    for each in examples:  # reasoning may have made a row too long; the first look still fits
        long = any(encoder.length(row, _shapes(row, base)) > encoder.longest for row in rows_of(each))
        fitting.append(each.with_steps((), each.source) if long else each)
    facts = {
        "examples": len(fitting),
        "labels": dict(count_labels(fitting)),
        "reasoning": count_sources(fitting),
        "teacher": tally.to_json(),
        "replayed": len(replayed),
    }
    return fitting, replayed, facts


def _fitting(examples: Sequence[Example], encoder: LineEncoder, base: Base) -> tuple[list[Example], int]:
    """Those whose first look fits into one sequence, and how many do not."""
    fits = [
        example
        for example in examples
        if all(encoder.length(row, _shapes(row, base)) <= encoder.longest for row in rows_of(example, reasoned=False))
    ]
    return fits, len(examples) - len(fits)


def _shapes(row: TrainRow, base: Base) -> list[Any]:
    return [saving.shape_of(ref, base.prompts.preprocessing) for ref in row.sample.media]


def _write_prepared(
    path: Path,
    snapshot: Snapshot,
    settings: SftSettings,
    examples: Sequence[Example],
    replayed: Sequence[TrainRow],
    facts: Mapping[str, Any],
) -> None:
    told = {
        "for": [snapshot.manifest.digest, settings.model_dump(mode="json")],
        "reasoning": {each.sample.id: [each.source.value, list(each.assessment.reasoning)] for each in examples},
        "replayed": [row.to_json() for row in replayed],
        "facts": dict(facts),
    }
    part = path.with_suffix(".part")
    part.write_bytes(json_line(told))
    os.replace(part, path)


def _read_prepared(
    path: Path, snapshot: Snapshot, settings: SftSettings, examples: Sequence[Example]
) -> tuple[list[Example], list[TrainRow], dict[str, Any]] | None:
    """What an earlier attempt prepared; none where there is nothing, or it was for other data."""
    try:
        told = json.loads(path.read_bytes())
        if told["for"] != [snapshot.manifest.digest, settings.model_dump(mode="json")]:
            return None
        steps = told["reasoning"]
        again = [
            each.with_steps(steps[each.sample.id][1], type(each.source)(steps[each.sample.id][0])) for each in examples
        ]
        return again, [TrainRow.from_json(row) for row in told["replayed"]], dict(told["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# -- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trained:
    """The end of a training."""

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

    from train_jobs.callbacks import make_callback
    from train_jobs.trainer import make_trainer

    order = training_order(
        prepared.examples,
        prepared.replayed,
        epochs=settings.epochs,
        batch=settings.at_once,
        first_look_share=settings.first_look_share,
        seed=settings.seed,
    )
    steps = math.ceil(len(order) / settings.batch)
    every = max(1, round(steps / (settings.epochs * settings.checks_an_epoch)))
    choosing = labelled_sides(prepared.validation) >= LEAST_SIDES
    seen: dict[str, float] = {}

    def validate() -> Mapping[str, float]:
        if not prepared.validation:
            return {}
        looks = base.first_looks([each.sample for each in prepared.validation])
        seen["validation_f1"] = first_look_f1(prepared.validation, looks)
        return dict(seen)

    before = validate().get("validation_f1")
    base.engine.model.train()
    _freeze(base.engine.model, settings)
    started = time.monotonic()
    callback = make_callback(context, steps, lambda: seen.get("validation_f1"))
    trainer = make_trainer(
        labels=base.label_ids,
        validate=validate,
        model=base.engine.model,
        args=trainer_arguments(context, settings, steps, every, choosing),
        data_collator=RowCollator(base.lines(settings), base.pad_id, base.folder.model_type),
        train_dataset=Dataset.from_dict({COLUMN: [row.to_json() for row in order]}),
        eval_dataset=Dataset.from_dict({COLUMN: [""]}) if prepared.validation else None,
        processing_class=base.engine.tokenizer,
        peft_config=_adapter(settings, base) if settings.tuning == "lora" else None,
        callbacks=[callback],
    )
    if before is not None and context.resume_from() is None:
        context.metric({"step": 0, "validation_f1": before})
    resume = context.resume_from()
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    if context.stop_asked() and trainer.state.global_step < steps:
        raise Cancelled(f"Cancelled after step {trainer.state.global_step} of {steps}; resuming goes on from there.")
    figures = {
        "validation_f1": round(trainer.state.best_metric, 5) if choosing else seen.get("validation_f1"),
        "validation_f1_before": before,
        "chosen_by_validation": choosing,
        "steps": trainer.state.global_step,
        "rows": len(order),
        "train_seconds": round(time.monotonic() - started, 1),
        "loss": callback.last.get("loss"),
        "tokens_per_s": round(callback.tokens / callback.seconds, 1) if callback.seconds else None,
        "device_memory_bytes": callback.last.get("device_memory_bytes"),
    }
    trainer.model.eval()
    return Trained(trainer.model, steps, figures)


def trainer_arguments(context: JobContext, settings: SftSettings, steps: int, every: int, choosing: bool) -> Any:
    """The recipe's constants in trl's words. Our rows are in their order for all epochs already: one pass over them."""
    from trl.trainer.sft_config import SFTConfig

    computed = computes_in(settings.precision, context.device)
    checked = "steps" if context.spec.snapshot else "no"
    return SFTConfig(
        output_dir=str(context.run.checkpoints),
        num_train_epochs=1,
        per_device_train_batch_size=settings.at_once,
        gradient_accumulation_steps=settings.batch // settings.at_once,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=math.ceil(settings.warm_up * steps),
        max_grad_norm=settings.clip_norm,
        optim="adamw_torch",
        bf16=computed == "bfloat16",
        use_cpu=context.device == "cpu",
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        train_sampling_strategy="sequential",
        logging_strategy="steps",
        logging_steps=1 if steps <= 2000 else 10,
        eval_strategy=checked,
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


def _freeze(model: Any, settings: SftSettings) -> None:
    """Leave the vision tower and its projector as they are, where the recipe says so."""
    tower = getattr(model.model, "visual", None)
    if tower is not None and settings.freeze_vision:
        for parameter in tower.parameters():
            parameter.requires_grad_(False)


def _adapter(settings: SftSettings, base: Base) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=TEXT_LORA_TARGETS if base.prompts.vision is None else LORA_TARGETS,
        task_type="CAUSAL_LM",
    )


def _say(facts: Mapping[str, Any]) -> None:
    print(json.dumps(facts), flush=True)
