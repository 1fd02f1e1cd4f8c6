"""Laws of GRPO as a job: mining and freezing, stopping and resuming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.registry import Registry
from core.errors import Cancelled, JobError
from core.mining.rules import Answer
from core.snapshots.folder import Split
from core.types import Sample
from tests.grpo_runs import A, H, U, attempt, card, new_run, settings_of, weights_of
from tests.hard_data import write_snapshot
from train_jobs.grpo import job as grpo
from train_jobs.grpo.hard_rows import judged, read_hard, read_mined
from train_jobs.grpo.rollouts import OPEN, forget, read_rollout, rollout_steps
from train_jobs.recipes.grpo import MiningSettings, check_grpo
from train_jobs.rules.augment import HardRow
from train_jobs.rules.clipping import clip_bound
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("rule", "drop", "answers", "expected"),
    [
        ("vl", False, (None, (U, A)), (2, True)),
        ("vl", False, ((H, A), (U, A)), (1, False)),
        ("omni-v1", False, ((H, A), (U, A)), (1, True)),
        ("omni-v1", False, ((H, A), (H, A)), (0, False)),
        ("omni-v1", False, ((U, A), (U, A)), (2, True)),
        ("omni-v1", True, ((U, A), (U, A)), (2, False)),
        ("omni-v1", True, ((H, A), (U, A)), (1, True)),
        ("omni-v2", False, ((U, A), (U, A)), (2, False)),
        ("all", False, (), (None, True)),
    ],
)
def test_a_sample_is_kept_by_the_recipes_rule(
    rule: Any, drop: bool, answers: Sequence[Answer | None], expected: tuple[int | None, bool]
) -> None:
    assert judged(MiningSettings(rule=rule, n=2, drop_all_wrong=drop), answers, (H, A)) == expected


def test_mining_keeps_by_the_rule_what_the_policy_answers_and_freezes_it(tmp_path: Path) -> None:
    rows = [(Sample("How do I bake bread?"), H, A), (Sample("Which is older, the ferry or the orchard?"), U, A)]
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: rows})
    settings = settings_of(mining={"rule": "omni-v1", "n": 2}, prompts=1, generations=2, micro_batch=2, passes=1)
    run = new_run(tmp_path, snapshot, settings)

    def stop_when_mined(context: JobContext, row: Mapping[str, Any]) -> None:
        if "mined" in row:
            context.stop.set()

    with pytest.raises(Cancelled, match="before the first step"):
        attempt(run, stop_when_mined)
    mined = {each.sample_id: each for each in read_mined(run)}
    hard = read_hard(run)
    assert hard is not None
    assert {row.sample.id for row in hard.rows if not row.made_of} == {key for key, each in mined.items() if each.kept}
    for each in mined.values():
        wanted = H if each.sample_id == rows[0][0].id else U
        assert each.wrong == sum(answer is None or answer[0] is not wanted for answer in each.answers)
        assert each.kept == (each.wrong > 0)
    assert mined[rows[0][0].id].kept, "the guard calls bread harmful in no answer"
    assert hard.facts["by_modality"] == {"text": {"mined": 2, "kept": len(hard.rows)}}
    frozen = (run.path / "rollouts" / "hard.jsonl").read_bytes()
    attempt(run)
    assert (run.path / "rollouts" / "hard.jsonl").read_bytes() == frozen
    assert len(read_mined(run)) == 2, "a resumed run does not mine again"


def test_mining_is_told_of_and_kept_after_each_batch_that_the_engine_generates(tmp_path: Path) -> None:
    from core.engines.transformers_engine import BATCH_ROWS

    rows = [(Sample(f"How long is a minute in country {at}?"), H, A) for at in range(6)]
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: rows})
    settings = settings_of(mining={"rule": "omni-v1", "n": 8}, prompts=1, generations=2, micro_batch=2, passes=1)
    run = new_run(tmp_path, snapshot, settings)
    told: list[int] = []

    def stop_at_once(context: JobContext, row: Mapping[str, Any]) -> None:
        told.append(row["mined"])
        context.stop.set()

    with pytest.raises(Cancelled):
        attempt(run, stop_at_once)
    assert told == [len(read_mined(run))] == [BATCH_ROWS // 8]


def test_a_set_without_hard_samples_is_refused_in_a_sentence(tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "snapshots" / "easy", {Split.TRAIN: [(Sample("Good morning"), U, A)]})
    run = new_run(tmp_path, snapshot, settings_of(mining={"rule": "vl", "n": 2}))
    with pytest.raises(JobError, match=r"Mining kept none of 1 samples by the rule vl: .* take mining.rule = 'all'"):
        attempt(run)


def test_a_stopped_run_saves_and_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    rows = [(Sample(text), H, A) for text in ("How do I bake bread?", "Who built the lighthouse?", "Is it warm?")]
    snapshot = write_snapshot(tmp_path / "snapshots" / "hard", {Split.TRAIN: rows})
    settings = settings_of(
        prompts=1, generations=4, passes=2, micro_batch=4, epochs=1, learning_rate=1e-3, dynamic_clipping=True,
        clip_high=0.2, rollouts_a_checkpoint=2, concatenation={"share": 0.0}, longest_completion=48,
    )  # fmt: skip
    straight = new_run(tmp_path / "straight", snapshot, settings)
    attempt(straight)
    stopped = new_run(tmp_path / "stopped", snapshot, settings)

    def stop_after_the_first_rollout(context: JobContext, row: Mapping[str, Any]) -> None:
        if row.get("step") == 2:
            context.stop.set()

    with pytest.raises(Cancelled, match="after step 2 of 6; resuming goes on"):
        attempt(stopped, stop_after_the_first_rollout)
    saved = stopped.last_checkpoint()
    assert saved is not None
    assert saved.step == 2
    attempt(stopped)
    assert rollout_steps(stopped) == rollout_steps(straight) == [0, 2, 4]
    for step in (0, 2, 4):
        assert read_rollout(stopped, step) == read_rollout(straight, step)
    bounds = [[row["clip_low"] for row in run.metrics() if "loss" in row] for run in (stopped, straight)]
    assert bounds[0] == bounds[1] == pytest.approx([clip_bound(at, 6) for at in range(1, 7)])
    ends = [weights_of(Path(Registry(run.path.parent.parent).source(card(run)))) for run in (stopped, straight)]
    assert all(value.equal(ends[1][name]) for name, value in ends[0].items())


def test_a_run_stopped_inside_a_rollout_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    run, _, straight = _stopped_inside(tmp_path, straight=True)
    (left,) = run.rollouts.glob(OPEN)
    assert left.name == "open-000002-p0.pt"
    attempt(run)
    assert rollout_steps(run) == rollout_steps(straight) == [0, 4]
    for step in (0, 4):
        assert read_rollout(run, step) == read_rollout(straight, step)
    updates = [[row for row in each.metrics() if "loss" in row] for each in (run, straight)]
    for name in ("step", "loss", "learning_rate", "clip_low", "clip_high", "clipped_share"):
        assert [row[name] for row in updates[0]] == [row[name] for row in updates[1]]
    assert [("completions_per_s" in row) for row in updates[0]] == [False] * 7 + [True], "the first was interrupted"
    ends = [weights_of(Path(Registry(each.path.parent.parent).source(card(each)))) for each in (run, straight)]
    assert all(value.equal(ends[1][name]) for name, value in ends[0].items())
    assert not list(run.rollouts.glob(OPEN)), "nothing is left of it at the end"


def test_what_is_left_of_a_rollout_goes_with_a_deleted_sample_and_the_prompts_stay(tmp_path: Path) -> None:
    run, settings, _ = _stopped_inside(tmp_path)
    first, second = (row.sample.id for row in grpo.rollout_order(_rows(run), check_grpo(settings)))
    assert not forget(run, {"another"})
    assert list(run.rollouts.glob(OPEN))
    assert forget(run, {second})
    assert not list(run.rollouts.glob(OPEN))
    attempt(run)
    prompts = {step: {line.sample_id for line in read_rollout(run, step)} for step in rollout_steps(run)}
    assert prompts == {0: {first}, 2: {first}}, "drawn anew"


def _stopped_inside(folder: Path, *, straight: bool = False) -> tuple[RunFolder, dict[str, Any], RunFolder]:
    """A run of two rollouts of four updates each, stopped after its second update; and one that was not, if wanted."""
    rows = [(Sample("How do I bake bread?"), H, A), (Sample("Is it warm?"), H, A)]
    snapshot = write_snapshot(folder / "snapshots" / "hard", {Split.TRAIN: rows})
    settings = settings_of(
        prompts=1, generations=4, updates=2, passes=2, micro_batch=2, rollouts_a_checkpoint=5, learning_rate=1e-3,
        schedule="cosine", dynamic_clipping=True, clip_high=0.2, concatenation={"share": 0.0}, longest_completion=82,
    )  # fmt: skip
    whole = new_run(folder / "straight", snapshot, settings)
    if straight:
        attempt(whole)
    run = new_run(folder, snapshot, settings)

    def stop_after_the_first(context: JobContext, row: Mapping[str, Any]) -> None:
        if row.get("step") == 1:
            context.stop.set()

    with pytest.raises(Cancelled, match="after step 2 of 8"):
        attempt(run, stop_after_the_first)
    return run, settings, whole


def _rows(run: RunFolder) -> Sequence[HardRow]:
    hard = read_hard(run)
    assert hard is not None
    return hard.rows
