"""Values to HTML, and nothing else: every piece of text that a person or a model wrote is escaped here.

The card keeps its skeleton from the empty state to the verdict, so that nothing moves while text streams: Gradio
changes only the nodes that differ.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Literal

from app.moderate.progress import Progress
from core.prompt.protocol import split_steps
from core.serving.live import READY, GuardStatus, LoadProgress
from core.types import Decision, FinishReason, Label, Thresholds, Verdict

DECISION_WORDS = {Decision.ALLOW: "Allow", Decision.REVIEW: "Review", Decision.BLOCK: "Block"}
NOTHING = "–"

_SIGNS = {
    Decision.ALLOW: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M7.2 12.6l3.2 3.2 6.4-7.2"/>',
    Decision.REVIEW: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M9.2 9.3a2.9 2.9 0 1 1 4.3 2.6'
    'c-1 .6-1.5 1.1-1.5 2.2"/><circle class="dot" cx="12" cy="17.3" r="1.2"/>',
    Decision.BLOCK: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M6.8 12h10.4"/>',
}
_PLAIN_SIGN = '<circle cx="12" cy="12" r="10"/>'
_FAILED_SIGN = '<circle cx="12" cy="12" r="10"/><path class="line" d="M12 7v6.2M12 16.4v.4"/>'


def escape(text: object) -> str:
    """Text as HTML text or as an attribute's value; what cannot be sent (half of a surrogate pair) becomes `?`."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"), quote=True)


def probability(p_harmful: float | None) -> str:
    """Two decimals, never rounded up to a certainty that was not there."""
    if p_harmful is None:
        return NOTHING
    if 0.0 < p_harmful < 0.01:
        return "<0.01"
    if 0.99 < p_harmful < 1.0:
        return ">0.99"
    return f"{p_harmful:.2f}"


def clock(seconds: float, *, tenths: bool = False) -> str:
    """0:07, 12:30, 1:02:03; with tenths 0:07.5, for clips so short that two marks would else look alike."""
    ticks = round(seconds * 10) if tenths else 10 * int(seconds + 0.5)
    whole = ticks // 10
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    shown = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{shown}.{ticks % 10}" if tenths else shown


def duration(seconds: float | None) -> str:
    """12 ms, 0.94 s, 14.2 s."""
    if seconds is None:
        return NOTHING
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


# -- the card ---------------------------------------------------------------------------------------------------


def card(progress: Progress, status: GuardStatus) -> str:
    """The verdict card at one moment."""
    verdict = progress.verdict
    decision = verdict.decision if verdict else None
    busy = progress.phase in ("waiting", "reading", "deliberating")
    return (
        f'<article class="gr-card" data-phase="{progress.phase}" data-decision="{decision or "none"}" '
        f'aria-busy="{"true" if busy else "false"}" aria-label="Verdict">'
        f"{_head(progress, status)}{_sides(progress, status)}{_figures(progress, status)}"
        f"{_reasoning(progress)}{_notes(progress)}</article>"
    )


def _head(progress: Progress, status: GuardStatus) -> str:
    verdict = progress.verdict
    sign = _SIGNS[verdict.decision] if verdict else _FAILED_SIGN if progress.phase == "failed" else _PLAIN_SIGN
    word, sentence = headline(progress, status)
    return (
        '<header class="gr-head"><span class="gr-sign" aria-hidden="true">'
        f'<svg viewBox="0 0 24 24" focusable="false">{sign}</svg></span>'
        f'<div class="gr-said" role="status" aria-live="polite"><p class="gr-word">{escape(word)}</p>'
        f'<p class="gr-sentence">{escape(sentence)}</p></div></header>'
    )


def headline(progress: Progress, status: GuardStatus) -> tuple[str, str]:
    """The large word of the card and the sentence beneath it."""
    match progress.phase:
        case "empty":
            if status.state == "paused":
                return "Paused", status.message
            if status.state == "failed":
                return "No guard", f"{status.message} Another one can be loaded under Checkpoint."
            later = "" if status.state == "ready" else " The guard is still loading; you can write already."
            return "Nothing judged yet", f"Write a request or drop an image or a video, then press Moderate.{later}"
        case "waiting":
            if progress.loading:
                return "Waiting", f"The guard is loading ({status.message}). Your request starts by itself."
            people = "person" if progress.place == 1 else "people"
            return "Waiting", f"{progress.place} {people} before you."
        case "reading":
            return "Reading", f"The guard reads the {progress.modality.value}."
        case "deliberating":
            return "Deliberating", "The first look is in; the reasoning follows."
        case "failed":
            return "Not judged", progress.error
        case "done":
            assert progress.verdict is not None
            return DECISION_WORDS[progress.verdict.decision], why(progress.verdict)


