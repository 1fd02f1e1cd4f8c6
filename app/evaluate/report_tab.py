"""One evaluation's report: figures, plots, the wrong answers, and these into the review queue with one click."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.evaluate import present, report_present, rows_present
from app.evaluate import work as evaluations
from app.evaluate.to_review import errors_of, send_errors
from app.markup.media import Address
from app.markup.tables import progress_bar
from app.markup.text import message
from app.shared.services import Services
from app.shared.tasks import Task
from core.errors import GuardroomError

if TYPE_CHECKING:
    from annotation_store.mining.from_evaluation import Enqueued
    from app.evaluate.work import EvaluationLine
    from core.types import MediaRef

Changes = dict[Any, Any]

TASK = "sending to the review queue"


class ReportTab:
    """The components and their handlers."""

    def __init__(self, services: Services, token: gr.Textbox) -> None:
        self.services = services
        self.token = token
        html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
        self.which = gr.Dropdown([], label="Evaluation", elem_id="gr-e-which")
        self.page = gr.HTML(report_present.nothing(), **html, elem_id="gr-e-page")
        with gr.Column(visible=False, elem_id="gr-e-errors") as self.errors:
            gr.HTML("<h3>Wrong answers</h3>", **html)
            with gr.Row(elem_classes="gr-d-buttons"):
                self.send = gr.Button("Send all wrong answers to review", size="sm", elem_id="gr-e-send")
                self.sent = gr.HTML("", **html, elem_id="gr-e-sent")
            self.wrong = gr.HTML("", **html, elem_id="gr-e-wrong")
            self.more = gr.Button("Show more", size="sm", visible=False, elem_id="gr-e-more")
        self.shown = gr.State(rows_present.SHOWN)

    @property
    def whole(self) -> list[Any]:
        """Everything that another report changes."""
        return [self.which, self.page, self.errors, self.send, self.sent, self.wrong, self.more, self.shown]

    def wire(self) -> None:
        """Events to handlers."""
        hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        self.which.input(self.open, [self.token, self.which], self.whole, queue=False, **hidden)
        self.more.click(
            self.show_more, [self.token, self.which, self.shown], [self.wrong, self.more, self.shown], queue=False,
            **hidden,
        )  # fmt: skip
        self.send.click(self.send_all, [self.token, self.which], [self.sent, self.send], concurrency_limit=2, **hidden)

    def finished(self) -> list[EvaluationLine]:
        """Evaluations with a report, the newest first."""
        return [line for line in evaluations.evaluations(self.services) if line.report]

    def closed(self) -> Changes:
        """No report is there to be shown."""
        return {
            self.which: gr.Dropdown([], value=None),
            self.page: report_present.nothing(),
            self.errors: gr.Column(visible=False),
        }

    def open(self, http: gr.Request, offered: str, run: str | None) -> Changes:
        """Show a report."""
        try:
            self.services.gate.check(offered, http.headers)
            return self.opened(run) if run else {}
        except GuardroomError as error:
            return {self.page: message(str(error), "bad"), self.errors: gr.Column(visible=False)}

    def opened(self, run: str) -> Changes:
        """A report with its wrong answers.

        Raises:
            JobError: there is none, or its answers cannot be read.
        """
        report = evaluations.report_of(self.services, run)
        return {
            self.which: gr.Dropdown(present.report_choices(self.finished()), value=run),
            self.page: report_present.page(report),
            self.errors: gr.Column(visible=True),
            self.sent: "",
            **self._wrong(run, rows_present.SHOWN),
        }

    def show_more(self, http: gr.Request, offered: str, run: str | None, shown: int) -> Changes:
        """Some more wrong answers."""
        try:
            self.services.gate.check(offered, http.headers)
            return self._wrong(run, shown + rows_present.SHOWN, anew=False) if run else {}
        except GuardroomError as error:
            return {self.wrong: message(str(error), "bad")}

    def _wrong(self, run: str, shown: int, *, anew: bool = True) -> Changes:
        rows = errors_of(self.services, run)
        changes: Changes = {
            self.wrong: rows_present.wrong(rows, shown, self.address(run)),
            self.more: gr.Button(visible=len(rows) > shown),
            self.shown: shown,
        }
        words = f"Send {'the wrong answer' if len(rows) == 1 else f'all {len(rows):,} wrong answers'} to review"
        return changes | ({self.send: gr.Button(words, interactive=bool(rows), visible=bool(rows))} if anew else {})

    def address(self, run: str) -> Address:
        """Where the page finds the media of an evaluation."""

        def of(ref: MediaRef) -> str:
            return self.services.addresses.of(ref, run)

        return of

    def send_all(self, offered: str, run: str | None, http: gr.Request) -> Iterator[Changes]:
        """Put the wrong answers into the review queue."""
        try:
            self.services.gate.check(offered, http.headers)
            if not run:
                return
            chosen = run

            def work(task: Task) -> tuple[Enqueued, str]:
                return send_errors(self.services, chosen, "owner", on_done=lambda done, total: task.tell((done, total)))

            task = self.services.tasks.begin(TASK, work)
            yield {self.sent: progress_bar(0, "Reading…"), self.send: gr.Button(interactive=False)}
            for done, total in task.follow():
                yield {self.sent: progress_bar(done / max(total, 1), f"{done:,} of {total:,}")}
            _, words = task.outcome.result()
            yield {self.sent: message(words, "good"), self.send: gr.Button(interactive=False)}
        except GuardroomError as error:
            yield {self.sent: message(str(error), "bad"), self.send: gr.Button(interactive=True)}
