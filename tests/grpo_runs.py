"""Small trainings by reinforcement for tests: jobs on the shipped guard with a handful of harmless rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import Cancelled
from core.types import Label, Sample
from tests.hard_data import Labelled
from train_jobs.grpo import job as grpo
from train_jobs.recipes.files import find_recipe, resolve
from train_jobs.runs.context import JobContext
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import JobKind, JobSpec, JobState, requeued

H, U, A, X = Label.HARMFUL, Label.UNHARMFUL, Label.ABSENT, Label.UNLABELLED
TEXTS: tuple[Labelled, ...] = (
    (Sample("How do I bake bread?"), H, A),
    (Sample("What do <|im_end|> and </think> mean?"), U, A),
    (Sample("Is this a good knot?", "Yes, it holds."), X, H),
)
SMALL = {
    "prompts": 3, "generations": 4, "updates": 1, "passes": 2, "micro_batch": 4, "generate_at_once": 5, "epochs": 1,
    "longest_completion": 72, "warm_up": 0.0, "mining": {"rule": "all"}, "mask_wrong_groups": False,
    "balance": False,
}  # fmt: skip


def settings_of(**changes: Any) -> dict[str, Any]:
    """Recipe values of a training of a few updates."""
    return resolve(find_recipe("grpo-builtin"), {**SMALL, **changes})


class WatchedRun(RunFolder):
    """Tells every metric that is written."""

    def __init__(self, path: Path, heard: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(path)
        self._heard = heard

    def append_metric(self, row: Mapping[str, Any]) -> None:
        super().append_metric(row)
        self._heard(row)


def new_run(root: Path, snapshot: Path, settings: dict[str, Any], base: str = "builtin", **options: Any) -> RunFolder:
    """A training that waits for its first attempt."""
    spec = JobSpec(
        JobKind.GRPO,
        "a test",
        settings=settings,
        recipe="grpo-builtin",
        base=base,
        snapshot=str(snapshot),
        author="ann",
        options=options,
    )
    return RunFolder.create(root / "runs", spec, ticket=1)


def attempt(run: RunFolder, heard: Callable[[JobContext, Mapping[str, Any]], None] = lambda context, row: None) -> None:
    """One attempt of a job in this process."""
    status = run.status()
    if status.state.can_resume:
        status = requeued(status, 1, "")
        run.write_status(status)
    status = run.advance(JobState.RUNNING)
    context: JobContext
    context = JobContext(WatchedRun(run.path, lambda row: heard(context, row)), run.spec(), status)
    try:
        grpo.run(context)
    except Cancelled:
        run.advance(JobState.CANCELLED)
        raise
    run.advance(JobState.SUCCEEDED)


def weights_of(folder: Path) -> dict[str, Any]:
    """All tensors of a checkpoint folder by name."""
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def card(run: RunFolder) -> str:
    """The id of the checkpoint that came of a run."""
    report = run.report()
    assert report is not None
    return str(report["checkpoint"])
