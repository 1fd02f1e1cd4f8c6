"""Holding queue items: one reviewer an item, for a time, by a token.

A claim is a row beside the item and not a state of it, so that an expired one returns the item by the clock alone.
A reviewer may hold several (the page loads the next item while this one is being decided).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, select, update

from annotation_store.columns import new_id, now_text, utc_text
from annotation_store.models import ClaimRow, EventRow, QueueItemRow
from annotation_store.queue.items import DECIDED, OPEN
from annotation_store.queue.next_item import next_key
from annotation_store.queue.views import read_item, read_weights
from annotation_store.rows.samples import inserting, sample_key
from annotation_store.rules.names import named
from annotation_store.store import AnnotationStore
from annotation_store.values.review import Claim, Item, QueueFilter
from core.errors import StaleClaim, StoreError

LEASE_S = 300.0
"""How long an item is held without a heartbeat, in seconds."""

_BY_TOKEN = select(ClaimRow.sample_key, ClaimRow.reviewer, ClaimRow.expires_at).where(
    ClaimRow.token == bindparam("of_token")
)
_PROLONG = update(ClaimRow).where(ClaimRow.token == bindparam("of_token"))
_REPLACE = update(ClaimRow).where(ClaimRow.sample_key == bindparam("of_sample"))
END_CLAIM = delete(ClaimRow).where(ClaimRow.token == bindparam("of_token"))
_HOLDER = select(ClaimRow.reviewer).where(
    ClaimRow.sample_key == bindparam("of_sample"), ClaimRow.expires_at > bindparam("now")
)
_HELD = (
    select(ClaimRow.sample_key, ClaimRow.token, ClaimRow.expires_at)
    .where(ClaimRow.reviewer == bindparam("of_reviewer"), ClaimRow.expires_at > bindparam("now"))
    .order_by(ClaimRow.claimed_at)
)
_STATE = select(QueueItemRow.state).where(QueueItemRow.sample_key == bindparam("of_sample"))
_EVENT_OF_TOKEN = select(EventRow.sample_key).where(EventRow.token == bindparam("of_token"))


def claim_next(
    store: AnnotationStore, reviewer: str, wanted: QueueFilter | None = None, lease_s: float = LEASE_S
) -> Claim | None:
    """Take the next open item that nobody holds and that this reviewer has not decided, skipped or sent on.

    Args:
        wanted: only items like this.
        lease_s: seconds until the claim expires unless `heartbeat` is called.

    Returns:
        None when nothing like this is left for this reviewer.

    Raises:
        StoreError: the reviewer is not named, or the database failed.
    """
    named(reviewer)
    wanted = wanted or QueueFilter()
    # Looking for words may take a while, so it is done before the others have to wait.
    while True:
        key = None
        if wanted.words:
            with store.reading("Looking for the next item") as connection:
                key = next_key(connection, reviewer, wanted, read_weights(connection), now_text())
            if key is None:
                return None
        with store.writing("Claiming the next item", lease=True) as connection:
            now, weights = now_text(), read_weights(connection)
            if key is None:
                key = next_key(connection, reviewer, wanted, weights, now)
                if key is None:
                    return None
            elif not _is_free(connection, key, now):
                continue
            token, expires_at = hold(connection, key, reviewer, lease_s)
            return Claim(token, reviewer, expires_at, read_item(connection, key, weights))


def claim_sample(store: AnnotationStore, sample_id: str, reviewer: str, lease_s: float = LEASE_S) -> Claim:
    """Take one certain open item, for instance after its claim has expired.

    Raises:
        StoreError: it is not open, or another reviewer holds it, or the database failed.
    """
    named(reviewer)
    with store.writing("Claiming the item", lease=True) as connection:
        key = sample_key(connection, sample_id)
        state = connection.scalar(_STATE, {"of_sample": key})
        if state != OPEN:
            said = "has been decided; open it again to change that" if state == DECIDED else "is not in the queue"
            raise StoreError(f"The sample {sample_id[:15]}… {said}.")
        refuse_held(connection, key, reviewer)
        token, expires_at = hold(connection, key, reviewer, lease_s)
        return Claim(token, reviewer, expires_at, read_item(connection, key))


def held(store: AnnotationStore, reviewer: str) -> list[Claim]:
    """What a reviewer holds now, the oldest claim first: a page that was reloaded goes on with it.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Reading the claims") as connection:
        rows = connection.execute(_HELD, {"of_reviewer": reviewer, "now": now_text()}).all()
        return [Claim(token, reviewer, expires, read_item(connection, key)) for key, token, expires in rows]


