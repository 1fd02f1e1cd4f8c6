"""Several processes that train together: who writes, how they agree, and how a recipe's batch is shared.

Every process runs the job's function. The first prepares the data, and it alone writes figures, report and checkpoint;
all of them train on the same rows and stop after the same step. See `start` for how they are started.

processes/progress.json     what the first process says of its progress; the job's own process puts it into the status
processes/stop              somebody wants the job to save and end
processes/rank-N.json       how each process stands: `Outcome`
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from core.errors import JobError
from core.files import replace_file
from train_jobs.runs.context import JobContext
from train_jobs.runs.files import pretty
from train_jobs.runs.folder import RunFolder
from train_jobs.training.rows import TrainRow

Item = TypeVar("Item")
Made = TypeVar("Made")

PROGRESS_EVERY_S = 0.5
SUPERVISOR = "GUARDROOM_JOB"
"""The environment variable that names the job's own process to those of this machine: its id and start time."""


def processes_folder(run: RunFolder) -> Path:
    """Where the processes of an attempt leave word for each other."""
    return run.path / "processes"


def stop_file(run: RunFolder) -> Path:
    """It is there once somebody wants the job to save and end."""
    return processes_folder(run) / "stop"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one process stands."""

    process: int
    state: str = "running"
    """running, succeeded, cancelled or failed."""
    sentence: str = ""
    at: float = 0.0
    """When it was said, in seconds since the epoch."""
    lost_peer: bool = False
    """It failed because another process was gone."""

    def write(self, run: RunFolder) -> None:
        """For the others to read.

        Raises:
            OSError: the disk refused.
        """
        replace_file(processes_folder(run) / f"rank-{self.process}.json", pretty(asdict(self)), durable=False)


def read_outcomes(run: RunFolder) -> list[Outcome]:
    """What the processes of an attempt have said of themselves, in their order."""
    found = []
    for path in processes_folder(run).glob("rank-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Outcome(**json.loads(path.read_bytes())))
    return sorted(found, key=lambda each: each.process)


@dataclass(slots=True)
class RankContext(JobContext):
    """What the job's function is given in one of several processes."""

    _told: tuple[float, float, str] = (0.0, 0.0, "")
    _told_at: float = 0.0
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def metric(self, values: Mapping[str, Any]) -> None:
        """As `JobContext.metric`, of the first process alone."""
        if self.process == 0:
            super(RankContext, self).metric(values)

    def progress(self, done: float, total: float, words: str = "") -> None:
        """As `JobContext.progress`, of the first process alone."""
        if self.process:
            return
        with self._telling:
            same, now = self._told[1:] == (total, words), time.monotonic()
            if same and done < total and now - self._told_at < PROGRESS_EVERY_S:
                return
            self._told, self._told_at = (done, total, words), now
            said = {"done": done, "total": total, "words": words}
            replace_file(processes_folder(self.run) / "progress.json", pretty(said), durable=False)

    def checkpoint_saved(self, folder: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """As `JobContext.checkpoint_saved`, once every process has written its part."""
        self.wait_for_all()
        if self.process == 0:
            super(RankContext, self).checkpoint_saved(folder, step, facts)

    def stop_agreed(self) -> bool:
        """Whether any process was asked to end."""
        if self.processes == 1:
            return self.stop_asked()
        import torch
        from accelerate import PartialState

        asked = torch.tensor(int(self.stop_asked()), device=PartialState().device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked.item())

    def gather(self, value: Made) -> list[Made]:
        """What each process brings, in their order."""
        if self.processes == 1:
            return [value]
        import torch

        found: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(found, value)
        return found

    def wait_for_all(self) -> None:
        """Go on when every process has come here."""
        self.gather(None)


def shards_weights() -> bool:
    """Whether this process, as `accelerate launch` started it, holds a part of the weights alone."""
    zero = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    return os.environ.get("ACCELERATE_USE_FSDP") == "true" or zero == "3"


def spread(context: JobContext, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Made]]) -> list[Made]:
    """What `work` makes of items, one each, in order: every process does its share, and all have the whole.

    With a model whose weights are shared out all do all of it: they compute in step.
    """
    if shards_weights():
        return list(work(items))
    parts = context.gather(list(work(items[context.process :: context.processes])))
    return [parts[at % context.processes][at // context.processes] for at in range(len(items))]


@dataclass(frozen=True, slots=True)
class Share:
    """What one process computes of an update."""

    at_once: int
    """Sequences of one forward pass."""
    accumulation: int
    """Forward passes."""


def share_batch(batch: int, at_once: int, processes: int) -> Share:
    """Share the sequences of an update out, so that at_once x accumulation x processes is exactly the batch.

    Args:
        at_once: the recipe's sequences of one forward pass; fewer are taken where a process has fewer.

    Raises:
        JobError: it cannot be shared equally.
    """
    mine, rest = divmod(batch, processes)
    size = min(at_once, mine)
    if rest or not size or mine % size:
        raise JobError(
            f"An update of {batch} sequences cannot be shared by {processes} processes that compute {at_once} at once: "
            "the batch must be processes x micro_batch x a whole number. Change batch (for GRPO prompts, generations "
            "or updates) or micro_batch in a clone of this run, or the number of processes in the accelerate file."
        )
    return Share(size, mine // size)


def filled_up(order: Sequence[TrainRow], batch: int) -> list[TrainRow]:
    """The rows with some added that weigh nothing, up to whole batches: the processes must have equally many."""
    shortest = replace(min(order, key=lambda row: row.length), weight=0.0)
    return [*order, *[shortest] * (-len(order) % batch)]
