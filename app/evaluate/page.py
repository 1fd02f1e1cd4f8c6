"""The Evaluate tab as a whole: who may see it, its four parts, and the buttons inside their tables."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from app.evaluate.compare_tab import CompareTab
from app.evaluate.promote_tab import PromoteTab
from app.evaluate.report_tab import ReportTab
from app.evaluate.tab import EvaluateTab
from app.markup.text import message
from app.shared.owner_lock import OwnerLock
from app.shared.services import Services
from core.errors import GuardroomError

Changes = dict[Any, Any]

# Values are read when the event is sent, so the script hands its message over in this very moment.
_TAKE_MESSAGE = "(message, ...rest) => [window.guardroomEvaluate.take(), ...rest]"


def build(services: Services, tab: gr.Tab) -> None:
    """Lay the tab out and wire it. Call inside `tab`."""
    _EvaluatePage(services).wire(tab)


class _EvaluatePage:
    """The lock, the parts, and what leads from one to another."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.lock = OwnerLock(services, "e", "evaluations load checkpoints and show samples.")
        self.token = self.lock.token
        with self.lock.inside, gr.Tabs(elem_id="gr-e-tabs") as self.tabs:
            with gr.Tab("Evaluations", id="runs") as self.runs_tab:
                self.runs = EvaluateTab(services, self.token)
            with gr.Tab("Report", id="report") as self.report_tab:
                self.report = ReportTab(services, self.token)
            with gr.Tab("Side by side", id="compare") as self.compare_tab:
                self.compare = CompareTab(services, self.token)
            with gr.Tab("Promote", id="promote") as self.promote_tab:
                self.promote = PromoteTab(services, self.token)
        self.message = gr.Textbox("", visible="hidden", elem_id="gr-e-message")
        self.act = gr.Button("act", visible="hidden", elem_id="gr-e-act")

    def wire(self, tab: gr.Tab) -> None:
        """Events to handlers."""
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        self.runs.wire()
        self.report.wire()
        self.compare.wire(self.compare_tab)
        self.promote.wire(self.promote_tab)
        fresh = [*self.runs.form, *self.runs.moving]
        gr.on(self.lock.asked(tab), self.enter, self.token, [*self.lock.parts, *fresh], **local)
        self.runs_tab.select(self.look_again, self.token, fresh, **local)
        self.report_tab.select(self.show, [self.token, self.report.which], self.report.whole, **local)
        self.act.click(
            self.do, [self.message, self.token],
            [self.tabs, *fresh, *self.report.whole, *self.promote.whole], js=_TAKE_MESSAGE, **local,
        )  # fmt: skip

    def enter(self, http: gr.Request, offered: str | None) -> Changes:
        """The tab was opened: the owner sees what there is, everybody else is asked for the token."""
        try:
            self.services.gate.check(offered, http.headers)
            shown = self.runs.choices() | self.runs.drawn()
        except GuardroomError as error:
            return self.lock.refused(error, offered, http)
        return self.lock.opened() | shown

    def look_again(self, http: gr.Request, offered: str | None) -> Changes:
        """The list was opened again."""
        try:
            self.services.gate.check(offered, http.headers)
            return self.runs.choices() | self.runs.drawn()
        except GuardroomError as error:
            return {self.runs.told: message(str(error), "bad")}

    def show(self, http: gr.Request, offered: str, run: str | None) -> Changes:
        """The report was opened: the one that is chosen, or the newest."""
        try:
            self.services.gate.check(offered, http.headers)
            known = [line.id for line in self.report.finished()]
            run = run if run in known else next(iter(known), None)
            return self.report.opened(run) if run else self.report.closed()
        except GuardroomError as error:
            return {self.report.page: message(str(error), "bad")}

    def do(self, http: gr.Request, said: str, offered: str) -> Changes:
        """A button inside a table was pressed."""
        try:
            self.services.gate.check(offered, http.headers)
            told = json.loads(said or "{}")
            does, run = str(told.get("do")), str(told.get("run"))
            match does:
                case "open":
                    return {self.tabs: gr.Tabs(selected="report")} | self.report.opened(run)
                case "choose":
                    return {self.tabs: gr.Tabs(selected="promote")} | self.promote.drawn(run)
                case "evaluate":
                    return {self.tabs: gr.Tabs(selected="runs")} | self.runs.choices(run) | self.runs.drawn()
                case _:
                    return self.runs.change(does, run)
        except (GuardroomError, ValueError, AttributeError) as error:
            said = message(str(error), "bad")  # wherever the button was
            return {self.runs.told: said, self.promote.told: said}
