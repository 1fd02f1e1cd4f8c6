"""The curves of one run, or of two laid over each other, as small multiples: values to inline SVG and nothing else.

Every plot is there from the start and keeps its size, so nothing moves while a run goes on. Two runs differ by their
stroke as well as by their colour, and the latest value of each stands above in figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.markup.text import escape

MOST_POINTS = 240
"""Points that a curve is drawn with; of longer series every so many are averaged."""

Scale = Literal["free", "share", "from zero"]
Row = Mapping[str, Any]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One plot: which value of the metrics, and how it is shown."""

    title: str
    keys: tuple[str, ...]
    """Names of the value in `metrics.jsonl`; the first that a run has is taken."""
    scale: Scale
    form: str
    """loss, rate, share, count, bytes or range."""
    best: bool = False
    """Whether the highest value is named beside the latest."""
    above: tuple[str, ...] = ()
    """Of a range: how far it goes above 1, where `keys` say how far below."""


@dataclass(frozen=True, slots=True)
class PlotGroup:
    """Plots under one heading; an empty one is not written."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """The metrics of one run, with its name."""

    name: str
    rows: Sequence[Row]
    steps: float | None = None
    """How many steps the run will have, where that is known."""


SERIES = (
    Series("Loss", ("loss",), "free", "loss"),
    Series("Learning rate", ("learning_rate",), "from zero", "rate"),
    Series("Validation F1", ("validation_f1", "eval_f1"), "share", "share", best=True),
    Series("Tokens per second", ("tokens_per_s",), "from zero", "count"),
    Series("Memory", ("memory_bytes", "device_memory_bytes"), "from zero", "bytes"),
)
"""Of a supervised training."""
TERMS = {
    "accuracy": "Accuracy term", "exploration": "Exploration term", "conciseness": "Conciseness term",
    "length": "Length term", "readable": "Readable term",
}  # fmt: skip


def grpo_groups(terms: Sequence[str], *, kl: bool) -> tuple[PlotGroup, ...]:
    """Of a training by reinforcement: first what it is for, then what it is paid for, then how it goes.

    Args:
        terms: of the reward, by name.
        kl: whether the KL to the base is measured.
    """
    shares = (
        ("Accuracy", "accuracy"), ("Groups all right", "all_right_share"), ("Groups all wrong", "all_wrong_share"),
        ("Unreadable", "unreadable_share"),
    )  # fmt: skip
    rewards = [("Reward, all terms", "reward")]
    rewards += [(TERMS.get(term, f"{term.capitalize()} term"), f"term_{term}") for term in terms]
    policy = [
        Series("Entropy", ("entropy",), "from zero", "loss"),
        Series("Clip range of the ratio", ("clip_low",), "free", "range", above=("clip_high",)),
        Series("Clipped share", ("clipped_share",), "from zero", "share"),
    ]
    if kl:
        policy.append(Series("KL to the base", ("kl",), "from zero", "loss"))
    return (
        PlotGroup("Accuracy", tuple(Series(title, (key,), "share", "share") for title, key in shares)),
        PlotGroup("Reward by term", tuple(Series(title, (key,), "free", "loss") for title, key in rewards)),
        PlotGroup(
            "Completions",
            (
                Series("Tokens, mean", ("completion_tokens",), "from zero", "count"),
                Series("Cut off", ("truncated_share",), "share", "share"),
                Series("Completions per second", ("completions_per_s",), "from zero", "count"),
            ),
        ),
        PlotGroup("Policy", tuple(policy)),
        PlotGroup(
            "Optimiser and machine",
            (
                SERIES[0],
                SERIES[1],
                Series("Gradient norm", ("gradient_norm",), "from zero", "loss"),
                SERIES[-1],
            ),
        ),
    )


def plots(runs: Sequence[Curves], groups: Sequence[PlotGroup] = (PlotGroup("", SERIES),)) -> str:
    """All plots of one run, or of two (the second one dashed)."""
    last = max([0.0, *(run.steps or 0.0 for run in runs), *(_step(row) or 0.0 for run in runs for row in run.rows)])
    drawn = "".join(_group(each, runs, last) for each in groups)
    legend = ""
    if len(runs) > 1:
        legend = "".join(
            f'<li><i data-run="{at}" aria-hidden="true"></i>{escape(run.name)}</li>' for at, run in enumerate(runs)
        )
        legend = f'<ul class="gr-t-legend">{legend}</ul>'
    grouped = str(len(groups) > 1).lower()
    return f'<section class="gr-t-plots" data-grouped="{grouped}" aria-label="Curves">{legend}{drawn}</section>'


def _group(group: PlotGroup, runs: Sequence[Curves], last: float) -> str:
    title = f"<h3>{escape(group.title)}</h3>" if group.title else ""
    return f'{title}<div class="gr-t-multiples">{"".join(_plot(each, runs, last) for each in group.series)}</div>'


def points(rows: Sequence[Row], keys: Sequence[str]) -> list[Point]:
    """Step and value of one series; rows without a step or with a value that is no number are left out."""
    key = next((key for key in keys if any(_number(row.get(key)) is not None for row in rows)), None)
    if key is None:
        return []
    found: dict[float, float] = {}
    for row in rows:
        step, value = _step(row), _number(row.get(key))
        if step is not None and value is not None:
            found[step] = value
    return sorted(found.items())


def lines_of(series: Series, rows: Sequence[Row]) -> list[list[Point]]:
    """The curves of one plot of one run: one, or the two edges of a range."""
    found = points(rows, series.keys)
    if not series.above:
        return [found]
    return [
        [(step, 1.0 - value) for step, value in found],
        [(step, 1.0 + value) for step, value in points(rows, series.above)],
    ]


def thinned(found: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many points: the mean of each stretch, its last step, so that what is drawn ends where the run is."""
    if len(found) <= most:
        return list(found)
    edges = [round(at * len(found) / most) for at in range(most + 1)]
    parts = [found[start:end] for start, end in itertools.pairwise(edges) if end > start]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def figure(value: float | None, form: str) -> str:
    """A value in the words of its plot; a dash where there is none."""
    if value is None:
        return "–"
    if form in ("share", "range"):
        return f"{value:.3f}"
    if form == "rate":
        return f"{value:.1e}".replace("e-0", "e-").replace("e+00", "") if value else "0"
    if form == "count":
        return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    if form == "bytes":
        return memory(value)
    # adding nothing takes the sign off a zero
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def memory(count: float) -> str:
    """Bytes in the unit that fits."""
    if not count:
        return "0"
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size or unit == "GB" else f"{count / size:.0f} {unit}"
    return f"{count / 1e3:.0f} kB"


