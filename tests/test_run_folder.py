"""Laws of a run's folder: its states, its spec, its metrics and its checkpoints; no process is started here."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import JobError
from tests.job_child import WEIGHTS
from tests.jobs import spec
from train_jobs.runs.checkpoints import MARKER
from train_jobs.runs.folder import RunFolder, find_run, list_runs
from train_jobs.runs.specs import TRANSITIONS, JobKind, JobSpec, JobState, JobStatus


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\1" * 4096)


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
