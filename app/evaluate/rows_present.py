"""Scored rows as HTML, for wrong answers and flips: texts shown as they are, media blurred until asked for."""

from __future__ import annotations

from collections.abc import Sequence

from app.markup.media import Address, veiled
from app.markup.numbers import probability
from app.markup.text import escape, letters
from app.markup.verdicts import label_words
from app.review.form import steps_of
from core.evaluation.comparison import Flip
from core.evaluation.rows import SIDES, EvaluationRow, ScoredRow, Side
from core.types import Label

SHOWN = 20
"""Samples that are shown at first, and how many more with each press."""


def wrong(rows: Sequence[ScoredRow], shown: int, address: Address) -> str:
    """Rows on which the checkpoint was wrong or could not be read, the first ones."""
    if not rows:
        return '<p class="gr-message" data-kind="good" role="status">Every labelled row was called right.</p>'
    items = "".join(_item(_wrong_head(row), row.row, address, _reasoning(row)) for row in rows[:shown])
    return f'<ol class="gr-e-samples">{items}</ol>{_more(len(rows), shown)}'


def flips(found: Sequence[Flip], shown: int, address: Address) -> str:
    """Sides that two checkpoints call differently, the first ones."""
    if not found:
        return '<p class="gr-message" role="status">Nothing flipped this way.</p>'
    items = "".join(_item(_flip_head(each), each.row, address, "") for each in found[:shown])
    return f'<ol class="gr-e-samples">{items}</ol>{_more(len(found), shown)}'


def said(harmful: bool | None) -> str:
    """What was called, in a word with its colour."""
    if harmful is None:
        return '<span class="gr-label" data-label="unknown">unreadable</span>'
    return label_words(Label.HARMFUL if harmful else Label.UNHARMFUL)


def _more(count: int, shown: int) -> str:
    return f'<p class="gr-quiet">{min(shown, count):,} of {count:,}.</p>' if count > shown else ""


def _wrong_head(scored: ScoredRow) -> str:
    parts = []
    for side in SIDES:
        counts = scored.counts(side)
        if counts.misses or counts.false_alarms:
            p = scored.deliberated(side)
            p = scored.first_look(side) if p is None else p
            parts.append(
                f"{side} is {said(scored.row.truth(side))}, was called {said(scored.said(side))} "
                f'<span class="gr-quiet">{probability(p)}</span>'
            )
    return "; ".join(parts)


def _flip_head(flip: Flip) -> str:
    word = {True: "mended", False: "broken", None: "changed"}[flip.mended]
    truth = "nobody said what is true" if flip.truth is None else f"is {said(flip.truth)}"
    return (
        f'<span class="gr-e-flip" data-kind="{word}">{word}</span> {flip.side} {truth}: {said(flip.before)} '
        f'<span aria-label="became">→</span> {said(flip.after)}'
    )


def _item(head: str, row: EvaluationRow, address: Address, more: str) -> str:
    where = f"{row.set} · {row.id if len(row.id) <= 40 else row.id[:16] + '…'}"
    if row.categories:
        where += f" · {', '.join(row.categories)}"
    sample = row.sample
    texts = "".join(
        f'<h4>{side.capitalize()}</h4><div class="gr-r-text" dir="auto">{letters(text)}</div>'
        for side, text in ((Side.REQUEST, sample.request), (Side.RESPONSE, sample.response))
        if text
    )
    media = "".join(veiled(ref, address(ref)) for ref in sample.media)
    return (
        f'<li class="gr-e-sample" data-sample="{escape(sample.id)}"><p class="gr-e-head">{head}</p>'
        f'<p class="gr-quiet">{escape(where)}</p>{media}{texts}{more}</li>'
    )


def _reasoning(scored: ScoredRow) -> str:
    steps = steps_of(scored.verdict)
    if scored.verdict.error:
        return f'<p class="gr-r-error">{escape(scored.verdict.error)}</p>'
    if not steps:
        return ""
    items = "".join(f'<li dir="auto">{escape(step)}</li>' for step in steps)
    return f"<details><summary>What it wrote</summary><ol>{items}</ol></details>"
