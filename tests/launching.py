"""Jobs launched as the app launches them, and waited for until their process is gone."""

from __future__ import annotations

import time
from pathlib import Path

from train_jobs.launching.launcher import Launcher
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobSpec

LOOK_EVERY_S = 0.05


def carry_out(data: Path, spec: JobSpec) -> RunFolder:
    """Launch a job under a data folder and wait for its end, good or bad; one that is interrupted is killed."""
    launcher = Launcher(data / "runs")
    try:
        run = launcher.find(launcher.launch(spec))
        try:
            while not run.status().state.is_over:
                time.sleep(LOOK_EVERY_S)
                launcher.reconcile()
        except BaseException:
            launcher.cancel(run.id, at_once=True)
            raise
        finally:
            see_gone(launcher, run)
    finally:
        launcher.close()
    return run


def see_gone(launcher: Launcher, run: RunFolder) -> None:
    """Wait until the process of a job that has ended, or was killed, is no more."""
    while True:
        launcher.reconcile()
        if run.status().state.is_over and (lock := run.take_lock()) is not None:
            lock.close()
            launcher.reconcile()
            return
        time.sleep(LOOK_EVERY_S)
