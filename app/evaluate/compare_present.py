"""Two evaluations side by side, and the gate's answer, as HTML: pure functions of values; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.evaluate.present import LOOK
from app.evaluate.report_plots import figure
from app.evaluate.report_present import share
from app.markup.numbers import duration
from app.markup.tables import table
from app.markup.text import escape
from core.evaluation.bootstrap import Difference, signed
from core.evaluation.comparison import Comparison, SetComparison
from core.evaluation.gate import GateDecision, Outcome

if TYPE_CHECKING:
    from app.shared.promotion import Asked

Values = Mapping[str, Any]

FLIPS = (("broken", False), ("mended", True), ("changed, truth unknown", None))
"""Kinds of flips, the ones to look at first."""

GATE_WORDS = {
    Outcome.PASSED: "It may go live",
    Outcome.LOSS: "Refused: a significant loss",
    Outcome.NOT_ENOUGH: "Refused: not enough evidence",
}
_OVERRIDDEN = "It may go live, for the reason written down"
_SIGNS = {
    "allow": '<circle cx="12" cy="12" r="10"/><path class="mark" d="M7.2 12.6l3.2 3.2 6.4-7.2"/>',
    "review": '<circle cx="12" cy="12" r="10"/><path class="mark" d="M9.2 9.3a2.9 2.9 0 1 1 4.3 2.6c-1 .6-1.5 1.1-1.5 '
    '2.2"/><circle class="dot" cx="12" cy="17.3" r="1.2"/>',
    "block": '<circle cx="12" cy="12" r="10"/><path class="mark" d="M6.8 12h10.4"/>',
}


def nothing(finished: int) -> str:
    """Instead of a comparison."""
    if finished < 2:
        what = (
            "It takes two finished evaluations on the same rows: evaluate two checkpoints on the same snapshot or "
            "files under <b>Evaluations</b>."
        )
    else:
        what = "Choose two evaluations above; rows that both have scored are laid side by side."
    return f'<section class="gr-r-empty" role="status"><h2>Nothing to compare yet</h2><p>{what}</p></section>'


def page(found: Comparison, before: Values, after: Values) -> str:
    """Figures of two evaluations side by side, and what each set gained or lost.

    Args:
        before: the report of the one.
        after: and of the other.
    """
    if not found.rows:
        return (
            '<section class="gr-r-empty" role="status"><h2>No row in common</h2><p>The two evaluations have scored '
            f"different rows ({found.only_before:,} and {found.only_after:,}). Evaluate both on the same snapshot or "
            "files, with the same limit.</p></section>"
        )
    alone = ""
    if found.only_before or found.only_after:
        alone = (
            f" {found.only_before:,} rows are only in the first and {found.only_after:,} only in the second; they are "
            "left out of the differences."
        )
    looks = ""
    if before["look"] != after["look"]:
        looks = (
            '<p class="gr-message gr-e-warning" role="status">One evaluation is with reasoning and the other with '
            "the first look only: part of the difference comes from that.</p>"
        )
    return (
        f'<article class="gr-e-compare">{looks}<p class="gr-quiet">{found.rows:,} rows in common.{alone}</p>'
        f"{differences(found)}<h3>Both reports</h3>{_both(before, after)}</article>"
    )


def differences(found: Comparison) -> str:
    """What each set gained or lost, with 95% intervals."""
    names = ("set", "rows", "measure", "before", "after", "difference (95% interval)", "")
    return table(names, "".join(_set(each) for each in found.sets))


def _set(each: SetComparison) -> str:
    rows = [(f"{each.measure}, both sides" if len(each.by_side) > 1 else each.measure, each.difference)]
    if len(each.by_side) > 1:
        rows += [(f"F1, {side}", found) for side, found in each.by_side.items()]
    shown = []
    for at, (measure, found) in enumerate(rows):
        span = f'rowspan="{len(rows)}"'
        head = f'<th scope="row" {span}>{escape(each.name)}</th><td {span}>{each.rows:,}</td>'
        shown.append(f"<tr>{head if not at else ''}<td>{measure}</td>{difference_cells(found)}</tr>")
    return "".join(shown)


def difference_cells(found: Difference | None) -> str:
    """Before, after, the difference with its interval, and what it means, as cells."""
    if found is None:
        return "<td>–</td><td>–</td><td>–</td><td>no labelled row</td>"
    kind = "loss" if found.is_loss else "gain" if found.is_gain else "none"
    word = {"loss": "a significant loss", "gain": "a significant gain", "none": "no significant difference"}[kind]
    return (
        f"<td>{figure(found.before)}</td><td>{figure(found.after)}</td><td><b>{signed(found.value)}</b> "
        f'<span class="gr-quiet">{signed(found.low)} to {signed(found.high)}</span></td>'
        f'<td><span class="gr-e-change" data-kind="{kind}">{word}</span></td>'
    )


def _both(before: Values, after: Values) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{escape(was)}</td><td>{escape(now)}</td></tr>'
        for (name, was), (_, now) in zip(_lines(before), _lines(after), strict=True)
    )
    return table(("over all its rows", "before", "after"), rows)


def _lines(report: Values) -> list[tuple[str, str]]:
    lines = [("checkpoint", report["checkpoint"]["id"]), ("how", LOOK[report["look"]])]
    for side in ("request", "response"):
        found = report["averages"][side]
        lines += [
            (f"F1, {side}, average", figure(found["f1"])),
            (f"recall, {side}", figure(found["recall"])),
            (f"false alarms, {side}", figure(found["false_alarms"])),
        ]
    writing, latency = report["writing"], report["speed"]["latency_s"]
    return [
        *lines,
        ("unreadable", share(writing["unreadable_share"])),
        ("tokens, mean", "–" if writing["mean_tokens"] is None else f"{writing['mean_tokens']:.1f}"),
        ("one verdict, median", "–" if latency is None else duration(latency["median"])),
    ]


def flip_choices(found: Comparison) -> list[tuple[str, str]]:
    """Kinds of flips with how many there are."""
    return [(f"{name} ({sum(each.mended is kind for each in found.flips):,})", name) for name, kind in FLIPS]


# -- the gate ---------------------------------------------------------------------------------------------------------


def gate(asked: Asked) -> str:
    """The gate's answer in words, with the figures that it rests on."""
    decision = asked.decision
    tone = "allow" if decision.allowed else "block" if decision.outcome is Outcome.LOSS else "review"
    first, *rest = decision.sentences
    against = asked.promoted or "what is promoted now"
    beside = (
        f"Compared with the evaluation {asked.against} of {against}, which is promoted now."
        if asked.against
        else f"There is no evaluation of {against}, which is promoted now, on any of the same sets."
    )
    items = "".join(f"<li>{escape(each)}</li>" for each in [*rest, beside])
    return (
        f'<section class="gr-e-gate" data-outcome="{decision.outcome.name.lower()}" data-tone="{tone}" role="status">'
        f'<header class="gr-head"><span class="gr-sign" aria-hidden="true"><svg viewBox="0 0 24 24" focusable="false">'
        f'{_SIGNS[tone]}</svg></span><div class="gr-said"><p class="gr-word">{_word(decision)}</p>'
        f'<p class="gr-sentence">{escape(first)}</p></div></header><ul>{items}</ul>{_tested(decision)}</section>'
    )


def _word(decision: GateDecision) -> str:
    return _OVERRIDDEN if decision.overridden else GATE_WORDS[decision.outcome]


def _tested(decision: GateDecision) -> str:
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{found.rows:,}</td><td>{found.measure}</td>'
        f"{difference_cells(found.difference)}</tr>"
        for name, found in (("held-out rows", decision.held_out), ("evaluation files", decision.gold))
        if found is not None
    )
    names = ("tested on", "rows", "measure", "promoted now", "this one", "difference (95% interval)", "")
    return table(names, rows) if rows else ""
