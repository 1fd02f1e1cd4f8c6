"""The Moderate tab: what a person hands in on the left, the verdict as it comes on the right."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from app.markup import evidence
from app.markup.text import message
from app.moderate import card as present
from app.moderate.examples import EXAMPLES
from app.moderate.layout import Parts, lay_out
from app.moderate.preview import preview
from app.moderate.progress import Progress, decided_by
from app.shared.pacing import paced
from app.shared.services import Services
from core.errors import GuardroomError
from core.events import FirstLooked, MediaRead, VerdictReached
from core.types import Modality, Sample, Thresholds, Verdict

log = logging.getLogger(__name__)

QUEUE: dict[str, Any] = {"concurrency_limit": 32, "concurrency_id": "guard"}
"""Many people may wait at once: the guard itself keeps the order and tells each their place."""

# A file that the box holds is passed on to a hidden component, which tells the server only when it is another one.
# The box tells of a removed file before it removes it, so look a moment later whether one is still shown.
_FILE_OF_BOX = """async (box) => {
  await new Promise((done) => setTimeout(done, 120));
  const shown = document.querySelector("#gr-box .thumbnail-item");
  return shown && box && box.files && box.files.length ? box.files[box.files.length - 1] : null;
}"""
# The box adds a second file to the first. The newer one takes the place of the older.
_NEWEST_FILE_ALONE = """(box) =>
  box && box.files && box.files.length > 1 ? {...box, files: box.files.slice(-1)} : box"""
# Review never begins above block. What is dragged moves the other along at once; what is typed does so when its field
# is left, as half a number says nothing. Both are read from their fields: gradio may not know the new value yet.
_FIELD = """const at = document.activeElement;
  const now = (id) => Number((at?.closest(id) ? at : document.querySelector(id + " input[type=number]")).value);
  const review = now("#gr-review"), block = now("#gr-block"), typing = at?.type === "number";"""
_BLOCK_MOVED = f"() => {{ {_FIELD} return typing ? review : Math.min(review, block); }}"
_REVIEW_MOVED = f"() => {{ {_FIELD} return typing ? block : Math.max(review, block); }}"
_BLOCK_LEFT = f"() => {{ {_FIELD} return Math.min(review, block); }}"
_REVIEW_LEFT = f"() => {{ {_FIELD} return Math.max(review, block); }}"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the card shows after a moderation, kept for its buttons and sliders."""

    sample: Sample
    verdict: Verdict
    pictures: tuple[evidence.Thumbnail, ...] = ()
    sampled: int = 0
    reasoning: str = ""
    """As it streamed: a verdict that could not be read has no steps of its own."""


PENDING = "pending"
"""In place of `Shown` once something was handed in: the card is no longer the empty one."""


@dataclass(slots=True)
class ModerateTab:
    """The tab's components that other parts of the page change."""

    review: gr.Slider
    block: gr.Slider
    card: gr.HTML
    shown: gr.State


def build(services: Services) -> ModerateTab:
    """Lay the tab out and wire it. Call inside a `gr.Tab`."""
    parts = lay_out(services)
    _wire(parts, services)
    return ModerateTab(parts.review, parts.block, parts.card, parts.shown)


