"""Laws of jobs in several processes: one status, one sentence, and nobody left behind. Two processes on gloo."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import Cancelled, JobError
from core.settings import ASSETS
from tests.jobs import finish, launcher_of, wait_for, wait_for_step, wait_until
from train_jobs.launch import read_spec
from train_jobs.launching import processes
from train_jobs.launching.accelerate_file import accelerate_of, read_accelerate
from train_jobs.launching.launcher import Launcher
from train_jobs.launching.queueing import is_taken
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState
from train_jobs.several.ranks import Outcome, RankContext, Share, share_batch
from train_jobs.several.start import command, judge

TWO = ASSETS / "accelerate" / "cpu-2.yaml"
EXAMPLES = sorted((ASSETS / "accelerate").glob("*.yaml"))


def spec(device: str = "cpu", kind: JobKind = JobKind.SFT, accelerate: Any = str(TWO), **options: Any) -> JobSpec:
    return JobSpec(kind, "a test", options={"accelerate": accelerate, **options}, device=device)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = launcher_of(tmp_path / "runs", child="tests.rank_child", grace_s=60.0)
    yield made
    finish(made)


def pids_of(run: RunFolder) -> list[int]:
    """Of the processes of the last attempt."""
    found: list[int] = [row["pids"] for row in run.metrics() if "pids" in row][-1]
    return found


def nobody_is_left(run: RunFolder, pids: list[int]) -> None:
    """Neither they nor what they started; the job's own process needs a moment after its last word."""
    assert not any(processes.look(pid) for pid in pids)
    wait_until(lambda: not processes.marked().get(run.path), "no process is left")


# -- processes --------------------------------------------------------------------------------------------------------


def test_all_do_the_work_and_the_first_alone_writes(launcher: Launcher) -> None:
    run = wait_for(launcher, launcher.launch(spec()))
    status = run.status()
    assert (status.state, status.sentence) == (JobState.SUCCEEDED, ""), run.log_tail()
    assert run.report() == {"total": 6 * (1 + 2)}
    assert [row["step"] for row in run.metrics() if "step" in row] == [1, 2, 3, 4, 5, 6]
    assert status.progress is not None
    assert (status.progress.done, status.progress.total, status.progress.words) == (6, 6, "adding up")
    assert len(set(pids_of(run))) == 2
    assert status.pid not in pids_of(run)
    nobody_is_left(run, pids_of(run))


def test_cancelling_stops_all_after_one_step_with_a_whole_checkpoint_and_resuming_goes_on(launcher: Launcher) -> None:
    run = wait_for_step(launcher, launcher.launch(spec(steps=40, pause_s=0.1)), 3)
    launcher.cancel(run.id)
    wait_for(launcher, run.id, JobState.CANCELLED)
    nobody_is_left(run, pids_of(run))
    done = max(row["step"] for row in run.metrics() if "step" in row)
    saved = run.last_checkpoint()
    assert saved is not None
    assert saved.step == done < 40
    assert {path.name for path in saved.path.iterdir()} >= {"part-0.json", "part-1.json", "state.json"}
    assert run.status().sentence == f"Cancelled at step {done} of 40."
    launcher.resume(run.id)
    wait_for(launcher, run.id, JobState.SUCCEEDED)
    assert run.report() == {"total": 40 * 3}
    assert [row["began"] for row in run.metrics() if "began" in row] == [0, done]


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        ("killed", JobState.FAILED, r"One of the job's processes ended, and the others with it. .*killed from outside"),
        ("bad data", JobState.FAILED, r"^The picture of row 7 cannot be read\.$"),
        ("out of memory", JobState.FAILED, r"^The job ran out of memory on cpu\."),
        ("told to end", JobState.CANCELLED, r"^Cancelled at step 3 of 6\.$"),
    ],
)
def test_what_befalls_one_process_ends_all_with_one_sentence(
    launcher: Launcher, fault: str, state: JobState, words: str
) -> None:
    run = wait_for(launcher, launcher.launch(spec(fault=fault)))
    status = run.status()
    assert status.state is state, run.log_tail()
    assert re.search(words, status.sentence), status.sentence
    nobody_is_left(run, pids_of(run))
    if fault == "killed":
        launcher.resume(run.id)
        wait_for(launcher, run.id, JobState.SUCCEEDED)
        assert run.report() == {"total": 6 * 3}


