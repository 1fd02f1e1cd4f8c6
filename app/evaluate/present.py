"""The list of evaluations, and what is about to be scored, as HTML: pure functions of values; every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.evaluate.report_plots import figure
from app.markup.numbers import moment
from app.markup.tables import bar, named, table
from app.markup.text import escape

if TYPE_CHECKING:
    from app.evaluate.work import EvaluationLine
    from train_jobs.evaluation.sets import FileCounts

STATES = {
    "queued": "waiting", "running": "running", "succeeded": "done", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip
COLUMNS = ("started", "checkpoint", "scored on", "how", "state", "F1 request", "F1 response", "")
LOOK = {"deliberation": "with reasoning", "first look": "first look only"}
"""How a report was made, in words."""


def about() -> str:
    """What this part does."""
    return (
        '<p class="gr-quiet">An evaluation lets a checkpoint judge rows whose labels are known, and counts how often '
        "it is right. It runs as a job of its own: close the page, come back, it goes on.</p>"
    )


def seen(counts: Sequence[FileCounts], benchmarks: Sequence[str]) -> str:
    """What the chosen files hold.

    Args:
        benchmarks: those for which figures are published.
    """
    rows = []
    for each in counts:
        known = ""
        if each.benchmark in benchmarks:
            known = '<br><span class="gr-quiet">published figures will stand beside</span>'
        counted = "".join(f"<td>{number:,}</td>" for number in (each.rows, each.labelled, each.media))
        rows.append(f"<tr><td>{escape(each.name)}{known}</td>{counted}</tr>")
    return table(("file", "rows", "with a label", "with media"), "".join(rows)) if rows else ""


def time_left(seconds: float | None) -> str:
    """About how long something still takes."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def listed(lines: Sequence[EvaluationLine], opened: str | None = None) -> str:
    """All evaluations, the newest first. `opened`: the one whose report is shown."""
    if not lines:
        return (
            '<section class="gr-r-empty" role="status"><h2>No evaluation yet</h2><p>Choose a checkpoint and something '
            "to score it on above, then press <b>Start</b>. A hundred rows with the first look only take a few seconds "
            "with the built-in guard; with reasoning about a minute.</p></section>"
        )
    return table(COLUMNS, "".join(_line(line, opened) for line in lines))


def _line(line: EvaluationLine, opened: str | None) -> str:
    state = line.status.state.value
    averages: Mapping[str, Any] = line.report["averages"] if line.report else {}
    about = [f"{line.spec.options['limit']:,} rows a set at most"] if line.spec.options.get("limit") else []
    how = ["first look only" if line.first_look_only else "with reasoning", *about]
    if line.report:
        how.append(f"{line.report['rows']:,} rows")
    cells = (
        escape(moment(line.spec.created_at)),
        f'{escape(line.checkpoint)}<br><span class="gr-quiet">{escape(line.spec.name)}</span>',
        escape(", ".join(line.sets)),
        escape(" · ".join(how)),
        _state(line),
        figure(averages["request"]["f1"]) if averages else "",
        figure(averages["response"]["f1"]) if averages else "",
        f'<div class="gr-e-acts">{"".join(_act(does, words, line.id) for does, words in _acts(line))}</div>',
    )
    mark = ' data-opened="true"' if line.id == opened else ""
    return f'<tr data-run="{escape(line.id)}" data-state="{state}"{mark}>{named(COLUMNS, cells)}</tr>'


def _state(line: EvaluationLine) -> str:
    state, progress = line.status.state.value, line.status.progress
    said = STATES[state]
    if state == "queued" and line.place:
        said += f", {line.place} before it"
    more = escape(line.status.sentence)
    if state == "running":
        share = progress.fraction if progress else 0.0
        words = [progress.words, time_left(progress.seconds_left)] if progress else ["starting"]
        more = f"{bar(share)}{escape(' · '.join(filter(None, words)))}"
        said += f" {round(100 * share)}%"
    return f'<span class="gr-e-state" data-state="{state}">{said}</span>' + (
        f'<div class="gr-quiet">{more}</div>' if more else ""
    )


def _acts(line: EvaluationLine) -> list[tuple[str, str]]:
    state = line.status.state
    if state.value in ("queued", "running"):
        return [("cancel", "Cancel")]
    first = [("open", "Report")] if line.report else []
    return [*first, *([("resume", "Resume")] if state.can_resume else []), ("delete", "Delete")]


def _act(does: str, words: str, run: str) -> str:
    """A button of a row; the script (assets/evaluate.js) hands its press over, and asks once more before a delete."""
    sure = ' data-e-sure="Delete for good?"' if does == "delete" else ""
    return f'<button type="button" data-e-do="{does}" data-e-run="{escape(run)}"{sure}>{words}</button>'


def report_choices(lines: Sequence[EvaluationLine], *, named: bool = True) -> list[tuple[str, str]]:
    """Finished evaluations to choose from. `named`: with the checkpoint that each is about."""
    return [(_choice(line, line.report, named), line.id) for line in lines if line.report]


def _choice(line: EvaluationLine, report: Mapping[str, Any], named: bool) -> str:
    about = [line.checkpoint] if named else []
    name = [line.spec.name] if line.spec.name else []
    when, sets = moment(line.spec.created_at), ", ".join(line.sets)
    return " · ".join([*name, *about, sets, LOOK[report["look"]], f"{report['rows']:,} rows", when])
