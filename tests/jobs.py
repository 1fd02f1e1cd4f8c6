"""Launchers over the tests' own tiny job, and ways to wait for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from train_jobs.launching import processes
from train_jobs.launching.launcher import Launcher
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState

CHILD = "tests.job_child"
LONGEST_WAIT_S = 180.0


def spec(device: str = "cpu", name: str = "a test", **options: Any) -> JobSpec:
    """A tiny job; its options are those of `tests.job_child`."""
    return JobSpec(JobKind.SFT, name, options=options, device=device)


def launcher_of(root: Path, **more: Any) -> Launcher:
    """A launcher whose jobs are the tests' own."""
    return Launcher(root, **{"child": CHILD, **more})


def wait_until(holds: Callable[[], bool], what: str, look: Callable[[], None] = lambda: None) -> None:
    """Wait for something that must happen, looking after the jobs meanwhile."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        look()
        time.sleep(0.02)


def wait_for(launcher: Launcher, run_id: str, *states: JobState) -> RunFolder:
    """Wait until the run is in one of these states (in any that is final, when none is given)."""
    run = launcher.find(run_id)

    def there() -> bool:
        status = run.status()
        assert not states or status.state in states or not status.state.is_over, status
        return status.state in states if states else status.state.is_over

    wait_until(there, f"{run_id} is {' or '.join(states) or 'over'}", launcher.reconcile)
    return run


def wait_for_step(launcher: Launcher, run_id: str, step: int) -> RunFolder:
    """Wait until the run has done that step."""
    run = launcher.find(run_id)
    wait_until(lambda: any(row.get("step", 0) >= step for row in run.metrics()), f"{run_id} did step {step}")
    return run


def finish(launcher: Launcher) -> None:
    """Kill what is still there, and let the launcher see it gone."""
    for run in launcher.runs():
        if run.status().state is JobState.QUEUED:
            run.ask_to_cancel()
    for run in launcher.runs():
        status = run.status()
        processes.signal_job(status.pid, status.process_started, signal.SIGKILL)
    wait_until(
        lambda: all(run.status().state.is_over and _is_free(run) for run in launcher.runs()),
        "all jobs are over",
        launcher.reconcile,
    )
    launcher.reconcile()
    launcher.close()


def _is_free(run: RunFolder) -> bool:
    lock = run.take_lock()
    if lock is not None:
        lock.close()
    return lock is not None


def is_gone(pid: int) -> bool:
    """Whether no such process lives; a zombie is dead."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def began(run: RunFolder) -> list[int]:
    """The step at which each attempt of a tiny job began."""
    return [row["began"] for row in run.metrics() if "began" in row]


def total(steps: int) -> int:
    """What a tiny job of so many steps reports, however often it was interrupted."""
    return steps * (steps + 1) // 2
