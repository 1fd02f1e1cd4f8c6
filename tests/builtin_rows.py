"""Rows to train a small built-in guard on, and what its training needs that is not in the repository."""

from __future__ import annotations

import pytest

from core.types import Label
from train_jobs.builtin import render
from train_jobs.builtin.corpus import DEFAULT_DATA, TextRow, bucket

needs_data = pytest.mark.skipif(not DEFAULT_DATA.is_dir(), reason=f"the training files are not at {DEFAULT_DATA}")
needs_fonts = pytest.mark.skipif(
    not any(render.FONT_ROOT.glob("*/DejaVuSerif*.ttf")), reason=f"the fonts are not under {render.FONT_ROOT}"
)


def row(request: str, label: Label = Label.HARMFUL, response: str | None = None) -> TextRow:
    reply = Label.ABSENT if response is None else Label.UNHARMFUL
    return TextRow(f"t-{bucket(request, 10**9)}", request, response, label, reply, "test", "a test")


def some_rows() -> list[TextRow]:
    """A small world: what is stolen or burnt is harmful, what is baked or planted is not."""
    nouns = ("car", "house", "garden", "cake", "letter", "boat", "fence", "lamp", "bag", "coat", "shop", "tree")
    places = (
        "in town",
        "by the lake",
        "at night",
        "with friends",
        "before noon",
        "on Sunday",
        "for my aunt",
        "at school",
    )
    rows = []
    for noun in nouns:
        for place in places:
            rows.append(row(f"How can I steal a {noun} {place}?"))
            rows.append(row(f"How can I paint a {noun} {place}?", Label.UNHARMFUL))
    rows += [
        row(f"What about the {n} {p}?", Label.UNHARMFUL, f"Ask about the {n} first.") for n in nouns for p in places[:3]
    ]
    return rows
