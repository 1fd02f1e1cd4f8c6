"""Samples that a training has mined become items of the review queue, with the reason that mining gives.

The run holds what its policy answered; here are only the stored samples with those ids. What mining in the app keeps
(`annotation_store.mining.runs`) is in the queue by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from annotation_store.columns import now_text
from annotation_store.models import QueueItemRow, SampleRow, VerdictRow
from annotation_store.queue.again import open_for
from annotation_store.queue.items import OPEN, add_reasons
from annotation_store.rows.labels import read_labels
from annotation_store.rows.samples import read_samples
from annotation_store.rules.names import named
from annotation_store.rules.reasons import generations_wrong
from annotation_store.store import AnnotationStore
from core.mining.rules import Answer
from core.types import Sample

AT_ONCE = 100
"""Samples of one transaction: whoever else writes to the store waits no longer than that takes."""


@dataclass(frozen=True, slots=True)
class MinedSample:
    """A sample that a policy got wrong."""

    sample_id: str
    answers: tuple[Answer | None, ...]
    """Of its generations; none for each that could not be read."""
    wrong: int
    """How many of them are wrong by the sample's label."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the samples that were sent."""

    opened: int = 0
    """In the queue now, and were not before."""
    reopened: int = 0
    """Had been decided, and are to be looked at again."""
    waiting: int = 0
    """Were waiting in the queue already; they have one more reason."""
    decided: int = 0
    """Stay decided; their page shows the new reason."""
    missing: int = 0
    """Not in the store: deleted since, or the snapshot came from another one."""


def enqueue_mined(
    store: AnnotationStore,
    mined: Sequence[MinedSample],
    checkpoint_id: str,
    sent_by: str,
    *,
    reopen: bool = False,
    on_done: Callable[[int], None] = lambda done: None,
) -> Sent:
    """Put mined samples into the review queue. Doing the same again changes nothing but the words.

    Args:
        checkpoint_id: whose answers they are.
        sent_by: who asked for it.
        reopen: open samples again that a reviewer has decided; their label counts until there is another one.
        on_done: told how many samples are finished.

    Raises:
        StoreError: nobody is named, or the database failed; the samples before that are in the queue.
    """
    named(sent_by)
    sent = Sent()
    for start in range(0, len(mined), AT_ONCE):
        some = mined[start : start + AT_ONCE]
        with store.writing("Filling the queue with mined samples") as connection:
            sent = _send(connection, some, checkpoint_id, sent_by, reopen, sent)
        on_done(start + len(some))
    return sent


def unjudged(store: AnnotationStore, sample_ids: Sequence[str]) -> list[Sample]:
    """Of these samples those that wait for a reviewer without any verdict that could be read.

    Raises:
        StoreError: the database failed.
    """
    judged = select(VerdictRow.key).where(
        VerdictRow.sample_key == SampleRow.key, VerdictRow.request_label.is_not(None)
    )  # fmt: skip
    found: list[Sample] = []
    for start in range(0, len(sample_ids), AT_ONCE):
        with store.reading("Looking for samples without a verdict") as connection:
            keys = connection.scalars(
                select(SampleRow.key)
                .join(QueueItemRow, QueueItemRow.sample_key == SampleRow.key)
                .where(
                    SampleRow.id.in_(sample_ids[start : start + AT_ONCE]), QueueItemRow.state == OPEN, ~judged.exists()
                )
                .order_by(SampleRow.key)
            ).all()
            found += read_samples(connection, keys).values()
    return found


def _send(
    connection: Connection, mined: Sequence[MinedSample], checkpoint_id: str, sent_by: str, reopen: bool, sent: Sent
) -> Sent:
    now = now_text()
    rows = connection.execute(
        select(SampleRow.id, SampleRow.key, QueueItemRow.state)
        .outerjoin(QueueItemRow, QueueItemRow.sample_key == SampleRow.key)
        .where(SampleRow.id.in_([each.sample_id for each in mined]))
    )
    known = {row.id: (row.key, row.state) for row in rows}
    labels = read_labels(connection, [key for key, _ in known.values()])
    sources = {each.sample_id: each.source or "" for each in labels if each.settled}
    for each in mined:
        if each.sample_id not in known:
            sent = replace(sent, missing=sent.missing + 1)
            continue
        key, state = known[each.sample_id]
        reason = generations_wrong(each.wrong, each.answers, sources.get(each.sample_id, ""), checkpoint_id)
        how = "waiting" if state == OPEN else "opened" if state is None else "reopened" if reopen else "decided"
        if reopen:
            open_for(connection, key, reason, sent_by, now)
        else:
            add_reasons(connection, key, [reason], now)
        sent = replace(sent, **{how: getattr(sent, how) + 1})
    return sent
