"""Which open item comes next for a reviewer: read off an index, whatever the size of the queue.

Items that were skipped less often come first, then the larger weight × strength, then the older sample. The index
holds the open reasons of each combination of kind, modality and checkpoint in that order, so that only the heads of
the combinations (`QueueCountRow` names those with something open) are compared. Weights are applied to the heads, and
changing one changes no row of the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, or_, select, true
from sqlalchemy.orm import aliased

from annotation_store.database import match_expression, matching_among, matching_keys
from annotation_store.models import ClaimRow, PassRow, QueueCountRow, QueueReasonRow
from annotation_store.review_values import QueueFilter
from annotation_store.samples import MANY

RARE = 1_000
"""Up to so many samples with the words asked for are looked up one by one; beyond, the queue is walked instead."""

PAGE = 200

Rank = tuple[int, float, int]
"""Turn, -(weight × strength), sample key: the smallest comes first."""


def next_key(
    connection: Connection, reviewer: str, wanted: QueueFilter, weights: Mapping[str, float], now: str
) -> int | None:
    """The key of the next item, or none. It is open, nobody holds it, and the reviewer has not had it yet."""
    expression = match_expression(wanted.words)
    if not expression:
        return _best(connection, heads(reviewer, wanted, now), weights)
    matching = matching_keys(connection, expression, RARE + 1)
    if len(matching) <= RARE:
        return _best_among(connection, matching, reviewer, wanted, weights, now)
    walked = _in_order(connection, reviewer, wanted, weights, now)
    while page := list(islice(walked, PAGE)):
        found = matching_among(connection, expression, page)
        for key in page:
            if key in found:
                return key
    return None


def heads(reviewer: str, wanted: QueueFilter, now: str) -> Select[str, int, float, int]:
    """The first item of each combination: kind, turn, weakness, sample key."""
    inner = aliased(QueueReasonRow)
    head = (
        select(inner.sample_key)
        .where(
            inner.open == true(),
            inner.kind == QueueCountRow.kind,
            inner.modality == QueueCountRow.modality,
            inner.checkpoint_id == QueueCountRow.checkpoint_id,
            *_free(inner.sample_key, reviewer, now),
        )
        .order_by(inner.turn, inner.weakness, inner.sample_key)
        .limit(1)
        .correlate(QueueCountRow)
        .scalar_subquery()
    )
    return (
        select(QueueReasonRow.kind, QueueReasonRow.turn, QueueReasonRow.weakness, QueueReasonRow.sample_key)
        .select_from(QueueCountRow)
        .join(QueueReasonRow, and_(QueueReasonRow.kind == QueueCountRow.kind, QueueReasonRow.sample_key == head))
        .where(*_counts(wanted))
    )


def _best(connection: Connection, statement: Select[str, int, float, int], weights: Mapping[str, float]) -> int | None:
    ranks = [_rank(row, weights) for row in connection.execute(statement)]
    return min(ranks)[2] if ranks else None


def _rank(row: Any, weights: Mapping[str, float]) -> Rank:
    kind, turn, weakness, key = row
    return turn, -weights[kind] * (1.0 - weakness), key


def _best_among(
    connection: Connection, keys: list[int], reviewer: str, wanted: QueueFilter, weights: Mapping[str, float], now: str
) -> int | None:
    best: list[Rank] = []
    for start in range(0, len(keys), MANY):
        found = connection.execute(
            select(QueueReasonRow.kind, QueueReasonRow.turn, QueueReasonRow.weakness, QueueReasonRow.sample_key).where(
                QueueReasonRow.sample_key.in_(keys[start : start + MANY]),
                QueueReasonRow.open == true(),
                *_asked(QueueReasonRow, wanted),
                *_free(QueueReasonRow.sample_key, reviewer, now),
            )
        )
        best += [_rank(row, weights) for row in found]
    return min(best)[2] if best else None


def _in_order(
    connection: Connection, reviewer: str, wanted: QueueFilter, weights: Mapping[str, float], now: str
) -> Iterator[int]:
    """All items in their order, read page by page."""
    combinations = connection.execute(
        select(QueueCountRow.kind, QueueCountRow.modality, QueueCountRow.checkpoint_id).where(*_counts(wanted))
    ).all()
    streams = [
        _one_combination(connection, (each[0], each[1], each[2]), reviewer, weights, now) for each in combinations
    ]
    seen: set[int] = set()
    for _, _, key in heapq.merge(*streams):
        if key not in seen:
            seen.add(key)
            yield key


def _one_combination(
    connection: Connection, combination: tuple[str, str, str], reviewer: str, weights: Mapping[str, float], now: str
) -> Iterator[Rank]:
    kind, modality, checkpoint_id = combination
    at: tuple[int, float, int] | None = None
    while True:
        statement = page_of(kind, modality, checkpoint_id, reviewer, now, at)
        page = connection.execute(statement).all()
        for turn, weakness, key in page:
            yield _rank((kind, turn, weakness, key), weights)
        if len(page) < PAGE:
            return
        at = (page[-1][0], page[-1][1], page[-1][2])


def page_of(
    kind: str, modality: str, checkpoint_id: str, reviewer: str, now: str, after: tuple[int, float, int] | None
) -> Select[int, float, int]:
    """One page of one combination in order: turn, weakness, sample key."""
    row = QueueReasonRow
    statement = select(row.turn, row.weakness, row.sample_key).where(
        row.open == true(),
        row.kind == kind,
        row.modality == modality,
        row.checkpoint_id == checkpoint_id,
        *_free(row.sample_key, reviewer, now),
    )
    if after is not None:
        turn, weakness, key = after
        statement = statement.where(
            row.turn >= turn,
            or_(
                row.turn > turn,
                row.weakness > weakness,
                and_(row.weakness == weakness, row.sample_key > key),
            ),
        )
    return statement.order_by(row.turn, row.weakness, row.sample_key).limit(PAGE)


def _counts(wanted: QueueFilter) -> list[ColumnElement[bool]]:
    return [QueueCountRow.open_items > 0, QueueCountRow.kind != "", *_asked(QueueCountRow, wanted)]


def _asked(table: Any, wanted: QueueFilter) -> list[ColumnElement[bool]]:
    asked = {
        table.kind: wanted.kind and wanted.kind.value,
        table.modality: wanted.modality and wanted.modality.value,
        table.checkpoint_id: wanted.checkpoint_id,
    }
    return [column == value for column, value in asked.items() if value is not None]


def _free(key: Any, reviewer: str, now: str) -> tuple[ColumnElement[bool], ...]:
    """Nobody holds it now, and this reviewer has not had it."""
    held = exists().where(ClaimRow.sample_key == key, ClaimRow.expires_at > now)
    had = exists().where(PassRow.reviewer == reviewer, PassRow.sample_key == key)
    return ~held, ~had
