"""The lock before a tab that is the owner's: it asks for the token, and shows the tab once the token is right."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.markup.text import message
from app.shared.services import Services
from core.errors import GuardroomError

Changes = dict[Any, Any]


class OwnerLock:
    """Laid out where it is made, with the hidden column `inside` beneath; whoever makes it fills that."""

    def __init__(self, services: Services, letter: str, why: str) -> None:
        """Lay it out.

        Args:
            letter: of the tab, in the ids of the page's elements.
            why: what there is to protect, in a sentence.
        """
        self._gate = services.gate
        with gr.Group(elem_id=f"gr-{letter}-lock", visible=False) as self.group:
            with gr.Row():
                self.token = gr.Textbox(
                    label="Owner's token", info=f"Asked for because others can reach this app: {why}",
                    type="password", elem_id=f"gr-{letter}-token", scale=4,
                )  # fmt: skip
                self.unlock = gr.Button(
                    "Open", size="sm", variant="primary", elem_id=f"gr-{letter}-unlock", scale=0, min_width=110
                )
            self.told = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id=f"gr-{letter}-locked")
        self.inside = gr.Column(elem_id=f"gr-{letter}-inside", visible=False)
        self.parts = [self.group, self.token, self.told, self.inside]

    def asked(self, tab: gr.Tab) -> list[Any]:
        """The events at which somebody wants to enter."""
        return [tab.select, self.unlock.click, self.token.submit]

    def opened(self) -> Changes:
        """The inside instead of the lock."""
        return {self.group: gr.Group(visible=False), self.inside: gr.Column(visible=True), self.told: ""}

    def refused(self, error: GuardroomError, offered: str | None, http: gr.Request) -> Changes:
        """The lock, with the reason once a token was offered."""
        asked = self._gate.needs_token(http.headers)
        said = "" if asked and not offered else message(str(error), "bad")
        return {self.group: gr.Group(visible=True), self.token: gr.Textbox(visible=asked), self.told: said}
