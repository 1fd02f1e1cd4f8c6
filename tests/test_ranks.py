"""Laws of training in several processes: two on gloo learn what one learns, and nothing is lost at a stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.folder import BUILTIN_FOLDER
from core.checkpoints.registry import Registry
from core.errors import JobError
from core.media.video import VideoReader
from core.settings import ASSETS
from core.snapshots.folder import Split
from core.types import Assessment, Label, Sample
from tests import grpo_runs, hard_data, sft_runs
from tests.grpo_runs import A, H, U, card, weights_of
from tests.jobs import finish, wait_for, wait_for_step
from tests.snapshots import item
from train_jobs.grpo import job as grpo
from train_jobs.grpo.rollouts import RolloutLine, read_rollout, rollout_steps
from train_jobs.launching import processes
from train_jobs.launching.launcher import Launcher
from train_jobs.recipes.grpo import check_grpo
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobSpec, JobState
from train_jobs.several.ranks import filled_up
from train_jobs.sft import job as sft
from train_jobs.training.dataset import Example, ReasoningFrom, rows_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

TWO = {"accelerate": str(ASSETS / "accelerate" / "cpu-2.yaml")}
CLOSE = 1e-4
"""Losses and rewards may differ by so much, relatively: sums of floats are taken in another order."""
SAME_WAY = 0.01
"""The distance of the two ends, as a share of the way from the base: Adam turns the sign of a gradient near zero into a
whole step."""


def in_two_processes(spec: JobSpec, root: Path, cancel_at: int) -> RunFolder:
    """The job launched, cancelled after a step, resumed, and at its end."""
    launcher = Launcher(root / "runs", grace_s=120.0)
    try:
        run = wait_for_step(launcher, launcher.launch(spec), cancel_at)
        launcher.cancel(run.id)
        wait_for(launcher, run.id, JobState.CANCELLED)
        saved = run.last_checkpoint()
        assert saved is not None
        assert f"after step {saved.step} of " in run.status().sentence
        assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in saved.path.iterdir()}
        assert not (set(processes.marked().get(run.path, [])) - {run.status().pid})
        launcher.resume(run.id)
        wait_for(launcher, run.id, JobState.SUCCEEDED)
        return run
    finally:
        finish(launcher)


def by_step(run: RunFolder, name: str) -> dict[int, float]:
    return {row["step"]: row[name] for row in run.metrics() if name in row and "step" in row}


def apart(one: RunFolder, other: RunFolder) -> float:
    """The distance of two runs' weights, as a share of the way that the second went from the base."""
    import torch

    ends = [weights_of(Path(Registry(run.path.parent.parent).source(card(run)))) for run in (one, other)]
    base = weights_of(BUILTIN_FOLDER)
    assert ends[0].keys() == ends[1].keys() == base.keys()
    between, way = (
        torch.cat([(first[name] - second[name]).flatten() for name in base]).norm()
        for first, second in (ends, (ends[1], base))
    )
    assert way > 0
    return float(between / way)


def test_fine_tuning_in_two_processes_is_fine_tuning_in_one(tmp_path: Path, film: Path, reader: VideoReader) -> None:
    """Texts, a picture and a clip, a last batch that is not full, and a stop in between."""
    checks = [item(Sample(f"Is cake number {number} good?"), Label.UNHARMFUL) for number in range(10)]
    checks += [item(Sample(f"Selling vouchers for shop {number}."), Label.HARMFUL) for number in range(10)]
    material = sft_runs.make_snapshot(tmp_path / "data", film, reader, {Split.VALIDATION: checks})
    changes: Mapping[str, Any] = {"epochs": 6, "micro_batch": 2, "learning_rate": 2e-4, "checks_an_epoch": 1}
    alone = sft_runs.job(tmp_path / "alone", material.snapshot, **changes)
    sft.run(alone)
    spec = JobSpec(**{**alone.spec.to_json(), "options": TWO, "created_at": ""})
    run = in_two_processes(spec, tmp_path / "together", cancel_at=1)
    assert by_step(run, "loss") == pytest.approx(by_step(alone.run, "loss"), rel=CLOSE)
    assert by_step(run, "validation_f1") == by_step(alone.run, "validation_f1")
    assert apart(run, alone.run) < SAME_WAY
    figures = [(each.report() or {})["figures"] for each in (run, alone.run)]
    assert figures[0]["rows"] == figures[1]["rows"]
    assert [figures[0]["steps"], figures[0]["validation_f1"]] == [figures[1]["steps"], figures[1]["validation_f1"]]


