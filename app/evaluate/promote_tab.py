"""Promotion: choose a checkpoint and its evaluation, hear the gate, let it go live; the history, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.evaluate import compare_present, present, promote_present
from app.evaluate import work as evaluations
from app.markup.tables import progress_bar
from app.markup.text import message
from app.shared import promotion
from app.shared.services import Services
from app.shared.tasks import Task
from core.errors import GuardroomError, PromotionRefused

if TYPE_CHECKING:
    from core.checkpoints.registry import Promotion

Changes = dict[Any, Any]

TASK = "promotion"


class PromoteTab:
    """The components and their handlers."""

    def __init__(self, services: Services, token: gr.Textbox) -> None:
        self.services = services
        self.token = token
        html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
        self.now = gr.HTML("", **html, elem_id="gr-e-now")
        with gr.Accordion("Promote a checkpoint", open=True, elem_id="gr-e-promote"):
            with gr.Row():
                self.checkpoint = gr.Dropdown(
                    [], label="Checkpoint", min_width=230, elem_id="gr-e-candidate",
                    info="Those that have an evaluation with reasoning and are not promoted yet.",
                )  # fmt: skip
                self.report = gr.Dropdown(
                    [], label="Its evaluation", info="The report that speaks for it.", min_width=230,
                    elem_id="gr-e-speaks",
                )  # fmt: skip
            self.gate = gr.HTML("", **html, elem_id="gr-e-gate")
            self.again = gr.Button(
                "Evaluate what is promoted on the same rows", size="sm", visible=False, elem_id="gr-e-again"
            )
            with gr.Row():
                self.author = gr.Textbox(
                    "owner", label="Your name", info="For the history.", max_lines=1, min_width=140,
                    elem_id="gr-e-author",
                )  # fmt: skip
                self.reason = gr.Textbox(
                    label="Reason", lines=1, max_lines=4, scale=3, min_width=230, elem_id="gr-e-reason",
                    info="Where the gate refuses, only a written reason lets it pass; the history keeps it.",
                )  # fmt: skip
            with gr.Row(elem_classes="gr-d-buttons"):
                self.go = gr.Button("Promote", variant="primary", size="sm", interactive=False, elem_id="gr-e-go")
        self.told = gr.HTML("", **html, elem_id="gr-e-promoted")
        with gr.Accordion("Checkpoints", open=True, elem_id="gr-e-checkpoints"):
            self.known = gr.HTML("", **html, elem_id="gr-e-known", elem_classes="gr-stacks")
        with gr.Accordion("History", open=True, elem_id="gr-e-history"):
            self.back = gr.Button("Roll back", size="sm", visible=False, elem_id="gr-e-back")
            self.events = gr.HTML("", **html, elem_id="gr-e-events", elem_classes="gr-stacks")

    @property
    def whole(self) -> list[Any]:
        """Everything that changes with the choice, and with a promotion."""
        return [
            self.now, self.checkpoint, self.report, self.gate, self.again, self.go, self.told, self.known, self.back,
            self.events,
        ]  # fmt: skip

    def wire(self, tab: gr.Tab) -> None:
        """Events to handlers."""
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        local: dict[str, Any] = {**hidden, "queue": False}
        chosen = [self.token, self.checkpoint, self.report]
        gr.on([tab.select, self.report.input], self.enter, chosen, self.whole, **local)
        self.checkpoint.input(self.choose, chosen[:2], self.whole, **local)
        self.again.click(self.evaluate_promoted, [self.token, self.report], self.whole, **local)
        self.go.click(
            self.let_live, [self.token, self.checkpoint, self.report, self.author, self.reason],
            [*self.whole, self.reason], concurrency_limit=2, concurrency_id="load", **hidden,
        )  # fmt: skip
        self.back.click(
            self.roll_back, [self.token, self.author, self.reason], [*self.whole, self.reason], concurrency_limit=2,
            concurrency_id="load", **hidden,
        )  # fmt: skip

    # -- choosing -------------------------------------------------------------------------------------------------

    def enter(self, http: gr.Request, offered: str, checkpoint: str | None, report: str | None) -> Changes:
        """The tab was opened, or another checkpoint or evaluation was chosen."""
        try:
            self.services.gate.check(offered, http.headers)
            return self.drawn(checkpoint, report)
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}

    def choose(self, http: gr.Request, offered: str, checkpoint: str | None) -> Changes:
        """Another checkpoint was chosen: its newest evaluation speaks for it."""
        return self.enter(http, offered, checkpoint, None)

    def drawn(self, checkpoint: str | None = None, report: str | None = None) -> Changes:
        """Everything as it is now.

        Raises:
            CheckpointError: the promotions cannot be read.
        """
        services = self.services
        lines = promotion.checkpoints(services)
        finished = {line.id: line for line in evaluations.evaluations(services) if line.report}
        speaking = {
            line.id: [finished[run] for run in line.reports if run in finished and _has_reasoning(finished[run].report)]
            for line in lines
            if not line.promoted
        }
        able = [line for line in lines if speaking.get(line.id)]
        if checkpoint not in [line.id for line in able]:
            checkpoint = able[0].id if able else None
        reports = present.report_choices(speaking[checkpoint], named=False) if checkpoint else []
        if report not in [run for _, run in reports]:
            report = reports[0][1] if reports else None
        known = promotion.registry(services)
        info = services.guard.status.info
        current = promotion.promoted(services)
        return {
            self.now: promote_present.about(current, known.id_of(info.source) if info else None),
            self.checkpoint: gr.Dropdown(
                [(f"{line.card.name} · {line.id}" if line.card else "Built-in", line.id) for line in able],
                value=checkpoint,
            ),
            self.report: gr.Dropdown(reports, value=report),
            self.known: promote_present.checkpoints(lines),
            self.events: promote_present.history(known.promotions()),
            self.back: self._back(known.stack()),
            self.told: "",
            **self._heard(checkpoint, report),
        }

    def _heard(self, checkpoint: str | None, report: str | None) -> Changes:
        """What the gate says of the choice; a reason is weighed when the button is pressed."""
        silent: Changes = {self.again: gr.Button(visible=False), self.go: gr.Button(interactive=False)}
        if not checkpoint or not report:
            return silent | {self.gate: promote_present.nothing()}
        try:
            asked = promotion.ask(self.services, checkpoint, report)
        except GuardroomError as error:
            return silent | {self.gate: message(str(error), "bad")}
        return {
            self.gate: compare_present.gate(asked),
            self.again: gr.Button(visible=asked.against is None),
            self.go: gr.Button(interactive=True),
        }

    def evaluate_promoted(self, http: gr.Request, offered: str, report: str | None) -> Changes:
        """Give the gate something to compare with."""
        try:
            self.services.gate.check(offered, http.headers)
            if not report:
                return {}
            evaluations.same_for_promoted(self.services, report, "owner")
        except GuardroomError as error:
            return {self.told: message(str(error), "bad")}
        said = "Started; it is in the list under Evaluations. Come back here when it is done."
        return {self.told: message(said, "good"), self.again: gr.Button(visible=False)}

    # -- acting ---------------------------------------------------------------------------------------------------

    def let_live(
        self, http: gr.Request, offered: str, checkpoint: str | None, report: str | None, author: str, reason: str
    ) -> Iterator[Changes]:
        """Let the chosen checkpoint go live."""

        def work(task: Task) -> Promotion:
            if not checkpoint or not report:
                raise PromotionRefused("Choose a checkpoint and one of its evaluations first.")
            event, _ = promotion.promote(
                self.services, checkpoint, report, author=author, reason=reason or "", tell=task.tell
            )
            return event

        yield from self._swapping(http, offered, work, "{} is promoted and live.")

    def roll_back(self, http: gr.Request, offered: str, author: str, reason: str) -> Iterator[Changes]:
        """Go back to what was promoted before."""

        def work(task: Task) -> Promotion:
            return promotion.rollback(self.services, author=author, reason=reason or "", tell=task.tell)

        yield from self._swapping(http, offered, work, "Rolled back: {} is promoted and live.")

    def _swapping(self, http: gr.Request, offered: str, work: Any, said: str) -> Iterator[Changes]:
        busy: Changes = {self.go: gr.Button(interactive=False), self.back: gr.Button(interactive=False)}
        try:
            self.services.gate.check(offered, http.headers)
            task = self.services.tasks.begin(TASK, work)
            yield busy | {self.told: progress_bar(0, "Asking the gate…")}
            for progress in task.follow():
                yield {self.told: progress_bar(progress.fraction, progress.message)}
            event = task.outcome.result()
        except GuardroomError as error:
            yield {self.told: message(str(error), "bad"), self.go: gr.Button(interactive=True),
                   self.back: gr.Button(interactive=True)}  # fmt: skip
            return
        yield self.drawn() | {self.told: message(said.format(event.checkpoint), "good"), self.reason: ""}

    def _back(self, stack: list[str]) -> Any:
        shown = len(stack) > 1
        return gr.Button(f"Roll back to {stack[-2]}" if shown else "", visible=shown, interactive=True)


def _has_reasoning(report: Any) -> bool:
    return bool(report) and report["look"] == "deliberation"
