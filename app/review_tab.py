"""The review queue: what its components do. The desk (`app.review_desk`) holds the items."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import gradio as gr

from annotation_store.reasons import ReasonKind
from annotation_store.review_values import QueueFilter
from app import review_present as present
from app.moderate_tab import QUEUE
from app.pacing import paced
from app.present import message, probability
from app.review_desk import Desk, new_reviewer
from app.review_form import (
    Form,
    as_lines,
    draft_of,
    filled_from,
    filled_with,
    lines_of,
    marked_wrong,
    steps_of,
    tied,
    with_evidence,
    without_evidence,
)
from app.review_layout import Parts, lay_out
from app.services import Services
from core.errors import GuardroomError, InputError, StaleClaim
from core.events import Queued, ReasoningGrew, VerdictReached
from core.policy import Policy, load_policy
from core.protocol import split_steps
from core.types import Modality, Verdict

log = logging.getLogger(__name__)

BEAT_S = 60.0
"""How often the page says that somebody is still at it; the lease lasts five times as long."""

RECENT = 12

# Values are read when the event is sent, so the script hands its message over in this very moment.
_TAKE_MESSAGE = "(message, ...rest) => [window.guardroomReview.take(), ...rest]"

Changes = dict[Any, Any]


@dataclass(slots=True)
class ReviewTab:
    """What other parts of the page need of the queue."""

    enter: Callable[[str | None, gr.Request], Changes]
    preload: Callable[[gr.Request], Any]
    look_again: Callable[[gr.Request], Changes]
    parts: Parts


def build(services: Services, reviewer: gr.BrowserState) -> ReviewTab:
    """Lay the queue out and wire it. Call inside a `gr.Tab`."""
    policy = load_policy()
    parts = lay_out(policy, reviewer)
    review = _Review(parts, services, policy)
    review.wire()
    return ReviewTab(review.enter, review.preload, review.beat, parts)


class _Review:
    """The handlers of the queue."""

    def __init__(self, parts: Parts, services: Services, policy: Policy) -> None:
        self.parts = parts
        self.services = services
        self.policy = policy

    def wire(self) -> None:
        parts = self.parts
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        local: dict[str, Any] = {**hidden, "queue": False}
        filters = [parts.kind, parts.modality, parts.checkpoint, parts.words]
        gr.on(
            [parts.kind.input, parts.modality.input, parts.checkpoint.input, parts.words.submit],
            self.filter, filters, parts.screen, **local,
        ).then(self.preload, None, parts.fetched, **local)  # fmt: skip
        parts.submit.click(_with_form(self.submit), parts.fields, parts.screen, **local).then(
            self.preload, None, parts.fetched, **local
        )
        parts.act.click(
            _with_message(self.act), [parts.message, *parts.fields], parts.screen, js=_TAKE_MESSAGE, **local
        ).then(self.preload, None, parts.fetched, **local)
        written = [parts.reasoning, parts.difference, parts.model, parts.form]
        parts.adopt.click(_with_form(self.adopt), parts.fields, written, **local)
        parts.reasoning.change(
            _with_form(self.compare),
            parts.fields,
            [parts.difference, parts.evidence],
            trigger_mode="always_last",
            **local,
        )
        parts.go_on.click(
            _streaming(self.go_on),
            parts.fields,
            [parts.reasoning, parts.said, parts.go_on, parts.stop],
            **hidden,
            **QUEUE,
        )
        parts.stop.click(self.stop, None, None, **local)
        gr.Timer(BEAT_S).tick(self.beat, None, parts.screen, **local)

    # -- coming and going -----------------------------------------------------------------------------------------

    def enter(self, reviewer: str | None, http: gr.Request) -> Changes:
        """The tab was opened: go on with what this browser holds, or take the next item."""
        reviewer = reviewer if isinstance(reviewer, str) and reviewer.startswith("reviewer-") else new_reviewer()
        page = http.session_hash or ""
        self.services.desks.begin(page, reviewer)

        def work(desk: Desk) -> None:
            if desk.now is None:
                desk.enter(self.services.store())

        self.services.store()
        self.services.compare_soon()
        changed = self._change(http, work)
        return changed | {self.parts.reviewer: reviewer}

    def filter(self, kind: str, modality: str, checkpoint: str, words: str, http: gr.Request) -> Changes:
        wanted = QueueFilter(
            ReasonKind(kind) if kind else None, Modality(modality) if modality else None, checkpoint or None,
            (words or "").strip(),
        )  # fmt: skip
        return self._change(http, lambda desk: desk.filter(self.services.store(), wanted))

    def preload(self, http: gr.Request) -> Any:
        """Take the item after this one, and let the browser fetch its pictures."""
        with self.services.desks.of(_page(http)) as desk:
            if desk is None or desk.now is None:
                return gr.skip()
            try:
                desk.preload(self.services.store())
            except GuardroomError as error:
                log.warning("The next item could not be loaded beforehand: %s", error)
            return self._later(desk)

    def beat(self, http: gr.Request) -> Changes:
        """Keep the items. Where another reviewer has taken one, say so and show the next."""
        with self.services.desks.of(_page(http)) as desk:
            if desk is None:
                return {self.parts.said: gr.skip()}
            had = desk.now.claim.item.sample_id if desk.now else None
            try:
                if desk.now is None:
                    desk.advance(self.services.store())
                else:
                    desk.beat(self.services.store())
            except GuardroomError as error:
                return self._drawn(desk, None, str(error), "bad")
            if (desk.now.claim.item.sample_id if desk.now else None) != had:
                return self._drawn(desk, None, "")
            return {self.parts.bar: self._bar(desk)}

    # -- deciding -------------------------------------------------------------------------------------------------

    def submit(self, form: Form, http: gr.Request) -> Changes:
        """Store the decision, show the next item."""

        def work(desk: Desk) -> str:
            if desk.now is None:
                raise InputError("There is nothing to decide; the queue is empty.")
            done = desk.submit(self.services.store(), draft_of(form, desk.now.claim.item), self.policy)
            self._halt(http)
            return " ".join(done.warnings)

        return self._change(http, work, form)

    def act(self, said: str, form: Form, http: gr.Request) -> Changes:
        """What the script asks for: marks, evidence, skip, second opinion, undo, open again."""
        try:
            asked = json.loads(said or "{}")
        except ValueError:
            asked = {}
        if not isinstance(asked, dict):
            asked = {}
        does = asked.get("do")
        if does in ("wrong", "evidence", "drop", "tie"):
            return self._mark(asked, form, http)
        store = self.services.store()

        def work(desk: Desk) -> str | Form:
            why = str(asked.get("why") or "")
            self._halt(http)
            match does:
                case "skip":
                    desk.skip(store, why)
                    return "Skipped; others will see it."
                case "second":
                    labelled = form.request or form.response
                    draft = draft_of(form, desk.now.claim.item) if labelled and desk.now else None
                    desk.second_opinion(store, why, draft, self.policy)
                    return "Sent to another reviewer" + (", with your label kept." if draft else ".")
                case "undo":
                    undone, label = desk.undo(store, asked.get("event") or None)
                    if undone.claim is None:
                        return "Taken back; another reviewer holds the item at the moment."
                    return filled_with(label, undone.claim.item.verdict) if label else Form()
                case "reopen":
                    desk.reopen(store, str(asked.get("sample") or ""))
                    return ""
            return ""

        return self._change(http, work, form)

    def _mark(self, asked: Mapping[str, Any], form: Form, http: gr.Request) -> Changes:
        """Marks on the item: nothing is stored before the decision is."""
        parts = self.parts
        with self.services.desks.of(_page(http)) as desk:
            if desk is None or desk.now is None:
                return {parts.said: gr.skip()}
            item = desk.now.claim.item
        try:
            at = asked.get("at")
            at = at if isinstance(at, int) else -1
            step = asked.get("step")
            step = step if isinstance(step, int) else 0
            match asked["do"]:
                case "wrong":
                    form = marked_wrong(form, step, steps_of(item.verdict))
                case "evidence":
                    form = with_evidence(form, asked, item.sample)
                case "drop":
                    form = without_evidence(form, at)
                case "tie":
                    form = tied(form, at, step)
        except (GuardroomError, ValueError) as error:
            return {parts.said: message(str(error), "bad")}
        changed: Changes = {parts.form: form, parts.said: ""}
        if asked["do"] == "wrong":
            changed |= {
                parts.model: present.model(item, form),
                parts.reasoning: form.reasoning,
                parts.difference: present.difference(item, form),
            }
        else:
            changed |= {parts.texts: present.texts(item.sample, form), parts.evidence: present.marked(form)}
        return changed

    # -- reasoning ------------------------------------------------------------------------------------------------

    def adopt(self, form: Form, http: gr.Request) -> Changes:
        """The model's steps into the field, as they are."""
        parts = self.parts
        with self.services.desks.of(_page(http)) as desk:
            if desk is None or desk.now is None:
                return {parts.reasoning: gr.skip()}
            item = desk.now.claim.item
        form = replace(form, reasoning=as_lines(steps_of(item.verdict)), first_wrong=None)
        return {
            parts.reasoning: form.reasoning,
            parts.difference: "",
            parts.model: present.model(item, form),
            parts.form: form,
        }

    def compare(self, form: Form, http: gr.Request) -> Changes:
        """What changes against the model's steps, and the steps that evidence can be tied to."""
        with self.services.desks.of(_page(http)) as desk:
            if desk is None or desk.now is None:
                return {self.parts.difference: ""}
            item = desk.now.claim.item
        return {self.parts.difference: present.difference(item, form), self.parts.evidence: present.marked(form)}

    def go_on(self, form: Form, http: gr.Request) -> Iterator[Changes]:
        """Let the guard continue after the steps in the field; they stand as they were written."""
        parts = self.parts
        busy, idle = (
            {parts.go_on: gr.Button(interactive=not on), parts.stop: gr.Button(interactive=on)} for on in (True, False)
        )
        with self.services.desks.of(_page(http)) as desk:
            item = desk.now.claim.item if desk is not None and desk.now is not None else None
        if item is None:
            yield idle
            return
        given = lines_of(form.reasoning)
        key = f"{_page(http)} review"
        stop = self.services.stops.begin(key)
        yield {parts.said: message("The guard goes on from here…")} | busy
        try:
            for event in paced(self.services.guard.moderate(item.sample, stop=stop, steps=given)):
                if not self._lies_here(http, item.sample_id):
                    stop.set()
                    return
                if isinstance(event, Queued):
                    waits = "The guard is loading." if event.loading else f"{event.place} before you."
                    yield {parts.said: message(waits)}
                elif isinstance(event, ReasoningGrew):
                    yield {parts.reasoning: as_lines(_joined(given, split_steps(event.text)))}
                elif isinstance(event, VerdictReached):
                    steps = _joined(given, steps_of(event.verdict))
                    yield {
                        parts.reasoning: as_lines(steps),
                        parts.said: message(_concluded(event.verdict), "bad" if event.verdict.error else "good"),
                    } | idle
        except GuardroomError as error:
            yield {parts.said: message(str(error), "bad")} | idle
        finally:
            self.services.stops.end(key, stop)

    def stop(self, http: gr.Request) -> None:
        """Stop the guard; what it has written so far stays."""
        self._halt(http)

    def _halt(self, http: gr.Request) -> None:
        self.services.stops.stop(f"{_page(http)} review")

    def _lies_here(self, http: gr.Request, sample_id: str) -> bool:
        with self.services.desks.of(_page(http)) as desk:
            return desk is not None and desk.now is not None and desk.now.claim.item.sample_id == sample_id

    # -- drawing --------------------------------------------------------------------------------------------------

    def _change(self, http: gr.Request, work: Callable[[Desk], str | Form | None], form: Form | None = None) -> Changes:
        """Do something with the desk and show what lies on it then; a refusal leaves everything as it was."""
        with self.services.desks.of(_page(http)) as desk:
            if desk is None:
                return {self.parts.said: message("Open the Review tab once more; this page has no desk yet.", "bad")}
            before = desk.now
            try:
                done = work(desk)
            except StaleClaim as error:
                try:
                    desk.retake(self.services.store())
                except GuardroomError as lost:
                    return self._drawn(desk, None, str(lost), "bad")
                return {self.parts.said: message(f"{error} It is yours again, so you can submit once more.", "bad")}
            except GuardroomError as error:
                if desk.now is not before:
                    return self._drawn(desk, None, str(error), "bad")
                return {self.parts.said: message(str(error), "bad")}
            if isinstance(done, Form):
                return self._drawn(desk, done, "Taken back; change it and submit again.", "good")
            return self._drawn(desk, None, done or "", "plain")

    def _drawn(self, desk: Desk, form: Form | None, said: str, kind: Any = "plain") -> Changes:
        from annotation_store.decisions import recent
        from annotation_store.left import left

        parts, store = self.parts, self.services.store()
        waiting = left(store)
        wanted = desk.wanted
        changed: Changes = {
            parts.bar: self._bar(desk),
            parts.kind: gr.Dropdown(present.kind_choices(waiting)),
            parts.modality: gr.Dropdown(present.modality_choices(waiting)),
            parts.checkpoint: gr.Dropdown(present.checkpoint_choices(waiting, wanted.checkpoint_id or "")),
            parts.recent: present.recent(recent(store, desk.reviewer, RECENT)),
            parts.said: message(said, kind),
            parts.go_on: gr.Button(interactive=True),
            parts.stop: gr.Button(interactive=False),
        }
        if desk.now is None:
            return changed | {
                parts.body: gr.Row(visible=False),
                parts.empty: gr.HTML(present.empty(waiting, wanted), visible=True),
                parts.media: "",
                parts.form: Form(),
            }
        item = desk.now.claim.item
        form = filled_from(item) if form is None else form
        return changed | {
            parts.body: gr.Row(visible=True),
            parts.empty: gr.HTML(visible=False),
            parts.media: self._media(desk),
            parts.timeline: present.timeline(item.verdict),
            parts.texts: present.texts(item.sample, form),
            parts.near: present.near(desk.now.near),
            parts.why: present.why(item),
            parts.model: present.model(item, form),
            parts.form: form,
            parts.request: form.request,
            parts.response: gr.Radio(value=form.response, visible=item.sample.response is not None),
            parts.categories: list(form.categories),
            parts.confidence: form.confidence,
            parts.note: form.note,
            parts.reasoning: form.reasoning,
            parts.difference: present.difference(item, form),
            parts.evidence: present.marked(form),
        }

    def _media(self, desk: Desk) -> str:
        sample = desk.now.claim.item.sample if desk.now else None
        address = self.services.addresses.of
        return "" if sample is None else present.media(sample, [address(ref) for ref in sample.media])

    def _later(self, desk: Desk) -> str:
        """The next item's pictures, for the browser to fetch beforehand."""
        media = desk.after.claim.item.sample.media if desk.after else ()
        address = self.services.addresses.of
        return present.fetched([address(ref) for ref in media if ref.modality is Modality.IMAGE])

    def _bar(self, desk: Desk) -> str:
        from annotation_store.left import left, pace

        store = self.services.store()
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return present.bar(left(store, desk.wanted), pace(store, midnight), pace(store, midnight, desk.reviewer))


