"""Which jobs wait for which: one at a time on a device, and one in several processes on GPUs has them all."""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import JobError
from train_jobs.launching.accelerate_file import OPTION
from train_jobs.runs.folder import RunFolder

ALL_GPUS = "cuda:all"


def queue_of(run: RunFolder) -> str:
    """The device whose queue a run waits in; one of its own where the spec is damaged (its process will say so)."""
    try:
        spec = run.spec()
    except JobError:
        return f"of run {run.id}"
    on_gpus = spec.queue.startswith("cuda")
    return ALL_GPUS if on_gpus and spec.options.get(OPTION) is not None else spec.queue


def is_taken(queue: str, by: Iterable[str]) -> bool:
    """Whether a job of that queue must wait for one of the others."""
    return any(
        other == queue or (ALL_GPUS in (queue, other) and queue.startswith("cuda") and other.startswith("cuda"))
        for other in by
    )