def test_reinforcement_in_two_processes_is_reinforcement_in_one(tmp_path: Path) -> None:
    """Rollouts too: what is drawn hangs on the stretch of completions, not on the process that draws it."""
    texts = ("How do I bake bread?", "Who built the lighthouse?", "Is the soup warm?", "Where do ferries sleep?")
    rows = [(Sample(text), H if at % 2 else U, A) for at, text in enumerate(texts)]
    snapshot = hard_data.write_snapshot(
        tmp_path / "snapshots" / "hard", {Split.TRAIN: rows, Split.VALIDATION: [(Sample("Good morning"), U, A)]}
    )
    settings = grpo_runs.settings_of(
        prompts=4, generations=4, passes=2, micro_batch=4, generate_at_once=4, epochs=2, learning_rate=5e-4,
        dynamic_clipping=True, clip_high=0.2, kl=0.1, concatenation={"share": 0.0}, longest_completion=82,
        mining={"rule": "all"},
    )  # fmt: skip
    alone = grpo_runs.new_run(tmp_path / "alone", snapshot, settings)
    grpo_runs.attempt(alone)
    spec = JobSpec(**{**alone.spec().to_json(), "options": TWO, "created_at": ""})
    run = in_two_processes(spec, tmp_path / "together", cancel_at=1)
    assert rollout_steps(run) == rollout_steps(alone) == [0, 2]
    assert any(by_step(alone, "gradient_norm").values()), "something is learned"
    for step in rollout_steps(alone):
        mine, theirs = (told(each, step) for each in (run, alone))
        assert mine.keys() == theirs.keys()
        for key, (reward, advantage) in mine.items():
            assert (reward, advantage) == pytest.approx(theirs[key], abs=CLOSE)
    for name in ("loss", "clip_low", "accuracy", "reward", "completion_tokens"):
        assert by_step(run, name) == pytest.approx(by_step(alone, name), rel=1e-3, abs=CLOSE), name
    assert apart(run, alone) < SAME_WAY


def told(run: RunFolder, step: int) -> dict[tuple[int, str, str, int], tuple[float, float]]:
    """Reward and advantage of the completions of a rollout, by group, sample, text, and which of the like it is."""
    lines: list[RolloutLine] = read_rollout(run, step)
    found: dict[tuple[int, str, str, int], tuple[float, float]] = {}
    for line in lines:
        again = sum((line.group, line.sample_id, line.text) == key[:3] for key in found)
        found[line.group, line.sample_id, line.text, again] = (line.reward, line.advantage)
    assert len(found) == len(lines) == 16
    assert [line.group for line in lines] == sorted(line.group for line in lines)
    return found


@pytest.mark.parametrize(
    ("changes", "processes_", "words"),
    [
        (
            {"prompts": 3, "generations": 4, "micro_batch": 3},
            2,
            "A rollout of 3 prompts cannot be shared by 2",
        ),
        ({"prompts": 4, "generations": 4, "micro_batch": 8}, 5, "An update of 16 sequences cannot be shared by 5"),
    ],
)
def test_completions_that_cannot_be_shared_are_refused_before_anything_is_trained(
    changes: dict[str, Any], processes_: int, words: str
) -> None:
    settings = check_grpo(grpo_runs.settings_of(**changes))
    with pytest.raises(JobError, match=words):
        grpo.shared(settings, processes_)


def test_rows_that_fill_the_last_batch_up_weigh_nothing() -> None:
    rows = [
        row
        for text in ("a longer text", "b")
        for row in rows_of(Example(Sample(text), Assessment(H, A), ReasoningFrom.MISSING))
    ]
    filled = filled_up(rows, 4)
    assert filled[:2] == rows
    assert [(row.sample.request, row.weight) for row in filled[2:]] == [("b", 0.0), ("b", 0.0)]
    assert filled_up(rows, 2) == rows
