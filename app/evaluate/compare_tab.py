"""Two evaluations side by side: what was gained and lost, and the samples that flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.evaluate import compare_present, present, rows_present
from app.evaluate import work as evaluations
from app.markup.text import message
from app.shared import promotion
from app.shared.services import Services
from core.errors import GuardroomError

if TYPE_CHECKING:
    from core.evaluation.comparison import Comparison
    from core.types import MediaRef

Changes = dict[Any, Any]


class CompareTab:
    """The components and their handlers."""

    def __init__(self, services: Services, token: gr.Textbox) -> None:
        self.services = services
        self.token = token
        self._last: tuple[tuple[str, str], Comparison] | None = None
        """The last comparison: looking at more of its flips need not draw samples anew."""
        html: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
        with gr.Row():
            self.before = gr.Dropdown([], label="Before", elem_id="gr-e-before", min_width=230)
            self.after = gr.Dropdown([], label="After", elem_id="gr-e-after", min_width=230)
        self.page = gr.HTML(compare_present.nothing(0), **html, elem_id="gr-e-compared")
        with gr.Column(visible=False, elem_id="gr-e-flips") as self.flips:
            gr.HTML("<h3>Samples that flipped</h3>", **html)
            self.kind = gr.Radio([], show_label=False, container=False, elem_id="gr-e-kind")
            self.listed = gr.HTML("", **html, elem_id="gr-e-flipped")
            self.more = gr.Button("Show more", size="sm", visible=False, elem_id="gr-e-more-flips")
        self.shown = gr.State(rows_present.SHOWN)

    @property
    def whole(self) -> list[Any]:
        """Everything that another comparison changes."""
        return [self.before, self.after, self.page, self.flips, self.kind, self.listed, self.more, self.shown]

    def wire(self, tab: gr.Tab) -> None:
        """Events to handlers."""
        local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        both = [self.token, self.before, self.after]
        gr.on([self.before.input, self.after.input], self.compare, both, self.whole, **local)
        tab.select(self.enter, both, self.whole, **local)
        self.kind.input(self.filter, [*both, self.kind], self.whole, **local)
        self.more.click(self.show_more, [*both, self.kind, self.shown], self.whole, **local)

    def enter(self, http: gr.Request, offered: str, before: str | None, after: str | None) -> Changes:
        """The tab was opened: what can be chosen, with the two newest that have rows in common chosen already."""
        try:
            self.services.gate.check(offered, http.headers)
            lines = [line for line in evaluations.evaluations(self.services) if line.report]
            known = [line.id for line in lines]
            after = after if after in known else next(iter(known), None)
            if before not in known or before == after:
                sets = {line.id: set(line.sets) for line in lines}
                before = next((each for each in known if after and each != after and sets[each] & sets[after]), None)
            choices = present.report_choices(lines)
            chosen = {
                self.before: gr.Dropdown(choices, value=before),
                self.after: gr.Dropdown(choices, value=after),
            }
            if before is None or after is None:
                return chosen | {
                    self.page: compare_present.nothing(len(lines)), self.flips: gr.Column(visible=False)
                }  # fmt: skip
            return chosen | self._compared(before, after)
        except GuardroomError as error:
            return self._failed(error)

    def compare(self, http: gr.Request, offered: str, before: str | None, after: str | None) -> Changes:
        """Lay two evaluations side by side."""
        try:
            self.services.gate.check(offered, http.headers)
            return self._compared(before, after) if before and after else {}
        except GuardroomError as error:
            return self._failed(error)

    def filter(self, http: gr.Request, offered: str, before: str, after: str, kind: str) -> Changes:
        """Show another kind of flips."""
        return self.show_more(http, offered, before, after, kind, 0)

    def show_more(self, http: gr.Request, offered: str, before: str, after: str, kind: str, shown: int) -> Changes:
        """Show some more flips."""
        try:
            self.services.gate.check(offered, http.headers)
            return self._flips(self._found(before, after), after, kind, shown + rows_present.SHOWN)
        except GuardroomError as error:
            return self._failed(error)

    def _found(self, before: str, after: str) -> Comparison:
        if self._last is None or self._last[0] != (before, after):
            self._last = (before, after), promotion.compare_reports(self.services, before, after)
        return self._last[1]

    def _compared(self, before: str, after: str) -> Changes:
        found = self._found(before, after)
        reports = [evaluations.report_of(self.services, each) for each in (before, after)]
        choices = compare_present.flip_choices(found)
        kinds = dict(compare_present.FLIPS)
        chosen = next((name for _, name in choices if any(f.mended is kinds[name] for f in found.flips)), choices[0][1])
        return {
            self.page: compare_present.page(found, *reports),
            self.flips: gr.Column(visible=bool(found.rows)),
            self.kind: gr.Radio(choices, value=chosen),
            **self._flips(found, after, chosen, rows_present.SHOWN),
        }

    def _flips(self, found: Comparison, after: str, kind: str, shown: int) -> Changes:
        wanted = [each for each in found.flips if each.mended is dict(compare_present.FLIPS)[kind]]

        def address(ref: MediaRef) -> str:
            return self.services.addresses.of(ref, after)

        return {
            self.listed: rows_present.flips(wanted, shown, address),
            self.more: gr.Button(visible=len(wanted) > shown),
            self.shown: shown,
        }

    def _failed(self, error: GuardroomError) -> Changes:
        return {self.page: message(str(error), "bad"), self.flips: gr.Column(visible=False)}
