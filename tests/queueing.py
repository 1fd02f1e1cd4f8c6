"""Puts stored samples into the queue by hand, where a test needs them there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from annotation_store.columns import now_text
from annotation_store.queue.items import add_reasons
from annotation_store.rows.samples import sample_key
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import Reason


def enqueue(store: AnnotationStore, reasons: Mapping[str, Iterable[Reason]]) -> int:
    """Put stored samples into the queue, or give more reasons to those that are in it.

    A sample that a reviewer has decided stays decided: what people said outranks a newer verdict. Its page shows the
    new reason, and a reviewer can open it again.

    Args:
        reasons: by sample id.

    Returns:
        How many samples are open in the queue that were not before.

    Raises:
        StoreError: a sample is not in the store, or the database failed. Nothing was written then.
    """
    now = now_text()
    with store.writing("Filling the queue") as connection:
        return sum(
            add_reasons(connection, sample_key(connection, sample_id), found, now)
            for sample_id, found in reasons.items()
        )
