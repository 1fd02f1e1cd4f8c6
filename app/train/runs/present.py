"""Runs as HTML: pure functions of values; every text of a file or a person is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.markup.numbers import moment
from app.markup.tables import bar, named, table
from app.markup.text import escape
from app.train.plots import figure
from train_jobs.runs.specs import TRAINING, JobKind, JobState, JobStatus

if TYPE_CHECKING:
    from app.train.runs.views import RunLine, RunView

STATE_WORDS = {
    JobState.QUEUED: "Waiting",
    JobState.RUNNING: "Running",
    JobState.SUCCEEDED: "Succeeded",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
KIND_WORDS = {
    JobKind.SFT: "training", JobKind.EVALUATE: "evaluation", JobKind.MINE: "mining", JobKind.GRPO: "RL training",
}  # fmt: skip
_SIGNS = {
    JobState.QUEUED: '<circle cx="12" cy="12" r="9.2"/><path class="mark" d="M12 7.2V12l3.2 2"/>',
    JobState.RUNNING: '<circle cx="12" cy="12" r="9.2"/><path class="full" d="M10 8.2l6 3.8-6 3.8z"/>',
    JobState.SUCCEEDED: '<circle cx="12" cy="12" r="9.2"/><path class="mark" d="M7.6 12.4l3 3 5.8-6.6"/>',
    JobState.FAILED: '<circle cx="12" cy="12" r="9.2"/><path class="mark" d="M12 7v6M12 16.2v.4"/>',
    JobState.CANCELLED: '<circle cx="12" cy="12" r="9.2"/><path class="mark" d="M7.4 12h9.2"/>',
}
NOTHING = "–"
COLUMNS = ("run", "state", "recipe", "data", "base", "validation F1", "loss or accuracy", "time", "created")

NO_RUN = (
    '<div class="gr-r-empty gr-t-empty"><h2>No run yet</h2><p>Choose a snapshot and a recipe under New run, then press '
    "Start. With the built-in guard a few dozen samples take a few minutes on a CPU.</p></div>"
)


# -- times --------------------------------------------------------------------------------------------------------


def lasted(seconds: float) -> str:
    """42 s, 3 min 20 s, 1 h 12 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """An expected time, no more exact than it is known."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def took(status: JobStatus, now: float) -> float | None:
    """Seconds of the last attempt; none before it began."""
    if status.started_at is None:
        return None
    end = datetime.fromisoformat(status.finished_at).timestamp() if status.finished_at else now
    return max(0.0, end - datetime.fromisoformat(status.started_at).timestamp())


# -- one run ------------------------------------------------------------------------------------------------------


def sign(state: JobState) -> str:
    """The state as a drawing, beside its word."""
    return (
        f'<span class="gr-t-sign" data-state="{state}" aria-hidden="true"><svg viewBox="0 0 24 24" focusable="false">'
        f"{_SIGNS[state]}</svg></span>"
    )


def head(view: RunView, now: float, beside: str = "") -> str:
    """State, progress and what the run is.

    Args:
        now: seconds since the epoch.
        beside: what the live guard does meanwhile.
    """
    status, spec = view.status, view.spec
    progress = status.progress
    share = 1.0 if view.state is JobState.SUCCEEDED else progress.fraction if progress else 0.0
    meanwhile = f'<p class="gr-t-beside">{escape(beside)}</p>' if beside and view.state is JobState.RUNNING else ""
    return (
        f'<article class="gr-t-run" data-state="{view.state}" data-run="{escape(view.run.id)}" aria-label="Run">'
        f"<header>{sign(view.state)}<div><h3>{escape(spec.name)}</h3>"
        f'<p class="gr-t-said" role="status" aria-live="polite">{escape(sentence(view, now))}</p></div></header>'
        f"{bar(share)}{meanwhile}{learned(view)}{_onward(view)}{_figures(view, now)}</article>"
    )


def _onward(view: RunView) -> str:
    """From what the run made to where it is evaluated (assets/evaluate.js)."""
    if view.state is not JobState.SUCCEEDED or not view.made:
        return ""
    return (
        '<div class="gr-e-acts gr-t-onward"><button type="button" data-e-do="evaluate" '
        f'data-e-run="{escape(view.made)}">Evaluate it</button></div>'
    )


def learned(view: RunView) -> str:
    """What the teacher wrote, what was left out, and what came of the training."""
    said = []
    if (teacher := view.teacher) is not None and teacher["asked"]:
        refused = sum(teacher["refused"].values())
        why = ", ".join(f"{count:,} {reason}" for reason, count in teacher["refused"].items())
        said.append(
            f"Teacher: {teacher['kept']:,} of {teacher['asked']:,} missing reasonings written, {refused:,} refused"
            f"{f' ({why})' if why else ''}, {teacher['tokens']:,} tokens."
        )
    said += _left_out(view)
    if (accuracy := view.accuracies) is not None:
        first, last = (figure(each, "share") for each in accuracy)
        over = "in the last" if view.state.is_over else "in the newest"
        said.append(f"Accuracy on the training prompts, bonuses left out: {first} in the first rollout, {last} {over}.")
    elif view.spec.kind is JobKind.GRPO and not view.state.is_over:
        # Its line is there from the start, so that nothing moves when there is a figure.
        said.append("Accuracy on the training prompts: known after the first rollout.")
    figures: Mapping[str, Any] = (view.report or {}).get("figures") or {}
    before, after = figures.get("validation_f1_before"), figures.get("validation_f1")
    if before is not None and after is not None:
        kept = "the best of the validated checkpoints" if figures.get("chosen_by_validation") else "the last checkpoint"
        said.append(f"Validation F1: {figure(before, 'share')} before, {figure(after, 'share')} after, of {kept}.")
    return "".join(f'<p class="gr-t-learned">{escape(each)}</p>' for each in said)


def _left_out(view: RunView) -> list[str]:
    """What a fine-tuning did not train because it is longer than its sequences; mining tells of its own."""
    data: Mapping[str, Any] = (view.report or {}).get("data") or {}
    if view.spec.kind is not JobKind.SFT:
        return []
    said = []
    if samples := data.get("left_out_too_long", 0):
        some = "1 training sample was" if samples == 1 else f"{samples:,} training samples were"
        said.append(f"{some} left out: longer than the recipe's longest sequence.")
    if reasoning := data.get("reasoning_left_out_too_long", 0):
        some = "1 training sample" if reasoning == 1 else f"{reasoning:,} training samples"
        said.append(
            f"The reasoning of {some} was left out, and the first look alone trained: "
            "with it a row is longer than the recipe's longest sequence."
        )
    return said


def sentence(view: RunView, now: float) -> str:
    """How a run stands, in words."""
    status, progress = view.status, view.status.progress
    word = STATE_WORDS[view.state]
    match view.state:
        case JobState.QUEUED:
            device = device_words(view.spec.queue)
            if not view.place:
                return f"{word} for {device}. It starts in a moment."
            before = "one job is" if view.place == 1 else f"{view.place} jobs are"
            return f"{word} for {device}: {before} before it. It starts by itself."
        case JobState.RUNNING:
            if view.run.cancel_request() is not None:
                return "Cancelling: it saves a checkpoint, then ends."
            if progress is None:
                return f"{word}: starting."
            said = f"{progress.words[:1].upper()}{progress.words[1:]}" if progress.words else word
            unit = "step " if progress.words == TRAINING else ""
            done = f", {unit}{progress.done:,.0f} of {progress.total:,.0f}" if progress.total > 1 else ""
            left = progress.seconds_left
            if left is not None:
                # The clock goes on between two reports.
                left = max(0.0, left - max(0.0, now - progress.at))
            return f"{said}{done}" + (f", {about(left)} left." if left else ".")
        case JobState.SUCCEEDED:
            seconds = took(status, now)
            after = f" after {lasted(seconds)}" if seconds is not None else ""
            made = f" It made {view.made}: evaluate it, then promote it." if view.made else ""
            return f"{word}{after}.{made}"
        case _:
            said = status.sentence or f"{word}."
            said = said if said.startswith(word) else f"{word}: {said}"
            untold = view.checkpoints and "resum" not in said.lower()
            return f"{said} Resume goes on from its last checkpoint." if untold else said


def device_words(queue: str) -> str:
    """A device as people call it."""
    kind, _, number = queue.partition(":")
    return {"cpu": "the CPU", "mps": "Apple's GPU"}.get(kind, f"GPU {number}")


def _figures(view: RunView, now: float) -> str:
    spec, status = view.spec, view.status
    seconds = took(status, now)
    pairs = [
        ("kind", KIND_WORDS[spec.kind]),
        ("recipe", spec.recipe or NOTHING),
        ("base", short_base(spec.base)),
        ("snapshot", view.data or NOTHING),
        ("device", device_words(spec.queue)),
        ("started", moment(status.started_at)),
        ("time", lasted(seconds) if seconds is not None else NOTHING),
        ("attempt", str(status.attempt)),
    ]
    if view.state is not JobState.SUCCEEDED:
        pairs.append(("checkpoints", str(len(view.checkpoints))))
    items = "".join(f'<div data-figure="{name}"><dt>{name}</dt><dd>{escape(value)}</dd></div>' for name, value in pairs)
    return f'<dl class="gr-figures">{items}</dl>'


def short_base(base: str) -> str:
    """A checkpoint's folder by its last name, other sources as they are."""
    return Path(base).name if base.startswith("/") else base


