"""Which open item comes next for a reviewer: read off an index, whatever the size of the queue.

Items that were skipped less often come first, then the larger weight × strength, then the older sample. The index
holds the open reasons of each combination of kind, modality and checkpoint in that order, so that only the heads of
the combinations (`QueueCountRow` names those with something open) are compared. Weights are applied to the heads, and
changing one changes no row of the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, or_, select, true
from sqlalchemy.orm import aliased

from annotation_store.database import match_expression, matching_among, matching_keys
from annotation_store.models import ClaimRow, PassRow, QueueCountRow, QueueReasonRow
from annotation_store.rows.samples import MANY
from annotation_store.values.review import QueueFilter

RARE = 1_000
"""Up to so many samples with the words asked for are looked up one by one; beyond, the queue is walked instead."""

PAGE = 320
"""Items of one combination that are read at once at most."""

FIRST_PAGE = 10
"""Pages begin small and double: a common word is soon met."""

FAR = 120
"""After so many items without the words, the samples that have them are looked up after all: to find out whether an
item has them costs as much as to look twenty such samples up."""

BLOCK = 3_000
"""So many of them at a time, the newest first. Where more have the words, the best of these comes next."""

Rank = tuple[int, float, int]
"""Turn, -(weight × strength), sample key: the smallest comes first."""


def next_key(
    connection: Connection, reviewer: str, wanted: QueueFilter, weights: Mapping[str, float], now: str
) -> int | None:
    """The key of the next item, or none. It is open, nobody holds it, and the reviewer has not had it yet."""
    given = {"reviewer": reviewer, "now": now} | _asked(wanted)
    expression = match_expression(wanted.words)
    if not expression:
        ranks = [_rank(row, weights) for row in connection.execute(heads(*_which(wanted)), given)]
        return min(ranks)[2] if ranks else None
    matching = matching_keys(connection, expression, RARE + 1)
    if len(matching) <= RARE:
        return _best_among(connection, matching, wanted, given, weights)
    walked = islice(_in_order(connection, wanted, given, weights), FAR)
    size, seen = FIRST_PAGE, 0
    while page := list(islice(walked, size)):
        found = matching_among(connection, expression, page)
        for key in page:
            if key in found:
                return key
        size, seen = min(2 * size, PAGE), seen + len(page)
    if seen < FAR:
        return None
    return _best_of_the_newest(connection, expression, wanted, given, weights)


def _best_of_the_newest(
    connection: Connection,
    expression: str,
    wanted: QueueFilter,
    given: Mapping[str, str],
    weights: Mapping[str, float],
) -> int | None:
    """The best of the newest samples with the words, so many at a time: the time does not grow with the queue."""
    before = None
    while matching := matching_keys(connection, expression, BLOCK, before):
        best = _best_among(connection, matching, wanted, given, weights)
        if best is not None:
            return best
        before = matching[-1]
    return None


@cache
def heads(kind: bool, modality: bool, checkpoint_id: bool) -> Select[str, int, float, int]:
    """The first item of each combination: kind, turn, weakness, sample key. The arguments say what is asked for."""
    inner = aliased(QueueReasonRow)
    head = (
        select(inner.sample_key)
        .where(
            inner.open == true(),
            inner.kind == QueueCountRow.kind,
            inner.modality == QueueCountRow.modality,
            inner.checkpoint_id == QueueCountRow.checkpoint_id,
            *_free(inner.sample_key),
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
        .where(*_something_open(kind, modality, checkpoint_id))
    )


def _rank(row: Any, weights: Mapping[str, float]) -> Rank:
    kind, turn, weakness, key = row
    return turn, -weights[kind] * (1.0 - weakness), key


def _best_among(
    connection: Connection, keys: list[int], wanted: QueueFilter, given: Mapping[str, str], weights: Mapping[str, float]
) -> int | None:
    best: Rank | None = None
    statement = _reasons_among(*_which(wanted))
    for start in range(0, len(keys), MANY):
        for kind, turn, weakness, key, is_open in connection.execute(
            statement, {**given, "keys": keys[start : start + MANY]}
        ):
            if is_open:
                rank = _rank((kind, turn, weakness, key), weights)
                best = rank if best is None else min(best, rank)
    return None if best is None else best[2]


@cache
def _reasons_among(kind: bool, modality: bool, checkpoint_id: bool) -> Select[str, int, float, int, bool]:
    """The reasons of certain samples, with whether they are open.

    Not "only the open ones": asked so, SQLite would walk all open reasons instead of looking these up.
    """
    row = QueueReasonRow
    return select(row.kind, row.turn, row.weakness, row.sample_key, row.open).where(
        row.sample_key.in_(bindparam("keys", expanding=True)),
        *_like_asked(row, kind, modality, checkpoint_id),
        *_free(row.sample_key),
    )


def _in_order(
    connection: Connection, wanted: QueueFilter, given: Mapping[str, str], weights: Mapping[str, float]
) -> Iterator[int]:
    """All items in their order, read page by page."""
    combinations = connection.execute(_combinations(*_which(wanted)), given).all()
    streams = [_one_combination(connection, (each[0], each[1], each[2]), given, weights) for each in combinations]
    seen: set[int] = set()
    for _, _, key in heapq.merge(*streams):
        if key not in seen:
            seen.add(key)
            yield key


@cache
def _combinations(kind: bool, modality: bool, checkpoint_id: bool) -> Select[str, str, str]:
    return select(QueueCountRow.kind, QueueCountRow.modality, QueueCountRow.checkpoint_id).where(
        *_something_open(kind, modality, checkpoint_id)
    )


def _one_combination(
    connection: Connection, combination: tuple[str, str, str], given: Mapping[str, str], weights: Mapping[str, float]
) -> Iterator[Rank]:
    kind, modality, checkpoint_id = combination
    asked = {**given, "kind": kind, "modality": modality, "checkpoint_id": checkpoint_id}
    size = FIRST_PAGE
    page = connection.execute(_page(first=True), asked | {"size": size}).all()
    while True:
        for turn, weakness, key in page:
            yield _rank((kind, turn, weakness, key), weights)
        if len(page) < size:
            return
        size = min(2 * size, PAGE)
        turn, weakness, key = page[-1]
        after = {"turn": turn, "weakness": weakness, "key": key, "size": size}
        page = connection.execute(_page(first=False), asked | after).all()


@cache
def _page(first: bool) -> Select[int, float, int]:
    """One page of one combination in order: turn, weakness, sample key. The first, or the one after a given item."""
    row = QueueReasonRow
    statement = select(row.turn, row.weakness, row.sample_key).where(
        row.open == true(), *_like_asked(row, True, True, True), *_free(row.sample_key)
    )
    if not first:
        statement = statement.where(
            row.turn >= bindparam("turn"),
            or_(
                row.turn > bindparam("turn"),
                row.weakness > bindparam("weakness"),
                and_(row.weakness == bindparam("weakness"), row.sample_key > bindparam("key")),
            ),
        )
    return statement.order_by(row.turn, row.weakness, row.sample_key).limit(bindparam("size"))


def _asked(wanted: QueueFilter) -> dict[str, str]:
    """What is asked for, by the name of its column."""
    asked = {
        "kind": wanted.kind and wanted.kind.value,
        "modality": wanted.modality and wanted.modality.value,
        "checkpoint_id": wanted.checkpoint_id,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _which(wanted: QueueFilter) -> tuple[bool, bool, bool]:
    return wanted.kind is not None, wanted.modality is not None, wanted.checkpoint_id is not None


def _something_open(kind: bool, modality: bool, checkpoint_id: bool) -> list[ColumnElement[bool]]:
    return [
        QueueCountRow.open_items > 0,
        QueueCountRow.kind != "",
        *_like_asked(QueueCountRow, kind, modality, checkpoint_id),
    ]


def _like_asked(table: Any, kind: bool, modality: bool, checkpoint_id: bool) -> list[ColumnElement[bool]]:
    names = {"kind": kind, "modality": modality, "checkpoint_id": checkpoint_id}
    return [getattr(table, name) == bindparam(name) for name, asked in names.items() if asked]


def _free(key: Any) -> tuple[ColumnElement[bool], ...]:
    """Nobody holds it now, and this reviewer has not had it."""
    held = exists().where(ClaimRow.sample_key == key, ClaimRow.expires_at > bindparam("now"))
    had = exists().where(PassRow.reviewer == bindparam("reviewer"), PassRow.sample_key == key)
    return ~held, ~had
