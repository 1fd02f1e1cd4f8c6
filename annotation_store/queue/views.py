"""A queue item as its reviewer sees it: the sample, its latest verdict, and the reasons, the weightiest first."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, exists, select

from annotation_store.models import LabelRow, QueueItemRow, QueueReasonRow, ReasonWeightRow, SampleRow, VerdictRow
from annotation_store.queue.items import SECOND
from annotation_store.rows.labels import read_labels
from annotation_store.rows.samples import read_media
from annotation_store.rules.reasons import DEFAULT_WEIGHTS
from annotation_store.values.reasons import Reason, ReasonKind
from annotation_store.values.review import Item
from core.errors import StoreError
from core.types import Modality, Sample
from core.verdict_json import verdict_from_document

_ITEM = (
    select(
        SampleRow.id,
        SampleRow.request,
        SampleRow.response,
        SampleRow.modality,
        QueueItemRow.stage,
        select(VerdictRow.document)
        .where(VerdictRow.sample_key == bindparam("of_sample"))
        .order_by(VerdictRow.key.desc())
        .limit(1)
        .scalar_subquery()
        .label("document"),
        exists().where(LabelRow.sample_key == bindparam("of_sample")).label("labelled"),
    )
    .join(QueueItemRow, QueueItemRow.sample_key == SampleRow.key)
    .where(SampleRow.key == bindparam("of_sample"))
)
_REASONS = select(
    QueueReasonRow.kind, QueueReasonRow.weakness, QueueReasonRow.words, QueueReasonRow.checkpoint_id
).where(QueueReasonRow.sample_key == bindparam("of_sample"))
_OWN = select(ReasonWeightRow.kind, ReasonWeightRow.weight).where(ReasonWeightRow.kind > "")
"""Every kind is a word, so the condition lets all pass; it makes the database walk the key."""


def read_item(connection: Connection, key: int, weights: Mapping[str, float] | None = None) -> Item:
    """An item as its reviewer sees it. `weights`: those in force, where they were read already.

    Raises:
        StoreError: it is not there (any more).
    """
    row = connection.execute(_ITEM, {"of_sample": key}).one_or_none()
    if row is None:
        raise StoreError("The item was deleted in this moment; take the next one.")
    labels = () if row.stage == SECOND or not row.labelled else tuple(
        label for label in read_labels(connection, [key]) if not label.undone_at and not label.superseded_by
    )  # fmt: skip
    media = () if row.modality == Modality.TEXT.value else read_media(connection, [key]).get(key, ())
    return Item(
        sample_id=row.id,
        sample=Sample(row.request, row.response, media),
        verdict=None if row.document is None else verdict_from_document(json.loads(row.document)),
        reasons=read_reasons(connection, key, weights),
        stage=row.stage,
        labels=labels,
    )


def read_reasons(connection: Connection, key: int, weights: Mapping[str, float] | None = None) -> tuple[Reason, ...]:
    """Why a sample is in the queue, the weightiest first."""
    known = read_weights(connection) if weights is None else weights
    reasons = [
        Reason(ReasonKind(kind), 1.0 - weakness, words, checkpoint)
        for kind, weakness, words, checkpoint in connection.execute(_REASONS, {"of_sample": key})
    ]
    return tuple(sorted(reasons, key=lambda reason: -known[reason.kind] * reason.strength))


def read_weights(connection: Connection) -> dict[str, float]:
    """The weights in force, by the kind's word."""
    own = {row[0]: row[1] for row in connection.execute(_OWN)}
    return {kind.value: own.get(kind.value, weight) for kind, weight in DEFAULT_WEIGHTS.items()}
