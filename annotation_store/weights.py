"""What each kind of reason weighs. A change is one row: the queue is ordered anew by the next question to it."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from annotation_store.columns import now_text
from annotation_store.models import ReasonWeightRow
from annotation_store.reasons import DEFAULT_WEIGHTS, LEAST_WEIGHT, MOST_WEIGHT, ReasonKind
from annotation_store.store import AnnotationStore
from core.errors import StoreError

_OWN = select(ReasonWeightRow.kind, ReasonWeightRow.weight).where(ReasonWeightRow.kind > "")
"""Every kind is a word, so the condition lets all pass; it makes the database walk the key."""


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


def read_weights(connection: Connection) -> dict[str, float]:
    """The weights in force, by the kind's word."""
    own = {row[0]: row[1] for row in connection.execute(_OWN)}
    return {kind.value: own.get(kind.value, weight) for kind, weight in DEFAULT_WEIGHTS.items()}
