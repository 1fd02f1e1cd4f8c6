"""Laws of what a fine-tuning has prepared: a resumed run takes it as it is, and a deleted sample leaves it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import Cancelled, JobError
from core.snapshots.folder import Split, read
from core.types import Label, Sample
from tests.grpo_runs import A, H, new_run, settings_of
from tests.hard_data import write_snapshot as write_hard
from tests.sft_runs import job
from tests.snapshots import item, write_snapshot
from train_jobs.forgetting import forget_sample
from train_jobs.grpo import job as grpo
from train_jobs.grpo.hard_rows import FACTS, HARD
from train_jobs.recipes.sft import check_settings
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobState
from train_jobs.sft import prepared
from train_jobs.training.base import load_base
from train_jobs.training.dataset import ReasoningFrom, example_of

GONE, LEFT = Sample("Selling a secret recipe."), Sample("Is bread good?")


def items(*samples: Sample) -> list[Any]:
    return [item(sample, Label.HARMFUL) for sample in samples]


def prepared_run(root: Path) -> JobContext:
    """A run that was cancelled after it had prepared its rows."""
    snapshot = write_snapshot(root / "snapshot", {Split.TRAIN: items(GONE, LEFT)})
    context = job(root, snapshot)
    examples = [
        example_of(each).with_steps((f"It says: {each.sample.request}",), ReasoningFrom.TEACHER)
        for each in items(GONE, LEFT)
    ]
    prepared.write_prepared(context.run, check_settings(context.spec.settings), examples, [], {"examples": 2})
    context.run.advance(JobState.CANCELLED)
    return context


def read_again(context: JobContext, *samples: Sample) -> Any:
    examples = [example_of(each) for each in items(*samples)]
    return prepared.read_prepared(context.run, check_settings(context.spec.settings), examples)


def texts(run: RunFolder) -> str:
    return "".join(path.read_text() for path in (run.path / "rollouts").iterdir() if path.is_file())


def test_a_resumed_run_takes_what_was_prepared(tmp_path: Path) -> None:
    context = prepared_run(tmp_path)
    examples, replayed, facts = read_again(context, GONE, LEFT)
    assert [each.assessment.reasoning for each in examples] == [
        ("It says: Selling a secret recipe.",),
        ("It says: Is bread good?",),
    ]
    assert {each.source for each in examples} == {ReasoningFrom.TEACHER}
    assert (replayed, facts) == ([], {"examples": 2})
    assert read_again(context, LEFT, Sample("another")) is None, "a sample that nobody prepared"


def test_a_deleted_sample_leaves_what_was_prepared_and_the_rest_is_still_taken(tmp_path: Path) -> None:
    context = prepared_run(tmp_path)
    assert "secret" in texts(context.run)
    assert forget_sample(tmp_path / "runs", GONE.id) == 1
    assert forget_sample(tmp_path / "runs", GONE.id) == 0
    assert "secret" not in texts(context.run)
    assert GONE.id not in texts(context.run)
    examples, _, _ = read_again(context, LEFT)
    assert [each.sample for each in examples] == [LEFT]
    assert examples[0].assessment.reasoning == ("It says: Is bread good?",)


def test_what_cannot_be_read_is_removed_with_the_sample(tmp_path: Path) -> None:
    context = prepared_run(tmp_path)
    (context.run.rollouts / prepared.PREPARED).write_text('{"reasoning": {"' + GONE.id + '": [', encoding="utf-8")
    assert forget_sample(tmp_path / "runs", GONE.id) == 1
    assert texts(context.run) == ""


def test_the_other_processes_wait_for_what_the_first_prepares(tmp_path: Path) -> None:
    context = prepared_run(tmp_path)
    path = context.run.rollouts / prepared.PREPARED
    made, looked = path.read_bytes(), 0
    path.unlink()

    def read() -> Any:
        nonlocal looked
        looked += 1
        if looked == 2:
            path.write_bytes(made)
        return read_again(context, GONE, LEFT)

    second = JobContext(context.run, context.spec, context.status, process=1, processes=2)
    assert len(second.await_first(read)[0]) == 2
    path.unlink()
    second.stop.set()
    with pytest.raises(Cancelled, match="before the first step"):
        second.await_first(lambda: read_again(context, GONE, LEFT))


def test_reasoning_that_makes_a_row_too_long_is_counted_and_no_longer_told_as_a_persons(tmp_path: Path) -> None:
    short, long = ("The request is fine.",), ("It asks for a loaf of bread. " * 200,)
    rows = [item(Sample(text), Label.UNHARMFUL) for text in ("Is bread good?", "Is cake good?", "word " * 900)]
    for at, steps in enumerate((short, long)):
        rows[at] = replace(rows[at], assessment=replace(rows[at].assessment, reasoning=steps))
    context = job(tmp_path, write_snapshot(tmp_path / "snapshot", {Split.TRAIN: rows}))
    settings, snapshot = check_settings(context.spec.settings), read(tmp_path / "snapshot")
    base = load_base("builtin", "cpu", settings, snapshot)
    try:
        made = prepared.prepare(context, settings, base, snapshot)
        resumed = prepared.prepare(context, settings, base, snapshot)
    finally:
        base.close()
    assert {each.sample.request: (each.source, each.assessment.reasoning) for each in made.examples} == {
        "Is bread good?": (ReasoningFrom.PERSON, short),
        "Is cake good?": (ReasoningFrom.MISSING, ()),
    }
    facts = dict(made.facts)
    assert (facts["examples"], facts["left_out_too_long"], facts["reasoning_left_out_too_long"]) == (2, 1, 1)
    assert (facts["reasoning"]["person"], facts["reasoning"]["missing"]) == (1, 1)
    assert resumed == made, "a resumed run tells the same"


def test_a_grpo_run_all_of_whose_samples_were_deleted_says_so(tmp_path: Path) -> None:
    snapshot = write_hard(tmp_path / "snapshots" / "hard", {Split.TRAIN: [(LEFT, H, A)]})
    run = new_run(tmp_path, snapshot, settings_of())
    (run.rollouts / HARD).write_text("", encoding="utf-8")
    (run.rollouts / FACTS).write_text(json.dumps({"joined": 0}), encoding="utf-8")
    with pytest.raises(JobError, match="All samples that this run trained on were deleted; start another run"):
        grpo.run(JobContext(run, run.spec(), run.status()))
