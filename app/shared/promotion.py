"""Promotion: the gate asked, the live guard swapped, the event noted; rollback; and what is loaded at the start.

No page here: functions that take the services and give values. Whoever calls them has let the owner pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.checkpoints.folder import local_folder, open_checkpoint
from core.checkpoints.registry import OriginCard, Promotion, Registry
from core.errors import CheckpointError, InputError, JobError, PromotionRefused
from core.evaluation.gate import GateDecision, judge
from core.serving.live import LoadProgress
from core.settings import BUILTIN

if TYPE_CHECKING:
    from app.shared.services import Services
    from core.evaluation.comparison import Comparison
    from train_jobs.runs.folder import RunFolder

Tell = Callable[[LoadProgress], None]


def registry(services: Services) -> Registry:
    """The checkpoints and promotions of the data root."""
    return Registry(services.settings.data)


def base_source(services: Services, named: str) -> str:
    """What a job loads: the folder of a checkpoint of the registry; any other name is a source already.

    Raises:
        InputError: nothing is named.
        CheckpointError: the weights of a checkpoint of the registry have changed.
    """
    named = named.strip()
    if not named:
        raise InputError("No base checkpoint is named: built-in, one of the registry, a folder, or a Hub id.")
    known = registry(services)
    return known.source(named) if named in {card.id for card in known.cards()} else named


# -- what is live -------------------------------------------------------------------------------------------------


def promoted(services: Services) -> str:
    """What is promoted: an id of the registry, or `builtin`; before any promotion what the settings name.

    Raises:
        CheckpointError: the promotions cannot be read.
    """
    current = registry(services).current()
    if current is not None:
        return current
    named = services.settings.engine_url or services.settings.checkpoint
    if named == BUILTIN or "://" in named:
        return named
    path = Path(named).expanduser()
    return str(path.resolve()) if path.is_dir() else named


def promoted_id(services: Services) -> str | None:
    """The id that the verdicts of the promoted checkpoint bear; none where only loading it would tell.

    Raises:
        CheckpointError: it is gone, or cannot be read.
    """
    source = _source(registry(services), promoted(services))
    info = services.guard.status.info
    if info is not None and info.source == source:
        return info.id
    return None if "://" in source else _id_in(services, source)


def start_guard(services: Services) -> None:
    """Begin loading what the app starts with: what the settings name, else what is promoted, else the built-in guard.

    Where the promoted checkpoint cannot be loaded, the built-in guard is live instead, and the status line says why.
    """
    settings = services.settings
    if settings.engine_url is not None or settings.checkpoint != BUILTIN:
        services.guard.start()
        return
    known = registry(services)
    known.tidy()
    try:
        current = known.current() or BUILTIN
    except CheckpointError as error:
        services.guard.start(BUILTIN, note=f"{error} The built-in guard is live.")
        return
    if current == BUILTIN:
        services.guard.start(BUILTIN)
        return
    try:
        services.guard.start(_source(known, current), instead=BUILTIN)
    except CheckpointError as error:
        services.guard.start(BUILTIN, note=f"{error} The built-in guard is live instead of it.")


def _source(known: Registry, checkpoint: str) -> str:
    """An id of the registry as a source; anything else, such as a Hub id, is one already."""
    try:
        return known.source(checkpoint)
    except CheckpointError:
        if "/" in checkpoint:
            return checkpoint
        raise


# -- reports ------------------------------------------------------------------------------------------------------


def reports_of(services: Services, checkpoint_id: str) -> list[RunFolder]:
    """Finished evaluations of one checkpoint, the newest first."""
    from train_jobs.runs.folder import list_runs

    return [run for run in list_runs(services.settings.data / "runs") if _scored(run) == checkpoint_id]


def _scored(run: RunFolder) -> str | None:
    """The checkpoint that a finished evaluation is about."""
    try:
        return _scored_at(run, run.report_path.stat().st_mtime_ns)
    except (JobError, OSError):
        return None


@lru_cache(maxsize=1024)
def _scored_at(run: RunFolder, version: int) -> str | None:
    """A report is read once for this, not at every look at the checkpoints."""
    from train_jobs.evaluation.report import FORM

    report = run.report()
    return str(report["checkpoint"]["id"]) if report is not None and report.get("form") == FORM else None


def matching_report(services: Services, report: RunFolder, checkpoint_id: str) -> RunFolder | None:
    """The evaluation of another checkpoint that shares the most rows with this one; the newest of equals."""
    wanted = _sets(report)
    best: tuple[float, RunFolder | None] = (0.0, None)
    for run in reports_of(services, checkpoint_id):
        found = _sets(run)
        # Another snapshot's held-out split may hold many of the same samples, or few.
        shared = sum(
            min(found[key][0], rows) * (1.0 if found[key][1] == origin else 0.5)
            for key, (rows, origin) in wanted.items()
            if key in found
        )
        if run.id != report.id and shared > best[0]:
            best = (shared, run)
    return best[1]


def _sets(run: RunFolder) -> dict[tuple[str, str], tuple[int, str]]:
    """How many rows were scored, and whence, of each set by each kind of look."""
    report: dict[str, Any] = run.report() or {}
    return {(each["name"], report["look"]): (each["rows"], each["origin"]) for each in report.get("sets", ())}


def compare_reports(services: Services, before: str, after: str) -> Comparison:
    """Two evaluations side by side, with the samples that flipped.

    Args:
        before: the run of the one.
        after: and of the other.

    Raises:
        JobError: there is no such run, or its answers cannot be read.
    """
    from core.evaluation.comparison import compare
    from train_jobs.evaluation.rows import read_rows

    return compare(read_rows(_run(services, before)), read_rows(_run(services, after)))


def _run(services: Services, run_id: str) -> RunFolder:
    from train_jobs.runs.folder import find_run

    return find_run(services.settings.data / "runs", run_id)


# -- promoting ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gate says of a checkpoint, and on which evaluations."""

    checkpoint: str
    decision: GateDecision
    report: str
    """The run that evaluated it."""
    against: str | None
    """The run that evaluated what is promoted now; none when there is none on the same rows."""
    promoted: str | None
    """The id of what is promoted now."""


