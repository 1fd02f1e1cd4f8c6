"""Laws of what the shipped small recipe does not use: adapters, the KL term, and masks of groups and completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.checkpoints.folder import BUILTIN_FOLDER
from core.checkpoints.registry import Registry
from core.engines.transformers_engine import TransformersEngine
from core.judging.guard import Guard
from core.snapshots.folder import Split
from core.types import Assessment, Sample
from tests.grpo_runs import A, H, U, attempt, card, new_run, settings_of, weights_of
from tests.hard_data import write_snapshot
from train_jobs.grpo import job as grpo
from train_jobs.grpo import trainer as grpo_trainer
from train_jobs.grpo.rollouts import read_rollout
from train_jobs.grpo.scoring import CompletionReader, Scored, score
from train_jobs.rules.augment import HardRow
from train_jobs.rules.rewards import RewardForm, RewardRule
from train_jobs.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

ROWS = [(Sample(text), H, A) for text in ("How do I bake bread?", "Who built the lighthouse?")]


def trained(root: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[RunFolder, Any]:
    """A run of one rollout in two passes, and its trainer."""
    seen: list[Any] = []
    make = grpo_trainer.make_trainer

    def making(**options: Any) -> Any:
        seen.append(make(**options))
        return seen[0]

    monkeypatch.setattr(grpo, "make_trainer", making)
    snapshot = write_snapshot(root / "snapshots" / "hard", {Split.TRAIN: ROWS})
    small = {"prompts": 2, "generations": 4, "passes": 2, "micro_batch": 8, "concatenation": {"share": 0.0}}
    run = new_run(root, snapshot, settings_of(**{**small, **changes}))
    attempt(run)
    return run, seen[0]


def moved(run: RunFolder) -> set[str]:
    """The weights that differ from the base's."""
    old = weights_of(BUILTIN_FOLDER)
    new = weights_of(Path(Registry(run.path.parent.parent).source(card(run))))
    assert old.keys() == new.keys()
    return {name for name, value in new.items() if not value.equal(old[name].to(value.dtype))}


def taught(trainer: Any) -> dict[int, bool]:
    """Whether a completion of the last rollout has a part in the loss, by its place."""
    return {
        row: bool(mask.any())
        for batch in trainer._buffered_inputs
        for row, mask in zip(batch["rows"].tolist(), batch["completion_mask"], strict=True)
    }


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_kl_term_is_to_the_base_and_adapters_move_the_language_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: str
) -> None:
    run, trainer = trained(
        tmp_path, monkeypatch, tuning=tuning, kl=0.04, learning_rate=2e-3, longest_completion=82, mask_truncated=True
    )
    updates = [row for row in run.metrics() if "loss" in row]
    assert updates[0]["kl"] == pytest.approx(0, abs=1e-5), "before the first update the policy is the base"
    assert updates[1]["kl"] > 1e-4
    names = moved(run)
    assert names
    if tuning == "lora":
        assert all("language_model" in name and "_proj" in name for name in names)
    lines = read_rollout(run, 0)
    assert taught(trainer) == {at: not line.truncated for at, line in enumerate(lines)}, (
        "what was cut off teaches nothing"
    )


def test_a_rollout_of_nothing_but_cut_off_completions_is_gone_through_when_they_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer = trained(tmp_path, monkeypatch, longest_completion=16, mask_truncated=True)
    assert all(line.truncated for line in read_rollout(run, 0))
    assert taught(trainer) == dict.fromkeys(range(8), False)
    assert [row["loss"] for row in run.metrics() if "loss" in row] == [0.0, 0.0]
    assert moved(run) == set()


def test_groups_that_are_wrong_throughout_are_masked_where_the_recipe_says_so(shipped_guard: Guard) -> None:
    engine = shipped_guard.engine
    assert isinstance(engine, TransformersEngine)
    end = int(engine.tokenizer.eos_token_id)
    reader = CompletionReader(engine.encoder, frozenset({end}))

    def said(label: Any, *steps: str) -> list[int]:
        return [*engine.encoder.target_ids(Assessment(label, A, reasoning=steps)), end]

    row = HardRow(Sample("How do I bake bread?"), U, A)
    wrong = [said(H, "It is short."), said(H, "The user asks for something.", "It is much longer than the other.")]
    mixed = [said(U, "The user bakes."), said(H, "The user asks for something.", "It is a recipe.")]
    rule = RewardRule(RewardForm.OMNI_V1, scale=60.0)

    def scored(mask_wrong: bool) -> list[Scored]:
        return score(reader, [row] * 4, [*wrong, *mixed], rule, limit=176, group=2, mask_wrong=mask_wrong)

    plain, masked = scored(False), scored(True)
    assert 0 < plain[0].reward.total < plain[1].reward.total, "length alone decides"
    assert [each.reward.total for each in masked[:2]] == [0.0, 0.0]
    assert masked[2:] == plain[2:], "the group in which accuracy decides stays as it is"
    assert plain[2].reward.total == 1.0
