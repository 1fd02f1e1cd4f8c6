"""A sample with its whole trail as HTML: a pure function of values; every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from annotation_store.values.reasons import KIND_NAMES
from annotation_store.values.review import (
    EventKind,
    Evidence,
    EvidencePart,
    FoundPage,
    LabelRecord,
    Reasoning,
    Trail,
)
from app.markup.media import Address, veiled
from app.markup.numbers import probability
from app.markup.text import escape, excerpt, letters
from app.markup.verdicts import label_words, side_rows
from app.review.form import steps_of
from app.review.present import changes, stretch
from core.types import Label, MediaRef, Verdict

if TYPE_CHECKING:
    from app.review.lineage import JobUse

DONE = {
    EventKind.DECIDE: "decided", EventKind.SKIP: "skipped", EventKind.SECOND_OPINION: "asked for a second opinion",
    EventKind.UNDO: "took back", EventKind.REOPEN: "opened again",
}  # fmt: skip


def found(page: FoundPage) -> str:
    """What a search found; each opens its page."""
    if not page.found:
        return '<p class="gr-quiet">No sample has all of these words.</p>'
    more = (
        f'<p class="gr-quiet" role="status">The first {len(page.found)}, newest first; there are more. Narrow the '
        "words to see the others.</p>"
    )
    return (more if page.more else "") + _list(page)


def newest(page: FoundPage) -> str:
    """The newest samples, for who has not searched yet."""
    if not page.found:
        return (
            '<section class="gr-r-empty" role="status"><h2>No sample is stored yet</h2><p>Moderate something, or bring '
            "a file in under <b>Data</b>. Every sample then has a page here, with its verdicts, labels, snapshots and "
            "jobs.</p></section>"
        )
    more = f"The {len(page.found)} newest; search for the others." if page.more else "All stored samples."
    return f'<p class="gr-quiet">{more} Each opens its page.</p>{_list(page)}'


def _list(page: FoundPage) -> str:
    rows = []
    for each in page.found:
        marked = escape(each.excerpt or "(no words)").replace("\x02", "<mark>").replace("\x03", "</mark>")
        label = label_words(each.label) if each.label else '<span class="gr-quiet">no label</span>'
        rows.append(
            f'<li><button type="button" class="gr-r-like" data-r-page="{escape(each.sample_id)}">{marked}</button>'
            f"<div>{label} <span class='gr-quiet'>{each.modality.value}</span></div></li>"
        )
    return f'<ul class="gr-s-found">{"".join(rows)}</ul>'


def page(trail: Trail, address: Address, jobs: Sequence[JobUse] = ()) -> str:
    """Everything that the store knows of the sample, in the order of time within each part.

    Args:
        address: where the page finds the media, which stay hidden until asked for.
        jobs: those that used a snapshot which holds it.
    """
    sample = trail.sample
    response = "" if sample.response is None else _text("Response", sample.response)
    state = {"open": "in the queue", "decided": "decided"}.get(trail.state or "", "never in the queue")
    split = f" · {escape(trail.split)}" if trail.split else ""
    return (
        f'<article class="gr-s-page" data-sample="{escape(trail.sample_id)}"><h2>Sample '
        f"<code>{escape(trail.sample_id)}</code> "
        f'<a href="#sample={escape(trail.sample_id)}" title="To keep or to send on">link to this page</a></h2>'
        f'<p class="gr-quiet">{sample.modality.value} · stored {_time(trail.created_at)} · {state}{split}</p>'
        f"{_text('Request', sample.request)}{response}"
        + _raw("Media", [_medium(ref, address(ref)) for ref in sample.media])
        + _part("Why it was in the queue", [f"{KIND_NAMES[r.kind]}: {r.words}" for r in trail.reasons])
        + _raw("Verdicts", [_verdict(each) for each in trail.verdicts])
        + _part("Reports", [f"{_when(r.created_at)} {r.reporter}: {r.note or '(no note)'}" for r in trail.reports])
        + _raw("Labels and corrections", [_label(each) for each in trail.labels])
        + _part(
            "What people did",
            [
                f"{_when(e.created_at)} {e.reviewer} {DONE[e.kind]}{': ' + e.note if e.note else ''}"
                f"{' (taken back)' if e.undone else ''}"
                for e in trail.events
            ],
        )
        + _part("Snapshots", [f"{s.name} · {s.digest} · {s.split} · {_when(s.created_at)}" for s in trail.snapshots])
        + _raw("Jobs that used it", [_job(each) for each in jobs])
        + _part("Imports", [f"{i.source} · {i.file_name}, row {i.row} · {_when(i.started_at)}" for i in trail.imports])
        + "</article>"
    )


def _job(job: JobUse) -> str:
    made = "".join(f" → checkpoint <b>{escape(each)}</b>" for each in job.checkpoints)
    return (
        f'<span data-run="{escape(job.run)}">{escape(job.name)}</span> · {job.kind}, {escape(job.state)} · the sample '
        f"is in its {escape(job.split)} split · <code>{escape(job.run)}</code>{made}"
    )


def _medium(ref: MediaRef, url: str) -> str:
    return f'<span class="gr-quiet">sha256 {escape(ref.digest)}</span>{veiled(ref, url)}'


def _text(title: str, text: str) -> str:
    return f'<h3>{title}</h3><div class="gr-r-text" dir="auto">{letters(text) or "–"}</div>'


def _part(title: str, lines: list[str]) -> str:
    return _raw(title, [escape(line) for line in lines])


def _raw(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return f"<h3>{title}</h3><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _verdict(verdict: Verdict) -> str:
    worst = probability(verdict.deliberated.worst)
    error = f'<p class="gr-r-error">{escape(verdict.error)}</p>' if verdict.error else ""
    return (
        f"<details><summary>{_time(verdict.created_at)} · {escape(verdict.checkpoint_id)} · "
        f"{verdict.decision.value} · {worst}</summary>"
        f"{side_rows(verdict, has_response=verdict.deliberated.response is not None)}{error}"
        f"{_steps(steps_of(verdict))}</details>"
    )


def _label(label: LabelRecord) -> str:
    said = label.draft
    sides = f"request {label_words(said.request)}"
    if said.response is not Label.ABSENT:
        sides += f", response {label_words(said.response)}"
    states = [
        word
        for word, holds in (
            ("counts now", label.settled), ("taken back", label.undone_at), ("superseded", label.superseded_by),
            ("audit", label.audited),
        )
        if holds
    ]  # fmt: skip
    by = label.reviewer or f"the file {label.source}"
    extra = [
        f"categories {', '.join(said.categories)}" if said.categories else "",
        f"confidence {said.confidence:g}" if said.confidence is not None else "",
        f"note: {said.note}" if said.note else "",
        f"first wrong step {said.reasoning.first_wrong_step}"
        if said.reasoning and said.reasoning.first_wrong_step
        else "",
        *(_evidence(each) for each in said.evidence),
    ]
    return (
        f"{_time(label.created_at)} · {escape(by)}: {sides}"
        f"{' · ' + escape(', '.join(states)) if states else ''}"
        f"{''.join('<br>' + escape(line) for line in extra if line)}{_reasoning(said.reasoning)}"
    )


def _evidence(evidence: Evidence) -> str:
    tied = f" (step {evidence.step})" if evidence.step else ""
    said = f": {excerpt(evidence.words, 70)}" if evidence.words and evidence.part is EvidencePart.MEDIA else ""
    return f"evidence{tied}: {stretch(evidence)}{said}"


def _reasoning(reasoning: Reasoning | None) -> str:
    """The corrected steps, the difference, and what the model had written."""
    if reasoning is None:
        return ""
    written = _steps(reasoning.steps)
    if not reasoning.original:
        return written
    if reasoning.original == reasoning.steps:
        return f'{written}<p class="gr-quiet">These are the model\'s own steps, unchanged.</p>'
    return (
        f"{written}{changes(reasoning.original, reasoning.steps)}"
        f"<details><summary>The model's own steps</summary>{_steps(reasoning.original)}</details>"
    )


def _steps(steps: Sequence[str]) -> str:
    return f"<ol>{''.join(f'<li>{escape(step)}</li>' for step in steps)}</ol>" if steps else ""


def _when(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _time(moment: str) -> str:
    return f"<time>{escape(_when(moment))}</time>"
