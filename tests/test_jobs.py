"""Laws of jobs: queue, cancel, resume, failures, delete, by hand; with true processes and a tiny job."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import JobError
from tests.jobs import CHILD, began, is_gone, spec, total, wait_for, wait_for_step, wait_until
from tests.running import ROOT
from train_jobs.child import KINDS
from train_jobs.launching.launcher import Launcher
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState

# -- the queue ----------------------------------------------------------------------------------------------------


def test_jobs_of_one_device_run_one_after_the_other_in_their_order(launcher: Launcher, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ids = [launcher.launch(spec(name=f"{at}", steps=4, gate=str(gate))) for at in range(4)]
    assert [launcher.place(each) for each in ids[1:]] == [1, 2, 3]
    gate.touch()
    runs = [wait_for(launcher, each) for each in ids]
    stati = [run.status() for run in runs]
    assert {status.state for status in stati} == {JobState.SUCCEEDED}
    for earlier, later in itertools.pairwise(stati):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at
    assert [launcher.place(each) for each in ids] == [None] * 4


def test_another_device_does_not_wait(launcher: Launcher) -> None:
    first = launcher.launch(spec(steps=1000, pause_s=0.05))
    second = launcher.launch(spec("cuda:1", steps=1000, pause_s=0.05))
    third = launcher.launch(spec("cuda:1"))
    wait_until(lambda: set(launcher.at_work()) == {"cpu", "cuda:1"}, "both devices are at work", launcher.reconcile)
    assert {key: run.id for key, run in launcher.at_work().items()} == {"cpu": first, "cuda:1": second}
    assert launcher.find(third).status().state is JobState.QUEUED


def test_many_launchers_start_a_job_once(make_launcher: Callable[..., Launcher]) -> None:
    launchers = [make_launcher() for _ in range(4)]
    ids = [launchers[0].launch(spec(name=f"{at}")) for at in range(3)]

    def tend(one: Launcher) -> None:
        for each in ids:
            wait_for(one, each)

    threads = [threading.Thread(target=tend, args=(one,)) for one in launchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in ids:
        run = launchers[0].find(each)
        assert run.status().state is JobState.SUCCEEDED
        assert began(run) == [0]
        assert run.log_path.read_text().count("--- attempt") == 1


def test_the_ticker_tends_by_itself_and_ends(launcher: Launcher) -> None:
    before = set(threading.enumerate())
    launcher.start(0.02)
    ids = [launcher.launch(spec()) for _ in range(2)]
    wait_until(lambda: all(launcher.find(each).status().state is JobState.SUCCEEDED for each in ids), "both are done")
    launcher.close()
    assert set(threading.enumerate()) <= before


# -- cancel and resume --------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_without_a_process(launcher: Launcher) -> None:
    launcher.launch(spec(steps=1000, pause_s=0.05))
    waiting = launcher.launch(spec())
    assert launcher.cancel(waiting).state is JobState.CANCELLED
    run = launcher.find(waiting)
    assert not run.log_path.exists()
    assert run.status().pid is None
    with pytest.raises(JobError, match="ended already"):
        launcher.cancel(waiting)


def test_a_cancelled_job_saves_first_and_goes_on_from_there(launcher: Launcher) -> None:
    run_id = launcher.launch(spec(steps=40, pause_s=0.02, save_every=1000))
    run = wait_for_step(launcher, run_id, 3)
    launcher.cancel(run_id, "ann")
    asked = run.cancel_request()
    assert asked is not None
    assert asked.by == "ann"
    wait_for(launcher, run_id, JobState.CANCELLED)
    saved = run.last_checkpoint()
    assert saved is not None
    assert saved.step >= 3
    assert run.status().sentence == f"Cancelled at step {saved.step} of 40."
    assert launcher.resume(run_id).attempt == 2
    assert run.cancel_request() is None
    wait_for(launcher, run_id, JobState.SUCCEEDED)
    assert began(run) == [0, saved.step]
    assert run.report() == {"total": total(40), "attempts": 2}
    with pytest.raises(JobError, match="clone"):
        launcher.resume(run_id)


@pytest.mark.parametrize("wait_ms", [0, 20, 60, 100, 150])
def test_cancelled_at_any_moment_of_its_start_it_ends_as_cancelled(launcher: Launcher, wait_ms: int) -> None:
    run_id = launcher.launch(spec(steps=100_000, pause_s=0.02))
    threading.Event().wait(wait_ms / 1000)
    launcher.cancel(run_id)
    run = wait_for(launcher, run_id)
    assert run.status().state is JobState.CANCELLED
    assert run.status().sentence.startswith("Cancelled")


def test_a_job_that_does_not_listen_is_killed_after_the_time_of_grace(make_launcher: Callable[..., Launcher]) -> None:
    launcher = make_launcher(grace_s=0.3)
    run_id = launcher.launch(spec(steps=100_000, pause_s=0.02, ignore_stop=True))
    run = wait_for_step(launcher, run_id, 3)
    launcher.cancel(run_id)
    wait_for(launcher, run_id, JobState.CANCELLED)
    assert "was killed before it ended" in run.status().sentence
    pid = run.status().pid
    assert pid is not None
    assert is_gone(pid)


def test_a_job_that_is_killed_at_once_loses_what_came_after_its_last_checkpoint(launcher: Launcher) -> None:
    run_id = launcher.launch(spec(steps=30, pause_s=0.03, save_every=2, ignore_stop=True))
    run = wait_for_step(launcher, run_id, 5)
    launcher.cancel(run_id, at_once=True)
    wait_for(launcher, run_id, JobState.CANCELLED)
    saved = run.last_checkpoint()
    assert saved is not None
    launcher.resume(run_id)
    wait_for(launcher, run_id, JobState.SUCCEEDED)
    assert began(run) == [0, saved.step]


def test_a_job_that_dies_while_it_saves_goes_on_from_the_last_whole_checkpoint(launcher: Launcher) -> None:
    run_id = launcher.launch(spec(fault="killed while saving", at=7))
    run = wait_for(launcher, run_id, JobState.FAILED)
    assert not (run.checkpoints / "checkpoint-7").exists()
    launcher.resume(run_id)
    wait_for(launcher, run_id, JobState.SUCCEEDED)
    assert began(run) == [0, 6]
    assert run.report() == {"total": total(10), "attempts": 2}
    assert [row["step"] for row in run.metrics() if "step" in row] == list(range(1, 11))


def test_a_resumed_job_waits_behind_those_that_came_before(launcher: Launcher) -> None:
    failed = launcher.launch(spec(fault="unforeseen"))
    wait_for(launcher, failed, JobState.FAILED)
    launcher.launch(spec(steps=1000, pause_s=0.05))
    launcher.launch(spec())
    assert launcher.resume(failed).state is JobState.QUEUED
    assert launcher.place(failed) == 2
    with pytest.raises(JobError, match="not ended"):
        launcher.resume(failed)


# -- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("out of memory", "ran out of memory on cpu"),
        ("torch out of memory", "ran out of memory on cpu"),
        ("bad_alloc", "ran out of memory on cpu"),
        ("file limit", "disk is full"),
        ("wrapped full disk", "disk is full"),
        ("killed", "killed from outside"),
        ("crash", "died of a crash"),
        ("exit", "exit status 7"),
        ("bad configuration", "^The batch size must be at least 1, not 0.$"),
        ("missing base", "/nowhere/base is missing"),
        ("unforeseen", "ValueError: seven is not a number. The log has the details"),
    ],
)
def test_a_failure_is_one_sentence_that_helps(launcher: Launcher, fault: str, words: str) -> None:
    run = wait_for(launcher, launcher.launch(spec(fault=fault)))
    status = run.status()
    assert status.state is JobState.FAILED
    assert re.search(words, status.sentence), status.sentence
    assert "\n" not in status.sentence
    assert status.finished_at is not None
    assert [saved.step for saved in run.complete_checkpoints()] == [2, 4]
    if fault in ("out of memory", "unforeseen", "file limit"):
        assert "Traceback" in run.log_tail()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_is_offered_has_its_function(kind: JobKind) -> None:
    module, _, name = KINDS[kind].rpartition(".")
    assert list(inspect.signature(getattr(importlib.import_module(module), name)).parameters) == ["context"]


def test_a_kind_that_cannot_be_run_here_fails_with_its_name(launcher: Launcher) -> None:
    unknown = wait_for(launcher, launcher.launch(JobSpec(JobKind.GRPO, "later")))
    assert "grpo" in unknown.status().sentence
    assert unknown.status().state is JobState.FAILED


def test_a_child_that_never_begins_fails_with_what_it_said(make_launcher: Callable[..., Launcher]) -> None:
    launcher = make_launcher(child="tests.no_such_child")
    run = wait_for(launcher, launcher.launch(spec()), JobState.FAILED)
    assert "No module named tests.no_such_child" in run.status().sentence


# -- delete, by hand ----------------------------------------------------------------------------------------------


def test_a_run_is_deleted_only_when_it_is_over(launcher: Launcher) -> None:
    running = launcher.launch(spec(steps=1000, pause_s=0.02))
    waiting = launcher.launch(spec())
    wait_for(launcher, running, JobState.RUNNING)
    for each in (running, waiting):
        with pytest.raises(JobError, match="cancel it"):
            launcher.delete(each)
    launcher.cancel(waiting)
    launcher.delete(waiting)
    with pytest.raises(JobError, match="no run"):
        launcher.find(waiting)
    launcher.cancel(running)
    wait_for(launcher, running, JobState.CANCELLED)
    launcher.delete(running)
    assert launcher.runs() == []


def test_the_command_that_is_shown_runs_and_resumes_the_job_by_hand(launcher: Launcher, runs_root: Path) -> None:
    run = RunFolder.create(runs_root, spec(fault="unforeseen"), 1)
    command = launcher.command(run.id)
    first = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (first.returncode, run.status().state) == (1, JobState.FAILED)
    assert "seven is not a number" in first.stderr
    second = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (second.returncode, run.status().state) == (0, JobState.SUCCEEDED)
    assert run.report() == {"total": total(10), "attempts": 2}
    third = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert third.returncode == 75
    assert "cannot become" in third.stderr


def test_a_job_at_work_cannot_be_started_again(launcher: Launcher) -> None:
    run_id = launcher.launch(spec(steps=1000, pause_s=0.02))
    run = wait_for(launcher, run_id, JobState.RUNNING)
    again = subprocess.run(
        [sys.executable, "-m", CHILD, run.path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 75
    assert "running already" in again.stderr
    assert run.status().state is JobState.RUNNING
