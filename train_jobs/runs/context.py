"""What a job's function is given, and all it needs to know about being a job.

    def run(context: JobContext) -> None:
        start = context.resume_from()                   # the last complete checkpoint of this run, or none
        for step in …:
            context.check_stop()                        # or save first: if context.stop_asked(): save; raise Cancelled
            …
            context.metric({"step": step, "loss": loss})
            context.progress(step, steps, "training")
            if time_to_save:
                trainer.save(context.run.checkpoints / f"checkpoint-{step}")
                context.checkpoint_saved(context.run.checkpoints / f"checkpoint-{step}", step)
        context.run.write_report({…})

Returning means succeeded. Raising `core.errors.Cancelled` after `stop_asked()` means cancelled, and its words are shown
(so does returning early without a report when a stop was asked for). Any other error means failed, with one sentence
made of it (`train_jobs.launching.failures`); the traceback goes to the log, with all that is printed. Nothing about
states, processes or signals is the function's business.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from core.errors import Cancelled
from train_jobs.runs.checkpoints import SavedCheckpoint
from train_jobs.runs.folder import RunFolder, utc_now
from train_jobs.runs.specs import JobSpec, JobState, JobStatus, Progress, check_transition

Made = TypeVar("Made")

AWAITED_EVERY_S = 0.2
PROGRESS_EVERY_S = 1.0
"""At most this often is progress written; what a job says in between is dropped, the last word of a stretch never."""


@dataclass(slots=True)
class JobContext:
    """One attempt of one job, in the job's own process."""

    run: RunFolder
    spec: JobSpec
    status: JobStatus
    """As it was last written. This process is the only writer while the job runs."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the job was asked to end (SIGTERM, Ctrl-C, or a request that was there before it began)."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """What must be on no disk: `engine_key`, `hf_token`. Handed over by the launcher in memory; may be empty."""
    clock: Callable[[], float] = time.time
    process: int = 0
    """Which of the processes that train together; the first alone writes. See `train_jobs.several.ranks`."""
    processes: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: bool = False

    @property
    def attempt(self) -> int:
        """1, and one more for every time the run was resumed."""
        return self.status.attempt

    @property
    def device(self) -> str:
        """Where to compute, in torch's words: `cpu`, `mps`, or `cuda` (this process sees only the job's own GPU)."""
        return self.spec.queue.partition(":")[0]

    def stop_asked(self) -> bool:
        """Whether the job shall save what it has and end."""
        return self.stop.is_set()

    def stop_agreed(self) -> bool:
        """`stop_asked`, with one answer for all processes of the job: each must ask at the same place."""
        return self.stop_asked()

    def gather(self, value: Made) -> list[Made]:
        """What each process of the job brings, in their order; each must bring something at the same place."""
        return [value]

    def await_first(self, read: Callable[[], Made | None]) -> Made:
        """Wait for what the first process makes: what `read` gives once it is not none.

        Raises:
            Cancelled: the job was asked to end.
        """
        while (found := read()) is None:
            self.check_stop("Cancelled before the first step.")
            time.sleep(AWAITED_EVERY_S)
        return found

    def check_stop(self, words: str = "Cancelled.") -> None:
        """For a place where nothing needs saving.

        Raises:
            Cancelled: the job was asked to end; `words` are shown with the run.
        """
        if self.stop.is_set():
            raise Cancelled(words)

    def metric(self, values: Mapping[str, Any]) -> None:
        """Append figures to `metrics.jsonl`, with the time (`at`, seconds since the epoch).

        Give `step` where there is one: the plots are over it, and a resumed job takes back what lies beyond its
        checkpoint.
        Numbers of torch and numpy are welcome; those that are not finite are kept as null and named.

        Raises:
            OSError: the disk is full.
        """
        self.run.append_metric({"at": round(self.clock(), 3), **values})

    def progress(self, done: float, total: float, words: str = "") -> None:
        """Tell how far the job is, in units of its own; cheap enough for every step.

        The time left is worked out from the speed since `total` last changed, so give every stretch of work (teacher,
        training, scoring) its own total, or one total over all.

        Raises:
            OSError: the disk is full.
        """
        with self._lock:
            now, old = self.clock(), self.status.progress
            new = old.next(done, total, words, now) if old else Progress(done, total, words, now, done, now)
            same = old is not None and new.first_at == old.first_at and new.first_done == old.first_done
            soon = same and old is not None and 0 <= now - old.at < PROGRESS_EVERY_S
            if self._over or (soon and done < total):
                return
            self.status = replace(self.status, progress=new)
            self.run.write_status(self.status)

    def resume_from(self) -> Path | None:
        """The folder of the last complete checkpoint of this run; none on a first attempt."""
        saved = self.last_checkpoint()
        return saved.path if saved else None

    def last_checkpoint(self) -> SavedCheckpoint | None:
        """The same with its step and what was noted beside it."""
        return self.run.last_checkpoint()

    def checkpoint_saved(self, folder: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """Call when all files of a checkpoint are written: from here on the run can be resumed from it.

        Old ones are removed with `run.remove_checkpoint`, never by hand. A trainer that rotates checkpoints by itself
        is safe too: one that lacks a file counts as incomplete.

        Raises:
            OSError: the disk is full; the checkpoint stays incomplete.
        """
        self.run.mark_complete(folder, step, facts)

    def finish(self, state: JobState, sentence: str = "") -> None:
        """The job's last word; no progress is written after it. For `train_jobs.child` alone.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            self._over = True
            check_transition(self.status.state, state)
            self.status = replace(self.status, state=state, sentence=sentence, finished_at=utc_now())
            self.run.write_status(self.status, durable=True)
