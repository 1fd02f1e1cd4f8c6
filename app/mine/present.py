"""Mining as HTML: pure functions of values; every text of a file or a person is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.markup.tables import progress_bar as bar
from app.markup.tables import table
from app.markup.text import escape
from core.mining.rules import KeepRule

if TYPE_CHECKING:
    from annotation_store.mining.values import Findings, MiningRun
    from annotation_store.reading.selecting import Selection
    from app.mine.work import MiningProgress, MiningReport

RULES = {
    KeepRule.OMNI_V1: "at least one is wrong (Omni v1)",
    KeepRule.VL: "all are wrong (VL)",
    KeepRule.OMNI_V2: "some are wrong, some right (Omni v2)",
    KeepRule.ENTROPY: "they disagree with each other",
}
"""When a labelled sample is kept, in words that end the sentence "keep when"."""

_LABELLED = {
    "yes": "labelled", "by_people": "labelled by people", "by_files": "labelled by files", "no": "not labelled",
}  # fmt: skip


def about() -> str:
    """What this page does."""
    return (
        '<p class="gr-quiet">The guard answers every sample several times, with chance in it. Where its answers are '
        "wrong by the label, or disagree where there is no label, a person should look: those samples go into the "
        "queue. Moderation comes first; mining uses the time between.</p>"
    )


def counted(total: int, labelled: int) -> str:
    """How many samples pass the filter."""
    if not total:
        return (
            '<p class="gr-message" role="status">No stored sample passes the filter. Moderate something, or choose '
            "“a file” above.</p>"
        )
    rest = total - labelled
    how = f"{labelled:,} with a label go by the rule, {rest:,} without one by the vote"
    if not rest:
        how = "all have a label and go by the rule"
    elif not labelled:
        how = "none has a label, so all go by the vote"
    return f'<p class="gr-message" role="status">{total:,} {_samples(total)}: {how}.</p>'


def progress(told: MiningProgress) -> str:
    """How far a run is."""
    run = told.run
    words = f"{run.done:,} of {run.total:,} {_samples(run.total)}"
    words += f", {run.kept:,} kept ({_share(run)})" if run.done else "; the first answers are being written"
    if told.samples_per_s > 0 and run.done < run.total:
        words += f", {_left((run.total - run.done) / told.samples_per_s)} left"
    return bar(run.done / max(run.total, 1), words)


def report(done: MiningReport) -> str:
    """What a run has come to."""
    run, found = done.run, done.findings
    word = "Mined" if run.state == "done" else "Stopped after"
    head = f"{word} {run.done:,} of {run.total:,} {_samples(run.total)}: {run.kept:,} kept ({_share(run)})."
    waiting = f" {_waiting(found)}" if run.kept else " Nothing is hard by this rule."
    if run.state != "done":
        waiting += " Resume goes on with the rest."
    said = f'<p class="gr-message" data-kind="good" role="status">{escape(head + waiting)}</p>'
    if not found.unjudged:
        return said
    why = "".join(f"<li>{count:,}: {escape(sentence)}</li>" for sentence, count in done.unjudged)
    return f'{said}<p class="gr-quiet">{found.unjudged:,} could not be judged.</p>{f"<ul>{why}</ul>" if why else ""}'


def _waiting(found: Findings) -> str:
    reasons = [
        (count, words)
        for count, words in (
            (found.against_label, "because generations disagree with the label"),
            (found.among_themselves, "because they disagree with each other"),
            (found.unreadable, "because none could be read"),
        )
        if count
    ]
    said = ""
    if found.waiting:
        said = f"{found.waiting:,} {'waits' if found.waiting == 1 else 'wait'} for review"
        if len(reasons) == 1:
            said += f", {reasons[0][1]}."
        else:
            said += f": {', '.join(f'{count:,} {words}' for count, words in reasons)}."
    if found.decided:
        word = "was" if found.decided == 1 else "were"
        said += f" {found.decided:,} {word} decided by a reviewer already; the sample's page shows the new reason."
    return said.strip()


def runs(known: Sequence[MiningRun], working: str | None) -> str:
    """Earlier runs, newest first. `working`: the run that is being worked on."""
    if not known:
        return (
            '<p class="gr-quiet">No run yet. Choose samples and a rule, then press Start. Begin with a few dozen: '
            "after the first answers the page says how long the rest takes, and a run can be stopped and resumed.</p>"
        )
    names = ("started (UTC)", "samples", "keep when", "drawn", "done", "kept", "state", "checkpoint")
    return table(names, "".join(_run(run, working) for run in known))


def _run(run: MiningRun, working: str | None) -> str:
    drawn = run.settings.sampling
    done = f"{run.done:,}" if run.done == run.total else f"{run.done:,} of {run.total:,}"
    cells = (
        run.started_at[:16].replace("T", " "),
        run.file_name or chosen(run.settings.selection),
        RULES[run.settings.rule],
        f"{drawn.n} at temperature {drawn.temperature:g}, top-p {drawn.top_p:g}",
        done,
        f"{run.kept:,} ({_share(run)})",
        state(run, working),
        run.checkpoint_id,
    )
    return f'<tr data-run="{escape(run.id)}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def state(run: MiningRun, working: str | None) -> str:
    """The state of a run in a word; one that nobody works on was interrupted."""
    if run.state == "running" and run.id != working:
        return "interrupted"
    return run.state.value


def named(run: MiningRun) -> str:
    """A run in a list to choose from."""
    what = run.file_name or chosen(run.settings.selection)
    return f"{run.started_at[:16].replace('T', ' ')} · {what} · {run.done:,} of {run.total:,}"


def chosen(selection: Selection) -> str:
    """A filter in words."""
    values = selection.to_json()
    words = [_LABELLED[values["labelled"]]] if "labelled" in values else []
    words += [str(values[name]) for name in ("modality", "source", "split") if name in values]
    words += [f"“{values['words']}”"] if "words" in values else []
    words += ["an import"] if "batch_id" in values else []
    return " · ".join(words) or "all stored samples"


def _share(run: MiningRun) -> str:
    return f"{100 * run.kept / run.done:.0f}%" if run.done else "–"


def _samples(count: int) -> str:
    return "sample" if count == 1 else "samples"


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