def _page(http: gr.Request) -> str:
    return http.session_hash or ""


def _with_form(work: Callable[[Form, gr.Request], Changes]) -> Callable[..., Changes]:
    """A handler of `Parts.fields`; Gradio gives the request to the parameter that is annotated with it."""

    def handler(
        form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Changes:  # fmt: skip
        return work(_filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def _with_message(work: Callable[[str, Form, gr.Request], Changes]) -> Callable[..., Changes]:
    """The same with the script's message before the fields."""

    def handler(
        said: str, form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Changes:  # fmt: skip
        return work(said, _filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def _streaming(work: Callable[[Form, gr.Request], Iterator[Changes]]) -> Callable[..., Iterator[Changes]]:
    """The same for work that tells how it goes."""

    def handler(
        form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any,
        http: gr.Request,
    ) -> Iterator[Changes]:  # fmt: skip
        yield from work(_filled(form, request, response, categories, confidence, note, reasoning), http)

    return handler


def _filled(
    form: Any, request: Any, response: Any, categories: Any, confidence: Any, note: Any, reasoning: Any
) -> Form:
    """The values of `Parts.fields` as a form."""
    return replace(
        form if isinstance(form, Form) else Form(),
        request=request or None,
        response=response or None,
        categories=tuple(categories or ()),
        confidence=None if confidence is None else float(confidence),
        note=note or "",
        reasoning=reasoning or "",
    )


def _joined(given: tuple[str, ...], steps: tuple[str, ...]) -> tuple[str, ...]:
    """The steps as given, word for word, and what came after them."""
    if steps[: len(given)] == given:
        return steps
    return (*given, *steps)


def _concluded(verdict: Verdict) -> str:
    """What the guard makes of the corrected steps."""
    if verdict.error:
        return f"The guard went on, but: {verdict.error}"
    said = verdict.assessment
    assert said is not None
    sides = [
        f"{name} {label.value} ({probability(p)})"
        for name, label, p in (
            ("request", said.request, verdict.deliberated.request),
            ("response", said.response, verdict.deliberated.response),
        )
        if label.value in ("harmful", "unharmful")
    ]
    return f"From these steps the guard concludes: {', '.join(sides) or 'nothing'}. Submit to accept, or edit again."
