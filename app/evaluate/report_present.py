"""An evaluation's report as HTML: pure functions of the report's values; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.evaluate.present import LOOK
from app.evaluate.report_plots import LOOKS, calibration, figure, precision_recall
from app.markup.numbers import duration
from app.markup.tables import table
from app.markup.text import escape

Values = Mapping[str, Any]
SIDES = ("request", "response")


def share(value: float | None) -> str:
    """A share in percent, one decimal."""
    return "–" if value is None else f"{100 * value:.1f}%"


def nothing() -> str:
    """Instead of a report."""
    return (
        '<section class="gr-r-empty" role="status"><h2>No report yet</h2><p>Start an evaluation under '
        "<b>Evaluations</b>; its report is here when it is done.</p></section>"
    )


def page(report: Values) -> str:
    """The whole report."""
    return (
        f'<article class="gr-e-report" data-checkpoint="{escape(report["checkpoint"]["id"])}">{_head(report)}'
        f"{_sets(report)}{_elsewhere(report)}{_parts(report)}</article>"
    )


def _head(report: Values) -> str:
    made, writing, speed = report["checkpoint"], report["writing"], report["speed"]
    latency, first = speed["latency_s"], speed["first_piece_s"]
    pairs = [
        ("checkpoint", made["id"]),
        ("how", LOOK[report["look"]]),
        ("rows", f"{report['rows']:,}"),
        ("unreadable", share(writing["unreadable_share"])),
        ("cut off", f"{writing['cut_off']:,}"),
        ("tokens, mean", "–" if writing["mean_tokens"] is None else f"{writing['mean_tokens']:.1f}"),
        ("one verdict, median", "–" if latency is None else duration(latency["median"])),
        ("19 of 20 verdicts within", "–" if latency is None else duration(latency["p95"])),
        ("first token, median", "–" if first is None else duration(first["median"])),
        ("in batches", "–" if not speed["batched_rows_per_s"] else f"{speed['batched_rows_per_s']:.1f} rows/s"),
        ("computed on", f"{made['device']}, {made['dtype']}, {made['engine']}"),
        ("protocol", made["protocol_version"]),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="gr-figures">{items}</dl>'


# -- the table of sets ------------------------------------------------------------------------------------------------


def _sets(report: Values) -> str:
    names = (
        "set", "side", "labelled", "F1 (95% interval)", "precision", "recall", "false alarms", "calibration error",
        "unreadable", "tokens", "published F1",
    )  # fmt: skip
    rows = "".join(_set(each, report["look"]) for each in report["sets"])
    foot = "".join(_average(side, report["averages"][side]) for side in SIDES if report["averages"][side]["labelled"])
    part = ""
    if any(each["left_out"] for each in report["sets"]):
        part = " Only a part of some sets was scored; published figures stand beside whole sets alone."
    return (
        "<h3>Figures of each set</h3>"
        f'<div class="gr-e-sets">{table(names, rows + foot)}</div>'
        '<p class="gr-quiet">Harmful is what is looked for. An answer that cannot be read counts as wrong. A set '
        f"without harmful rows has no F1; look at its false alarms. Averages are weighted by labelled rows.{part}</p>"
    )


def _set(each: Values, look: str) -> str:
    sides = list(each["sides"].items())
    left = f"<br><span class='gr-quiet'>{each['rows']:,} of {each['rows'] + each['left_out']:,} rows</span>"
    name = (
        f'<th scope="row" rowspan="{max(1, len(sides))}">{escape(each["name"])}{left if each["left_out"] else ""}</th>'
    )
    if not sides:
        return f'<tr data-set="{escape(each["name"])}">{name}<td colspan="10">no labelled row</td></tr>'
    rows = []
    for at, (side, found) in enumerate(sides):
        tokens = each["writing"]["mean_tokens"]
        cells = (
            escape(side),
            f"{found['labelled']:,}",
            _sure(found["f1"], found["f1_interval"]),
            figure(found["precision"]),
            figure(found["recall"]),
            figure(found["false_alarms"]),
            figure(_reading(found, look).get("calibration_error")),
            share(found["unreadable"] / found["labelled"]),
            "–" if tokens is None else f"{tokens:.1f}",
            _published(each, side),
        )
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr data-set="{escape(each["name"])}" data-side="{side}">{name if not at else ""}{shown}</tr>')
    return "".join(rows)


def _reading(found: Values, look: str) -> Values:
    """The probabilities that the labels of this evaluation came with."""
    looks: Values = found["probabilities"]
    reading: Values = looks.get("deliberated" if look == "deliberation" else "first_look") or {}
    return reading


def _average(side: str, found: Values) -> str:
    sets = len(found["sets"])
    cells = (
        side,
        f"{found['labelled']:,}",
        _sure(found["f1"], found["f1_interval"]),
        figure(found["pooled"]["precision"]),
        figure(found["recall"]),
        figure(found["false_alarms"]),
        *("",) * 4,
    )
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    return (
        f'<tr class="gr-e-average" data-average="{side}"><th scope="row">average of {sets} '
        f"{'set' if sets == 1 else 'sets'}</th>{shown}</tr>"
    )


def _sure(value: float | None, interval: Sequence[float] | None) -> str:
    known = f' <span class="gr-quiet">{interval[0]:.3f} to {interval[1]:.3f}</span>' if interval else ""
    return f"<b>{figure(value)}</b>{known}"


def _published(each: Values, side: str) -> str:
    found = [one for one in each["published"] if one["side"] == side]
    return "<br>".join(
        f"{one['f1'] / 100:.3f} <span class='gr-quiet'>{escape(one['model'])}, {escape(one['source'])}</span>"
        for one in found
    )


def _elsewhere(report: Values) -> str:
    """Published averages: over other sets, so they stand apart."""
    known = report["published_averages"]
    if not known:
        return ""
    rows = "".join(
        f"<tr><td>{escape(each['model'])}</td><td>{escape(each['side'])}</td><td>{each['f1'] / 100:.3f}</td>"
        f"<td>{'–' if each['mean_tokens'] is None else each['mean_tokens']}</td><td>{escape(each['source'])}</td></tr>"
        for each in known
    )
    return (
        '<details class="gr-e-part"><summary>Averages that papers publish, over all of their own sets</summary>'
        '<p class="gr-quiet">These are over other sets than the averages above; compare set by set.</p>'
        f"{table(('model', 'side', 'F1', 'tokens, mean', 'source'), rows)}</details>"
    )


# -- one set in depth -------------------------------------------------------------------------------------------------


def _parts(report: Values) -> str:
    several = len(report["sets"]) > 1
    whole = ""
    if several or len(report["by_modality"]) > 1:
        whole = f"<h3>All sets by modality</h3>{_breakdown('modality', report['by_modality'])}"
    return (
        whole
        + "<h3>Each set in depth</h3>"
        + "".join(_part(each, opened=not at) for at, each in enumerate(report["sets"]))
    )


def _part(each: Values, *, opened: bool) -> str:
    sides = "".join(_side(side, found) for side, found in each["sides"].items())
    decisions = ", ".join(f"{count:,} {name}" for name, count in each["decisions"].items())
    from_where = f"{each['rows']:,} rows" + (f", {each['unlabelled']:,} without a label" if each["unlabelled"] else "")
    origin = f"{each['benchmark']} · " if each["benchmark"] else ""
    return (
        f'<details class="gr-e-part" data-set="{escape(each["name"])}"{" open" if opened else ""}><summary>'
        f'{escape(each["name"])} <span class="gr-quiet">{escape(origin + from_where)}</span></summary>{sides}'
        f'<p class="gr-quiet">Decided under the thresholds: {escape(decisions)}.</p>'
        f'<div class="gr-e-halves"><section><h4>By modality</h4>{_breakdown("modality", each["by_modality"])}</section>'
        f"<section><h4>By category</h4>{_breakdown('category', each['by_category'])}</section></div></details>"
    )


def _side(side: str, found: Values) -> str:
    looks = {name: found["probabilities"][name] for name in LOOKS if name in found["probabilities"]}
    harmful = found["harmful"] / found["labelled"]
    return (
        f'<section class="gr-e-side" data-side="{side}"><h4>{side.capitalize()}</h4><div class="gr-e-plots">'
        f"{confusion(found)}{precision_recall(looks, (found['recall'], found['precision']), harmful)}"
        f"{calibration(looks)}</div></section>"
    )


def confusion(found: Values) -> str:
    """How often which label was given for which truth."""
    counts = found["confusion"]
    rows = []
    for truth, cells in (
        ("harmful", (("hits", "found", "good"), ("misses", "missed", "bad"))),
        ("unharmful", (("false_alarms", "false alarm", "bad"), ("passes", "passed", "good"))),
    ):
        of = found[truth]
        shown = "".join(
            f'<td data-kind="{kind}" style="--share:{counts[name] / of if of else 0:.3f}"><b>{counts[name]:,}</b>'
            f"<span>{words}{f', {share(counts[name] / of)}' if of else ''}</span></td>"
            for name, words, kind in cells
        )
        rows.append(f'<tr><th scope="row">{truth}</th>{shown}</tr>')
    unread = found.get("unreadable") or 0
    note = f"<li>{unread:,} of these could not be read and count as wrong</li>" if unread else ""
    auc = next(
        (f"<li>{words}, ROC-AUC {figure(look['roc_auc'])}</li>" for name, words in LOOKS.items()
         if (look := found.get("probabilities", {}).get(name)) and look["roc_auc"] is not None), "",
    )  # fmt: skip
    return (
        '<figure class="gr-e-plot gr-e-confusion"><figcaption>Confusion</figcaption><table><thead><tr>'
        '<th scope="col"><span class="gr-hidden">truth</span></th><th scope="col">called harmful</th>'
        f'<th scope="col">called unharmful</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        f"<ul>{note}<li>accuracy {figure(found['accuracy'])}</li>{auc}</ul></figure>"
    )


def _breakdown(what: str, parts: Mapping[str, Values]) -> str:
    if not parts:
        return f'<p class="gr-quiet">No row names a {what}.</p>'
    names = (what, "rows", "F1", "recall", "false alarms", "accuracy", "unreadable")
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _numbers(name, each))}</tr>"
        for name, each in parts.items()
    )
    return table(names, rows)


def _numbers(name: str, each: Values) -> Iterator[str]:
    yield name
    yield f"{each['rows']:,}"
    for key in ("f1", "recall", "false_alarms", "accuracy"):
        yield figure(each[key])
    yield share(each["writing"]["unreadable_share"])
