"""The order of the queue and the figures of the audit as HTML."""

from __future__ import annotations

from collections.abc import Mapping

from annotation_store.rules.reasons import DEFAULT_WEIGHTS
from annotation_store.values.reasons import KIND_NAMES, ReasonKind
from annotation_store.values.review import Agreement, AuditFigures
from app.markup.tables import table
from app.markup.text import escape, message


def order(weights: Mapping[ReasonKind, float], open_items: Mapping[str, int]) -> str:
    """Each reason with its weight and how many items wait for it, the heaviest first."""
    rows = "".join(
        f"<tr><td>{escape(KIND_NAMES[kind])}</td><td>{weight:g}</td><td>{DEFAULT_WEIGHTS[kind]:g}</td>"
        f"<td>{open_items.get(kind.value, 0):,}</td></tr>"
        for kind, weight in sorted(weights.items(), key=lambda each: -each[1])
    )
    words = message(
        "An item's place is the strength of its reason (0 to 1) times the reason's weight; the largest comes first. "
        "A new weight counts from the next item on."
    )
    return words + table(("Reason", "Weight", "Weight at first", "Waiting"), rows)


def agreement(figures: AuditFigures) -> str:
    """How often people agree with the verdicts; the random audit share stands apart, because only it is unbiased."""
    audit = _agreed("items drawn for the random audit", figures.audit)
    return message(f"{audit} {_agreed('all other items, which were chosen because they are hard', figures.others)}")


def failed(error: Exception) -> str:
    """Why it could not be done."""
    return message(str(error), "bad")


def _agreed(what: str, found: Agreement) -> str:
    if found.share is None:
        return f"Of {what}, none was reviewed yet."
    return f"Of {what}, {found.decided:,} were reviewed; people agree with the guard on {found.share:.0%} of them."
