"""Labels and probabilities of harm as HTML."""

from __future__ import annotations

from collections.abc import Iterable

from app.markup.numbers import NOTHING, probability
from app.markup.text import escape
from core.types import HarmProbability, Label, Thresholds, Verdict


def side_rows(verdict: Verdict, *, has_response: bool) -> str:
    """The table of a verdict alone: label, first look and deliberated probability of each side."""
    names = ("request", "response")[: 1 + has_response]
    rows = [side_row(name, verdict, verdict.first_look, verdict.thresholds) for name in names]
    return sides_table("The model's labels and probabilities of harm", rows)


def sides_table(caption: str, rows: Iterable[str], *, raw: bool = False) -> str:
    """Rows of `side_row` under their headings.

    Args:
        raw: the checkpoint was not trained for a first look.
    """
    hint = ' title="This checkpoint was not trained for a first look: the number is a raw reading."' if raw else ""
    return (
        f'<table class="gr-sides"><caption class="gr-hidden">{escape(caption)}</caption><thead><tr>'
        '<th scope="col"><span class="gr-hidden">Side</span></th><th scope="col">Label</th>'
        f'<th scope="col"{hint}>First look{" (raw)" if raw else ""}</th><th scope="col">Deliberated</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def side_row(
    name: str,
    verdict: Verdict | None,
    first_look: HarmProbability | None,
    thresholds: Thresholds,
    *,
    absent: bool = False,
) -> str:
    """One side: its label, its first look, its deliberated probability; what is not known yet is a dash.

    Args:
        name: `request` or `response`.
        absent: there is no such side.
    """
    label = getattr(verdict.assessment, name) if verdict and verdict.assessment else None
    first = getattr(first_look, name) if first_look else None
    deliberated = getattr(verdict.deliberated, name) if verdict else None
    return (
        f'<tr data-side="{name}" data-absent="{str(absent).lower()}"><th scope="row">{name.capitalize()}</th>'
        f"<td>{label_cell(label, absent)}</td>"
        f'<td class="gr-look">{harm_bar(first, thresholds, f"First look at the {name}")}</td>'
        f'<td class="gr-look">{harm_bar(deliberated, thresholds, f"Deliberated, {name}")}</td></tr>'
    )


def label_cell(label: Label | None, absent: bool) -> str:
    """A label as the cell of a table; without a side there is none, and an unlabelled side is a dash."""
    if absent:
        return '<span class="gr-label" data-label="absent">none given</span>'
    known = label in (Label.HARMFUL, Label.UNHARMFUL)
    word = label.value if label is not None and known else NOTHING
    return f'<span class="gr-label" data-label="{word if known else "unknown"}">{word}</span>'


def harm_bar(p_harmful: float | None, thresholds: Thresholds, name: str) -> str:
    """A probability of harm as a bar with both thresholds on it, and as a number."""
    share = 0.0 if p_harmful is None else p_harmful
    zone = "none" if p_harmful is None else thresholds.decide(p_harmful).value
    said = "not known yet" if p_harmful is None else f"{probability(p_harmful)} harmful"
    return (
        f'<span class="gr-bar" data-zone="{zone}" role="img" aria-label="{escape(f"{name}: {said}")}" '
        f'style="--p:{share:.4f};--review:{thresholds.review:.3f};--block:{thresholds.block:.3f}"><i></i><b></b><b></b></span>'
        f'<span class="gr-p">{escape(probability(p_harmful))}</span>'
    )


def label_words(label: Label) -> str:
    """A label with its colour; the word says it as well."""
    known = label in (Label.HARMFUL, Label.UNHARMFUL)
    return f'<span class="gr-label" data-label="{label.value if known else "unknown"}">{label.value}</span>'
