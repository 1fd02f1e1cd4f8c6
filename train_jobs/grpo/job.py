"""Reinforcement learning (GRPO) as a job: a snapshot, a base and a recipe in, a checkpoint in the registry out.

First the samples are found that the policy gets wrong (`hard_rows`), then it is trained on them by trl's GRPOTrainer
(`trainer`), under the recipe's reward (`train_jobs.rules.rewards`).
"""

from __future__ import annotations

import importlib.util
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import Cancelled, JobError
from core.snapshots.folder import Snapshot, Split
from train_jobs.grpo.callback import make_callback
from train_jobs.grpo.hard_rows import HardMedia, HardSet, prepare, usable
from train_jobs.grpo.open_rollout import remove_open
from train_jobs.grpo.rollouts import RolloutLine, write_rollout
from train_jobs.grpo.scoring import CompletionReader, Scored, score
from train_jobs.grpo.trainer import COLUMN, PromptBook, make_trainer, never_written
from train_jobs.recipes.grpo import GrpoSettings, check_grpo
from train_jobs.rules.augment import HardRow, balanced
from train_jobs.several.ranks import Share, share_batch, spread
from train_jobs.several.sharding import check_sharded, whole
from train_jobs.training import saving
from train_jobs.training.adapters import adapter, freeze
from train_jobs.training.base import Base
from train_jobs.training.dataset import Example, read_examples
from train_jobs.training.job import Trained, run_training, shared_arguments
from train_jobs.training.validation import first_look_f1

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext


def run(context: JobContext) -> None:
    """Mine and train. The job's function; see `train_jobs.runs.context`.

    Raises:
        JobError: the recipe or the data cannot be used, or nothing is hard enough.
        Cancelled: it was stopped; a checkpoint was saved if training had begun.
        GuardroomError: the base or the snapshot cannot be read.
    """
    settings = check_grpo(context.spec.settings, "The recipe of this job")
    check_vllm(settings)

    def mine_and_train(base: Base, snapshot: Snapshot) -> Trained:
        check_texts_alone(settings, base, snapshot)
        hard = prepare(context, settings, base, snapshot)
        check_sharded(row.sample for row in hard.rows)
        print(json.dumps(dict(hard.facts)), flush=True)
        if context.stop_agreed():
            raise Cancelled("Cancelled before the first step.")
        validation = [each for each in read_examples(snapshot, Split.VALIDATION) if _whole(base, each)]
        return train(context, settings, base, hard, validation)

    run_training(context, settings, mine_and_train)


def check_vllm(settings: GrpoSettings) -> None:
    """Say what is missing before anything is loaded.

    Raises:
        JobError: the recipe asks for vLLM, and it is not installed.
    """
    if settings.vllm != "none" and importlib.util.find_spec("vllm") is None:
        raise JobError(
            f"The recipe says vllm = {settings.vllm!r}, and vLLM is not installed here; install it (Linux with an "
            "NVIDIA GPU), or set vllm = 'none' to generate with transformers."
        )


def check_texts_alone(settings: GrpoSettings, base: Base, snapshot: Snapshot) -> None:
    """Refuse vLLM for pictures and videos before mining takes its time.

    Raises:
        JobError: the recipe asks for vLLM, and a sample that could be mined holds media.
    """
    if settings.vllm == "none":
        return
    shown = sum(bool(each.sample.media) for each in usable(settings, base, read_examples(snapshot, Split.TRAIN)))
    if shown:
        raise JobError(
            f"vLLM generates for texts alone here, and {shown:,} of the training samples hold pictures or videos; set "
            "vllm = 'none', or freeze a snapshot of texts."
        )


def _whole(base: Base, example: Example) -> bool:
    """Whether the first look reads it in one prompt."""
    shapes = [saving.shape_of(ref, base.engine.encoder.preprocessing) for ref in example.sample.media]
    info = base.folder.info
    return base.engine.encoder.count(example.sample, shapes) <= info.context_tokens - info.max_new_tokens


# -- training -------------------------------------------------------------------------------------------------------


def rollout_order(rows: Sequence[HardRow], settings: GrpoSettings) -> list[HardRow]:
    """Every row of every rollout in the order of the training, so that a resumed run sees what it would have seen.

    Each epoch is shuffled by itself; the last rollout is filled up from the epoch after. With `balance` an epoch holds
    rows of the rarer label several times, and there are as many rollouts as without it.
    """
    wanted = settings.rollouts(len(rows)) * settings.prompts
    order: list[HardRow] = []
    epoch = 0
    while len(order) < wanted:
        rng = random.Random(f"rollouts {settings.seed} {epoch}")
        some = balanced(rows, rng) if settings.balance else list(rows)
        rng.shuffle(some)
        order += some
        epoch += 1
    return order[:wanted]


