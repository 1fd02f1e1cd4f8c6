"""Rows of events and of the pace, inside the transactions of the operations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.orm import aliased

from annotation_store.columns import new_id
from annotation_store.models import EventRow, LabelRow, PaceCountRow, SampleRow
from annotation_store.rows.samples import insert_row, inserting
from annotation_store.values.review import EventKind, EventRecord

_undone, _undo = aliased(EventRow), aliased(EventRow)
_EVENTS = (
    select(
        EventRow.id,
        EventRow.kind,
        SampleRow.id.label("sample_id"),
        EventRow.reviewer,
        EventRow.note,
        EventRow.created_at,
        LabelRow.id.label("label_id"),
        _undone.id.label("undoes"),
        _undo.key.label("undo_key"),
    )
    .join(SampleRow, SampleRow.key == EventRow.sample_key)
    .outerjoin(LabelRow, LabelRow.key == EventRow.label_key)
    .outerjoin(_undone, _undone.key == EventRow.undoes_key)
    .outerjoin(_undo, _undo.undoes_key == EventRow.key)
    .where(EventRow.key.in_(bindparam("keys", expanding=True)))
    .order_by(EventRow.key)
)
_MORE_PACE = (
    update(PaceCountRow)
    .where(
        PaceCountRow.reviewer == bindparam("of_reviewer"),
        PaceCountRow.kind == bindparam("of_kind"),
        PaceCountRow.quarter == bindparam("of_quarter"),
    )
    .values(events=PaceCountRow.events + bindparam("change"))
)


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
    event_id: str | None = None,
) -> int:
    """Append an event and give its key. `event_id`: its name; a new one unless given."""
    return insert_row(
        connection,
        EventRow,
        id=event_id or new_id("e1"),
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
        for row in connection.execute(_EVENTS, {"keys": list(keys)})
    ]


def count_pace(connection: Connection, reviewer: str, kind: str, at: str, change: int) -> None:
    """Add to the quarter of an hour that the time `at` lies in."""
    quarter = quarter_of(at)
    changed = connection.execute(
        _MORE_PACE, {"of_reviewer": reviewer, "of_kind": kind, "of_quarter": quarter, "change": change}
    )
    if not changed.rowcount:
        values = {"reviewer": reviewer, "kind": kind, "quarter": quarter, "events": change}
        connection.execute(inserting(PaceCountRow), values)


def quarter_of(at: str) -> str:
    """The beginning of the quarter of an hour of a UTC time: 2026-11-21T09:15."""
    return f"{at[:14]}{int(at[14:16]) // 15 * 15:02d}"
