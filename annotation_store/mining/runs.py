"""Runs of mining: which samples each goes over, what the generations said, and the kept ones into the queue.

A run is worked on batch by batch, each batch one transaction, so that what is recorded stays recorded; a run that was
stopped, or whose process died, goes on with the samples that it has not done. The rules are `core.mining`'s, the
generations the caller's.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from annotation_store.columns import new_id, now_text, to_json
from annotation_store.mining.values import Candidate, Findings, MiningRun, MiningSettings, MiningState
from annotation_store.models import ImportBatchRow, MinedSampleRow, MiningRunRow, QueueItemRow, SampleRow, VerdictRow
from annotation_store.queue.items import OPEN, add_reasons
from annotation_store.reading.selecting import Selection, read_selected, selected
from annotation_store.rows.samples import MANY, insert_row
from annotation_store.rules.names import named
from annotation_store.rules.reasons import generations_disagree, generations_unreadable, generations_wrong
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason
from core.errors import InputError, StoreError
from core.mining.rules import Answer, Outcome, judge


class Mining:
    """A run that is being worked on, by one thread of one process. `begin` and `resume` make it."""

    def __init__(self, store: AnnotationStore, run: MiningRun, key: int, waiting: array[int]) -> None:
        self.run = run
        self._store = store
        self._key = key
        self._waiting = waiting
        self._at = 0

    def next(self, size: int) -> list[Candidate]:
        """The next samples, at most `size`; empty when all are done. Those deleted meanwhile are left out.

        Raises:
            StoreError: the database failed.
        """
        while self._at < len(self._waiting):
            keys = list(self._waiting[self._at : self._at + size])
            self._at += len(keys)
            with self._store.reading("Reading samples to mine") as connection:
                if found := self._candidates(connection, keys):
                    return found
        return []

    def _candidates(self, connection: Connection, keys: list[int]) -> list[Candidate]:
        known = set(
            connection.scalars(
                select(SampleRow.id)
                .join(VerdictRow, VerdictRow.sample_key == SampleRow.key)
                .where(
                    SampleRow.key.in_(keys),
                    VerdictRow.checkpoint_id == self.run.checkpoint_id,
                    VerdictRow.request_label.is_not(None),
                )
            )
        )
        return [
            Candidate(
                each.sample_id,
                each.sample,
                None if each.label is None else (each.label.draft.request, each.label.draft.response),
                (each.label.source or "") if each.label else "",
                each.sample_id in known,
            )
            for each in read_selected(connection, keys)
        ]

    def outcome(self, candidate: Candidate, answers: Sequence[Answer | None]) -> Outcome:
        """What the run's rule makes of a sample's generations."""
        settings = self.run.settings
        return judge(settings.rule, answers, candidate.gold, settings.least_bits)

    def record(self, batch: Sequence[tuple[Candidate, Sequence[Answer | None]]]) -> MiningRun:
        """Keep what the generations of a batch said, and put the kept samples into the queue: one transaction.

        Samples that were deleted meanwhile, or that the run has done already, are passed over.

        Args:
            batch: with each sample the answers of its generations, none for each that could not be read; no answers
                at all when it could not be judged.

        Raises:
            StoreError: the database failed; nothing of the batch was written.
        """
        now = now_text()
        with self._store.writing("Recording mined samples") as connection:
            ids = [candidate.sample_id for candidate, _ in batch]
            keys = _undone(connection, self._key, ids)
            done = kept = 0
            for candidate, answers in batch:
                key = keys.get(candidate.sample_id)
                if key is None:
                    continue
                outcome = self.outcome(candidate, answers)
                connection.execute(
                    insert(MinedSampleRow).values(
                        run_key=self._key, sample_key=key, answers=to_json(list(answers)), wrong=outcome.wrong,
                        entropy=outcome.entropy, kept=outcome.kept,
                    )
                )  # fmt: skip
                done += 1
                if outcome.kept:
                    kept += 1
                    add_reasons(connection, key, [self._reason(candidate, answers, outcome)], now)
            connection.execute(
                update(MiningRunRow)
                .where(MiningRunRow.key == self._key)
                .values(done=MiningRunRow.done + done, kept=MiningRunRow.kept + kept, changed_at=now)
            )
        self.run = replace(self.run, done=self.run.done + done, kept=self.run.kept + kept, changed_at=now)
        return self.run

    def end(self, *, stopped: bool) -> MiningRun:
        """Nobody works on the run any more: it is done, or was stopped and can be resumed.

        Raises:
            StoreError: the database failed.
        """
        state = MiningState.STOPPED if stopped else MiningState.DONE
        # Samples that were deleted on the way are not missing from a run that is done.
        total = self.run.total if stopped else self.run.done
        now = now_text()
        with self._store.writing("Ending the mining") as connection:
            connection.execute(
                update(MiningRunRow)
                .where(MiningRunRow.key == self._key)
                .values(state=state.value, total=total, changed_at=now)
            )
        self.run = replace(self.run, state=state, total=total, changed_at=now)
        return self.run

    def _reason(self, candidate: Candidate, answers: Sequence[Answer | None], outcome: Outcome) -> Reason:
        checkpoint = self.run.checkpoint_id
        if outcome.wrong is not None:
            return generations_wrong(outcome.wrong, answers, candidate.labelled_by, checkpoint)
        return generations_disagree(answers, checkpoint) or generations_unreadable(len(answers), checkpoint)


def begin(store: AnnotationStore, settings: MiningSettings, checkpoint_id: str, started_by: str) -> Mining:
    """Begin a run over the samples that pass the selection now.

    Raises:
        InputError: no sample passes.
        StoreError: nobody is named, or the database failed.
    """
    named(started_by)
    waiting = _passing(store, settings.selection, set())
    if not waiting:
        raise InputError(
            "No stored sample passes the filter, so there is nothing to mine; widen it, or bring a file in."
        )
    now = now_text()
    run = MiningRun(
        new_id("m1"), checkpoint_id, settings, MiningState.RUNNING, len(waiting), 0, 0, started_by, now, now
    )
    with store.writing("Beginning the mining") as connection:
        key = insert_row(
            connection, MiningRunRow, id=run.id, checkpoint_id=checkpoint_id, rule=settings.rule.value,
            settings=to_json(settings.to_json()), state=run.state.value, total=run.total, done=0, kept=0,
            started_by=started_by, started_at=now, changed_at=now,
        )  # fmt: skip
    return Mining(store, run, key, waiting)


def resume(store: AnnotationStore, run_id: str) -> Mining:
    """Go on with a run that was stopped or whose process died: samples that it has done are not judged again.

    Samples that came into the store since, and pass the selection, belong to it as well.

    Raises:
        StoreError: there is no such run, it is done, or the database failed.
    """
    with store.reading("Reading the mining run") as connection:
        row = _row(connection, run_id)
        if row.state == MiningState.DONE:
            raise StoreError(f"The mining run of {row.started_at[:16].replace('T', ' ')} is done; start a new one.")
        mined = connection.execute(
            select(MinedSampleRow.sample_key, MinedSampleRow.kept).where(MinedSampleRow.run_key == row.key)
        ).all()
    run = _run(row)
    waiting = _passing(store, run.settings.selection, {each.sample_key for each in mined})
    counts = {
        "state": MiningState.RUNNING,
        "total": len(mined) + len(waiting),
        "done": len(mined),
        "kept": sum(each.kept for each in mined),
        "changed_at": now_text(),
    }
    with store.writing("Resuming the mining") as connection:
        connection.execute(update(MiningRunRow).where(MiningRunRow.key == row.key).values(**counts))
    return Mining(store, replace(run, **counts), row.key, waiting)


def mining_runs(store: AnnotationStore, limit: int = 50) -> list[MiningRun]:
    """The latest runs, newest first.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Reading the mining runs") as connection:
        rows = connection.execute(select(MiningRunRow.__table__).order_by(MiningRunRow.key.desc()).limit(limit))
        runs = [_run(row) for row in rows]
        batches = {run.settings.selection.batch_id for run in runs if run.settings.selection.batch_id}
        brought = connection.execute(
            select(ImportBatchRow.id, ImportBatchRow.file_name).where(ImportBatchRow.id.in_(batches))
        )
        names = {row.id: row.file_name for row in brought}
    return [replace(run, file_name=names.get(run.settings.selection.batch_id or "", "")) for run in runs]