def bounds(values: Sequence[float], scale: Scale) -> tuple[float, float]:
    """The lower and upper edge of a plot: a little room around the values, and never an empty range."""
    if scale == "share":
        return 0.0, 1.0
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if scale == "from zero":
        low = min(0.0, low)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    below = low if scale == "from zero" else low - room
    return (max(0.0, below) if low >= 0 else below), high + room


def _plot(series: Series, runs: Sequence[Curves], last: float) -> str:
    curves = [lines_of(series, run.rows) for run in runs]
    drawn = [[thinned(line) for line in lines] for lines in curves]
    low, high = bounds([value for lines in drawn for line in lines for _, value in line], series.scale)
    paths = "".join(_path(line, at, last, low, high) for at, lines in enumerate(drawn) for line in lines)
    heads = "".join(f'<b data-run="{at}">{_latest(lines, series)}</b>' for at, lines in enumerate(curves))
    known = any(line for lines in curves for line in lines)
    edges = (figure(high, series.form), figure(low, series.form)) if known else ("", "")
    best = ""
    if series.best and any(len(lines[0]) > 1 for lines in curves):
        best = " · ".join(figure(max((v for _, v in lines[0]), default=None), series.form) for lines in curves)
        best = f'<em class="gr-t-best">best {best}</em>'
    return (
        f'<figure class="gr-t-plot" data-known="{str(known).lower()}"><figcaption>'
        f"<span>{escape(series.title)}{best}</span>{heads}</figcaption>"
        f'<div class="gr-t-axes"><span>{edges[0]}</span><span>{edges[1]}</span>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(_said(series, runs, curves))}">{paths}</svg></div>'
        f'<div class="gr-t-ticks"><span>0</span><span>{f"{last:,.0f} steps" if last else "steps"}</span></div></figure>'
    )


def _path(curve: Sequence[Point], at: int, last: float, low: float, high: float) -> str:
    if not curve:
        return ""
    places = [(100 * step / (last or 1.0), 100 * (high - value) / (high - low)) for step, value in curve]
    line = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in places)
    # Marks are strokes of no length with round ends: they stay round where the drawing is stretched.
    marked = places if len(places) <= 12 else places[-1:]
    marks = "".join(f"M{x:.2f} {y:.2f}h0" for x, y in marked)
    return f'<path data-run="{at}" d="{line}"/><path data-run="{at}" class="mark" d="{marks}"/>'


def _latest(lines: Sequence[Sequence[Point]], series: Series) -> str:
    """The last value, or the last edges of a range."""
    if not all(lines):
        return figure(None, series.form)
    if len(lines) == 2:  # so that those of two runs stand on one line
        return "–".join(f"{line[-1][1]:.2f}" for line in lines)
    return figure(lines[0][-1][1], series.form)


def _said(series: Series, runs: Sequence[Curves], curves: Sequence[Sequence[Sequence[Point]]]) -> str:
    parts = []
    for run, lines in zip(runs, curves, strict=True):
        if not lines[0]:
            parts.append(f"{run.name}: no values yet")
            continue
        values = [value for line in lines for _, value in line]
        low, high = (figure(each, series.form) for each in (min(values), max(values)))
        parts.append(f"{run.name}: {_latest(lines, series)} at step {lines[0][-1][0]:,.0f}, between {low} and {high}")
    return f"{series.title}. {'; '.join(parts)}"


def _step(row: Row) -> float | None:
    return _number(row.get("step"))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
