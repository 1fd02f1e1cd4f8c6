"""Writing thousands of rows at once, and reading back which keys they got.

An import spends more time on handing values over than the database spends on storing them. So the values come column
by column, are made fit for their column here, and go to the driver as they are: one executemany of a statement that
was compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, bindparam, func, insert, literal, select
from sqlalchemy.orm import InstrumentedAttribute

from annotation_store.columns import AnyText, escape_text
from annotation_store.models import Base, LabelRow, SampleRow
from annotation_store.rows.samples import MANY

_T = TypeVar("_T")
_Fit = Callable[[list[Any]], list[Any]]

_LAST = {table: select(func.max(table.key)) for table in (SampleRow, LabelRow)}
_SINCE = {
    table: select(table.id, table.key).where(table.key > bindparam("last")).order_by(table.key)
    for table in (SampleRow, LabelRow)
}
_KNOWN = select(SampleRow.id, SampleRow.key).where(SampleRow.id.in_(bindparam("ids", expanding=True)))


def insert_many(connection: Connection, table: type[Base], count: int, **columns: Any) -> None:
    """Write rows into a table.

    Args:
        count: how many.
        columns: for each column a list of so many values, or one value that all rows have.
    """
    if not count:
        return
    statement, fits = _compiled(table, tuple(columns), connection.dialect)
    values: list[Any] = []
    for name, fit in fits.items():
        given = columns[name]
        several = given if isinstance(given, list) else [given]
        fitted = several if fit is None else fit(several)
        values.append(fitted if several is given else repeat(fitted[0], count))
    rows = list(zip(*values, strict=False))  # a repeated value is as long as the others
    if len(rows) != count:
        raise ValueError(f"{len(rows)} rows for {table.__tablename__} where {count} are expected")
    if statement is None:
        connection.execute(insert(table), [dict(zip(fits, row, strict=True)) for row in rows])
    else:
        connection.exec_driver_sql(statement, rows)


def insert_for_range(
    connection: Connection,
    table: type[Base],
    taken: Mapping[str, InstrumentedAttribute[int]],
    first: int,
    last: int,
    **same: Any,
) -> None:
    """Write a row for each stored row whose key is from `first` to `last`. No value is handed over row by row.

    Args:
        taken: column to the column of the stored rows, all of one table, that it has its values from.
        same: column to the value that all rows have.
    """
    source = next(iter(taken.values())).class_
    values = [literal(value, table.__table__.c[name].type) for name, value in same.items()]
    rows = select(*taken.values(), *values).where(source.key.between(first, last)).order_by(source.key)
    connection.execute(insert(table).from_select([*taken, *same], rows, include_defaults=False))


@lru_cache(maxsize=256)
def _compiled(table: type[Base], names: tuple[str, ...], dialect: Dialect) -> tuple[str | None, dict[str, _Fit | None]]:
    """The statement for the driver, and in the order of its places what makes values fit for their column.

    Where a driver goes by names instead there is no statement: those rows go through SQLAlchemy, as they are.
    """
    compiled: Any = insert(table).compile(dialect=dialect, column_keys=names)
    if not compiled.positional:
        return None, dict.fromkeys(names)
    types = {name: table.__table__.c[name].type for name in names}
    return str(compiled), {
        name: _stored if isinstance(types[name], AnyText) else _processed(types[name].bind_processor(dialect))
        for name in compiled.positiontup
    }


def _stored(texts: list[Any]) -> list[Any]:
    """As `AnyText` stores them. Hardly any text needs to be changed, so they are first looked at all together."""
    whole = "".join([text for text in texts if text is not None])
    if len(escape_text(whole)) == len(whole):
        return texts
    return [None if text is None else escape_text(text) for text in texts]


def _processed(process: Callable[[Any], Any] | None) -> _Fit | None:
    return None if process is None else lambda values: list(map(process, values))


def last_key(connection: Connection, table: type[SampleRow] | type[LabelRow]) -> int:
    """The largest key so far; 0 in an empty table."""
    return connection.scalar(_LAST[table]) or 0


def keys_of_new(
    connection: Connection, table: type[SampleRow] | type[LabelRow], ids: Sequence[str], last: int
) -> dict[str, int]:
    """Id to key, in the order of `ids`, of the rows that were just written with these ids and in this order.

    Args:
        last: the largest key before.
    """
    if last_key(connection, table) == last + len(ids):
        # So many different keys above `last` are all the numbers there are, and databases count upwards.
        return dict(zip(ids, range(last + 1, last + len(ids) + 1), strict=True))
    found = {row[0]: row[1] for row in connection.execute(_SINCE[table], {"last": last})}
    return {each: found[each] for each in ids}


def known_samples(connection: Connection, sample_ids: Sequence[str]) -> dict[str, int]:
    """Id to key of those samples that are stored."""
    found: dict[str, int] = {}
    statement = _asking(connection.dialect)
    for some in parts(sample_ids):
        if statement is None:
            rows = connection.execute(_KNOWN, {"ids": some}).all()
        else:
            # The last part is filled up with an id that is asked for anyhow, so that one statement does for all.
            rows = connection.exec_driver_sql(statement, (*some, *repeat(some[0], MANY - len(some)))).all()
        found |= {row[0]: row[1] for row in rows}
    return found


@lru_cache(maxsize=8)
def _asking(dialect: Dialect) -> str | None:
    """`_KNOWN` for the driver with `MANY` places; none where it goes by names. Ids of samples need no processing."""
    places = [bindparam(f"id{number}", type_=SampleRow.id.type) for number in range(MANY)]
    compiled: Any = select(SampleRow.id, SampleRow.key).where(SampleRow.id.in_(places)).compile(dialect=dialect)
    return str(compiled) if compiled.positional else None


def parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """So many at a time that a statement can ask for them."""
    for start in range(0, len(values), MANY):
        yield values[start : start + MANY]


def is_range(keys: Sequence[int]) -> bool:
    """Whether keys follow one another without a gap, in their order."""
    return list(keys) == list(range(keys[0], keys[0] + len(keys))) if keys else False


def ranges(keys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of ascending keys that follow one another: 1, 2, 3, 7 gives 1 to 3 and 7 to 7."""
    if is_range(keys):
        yield keys[0], keys[-1]
        return
    start = 0
    for at in range(1, len(keys) + 1):
        if at == len(keys) or keys[at] != keys[at - 1] + 1:
            yield keys[start], keys[at - 1]
            start = at
