"""The answers of an evaluation, row by row, in the run's result folder: written as they come, read by pages and jobs.

result/rows.jsonl       one scored row a line (`core.evaluation.scored_to_json`)
result/media/ab/…       the media of the rows, by digest
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import JobError, StoreError
from core.evaluation import ScoredRow, scored_from_json, scored_to_json
from core.journal import append_lines, read_lines
from core.json_lines import json_line
from train_jobs.runs import RunFolder, list_runs
from train_jobs.specs import JobKind

_ROWS, _MEDIA = "rows.jsonl", "media"


def media_folder(run: RunFolder) -> Path:
    """Where the media of the rows lie: the root of a `core.media.MediaStore`."""
    return run.result / _MEDIA


def add_rows(run: RunFolder, rows: Iterable[ScoredRow]) -> None:
    """Append answers; they are on disk when this returns.

    Raises:
        OSError: the disk is full.
    """
    append_lines(run.result / _ROWS, map(scored_to_json, rows))


def read_rows(run: RunFolder) -> list[ScoredRow]:
    """All answers as they were written; of a row that was scored twice, the later one. A torn last line is left out.

    Raises:
        JobError: the file is damaged elsewhere.
    """
    try:
        rows = [scored_from_json(value) for value in read_lines(run.path / "result" / _ROWS)]
    except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
        raise JobError(f"The answers of the evaluation {run.id} cannot be read ({error}).") from None
    return list({row.key: row for row in rows}.values())


def forget_sample(root: Path, sample_id: str) -> int:
    """Take a deleted sample out of the answers of every evaluation that is not running; the figures stay.

    Call it when a sample is deleted. Media that no other row needs go with it.

    Args:
        root: the folder of runs.

    Returns:
        In how many runs it was.

    Raises:
        JobError: the answers of a run cannot be read.
        OSError: a file cannot be written.
    """
    return sum(_forget(run, sample_id) for run in _evaluations(root))


def _evaluations(root: Path) -> Iterator[RunFolder]:
    for run in list_runs(root):
        with contextlib.suppress(JobError):
            if run.spec().kind is JobKind.EVALUATE:
                yield run


def _forget(run: RunFolder, sample_id: str) -> bool:
    path = run.path / "result" / _ROWS
    lock = run.take_lock()
    if lock is None or not path.exists():
        return False
    with lock:
        rows = read_rows(run)
        kept = [each for each in rows if each.row.sample.id != sample_id]
        if len(kept) == len(rows):
            return False
        part = path.with_name(f".{_ROWS}.part")
        with part.open("wb") as file:
            file.writelines(json_line(scored_to_json(each)) for each in kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        needed = {ref.digest for each in kept for ref in each.row.sample.media}
        gone = {ref.digest for each in rows for ref in each.row.sample.media} - needed
        for digest in gone:
            (media_folder(run) / digest[:2] / digest).unlink(missing_ok=True)
    return True
