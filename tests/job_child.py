"""`python -m tests.job_child RUN_FOLDER`: the true child process with a tiny job of the tests' own.

The job adds up 1, 2, 3, … and keeps its sum in checkpoints, so that work lost, or done twice, shows in its report.
`spec.options`: `steps`, `save_every`, `pause_s` (sleep of each step), `fault` (a name below) and `at` (its step, first
attempt only), `say` (printed at the start), `ignore_stop`,
`gate` (a file that must be there before it begins).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.errors import Cancelled, InputError
from train_jobs.child import main
from train_jobs.runs.context import JobContext
from train_jobs.runs.specs import JobKind

KINDS = {JobKind.SFT: "tests.job_child.add_up", JobKind.MINE: "tests.job_child.nowhere"}
WEIGHTS = b"0123456789abcdef" * 64


class OutOfMemoryError(RuntimeError):
    """Named like torch's, without torch."""


def add_up(context: JobContext) -> None:
    """See above."""
    told: dict[str, Any] = {
        "steps": 10,
        "save_every": 2,
        "pause_s": 0.0,
        "fault": None,
        "at": 5,
        "say": "",
        "ignore_stop": False,
        "gate": "",
    }
    told |= dict(context.spec.options)
    print(told["say"], *(f"{name}={value}" for name, value in context.secrets.items() if told["say"]))
    while told["gate"] and not Path(told["gate"]).exists():
        time.sleep(0.01)
    saved = context.last_checkpoint()
    total = json.loads((saved.path / "state.json").read_bytes())["total"] if saved else 0
    step = saved.step if saved else 0
    context.metric({"began": step, "pid": os.getpid()})
    while step < told["steps"]:
        if context.stop_asked() and not told["ignore_stop"]:
            save(context, step, total)
            raise Cancelled(f"Cancelled at step {step} of {told['steps']}.")
        step += 1
        if told["fault"] and step == told["at"] and context.attempt == 1:
            strike(context, told["fault"], step)
        total += step
        context.metric({"step": step, "total": total})
        context.progress(step, told["steps"], "adding up")
        time.sleep(told["pause_s"])
        if step % told["save_every"] == 0:
            save(context, step, total)
    context.run.write_report({"total": total, "attempts": context.attempt})


def save(context: JobContext, step: int, total: int) -> None:
    """A checkpoint of two files."""
    folder = context.run.checkpoints / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(WEIGHTS)
    (folder / "state.json").write_text(json.dumps({"total": total}), encoding="utf-8")
    context.checkpoint_saved(folder, step, {"total": total})


def strike(context: JobContext, fault: str, step: int) -> None:
    """What can happen to a job."""
    half = context.run.checkpoints / f"checkpoint-{step}"
    match fault:
        case "torch out of memory":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        case "out of memory":
            raise MemoryError
        case "bad_alloc":
            os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
            os.abort()
        case "file limit":
            import resource

            # As on a full disk the file is written in part; the kernel's signal is one that Python ignores.
            half.mkdir()
            resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, resource.RLIM_INFINITY))
            (half / "weights.bin").write_bytes(WEIGHTS * 1000)
        case "full disk":
            half.mkdir()
            with (half / "weights.bin").open("wb") as file:
                while True:
                    file.write(os.urandom(65_536))
        case "disk filled by another":
            with (context.run.result / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(os.urandom(1024))
        case "wrapped full disk":
            half.mkdir()
            (half / "weights.bin").write_bytes(WEIGHTS)
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise RuntimeError("the library could not save") from error
        case "killed while saving":
            half.mkdir()
            (half / "weights.bin").write_bytes(WEIGHTS)
            os.kill(os.getpid(), signal.SIGKILL)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(7)
        case "bad configuration":
            raise InputError("The batch size must be at least 1, not 0.")
        case "missing base":
            Path("/nowhere/base").read_bytes()
        case "unforeseen":
            raise ValueError("seven is not a number\nsecond line")
        case "worker left behind":
            leave_worker(context)
            os.kill(os.getpid(), signal.SIGKILL)
        case "worker forgotten":
            leave_worker(context)
        case _:
            raise AssertionError(fault)


def leave_worker(context: JobContext) -> None:
    """A process of the job's that shrugs off SIGTERM; its id goes to the metrics."""
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    worker: subprocess.Popen[Any] = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()
    context.metric({"worker": worker.pid})


if __name__ == "__main__":
    sys.exit(main(kinds=KINDS))
