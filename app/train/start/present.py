"""A new run as HTML: pure functions of values; every text of a file or a person is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.markup.tables import table
from app.markup.text import escape, message
from app.train.plots import figure
from app.train.start.counts import Facet, SnapshotCounts
from app.train.start.leakage import LeakReport
from core.snapshots.folder import USED, Split
from train_jobs.training.validation import LEAST_SIDES

if TYPE_CHECKING:
    from train_jobs.recipes.files import Recipe
    from train_jobs.training.estimate import Estimate

NO_SNAPSHOT = (
    '<div class="gr-r-empty gr-t-empty"><h2>No snapshot yet</h2><p>A training learns from a snapshot: labelled '
    "samples, frozen and split. Label some samples under Review, then freeze one under Review → Data, "
    "or here.</p></div>"
)


# -- data ---------------------------------------------------------------------------------------------------------


def counts(found: SnapshotCounts) -> str:
    """What a snapshot holds, by split."""
    rows = "".join(
        f'<tr class="gr-t-facet"><th scope="rowgroup" colspan="{len(USED) + 2}">{name.capitalize()}</th></tr>'
        f"{_facet(facet)}"
        for name, facet in found.facets.items()
        if facet
    )
    every = [found.rows.get(split, 0) for split in USED]
    cells = "".join(f"<td>{each:,}</td>" for each in (*every, sum(every)))
    head = "".join(f'<th scope="col">{each}</th>' for each in ("", *USED, "all"))
    return (
        '<div class="gr-d-table gr-t-counts" tabindex="0" role="region" aria-label="What the snapshot holds"><table>'
        f'<thead><tr>{head}</tr></thead><tbody><tr><th scope="row">samples</th>{cells}</tr>{rows}</tbody></table></div>'
        f"{_advice(found)}"
    )


def _facet(facet: Facet) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(value)}</th>'
        + "".join(f"<td>{number:,}</td>" for number in (*(by[s] for s in USED), sum(by.values())))
        + "</tr>"
        for value, by in facet.items()
    )


def _advice(found: SnapshotCounts) -> str:
    """What a person should know before training on it."""
    said = []
    if not found.rows.get(Split.TRAIN, 0):
        said.append("Its training split is empty, so nothing can be learned from it; label more samples.")
    elif not found.rows.get(Split.VALIDATION, 0):
        said.append("Its validation split is empty, so the last checkpoint is kept and not the best.")
    elif (sides := found.labelled_sides(Split.VALIDATION)) < LEAST_SIDES:
        said.append(
            f"Its validation split has {sides:,} labelled sides; below {LEAST_SIDES} their F1 is noise, so the last "
            "checkpoint is kept and not the best."
        )
    if missing := found.without_reasoning:
        has, them = ("has", "it") if missing == 1 else ("have", "them")
        said.append(
            f"{missing:,} training {_samples(missing)} {has} no reasoning; for an SFT recipe its teacher may write "
            f"some for {them}, else only the first look is trained."
        )
    return "".join(f'<p class="gr-message">{each}</p>' for each in said)


def leaks(report: LeakReport, shown: int = 50) -> str:
    """What the check against an evaluation file has found."""
    compared = f"{report.rows:,} rows of {report.file} against {report.train:,} training samples"
    if not report.leaks:
        return (
            f'<p class="gr-message" data-kind="good" role="status">No leak: compared {escape(compared)}, word for word '
            "and nearly so.</p>"
        )
    near = len(report.leaks) - report.exact
    rows = "".join(
        f"<tr><td>{escape(each.row)}</td><td>{escape(each.sample[:15])}…</td><td>{each.how}</td>"
        f"<td>{figure(each.similarity, 'share')}</td></tr>"
        for each in report.leaks[:shown]
    )
    more = f'<p class="gr-quiet">The first {shown:,} are shown.</p>' if len(report.leaks) > shown else ""
    return (
        f'<p class="gr-message" data-kind="bad" role="alert">{len(report.leaks):,} {_rows(len(report.leaks))} of the '
        f"evaluation file {'is' if len(report.leaks) == 1 else 'are'} in the training split: {report.exact:,} the "
        f"same, {near:,} nearly. Figures on that file would flatter this training. Compared: {escape(compared)}.</p>"
        f"{table(('row of the file', 'sample', 'how', 'similarity'), rows)}{more}"
    )


# -- recipe, estimate, command ------------------------------------------------------------------------------------


def recipe(chosen: Recipe[Any], problems: Sequence[str] = ()) -> str:
    """What a recipe is for, and what differs from the paper."""
    wrong = "".join(f'<p class="gr-message" data-kind="bad">{escape(each)}</p>' for each in problems)
    own = " It is your own file." if chosen.own else ""
    return (
        f'<div class="gr-t-recipe"><p>For {escape(chosen.bases)}.{own}</p>'
        f'<p class="gr-quiet">{escape(chosen.differs)}</p></div>{wrong}'
    )


def changed(chosen: Recipe[Any], settings: Mapping[str, Any]) -> str:
    """Which values are not the recipe's, in words."""
    different = list(_different(chosen.settings.model_dump(mode="json"), settings))
    if not different:
        return "All values are the recipe's."
    return f"Changed from the recipe: {', '.join(different)}."


def _different(usual: Mapping[str, Any], settings: Mapping[str, Any], within: str = "") -> Iterator[str]:
    for name, value in settings.items():
        before = usual[name]
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            yield from _different(before, value, f"{within}{name}.")
        elif value != before:
            yield f"{within}{name} {_value(before)} → {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "own"
    if isinstance(value, str) and (not value or value.isspace()):
        return repr(value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def estimate(found: Estimate | None, why: str = "") -> str:
    """Memory against what is free, steps and time; or why nothing is known of them."""
    if found is None:
        return message(why)
    items = "".join(f"<li>{escape(each)}</li>" for each in found.words)
    fits = {None: "unknown", True: "yes", False: "no"}[found.fits]
    meter = ""
    if found.free:
        share = min(1.0, found.memory.total / found.free)
        meter = (
            f'<div class="gr-t-meter" role="img" aria-label="{100 * share:.0f}% of the free memory">'
            f'<span style="width:{100 * share:.1f}%"></span></div>'
        )
    return f'<div class="gr-t-estimate" data-fits="{fits}"><h3>Estimate</h3>{meter}<ul>{items}</ul></div>'


def command(text: str) -> str:
    """A shell command with a button that copies it."""
    return (
        '<div class="gr-t-command"><div><span>The same from a terminal</span>'
        f'<button type="button" class="gr-copy" data-copy="{escape(text)}">Copy</button></div>'
        f'<pre tabindex="0">{escape(text)}</pre></div>'
    )


def _samples(count: int) -> str:
    return "sample" if count == 1 else "samples"


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
