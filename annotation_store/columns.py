"""How texts and times become columns that every database can hold and sort."""

from __future__ import annotations

import json
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

from core.errors import StoreError

_MARK = "\x1a"
"""ASCII's own "substitute" character: allowed in any database text and hardly ever typed."""

_UNSTORABLE = re.compile("[\x00\x1a\ud800-\udfff]")
_ESCAPED = re.compile("\x1a([0-9a-f]{4})")


def escape_text(text: str) -> str:
    """Make any Python text fit for a database column; everything that people normally type is left as it is.

    NUL (which PostgreSQL refuses), lone surrogates (which UTF-8 cannot carry) and the mark itself become the mark
    and four hexadecimal digits. `unescape_text` is the exact inverse.
    """
    if "\x00" not in text and _MARK not in text and (text.isascii() or _is_unicode(text)):
        return text  # what nearly all texts are, found out without looking at every character by itself
    return _UNSTORABLE.sub(lambda match: f"{_MARK}{ord(match.group()):04x}", text)


def _is_unicode(text: str) -> bool:
    """Whether no surrogate stands alone in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unescape_text(stored: str) -> str:
    """The text that `escape_text` was given."""
    if _MARK not in stored:
        return stored
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), stored)


class AnyText(TypeDecorator[str]):
    """A text column that gives back every Python text unchanged, NULs and lone surrogates included."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else escape_text(str(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """From the database."""
        return None if value is None else unescape_text(value)


def utc_text(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC with microseconds: of one length, so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def canonical_time(text: str) -> str:
    """Any ISO 8601 time with an offset, written as `utc_text` writes it.

    Raises:
        StoreError: the text is no such time.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset from UTC")
        return utc_text(moment)
    except (ValueError, OverflowError) as error:
        raise StoreError(
            f"The time {text[:40]!r} cannot be stored ({error}); ISO 8601 with an offset is expected."
        ) from None


def now_text() -> str:
    """This moment as `utc_text` writes it."""
    return utc_text(datetime.now(UTC))


def new_id(tag: str) -> str:
    """A name that nobody can guess and that sorts by time, so that an index grows at its end: `tag-…`."""
    return new_ids(tag, 1)[0]


def new_ids(tag: str, count: int) -> list[str]:
    """So many such names, in their order."""
    begin, rest = f"{tag}-{time.time_ns() // 1_000_000:012x}", secrets.token_hex(10 * count)
    return sorted(begin + rest[at : at + 20] for at in range(0, 20 * count, 20))


_COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> str:
    """Compact JSON. Not escaped to ASCII: reading that back would join two lone surrogates into one character."""
    return _COMPACT.encode(value)