@pytest.mark.skipif(sys.platform != "linux", reason="what a job leaves behind is seen on Linux alone")
def test_when_the_jobs_own_process_is_killed_the_others_end_and_the_run_has_failed(launcher: Launcher) -> None:
    run = wait_for_step(launcher, launcher.launch(spec(steps=400, pause_s=0.1)), 2)
    pid = run.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(launcher, run.id, JobState.FAILED)
    wait_until(lambda: not any(processes.look(each) for each in pids_of(run)), "the others are gone")
    nobody_is_left(run, pids_of(run))


def test_without_a_launcher_the_processes_end_by_themselves_when_the_job_is_killed(tmp_path: Path) -> None:
    import subprocess

    run = RunFolder.create(tmp_path / "runs", spec(steps=400, pause_s=0.1), 1)
    child = subprocess.Popen([sys.executable, "-m", "tests.rank_child", str(run.path)], stdout=subprocess.DEVNULL)
    wait_until(lambda: any(row.get("step", 0) >= 2 for row in run.metrics()), "two steps are done")
    child.kill()
    child.wait()
    wait_until(lambda: not any(processes.look(pid) for pid in pids_of(run)), "the others are gone")


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "at_once", "processes", "expected"),
    [
        (16, 8, 1, Share(8, 2)),
        (16, 8, 2, Share(8, 1)),
        (16, 4, 2, Share(4, 2)),
        (16, 8, 4, Share(4, 1)),
        (384, 4, 8, Share(4, 12)),
        (2, 1, 2, Share(1, 1)),
    ],
)
def test_the_shares_of_a_batch_are_exactly_the_batch(batch: int, at_once: int, processes: int, expected: Share) -> None:
    share = share_batch(batch, at_once, processes)
    assert share == expected
    assert share.at_once * share.accumulation * processes == batch


