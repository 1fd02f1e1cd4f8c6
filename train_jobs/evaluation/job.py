"""The evaluation job: any checkpoint, on the splits of a snapshot and on files of labelled rows.

Batched, and resumable: every batch's answers are on disk before the next one begins, and a resumed job goes on with the
rows that have none. The report is made from all answers at the end.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import JobError
from core.evaluation.bootstrap import RESAMPLES
from core.evaluation.rows import HELD_OUT, VALIDATION, EvaluationRow, ScoredRow
from core.judging.guard import Guard
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.serving.loading import load_guard
from core.settings import Settings, key_for, load_settings
from train_jobs.evaluation.published import published
from train_jobs.evaluation.report import Circumstances, build_report
from train_jobs.evaluation.rows import add_rows, media_folder, read_rows, without_forgotten
from train_jobs.evaluation.sets import SPLITS, EvaluationSet, file_set, find_files, part_of, snapshot_set
from train_jobs.runs.context import JobContext

SAVE_EVERY_S = 8.0
"""About so much work is lost at most when the process is killed, and so long a request to cancel waits."""
LEAST_CHUNK, MOST_CHUNK = 32, 512


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """`JobSpec.options` of an evaluation.

    Raises:
        JobError: a value cannot be used; the message names it.
    """

    files: tuple[str, ...] = ()
    """Files in the schema of `train_jobs.evaluation.sets`, and folders of such files."""
    split: str = HELD_OUT
    """Of the snapshot, where one is given: `held-out` (test) or `validation`."""
    first_look_only: bool = False
    """No reasoning: many times faster, and another figure than the papers'."""
    limit: int | None = None
    """Rows of each set at most, drawn by the seed; all of them unless given."""
    seed: int = 0
    """For the rows that are drawn and for the bootstrap."""
    resamples: int = RESAMPLES
    timed: int = 16
    """Rows that are judged once more one by one, for the time that a visitor waits; 0 leaves it out."""
    engine_model: str | None = None
    """The model's name on the server, where the checkpoint is a server's address."""

    def __post_init__(self) -> None:
        files: Any = self.files
        if not isinstance(files, list | tuple) or not all(isinstance(each, str) and each.strip() for each in files):
            raise JobError(f"options.files must be a list of paths, not {files!r}.")
        object.__setattr__(self, "files", tuple(files))
        if self.split not in SPLITS:
            raise JobError(f"options.split must be {HELD_OUT} or {VALIDATION}, not {self.split!r}.")
        if not isinstance(self.first_look_only, bool):
            raise JobError(f"options.first_look_only must be true or false, not {self.first_look_only!r}.")
        for name, least in (("limit", 1), ("seed", 0), ("resamples", 100), ("timed", 0)):
            value = getattr(self, name)
            if name == "limit" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise JobError(f"options.{name} must be a whole number of at least {least}, not {value!r}.")
        if not isinstance(self.engine_model, str | None):
            raise JobError(f"options.engine_model must be a text or null, not {self.engine_model!r}.")

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> EvaluateOptions:
        """Read `JobSpec.options`.

        Raises:
            JobError: a key is unknown, or a value cannot be used.
        """
        names = [each.name for each in dataclasses.fields(cls)]
        if unknown := sorted(set(options) - set(names)):
            raise JobError(f"An evaluation has no option {', '.join(unknown)}; it has: {', '.join(names)}.")
        return cls(**options)


def run(context: JobContext) -> None:
    """Score the checkpoint of the spec and write the report.

    Raises:
        Cancelled: it was asked to end; the answers so far are kept, and a resumed job goes on from them.
        GuardroomError: the checkpoint, the snapshot or a file cannot be used; the message says which and why.
        OSError: the disk is full.
    """
    options = EvaluateOptions.from_json(context.spec.options)
    reader = VideoReader(MediaLimits())
    try:
        media = MediaStore(media_folder(context.run), MediaLimits(), reader)
        context.progress(0, 1, "reading the rows")
        sets = without_forgotten(context.run, read_sets(context.spec.snapshot, options, media))
        guard = load_guard(context.spec.base, _settings(context, options), media, lambda share, words: None)
        try:
            rows, batched = score(context, guard, [row for each in sets for row in each.rows], options)
            context.progress(len(rows), len(rows), "timing single verdicts")
            timed = _timed(context, guard, rows, options)
            how = Circumstances(
                info=guard.engine.info,
                engine=guard.engine.name,
                device=guard.engine.device,
                dtype=guard.engine.dtype,
                deliberated=not options.first_look_only,
                seed=options.seed,
                resamples=options.resamples,
                batched=batched,
                one_by_one=timed,
            )
        finally:
            guard.engine.close()
    finally:
        reader.close()
    context.run.write_report(build_report(rows, sets, how, published()))


