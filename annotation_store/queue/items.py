"""Changing the queue inside a transaction: reasons in, items opened and closed, counters kept equal to the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from annotation_store.models import QueueCountRow, QueueItemRow, QueueReasonRow, SampleRow
from annotation_store.rows.samples import inserting
from annotation_store.values.reasons import Reason

OPEN, DECIDED = "open", "decided"
FIRST, SECOND, REOPENED = "first", "second_opinion", "reopened"
"""Stages of an item."""

Counted = tuple[str, str, str]
"""Kind, modality and checkpoint of a row of `QueueCountRow`."""

_ITEM_OF = (
    select(SampleRow.modality, QueueItemRow.state)
    .outerjoin(QueueItemRow, QueueItemRow.sample_key == SampleRow.key)
    .where(SampleRow.key == bindparam("of_sample"))
)
_REASONS_OF = select(
    QueueReasonRow.kind,
    QueueReasonRow.modality,
    QueueReasonRow.checkpoint_id,
    QueueReasonRow.open,
    QueueReasonRow.turn,
).where(QueueReasonRow.sample_key == bindparam("of_sample"))
_SET_ITEM = update(QueueItemRow).where(QueueItemRow.sample_key == bindparam("of_sample"))
_SET_REASONS = update(QueueReasonRow).where(QueueReasonRow.sample_key == bindparam("of_sample"))
_SET_REASON = _SET_REASONS.where(QueueReasonRow.kind == bindparam("of_kind"))
_MORE = (
    update(QueueCountRow)
    .where(
        QueueCountRow.kind == bindparam("of_kind"),
        QueueCountRow.modality == bindparam("of_modality"),
        QueueCountRow.checkpoint_id == bindparam("of_checkpoint"),
    )
    .values(open_items=QueueCountRow.open_items + bindparam("change"))
)


def add_reasons(connection: Connection, key: int, reasons: Iterable[Reason], now: str) -> bool:
    """Give a sample these reasons; True when it became open by that."""
    found = {reason.kind.value: reason for reason in reasons}
    if not found:
        return False
    row: Any = connection.execute(_ITEM_OF, {"of_sample": key}).one()
    modality, state = row
    with counted(connection, key):
        if state is None:
            values = {"sample_key": key, "state": OPEN, "stage": FIRST, "created_at": now, "changed_at": now}
            connection.execute(inserting(QueueItemRow), values)
        known = {row.kind: row.turn for row in connection.execute(_REASONS_OF, {"of_sample": key})}
        for kind, reason in found.items():
            said = {
                "checkpoint_id": reason.checkpoint_id,
                "weakness": weakness(reason),
                "words": reason.words,
                "created_at": now,
            }
            if kind in known:
                connection.execute(_SET_REASON, said | {"of_sample": key, "of_kind": kind})
            else:
                said |= {"sample_key": key, "kind": kind, "modality": modality, "open": state != DECIDED}
                connection.execute(inserting(QueueReasonRow), said | {"turn": max(known.values(), default=0)})
    return state is None


def weakness(reason: Reason) -> float:
    """What the queue's index is ordered by: 0 for the strongest reason, 1 for the weakest."""
    return 1.0 - min(max(reason.strength, 0.0), 1.0)


def set_item(connection: Connection, key: int, now: str, *, state: str, stage: str, turn: int | None = None) -> None:
    """Open or close an item that is there. `turn`: how often it was skipped; unchanged when none."""
    rows = connection.execute(_REASONS_OF, {"of_sample": key}).all()
    connection.execute(_SET_ITEM, {"of_sample": key, "state": state, "stage": stage, "changed_at": now})
    values: dict[str, object] = {"of_sample": key, "open": state == OPEN}
    if turn is not None:
        values["turn"] = turn
    connection.execute(_SET_REASONS, values)
    before = {each for row in rows if row.open for each in counted_as(*row[:3])}
    after = {each for row in rows for each in counted_as(*row[:3])} if state == OPEN else set()
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
    # Asked for the open ones alone, SQLite would walk all open reasons of the queue.
    rows = connection.execute(_REASONS_OF, {"of_sample": key})
    return {each for row in rows if row.open for each in counted_as(*row[:3])}


def counted_as(kind: str, modality: str, checkpoint_id: str) -> tuple[Counted, ...]:
    """The counters that an open reason stands under."""
    return (kind, modality, checkpoint_id), ("", modality, checkpoint_id), ("", modality, "")


def change_counts(connection: Connection, changes: Mapping[Counted, int]) -> None:
    """Add to the counters."""
    less: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for (kind, modality, checkpoint_id), change in changes.items():
        if change:
            where = {"of_kind": kind, "of_modality": modality, "of_checkpoint": checkpoint_id, "change": change}
            (less if change < 0 else more).append(where)
    if less:  # What is taken away was counted before, so its row is there.
        connection.execute(_MORE, less)
    for each in more:
        if not connection.execute(_MORE, each).rowcount:
            row = {"kind": each["of_kind"], "modality": each["of_modality"], "checkpoint_id": each["of_checkpoint"]}
            connection.execute(inserting(QueueCountRow), row | {"open_items": each["change"]})
