"""What deciding, skipping and asking for a second opinion have in common, inside their transactions."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, and_, bindparam, select, update
from sqlalchemy.orm import aliased

from annotation_store.columns import new_id, now_text, to_json
from annotation_store.models import EventRow, PassRow, QueueItemRow, QueueReasonRow, SampleRow, VerdictRow
from annotation_store.queue.items import REOPENED
from annotation_store.review.claims import END_CLAIM, live_claim
from annotation_store.rows.events import count_pace, write_event
from annotation_store.rows.labels import Standing, own_standing, settle_among, standing_labels, write_label
from annotation_store.rows.samples import inserting, read_media
from annotation_store.rows.words import add_words
from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import EventKind, EventRecord, LabelDraft, LabelRecord
from core.errors import StaleClaim
from core.types import Modality, Sample

_latest = aliased(VerdictRow)
_STANDS = (
    select(
        SampleRow.id,
        SampleRow.request,
        SampleRow.response,
        SampleRow.modality,
        QueueItemRow.stage,
        VerdictRow.key.label("verdict_key"),
        VerdictRow.id.label("verdict_id"),
        PassRow.created_at.label("passed_at"),
        QueueReasonRow.kind,
        QueueReasonRow.turn,
    )
    .join(QueueItemRow, QueueItemRow.sample_key == SampleRow.key)
    .outerjoin(
        VerdictRow,
        VerdictRow.key
        == select(_latest.key)
        .where(_latest.sample_key == bindparam("of_sample"))
        .order_by(_latest.key.desc())
        .limit(1)
        .scalar_subquery(),
    )
    .outerjoin(PassRow, and_(PassRow.reviewer == bindparam("of_reviewer"), PassRow.sample_key == SampleRow.key))
    .outerjoin(QueueReasonRow, QueueReasonRow.sample_key == SampleRow.key)
    .where(SampleRow.key == bindparam("of_sample"))
)
_PASS_AGAIN = update(PassRow).where(
    PassRow.reviewer == bindparam("of_reviewer"), PassRow.sample_key == bindparam("of_sample")
)
_ENDED = select(EventRow.key, EventRow.kind, EventRow.sample_key).where(EventRow.token == bindparam("of_token"))
_TAKEN_BACK_BY = select(EventRow.key).where(EventRow.undoes_key == bindparam("of_event"))


@dataclass(frozen=True, slots=True)
class Before:
    """What an undo puts back."""

    stage: str
    turn: int
    had_second: bool
    """Whether a second opinion was asked for already."""
    audited: bool
    """Whether the sample is in the random audit share."""


@dataclass(frozen=True, slots=True)
class Held:
    """A held item as it stands before something is done with it, read at once."""

    key: int
    reviewer: str
    token: str
    now: str
    sample_id: str
    sample: Sample
    verdict_key: int | None
    verdict_id: str | None
    passed: bool
    """Whether the reviewer has had it before."""
    before: Before


def held_by(connection: Connection, token: str) -> Held:
    """What a token gives into the reviewer's hands.

    Raises:
        StaleClaim: the claim is over.
    """
    claim = live_claim(connection, token)
    key = claim.sample_key
    rows = connection.execute(_STANDS, {"of_sample": key, "of_reviewer": claim.reviewer}).all()
    one = rows[0]
    media = () if one.modality == Modality.TEXT.value else read_media(connection, [key]).get(key, ())
    kinds = {row.kind for row in rows}
    turn = max((row.turn for row in rows if row.turn is not None), default=0)
    return Held(
        key,
        claim.reviewer,
        token,
        now_text(),
        one.id,
        Sample(one.request, one.response, media),
        one.verdict_key,
        one.verdict_id,
        one.passed_at is not None,
        Before(str(one.stage), turn, ReasonKind.SECOND_OPINION in kinds, ReasonKind.AUDIT in kinds),
    )


def handed_in(connection: Connection, token: str, kind: EventKind) -> int | None:
    """The event that this token ended in, when it is of this kind; none for a token that ended in nothing."""
    row = connection.execute(_ENDED, {"of_token": token}).one_or_none()
    if row is None:
        return None
    undone = connection.scalar(_TAKEN_BACK_BY, {"of_event": row.key})
    if row.kind != kind.value or undone is not None:
        raise StaleClaim(
            "This item is no longer yours: it was handed in before, so nothing was stored; take the next item."
        )
    return int(row.key)


def give_label(
    connection: Connection, held: Held, draft: LabelDraft, policy_version: str | None
) -> tuple[int, LabelRecord]:
    """Write the label of a decision; its key, and what was written."""
    known = standing_labels(connection, held.key)
    supersedes = own_standing(known, held.reviewer)
    if supersedes is None and held.before.stage == REOPENED:
        supersedes = next((label for label in known if label.counts and label.by_person), None)
    supersedes_key = supersedes.key if supersedes else None
    label_id = new_id("l1")
    label_key = write_label(
        connection,
        held.key,
        draft,
        held.now,
        reviewer=held.reviewer,
        verdict_key=held.verdict_key,
        supersedes_key=supersedes_key,
        audited=held.before.audited,
        policy_version=policy_version,
        label_id=label_id,
    )
    own = Standing(label_key, True, supersedes_key, False, held.reviewer, label_id)
    settled_key = settle_among(connection, held.key, [*known, own])
    if draft.reasoning or draft.note.strip():
        steps = draft.reasoning.steps if draft.reasoning else ()
        add_words(connection, held.key, new=False, reasoning=steps, notes=[draft.note])
    return label_key, LabelRecord(
        id=label_id,
        sample_id=held.sample_id,
        draft=draft,
        reviewer=held.reviewer,
        source=None,
        created_at=held.now,
        supersedes=supersedes.id if supersedes else None,
        superseded_by=None,
        undone_at=None,
        verdict_id=held.verdict_id,
        policy_version=policy_version,
        audited=held.before.audited,
        settled=settled_key == label_key,
    )


def end(
    connection: Connection,
    kind: EventKind,
    held: Held,
    *,
    note: str = "",
    label_key: int | None = None,
    label_id: str | None = None,
) -> EventRecord:
    """The claim is over, the reviewer has had the item, and the event says so."""
    event_id = new_id("e1")
    write_event(
        connection,
        kind,
        held.key,
        held.reviewer,
        held.now,
        note=note,
        label_key=label_key,
        token=held.token,
        before=to_json(asdict(held.before)),
        event_id=event_id,
    )
    connection.execute(END_CLAIM, {"of_token": held.token})
    if held.passed:
        passed = {"of_reviewer": held.reviewer, "of_sample": held.key, "created_at": held.now}
        connection.execute(_PASS_AGAIN, passed)
    else:
        values = {"reviewer": held.reviewer, "sample_key": held.key, "created_at": held.now}
        connection.execute(inserting(PassRow), values)
    count_pace(connection, held.reviewer, kind.value, held.now, 1)
    return EventRecord(event_id, kind, held.sample_id, held.reviewer, note, held.now, label_id, None, False)