def item_of(store: AnnotationStore, token: str) -> Item | None:
    """The item that a token was given for, also after it was handed in; none for a token that nobody was given.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Reading the item") as connection:
        key = connection.scalar(_BY_TOKEN, {"of_token": token})
        if key is None:
            key = connection.scalar(_EVENT_OF_TOKEN, {"of_token": token})
        return None if key is None else read_item(connection, key)


def heartbeat(store: AnnotationStore, token: str, lease_s: float = LEASE_S) -> str:
    """Keep an item for another while, and say until when (UTC, ISO 8601).

    Raises:
        StaleClaim: the claim is over.
        StoreError: the database failed.
    """
    with store.writing("Keeping the item", lease=True) as connection:
        live_claim(connection, token)
        now, expires_at = _from_now(lease_s)
        connection.execute(_PROLONG, {"of_token": token, "heartbeat_at": now, "expires_at": expires_at})
        return expires_at


def release(store: AnnotationStore, token: str) -> None:
    """Put an item back without an event, as if it had never been claimed. A claim that is over stays over.

    Raises:
        StoreError: the database failed.
    """
    with store.writing("Putting the item back", lease=True) as connection:
        connection.execute(END_CLAIM, {"of_token": token})


# -- inside transactions ----------------------------------------------------------------------------------------------


def hold(connection: Connection, key: int, reviewer: str, lease_s: float) -> tuple[str, str]:
    """Write a claim in the place of an older one; token and end."""
    now, expires_at = _from_now(lease_s)
    token = new_id("c1")
    claim = {"token": token, "reviewer": reviewer, "claimed_at": now, "heartbeat_at": now, "expires_at": expires_at}
    if not connection.execute(_REPLACE, claim | {"of_sample": key}).rowcount:
        connection.execute(inserting(ClaimRow), claim | {"sample_key": key})
    return token, expires_at


class LiveClaim:
    """A claim that is not over."""

    __slots__ = ("reviewer", "sample_key")

    def __init__(self, sample_key: int, reviewer: str) -> None:
        self.sample_key = sample_key
        self.reviewer = reviewer


def live_claim(connection: Connection, token: str) -> LiveClaim:
    """The claim of a token.

    Raises:
        StaleClaim: there is none, or its time is over.
    """
    row = connection.execute(_BY_TOKEN, {"of_token": token}).one_or_none()
    if row is None:
        raise StaleClaim(
            "This item is no longer yours: it was handed in or given to another reviewer, so nothing was stored; "
            "take the next item."
        )
    if row.expires_at <= now_text():
        raise StaleClaim(
            f"This item is no longer yours: your time for it ended at {row.expires_at[11:19]} UTC, so nothing was "
            "stored; claim the item again."
        )
    return LiveClaim(row.sample_key, row.reviewer)


def refuse_held(connection: Connection, key: int, reviewer: str) -> None:
    """Refuse an item that another reviewer holds now."""
    holder = holder_of(connection, key, now_text())
    if holder is not None and holder != reviewer:
        raise StoreError("Another reviewer holds this item at the moment; try again later.")


def holder_of(connection: Connection, key: int, now: str) -> str | None:
    """Who holds an item at that time; none: nobody."""
    return connection.scalar(_HOLDER, {"of_sample": key, "now": now})


def _is_free(connection: Connection, key: int, now: str) -> bool:
    state = connection.scalar(_STATE, {"of_sample": key})
    return state == OPEN and holder_of(connection, key, now) is None


def _from_now(seconds: float) -> tuple[str, str]:
    """Now and the end of a lease."""
    if not 0.0 < seconds <= 24 * 3600:
        raise StoreError(f"A lease of {seconds} seconds cannot be given; more than 0 and at most a day is accepted.")
    now = datetime.now(UTC)
    return utc_text(now), utc_text(now + timedelta(seconds=seconds))
