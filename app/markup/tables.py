"""Tables and bars of progress as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from app.markup.text import escape


def table(names: Sequence[str], rows: str) -> str:
    """A table that scrolls sideways by itself."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f'<div class="gr-d-table"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def named(names: Sequence[str], cells: Sequence[str]) -> str:
    """The cells of one row, each with its column's name: on a phone they stand below each other (`.gr-stacks`).

    Args:
        cells: markup, as many as there are names.
    """
    return "".join(f'<td data-name="{escape(name)}">{cell}</td>' for name, cell in zip(names, cells, strict=True))


def progress_bar(share: float, words: str) -> str:
    """How far something is, with a sentence beneath."""
    return f'{bar(share)}<p class="gr-message">{escape(words)}</p>'


def bar(share: float) -> str:
    """A share in [0, 1] as a bar; what lies outside is taken for the nearest end."""
    percent = 100 * min(max(share, 0.0), 1.0)
    return (
        '<div class="gr-load" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{round(percent)}"><span style="width:{percent:.1f}%"></span></div>'
    )