@pytest.mark.parametrize(("batch", "at_once", "processes"), [(16, 8, 3), (12, 4, 2), (2, 1, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int, at_once: int, processes: int) -> None:
    with pytest.raises(JobError, match=f"An update of {batch} sequences cannot be shared by {processes} processes"):
        share_batch(batch, at_once, processes)


def test_a_file_for_one_process_needs_no_others(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", spec(), 1)
    alone = RankContext(run, run.spec(), run.status())
    assert (alone.gather(3), alone.stop_agreed()) == ([3], False)
    alone.stop.set()
    assert alone.stop_agreed()


def test_the_one_that_failed_by_itself_gives_the_sentence() -> None:
    lost = Outcome(0, "failed", "Connection closed by peer.", 1.0, lost_peer=True)
    with pytest.raises(JobError, match=r"^The disk is full$"):
        judge([lost, Outcome(1, "failed", "The disk is full", 2.0)], 1, [], "cpu")
    with pytest.raises(JobError, match=r"^One of the job's processes ended, .* ran out of memory on cuda"):
        judge([lost, Outcome(1)], 1, ["torch.OutOfMemoryError: CUDA out of memory"], "cuda")
    with pytest.raises(JobError, match=r"a crash \(signal 11\)"):
        judge([lost, Outcome(1)], 1, ["  exitcode  : 1 (pid: 7)", "  exitcode  : -11 (pid: 8)"], "cpu")
    with pytest.raises(JobError, match=r"^The process ended with exit status 1: no such option"):
        judge([], 1, ["no such option"], "cpu")
    stopped = Outcome(0, "cancelled", "after step 3")
    for other in (replace(stopped, process=1), replace(lost, process=1), Outcome(1)):
        with pytest.raises(Cancelled, match="after step 3"):
            judge([stopped, other], 1, [], "cpu")
    with pytest.raises(JobError, match="killed from outside"):
        judge([Outcome(0), replace(stopped, process=1)], 1, ["exitcode: -9"], "cpu")
    judge([Outcome(0, "succeeded"), Outcome(1, "running")], 1, [], "cpu")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_accelerate_itself_takes_the_examples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would start is told by its own parser and checks; nothing is started."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    file = read_accelerate(path)
    argv = command(file, Path("/runs/one"), "train_jobs.sft.job.run")
    monkeypatch.setattr(sys, "argv", argv[2:])
    read = launch_command_parser().parse_args(argv[3:])
    args, _, _ = _validate_launch_command(read)
    assert (args.num_processes, args.num_machines) == (file.processes, file.machines)
    assert args.mixed_precision == "no"
    assert (args.module, args.training_script) == (True, "train_jobs.rank")
    assert args.training_script_args == ["/runs/one", "train_jobs.sft.job.run"]
    assert args.multi_gpu == (file.type in ("MULTI_GPU", "MULTI_CPU"))
    assert args.use_fsdp == (file.type == "FSDP")
    assert args.use_deepspeed == (file.type == "DEEPSPEED")
    if file.type == "DEEPSPEED":
        assert args.zero_stage == int(path.stem.removeprefix("zero-"))
    job = spec("cpu" if file.on_cpu else "cuda", accelerate=str(path))
    if file.type == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        with pytest.raises(JobError, match="DeepSpeed is not installed here"):
            accelerate_of(job)
    else:
        assert accelerate_of(job) == file


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("- a\n- b\n", "must hold names and values"),
        ("a: [", "is no YAML"),
        ("use_cpu: true\nnum_processes: two\n", "num_processes: 'two'; it must be a whole number"),
        ("use_cpu: true\nnum_processes: 3\nnum_machines: 2\n", "3 processes for 2 machines"),
        ("distributed_type: XLA\n", "distributed_type XLA; accepted are NO, MULTI_CPU"),
        ("distributed_type: FSDP\nfsdp_config: {}\n", "set fsdp_version: 2"),
        ("distributed_type: MULTI_GPU\nnum_processes: 2\n", "is for GPUs, and the job's device is cpu"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name_before_a_run_is_made(
    launcher: Launcher, tmp_path: Path, said: str, words: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(said, encoding="utf-8")
    with pytest.raises(JobError, match=words) as told:
        launcher.launch(spec(accelerate=str(path)))
    assert str(path) in str(told.value)
    assert launcher.runs() == []


def test_the_option_wants_a_full_path_and_a_training(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"takes the full path of a file, not 'cpu-2\.yaml'"):
        accelerate_of(spec(accelerate="cpu-2.yaml"))
    with pytest.raises(JobError, match="cannot be read: No such file"):
        accelerate_of(spec(accelerate=str(tmp_path / "none.yaml")))
    with pytest.raises(JobError, match="A job of the kind evaluate runs as one process"):
        accelerate_of(spec(kind=JobKind.EVALUATE))
    assert accelerate_of(JobSpec(JobKind.SFT, "alone")) is None


def test_the_command_line_names_the_file_by_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TWO.parent)
    given = ["--snapshot", "somewhere", "--recipe", "grpo-builtin", "--accelerate", TWO.name]
    said = read_spec(given, tmp_path)
    assert (said.kind, said.options) == (JobKind.GRPO, {"accelerate": str(TWO)})
    file = accelerate_of(said)
    assert file is not None
    assert (file.type, file.processes, file.machines) == ("MULTI_CPU", 2, 1)


@pytest.mark.parametrize(
    ("queue", "by", "expected"),
    [
        ("cuda:0", ["cuda:1", "cpu"], False),
        ("cuda:0", ["cuda:0"], True),
        ("cuda:all", ["cuda:3"], True),
        ("cuda:3", ["cuda:all"], True),
        ("cuda:all", ["cpu", "mps"], False),
        ("cpu", ["cuda:all"], False),
    ],
)
def test_a_job_in_several_processes_has_all_gpus(queue: str, by: list[str], expected: bool) -> None:
    assert is_taken(queue, by) is expected
