"""A deleted sample leaves the runs that hold its content: the answers of evaluations, the rollouts of GRPO runs, and
what fine-tunings have prepared.

A job at work writes those files itself, and one that is resumed may read the sample anew from a file of its own. So the
deletion is noted in the run's folder first (`forgotten.jsonl`, by the sample's id, which says nothing of its content):
readers pass over what is noted from then on, and the job, when it ends, takes it out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from core.errors import JobError
from train_jobs.runs.folder import RunFolder, list_runs
from train_jobs.runs.forgotten import forgotten, note
from train_jobs.runs.specs import JobKind, JobState

log = logging.getLogger(__name__)

_KINDS = (JobKind.EVALUATE, JobKind.GRPO, JobKind.SFT)
"""Those whose runs hold content of samples."""


def forget_sample(root: Path, sample_id: str) -> int:
    """Take a deleted sample out of every run; the figures stay. Media that no other row needs go with it.

    Call it when a sample is deleted. What a job at work holds is passed over at once and goes when the job ends.

    Args:
        root: the folder of runs.

    Returns:
        From how many runs it was taken now.

    Raises:
        JobError: the files of a run cannot be read.
        OSError: a file cannot be written.
    """
    found = 0
    for run in _holding(root):
        if not _is_done(run):
            note(run, sample_id)
        # After the note: a job that ended before it is not at work any more, and one that ends later reads it.
        if (lock := run.take_lock()) is not None:
            with lock:
                found += _forgets(run.spec().kind)(run, {sample_id})
    return found


def honour(run: RunFolder) -> None:
    """Take out what was noted. Only for the holder of the run's lock, when the job ends.

    A file that cannot be read or written is logged and tried again at the next start: the job's end is not its fault.
    """
    try:
        kind = run.spec().kind
        if kind in _KINDS and (noted := forgotten(run)):
            _forgets(kind)(run, noted)
    except (JobError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("What was deleted could not be taken out of the run %s: %s", run.id, error)


def finish_forgetting(root: Path) -> None:
    """Do what jobs that were killed could not. At the start of the app."""
    for run in _holding(root):
        if forgotten(run) and (lock := run.take_lock()) is not None:
            with lock:
                honour(run)


def _forgets(kind: JobKind) -> Callable[[RunFolder, Collection[str]], bool]:
    """What takes samples out of a run of that kind; imported now, because every job imports this module."""
    if kind is JobKind.EVALUATE:
        from train_jobs.evaluation.rows import forget
    elif kind is JobKind.SFT:
        from train_jobs.sft.prepared import forget
    else:
        from train_jobs.grpo.rollouts import forget
    return forget


def _holding(root: Path) -> Iterator[RunFolder]:
    for run in list_runs(root):
        try:
            if run.spec().kind in _KINDS:
                yield run
        except JobError:
            continue


def _is_done(run: RunFolder) -> bool:
    """Whether it is over for good, so that nothing comes back by itself."""
    try:
        return run.status().state is JobState.SUCCEEDED
    except JobError:
        return False
