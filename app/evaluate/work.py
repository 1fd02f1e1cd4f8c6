"""Evaluations without a page: what can be scored on what, starting one, and the list of them.

Functions that take the services and give values. Whoever calls them has let the owner pass.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.shared import promotion
from app.shared.promotion import base_source
from core.errors import GuardroomError, InputError, JobError
from core.evaluation.rows import HELD_OUT
from core.settings import BUILTIN

if TYPE_CHECKING:
    from app.shared.services import Services
    from train_jobs.runs.folder import RunFolder
    from train_jobs.runs.specs import JobSpec, JobStatus

KEPT = "evaluation_files"
"""Folder of the data root for files that were handed in, by digest: a job may be resumed long after."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants evaluated."""

    checkpoint: str = BUILTIN
    """`builtin`, an id of the registry, or anything that `core.serving.loading.load_guard` takes."""
    snapshot: str | None = None
    """A digest."""
    split: str = HELD_OUT
    files: tuple[str, ...] = ()
    """Paths of files and folders on this machine."""
    first_look_only: bool = False
    limit: int | None = None
    """Rows of each set at most."""
    name: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationLine:
    """One evaluation for a list."""

    id: str
    spec: JobSpec
    status: JobStatus
    checkpoint: str
    """An id of the registry, or the source as it was named."""
    report: Mapping[str, Any] | None
    """Of one that has finished."""
    place: int | None = None
    """How many jobs are before it, while it waits."""

    @property
    def sets(self) -> tuple[str, ...]:
        """What it scores, by name."""
        files: list[str] = self.spec.options.get("files") or []
        split = (str(self.spec.options.get("split", HELD_OUT)),) if self.spec.snapshot else ()
        return split + tuple(Path(each).stem for each in files)

    @property
    def first_look_only(self) -> bool:
        """Whether there is no reasoning in it."""
        return bool(self.spec.options.get("first_look_only"))


# -- what can be scored, and on what ----------------------------------------------------------------------------------


def checkpoint_choices(services: Services) -> list[tuple[str, str]]:
    """The built-in guard, the checkpoints of the registry, and what is live where it is neither."""
    known = promotion.registry(services)
    choices = [("Built-in", BUILTIN)] + [(f"{card.name} · {card.id}", card.id) for card in known.cards()]
    info = services.guard.status.info
    live = known.id_of(info.source) if info else BUILTIN
    return choices if live in [value for _, value in choices] else [*choices, (f"{live} (live)", live)]


def snapshot_choices(services: Services) -> list[tuple[str, str]]:
    """Snapshots, the newest first, with the rows that a checkpoint can be tested on.

    Raises:
        StoreError: the database failed.
    """
    from annotation_store.snapshots.listing import snapshots

    return [
        (f"{each.name or 'unnamed'} · {each.counts.get('test', 0):,} held-out rows · {each.digest[:16]}", each.digest)
        for each in snapshots(services.store(), services.snapshots)
    ]


def keep_files(services: Services, uploaded: Sequence[str | Path]) -> list[str]:
    """Copy files that were handed in to where a job finds them also tomorrow. The same bytes are kept once.

    Raises:
        InputError: one of them cannot be read.
    """
    kept = []
    for each in map(Path, uploaded):
        try:
            with each.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            target = services.settings.data / KEPT / digest[:16] / each.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.part")
                shutil.copyfile(each, part)
                os.replace(part, target)
        except OSError as error:
            raise InputError(f"{each.name} cannot be kept for the evaluation ({error}).") from None
        kept.append(str(target))
    return kept


def named_paths(text: str | None) -> list[str]:
    """The paths that a person wrote, one a line."""
    return [str(Path(line.strip()).expanduser()) for line in (text or "").splitlines() if line.strip()]


# -- starting ---------------------------------------------------------------------------------------------------------


def launch(services: Services, wanted: Wanted) -> str:
    """Queue an evaluation. Returns the run's id.

    Raises:
        InputError: there is nothing to score on, or a file is not of the schema.
        CheckpointError, StoreError, EngineError: the checkpoint, the snapshot or the device is not there.
        JobError: the job cannot be launched.
    """
    return services.launcher().launch(spec_of(services, wanted))