def read_sets(snapshot: str | None, options: EvaluateOptions, media: MediaStore) -> list[EvaluationSet]:
    """Everything that is to be scored, in order: the split of the snapshot, then the files by name.

    Raises:
        JobError: nothing is named, or nothing of it is labelled.
        SnapshotError, MediaError, InputError: what is named cannot be read.
    """
    sets = [] if snapshot is None else [snapshot_set(Path(snapshot), options.split, media)]
    sets += [file_set(path, media) for path in find_files(options.files)]
    if not sets:
        raise JobError("There is nothing to evaluate on: name a snapshot, or options.files.")
    if not any(each.rows for each in sets):
        raise JobError(
            f"None of the rows of {', '.join(each.name for each in sets)} is labelled, so nothing is scored."
        )
    return [part_of(each, options.limit, options.seed) for each in sets]


def _settings(context: JobContext, options: EvaluateOptions) -> Settings:
    """Those of the surroundings, with what the job says in their place. A server's key is in no file."""
    surroundings = load_settings()
    changes: dict[str, Any] = {"device": context.device}
    if "://" in context.spec.base:
        from pydantic import SecretStr

        key = key_for(context.spec.base, surroundings.engine_url, context.secrets.get("engine_key"))
        changes |= {"engine_url": context.spec.base, "engine_key": SecretStr(key) if key else None}
        if options.engine_model is not None:
            changes["engine_model"] = options.engine_model
    else:
        changes["engine_url"] = None
    return surroundings.model_copy(update=changes)


def score(
    context: JobContext, guard: Guard, rows: Sequence[EvaluationRow], options: EvaluateOptions
) -> tuple[list[ScoredRow], dict[str, float]]:
    """Every row with its verdict, in the order of the sets; and how many were judged now, in how many seconds."""
    wanted = {(row.set, row.id, row.sample.id): row for row in rows}
    done: dict[tuple[str, str, str], ScoredRow] = {}
    for scored in read_rows(context.run):
        if scored.key in wanted and _is_of(scored, guard, deliberated=not options.first_look_only):
            done[scored.key] = ScoredRow(wanted[scored.key], scored.verdict)
            if scored.row != wanted[scored.key]:  # its labels were corrected between two attempts
                add_rows(context.run, [done[scored.key]])
    left = in_batching_order([row for key, row in wanted.items() if key not in done])
    words = "first looks" if options.first_look_only else "moderating"
    stopped = "Cancelled after {:,} of {:,} rows; resume to go on with the others."
    wrong, unreadable = (
        sum(each.is_wrong for each in done.values()),
        sum(not each.is_readable for each in done.values()),
    )
    judged, seconds, size = 0, 0.0, LEAST_CHUNK
    while judged < len(left):
        context.progress(len(done), len(wanted), words)
        chunk = left[judged : judged + size]
        begun = time.perf_counter()
        verdicts = guard.moderate_many(
            [row.sample for row in chunk],
            stop=context.stop,
            chunk=len(chunk),
            deliberate=not options.first_look_only,
        )
        seconds += time.perf_counter() - begun
        scored_now = [ScoredRow(row, verdict) for row, verdict in zip(chunk, verdicts, strict=False)]
        add_rows(context.run, scored_now)
        done |= {each.key: each for each in scored_now}
        wrong += sum(each.is_wrong for each in scored_now)
        unreadable += sum(not each.is_readable for each in scored_now)
        context.check_stop(stopped.format(len(done), len(wanted)))
        judged += len(chunk)
        size = min(MOST_CHUNK, max(LEAST_CHUNK, int(judged / seconds * SAVE_EVERY_S)))
        context.metric(
            {
                "step": len(done),
                "rows_per_s": judged / seconds,
                "wrong_share": wrong / len(done),
                "unreadable_share": unreadable / len(done),
            }
        )
    context.check_stop(stopped.format(len(done), len(wanted)))
    return [done[key] for key in wanted], {"rows": judged, "seconds": seconds}


def _is_of(scored: ScoredRow, guard: Guard, *, deliberated: bool) -> bool:
    """Whether an answer of an earlier attempt is what this guard would give."""
    verdict, info = scored.verdict, guard.engine.info
    same = (verdict.checkpoint_id, verdict.protocol_version) == (info.id, info.protocol_version)
    return same and (verdict.generation is not None) == deliberated


def in_batching_order(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """Rows of like kind and length beside each other, so that little is padded.

    The longest come first, so that a lack of memory shows early.
    """
    kinds = ("video", "image", "text")
    return sorted(
        rows,
        key=lambda row: (
            kinds.index(row.sample.modality.value),
            -len(row.sample.request) - len(row.sample.response or ""),
        ),
    )


def _timed(
    context: JobContext, guard: Guard, rows: Sequence[ScoredRow], options: EvaluateOptions
) -> list[tuple[float | None, float]]:
    """Seconds to the first piece and to the verdict of rows from all over, each judged alone."""
    count = min(options.timed, len(rows))
    chosen = [rows[at * len(rows) // count] for at in range(count)]
    times: list[tuple[float | None, float]] = []
    for each in chosen:
        context.check_stop("Cancelled while single verdicts were timed; resume to finish the report.")
        if each.verdict.generation is None and not options.first_look_only:
            continue  # it could not be judged in the batch either
        begun = time.perf_counter()
        judge = guard.first_look if options.first_look_only else guard.moderate
        verdict = judge(each.row.sample)
        done = verdict.generation
        times.append((done.ttft_s if done else None, time.perf_counter() - begun))
    return times
