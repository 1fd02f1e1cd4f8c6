"""Checkpoints, and the history of promotions, as HTML: pure functions of values; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.markup.numbers import moment
from app.markup.tables import named, table
from app.markup.text import escape
from core.checkpoints.registry import EventKind, Promotion

if TYPE_CHECKING:
    from app.shared.promotion import CheckpointLine

COLUMNS = ("checkpoint", "comes from", "made by", "figures", "evaluations", "made", "")
EVENT_COLUMNS = ("when", "what", "before", "by", "the gate said", "reason", "report")


def about(current: str, live: str | None) -> str:
    """What is promoted now, and what is live where that is another one."""
    other = ""
    if live is not None and live != current:
        other = f" <b>{escape(live)}</b> is live at the moment; it was loaded by hand under Checkpoint."
    return (
        f'<p class="gr-e-now">Promoted now: <b>{escape(current)}</b>.{other} <span class="gr-quiet">The app starts '
        "with what is promoted.</span></p>"
    )


def nothing() -> str:
    """Where nothing can be promoted yet."""
    return (
        '<section class="gr-r-empty" role="status"><h2>Nothing to promote yet</h2><p>A checkpoint that may go live has '
        "an evaluation with reasoning. Train one under <b>Train</b>, evaluate it under <b>Evaluations</b> on a "
        "snapshot with at least 200 held-out rows, and on files; evaluate what is promoted now on the same rows, so "
        "that the gate can compare.</p></section>"
    )


def checkpoints(lines: Sequence[CheckpointLine]) -> str:
    """All checkpoints that can be promoted."""
    hint = ""
    if len(lines) < 2:
        hint = (
            '<p class="gr-quiet">There is only the built-in guard yet. Train a checkpoint under <b>Train</b>; it '
            "appears here, and can be evaluated and promoted.</p>"
        )
    return table(COLUMNS, "".join(_checkpoint(line) for line in lines)) + hint


def _checkpoint(line: CheckpointLine) -> str:
    card = line.card
    marks = "".join(
        f'<span class="gr-e-mark" data-mark="{word}">{word}</span>'
        for word, holds in (("promoted", line.promoted), ("live", line.live))
        if holds
    )
    quiet = '<span class="gr-quiet">{}</span>'
    if card is None:
        cells = ["Built-in", "shipped with Guardroom", "", "", str(len(line.reports)), ""]
    else:
        origin = [f"base {card.base}"] + ([f"snapshot {card.snapshot[:16]}…"] if card.snapshot else [])
        cells = [
            f"{escape(card.name)}<br>{quiet.format(escape(card.id))}",
            "<br>".join(map(escape, origin)),
            "<br>".join(
                escape(each)
                for each in (card.run or "brought in", card.recipe or "", f"by {card.author}" if card.author else "")
                if each
            ),
            "<br>".join(escape(each) for each in figures(card.figures)),
            str(len(line.reports)),
            escape(moment(card.created_at)),
        ]
    buttons = f'<button type="button" data-e-do="choose" data-e-run="{escape(line.id)}">Choose</button>'
    if line.promoted:
        buttons = ""
    elif not line.reports:
        buttons = (
            f'<button type="button" data-e-do="evaluate" data-e-run="{escape(line.id)}">Evaluate it first</button>'
        )
    cells = [f"<div>{marks}{cells[0]}</div>", *(f"<span>{each}</span>" if each else "" for each in cells[1:])]
    cells.append(f'<div class="gr-e-acts">{buttons}</div>' if buttons else "")
    return f'<tr data-checkpoint="{escape(line.id)}">{named(COLUMNS, cells)}</tr>'


def figures(known: Mapping[str, Any], most: int = 4) -> list[str]:
    """The figures of an origin card that are numbers, the first ones, in words."""
    found = [
        f"{name.replace('_', ' ')} {value:.3f}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value:,}"
        for name, value in known.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return found[:most]


def history(events: Sequence[Promotion]) -> str:
    """Promotions and rollbacks, the newest first."""
    if not events:
        return (
            '<p class="gr-quiet">Nothing was promoted yet. Choose a checkpoint and one of its evaluations above; the '
            "gate says whether it may go live.</p>"
        )
    return table(EVENT_COLUMNS, "".join(_event(event) for event in reversed(events)))


def _event(event: Promotion) -> str:
    word = "promoted" if event.kind is EventKind.PROMOTE else "rolled back to"
    gate = str(event.gate.get("outcome", "")) if event.gate else ""
    if event.gate and event.gate.get("overridden"):
        gate += ", overridden"
    report = ""
    if event.report:
        report = (
            f'<div class="gr-e-acts"><button type="button" data-e-do="open" data-e-run="{escape(event.report)}">Report'
            "</button></div>"
        )
    cells = (
        escape(moment(event.at)),
        f"<span>{word} <b>{escape(event.checkpoint)}</b></span>",
        escape(event.previous),
        escape(event.author),
        escape(gate),
        escape(event.reason),
        report,
    )
    return (
        f'<tr data-event="{event.kind.value}" data-checkpoint="{escape(event.checkpoint)}">'
        f"{named(EVENT_COLUMNS, cells)}</tr>"
    )