def ask(services: Services, checkpoint: str, report: str, reason: str = "", against: str | None = None) -> Asked:
    """Ask the gate, and change nothing: for the page, before the button is pressed.

    Args:
        checkpoint: an id of the registry, or `builtin`.
        report: the run of its evaluation.
        reason: why it is promoted all the same; empty when none is written.
        against: the evaluation of what is promoted now; the one with the most rows in common unless given.

    Raises:
        CheckpointError: there is no such checkpoint.
        JobError: there is no such run, or its answers cannot be read.
        PromotionRefused: the report is about another checkpoint, or of the first look alone.
    """
    from train_jobs.evaluation.rows import read_rows

    speaking = _run(services, report)
    expected = _id_of(services, checkpoint)
    about = _scored(speaking)
    if about is None:
        raise PromotionRefused(f"The run {report} has no report of an evaluation yet; wait until it has finished.")
    if about != expected:
        raise PromotionRefused(f"The report {report} is about {about}, not about {expected}; evaluate that one first.")
    if (speaking.report() or {}).get("look") != "deliberation":
        raise PromotionRefused(
            f"The report {report} is of the first look alone; evaluate with reasoning, as the live guard does."
        )
    present = promoted_id(services)
    other = None if present is None else matching_report(services, speaking, present)
    if against is not None:
        other = _run(services, against)
        if present is not None and _scored(other) != present:
            raise PromotionRefused(f"The report {against} is not about {present}, which is promoted now.")
    decision = judge([] if other is None else read_rows(other), read_rows(speaking), reason=reason)
    return Asked(checkpoint, decision, report, None if other is None else other.id, present)


