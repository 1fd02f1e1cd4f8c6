"""From trl's GRPO loop to the run folder: figures, the clip range, complete checkpoints, and the wish to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_jobs.grpo.open_rollout import keep_open, read_open, remove_open
from train_jobs.grpo.scoring import Scored, figures
from train_jobs.recipes.grpo import GrpoSettings
from train_jobs.rules.clipping import clip_bound
from train_jobs.runs.specs import TRAINING
from train_jobs.training.callbacks import device_memory, stops

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext

LOGGED: Mapping[str, str] = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "kl": "kl",
    "clip_ratio/region_mean": "clipped_share",
    "clip_ratio/low_mean": "clipped_low_share",
    "clip_ratio/high_mean": "clipped_high_share",
}
"""trl's names, and ours."""


def make_callback(context: JobContext, settings: GrpoSettings, steps: int) -> Any:
    """A callback for a trainer of so many updates; its `trainer` must be set before the training begins."""
    from transformers import TrainerCallback

    class GrpoCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Speaks to the job's context."""

        trainer: Any = None

        def __init__(self) -> None:
            self.first: dict[str, Any] = {}
            self.last: dict[str, Any] = {}
            self.saved_at = 0
            self.stopping = False
            """A stop was asked for, in this process or another, and a checkpoint is saved for it."""
            self._rollout: dict[str, Any] = {}
            self._begun = 0.0
            self._resumed_inside = False
            """The open rollout was begun by an earlier attempt, so its time is not known."""

        def rollout(self, scored: Sequence[Scored]) -> None:
            """Told every rollout as soon as it is scored; its figures go with those of the next update."""
            every = context.gather(figures(scored, settings.generations))  # of equally many completions each
            self._rollout = {name: sum(each[name] for each in every) / len(every) for name in every[0]}
            if not self.first:
                self.first = {
                    name: self._rollout[name] for name in ("accuracy", "unreadable_share", "completion_tokens")
                }

        def _reopen(self, step: int) -> None:
            """Go on with the rollout that the checkpoint was saved in, where every process still has its part."""
            rollout = read_open(context.run, step, context.process, self.trainer.accelerator.device)
            self._resumed_inside = step % (settings.updates * settings.passes) > 0
            if all(context.gather(rollout is not None)):
                self.trainer.reopen(rollout)
            remove_open(context.run, context.process, keep=step)

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """The clock, and where a resumed training stands inside its rollout."""
            self.saved_at = state.global_step
            # trl counts from 0 after a resume, and would pair the rollouts with other prompts.
            self.trainer._step = state.global_step * args.gradient_accumulation_steps
            self._reopen(state.global_step)
            self._begun = time.monotonic()
            context.progress(state.global_step, steps, TRAINING)

        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """Close the clip range (GuardReasoner-VL)."""
            if settings.dynamic_clipping:
                bound = clip_bound(min(state.global_step + 1, steps), steps, settings.clip_low)
                self.trainer.epsilon_low = self.trainer.epsilon_high = bound

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """A stop saves first."""
            context.progress(state.global_step, steps, TRAINING)
            if stops(context, control):
                self.stopping = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
            """Figures of an update, and of the rollout before it where there was one."""
            if not logs or "loss" not in logs:
                return
            row = {ours: logs[theirs] for theirs, ours in LOGGED.items() if logs.get(theirs) is not None}
            row |= {
                "step": state.global_step,
                "clip_low": self.trainer.epsilon_low,
                "clip_high": self.trainer.epsilon_high,
                "device_memory_bytes": device_memory(context.device),
                **self._rollout,
            }
            if state.global_step % (settings.updates * settings.passes) == 0:
                now = time.monotonic()
                if not self._resumed_inside:
                    row["completions_per_s"] = round(settings.completions / max(1e-9, now - self._begun), 3)
                self._begun, self._resumed_inside = now, False
            self._rollout = {}
            self.last |= row
            context.metric(row)

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """A checkpoint can be resumed from once its marker is there, and what is left of the rollout before it."""
            self.saved_at = state.global_step
            if (rollout := self.trainer.open_rollout()) is not None:
                keep_open(context.run, state.global_step, context.process, rollout)
            context.checkpoint_saved(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)

    return GrpoCallback()
