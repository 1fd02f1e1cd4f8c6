"""Runs by reinforcement with written rollouts, for what reads them; harmless texts and no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.types import Label, Sample
from train_jobs.grpo.hard_rows import HARD
from train_jobs.grpo.rollouts import RolloutLine, write_rollout
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.rules.augment import HardRow
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec

HARMFUL, UNHARMFUL, ABSENT = (each.value for each in (Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT))
BREAD, KNOT = Sample("How do I bake bread?"), Sample("Is this a good knot?", "Yes, it holds.")


def line(sample: Sample = BREAD, said: str | None = HARMFUL, **changes: Any) -> RolloutLine:
    """A completion about a sample whose request is harmful; it says what `said` says, or nothing that can be read."""
    right = said == HARMFUL
    values: dict[str, Any] = {
        "step": 0, "group": 0, "sample_id": sample.id, "made_of": (),
        "gold": (HARMFUL, ABSENT if sample.response is None else UNHARMFUL),
        "said": None if said is None else (said, ABSENT), "error": None if said else "There is no result block.",
        "text": "1. The user asks about everyday things.", "tokens": 40, "truncated": False,
        "reward": 1.0 if right else 0.1, "terms": {"accuracy": float(right), "exploration": 0.0 if right else 0.1},
        "accuracy": float(right), "advantage": 0.7 if right else -0.7,
    }  # fmt: skip
    return RolloutLine(**values | changes)


def group(step: int, number: int, sample: Sample, *said: str | None, **changes: Any) -> list[RolloutLine]:
    """The completions of one prompt."""
    return [line(sample, each, step=step, group=number, **changes) for each in said]


def grpo_spec(**changes: Any) -> JobSpec:
    """A job by the built-in guard's recipe."""
    settings = resolve(find_recipe("grpo-builtin"), {})
    values: dict[str, Any] = {
        "kind": JobKind.GRPO, "name": "everyday questions", "settings": settings, "recipe": "grpo-builtin",
        "author": "ann",
    }  # fmt: skip
    return JobSpec(**values | changes)


def new_run(root: Path, ticket: int = 1, **changes: Any) -> RunFolder:
    """A waiting run under a data root."""
    return RunFolder.create(root / "runs", grpo_spec(**changes), ticket=ticket)


def write_hard(run: RunFolder, *rows: HardRow | Sample) -> None:
    """Freeze these rows; a sample stands for one whose request is harmful."""
    made = [row if isinstance(row, HardRow) else HardRow(row, Label.HARMFUL, Label.ABSENT) for row in rows]
    (run.rollouts / HARD).write_text("".join(f"{row.to_json()}\n" for row in made), encoding="utf-8")


def write_groups(run: RunFolder, step: int, *groups: Sequence[RolloutLine]) -> None:
    """A rollout; step and numbers are given by the places."""
    lines = [replace(each, step=step, group=at) for at, some in enumerate(groups) for each in some]
    write_rollout(run, step, lines)