def spec_of(services: Services, wanted: Wanted) -> JobSpec:
    """The job that does what is wanted, checked as far as can be without loading anything.

    Raises:
        InputError, CheckpointError, StoreError, EngineError, JobError: as `launch`.
    """
    from annotation_store.snapshots.listing import snapshot
    from train_jobs.evaluation.job import EvaluateOptions
    from train_jobs.evaluation.sets import count_file, find_files
    from train_jobs.runs.specs import JobKind, JobSpec

    named = wanted.checkpoint.strip()
    if not named:
        raise InputError("No checkpoint is named; choose one, or write a folder or a Hub id.")
    if not wanted.snapshot and not wanted.files:
        raise InputError("There is nothing to score on; choose a snapshot, or add a file in the form of the README.")
    options: dict[str, Any] = {"first_look_only": wanted.first_look_only, "limit": wanted.limit, "split": wanted.split}
    folder = None
    if wanted.snapshot:
        found = snapshot(services.store(), services.snapshots, wanted.snapshot)
        folder = str(found.folder)
        if not found.counts.get("test" if wanted.split == HELD_OUT else wanted.split):
            raise InputError(
                f"The snapshot {found.name or found.digest[:16]} has no {wanted.split} rows; label more samples and "
                "freeze another one, or add files."
            )
    if wanted.files:
        files = find_files(wanted.files)
        if not folder and not any(count_file(path).labelled for path in files):
            raise InputError(f"No row of {', '.join(path.name for path in files)} has a label, so nothing is scored.")
        options["files"] = [str(path.resolve()) for path in files]
    base = _source(services, named)
    if "://" in base and base == services.settings.engine_url:
        options["engine_model"] = services.settings.engine_model
    EvaluateOptions.from_json(options)
    return JobSpec(
        JobKind.EVALUATE,
        " ".join(wanted.name.split())[:200] or _name(services, named),
        base=base,
        snapshot=folder,
        options=options,
        device=device(services),
        author=wanted.author.strip(),
    )


def same_for_promoted(services: Services, run_id: str, author: str = "") -> str:
    """Evaluate what is promoted now on the very rows of another evaluation. Returns the run's id.

    Raises:
        JobError, CheckpointError, EngineError: there is no such run, or the job cannot be launched.
    """
    spec = services.launcher().find(run_id).spec()
    current = promotion.promoted(services)
    base = _source(services, current)
    return services.launcher().launch(
        replace(
            spec, base=base, name=_name(services, current), author=author, created_at="", device=device(services),
            cloned_from=run_id,
        )
    )  # fmt: skip


def device(services: Services) -> str:
    """Where a job computes: where the live guard does, or would.

    Raises:
        EngineError: the settings name a device that is not there.
    """
    from core.engines.transformers_engine import choose_device

    return choose_device(services.settings.device)


def _source(services: Services, named: str) -> str:
    """A checkpoint of the registry as its folder, and a folder by its whole path: the job runs elsewhere."""
    source = base_source(services, named)
    path = Path(source).expanduser()
    with contextlib.suppress(OSError):
        if "://" not in source and source != BUILTIN and path.is_dir():
            return str(path.resolve())
    return source


def _name(services: Services, named: str) -> str:
    cards = {card.id: card.name for card in promotion.registry(services).cards()}
    return f"Evaluation of {cards.get(named, named)}"[:200]


# -- the list ---------------------------------------------------------------------------------------------------------


def evaluations(services: Services) -> list[EvaluationLine]:
    """All evaluations that can be read, the newest first."""
    return [line for run in services.launcher().runs() if (line := _line(services, run)) is not None]


def evaluation(services: Services, run_id: str) -> EvaluationLine:
    """One of them.

    Raises:
        JobError: there is no such run, or it is no evaluation.
    """
    line = _line(services, services.launcher().find(run_id))
    if line is None:
        raise JobError(f"The run {run_id} is no evaluation.")
    return line


def _line(services: Services, run: RunFolder) -> EvaluationLine | None:
    from train_jobs.runs.specs import JobKind, JobState

    try:
        spec = run.spec()
        if spec.kind is not JobKind.EVALUATE:
            return None
        status = run.status()
        report = _report(run, run.report_path.stat().st_mtime_ns) if status.state is JobState.SUCCEEDED else None
        place = services.launcher().place(run.id) if status.state is JobState.QUEUED else None
    except (GuardroomError, OSError):
        return None
    return EvaluationLine(run.id, spec, status, promotion.registry(services).id_of(spec.base), report, place)


@lru_cache(maxsize=256)
def _report(run: RunFolder, version: int) -> Mapping[str, Any] | None:
    """A finished report is read once, not at every look at the list."""
    return run.report()


def report_of(services: Services, run_id: str) -> Mapping[str, Any]:
    """The report of a finished evaluation.

    Raises:
        JobError: there is no such run, or it has no report yet.
    """
    line = evaluation(services, run_id)
    if line.report is None:
        raise JobError(f"The evaluation {run_id} has no report yet: it is {line.status.state}.")
    return line.report


def line_to_json(line: EvaluationLine) -> dict[str, Any]:
    """How an evaluation stands, as plain values."""
    progress = line.status.progress
    return {
        "run": line.id,
        "name": line.spec.name,
        "state": line.status.state.value,
        "sentence": line.status.sentence,
        "checkpoint": line.checkpoint,
        "sets": list(line.sets),
        "first_look_only": line.first_look_only,
        "done": progress.done if progress else 0,
        "total": progress.total if progress else 0,
        "seconds_left": progress.seconds_left if progress else None,
        "report": line.report,
    }
