"""`python -m tests.grpo_child RUN_FOLDER`: the true child process with the true GRPO job, and a fault in it.

`spec.options`: `fault` (a name below), `at` (updates done before it strikes; first attempt only) and `small_disk`
(whether the run lies on a disk that can be filled).
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from train_jobs.child import main
from train_jobs.grpo import job as grpo
from train_jobs.grpo import trainer as grpo_trainer
from train_jobs.runs.context import JobContext
from train_jobs.runs.specs import JobKind

KINDS = {JobKind.GRPO: "tests.grpo_child.run"}
MEMORY, DISK = "out of memory in a step", "full disk at a checkpoint"


def run(context: JobContext) -> None:
    """The job, struck once."""
    fault, at = context.spec.options.get("fault"), context.spec.options.get("at")
    if fault is not None and context.attempt == 1:

        def struck(**options: Any) -> Any:
            trainer = grpo_trainer.make_trainer(**options)
            strike(context, trainer, fault, at)
            return trainer

        vars(grpo)["make_trainer"] = struck
    grpo.run(context)


def strike(context: JobContext, trainer: Any, fault: str, at: Any) -> None:
    """Let it happen once so many updates are done."""
    import torch

    name = "training_step" if fault == MEMORY else "_save_optimizer_and_scheduler"
    assert fault in (MEMORY, DISK)
    original = getattr(trainer, name)

    def instead(*args: Any, **given: Any) -> Any:
        if trainer.state.global_step >= at:
            if fault == MEMORY:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            fill_disk(context)
        return original(*args, **given)

    setattr(trainer, name, instead)


def fill_disk(context: JobContext) -> None:
    """Leave no room for an optimiser's state; where the disk cannot be filled, files may not grow."""
    if not context.spec.options.get("small_disk"):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, resource.RLIM_INFINITY))
        return
    with contextlib.suppress(OSError), (context.run.result / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(65_536))


if __name__ == "__main__":
    sys.exit(main(kinds=KINDS))
