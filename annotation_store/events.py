"""Rows of events and of the pace, inside the transactions of the operations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.orm import aliased

from annotation_store.columns import new_id
from annotation_store.models import EventRow, LabelRow, PaceCountRow, SampleRow
from annotation_store.review_values import EventKind, EventRecord
from annotation_store.samples import insert_row


def write_event(
    connection: Connection,
    kind: EventKind,
    sample_key: int,
    reviewer: str,
    now: str,
    *,
    note: str = "",
    label_key: int | None = None,
    undoes_key: int | None = None,
    token: str | None = None,
    before: str | None = None,
) -> int:
    """Append an event and give its key."""
    return insert_row(
        connection,
        EventRow,
        id=new_id("e1"),
        sample_key=sample_key,
        kind=kind.value,
        reviewer=reviewer,
        note=note,
        label_key=label_key,
        undoes_key=undoes_key,
        token=token,
        before=before,
        created_at=now,
    )


def read_events(connection: Connection, keys: Sequence[int]) -> list[EventRecord]:
    """Events by key, oldest first."""
    undone, undo = aliased(EventRow), aliased(EventRow)
    rows = connection.execute(
        select(
            EventRow,
            SampleRow.id.label("sample_id"),
            LabelRow.id.label("label_id"),
            undone.id.label("undoes"),
            undo.key.label("undo_key"),
        )
        .join(SampleRow, SampleRow.key == EventRow.sample_key)
        .outerjoin(LabelRow, LabelRow.key == EventRow.label_key)
        .outerjoin(undone, undone.key == EventRow.undoes_key)
        .outerjoin(undo, undo.undoes_key == EventRow.key)
        .where(EventRow.key.in_(keys))
        .order_by(EventRow.key)
    )
    return [
        EventRecord(
            row.id,
            EventKind(row.kind),
            row.sample_id,
            row.reviewer,
            row.note,
            row.created_at,
            row.label_id,
            row.undoes,
            row.undo_key is not None,
        )
        for row in rows
    ]


def count_pace(connection: Connection, reviewer: str, kind: str, at: str, change: int) -> None:
    """Add to the quarter of an hour that the time `at` lies in."""
    row = {"reviewer": reviewer, "kind": kind, "quarter": quarter_of(at)}
    changed = connection.execute(
        update(PaceCountRow)
        .where(*(getattr(PaceCountRow, name) == value for name, value in row.items()))
        .values(events=PaceCountRow.events + change)
    )
    if not changed.rowcount:
        connection.execute(insert(PaceCountRow).values(events=change, **row))


def quarter_of(at: str) -> str:
    """The beginning of the quarter of an hour of a UTC time: 2026-11-21T09:15."""
    return f"{at[:14]}{int(at[14:16]) // 15 * 15:02d}"
