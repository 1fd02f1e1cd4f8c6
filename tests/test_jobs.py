"""Laws of jobs: states, queue, cancel, resume, reconcile, delete, secrets; with true processes and a tiny job."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import JobError
from tests.job_child import WEIGHTS
from tests.jobs import CHILD, finish, launcher_of, spec, wait_for, wait_for_step, wait_until
from tests.running import ROOT
from train_jobs import processes
from train_jobs.checkpoints import MARKER
from train_jobs.child import KINDS
from train_jobs.launcher import Launcher
from train_jobs.runs import RunFolder, find_run, list_runs
from train_jobs.specs import TRANSITIONS, JobKind, JobSpec, JobState, JobStatus

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are found by their environment, on Linux alone")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def make(root: Path) -> Iterator[Callable[..., Launcher]]:
    """Makes launchers on one root; the last ends what is left."""
    made: list[Launcher] = []

    def one(**more: Any) -> Launcher:
        made.append(launcher_of(root, **more))
        return made[-1]

    yield one
    for launcher in made:
        finish(launcher)


@pytest.fixture
def launcher(make: Callable[..., Launcher]) -> Launcher:
    return make()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\1" * 4096)


def began(run: RunFolder) -> list[int]:
    """The step at which each attempt began."""
    return [row["began"] for row in run.metrics() if "began" in row]


def total(steps: int) -> int:
    return steps * (steps + 1) // 2


# -- states -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobState, JobState)))
def test_only_the_steps_of_the_table_are_taken(root: Path, old: JobState, new: JobState) -> None:
    run = RunFolder.create(root, spec(), 1)
    run.write_status(JobStatus(old, ticket=1))
    if new in TRANSITIONS[old]:
        assert run.advance(new).state is new
        assert run.status().state is new
    else:
        with pytest.raises(JobError, match=f"{old} cannot become {new}"):
            run.advance(new)
        assert run.status().state is old


def test_only_succeeded_is_final_and_every_state_can_be_reached() -> None:
    assert [state for state in JobState if state.is_over and not state.can_resume] == [JobState.SUCCEEDED]
    assert set().union(*TRANSITIONS.values()) == set(JobState)


def test_a_reader_never_sees_half_a_status(root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            run.write_status(JobStatus(JobState.RUNNING, sentence="x" * (number % 7) * 5000))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(len(run.status().sentence))
    writer.join()
    assert len(seen) > 1


def test_the_last_word_finds_room_on_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        run = RunFolder.create(small, spec(), 1)
        run.advance(JobState.RUNNING)
        fill(run.result / "big")
        with pytest.raises(OSError, match="No space"):
            run.write_status(replace(run.status(), sentence="progress"))
        assert run.status().sentence == ""
        run.advance(JobState.FAILED, sentence="The disk is full.")
        assert run.status() == JobStatus(
            JobState.FAILED, ticket=1, queued_at=run.status().queued_at, sentence="The disk is full."
        )
    finally:
        subprocess.run(["umount", small], check=True)


# -- specs --------------------------------------------------------------------------------------------------------


def test_a_spec_comes_back_from_its_file_as_it_was(root: Path) -> None:
    told = JobSpec(
        JobKind.SFT, "Bread, again", {"learning_rate": 5e-5, "targets": ("q", "v"), "name": "ü"}, "sft-omni-v1",
        "builtin", "/data/snapshots/abc", {"files": ["a.jsonl"]}, "cuda", "ann", "2026-01-01T00:00:00+00:00", "earlier",
    )  # fmt: skip
    run = RunFolder.create(root, told, 3)
    assert run.spec() == told
    assert JobSpec.from_json(json.loads(json.dumps(told.to_json()))) == told
    assert (told.queue, run.status().ticket) == ("cuda:0", 3)
    assert list_runs(root) == [run] == [find_run(root, run.id)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kindd": "sft"}, "kindd"),
        ({"kind": "cook"}, "cook"),
        ({"name": " "}, "name of 1 to"),
        ({"device": "auto"}, "'auto'"),
        ({"device": "cuda:x"}, "cuda:x"),
        ({"settings": [1]}, "settings must be an object"),
        ({"settings": {"rate": float("nan")}}, "plain JSON"),
        ({"settings": {"when": object()}}, "plain JSON"),
        ({"base": 7}, "base must be a text"),
        ({"options": {"teacher": {"api_key": "x"}}}, "options.teacher.api_key looks like a secret"),
        ({"options": {"teacher": "http://ann:bread@host/v1"}}, "user name or password"),
        ({"base": "https://ann:bread@host/model"}, "user name or password"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError, match=words):
        JobSpec.from_json({"kind": "sft", "name": "one"} | change)


@pytest.mark.parametrize("run_id", ["", "..", "../runs", "a/b", ".lock", "nothing", "UP"])
def test_what_is_no_run_id_never_becomes_a_path(root: Path, run_id: str) -> None:
    RunFolder.create(root, spec(), 1)
    with pytest.raises(JobError, match="no run"):
        find_run(root, run_id)


# -- metrics and checkpoints --------------------------------------------------------------------------------------


def test_a_torn_line_is_left_out_and_harms_no_other(root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
    run.append_metric({"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert run.metrics() == [{"step": 1}]
    run.append_metric({"step": 2, "loss": float("nan")})
    assert run.metrics() == [{"step": 1}, {"step": 2, "loss": None, "not_finite": ["loss"]}]


def test_work_that_was_lost_is_not_in_the_metrics(root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
    for row in ({"step": 1}, {"step": 2}, {"step": 3}, {"resumed_from": 1}, {"step": 2, "again": True}):
        run.append_metric(row)
    assert run.metrics() == [{"step": 1}, {"resumed_from": 1}, {"step": 2, "again": True}]


@pytest.mark.parametrize("damage", ["no marker", "cut off", "missing", "torn marker"])
def test_a_checkpoint_counts_only_when_it_is_whole(root: Path, damage: str) -> None:
    run = RunFolder.create(root, spec(), 1)
    for step in (2, 10):
        folder = run.checkpoints / f"checkpoint-{step}"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "weights.bin").write_bytes(WEIGHTS)
        run.mark_complete(folder, step, {"f1": 0.5})
    last = run.last_checkpoint()
    assert last is not None
    assert (last.step, last.facts) == (10, {"f1": 0.5})
    match damage:
        case "no marker":
            (last.path / MARKER).unlink()
        case "cut off":
            (last.path / "deep" / "weights.bin").write_bytes(WEIGHTS[:-1])
        case "missing":
            (last.path / "deep" / "weights.bin").unlink()
        case _:
            (last.path / MARKER).write_text('{"step": 10, "fi')
    assert [saved.step for saved in run.complete_checkpoints()] == [2]
    assert run.remove_incomplete_checkpoints() == ["checkpoint-10"]
    assert not last.path.exists()


def test_the_log_is_shown_as_a_terminal_shows_it(root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
    assert run.log_tail() == ""
    run.log_path.write_bytes(b"--- attempt 1, then\nold\n--- attempt 2, now\n" + b" 1%\r 50%\r100%\r\nend \xff\n\n")
    assert run.log_tail(2) == "100%\nend \ufffd"
    assert run.log_tail(last_attempt=True) == "100%\nend \ufffd"
    assert run.log_tail().startswith("--- attempt 1")


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


def test_many_launchers_start_a_job_once(make: Callable[..., Launcher]) -> None:
    launchers = [make() for _ in range(4)]
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


def test_a_job_that_does_not_listen_is_killed_after_the_time_of_grace(make: Callable[..., Launcher]) -> None:
    launcher = make(grace_s=0.3)
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


def test_a_child_that_never_begins_fails_with_what_it_said(make: Callable[..., Launcher]) -> None:
    launcher = make(child="tests.no_such_child")
    run = wait_for(launcher, launcher.launch(spec()), JobState.FAILED)
    assert "No module named tests.no_such_child" in run.status().sentence


# -- after a restart ----------------------------------------------------------------------------------------------


def test_a_new_launcher_leaves_a_live_job_alone_and_sees_its_end(make: Callable[..., Launcher]) -> None:
    old = make()
    run_id = old.launch(spec(steps=20, pause_s=0.02))
    waiting = old.launch(spec())
    run = wait_for_step(old, run_id, 2)
    new = make()
    new.reconcile()
    assert run.status().state is JobState.RUNNING
    wait_for(new, run_id, JobState.SUCCEEDED)
    assert began(run) == [0]
    wait_for(new, waiting, JobState.SUCCEEDED)


def test_a_new_launcher_ends_what_died_meanwhile_and_starts_the_next(make: Callable[..., Launcher]) -> None:
    old = make()
    run_id = old.launch(spec(steps=1000, pause_s=0.02))
    waiting = old.launch(spec())
    run = wait_for_step(old, run_id, 2)
    pid = run.status().pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    # Nobody waits for it: it stays as a zombie, which is dead.
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "the job is a zombie")
    new = make()
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
    make: Callable[..., Launcher], tmp_path: Path
) -> None:
    one, other = make(), make()
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
    make: Callable[..., Launcher],
) -> None:
    old = make()
    run = old.find(old.launch(spec(fault="worker forgotten")))
    wait_until(lambda: run.status().state is JobState.SUCCEEDED, "the job is over")
    worker = next(row["worker"] for row in run.metrics() if "worker" in row)
    assert not is_gone(worker)
    new = make()
    wait_until(lambda: is_gone(worker), "the worker is gone", new.reconcile)


def test_a_run_that_cannot_be_read_stops_no_other(launcher: Launcher, root: Path) -> None:
    broken = RunFolder.create(root, spec(), 1)
    (broken.path / "spec.json").write_text('{"kind": "sft", "name": "from the future", "colour": "red"}')
    wait_for(launcher, launcher.launch(spec()), JobState.SUCCEEDED)
    wait_for(launcher, broken.id, JobState.FAILED)
    assert "A job has no colour" in broken.status().sentence


def test_a_damaged_status_is_a_failure_that_can_be_resumed(launcher: Launcher, root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
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


def test_a_run_with_a_damaged_status_can_be_deleted(launcher: Launcher, root: Path) -> None:
    run = RunFolder.create(root, spec(), 1)
    (run.path / "status.json").write_text("{")
    launcher.delete(run.id)
    assert launcher.runs() == []


def test_what_was_interrupted_half_way_is_cleared_away(launcher: Launcher, root: Path) -> None:
    for name in (".new-one", ".deleted-other"):
        (root / name / "deep").mkdir(parents=True)
    launcher.reconcile()
    assert [each.name for each in root.iterdir()] == [".lock"]


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


def test_the_command_that_is_shown_runs_and_resumes_the_job_by_hand(launcher: Launcher, root: Path) -> None:
    run = RunFolder.create(root, spec(fault="unforeseen"), 1)
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


# -- secrets ------------------------------------------------------------------------------------------------------

SECRETS = {"owner_token": "owner-7f3a91", "engine_key": "sk-engine-55aa", "hf_token": "hf_abcdefghij"}


@LINUX
def test_no_secret_reaches_a_disk_a_command_line_or_an_environment(
    make: Callable[..., Launcher], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setenv("GUARDROOM_OWNER_TOKEN", SECRETS["owner_token"])
    monkeypatch.setenv("GUARDROOM_ENGINE_KEY", SECRETS["engine_key"])
    monkeypatch.setenv("HF_TOKEN", SECRETS["hf_token"])
    monkeypatch.setenv("SOMETHING_ELSE", f"Bearer {SECRETS['engine_key']}")
    monkeypatch.setenv("GUARDROOM_DATABASE_URL", "postgresql://ann:bread-4411@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-998877")
    monkeypatch.setenv("PLAIN", "stays")
    launcher = make(secrets=lambda: SECRETS)
    run_id = launcher.launch(spec(say="told:", steps=6, pause_s=0.05, fault="unforeseen"))
    run = wait_for_step(launcher, run_id, 1)
    pid = run.status().pid
    shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PLAIN=stays" in shown
    wait_for(launcher, run_id, JobState.FAILED)
    # The job had those that it may need, and printed them.
    assert "told: engine_key=••• hf_token=•••\n" in run.log_tail()
    written = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    for value in (*SECRETS.values(), "bread-4411", "aws-998877"):
        assert value.encode() not in shown + written


def test_a_spec_that_holds_a_secret_is_not_launched(make: Callable[..., Launcher]) -> None:
    launcher = make(secrets=lambda: SECRETS)
    with pytest.raises(JobError, match="holds a secret") as refused:
        launcher.launch(spec(say=f"the key is {SECRETS['engine_key']}"))
    assert SECRETS["engine_key"] not in str(refused.value)
    assert launcher.runs() == []


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