def why(verdict: Verdict) -> str:
    """One sentence for a decision."""
    if verdict.error:
        return f"{verdict.error} A person should look at it."
    at, decision = verdict.thresholds, verdict.decision
    known: list[tuple[float, str]] = []
    for name in ("request", "response"):
        label = getattr(verdict.assessment, name) if verdict.assessment else None
        looks = verdict.first_look if label is Label.UNLABELLED else verdict.deliberated
        p_harmful = getattr(looks, name)
        if p_harmful is not None:
            known.append((p_harmful, name))
    worst, name = max(known, default=(None, ""))
    if worst is None:
        return "Decided by the labels alone; this engine gives no probabilities."
    if decision is Decision.BLOCK and worst >= at.block:
        return f"The {name} reaches {probability(worst)}, at or above the block threshold of {at.block:.2f}."
    if decision is Decision.REVIEW and at.review <= worst < at.block:
        return (
            f"The {name} reaches {probability(worst)}, between review at {at.review:.2f} and block at {at.block:.2f}."
        )
    if decision is Decision.ALLOW and worst < at.review:
        return f"At most {probability(worst)}, below the review threshold of {at.review:.2f}."
    return "There is a reason beyond the probabilities; see the notes below."


def _sides(progress: Progress, status: GuardStatus) -> str:
    verdict = progress.verdict
    look = verdict.first_look if verdict else progress.first_look
    raw = status.info is not None and not status.info.first_look_calibrated
    hint = ' title="This checkpoint was not trained for a first look: the number is a raw reading."' if raw else ""
    rows = []
    for name in ("request", "response"):
        absent = name == "response" and not progress.has_response
        first = getattr(look, name) if look else None
        deliberated = getattr(verdict.deliberated, name) if verdict else None
        label = getattr(verdict.assessment, name) if verdict and verdict.assessment else None
        rows.append(
            f'<tr data-side="{name}" data-absent="{str(absent).lower()}">'
            f'<th scope="row">{name.capitalize()}</th>'
            f"<td>{_label(label, absent)}</td>"
            f'<td class="gr-look">{_bar(first, progress.thresholds, f"First look at the {name}")}</td>'
            f'<td class="gr-look">{_bar(deliberated, progress.thresholds, f"Deliberated, {name}")}</td></tr>'
        )
    return (
        '<table class="gr-sides"><caption class="gr-hidden">Labels and probabilities of harm</caption><thead><tr>'
        '<th scope="col"><span class="gr-hidden">Side</span></th><th scope="col">Label</th>'
        f'<th scope="col"{hint}>First look{" (raw)" if raw else ""}</th><th scope="col">Deliberated</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def side_rows(verdict: Verdict, *, has_response: bool) -> str:
    """The table of a verdict alone: label, first look and deliberated probability of each side."""
    rows = []
    for name in ("request", "response")[: 1 + has_response]:
        label = getattr(verdict.assessment, name) if verdict.assessment else None
        first, deliberated = getattr(verdict.first_look, name), getattr(verdict.deliberated, name)
        rows.append(
            f'<tr data-side="{name}"><th scope="row">{name.capitalize()}</th><td>{_label(label, absent=False)}</td>'
            f'<td class="gr-look">{_bar(first, verdict.thresholds, f"First look at the {name}")}</td>'
            f'<td class="gr-look">{_bar(deliberated, verdict.thresholds, f"Deliberated, {name}")}</td></tr>'
        )
    return (
        '<table class="gr-sides"><caption class="gr-hidden">The model\'s labels and probabilities of harm</caption>'
        '<thead><tr><th scope="col"><span class="gr-hidden">Side</span></th><th scope="col">Label</th>'
        '<th scope="col">First look</th><th scope="col">Deliberated</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _label(label: Label | None, absent: bool) -> str:
    if absent:
        return '<span class="gr-label" data-label="absent">none given</span>'
    known = label in (Label.HARMFUL, Label.UNHARMFUL)
    word = label.value if label is not None and known else NOTHING
    return f'<span class="gr-label" data-label="{word if known else "unknown"}">{word}</span>'


def _bar(p_harmful: float | None, thresholds: Thresholds, name: str) -> str:
    share = 0.0 if p_harmful is None else p_harmful
    zone = "none" if p_harmful is None else thresholds.decide(p_harmful).value
    said = "not known yet" if p_harmful is None else f"{probability(p_harmful)} harmful"
    return (
        f'<span class="gr-bar" data-zone="{zone}" role="img" aria-label="{escape(f"{name}: {said}")}" '
        f'style="--p:{share:.4f};--review:{thresholds.review:.3f};--block:{thresholds.block:.3f}"><i></i><b></b><b></b></span>'
        f'<span class="gr-p">{escape(probability(p_harmful))}</span>'
    )


def _figures(progress: Progress, status: GuardStatus) -> str:
    verdict = progress.verdict
    done = verdict.generation if verdict else None
    tokens = done.token_count if done else progress.tokens
    info = status.info
    checkpoint = verdict.checkpoint_id if verdict else (info.id if info else NOTHING)
    pairs = [
        ("tokens", f"{tokens}" if tokens else NOTHING),
        ("first token", duration(done.ttft_s if done else None)),
        ("total", duration(done.latency_s if done else None)),
        ("ended", _ended(done.finish_reason) if done else NOTHING),
        ("checkpoint", checkpoint),
    ]
    items = "".join(f'<div data-figure="{name}"><dt>{name}</dt><dd>{escape(value)}</dd></div>' for name, value in pairs)
    return f'<dl class="gr-figures">{items}</dl>'


def _ended(reason: FinishReason) -> str:
    words = {FinishReason.STOP: "by itself", FinishReason.LENGTH: "cut off", FinishReason.CANCELLED: "stopped"}
    return words[reason]


def _reasoning(progress: Progress) -> str:
    verdict = progress.verdict
    said = verdict.assessment.reasoning if verdict and verdict.assessment else None
    steps = said or split_steps(progress.reasoning)
    items = "".join(f"<li>{escape(step)}</li>" for step in steps)
    waiting = "" if steps else f'<p class="gr-quiet">{_no_steps(progress)}</p>'
    return f'<section class="gr-reasoning"><h3>Reasoning</h3><ol>{items}</ol>{waiting}</section>'


def _no_steps(progress: Progress) -> str:
    match progress.phase:
        case "waiting" | "reading" | "deliberating":
            return "The steps appear here as they are written."
        case "done":
            return "The guard wrote no reasoning."
        case "failed":
            return "There is no reasoning."
        case _:
            return "The guard's steps will appear here as it writes them."


def _notes(progress: Progress) -> str:
    warnings: Sequence[str] = progress.verdict.warnings if progress.verdict else ()
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<section class="gr-notes"><h3>Notes</h3><ul>{items}</ul></section>'


def copy_button(verdict: Verdict | None) -> str:
    """A button that puts the verdict's public JSON on the clipboard (assets/guardroom.js reads the attribute)."""
    if verdict is None:
        return '<button type="button" class="gr-copy" disabled>Copy as JSON</button>'
    text = json.dumps(verdict.to_json(), indent=2, ensure_ascii=False)
    return f'<button type="button" class="gr-copy" data-copy="{escape(text)}">Copy as JSON</button>'


# -- the header -------------------------------------------------------------------------------------------------

BRAND = (
    '<div class="gr-brand"><svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
    '<path d="M12 2.2l8 3v6.1c0 5-3.3 8.6-8 10.5-4.7-1.9-8-5.5-8-10.5V5.2z"/>'
    '<path class="mark" d="M8 12.2l2.8 2.8L16 9.4"/>'
    "</svg><h1>Guardroom</h1></div>"
)

THEME_TOGGLE = (
    '<button type="button" class="gr-theme" data-theme-toggle aria-label="Switch between light and dark">'
    '<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><circle cx="12" cy="12" r="8.5"/>'
    '<path class="half" d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button>'
)


def status_line(status: GuardStatus) -> str:
    """Which checkpoint is live, in what state, and where it runs."""
    info = status.info
    parts = [info.id if info else "guard", status.state]
    if status.state == "ready":
        parts += [part for part in (status.device, status.dtype) if part]
    detail = "" if status.message == READY else f'<span class="gr-detail">{escape(status.message)}</span>'
    words = "".join(f"<span>{escape(part)}</span>" for part in parts)
    return (
        f'<div class="gr-status" data-state="{status.state}" role="status"><i aria-hidden="true"></i>'
        f'<span class="gr-parts">{words}</span>{detail}</div>'
    )


def load_progress(progress: LoadProgress) -> str:
    """A bar and a sentence."""
    percent = round(100 * min(max(progress.fraction, 0.0), 1.0))
    return (
        f'<div class="gr-load" role="progressbar" aria-label="Loading" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><span style="width:{percent}%"></span></div>'
        f'<p class="gr-message">{escape(progress.message)}</p>'
    )


def message(text: str, kind: Literal["plain", "good", "bad"] = "plain") -> str:
    """One sentence to a person."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="gr-message" data-kind="{kind}" role="{role}">{escape(text)}</p>' if text else ""
