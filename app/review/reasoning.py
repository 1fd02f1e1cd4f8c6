"""The reasoning of the item that lies on the desk: taken over, compared, and continued by the guard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import gradio as gr

from app.markup.numbers import probability
from app.markup.text import message
from app.moderate.tab import QUEUE
from app.review import present
from app.review.fields import Changes, page_of, streaming, with_form
from app.review.form import Form, as_lines, lines_of, steps_of
from app.review.layout import Parts
from app.shared.pacing import paced
from app.shared.services import Services
from core.errors import GuardroomError
from core.events import Queued, ReasoningGrew, VerdictReached
from core.prompt.protocol import split_steps
from core.types import Verdict


class Reasoning:
    """The handlers of the reasoning's field and its buttons."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self.parts = parts
        self.services = services

    def wire(self) -> None:
        """Events to handlers."""
        parts = self.parts
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        local: dict[str, Any] = {**hidden, "queue": False}
        written = [parts.reasoning, parts.difference, parts.model, parts.form]
        parts.adopt.click(with_form(self.adopt), parts.fields, written, **local)
        parts.reasoning.change(
            with_form(self.compare),
            parts.fields,
            [parts.difference, parts.evidence],
            trigger_mode="always_last",
            **local,
        )
        parts.go_on.click(
            streaming(self.go_on),
            parts.fields,
            [parts.reasoning, parts.said, parts.go_on, parts.stop],
            **hidden,
            **QUEUE,
        )
        parts.stop.click(self.stop, None, None, **local)

    def adopt(self, form: Form, http: gr.Request) -> Changes:
        """The model's steps into the field, as they are."""
        parts = self.parts
        with self.services.desks.of(page_of(http)) as desk:
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
        with self.services.desks.of(page_of(http)) as desk:
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
        with self.services.desks.of(page_of(http)) as desk:
            item = desk.now.claim.item if desk is not None and desk.now is not None else None
        if item is None:
            yield idle
            return
        given = lines_of(form.reasoning)
        key = _key(http)
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
                        parts.said: message(*concluded(event.verdict, form)),
                    } | idle
        except GuardroomError as error:
            yield {parts.said: message(str(error), "bad")} | idle
        finally:
            self.services.stops.end(key, stop)

    def stop(self, http: gr.Request) -> None:
        """Stop the guard; what it has written so far stays."""
        self.services.stops.stop(_key(http))

    def _lies_here(self, http: gr.Request, sample_id: str) -> bool:
        with self.services.desks.of(page_of(http)) as desk:
            return desk is not None and desk.now is not None and desk.now.claim.item.sample_id == sample_id


def _key(http: gr.Request) -> str:
    """Under which this page's work can be stopped."""
    return f"{page_of(http)} review"


def _joined(given: tuple[str, ...], steps: tuple[str, ...]) -> tuple[str, ...]:
    """The steps as given, word for word, and what came after them."""
    if steps[: len(given)] == given:
        return steps
    return (*given, *steps)


def concluded(verdict: Verdict, form: Form) -> tuple[str, Literal["good", "bad"]]:
    """What the guard makes of the corrected steps, and whether that is what the reviewer says."""
    if verdict.error:
        return f"The guard went on, but: {verdict.error}", "bad"
    said = verdict.assessment
    assert said is not None
    sides = [
        (name, label.value, probability(p), chosen)
        for name, label, p, chosen in (
            ("request", said.request, verdict.deliberated.request, form.request),
            ("response", said.response, verdict.deliberated.response, form.response),
        )
        if label.value in ("harmful", "unharmful")
    ]
    words = ", ".join(f"{name} {label} ({p})" for name, label, p, _ in sides) or "nothing"
    against = [f"the {name} {chosen}" for name, label, _, chosen in sides if chosen not in (None, label)]
    if against:
        return (
            f"From these steps the guard still concludes: {words}; you call {' and '.join(against)}. Rewrite the steps "
            "that lead there, so that the reasoning ends as you do.",
            "bad",
        )
    return f"From these steps the guard concludes: {words}. Submit to accept, or edit again.", "good"
