"""A training in several processes, seen from the job's own process: start them, follow them, and say how they ended.

    the job's process (train_jobs.child: its lock, its status)
      └─ accelerate launch, in a session of its own
           └─ train_jobs.rank, once for every process

The job's process computes nothing. It is the one that is signalled, cancelled and reconciled, as with any job. Signals
stay with it: `accelerate launch` would answer them by killing its processes within half a minute, saved or not. It asks
them to stop by a file, which reaches other machines on a shared disk as well. When it dies they end by themselves
(`train_jobs.rank`), and on Linux the launcher kills what carries the run's mark.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Cancelled, JobError
from core.settings import REPOSITORY
from train_jobs.launching import failures, processes
from train_jobs.launching.accelerate_file import AccelerateFile
from train_jobs.several.ranks import SUPERVISOR, Outcome, processes_folder, read_outcomes, stop_file

if TYPE_CHECKING:
    from train_jobs.runs.context import JobContext

LOOK_EVERY_S = 0.1
_EXIT_CODE = re.compile(r"exitcode\s*:\s*(-?\d+)")


def run_in_several(context: JobContext, file: AccelerateFile, function: str) -> None:
    """Run a job's function in the processes that the file describes, until all have ended.

    Args:
        function: its dotted name.

    Raises:
        Cancelled: they were stopped; a checkpoint was saved if training had begun.
        JobError: one of them failed; its own sentence.
    """
    folder = processes_folder(context.run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    launcher = subprocess.Popen(
        command(file, context.run.path, function),
        stdin=subprocess.PIPE,
        env=_environment(context),
        start_new_session=True,
    )
    try:
        with contextlib.suppress(OSError):
            assert launcher.stdin is not None
            launcher.stdin.write(json.dumps(dict(context.secrets)).encode())
            launcher.stdin.close()
        told = 0
        while launcher.poll() is None:
            if context.stop_asked():
                stop_file(context.run).touch()
            told = _pass_progress_on(context, folder / "progress.json", told)
            time.sleep(LOOK_EVERY_S)
    finally:
        if launcher.poll() is None:
            launcher.kill()
            launcher.wait()
        processes.end_stragglers(context.run.path)
    tail = context.run.log_tail(last_attempt=True).splitlines()
    judge(read_outcomes(context.run), launcher.returncode, tail, context.spec.device)
    shutil.rmtree(folder, ignore_errors=True)


def command(file: AccelerateFile, run: Path, function: str) -> list[str]:
    """The argument list that starts the processes of this machine."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", *file.arguments()]
    return [*launch, "-m", "train_jobs.rank", str(run), function]


def judge(outcomes: Sequence[Outcome], exit_code: int, log_tail: Sequence[str], device: str) -> None:
    """Return when the training succeeded.

    A process that failed by itself says why; those that failed because it was gone do not, nor those that were told to
    end because of it.

    Args:
        outcomes: what the processes said, in their order.
        exit_code: of `accelerate launch`.
        log_tail: the last lines of the log.
        device: the job's, for the words.

    Raises:
        Cancelled: they were stopped.
        JobError: it did not succeed; one sentence.
    """
    first = next((each for each in outcomes if each.process == 0), None)
    if first is not None and first.state == "succeeded":
        return
    own = [each for each in outcomes if each.state == "failed" and not each.lost_peer]
    if own:
        raise JobError(min(own, key=lambda each: each.at).sentence)
    stopped = [each for each in outcomes if each.state == "cancelled"]
    if stopped and (stopped[0] is first or all(each.state != "running" for each in outcomes)):
        raise Cancelled(stopped[0].sentence)
    died = next((int(code) for line in log_tail if (code := _found(line))), None)
    said = failures.of_death(exit_code if died is None else died, log_tail, device)
    raise JobError(said if not outcomes else f"One of the job's processes ended, and the others with it. {said}")


def _found(line: str) -> str | None:
    match = _EXIT_CODE.search(line)
    return match.group(1) if match and match.group(1).startswith("-") else None


def _pass_progress_on(context: JobContext, path: Path, told: int) -> int:
    """Put what the first process says of its progress into the status; returns which word that was."""
    try:
        version = path.stat().st_mtime_ns
        if version != told:
            said = json.loads(path.read_bytes())
            context.progress(said["done"], said["total"], said["words"])
        return version
    except (FileNotFoundError, ValueError):
        return told


def _environment(context: JobContext) -> dict[str, str]:
    path = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = os.getpid()
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        processes.MARK: str(context.run.path),
        SUPERVISOR: f"{own} {processes.start_time(own)}",
    }
