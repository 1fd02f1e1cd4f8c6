"""From trl's training loop to the run folder: figures, progress, complete checkpoints, and the wish to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_jobs.runs.specs import TRAINING

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext


def make_callback(context: JobContext, steps: int, validation: Callable[[], float | None]) -> Any:
    """A callback for a trainer of so many steps.

    Args:
        validation: the latest validation F1.
    """
    from transformers import TrainerCallback

    class JobCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Speaks to the job's context."""

        def __init__(self) -> None:
            self.last: dict[str, Any] = {}
            self.stopping = False
            """A stop was asked for, in this process or another, and a checkpoint is saved for it."""
            self.tokens = self.seconds = 0.0
            """Trained on by this attempt, validations and savings left out."""
            self._seen_tokens: float | None = None
            self._seen_at = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """The clock for the first step."""
            self._seen_at = time.monotonic()
            context.progress(state.global_step, steps, TRAINING)

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """A stop saves first."""
            context.progress(state.global_step, steps, TRAINING)
            if stops(context, control):
                self.stopping = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
            """Figures of a step."""
            if not logs or "loss" not in logs:
                return
            now, tokens = time.monotonic(), float(logs.get("num_tokens", 0.0))
            row = {
                "step": state.global_step,
                "loss": logs["loss"],
                "learning_rate": logs.get("learning_rate"),
                "gradient_norm": logs.get("grad_norm"),
                "device_memory_bytes": device_memory(context.device),
            }
            if self._seen_tokens is not None and now > self._seen_at:
                row["tokens_per_s"] = round((tokens - self._seen_tokens) / (now - self._seen_at), 1)
                self.tokens += tokens - self._seen_tokens
                self.seconds += now - self._seen_at
            self._seen_tokens, self._seen_at = tokens, now
            self.last |= row
            context.metric(row)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **given: Any) -> None:
            """Figures of a validation. The time it took is no training time."""
            if (found := validation()) is not None:
                context.metric({"step": state.global_step, "validation_f1": found})
            self._seen_at = time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            """A checkpoint can be resumed from once its marker is there."""
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            context.checkpoint_saved(folder, state.global_step, {"validation_f1": validation()})
            self._seen_at = time.monotonic()

    return JobCallback()


def stops(context: JobContext, control: Any) -> bool:
    """Whether a stop was asked for; the loop then saves and ends."""
    if not context.stop_agreed():
        return False
    control.should_save = control.should_training_stop = True
    return True


def device_memory(device: str) -> int:
    """The most memory that this process has held on the device so far, in bytes; on a CPU its largest resident size."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