def made(checkpoint: str) -> str:
    """The checkpoint that came of a run."""
    return (
        f'<p class="gr-message">It made the checkpoint <strong>{escape(checkpoint)}</strong>. The export is a folder '
        "of safetensors with a filled model card, as one file.</p>"
    )


def log(text: str, running: bool) -> str:
    """The last lines that the job printed."""
    said = escape(text) if text.strip() else ("Nothing has been printed yet." if running else "The log is empty.")
    return f'<div class="gr-t-log" tabindex="0" role="log" aria-label="Last lines of the log"><pre>{said}</pre></div>'


# -- all runs -----------------------------------------------------------------------------------------------------


def runs(known: Sequence[RunLine], opened: str | None, now: float) -> str:
    """All runs, the newest first. A name opens its run."""
    if not known:
        return NO_RUN
    return table(COLUMNS, "".join(_run(each, opened, now) for each in known))


def _run(line: RunLine, opened: str | None, now: float) -> str:
    if line.spec is None or line.status is None:
        return f'<tr><td>{escape(line.id)}</td><td colspan="8">cannot be read: {escape(line.problem)}</td></tr>'
    spec, status = line.spec, line.status
    seconds = took(status, now)
    word = STATE_WORDS[status.state]
    if status.state is JobState.RUNNING and status.progress:
        word = f"{word} · {100 * status.progress.fraction:.0f}%"
    facts = (
        spec.recipe or KIND_WORDS[spec.kind], line.data or NOTHING, short_base(spec.base), _f1(line), _last(line),
        lasted(seconds) if seconds is not None else NOTHING, moment(spec.created_at),
    )  # fmt: skip
    cells = (
        f'<button type="button" class="gr-t-open" data-open="{escape(line.id)}">{escape(spec.name)}</button>',
        f'<span class="gr-t-state">{sign(status.state)}{word}</span>',
        *map(escape, facts),
    )
    current = ' aria-current="true"' if line.id == opened else ""
    return f'<tr data-run="{escape(line.id)}" data-state="{status.state}"{current}>{named(COLUMNS, cells)}</tr>'


def _f1(line: RunLine) -> str:
    """Of the checkpoint that was kept, and which that is."""
    if line.f1 is None:
        return NOTHING
    which = {True: "best, kept", False: "last, kept", None: "newest"}[line.chosen]
    return f"{figure(line.f1, 'share')} ({which})"


def _last(line: RunLine) -> str:
    """How well it does on its own data: a training by reinforcement has no loss that says so."""
    if line.accuracy is not None:
        return f"{figure(line.accuracy, 'share')} right"
    return figure(line.loss, "loss")


def run_choice(line: RunLine) -> str:
    """A run in a list to choose from."""
    name = line.spec.name if line.spec else line.id
    state = STATE_WORDS[line.status.state].lower() if line.status else "unreadable"
    return f"{name} · {state} · {line.id}"
