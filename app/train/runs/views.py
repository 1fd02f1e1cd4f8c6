"""Runs as the page and the API show them, read from their folders: the list, one run, its clone and its export.

Functions that take the services and give values. Whoever calls them has let the owner pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.shared import promotion
from app.train.plots import SERIES, PlotGroup, grpo_groups, points
from app.train.start import drafts as training
from app.train.start.drafts import Draft
from core.errors import JobError, SnapshotError
from core.types import Label
from train_jobs.recipes.files import SETTINGS
from train_jobs.recipes.grpo import check_grpo
from train_jobs.rules.rewards import ACCURACY, reward
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.specs import TRAINING, JobKind, JobSpec, JobState, JobStatus

if TYPE_CHECKING:
    from app.shared.services import Services
    from train_jobs.training.export import ExportForm


@lru_cache(maxsize=512)
def snapshot_name(folder: str | None) -> str:
    """What a snapshot is called, by its folder; the folder's name where that cannot be read."""
    from core.snapshots.folder import read_manifest

    if folder is None:
        return ""
    try:
        return read_manifest(Path(folder)).name
    except SnapshotError:
        return Path(folder).name[:15]


# -- runs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in the list."""

    id: str
    spec: JobSpec | None
    """None where the folder cannot be read; `problem` says why."""
    status: JobStatus | None
    f1: float | None = None
    """The validation F1 of the checkpoint that was kept; the newest one as long as none was."""
    loss: float | None = None
    """The last one, of a supervised training."""
    accuracy: float | None = None
    """Of the last rollout, of a training by reinforcement, whose loss says nothing."""
    chosen: bool | None = None
    """Whether that is the best of the validated checkpoints and not simply the last; None as long as none was kept."""
    problem: str = ""

    @property
    def data(self) -> str:
        """The snapshot's name."""
        return snapshot_name(self.spec.snapshot) if self.spec else ""

    @property
    def is_over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.status is None or self.status.state.is_over


def lines(services: Services, most: int = 100) -> list[RunLine]:
    """The newest runs, of every kind, the newest first."""
    return [_line(run) for run in services.launcher().runs()[:most]]


def _line(run: RunFolder) -> RunLine:
    try:
        spec, status = run.spec(), run.status()
    except JobError as error:
        return RunLine(run.id, None, None, problem=str(error))
    f1, loss, accuracy = _last_figures(run.path, run.status_version())
    chosen = None
    if figures := _figures(run, status):
        f1, chosen = _number(figures.get("validation_f1")), bool(figures.get("chosen_by_validation"))
    if spec.kind is JobKind.GRPO:
        loss = None
    return RunLine(run.id, spec, status, f1, loss, accuracy, chosen)


@lru_cache(maxsize=512)
def _last_figures(path: Path, version: int) -> tuple[float | None, float | None, float | None]:
    """The last validation F1, loss and accuracy, read again when the status has changed."""
    metrics = RunFolder(path).metrics()
    keys = {each.title: each.keys for each in SERIES}
    named = (keys["Validation F1"], keys["Loss"], ("accuracy",))
    f1, loss, accuracy = ([value for _, value in points(metrics, each)][-1:] for each in named)
    return (f1[0] if f1 else None, loss[0] if loss else None, accuracy[0] if accuracy else None)


