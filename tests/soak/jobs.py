"""Faults over job runs: the app is killed, the job, both; process ids come back; disks fill up; memory runs out.

After every fault the run must end as it should, leave no process behind, touch no other process, and come to the right
result when it is resumed, from the last complete checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.job_child import WEIGHTS
from tests.jobs import CHILD, spec, wait_until
from tests.running import ROOT
from train_jobs.launching import processes
from train_jobs.runs.folder import RunFolder, find_run
from train_jobs.runs.specs import JobSpec, JobState

STEPS = 12
PAUSE_S = 0.015

BYSTANDER = """
import signal, sys, time
def told(number, frame):
    print(number, flush=True)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    try:
        signal.signal(number, told)
    except (OSError, ValueError):
        pass
print("ready", flush=True)
while True:
    time.sleep(3600)
"""


@dataclass(slots=True)
class Outcome:
    """What the soak found. `wrong` holds a sentence for everything that was not as it should be."""

    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    orphans: int = 0
    signalled: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All faults."""
        return self.faults.total()


class App:
    """The process that launches; killed and started again."""

    def __init__(self, root: Path, child: str = CHILD) -> None:
        self.root = root
        self.child = child
        self.process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.job_app", str(self.root), self.child],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.process = process
        assert self._answer()["ready"]
        return process

    def launch(self, job: JobSpec) -> RunFolder:
        """A job of its own."""
        return find_run(self.root, self.ask("launch", spec=job.to_json())["run"])

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One request and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the app died by itself"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """As the system does when memory runs out."""
        self.process.kill()
        self._gone()

    def start(self) -> None:
        """Another one on the same folder."""
        self.process = self._started()

    def close(self) -> None:
        """End as an app ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._gone()

    def _gone(self) -> None:
        self.process.wait(timeout=60)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Soak:
    """The faults, one method each. Every one ends with its run ended, and returns the state that is right."""

    def __init__(self, root: Path, seed: int) -> None:
        self.app = App(root)
        self.root = root
        self.random = random.Random(seed)
        self.bystander = subprocess.Popen(
            [sys.executable, "-S", "-c", BYSTANDER], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.bystander.stdout is not None
        assert self.bystander.stdout.readline() == "ready\n"

    # -- faults -------------------------------------------------------------------------------------------------

    def the_app_is_killed(self, run: RunFolder) -> JobState:
        self.app.kill()
        self.app.start()
        return JobState.SUCCEEDED

    def the_app_is_killed_as_it_launches(self, run: RunFolder) -> JobState:
        return self.the_app_is_killed(run)

    def the_job_is_killed(self, run: RunFolder) -> JobState:
        strike(run, signal.SIGKILL)
        return JobState.FAILED

    def the_app_and_the_job_are_killed(self, run: RunFolder) -> JobState:
        self.app.kill()
        strike(run, signal.SIGKILL)
        self.app.start()
        return JobState.FAILED

    def the_process_id_belongs_to_another(self, run: RunFolder) -> JobState:
        self.app.kill()
        pid = strike(run, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pid, run.status().process_started), "the job is dead")
        run.write_status(replace(run.status(), pid=self.bystander.pid))
        self.app.start()
        if self.random.random() < 0.5:
            # The app may have seen it already.
            with contextlib.suppress(AssertionError):
                assert run.status().state is JobState.RUNNING
                self.app.ask("cancel", run=run.id)
        return JobState.CANCELLED if run.cancel_request() else JobState.FAILED

    def the_system_ends_the_job(self, run: RunFolder) -> JobState:
        strike(run, signal.SIGTERM)
        return JobState.CANCELLED

    def the_job_is_cancelled_and_the_app_killed(self, run: RunFolder) -> JobState:
        self.app.ask("cancel", run=run.id)
        self.app.kill()
        self.app.start()
        return JobState.CANCELLED

    def the_job_is_cancelled(self, run: RunFolder) -> JobState:
        self.app.ask("cancel", run=run.id)
        return JobState.CANCELLED

    FROM_OUTSIDE = (
        the_app_is_killed, the_job_is_killed, the_app_and_the_job_are_killed, the_process_id_belongs_to_another,
        the_system_ends_the_job, the_job_is_cancelled_and_the_app_killed, the_job_is_cancelled,
        the_app_is_killed_as_it_launches,
    )  # fmt: skip
    FROM_INSIDE = (
        "out of memory", "torch out of memory", "bad_alloc", "file limit", "full disk", "disk filled by another",
        "killed while saving", "worker left behind", "crash",
    )  # fmt: skip
    """Raised by the job itself, in a step; of `tests.job_child`."""

    # -- one run ------------------------------------------------------------------------------------------------

    def one(self, number: int, outcome: Outcome, *, small_disk: bool) -> None:
        """One run with one fault, and what must be true afterwards."""
        outside, inside = self.FROM_OUTSIDE, self.FROM_INSIDE if small_disk else self._without_disk()
        at = number % (len(outside) + len(inside))
        options: dict[str, Any] = {"steps": STEPS, "pause_s": PAUSE_S, "save_every": self.random.randint(1, 4)}
        if at < len(outside):
            name = outside[at].__name__.replace("_", " ")
            # Where a fault comes too late its job is done: the steps before it are slow enough that it never is.
            run = self.app.launch(spec(**options | {"pause_s": 0.05}))
            if outside[at] is not Soak.the_app_is_killed_as_it_launches:
                step = self.random.randint(1, STEPS // 2)
                wait_until(lambda: step_of(run) >= step, f"step {step} is done")
            right = outside[at](self, run)
        else:
            name = inside[at - len(outside)]
            run = self.app.launch(spec(**options | {"fault": name, "at": self.random.randint(1, STEPS)}))
            right = JobState.FAILED
        outcome.faults[name] += 1
        wait_until(lambda: run.status().state.is_over, f"{name}: the run is over")
        status = run.status()
        outcome.ends[status.state] += 1
        check(status.state is right, f"{name}: {status.state} instead of {right} ({status.sentence})", outcome)
        check(bool(status.sentence) or right is JobState.SUCCEEDED, f"{name}: no sentence", outcome)
        alone(run, name, outcome)
        if status.state.can_resume:
            self._resume(run, name, outcome)
        check(run.status().state is JobState.SUCCEEDED, f"{name}: {run.status()} at last", outcome)
        report = run.report() or {}
        check(report.get("total") == STEPS * (STEPS + 1) // 2, f"{name}: {report} at last", outcome)
        steps = [row["step"] for row in run.metrics() if "step" in row]
        check(steps == list(range(1, STEPS + 1)), f"{name}: steps {steps}", outcome)
        alone(run, name, outcome)
        self.app.ask("delete", run=run.id)

    def _resume(self, run: RunFolder, name: str, outcome: Outcome) -> None:
        (run.result / "filler").unlink(missing_ok=True)
        left = {path.name for path in run.checkpoints.iterdir()}
        complete = {path.name for path in run.checkpoints.iterdir() if _is_whole(path)}
        last = max((int(each.rpartition("-")[2]) for each in complete), default=0)
        check(left == complete, f"{name}: incomplete checkpoints {left - complete}", outcome)
        self.app.ask("resume", run=run.id)
        wait_until(lambda: run.status().state.is_over, f"{name}: the resumed run is over")
        began = [row["began"] for row in run.metrics() if "began" in row]
        check(began[-1] == last, f"{name}: began at {began}, not at {last}", outcome)
        outcome.resumed += 1

    def _without_disk(self) -> tuple[str, ...]:
        return tuple(name for name in self.FROM_INSIDE if name not in ("full disk", "disk filled by another"))

    def close(self, outcome: Outcome) -> None:
        """End the app; count the signals that the bystander got (a kill shows as its death)."""
        self.app.close()
        alive = self.bystander.poll() is None
        self.bystander.kill()
        told, _ = self.bystander.communicate()
        outcome.signalled = len(told.split()) + (not alive)


def strike(run: RunFolder, number: signal.Signals) -> int:
    """Send a signal to a job's process alone; returns its id."""
    pid = run.status().pid
    assert pid is not None
    os.kill(pid, number)
    return pid


def alone(run: RunFolder, name: str, outcome: Outcome) -> None:
    """No process of the run may be left once its lock is free."""

    def gone() -> bool:
        return not processes.marked().get(run.path)

    try:
        wait_until(gone, "no process is left")
    except AssertionError:
        outcome.orphans += 1
        outcome.wrong.append(f"{name}: processes {processes.marked().get(run.path)} are left")


def check(holds: bool, words: str, outcome: Outcome) -> None:
    """Note what is not as it should be."""
    if not holds:
        outcome.wrong.append(words)


def _is_whole(checkpoint: Path) -> bool:
    """By its content, whatever the code under test says."""
    files = {path.name for path in checkpoint.iterdir()}
    return files == {"complete.json", "state.json", "weights.bin"} and (
        (checkpoint / "weights.bin").read_bytes() == WEIGHTS
    )


def step_of(run: RunFolder) -> int:
    """The last step that the run told of."""
    return max((row.get("step", 0) for row in run.metrics()), default=0)


@contextlib.contextmanager
def small_file_system(folder: Path, megabytes: int = 2) -> Iterator[bool]:
    """A file system of so many megabytes on the folder; false where none can be mounted."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, check=False
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            # Lazily: where a fault was not answered a process may still be at work there.
            subprocess.run(["umount", "-l", folder], check=True)


def soak(count: int, folder: Path, tell: Callable[[int], None] = lambda done: None, seed: int = 7) -> Outcome:
    """So many faults, one a run, over run folders in `folder` (empty)."""
    outcome = Outcome()
    with small_file_system(folder) as small_disk:
        running = Soak(folder, seed)
        try:
            for number in range(count):
                running.one(number, outcome, small_disk=small_disk)
                tell(number + 1)
        finally:
            running.close(outcome)
    return outcome
