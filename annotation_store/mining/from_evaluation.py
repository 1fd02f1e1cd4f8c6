"""Errors of an evaluation become items of the review queue, and stay out of training.

What a checkpoint was tested on must never be trained on, also after a person has labelled it here. So a sample that
comes from an evaluation is bound to its split in the very transaction that stores it, before anything else can give its
near-duplicate group another one:

- A group without a split is given the evaluation's.
- A sample that is new and near to a group of another split is withheld: no snapshot takes it.
- A sample that the store has in another split already keeps it (splits are for ever), so it is left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from annotation_store.columns import now_text
from annotation_store.duplicates import text
from annotation_store.duplicates.media_hashes import media_hashes
from annotation_store.duplicates.passing import place, words_of
from annotation_store.models import GroupMemberRow, GroupRow, MediaRow, QueueItemRow, TextSignatureRow
from annotation_store.queue.again import open_for
from annotation_store.queue.items import DECIDED
from annotation_store.rows.samples import keep_sample
from annotation_store.rows.words import add_words
from annotation_store.rules.names import named
from annotation_store.rules.reasons import wrong_in_evaluation
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason
from core.errors import StoreError
from core.evaluation.rows import SIDES, VALIDATION, ScoredRow
from core.media.store import MediaStore
from core.snapshots.folder import Split


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of the rows that were sent to the queue."""

    opened: int = 0
    """In the queue now, and were not before."""
    reopened: int = 0
    """Had been decided, and are to be looked at again."""
    waiting: int = 0
    """Were waiting in the queue already; they have one more reason."""
    trained_on: int = 0
    """Left out, because the store has them in a split that is trained on or chooses checkpoints."""
    deleted: int = 0
    """Left out, because their content was deleted from the store."""

    @property
    def queued(self) -> int:
        """All that a reviewer will be shown."""
        return self.opened + self.reopened + self.waiting


def enqueue_errors(
    store: AnnotationStore,
    media: MediaStore,
    rows: Sequence[ScoredRow],
    sent_by: str,
    on_done: Callable[[int], None] = lambda done: None,
) -> Enqueued:
    """Put rows on which a checkpoint was wrong into the review queue, each with its verdict.

    Doing the same again changes nothing but the words. A sample that a reviewer has decided is opened again: its label
    counts until there is another one.

    Args:
        media: the app's; the media of the rows are in it already.
        sent_by: who asked for it.
        on_done: told how many rows are finished.

    Raises:
        StoreError: nobody is named, or the database failed; the rows before that are in the queue.
    """
    named(sent_by)
    done = Enqueued()
    for number, scored in enumerate(rows, 1):
        try:
            split, state = _bound(store, media, scored)
        except _Deleted:
            done = replace(done, deleted=done.deleted + 1)
        else:
            if split is Split.TRAIN or (split is Split.VALIDATION and _wanted(scored) is not Split.VALIDATION):
                done = replace(done, trained_on=done.trained_on + 1)
            else:
                store.record(scored.row.sample, scored.verdict)
                _open(store, scored, sent_by)
                how = "opened" if state is None else "reopened" if state == DECIDED else "waiting"
                done = replace(done, **{how: getattr(done, how) + 1})
        on_done(number)
    return done


class _Deleted(Exception):
    """The content was deleted from the store."""


def _wanted(scored: ScoredRow) -> Split:
    return Split.VALIDATION if scored.row.set == VALIDATION else Split.TEST


def _bound(store: AnnotationStore, media: MediaStore, scored: ScoredRow) -> tuple[Split, str | None]:
    """Store the sample, in a group with the evaluation's split where that can be; its split, and how its item stood."""
    sample = scored.row.sample
    signature = text.signature(words_of(sample))
    hashes = {ref.digest: media_hashes(media, ref) or () for ref in sample.media}
    with store.writing("Storing an evaluated sample") as connection:
        now = now_text()
        try:
            key, new = keep_sample(connection, sample, now)
        except StoreError as error:  # raised before anything was written
            raise _Deleted from error
        if new:
            add_words(connection, key, new=True)
        rows = connection.execute(select(MediaRow.key, MediaRow.digest).where(MediaRow.digest.in_(list(hashes))))
        if connection.scalar(select(TextSignatureRow.sample_key).where(TextSignatureRow.sample_key == key)) is None:
            place(connection, {key: signature}, {row.key: hashes[row.digest] for row in rows}, _wanted(scored))
        state = connection.scalar(select(QueueItemRow.state).where(QueueItemRow.sample_key == key))
        return _given(connection, key, _wanted(scored), now), state


def _given(connection: Connection, key: int, wanted: Split, now: str) -> Split:
    """The split of a placed sample, given now to a group that has none."""
    group = select(GroupMemberRow.group_key).where(GroupMemberRow.sample_key == key)
    connection.execute(
        update(GroupRow)
        .where(GroupRow.key.in_(group), GroupRow.split.is_(None))
        .values(split=wanted.value, assigned_at=now)
    )
    return Split(connection.scalar(select(GroupRow.split).where(GroupRow.key.in_(group))))


def _open(store: AnnotationStore, scored: ScoredRow, sent_by: str) -> None:
    """Give the reason, and open the item where it had been decided."""
    with store.writing("Filling the queue") as connection:
        now = now_text()
        key, _ = keep_sample(connection, scored.row.sample, now)
        open_for(connection, key, _reason(scored), sent_by, now)


def _reason(scored: ScoredRow) -> Reason:
    wrong = [side.value for side in SIDES if (counts := scored.counts(side)).misses or counts.false_alarms]
    return wrong_in_evaluation(scored.row.set, wrong, scored.is_readable, scored.verdict.checkpoint_id)
