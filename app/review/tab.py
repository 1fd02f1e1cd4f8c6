"""The review queue: what its components do. The desk (`app.shared.desks`) holds the items."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr

from annotation_store.values.reasons import ReasonKind
from annotation_store.values.review import QueueFilter
from app.markup.text import message
from app.review import present
from app.review.fields import Changes, page_of, with_form, with_message
from app.review.form import (
    Form,
    draft_of,
    filled_from,
    filled_with,
    is_models_own,
    marked_wrong,
    steps_of,
    tied,
    with_evidence,
    without_evidence,
)
from app.review.layout import Parts, lay_out
from app.review.reasoning import Reasoning
from app.shared.desks import Desk, new_reviewer
from app.shared.services import Services
from core.errors import GuardroomError, InputError, StaleClaim
from core.policy import Policy, load_policy
from core.types import Modality

log = logging.getLogger(__name__)

BEAT_S = 60.0
"""How often the page says that somebody is still at it; the lease lasts five times as long."""

RECENT = 12

# Values are read when the event is sent, so the script hands its message over in this very moment.
_TAKE_MESSAGE = "(message, ...rest) => [window.guardroomReview.take(), ...rest]"


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
        self.reasoning = Reasoning(parts, services)

    def wire(self) -> None:
        parts = self.parts
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        local: dict[str, Any] = {**hidden, "queue": False}
        filters = [parts.kind, parts.modality, parts.checkpoint, parts.words]
        gr.on(
            [parts.kind.input, parts.modality.input, parts.checkpoint.input, parts.words.submit],
            self.filter, filters, parts.screen, **local,
        ).then(self.preload, None, parts.fetched, **local)  # fmt: skip
        parts.submit.click(with_form(self.submit), parts.fields, parts.screen, **local).then(
            self.preload, None, parts.fetched, **local
        )
        parts.act.click(
            with_message(self.act), [parts.message, *parts.fields], parts.screen, js=_TAKE_MESSAGE, **local
        ).then(self.preload, None, parts.fetched, **local)
        self.reasoning.wire()
        gr.Timer(BEAT_S).tick(self.beat, None, parts.screen, **local)

    # -- coming and going -----------------------------------------------------------------------------------------

    def enter(self, reviewer: str | None, http: gr.Request) -> Changes:
        """The tab was opened: go on with what this browser holds, or take the next item."""
        reviewer = reviewer if isinstance(reviewer, str) and reviewer.startswith("reviewer-") else new_reviewer()
        page = page_of(http)
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
        with self.services.desks.of(page_of(http)) as desk:
            if desk is None or desk.now is None:
                return gr.skip()
            try:
                desk.preload(self.services.store())
            except GuardroomError as error:
                log.warning("The next item could not be loaded beforehand: %s", error)
            return self._later(desk)

    def beat(self, http: gr.Request) -> Changes:
        """Keep the items. Where another reviewer has taken one, say so and show the next."""
        with self.services.desks.of(page_of(http)) as desk:
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
            self.reasoning.stop(http)
            return present.stored(done.warnings)

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
            self.reasoning.stop(http)
            match does:
                case "skip":
                    desk.skip(store, why)
                    return "Skipped; others will see it."
                case "second":
                    labelled = form.request or form.response
                    draft = draft_of(form, desk.now.claim.item) if labelled and desk.now else None
                    sent = desk.second_opinion(store, why, draft, self.policy)
                    return present.sent(sent.warnings, labelled=draft is not None)
                case "undo":
                    undone, label = desk.undo(store, asked.get("event") or None)
                    if undone.claim is None:
                        return "Taken back; another reviewer holds the item at the moment."
                    return filled_with(label, undone.claim.item.verdict) if label else Form()
                case "reopen":
                    desk.reopen(store, str(asked.get("sample") or "") or None)
                    return ""
            return ""

        return self._change(http, work, form)

    def _mark(self, asked: Mapping[str, Any], form: Form, http: gr.Request) -> Changes:
        """Marks on the item: nothing is stored before the decision is."""
        parts = self.parts
        with self.services.desks.of(page_of(http)) as desk:
            if desk is None or desk.now is None:
                return {parts.said: gr.skip()}
            item = desk.now.claim.item
        written = form.reasoning
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
        own = form.first_wrong is None or is_models_own(form.reasoning, steps_of(item.verdict))
        kept = asked["do"] == "wrong" and not own
        said = "Marked; your text stays. To begin with the model's steps, press a, then the number." if kept else ""
        changed: Changes = {parts.form: form, parts.said: message(said)}
        if asked["do"] == "wrong":
            changed |= {
                parts.model: present.model(item, form),
                parts.reasoning: form.reasoning if form.reasoning != written else gr.skip(),
                parts.difference: present.difference(item, form),
            }
        else:
            changed |= {parts.texts: present.texts(item.sample, form), parts.evidence: present.marked(form)}
        return changed

    # -- drawing --------------------------------------------------------------------------------------------------

    def _change(self, http: gr.Request, work: Callable[[Desk], str | Form | None], form: Form | None = None) -> Changes:
        """Do something with the desk and show what lies on it then; a refusal leaves everything as it was."""
        with self.services.desks.of(page_of(http)) as desk:
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
        from annotation_store.review.decisions import recent
        from annotation_store.review.progress import left

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
                parts.empty: gr.HTML(present.empty(waiting, wanted) + message(said, kind), visible=True),
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
        from annotation_store.review.progress import left, pace

        store = self.services.store()
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        return present.bar(
            left(store, desk.wanted), pace(store, midnight), pace(store, midnight, desk.reviewer), desk.wanted.words
        )
