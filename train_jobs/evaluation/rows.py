"""The answers of an evaluation, row by row, in the run's result folder: written as they come, read by pages and jobs.

result/rows.jsonl       one scored row a line (`core.evaluation.rows.scored_to_json`)
result/media/ab/…       the media of the rows, by digest
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import JobError, StoreError
from core.evaluation.rows import EvaluationRow, ScoredRow, scored_from_json, scored_to_json
from core.files import replace_file
from core.journal import append_lines, read_lines
from core.json_lines import json_line
from train_jobs.evaluation.sets import EvaluationSet
from train_jobs.runs.folder import RunFolder
from train_jobs.runs.forgotten import forgotten

_ROWS, _MEDIA = "rows.jsonl", "media"


def media_folder(run: RunFolder) -> Path:
    """Where the media of the rows lie: the root of a `core.media.store.MediaStore`."""
    return run.result / _MEDIA


def add_rows(run: RunFolder, rows: Iterable[ScoredRow]) -> None:
    """Append answers; they are on disk when this returns.

    Raises:
        OSError: the disk is full.
    """
    append_lines(run.result / _ROWS, map(scored_to_json, rows))


def read_rows(run: RunFolder) -> list[ScoredRow]:
    """All answers as they were written; of a row that was scored twice, the later one. A torn last line is left out,
    and so is what was deleted meanwhile.

    Raises:
        JobError: the file is damaged elsewhere.
    """
    gone = forgotten(run)
    return [each for each in _read(run) if each.row.sample.id not in gone]


def _read(run: RunFolder) -> list[ScoredRow]:
    try:
        rows = [scored_from_json(value) for value in read_lines(run.path / "result" / _ROWS)]
    except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
        raise JobError(f"The answers of the evaluation {run.id} cannot be read ({error}).") from None
    return list({row.key: row for row in rows}.values())


def forget(run: RunFolder, sample_ids: Collection[str]) -> bool:
    """Take deleted samples out of the answers; the figures stay. Media that no other row needs go with them.

    Only for the holder of the run's lock.

    Returns:
        Whether one of them was there.

    Raises:
        JobError: the answers cannot be read.
        OSError: a file cannot be written.
    """
    rows = _read(run)
    kept = [each for each in rows if each.row.sample.id not in sample_ids]
    if len(kept) == len(rows):
        return False
    replace_file(run.path / "result" / _ROWS, b"".join(json_line(scored_to_json(each)) for each in kept), durable=True)
    _drop_media(run, [each.row for each in rows], [each.row for each in kept])
    return True


def without_forgotten(run: RunFolder, sets: Sequence[EvaluationSet]) -> list[EvaluationSet]:
    """What is to be scored without samples that were deleted since the run was begun: a file may still hold them."""
    gone = forgotten(run)
    if not gone:
        return list(sets)
    kept = [replace(each, rows=tuple(row for row in each.rows if row.sample.id not in gone)) for each in sets]
    _drop_media(run, *([row for each in some for row in each.rows] for some in (sets, kept)))
    return kept


def _drop_media(run: RunFolder, before: Iterable[EvaluationRow], kept: Iterable[EvaluationRow]) -> None:
    """Remove the media of rows that are no longer there and that no other row needs."""
    digests, needed = ({ref.digest for row in rows for ref in row.sample.media} for rows in (before, kept))
    for digest in digests - needed:
        (media_folder(run) / digest[:2] / digest).unlink(missing_ok=True)
