"""Changing the queue inside a transaction: reasons in, items opened and closed, counters kept equal to the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select, true, update

from annotation_store.columns import now_text
from annotation_store.models import QueueCountRow, QueueItemRow, QueueReasonRow, SampleRow
from annotation_store.reasons import Reason
from annotation_store.samples import sample_key

if TYPE_CHECKING:
    from annotation_store.store import AnnotationStore

OPEN, DECIDED = "open", "decided"
FIRST, SECOND, REOPENED = "first", "second_opinion", "reopened"
"""Stages of an item."""

Counted = tuple[str, str, str]
"""Kind, modality and checkpoint of a row of `QueueCountRow`."""


def enqueue(store: AnnotationStore, reasons: Mapping[str, Iterable[Reason]]) -> int:
    """Put stored samples into the queue, or give more reasons to those that are in it.

    A sample that a reviewer has decided stays decided: what people said outranks a newer verdict. Its page shows the
    new reason, and a reviewer can open it again.

    Args:
        reasons: by sample id.

    Returns:
        How many samples are open in the queue that were not before.

    Raises:
        StoreError: a sample is not in the store, or the database failed. Nothing was written then.
    """
    now = now_text()
    with store.writing("Filling the queue") as connection:
        return sum(
            add_reasons(connection, sample_key(connection, sample_id), found, now)
            for sample_id, found in reasons.items()
        )


def add_reasons(connection: Connection, key: int, reasons: Iterable[Reason], now: str) -> bool:
    """Give a sample these reasons; True when it became open by that."""
    found = {reason.kind.value: reason for reason in reasons}
    if not found:
        return False
    modality = connection.scalar(select(SampleRow.modality).where(SampleRow.key == key))
    state = connection.scalar(select(QueueItemRow.state).where(QueueItemRow.sample_key == key))
    with counted(connection, key):
        if state is None:
            connection.execute(
                insert(QueueItemRow).values(sample_key=key, state=OPEN, stage=FIRST, created_at=now, changed_at=now)
            )
        rows = connection.execute(
            select(QueueReasonRow.kind, QueueReasonRow.turn).where(QueueReasonRow.sample_key == key)
        )
        known = {row.kind: row.turn for row in rows}
        for kind, reason in found.items():
            values = {
                "checkpoint_id": reason.checkpoint_id,
                "weakness": 1.0 - min(max(reason.strength, 0.0), 1.0),
                "words": reason.words,
                "created_at": now,
            }
            if kind in known:
                connection.execute(
                    update(QueueReasonRow)
                    .where(QueueReasonRow.sample_key == key, QueueReasonRow.kind == kind)
                    .values(**values)
                )
            else:
                values |= {"sample_key": key, "kind": kind, "modality": modality, "open": state != DECIDED}
                connection.execute(insert(QueueReasonRow).values(turn=max(known.values(), default=0), **values))
    return state is None


def set_item(connection: Connection, key: int, now: str, *, state: str, stage: str, turn: int | None = None) -> None:
    """Open or close an item that is there. `turn`: how often it was skipped; unchanged when none."""
    rows = connection.execute(
        select(QueueReasonRow.kind, QueueReasonRow.modality, QueueReasonRow.checkpoint_id, QueueReasonRow.open).where(
            QueueReasonRow.sample_key == key
        )
    ).all()
    connection.execute(
        update(QueueItemRow).where(QueueItemRow.sample_key == key).values(state=state, stage=stage, changed_at=now)
    )
    values: dict[str, object] = {"open": state == OPEN}
    if turn is not None:
        values["turn"] = turn
    connection.execute(update(QueueReasonRow).where(QueueReasonRow.sample_key == key).values(**values))
    before = {each for *row, was_open in rows if was_open for each in counted_as(*row)}
    after = {each for *row, _ in rows for each in counted_as(*row)} if state == OPEN else set()
    change_counts(connection, dict.fromkeys(after - before, 1) | dict.fromkeys(before - after, -1))


def drop_reason(connection: Connection, key: int, kind: str) -> None:
    """Take one reason back; the item must have another one."""
    with counted(connection, key):
        connection.execute(delete(QueueReasonRow).where(QueueReasonRow.sample_key == key, QueueReasonRow.kind == kind))


@contextmanager
def counted(connection: Connection, key: int) -> Iterator[None]:
    """Around every change of an item: the counters follow."""
    before = _counted_as(connection, key)
    yield
    after = _counted_as(connection, key)
    change_counts(connection, dict.fromkeys(after - before, 1) | dict.fromkeys(before - after, -1))


def _counted_as(connection: Connection, key: int) -> set[Counted]:
    found = connection.execute(
        select(QueueReasonRow.kind, QueueReasonRow.modality, QueueReasonRow.checkpoint_id).where(
            QueueReasonRow.sample_key == key, QueueReasonRow.open == true()
        )
    )
    return {each for row in found for each in counted_as(*row)}


def counted_as(kind: str, modality: str, checkpoint_id: str) -> tuple[Counted, ...]:
    """The counters that an open reason stands under."""
    return (kind, modality, checkpoint_id), ("", modality, checkpoint_id), ("", modality, "")


def change_counts(connection: Connection, changes: Mapping[Counted, int]) -> None:
    """Add to the counters."""
    for (kind, modality, checkpoint_id), change in changes.items():
        if not change:
            continue
        row = {"kind": kind, "modality": modality, "checkpoint_id": checkpoint_id}
        changed = connection.execute(
            update(QueueCountRow)
            .where(*(getattr(QueueCountRow, name) == value for name, value in row.items()))
            .values(open_items=QueueCountRow.open_items + change)
        )
        if not changed.rowcount:
            connection.execute(insert(QueueCountRow).values(open_items=change, **row))
