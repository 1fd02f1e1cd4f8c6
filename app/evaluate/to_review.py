"""The errors of an evaluation into the review queue: one click, and the samples stay out of training."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from core.errors import InputError

if TYPE_CHECKING:
    from annotation_store.mining.from_evaluation import Enqueued
    from app.shared.services import Services
    from core.evaluation.rows import ScoredRow
    from train_jobs.runs.folder import RunFolder

Key = tuple[str, str, str]
"""Set, id and sample id of a row (`core.evaluation.rows.ScoredRow.key`)."""


def errors_of(services: Services, report: str) -> list[ScoredRow]:
    """The rows of an evaluation on which the checkpoint was wrong or could not be read.

    Raises:
        JobError: there is no such run, or its answers cannot be read.
    """
    from train_jobs.evaluation.rows import read_rows

    return [row for row in read_rows(_run(services, report)) if row.is_wrong]


def send_errors(
    services: Services,
    report: str,
    sent_by: str,
    keys: Collection[Key] | None = None,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Enqueued, str]:
    """Put the errors of an evaluation into the review queue.

    Args:
        report: the run of the evaluation.
        sent_by: who asks for it.
        keys: of which rows, where not of all on which the checkpoint was wrong.
        on_done: told how many of how many are finished.

    Returns:
        What became of them, and a sentence for the person.

    Raises:
        InputError: there is nothing to send.
        JobError: there is no such run, or its answers cannot be read.
        MediaError: a medium of a row is gone.
        StoreError: nobody is named, or the database failed; what was sent before that is in the queue.
    """
    from annotation_store.mining.from_evaluation import enqueue_errors
    from train_jobs.evaluation.rows import media_folder

    rows = [row for row in errors_of(services, report) if keys is None or row.key in keys]
    if not rows:
        raise InputError("There is no wrong answer to send to the review queue.")
    folder = media_folder(_run(services, report))
    for digest in {ref.digest for row in rows for ref in row.row.sample.media}:
        services.media.accept(folder / digest[:2] / digest)
    done = enqueue_errors(
        services.store(), services.media, rows, sent_by, on_done=lambda count: on_done(count, len(rows))
    )
    services.compare_soon()
    return done, words(done)


def words(done: Enqueued) -> str:
    """What became of the rows, for the person."""
    said = [f"{done.queued:,} {'sample is' if done.queued == 1 else 'samples are'} in the review queue"]
    told = ((done.reopened, "had been decided and are open again"), (done.waiting, "were waiting there already"))
    if parts := [f"{count:,} {what}" for count, what in told if count]:
        said.append(f" ({', '.join(parts)})")
    said.append(".")
    if done.queued:
        said.append(" They stay out of training, because checkpoints are tested on them.")
    if done.trained_on:
        said.append(f" {done.trained_on:,} were left out: the store has them, or something near to them, for training.")
    if done.deleted:
        said.append(f" {done.deleted:,} were left out: they were deleted from the store.")
    return "".join(said)


def _run(services: Services, report: str) -> RunFolder:
    from train_jobs.runs.folder import find_run

    return find_run(services.settings.data / "runs", report)
