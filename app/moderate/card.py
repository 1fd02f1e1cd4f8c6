"""The verdict card as HTML: a pure function of values; every text is escaped.

The card keeps its skeleton from the empty state to the verdict, so that nothing moves while text streams: Gradio
changes only the nodes that differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from app.markup.numbers import NOTHING, duration, probability
from app.markup.text import escape
from app.markup.verdicts import side_row, sides_table
from app.moderate.progress import Progress
from core.prompt.protocol import split_steps
from core.serving.live import GuardStatus
from core.types import Decision, FinishReason, Label, Verdict

DECISION_WORDS = {Decision.ALLOW: "Allow", Decision.REVIEW: "Review", Decision.BLOCK: "Block"}

_SIGNS = {
    Decision.ALLOW: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M7.2 12.6l3.2 3.2 6.4-7.2"/>',
    Decision.REVIEW: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M9.2 9.3a2.9 2.9 0 1 1 4.3 2.6'
    'c-1 .6-1.5 1.1-1.5 2.2"/><circle class="dot" cx="12" cy="17.3" r="1.2"/>',
    Decision.BLOCK: '<circle cx="12" cy="12" r="10"/><path class="mark" d="M6.8 12h10.4"/>',
}
_PLAIN_SIGN = '<circle cx="12" cy="12" r="10"/>'
_FAILED_SIGN = '<circle cx="12" cy="12" r="10"/><path class="line" d="M12 7v6.2M12 16.4v.4"/>'


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
    rows = [
        side_row("request", verdict, look, progress.thresholds),
        side_row("response", verdict, look, progress.thresholds, absent=not progress.has_response),
    ]
    raw = status.info is not None and not status.info.first_look_calibrated
    return sides_table("Labels and probabilities of harm", rows, raw=raw)


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
