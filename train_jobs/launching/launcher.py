"""Starts jobs, one a device, and keeps the run folders true, whatever died meanwhile.

All that is known is in the folders, so any number of launchers (apps, scripts) may share a root: a lock on it lets one
act at a time. Who may write a run's status is settled by the run's own lock, which the job's process is born with.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from core.errors import GuardroomError, JobError
from core.settings import REPOSITORY
from train_jobs.launching import failures, processes
from train_jobs.launching.accelerate_file import accelerate_of
from train_jobs.launching.queueing import is_taken, queue_of
from train_jobs.launching.secrecy import clean_environment, refuse_secrets
from train_jobs.runs.folder import RunFolder, find_run, list_runs, utc_now
from train_jobs.runs.locks import FileLock
from train_jobs.runs.specs import JobSpec, JobState, JobStatus, requeued

log = logging.getLogger(__name__)

GRACE_S = 300.0
"""So long may a cancelled job take to save and end before it is killed, and an ended one to go."""
FOR_JOBS = ("engine_key", "hf_token")
"""The secrets that a job is handed; the others are only kept out of what it can see."""
PATIENCE_S = 3.0
"""So long is waited for a process that has said its last word and is about to go."""


class Launcher:
    """The jobs under one root, `runs/` of the data root.

    Args:
        root: the folder of run folders.
        secrets: gives, by name, what must reach no spec, log or environment of a job (`engine_key`, `hf_token`,
            `owner_token`); a job is handed those that it may need.
        child: the module that is run as the job's process.
        grace_s: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        root: Path,
        *,
        secrets: Callable[[], Mapping[str, str]] = dict,
        child: str = "train_jobs.child",
        grace_s: float = GRACE_S,
    ) -> None:
        self.root = root.absolute()
        self._secrets = secrets
        self._child = child
        self._grace_s = grace_s
        self._children: dict[Path, tuple[int, subprocess.Popen[bytes]]] = {}
        """The processes that this launcher started, with the attempt."""
        self._settled: dict[Path, int] = {}
        """Ended runs that need no looking after, with the version of their status."""
        self._warned: dict[Path, str] = {}
        self._at_work: set[Path] | None = None
        """Runs that had processes when this launcher looked last; none before its first look."""
        self._closing = threading.Event()
        self._ticker: threading.Thread | None = None

    # -- what people do -----------------------------------------------------------------------------------------

    def launch(self, spec: JobSpec) -> str:
        """Queue a job, and start it when its device is free. Returns the run's id.

        Raises:
            JobError: the spec holds a secret, names an accelerate file that cannot be used for it, or the run folder
                cannot be written.
        """
        accelerate_of(spec)
        refuse_secrets(json.dumps(spec.to_json(), ensure_ascii=False), self._secrets().values(), "The job's spec")
        with self._alone():
            try:
                run = RunFolder.create(self.root, spec, self._next_ticket())
            except OSError as error:
                raise JobError(f"{failures.of_error(error, spec.device)} Nothing was launched.") from error
            self._tend()
        return run.id

    def cancel(self, run_id: str, by: str = "", *, at_once: bool = False) -> JobStatus:
        """End a job: a waiting one at once, a running one after it has saved a checkpoint.

        Its whole process group gets SIGTERM; what is left after the time of grace is killed by a later `reconcile`.
        `at_once` kills it now: what came after its last checkpoint is lost. `by` says who asks.

        Raises:
            JobError: there is no such run, or it has ended.
        """
        with self._alone():
            run = find_run(self.root, run_id)
            if (status := run.status()).state.is_over:
                raise JobError(f"Run {run_id} has ended already: it is {status.state}.")
            # Before the status is read again: either it says who to signal, or the job sees the request when it begins.
            run.ask_to_cancel(by)
            if (status := run.status()).state is JobState.RUNNING:
                number = signal.SIGKILL if at_once else signal.SIGTERM
                processes.signal_job(status.pid, status.process_started, number)
            self._tend()
            return run.status()

    def resume(self, run_id: str) -> JobStatus:
        """Queue a failed or cancelled job again, at the end of the queue; it goes on from its last complete checkpoint.

        Raises:
            JobError: there is no such run, it has not ended, it succeeded, or its process is still ending.
        """
        with self._alone():
            run = find_run(self.root, run_id)
            status = run.status()
            if not status.state.can_resume:
                why = "it has not ended" if not status.state.is_over else "it is complete; clone it to run it again"
                raise JobError(f"Run {run_id} is {status.state} and cannot be resumed: {why}.")
            with self._lock_of_ended(run):
                run.forget_cancel()
                run.write_status(requeued(run.status(), self._next_ticket(), utc_now()), durable=True)
            self._settled.pop(run.path, None)
            self._tend()
            return run.status()

    def delete(self, run_id: str) -> None:
        """Remove a run that has ended, with its checkpoints and all.

        Raises:
            JobError: there is no such run, or it waits, runs, or its process is still ending.
        """
        with self._alone():
            run = find_run(self.root, run_id)
            if not (state := (self._judge(run) or run.status()).state).is_over:
                raise JobError(f"Run {run_id} is {state}; cancel it before you delete it.")
            with self._lock_of_ended(run):
                going = self.root / f".deleted-{run_id}"
                os.rename(run.path, going)
            self._settled.pop(run.path, None)
            shutil.rmtree(going, ignore_errors=True)

    def command(self, run_id: str) -> str:
        """The shell command that runs this job by hand, as the launcher starts it; it holds no secret."""
        run = find_run(self.root, run_id)
        argv = [sys.executable, "-m", self._child, str(run.path)]
        return f"cd {shlex.quote(str(REPOSITORY))} && {shlex.join(argv)}"

    # -- how things stand ---------------------------------------------------------------------------------------

    def runs(self) -> list[RunFolder]:
        """Every run, the newest first."""
        return list_runs(self.root)

    def find(self, run_id: str) -> RunFolder:
        """The run of that id.

        Raises:
            JobError: there is none.
        """
        return find_run(self.root, run_id)

    def place(self, run_id: str) -> int | None:
        """How many jobs are before this one on its device, the running one included; none when it does not wait."""
        run = find_run(self.root, run_id)
        status, queue = run.status(), queue_of(run)
        if status.state is not JobState.QUEUED:
            return None
        before = 0
        for other in self._unsettled():
            with contextlib.suppress(JobError):
                told = other.status()
                waits = told.state is JobState.QUEUED and told.ticket < status.ticket
                if other != run and (waits or told.state is JobState.RUNNING) and is_taken(queue, [queue_of(other)]):
                    before += 1
        return before

    def at_work(self) -> dict[str, RunFolder]:
        """The running job of each device, by `JobSpec.queue`. It only reads, and is cheap enough for a page's timer."""
        found: dict[str, RunFolder] = {}
        for run in self._unsettled():
            with contextlib.suppress(JobError):
                found |= {run.spec().queue: run} if run.status().state is JobState.RUNNING else {}
        return found

    # -- keeping it true ----------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Look after every run: end what died, kill what overstayed its time of grace, start what can start.

        For the start of an app, and for every tick after it. A run folder that cannot be read stops nothing else.
        """
        with self._alone():
            self._tend()

    def start(self, every_s: float = 1.0) -> None:
        """Reconcile now and then, in a thread that ends with `close`."""

        def tick() -> None:
            while not self._closing.wait(every_s):
                try:
                    self.reconcile()
                except (OSError, GuardroomError) as error:
                    log.warning("The jobs could not be looked after: %s", error)

        self.reconcile()
        self._ticker = threading.Thread(target=tick, name="jobs", daemon=True)
        self._ticker.start()

    def close(self) -> None:
        """Stop looking. Jobs go on without this process."""
        self._closing.set()
        if self._ticker:
            self._ticker.join(timeout=30)

    # -- inside, under the root's lock --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock.take(self.root / ".lock", wait=True)
        assert lock is not None
        with lock:
            yield

    def _unsettled(self) -> list[RunFolder]:
        return [run for run in list_runs(self.root) if self._settled.get(run.path) != run.status_version()]

    def _next_ticket(self) -> int:
        highest = 0
        for run in list_runs(self.root):
            with contextlib.suppress(JobError):
                highest = max(highest, run.status().ticket)
        return highest + 1

    def _tend(self) -> None:
        self._sweep()
        if self._at_work is None:
            self._at_work = set(processes.marked())
        busy: set[str] = set()
        waiting: list[tuple[int, str, RunFolder]] = []
        for run in self._unsettled():
            try:
                status = self._judge(run)
            except (JobError, OSError) as error:
                if self._warned.get(run.path) != str(error):
                    self._warned[run.path] = str(error)
                    log.warning("Run %s cannot be looked after: %s", run.id, error)
                continue
            if status is None:
                busy.add(queue_of(run))
                self._at_work.add(run.path)
            elif status.state is JobState.QUEUED:
                waiting.append((status.ticket, run.id, run))
        for _, _, run in sorted(waiting, key=lambda each: each[:2]):
            with contextlib.suppress(JobError, OSError):
                # One that waits keeps its place: what came after it on one of its devices does not overtake it.
                if is_taken(queue := queue_of(run), busy) or self._begin(run):
                    busy.add(queue)

    def _sweep(self) -> None:
        """Finish what was interrupted: half-made and half-deleted runs."""
        for each in [*self.root.glob(".new-*"), *self.root.glob(".deleted-*")]:
            shutil.rmtree(each, ignore_errors=True)

    def _judge(self, run: RunFolder) -> JobStatus | None:
        """Bring one run's status up to what is; none while a process of it holds its device."""
        try:
            status = run.status()
        except JobError as error:
            return self._repair(run, str(error))
        if status.state is JobState.RUNNING and processes.is_alive(status.pid, status.process_started):
            asked = run.cancel_request()
            if asked is not None and time.time() - asked.asked_at > self._grace_s:
                processes.signal_job(status.pid, status.process_started, signal.SIGKILL)
            return None
        lock = run.take_lock()
        if lock is None and status.state is not JobState.QUEUED:
            self._hurry(run, status)
            lock = run.take_lock()
        if lock is None:
            return None
        with lock:
            # It may have spoken between the first look and the lock.
            status = run.status()
            mine, exit_code = self._ended(run, status.attempt)
            if status.state is JobState.QUEUED and run.cancel_request() is not None:
                return self._over(run, JobState.CANCELLED, "Cancelled before it began.")
            if status.state is JobState.RUNNING and run.cancel_request() is not None:
                words = failures.KILLED_AFTER_GRACE if exit_code == -9 else failures.ENDED_BEFORE_SAVING
                return self._over(run, JobState.CANCELLED, words)
            if status.state is JobState.RUNNING or (status.state is JobState.QUEUED and mine):
                tail = run.log_tail(last_attempt=True).splitlines()
                return self._over(run, JobState.FAILED, failures.of_death(exit_code, tail, queue_of(run)))
            if status.state.is_over:
                self._settle(run)
            return status

    def _repair(self, run: RunFolder, words: str) -> JobStatus | None:
        """A run whose status is damaged, by hand or by a failing disk: it failed, unless its process says otherwise."""
        if (lock := run.take_lock()) is None:
            return None
        with lock:
            status = JobStatus(JobState.FAILED, sentence=f"{words} Resume to go on.", finished_at=utc_now())
            run.write_status(status, durable=True)
            return status

    def _hurry(self, run: RunFolder, status: JobStatus) -> None:
        """A run that has ended, or died, whose lock is still held: by the process on its way out, or by its workers."""
        if not processes.is_alive(status.pid, status.process_started):
            processes.end_stragglers(run.path)
        elif status.finished_at and _seconds_since(status.finished_at) > self._grace_s:
            processes.signal_job(status.pid, status.process_started, signal.SIGKILL)

    def _ended(self, run: RunFolder, attempt: int) -> tuple[bool, int | None]:
        """Whether this launcher started that attempt, and how it ended. It holds no lock any more, so it is gone."""
        if run.path not in self._children:
            return False, None
        of, child = self._children[run.path]
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        return of == attempt, child.returncode if of == attempt else None

    def _over(self, run: RunFolder, state: JobState, sentence: str) -> JobStatus:
        """Write the end that the job could not write itself."""
        processes.end_stragglers(run.path)
        run.remove_incomplete_checkpoints()
        status = run.advance(state, sentence=sentence, finished_at=utc_now())
        self._settle(run)
        return status

    def _settle(self, run: RunFolder) -> None:
        """Nothing will happen to this run any more, unless somebody resumes it."""
        if run.path in self._children or self._at_work is None or run.path in self._at_work:
            processes.end_stragglers(run.path)
            (self._at_work or set()).discard(run.path)
        self._ended(run, 0)
        self._children.pop(run.path, None)
        self._settled[run.path] = run.status_version()

    def _begin(self, run: RunFolder) -> bool:
        """Start the process of a waiting run; false when it could not be, and says so in its status."""
        lock = run.take_lock()
        if lock is None:
            return True
        with lock:
            status, secrets = run.status(), dict(self._secrets())
            if status.state is not JobState.QUEUED:
                return False
            environment = clean_environment(os.environ, secrets.values())
            path = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
            environment |= {processes.MARK: str(run.path), "PYTHONPATH": os.pathsep.join(path)}
            argv = [sys.executable, "-m", self._child, str(run.path), "--lock", str(lock.fd)]
            try:
                with run.begin_log(status.attempt) as output:
                    child = subprocess.Popen(
                        argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment,
                        start_new_session=True, pass_fds=(lock.fd,),
                    )  # fmt: skip
            except OSError as error:
                sentence = failures.of_error(error, queue_of(run))
                run.advance(JobState.FAILED, sentence=sentence, finished_at=utc_now())
                return False
        self._children[run.path] = (status.attempt, child)
        with contextlib.suppress(OSError):
            assert child.stdin is not None
            child.stdin.write(json.dumps({name: secrets[name] for name in FOR_JOBS if name in secrets}).encode())
            child.stdin.close()
        return True

    def _lock_of_ended(self, run: RunFolder) -> FileLock:
        """The lock of a run that has ended, once its process is gone as well."""
        deadline = time.monotonic() + PATIENCE_S
        while (lock := run.take_lock()) is None:
            # A status that cannot be read names no process; only the lock tells.
            with contextlib.suppress(JobError):
                self._judge(run)
            if time.monotonic() > deadline:
                raise JobError(f"The process of run {run.id} is still ending; try again in a moment.")
            time.sleep(0.02)
        self._settle(run)
        return lock


def _seconds_since(iso: str) -> float:
    return time.time() - datetime.fromisoformat(iso).timestamp()
