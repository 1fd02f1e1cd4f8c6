"""What a reviewer does with an item: decide, skip, send for a second opinion, take back, open again.

Each is one transaction of an event with all that follows from it. Handing the same in twice under one token (a reply
that was lost on its way) stores it once.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from annotation_store.columns import now_text
from annotation_store.models import (
    EventRow,
    PassRow,
    QueueItemRow,
    SampleRow,
    SettledLabelRow,
)
from annotation_store.queue.items import DECIDED, OPEN, REOPENED, SECOND, add_reasons, drop_reason, set_item
from annotation_store.queue.views import read_item
from annotation_store.review.acting import Before, end, give_label, handed_in, held_by
from annotation_store.review.claims import LEASE_S, hold, holder_of, refuse_held
from annotation_store.rows.events import count_pace, read_events, write_event
from annotation_store.rows.labels import read_labels, settle
from annotation_store.rows.samples import sample_key
from annotation_store.rows.words import add_words
from annotation_store.rules.drafts import MAX_NOTE_CHARS, check_draft
from annotation_store.rules.names import named
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import (
    Claim,
    EventKind,
    EventRecord,
    LabelDraft,
    LabelRecord,
    Recent,
    SentOn,
    Submitted,
    Undone,
)
from core.errors import StaleClaim, StoreError
from core.types import Modality

_STATE = select(QueueItemRow.state).where(QueueItemRow.sample_key == bindparam("of_sample"))
_SETTLED = select(SettledLabelRow.label_key).where(SettledLabelRow.sample_key == bindparam("of_sample"))
_FORGET_PASS = delete(PassRow).where(
    PassRow.reviewer == bindparam("of_reviewer"), PassRow.sample_key == bindparam("of_sample")
)
UNDOABLE = (EventKind.DECIDE, EventKind.SKIP, EventKind.SECOND_OPINION)


def submit(
    store: AnnotationStore,
    token: str,
    draft: LabelDraft,
    *,
    categories: Collection[str] | None = None,
    policy_version: str | None = None,
) -> Submitted:
    """Decide an item: the label is stored, the item leaves the queue.

    The label supersedes the reviewer's own earlier one, or, for an item that was opened again, the one that counted.

    Args:
        categories: hazard category ids that are accepted; none accepts any.
        policy_version: the policy that the reviewer saw.

    Raises:
        StaleClaim: the claim is over; nothing was stored.
        LabelRefused: the label cannot be right (`annotation_store.rules.drafts`); the claim stays.
        StoreError: the database failed.
    """
    with store.writing("Storing the decision") as connection:
        try:
            held = held_by(connection, token)
        except StaleClaim:
            if (known := handed_in(connection, token, EventKind.DECIDE)) is None:
                raise
            return _submitted_before(connection, known, draft)
        warnings = check_draft(draft, held.sample, categories)
        label_key, label = give_label(connection, held, draft, policy_version)
        event = end(connection, EventKind.DECIDE, held, label_key=label_key, label_id=label.id)
        set_item(connection, held.key, held.now, state=DECIDED, stage=held.before.stage)
        return Submitted(event, label, warnings)


def skip(store: AnnotationStore, token: str, why: str) -> EventRecord:
    """Leave an item to others: it comes to them after all items that were skipped less often.

    Raises:
        StaleClaim: the claim is over; nothing was stored.
        StoreError: no reason is given, or the database failed.
    """
    why = _written(why, "skipping")
    with store.writing("Skipping the item") as connection:
        try:
            held = held_by(connection, token)
        except StaleClaim:
            if (known := handed_in(connection, token, EventKind.SKIP)) is None:
                raise
            return read_events(connection, [known])[0]
        event = end(connection, EventKind.SKIP, held, note=why)
        before = held.before
        set_item(connection, held.key, held.now, state=OPEN, stage=before.stage, turn=before.turn + 1)
        return event


def second_opinion(
    store: AnnotationStore,
    token: str,
    why: str,
    draft: LabelDraft | None = None,
    *,
    categories: Collection[str] | None = None,
    policy_version: str | None = None,
) -> SentOn:
    """Ask for another reviewer's opinion, with or without a label of one's own. It is never offered to the asker again.

    The next label stands beside this one and counts, unless it is taken back.

    Raises:
        StaleClaim: the claim is over; nothing was stored.
        LabelRefused: the label cannot be right; the claim stays.
        StoreError: no reason is given, or the database failed.
    """
    why = _written(why, "a second opinion")
    with store.writing("Asking for a second opinion") as connection:
        try:
            held = held_by(connection, token)
        except StaleClaim:
            if (known := handed_in(connection, token, EventKind.SECOND_OPINION)) is None:
                raise
            return SentOn(read_events(connection, [known])[0], ())
        key, now = held.key, held.now
        label_key, label_id = None, None
        warnings: tuple[str, ...] = ()
        if draft is not None:
            warnings = check_draft(draft, held.sample, categories)
            label_key, label = give_label(connection, held, draft, policy_version)
            label_id = label.id
        event = end(connection, EventKind.SECOND_OPINION, held, note=why, label_key=label_key, label_id=label_id)
        add_reasons(
            connection, key, [Reason(ReasonKind.SECOND_OPINION, 1.0, f"A second opinion is asked for: {why}")], now
        )
        set_item(connection, key, now, state=OPEN, stage=SECOND, turn=0)
        add_words(connection, key, new=False, notes=[why])
        return SentOn(event, warnings)


def undo(store: AnnotationStore, reviewer: str, event_id: str | None = None, lease_s: float = LEASE_S) -> Undone:
    """Take back one's own decision, skip or request for a second opinion; the item comes back into one's hands.

    Nothing is erased: the label stays in the trail as taken back, and the label that it superseded counts again.

    Args:
        event_id: which; the reviewer's latest that can be taken back by default.

    Raises:
        StoreError: there is nothing to take back, it is another's, it is taken back already, another reviewer has
            acted on the sample since, or the database failed.
    """
    with store.writing("Taking it back") as connection:
        row = _undoable(connection, reviewer, event_id)
        key, now = row.sample_key, now_text()
        before = Before(**json.loads(row.before or "{}"))
        event = write_event(connection, EventKind.UNDO, key, reviewer, now, undoes_key=row.key)
        settle(connection, key)
        set_item(connection, key, now, state=OPEN, stage=before.stage, turn=before.turn)
        if row.kind == EventKind.SECOND_OPINION.value and not before.had_second:
            drop_reason(connection, key, ReasonKind.SECOND_OPINION.value)
        connection.execute(_FORGET_PASS, {"of_reviewer": reviewer, "of_sample": key})
        count_pace(connection, reviewer, row.kind, row.created_at, -1)
        claim = None
        if holder_of(connection, key, now) in (None, reviewer):
            token, expires_at = hold(connection, key, reviewer, lease_s)
            claim = Claim(token, reviewer, expires_at, read_item(connection, key))
        return Undone(read_events(connection, [event])[0], claim)


def reopen(store: AnnotationStore, sample_id: str, reviewer: str, why: str = "", lease_s: float = LEASE_S) -> Claim:
    """Open a sample again (or for the first time) and take it. The next label supersedes the one that counts.

    Raises:
        StoreError: there is no such sample, another reviewer holds it, or the database failed.
    """
    named(reviewer)
    with store.writing("Opening the sample again") as connection:
        key, now = sample_key(connection, sample_id), now_text()
        refuse_held(connection, key, reviewer)
        if connection.scalar(_STATE, {"of_sample": key}) != OPEN:
            words = f"Opened again: {why.strip()}" if why.strip() else "Opened again by a reviewer."
            add_reasons(connection, key, [Reason(ReasonKind.REOPENED, 1.0, words)], now)
            labelled = connection.scalar(_SETTLED, {"of_sample": key})
            set_item(connection, key, now, state=OPEN, stage="first" if labelled is None else REOPENED, turn=0)
            write_event(connection, EventKind.REOPEN, key, reviewer, now, note=why.strip())
        connection.execute(_FORGET_PASS, {"of_reviewer": reviewer, "of_sample": key})
        token, expires_at = hold(connection, key, reviewer, lease_s)
        return Claim(token, reviewer, expires_at, read_item(connection, key))


def recent(store: AnnotationStore, reviewer: str, limit: int = 20) -> list[Recent]:
    """What a reviewer did last (decisions, skips and requests for a second opinion), newest first.

    Raises:
        StoreError: `limit` is not in 1 to 1000, or the database failed.
    """
    if not 1 <= limit <= 1000:
        raise StoreError(f"A list of {limit} decisions cannot be read; 1 to 1000 are accepted.")
    with store.reading("Reading the recent decisions") as connection:
        rows = connection.execute(
            select(EventRow.key, EventRow.sample_key, SampleRow.request, SampleRow.modality)
            .join(SampleRow, SampleRow.key == EventRow.sample_key)
            .where(EventRow.reviewer == reviewer, EventRow.kind.in_([kind.value for kind in UNDOABLE]))
            .order_by(EventRow.key.desc())
            .limit(limit)
        ).all()
        events = read_events(connection, [row.key for row in rows])[::-1]
        labels: dict[str, LabelRecord] = {
            label.id: label for label in read_labels(connection, list({row.sample_key for row in rows}))
        }
        return [
            Recent(event, row.request[:200], Modality(row.modality), labels.get(event.label_id or ""))
            for event, row in zip(events, rows, strict=True)
        ]


# -- parts ------------------------------------------------------------------------------------------------------------


def _written(why: str, what: str) -> str:
    why = why.strip()
    if not why:
        raise StoreError(f"No reason is given for {what}; a few words are expected.")
    if len(why) > MAX_NOTE_CHARS:
        raise StoreError(f"The reason has {len(why):,} characters; at most {MAX_NOTE_CHARS:,} are accepted.")
    return why


def _submitted_before(connection: Connection, event_key: int, again: LabelDraft) -> Submitted:
    """The answer to a label that is handed in once more."""
    event = read_events(connection, [event_key])[0]
    key = sample_key(connection, event.sample_id)
    label = next(each for each in read_labels(connection, [key]) if each.id == event.label_id)
    if label.draft != again:
        raise StaleClaim(
            "This item was handed in before with another label, so nothing was stored; undo that decision to change it."
        )
    return Submitted(event, label, ())


def _undoable(connection: Connection, reviewer: str, event_id: str | None) -> Any:
    """The row of the event to take back."""
    kinds = [kind.value for kind in UNDOABLE]
    undos = select(EventRow.undoes_key).where(EventRow.reviewer == reviewer, EventRow.undoes_key.is_not(None))
    question = select(EventRow).where(EventRow.kind.in_(kinds))
    if event_id is None:
        question = question.where(EventRow.reviewer == reviewer, EventRow.key.not_in(undos))
        row = connection.execute(question.order_by(EventRow.key.desc()).limit(1)).one_or_none()
        if row is None:
            raise StoreError("There is nothing to take back.")
    else:
        row = connection.execute(question.where(EventRow.id == event_id)).one_or_none()
        if row is None:
            raise StoreError(f"There is no decision {event_id[:80]!r} to take back.")
    if row.reviewer != reviewer:
        raise StoreError("This decision is another reviewer's; open the sample again to correct it.")
    if connection.scalar(select(EventRow.key).where(EventRow.undoes_key == row.key)) is not None:
        raise StoreError("This decision was taken back already.")
    later = select(EventRow.key).where(
        EventRow.sample_key == row.sample_key,
        EventRow.key > row.key,
        EventRow.kind.in_(kinds),
        EventRow.key.not_in(
            select(EventRow.undoes_key).where(EventRow.sample_key == row.sample_key, EventRow.undoes_key.is_not(None))
        ),
    )
    if connection.scalar(later.limit(1)) is not None:
        raise StoreError("Something was decided on this sample since; open it again to correct it.")
    return row