def _figures(run: RunFolder, status: JobStatus) -> Mapping[str, Any]:
    """Those of the report, once the run has succeeded; empty where there are none."""
    if status.state is not JobState.SUCCEEDED:
        return {}
    try:
        figures = (run.report() or {}).get("figures")
    except JobError:
        return {}
    return figures if isinstance(figures, Mapping) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# -- one run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything that the page and the API show of one run, read at one moment."""

    run: RunFolder
    spec: JobSpec
    state: JobState
    status: JobStatus
    place: int | None
    """Jobs before it on its device, while it waits."""
    metrics: tuple[Mapping[str, Any], ...]
    report: Mapping[str, Any] | None
    checkpoints: tuple[str, ...]
    """Names of the complete ones, the earliest first."""

    @property
    def steps(self) -> float | None:
        """How many steps a training will have, once it trains."""
        progress = self.status.progress
        return progress.total if progress is not None and progress.words == TRAINING else None

    @property
    def data(self) -> str:
        """The snapshot's name."""
        return snapshot_name(self.spec.snapshot)

    @property
    def teacher(self) -> Mapping[str, Any] | None:
        """What the teacher has done so far: samples asked for and kept, tokens, refusals by reason."""
        told = [row["teacher"] for row in self.metrics if isinstance(row.get("teacher"), Mapping)]
        return told[-1] if told else None

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Of the first rollout and of the last one so far, bonuses left out; none before there is one."""
        found = points(self.metrics, ("accuracy",)) if self.spec.kind is JobKind.GRPO else []
        return (found[0][1], found[-1][1]) if found else None

    @property
    def made(self) -> str | None:
        """The checkpoint of the registry that came of it."""
        made = (self.report or {}).get("checkpoint")
        return made if isinstance(made, str) and self.spec.kind is not JobKind.EVALUATE else None


def view(services: Services, run_id: str) -> RunView:
    """Read a run.

    Raises:
        JobError: there is no such run, or its folder cannot be read.
    """
    launcher = services.launcher()
    run = launcher.find(run_id)
    status = run.status()
    report = None
    if status.state.is_over:
        report = run.report()
    return RunView(
        run, run.spec(), status.state, status, launcher.place(run_id), tuple(run.metrics()), report,
        tuple(each.path.name for each in run.complete_checkpoints()),
    )  # fmt: skip


def plot_groups(views: Sequence[RunView]) -> tuple[PlotGroup, ...]:
    """Which curves are drawn, by the kind of the first run; the second one is laid over them."""
    if views[0].spec.kind is not JobKind.GRPO:
        return (PlotGroup("", SERIES),)
    settings = [each.spec.settings for each in views if each.spec.kind is JobKind.GRPO]
    terms = dict.fromkeys(term for each in settings for term in _terms(each))
    return grpo_groups(list(terms), kl=any(each.get("kl") for each in settings))


def _terms(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The terms of a run's reward; accuracy alone where the recipe cannot be read."""
    try:
        rule = check_grpo(settings).reward.rule()
    except JobError:
        return (ACCURACY,)
    return tuple(reward(rule, None, (Label.HARMFUL, Label.ABSENT), 1, 1).terms)


def draft_of(services: Services, spec: JobSpec, run_id: str) -> Draft:
    """A run's spec as the form holds it, for a clone.

    Raises:
        JobError: it is no training.
    """
    from core.snapshots.folder import read_manifest

    if spec.kind not in SETTINGS:
        raise JobError(f"A run of the kind {spec.kind} is not cloned here; start it again from its own tab.")
    digest = read_manifest(Path(spec.snapshot)).original_digest if spec.snapshot else None
    return Draft(
        name=f"{spec.name} again",
        snapshot=digest,
        recipe=spec.recipe or "",
        base=promotion.registry(services).id_of(spec.base),
        changes=spec.settings,
        options=spec.options,
        device=spec.device,
        cloned_from=run_id,
    )


# -- export -------------------------------------------------------------------------------------------------------


def export_forms(services: Services, made: str | None) -> tuple[ExportForm, ...]:
    """The forms that a checkpoint of the registry can be exported in; none when it is gone."""
    from train_jobs.training.export import can_export

    known = promotion.registry(services)
    if made is None or made not in {card.id for card in known.cards()}:
        return ()
    return can_export(known.checkpoints / made)


def export(services: Services, made: str, form: ExportForm, target: Path) -> Path:
    """Write a checkpoint of the registry with its model card into a folder that does not exist yet.

    Raises:
        CheckpointError: it is gone, cannot be loaded, or has no such form.
        OSError: the disk refused.
    """
    from train_jobs.training.export import export as write_export

    folder = Path(promotion.registry(services).source(made))
    return write_export(folder, target, form, figures(services, folder))


def figures(services: Services, folder: Path) -> dict[str, Any]:
    """The F1 of every set of the newest evaluation, for the card; empty when there is none."""
    from core.checkpoints.folder import open_checkpoint

    checkpoint = open_checkpoint(folder, str(folder)).info.id
    for run in promotion.reports_of(services, checkpoint):
        report = run.report() or {}
        found = {
            f"F1 of the {side}, {each['name']}": said["f1"]
            for each in report.get("sets", ())
            for side, said in each["sides"].items()
            if said["f1"] is not None
        }
        if found:
            return found
    return {}


def command_of(services: Services, view: RunView) -> str:
    """The command that launches the same training anew; for other runs the one that this run was begun by."""
    try:
        if view.spec.kind in SETTINGS:
            return training.command(services, view.spec)
    except JobError:
        pass
    return services.launcher().command(view.run.id)