def findings(store: AnnotationStore, run_id: str) -> Findings:
    """What became of the samples that a run has kept.

    Raises:
        StoreError: there is no such run, or the database failed.
    """
    with store.reading("Reading what was mined") as connection:
        key = _row(connection, run_id).key
        rows = connection.execute(
            select(
                QueueItemRow.state == OPEN,
                MinedSampleRow.wrong.is_not(None),
                MinedSampleRow.entropy > 0,
                func.count(),
            )
            .join(QueueItemRow, QueueItemRow.sample_key == MinedSampleRow.sample_key)
            .where(MinedSampleRow.run_key == key, MinedSampleRow.kept)
            .group_by(QueueItemRow.state, MinedSampleRow.wrong.is_not(None), MinedSampleRow.entropy > 0)
        ).all()
        unjudged = connection.scalar(
            select(func.count())
            .select_from(MinedSampleRow)
            .where(MinedSampleRow.run_key == key, MinedSampleRow.answers == "[]")
        )
    counts = {"label": 0, "vote": 0, "unreadable": 0, "decided": 0}
    for is_open, by_label, split, count in rows:
        counts["decided" if not is_open else "label" if by_label else "vote" if split else "unreadable"] += count
    return Findings(counts["label"], counts["vote"], counts["unreadable"], counts["decided"], unjudged or 0)


def _passing(store: AnnotationStore, selection: Selection, done: set[int]) -> array[int]:
    """The keys of the samples that pass and are not done, in the order of their ids."""
    waiting = array("q")
    with store.reading("Selecting samples to mine") as connection:
        for page in selected(connection, selection):
            waiting.extend(key for key in page if key not in done)
    return waiting


def _undone(connection: Connection, run_key: int, ids: Sequence[str]) -> dict[str, int]:
    """The keys of those samples that are still there and that the run has not done."""
    keys: dict[str, int] = {}
    mined = (
        select(MinedSampleRow.sample_key)
        .where(MinedSampleRow.run_key == run_key, MinedSampleRow.sample_key == SampleRow.key)
        .exists()
    )
    for start in range(0, len(ids), MANY):
        some = SampleRow.id.in_(ids[start : start + MANY])
        keys |= {row.id: row.key for row in connection.execute(select(SampleRow.id, SampleRow.key).where(some, ~mined))}
    return keys


def _row(connection: Connection, run_id: str) -> Row[Any]:
    row = connection.execute(select(MiningRunRow.__table__).where(MiningRunRow.id == run_id)).one_or_none()
    if row is None:
        raise StoreError(f"There is no mining run {run_id[:80]!r} in the store; the id of one is expected.")
    return row


def _run(row: Row[Any]) -> MiningRun:
    return MiningRun(
        row.id, row.checkpoint_id, MiningSettings.from_json(row.rule, json.loads(row.settings)),
        MiningState(row.state), row.total, row.done, row.kept, row.started_by, row.started_at, row.changed_at,
    )  # fmt: skip