def shared(settings: GrpoSettings, processes: int) -> tuple[Share, int]:
    """What each of several processes computes of an update, and how many prompts of a rollout it has.

    Raises:
        JobError: they cannot be shared equally.
    """
    share = share_batch(settings.completions // settings.updates, settings.at_once, processes)
    prompts, rest = divmod(settings.prompts, processes)
    if rest:
        raise JobError(
            f"A rollout of {settings.prompts} prompts cannot be shared by {processes} processes: the completions of a "
            "prompt stay together. Change prompts in a clone of this run, or the number of processes in the accelerate "
            "file."
        )
    return share, prompts


def train(
    context: JobContext, settings: GrpoSettings, base: Base, hard: HardSet, validation: Sequence[Example]
) -> Trained:
    """Train with trl's GRPOTrainer, from the last complete checkpoint where there is one.

    Raises:
        Cancelled: it was stopped; a checkpoint was saved first.
        JobError: several processes cannot share a rollout.
    """
    from datasets import Dataset

    share, groups = shared(settings, context.processes)
    order = rollout_order(hard.rows, settings)
    steps = settings.steps(len(hard.rows))
    engine = base.engine
    end_ids = frozenset(engine.model.generation_config.eos_token_id)
    reader = CompletionReader(base.prompts, end_ids)

    def judge(rows: Sequence[HardRow], completions: Sequence[Sequence[int]]) -> list[Scored]:
        return score(
            reader,
            rows,
            completions,
            settings.reward.rule(),
            limit=settings.longest_completion,
            group=settings.generations,
            mask_wrong=settings.mask_wrong_groups,
        )

    def keep(step: int, scored: Sequence[Scored], advantages: Sequence[float]) -> None:
        callback.rollout(scored)
        write_rollout(
            context.run,
            step,
            [
                _line(step, context.process * groups + at // settings.generations, each, advantage)
                for at, (each, advantage) in enumerate(zip(scored, advantages, strict=True))
            ],
            context.process,
        )

    before = _validated(context, base, validation)
    engine.model.train()
    freeze(engine.model, settings)
    callback = make_callback(context, settings, steps)
    started = time.monotonic()
    trainer = make_trainer(
        book=PromptBook(base.prompts, HardMedia(context.run, base)),
        model_type=base.folder.model_type,
        at_once=settings.generate_at_once,
        judge=judge,
        keep=keep,
        stop_asked=context.stop_agreed,
        seed=(settings.seed, context.process * settings.completions // context.processes),
        model=engine.model,
        args=trainer_arguments(context, settings, share, base, steps),
        train_dataset=Dataset.from_dict({COLUMN: [row.to_json() for row in order]}),
        processing_class=engine.tokenizer,
        peft_config=adapter(settings, base),
        callbacks=[callback],
    )
    callback.trainer = trainer
    resume = context.resume_from()
    try:
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    except Cancelled:
        callback.stopping = True
        if trainer.state.global_step > callback.saved_at:
            trainer.save_now()
    done = trainer.state.global_step
    if callback.stopping and done < steps:
        raise Cancelled(f"Cancelled after step {done} of {steps}; resuming goes on from there.")
    remove_open(context.run, context.process)
    trainer.model.eval()
    figures = {
        "steps": done,
        "rows": len(hard.rows),
        "train_seconds": round(time.monotonic() - started, 1),
        "validation_f1_before": before,
        "validation_f1": _validated(context, base, validation),
        **{name: callback.last.get(name) for name in REPORTED},
        **{f"first_{name}": value for name, value in callback.first.items()},
    }
    return Trained(*whole(context, trainer, base, settings), steps, figures, validation, hard.facts)


REPORTED = (
    "reward", "accuracy", "unreadable_share", "completion_tokens", "entropy", "completions_per_s", "device_memory_bytes"
)  # fmt: skip
"""Of the metrics: those whose last value the report holds."""


def _validated(context: JobContext, base: Base, validation: Sequence[Example]) -> float | None:
    """F1 of the first look on the validation split; none without one."""
    if not validation:
        return None
    return first_look_f1(validation, spread(context, [each.sample for each in validation], base.first_looks))


def _line(step: int, group: int, scored: Scored, advantage: float) -> RolloutLine:
    row, parsed = scored.row, scored.parsed
    return RolloutLine(
        step=step,
        group=group,
        sample_id=row.sample.id,
        made_of=row.made_of,
        gold=(row.request.value, row.response.value),
        said=None if parsed.said is None else (parsed.said[0].value, parsed.said[1].value),
        error=parsed.error,
        text=parsed.text,
        tokens=parsed.tokens,
        truncated=parsed.truncated,
        reward=scored.reward.total,
        terms=scored.reward.terms,
        accuracy=scored.reward.accuracy,
        advantage=advantage,
    )


def left_out(settings: GrpoSettings, tokens: Sequence[int]) -> dict[str, Any]:
    """That these tokens are never drawn, in the words of what generates: transformers, or vLLM's SamplingParams.

    vLLM knows no `suppress_tokens`; its largest penalty is a bias of -100 on the logit.
    """
    if settings.vllm == "none":
        return {"suppress_tokens": list(tokens)}
    return {"logit_bias": dict.fromkeys(tokens, -100.0)}


def trainer_arguments(context: JobContext, settings: GrpoSettings, share: Share, base: Base, steps: int) -> Any:
    """The recipe's constants in trl's words. Our rows are in their order for all epochs already: one pass over them."""
    import trl

    window = settings.updates * settings.passes
    server: Mapping[str, Any] = {"vllm_server_base_url": settings.vllm_address} if settings.vllm == "server" else {}
    return trl.GRPOConfig(  # type: ignore[attr-defined, unused-ignore]
        **shared_arguments(context, settings, steps, at_once=share.at_once, accumulation=share.accumulation),
        max_steps=steps,
        generation_batch_size=settings.completions,
        num_generations=settings.generations,
        num_iterations=settings.passes,
        shuffle_dataset=False,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=0,
        max_completion_length=settings.longest_completion,
        generation_kwargs=left_out(settings, never_written(base.prompts)) if base.prompts.vision else None,
        use_vllm=settings.vllm != "none",
        vllm_mode="server" if settings.vllm == "server" else "colocate",
        **server,
        loss_type=settings.loss,
        scale_rewards=settings.scale_rewards,
        beta=settings.kl,
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        mask_truncated_completions=settings.mask_truncated,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        ddp_find_unused_parameters=base.prompts.vision is not None and not settings.freeze_vision,
        logging_steps=1,
        eval_strategy="no",
        save_steps=window * settings.rollouts_a_checkpoint,
        dataloader_pin_memory=False,
    )
