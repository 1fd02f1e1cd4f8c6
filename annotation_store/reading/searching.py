"""Full-text search over requests, responses, reasoning and notes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from annotation_store.database import excerpt, match_expression, matching_keys
from annotation_store.models import LabelRow, SampleRow, SettledLabelRow
from annotation_store.store import MAX_PAGE, AnnotationStore
from annotation_store.values.review import Found, FoundPage
from core.errors import StoreError
from core.types import Label, Modality

EXCERPT_CHARS = 160
"""Of a sample that was not searched for."""


def newest(store: AnnotationStore, limit: int = 20) -> FoundPage:
    """The samples that were stored last, the newest first, with the beginning of the request as the excerpt.

    Args:
        limit: 1 to 1000.

    Raises:
        StoreError: `limit` is out of its range, or the database failed.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise StoreError(f"A page of {limit} samples cannot be read; 1 to {MAX_PAGE} are accepted.")
    with store.reading("Reading the newest samples") as connection:
        rows = connection.execute(
            _labelled(func.substr(SampleRow.request, 1, EXCERPT_CHARS).label("request"))
            .order_by(SampleRow.key.desc())
            .limit(limit + 1)
        ).all()
    found = tuple(Found(row.id, Modality(row.modality), row.request, _label(row)) for row in rows[:limit])
    return FoundPage(found, rows[limit - 1].key if len(rows) > limit else None)


def search(store: AnnotationStore, words: str, limit: int = 50, after: int | None = None) -> FoundPage:
    """Samples in which all the words occur, newest first.

    Args:
        words: whole words, case and accents aside; a phrase stands in double quotes. Nothing else has a meaning.
        limit: 1 to 1000.
        after: `FoundPage.more` of the page before.

    Raises:
        StoreError: there is nothing to look for, `limit` is out of its range, or the database failed.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise StoreError(f"A page of {limit} samples cannot be read; 1 to {MAX_PAGE} are accepted.")
    expression = match_expression(words)
    if not expression:
        raise StoreError(f"{words[:80]!r} holds no word to look for; letters or digits are expected.")
    with store.reading("Searching") as connection:
        keys = matching_keys(connection, expression, limit + 1, after)
        shown = keys[:limit]
        rows = {row.key: row for row in connection.execute(_labelled().where(SampleRow.key.in_(shown)))}
        found = tuple(
            Found(
                rows[key].id,
                Modality(rows[key].modality),
                excerpt(connection, expression, key),
                _label(rows[key]),
            )
            for key in shown
            if key in rows
        )
    return FoundPage(found, shown[-1] if len(keys) > limit else None)


def _labelled(*more: ColumnElement[Any]) -> Select[Any]:
    """Samples with the label of the request that counts now."""
    return (
        select(SampleRow.key, SampleRow.id, SampleRow.modality, LabelRow.request_label, *more)
        .outerjoin(SettledLabelRow, SettledLabelRow.sample_key == SampleRow.key)
        .outerjoin(LabelRow, LabelRow.key == SettledLabelRow.label_key)
    )


def _label(row: Row[Any]) -> Label | None:
    return None if row.request_label is None else Label(row.request_label)
