"""Texts in CSV cells: safe in a spreadsheet, exact when they come back. Pure.

A spreadsheet runs a cell that begins with = + - @ as a formula, so such cells get an apostrophe in front (OWASP, CSV
injection). Cells that begin with apostrophes before such a character get one more, so that taking one away is exact. An
empty text that is there is written as one apostrophe; an empty cell means that there is none.
"""

from __future__ import annotations

import re

from annotation_store.columns import escape_text, unescape_text

CSV_MARK = "guardroom_export"
"""A column that says: Guardroom wrote this file, so its cells are read back by these rules. Other files are not."""

PARQUET_MARK = "guardroom_export"
"""The same as a key of a Parquet file's metadata."""

_RISKY = re.compile(r"['\s]*[=+\-@|%＝＋－＠]|'*[\t\r\n]|'+\Z")


def write_cell(text: str | None) -> str:
    """A text for a CSV cell."""
    if text is None:
        return ""
    if text == "":
        return "'"
    stored = escape_text(text)
    return f"'{stored}" if _RISKY.match(stored) else stored


def read_cell(cell: str) -> str | None:
    """The text that `write_cell` was given."""
    if cell == "":
        return None
    if cell.startswith("'") and _RISKY.match(cell):
        cell = cell[1:]
    return unescape_text(cell)
