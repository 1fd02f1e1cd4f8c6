"""`python -m train_jobs.child RUN_FOLDER`: one job in a process of its own.

The launcher starts it with `--lock`, in a session of its own, and hands secrets over through its standard input.
Started by hand it takes the lock itself, prints to the terminal, and Ctrl-C cancels; an ended run is resumed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from core.errors import Cancelled, GuardroomError, JobError
from train_jobs import forgetting
from train_jobs.launching import failures, processes
from train_jobs.launching.accelerate_file import accelerate_of
from train_jobs.launching.secrecy import HidingStream, hide
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder, utc_now
from train_jobs.runs.locks import FileLock
from train_jobs.runs.specs import JobKind, JobSpec, JobState, requeued
from train_jobs.several.start import run_in_several

KINDS: Mapping[JobKind, str] = {
    JobKind.SFT: "train_jobs.sft.job.run",
    JobKind.EVALUATE: "train_jobs.evaluation.job.run",
    JobKind.GRPO: "train_jobs.grpo.job.run",
}
"""The function of each kind of job, by its dotted name: it takes a `JobContext`."""

EXIT_STATUS = {JobState.SUCCEEDED: 0, JobState.FAILED: 1, JobState.CANCELLED: 130}
"""For people and scripts; the status file is what counts."""

REFUSED, UNSAID = 75, 74
"""Exit status when the run is not to be started, and when the last word could not be written."""


def main(arguments: list[str] | None = None, kinds: Mapping[JobKind, str] = KINDS) -> int:
    """Run the job of a run folder. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train_jobs.child", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--lock", type=int, metavar="FD", help="the run's lock as an open file, from the launcher")
    given = parser.parse_args(arguments)
    return run_job(RunFolder(given.run.absolute()), kinds, given.lock)


def run_job(run: RunFolder, kinds: Mapping[JobKind, str], lock_fd: int | None = None) -> int:
    """One attempt, from queued to its end. The run's lock is held until this process ends. Returns the exit status."""
    stop = threading.Event()
    _listen(stop)
    launched = lock_fd is not None
    try:
        lock = run.take_lock() if lock_fd is None else FileLock.inherited(lock_fd)
        if lock is None:
            raise JobError(f"Run {run.id} is running already.")
        secrets = _secrets_from_launcher() if launched else _own_secrets()
        status = run.status()
        if not launched and status.state.can_resume:
            run.forget_cancel()
            status = requeued(status, status.ticket, utc_now())
            run.write_status(status, durable=True)
        status = run.advance(
            JobState.RUNNING, pid=os.getpid(), process_started=processes.start_time(os.getpid()), started_at=utc_now()
        )
    except JobError as error:
        print(error, file=sys.stderr)
        return REFUSED
    # After the status says "running", and before anything else: who asked earlier could not send a signal yet.
    if run.cancel_request() is not None:
        stop.set()
    faulthandler.enable()
    sys.stdout = HidingStream(sys.stdout, secrets.values())
    sys.stderr = HidingStream(sys.stderr, secrets.values())
    context: JobContext | None = None
    try:
        context = JobContext(run, run.spec(), status, stop, secrets)
    except JobError as error:
        state, sentence = JobState.FAILED, str(error)
    else:
        state, sentence = _attempt(context, kinds)
    return _last_word(run, context, state, hide(sentence, secrets.values()))


