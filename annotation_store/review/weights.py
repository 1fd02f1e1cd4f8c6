"""What each kind of reason weighs. A change is one row: the queue is ordered anew by the next question to it."""

from __future__ import annotations

from sqlalchemy import delete, insert

from annotation_store.columns import now_text
from annotation_store.models import ReasonWeightRow
from annotation_store.queue.views import read_weights
from annotation_store.rules.reasons import LEAST_WEIGHT, MOST_WEIGHT
from annotation_store.store import AnnotationStore
from annotation_store.values.reasons import ReasonKind
from core.errors import StoreError


def weights(store: AnnotationStore) -> dict[ReasonKind, float]:
    """The weights in force, by kind.

    Raises:
        StoreError: the database failed.
    """
    with store.reading("Reading the weights") as connection:
        return {ReasonKind(kind): weight for kind, weight in read_weights(connection).items()}


def set_weight(store: AnnotationStore, kind: ReasonKind, weight: float, changed_by: str) -> None:
    """Weigh a kind of reason anew. It rewrites no row of the queue.

    Raises:
        StoreError: the weight is not in 0.01 to 100, or the database failed.
    """
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise StoreError(f"A weight of {weight} cannot be given; {LEAST_WEIGHT} to {MOST_WEIGHT:.0f} is accepted.")
    with store.writing("Changing the weight") as connection:
        connection.execute(delete(ReasonWeightRow).where(ReasonWeightRow.kind == kind.value))
        connection.execute(
            insert(ReasonWeightRow).values(kind=kind.value, weight=weight, changed_by=changed_by, changed_at=now_text())
        )
