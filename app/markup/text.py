"""Texts and sentences as HTML: everything that a person or a model wrote is escaped here."""

from __future__ import annotations

import html
from typing import Literal


def escape(text: object) -> str:
    """Text as HTML text or as an attribute's value; what cannot be sent (half of a surrogate pair) becomes `?`."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"), quote=True)


def message(text: str, kind: Literal["plain", "good", "bad"] = "plain") -> str:
    """One sentence to a person."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="gr-message" data-kind="{kind}" role="{role}">{escape(text)}</p>' if text else ""


def letters(text: str) -> str:
    """Text whose characters the browser keeps one by one, so that its offsets are those of the stored text."""
    kept = escape(text.replace("\0", "\ufffd"))
    return kept.replace("\r", "&#13;")


def excerpt(text: str, most: int) -> str:
    """The beginning of a text on one line."""
    flat = " ".join(text.split())
    return (flat if len(flat) <= most else flat[: most - 1] + "…") or "(no words)"