def _attempt(context: JobContext, kinds: Mapping[JobKind, str]) -> tuple[JobState, str]:
    """Run the function; its end as a state and a sentence. All that it held is free again on return."""
    stop, run = context.stop, context.run
    try:
        context.check_stop("Cancelled before it began.")
        run.tidy()
        if context.attempt > 1:
            saved = run.last_checkpoint()
            context.metric({"resumed_from": saved.step if saved else 0, "attempt": context.attempt})
        file = accelerate_of(context.spec)
        if file is None or file.on_cpu:
            _choose_device(context.spec)
        if file is None:
            _function(context.spec.kind, kinds)(context)
        else:
            run_in_several(context, file, _named(context.spec.kind, kinds))
    except (Cancelled, KeyboardInterrupt) as error:
        return JobState.CANCELLED, str(error) or "Cancelled."
    except BaseException as error:
        with contextlib.suppress(OSError):
            if not isinstance(error, GuardroomError):
                traceback.print_exc()
            sys.stderr.flush()
        sentence = failures.of_error(error, context.spec.device)
        if stop.is_set():
            return JobState.CANCELLED, f"Cancelled; what came after the last checkpoint is lost. {sentence}"
        return JobState.FAILED, sentence
    if stop.is_set() and not run.report_path.exists():
        return JobState.CANCELLED, "Cancelled."
    return JobState.SUCCEEDED, ""


def _last_word(run: RunFolder, context: JobContext | None, state: JobState, sentence: str) -> int:
    """Write the end of the attempt; on a full disk room is made for it first."""
    # An error may have kept memory, and files open that take room until they are closed.
    gc.collect()
    try:
        run.remove_incomplete_checkpoints()
        forgetting.honour(run)
        if context is not None:
            context.finish(state, sentence)
        else:
            run.advance(state, sentence=sentence, finished_at=utc_now())
        with contextlib.suppress(OSError):
            print(f"{state}{': ' + sentence if sentence else ''}", flush=True)
    except (OSError, JobError) as error:
        with contextlib.suppress(OSError):
            print(f"{state}: {sentence} (The status could not be written: {error}.)", file=sys.stderr, flush=True)
        return UNSAID
    return EXIT_STATUS[state]


def _listen(stop: threading.Event) -> None:
    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt("Cancelled at once; what came after the last checkpoint is lost.")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # nohup has a terminal's end ignored, and so it stays.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, asked)


def _function(kind: JobKind, kinds: Mapping[JobKind, str]) -> Callable[[JobContext], None]:
    """The function of that kind, imported now: what it imports is not needed by other jobs."""
    module, _, name = _named(kind, kinds).rpartition(".")
    found: Callable[[JobContext], None] = getattr(importlib.import_module(module), name)
    return found


def _named(kind: JobKind, kinds: Mapping[JobKind, str]) -> str:
    if kind not in kinds:
        raise JobError(f"No job of the kind {kind} can be run here; there are: {', '.join(kinds)}.")
    return kinds[kind]


def _choose_device(spec: JobSpec) -> None:
    """Let this process see only the job's own GPU, or none: trainers spread over all that they see.

    Before torch is imported, which looks once.
    """
    kind, _, number = spec.queue.partition(":")
    if kind != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in visible.split(",") if name.strip()] if visible is not None else None
    if names is not None and int(number) >= len(names):
        raise JobError(f"The device {spec.device} is not there: {len(names)} GPUs are visible here.")
    os.environ["CUDA_VISIBLE_DEVICES"] = number if names is None else names[int(number)]


def _secrets_from_launcher() -> dict[str, str]:
    """One JSON object on standard input; nothing when the launcher died before it wrote."""
    try:
        told = json.loads(sys.stdin.buffer.read() or b"{}")
    except (OSError, ValueError):
        told = {}
    return _into_use({str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {})


def _own_secrets() -> dict[str, str]:
    """Those of the person who started this by hand."""
    from core.settings import load_settings

    try:
        key = load_settings().engine_key
    except GuardroomError:
        key = None
    own = {"engine_key": key.get_secret_value() if key else "", "hf_token": os.environ.get("HF_TOKEN", "")}
    return _into_use({name: value for name, value in own.items() if value})


def _into_use(secrets: dict[str, str]) -> dict[str, str]:
    if token := secrets.get("hf_token"):
        # The Hub's client looks here.
        os.environ["HF_TOKEN"] = token
    return secrets


if __name__ == "__main__":
    sys.exit(main())