def promote(
    services: Services,
    checkpoint: str,
    report: str,
    *,
    author: str,
    reason: str = "",
    against: str | None = None,
    tell: Tell = lambda progress: None,
) -> tuple[Promotion, Asked]:
    """Let a checkpoint go live, if the gate lets it pass. It is swapped in first, and noted once it has answered.

    No generation in flight is touched; every later verdict names the new checkpoint.

    Raises:
        PromotionRefused: the gate refuses (its sentences are the message), or it is promoted already.
        CheckpointError, EngineError: it cannot be loaded; the present one is still live, and nothing was noted.
        JobError: there is no such run, or its answers cannot be read.
    """
    known = registry(services)
    source = known.source(checkpoint)
    before = promoted(services)
    if before == checkpoint:
        raise PromotionRefused(f"{checkpoint} is promoted already.")
    asked = ask(services, checkpoint, report, reason, against)
    if not asked.decision.allowed:
        raise PromotionRefused(" ".join(asked.decision.sentences))
    _swap(services, source, tell)
    event = known.promote(
        checkpoint,
        author=author,
        previous=before,
        report=report,
        reason=asked.decision.reason,
        gate=asked.decision.to_json(),
    )
    return event, asked


def rollback(services: Services, *, author: str, reason: str = "", tell: Tell = lambda progress: None) -> Promotion:
    """Go back to what was promoted before: swapped in first, then noted.

    Raises:
        PromotionRefused: there is nothing to go back to, or nobody is named.
        CheckpointError, EngineError: it cannot be loaded; the present one is still live, and nothing was noted.
    """
    known = registry(services)
    stack = known.stack()
    if len(stack) < 2:
        raise PromotionRefused("Nothing was promoted, so there is nothing to go back to.")
    _swap(services, _source(known, stack[-2]), tell)
    return known.rollback(author=author, reason=reason)


def delete_checkpoint(services: Services, checkpoint: str) -> None:
    """Remove a checkpoint of the registry for good.

    Raises:
        CheckpointError: there is none of that id.
        PromotionRefused: it is promoted, a rollback would go to it, or it is live.
    """
    info = services.guard.status.info
    registry(services).delete(checkpoint, live=info.source if info else None)


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """One checkpoint for a list."""

    id: str
    card: OriginCard | None
    """None for the built-in guard."""
    promoted: bool
    live: bool
    reports: tuple[str, ...]
    """Runs that evaluated it, the newest first."""


def checkpoints(services: Services) -> list[CheckpointLine]:
    """All checkpoints that can be promoted: the built-in guard, then those of the registry, the newest first.

    Raises:
        CheckpointError: the promotions cannot be read.
    """
    known = registry(services)
    current = promoted(services)
    info = services.guard.status.info
    live = known.id_of(info.source) if info else None
    cards: list[OriginCard | None] = [None, *known.cards()]
    lines = []
    for card in cards:
        name = BUILTIN if card is None else card.id
        runs = reports_of(services, _id_of(services, name))
        lines.append(CheckpointLine(name, card, name == current, name == live, tuple(run.id for run in runs)))
    return lines


def _id_of(services: Services, checkpoint: str) -> str:
    """The id that the verdicts of a checkpoint of the registry, or of the built-in guard, bear."""
    found = _id_in(services, registry(services).source(checkpoint))
    if found is None:
        raise CheckpointError(f"{checkpoint} is not a checkpoint of this machine.")
    return found


def _id_in(services: Services, source: str) -> str | None:
    """The id of the checkpoint in a folder; none for one that lies on the Hub."""
    folder = local_folder(source)
    return None if folder is None else open_checkpoint(folder, source, services.settings.protocol).info.id


def _swap(services: Services, source: str, tell: Tell) -> None:
    for progress in services.guard.load(source):
        tell(progress)
