"""Laws of what outlives an app: jobs after a restart, workers, damaged runs, process ids, and secrets that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.errors import JobError
from tests.jobs import began, is_gone, spec, wait_for, wait_for_step, wait_until
from train_jobs.launching import processes
from train_jobs.launching.launcher import Launcher
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobState

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are found by their environment, on Linux alone")

# -- after a restart ----------------------------------------------------------------------------------------------


def test_a_new_launcher_leaves_a_live_job_alone_and_sees_its_end(make_launcher: Callable[..., Launcher]) -> None:
    old = make_launcher()
    run_id = old.launch(spec(steps=20, pause_s=0.02))
    waiting = old.launch(spec())
    run = wait_for_step(old, run_id, 2)
    new = make_launcher()
    new.reconcile()
    assert run.status().state is JobState.RUNNING
    wait_for(new, run_id, JobState.SUCCEEDED)
    assert began(run) == [0]
    wait_for(new, waiting, JobState.SUCCEEDED)


def test_a_new_launcher_ends_what_died_meanwhile_and_starts_the_next(make_launcher: Callable[..., Launcher]) -> None:
    old = make_launcher()
    run_id = old.launch(spec(steps=1000, pause_s=0.02))
    waiting = old.launch(spec())
    run = wait_for_step(old, run_id, 2)
    pid = run.status().pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    # Nobody waits for it: it stays as a zombie, which is dead.
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the job is a zombie")
    new = make_launcher()
    new.reconcile()
    assert run.status().state is JobState.FAILED
    assert "ended without saying why" in run.status().sentence
    wait_for(new, waiting, JobState.SUCCEEDED)


def test_a_process_that_got_the_same_id_is_nobodys_job(launcher: Launcher) -> None:
    run_id = launcher.launch(spec(fault="killed"))
    run = wait_for(launcher, run_id, JobState.FAILED)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as foreign:
        try:
            # The dead job's id was given to another process.
            run.write_status(replace(run.status(), state=JobState.RUNNING, pid=foreign.pid))
            assert not processes.signal_job(foreign.pid, run.status().process_started, signal.SIGKILL)
            assert launcher.cancel(run_id).state is JobState.CANCELLED
            run.write_status(replace(run.status(), state=JobState.RUNNING, pid=foreign.pid))
            run.forget_cancel()
            launcher.reconcile()
            assert run.status().state is JobState.FAILED
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_job_that_another_launcher_resumed_is_not_taken_for_the_attempt_that_ended(
    make_launcher: Callable[..., Launcher], tmp_path: Path
) -> None:
    one, other = make_launcher(), make_launcher()
    run = one.find(one.launch(spec(fault="unforeseen")))
    wait_until(lambda: run.status().state is JobState.FAILED, "it failed")
    gate = tmp_path / "gate"
    other.launch(spec(gate=str(gate)))
    assert other.resume(run.id).state is JobState.QUEUED
    one.reconcile()
    assert run.status().state is JobState.QUEUED
    gate.touch()
    wait_for(one, run.id, JobState.SUCCEEDED)


@LINUX
@pytest.mark.parametrize("fault", ["worker left behind", "worker forgotten"])
def test_no_worker_outlives_its_job(launcher: Launcher, fault: str) -> None:
    run_id = launcher.launch(spec(fault=fault))
    run = wait_for(launcher, run_id)
    worker = next(row["worker"] for row in run.metrics() if "worker" in row)
    wait_until(lambda: is_gone(worker), "the worker is gone", launcher.reconcile)
    assert processes.marked().get(run.path) is None
    assert run.status().state is (JobState.FAILED if fault == "worker left behind" else JobState.SUCCEEDED)


@LINUX
def test_workers_whose_job_ended_while_nobody_looked_are_ended_by_the_next_launcher(
    make_launcher: Callable[..., Launcher],
) -> None:
    old = make_launcher()
    run = old.find(old.launch(spec(fault="worker forgotten")))
    wait_until(lambda: run.status().state is JobState.SUCCEEDED, "the job is over")
    worker = next(row["worker"] for row in run.metrics() if "worker" in row)
    assert not is_gone(worker)
    new = make_launcher()
    wait_until(lambda: is_gone(worker), "the worker is gone", new.reconcile)


def test_a_run_that_cannot_be_read_stops_no_other(launcher: Launcher, runs_root: Path) -> None:
    broken = RunFolder.create(runs_root, spec(), 1)
    (broken.path / "spec.json").write_text('{"kind": "sft", "name": "from the future", "colour": "red"}')
    wait_for(launcher, launcher.launch(spec()), JobState.SUCCEEDED)
    wait_for(launcher, broken.id, JobState.FAILED)
    assert "A job has no colour" in broken.status().sentence


def test_a_damaged_status_is_a_failure_that_can_be_resumed(launcher: Launcher, runs_root: Path) -> None:
    run = RunFolder.create(runs_root, spec(), 1)
    (run.path / "status.json").write_text("{")
    launcher.reconcile()
    assert run.status().state is JobState.FAILED
    assert "status.json cannot be read" in run.status().sentence
    launcher.resume(run.id)
    wait_for(launcher, run.id, JobState.SUCCEEDED)


def test_a_damaged_status_of_a_job_at_work_is_left_to_the_job(launcher: Launcher) -> None:
    run = wait_for_step(launcher, launcher.launch(spec(steps=60, pause_s=0.03)), 2)
    (run.path / "status.json").write_text("{")
    launcher.reconcile()
    wait_until(lambda: (run.path / "status.json").read_text() != "{", "the job wrote again", launcher.reconcile)
    wait_for(launcher, run.id, JobState.SUCCEEDED)


def test_a_run_with_a_damaged_status_can_be_deleted(launcher: Launcher, runs_root: Path) -> None:
    run = RunFolder.create(runs_root, spec(), 1)
    (run.path / "status.json").write_text("{")
    launcher.delete(run.id)
    assert launcher.runs() == []


def test_what_was_interrupted_half_way_is_cleared_away(launcher: Launcher, runs_root: Path) -> None:
    for name in (".new-one", ".deleted-other"):
        (runs_root / name / "deep").mkdir(parents=True)
    launcher.reconcile()
    assert [each.name for each in runs_root.iterdir()] == [".lock"]


# -- processes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [processes.look, processes.look_with_ps])
def test_a_process_is_known_by_its_id_and_its_start(look: Callable[[int], processes.Seen | None]) -> None:
    own = look(os.getpid())
    assert own is not None
    assert own == look(os.getpid())
    assert not own.is_zombie
    with subprocess.Popen(["sleep", "600"]) as other:
        alive = look(other.pid)
        assert alive is not None
        assert alive.started
        assert not alive.is_zombie
        other.kill()
        wait_until(lambda: (seen := look(other.pid)) is not None and seen.is_zombie, "it is a zombie")
    assert look(other.pid) is None


# -- secrets ------------------------------------------------------------------------------------------------------

SECRETS = {"owner_token": "owner-7f3a91", "engine_key": "sk-engine-55aa", "hf_token": "hf_abcdefghij"}


@LINUX
def test_no_secret_reaches_a_disk_a_command_line_or_an_environment(
    make_launcher: Callable[..., Launcher], monkeypatch: pytest.MonkeyPatch, runs_root: Path
) -> None:
    monkeypatch.setenv("GUARDROOM_OWNER_TOKEN", SECRETS["owner_token"])
    monkeypatch.setenv("GUARDROOM_ENGINE_KEY", SECRETS["engine_key"])
    monkeypatch.setenv("HF_TOKEN", SECRETS["hf_token"])
    monkeypatch.setenv("SOMETHING_ELSE", f"Bearer {SECRETS['engine_key']}")
    monkeypatch.setenv("GUARDROOM_DATABASE_URL", "postgresql://ann:bread-4411@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-998877")
    monkeypatch.setenv("PLAIN", "stays")
    launcher = make_launcher(secrets=lambda: SECRETS)
    run_id = launcher.launch(spec(say="told:", steps=6, pause_s=0.05, fault="unforeseen"))
    run = wait_for_step(launcher, run_id, 1)
    pid = run.status().pid
    shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PLAIN=stays" in shown
    wait_for(launcher, run_id, JobState.FAILED)
    # The job had those that it may need, and printed them.
    assert "told: engine_key=••• hf_token=•••\n" in run.log_tail()
    written = b"".join(path.read_bytes() for path in runs_root.rglob("*") if path.is_file())
    for value in (*SECRETS.values(), "bread-4411", "aws-998877"):
        assert value.encode() not in shown + written


def test_a_spec_that_holds_a_secret_is_not_launched(make_launcher: Callable[..., Launcher]) -> None:
    launcher = make_launcher(secrets=lambda: SECRETS)
    with pytest.raises(JobError, match="holds a secret") as refused:
        launcher.launch(spec(say=f"the key is {SECRETS['engine_key']}"))
    assert SECRETS["engine_key"] not in str(refused.value)
    assert launcher.runs() == []