def _wire(parts: Parts, services: Services) -> None:
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    local: dict[str, Any] = {**hidden, "queue": False}
    stops = services.stops

    def judge(
        box: dict[str, Any] | None, response: str, review: float, block: float, http: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        page = http.session_hash or ""
        stop = stops.begin(page)
        try:
            yield from _moderation(parts, services, box, response, Thresholds(review, max(review, block)), stop)
        finally:
            stops.end(page, stop)

    gr.on(
        [parts.moderate.click, parts.box.submit],
        judge,
        [parts.box, parts.response, parts.review, parts.block],
        [
            parts.card, parts.evidence, parts.copy, parts.shown, parts.moderate, parts.stop, parts.wrong, parts.report,
            parts.note, parts.said,
        ],
        **hidden,
        **QUEUE,
    )  # fmt: skip

    def stop(http: gr.Request) -> None:
        stops.stop(http.session_hash or "")

    parts.stop.click(stop, None, None, **local)

    parts.box.change(None, parts.box, parts.file, js=_FILE_OF_BOX, **hidden)
    parts.file.change(None, parts.box, parts.box, js=_NEWEST_FILE_ALONE, **hidden)
    parts.file.change(lambda file: preview(services, file), parts.file, parts.preview, **hidden)

    parts.review.input(None, None, parts.block, js=_REVIEW_MOVED, **hidden)
    parts.review.release(None, None, parts.block, js=_REVIEW_LEFT, **hidden)
    parts.block.input(None, None, parts.review, js=_BLOCK_MOVED, **hidden)
    parts.block.release(None, None, parts.review, js=_BLOCK_LEFT, **hidden)

    def decide(shown: Shown | str | None, review: float, block: float) -> dict[Any, Any]:
        at = Thresholds(review, max(review, block))
        return _redrawn(parts, services, shown, at)

    gr.on(
        [parts.review.change, parts.block.change],
        decide,
        [parts.shown, parts.review, parts.block],
        [parts.card, parts.evidence, parts.copy],
        trigger_mode="always_last",
        **hidden,
    )

    for button, example in zip(parts.examples, EXAMPLES, strict=True):
        button.click(
            lambda example=example: (
                {"text": example.request, "files": [str(example.file)] if example.file else []},
                example.response,
                gr.Accordion(open=bool(example.response)),
            ),
            None,
            [parts.box, parts.response, parts.fold],
            **hidden,
        )

    def ask() -> tuple[Any, str]:
        return gr.Group(visible=True), ""

    def leave() -> Any:
        return gr.Group(visible=False)

    def send(shown: Shown | str | None, note: str, person: str | None) -> dict[Any, Any]:
        return _reported(parts, services, shown, note, person)

    parts.wrong.click(ask, None, [parts.report, parts.said], **local)
    parts.leave.click(leave, None, parts.report, **local)
    parts.send.click(
        send,
        [parts.shown, parts.note, parts.person],
        [parts.report, parts.note, parts.said, parts.wrong, parts.person],
        **hidden,
    )


def _moderation(
    parts: Parts,
    services: Services,
    box: dict[str, Any] | None,
    response: str,
    thresholds: Thresholds,
    stop: threading.Event,
) -> Iterator[dict[Any, Any]]:
    """Everything that the page shows of one moderation, piece by piece."""
    idle = {parts.moderate: gr.Button(interactive=True), parts.stop: gr.Button(interactive=False)}

    def drawn(progress: Progress) -> str:
        return present.card(progress, services.guard.status)

    try:
        sample = services.sample((box or {}).get("text"), response, _one_file(box))
    except GuardroomError as error:
        yield _cleared(parts) | {parts.card: drawn(replace(Progress.broken(str(error)), thresholds=thresholds))} | idle
        return
    progress = Progress.begun(sample, thresholds)
    is_video = sample.modality is Modality.VIDEO
    yield _cleared(parts) | {
        parts.card: drawn(progress),
        parts.evidence: evidence.reading() if is_video else "",
        parts.moderate: gr.Button(interactive=False),
        parts.stop: gr.Button(interactive=True),
    }
    pictures: tuple[evidence.Thumbnail, ...] = ()
    sampled = 0
    try:
        for event in paced(services.guard.moderate(sample, thresholds=thresholds, stop=stop)):
            progress = progress.after(event)
            changed: dict[Any, Any] = {parts.card: drawn(progress)}
            if isinstance(event, MediaRead):
                pictures, sampled = evidence.thumbnails(event.media)
            if pictures and isinstance(event, (MediaRead, FirstLooked, VerdictReached)):
                changed[parts.evidence] = evidence.render(pictures, sampled, progress.windows, thresholds)
            if isinstance(event, VerdictReached):
                changed |= idle | {
                    parts.copy: present.copy_button(event.verdict),
                    parts.shown: Shown(sample, event.verdict, pictures, sampled, progress.reasoning),
                    parts.wrong: gr.Button(interactive=True),
                }
            yield changed
            if isinstance(event, VerdictReached) and not stop.is_set():
                services.record(sample, event.verdict)
    except GuardroomError as error:
        broken = replace(progress, phase="failed", error=str(error))
        yield {parts.card: drawn(broken)} | idle | ({parts.evidence: ""} if not pictures else {})
    except Exception:
        log.exception("A moderation failed")
        sentence = (
            "Something went wrong inside Guardroom; the terminal says what. Your input is kept, so you can try again."
        )
        yield {parts.card: drawn(replace(progress, phase="failed", error=sentence))} | idle


def _one_file(box: dict[str, Any] | None) -> str | None:
    files = (box or {}).get("files") or []
    return files[-1] if files else None  # the newest, should the button be quicker than the box


def _cleared(parts: Parts) -> dict[Any, Any]:
    """Nothing of the last verdict stays."""
    return {
        parts.evidence: "",
        parts.copy: present.copy_button(None),
        parts.shown: PENDING,
        parts.wrong: gr.Button(interactive=False),
        parts.report: gr.Group(visible=False),
        parts.note: "",
        parts.said: "",
    }


def _redrawn(parts: Parts, services: Services, shown: Shown | str | None, at: Thresholds) -> dict[Any, Any]:
    """The card under other thresholds, without asking the guard again."""
    if not isinstance(shown, Shown):
        return {parts.card: gr.skip()}
    verdict = decided_by(shown.verdict, at)
    progress = replace(Progress.begun(shown.sample, at), reasoning=shown.reasoning).after(VerdictReached(verdict))
    changed: dict[Any, Any] = {
        parts.card: present.card(progress, services.guard.status),
        parts.copy: present.copy_button(verdict),
    }
    if shown.pictures:
        changed[parts.evidence] = evidence.render(shown.pictures, shown.sampled, verdict.windows, at)
    return changed


def _reported(
    parts: Parts, services: Services, shown: Shown | str | None, note: str, person: str | None
) -> dict[Any, Any]:
    """Keep the sample, its verdict and the note, and say so."""
    if not isinstance(shown, Shown):
        return {parts.said: message("There is no verdict to report.", "bad")}
    person = person or f"visitor-{uuid.uuid4().hex[:12]}"
    try:
        store = services.store()
        store.record(shown.sample, shown.verdict)
        store.report(shown.verdict.id, note or "", person)
    except GuardroomError as error:
        return {parts.said: message(str(error), "bad")}
    return {
        parts.report: gr.Group(visible=False),
        parts.note: "",
        parts.said: message("Thank you. The sample, its verdict and your note are kept for review.", "good"),
        parts.wrong: gr.Button(interactive=False),
        parts.person: person,
    }
