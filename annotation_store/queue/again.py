"""A decided item comes back into the queue, because something new speaks against its label."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select

from annotation_store.models import EventRow, PassRow, QueueItemRow
from annotation_store.queue.items import DECIDED, OPEN, REOPENED, add_reasons, set_item
from annotation_store.rows.events import write_event
from annotation_store.values.reasons import Reason
from annotation_store.values.review import EventKind

_STATE = select(QueueItemRow.state).where(QueueItemRow.sample_key == bindparam("of_sample"))
_DECIDERS = select(EventRow.reviewer).where(
    EventRow.sample_key == bindparam("of_sample"), EventRow.kind == EventKind.DECIDE.value
)
_FORGET_DECIDERS = delete(PassRow).where(PassRow.sample_key == bindparam("of_sample"), PassRow.reviewer.in_(_DECIDERS))


def open_for(connection: Connection, key: int, reason: Reason, by: str, now: str) -> None:
    """Give a sample this reason, and open its item also where it had been decided, inside a transaction.

    The label stays, and counts until there is another one, which supersedes it. Who decided is offered the item again:
    where one person reviews, nobody else would ever see it. Who skipped it is not.

    Args:
        by: who gives the reason, for the trail.
    """
    state = connection.scalar(_STATE, {"of_sample": key})
    add_reasons(connection, key, [reason], now)
    if state == DECIDED:
        set_item(connection, key, now, state=OPEN, stage=REOPENED, turn=0)
        connection.execute(_FORGET_DECIDERS, {"of_sample": key})
        write_event(connection, EventKind.REOPEN, key, by, now, note=reason.words)
