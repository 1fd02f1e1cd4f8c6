"""What a run by reinforcement shows beside its curves, its hard samples and its rollouts: components and places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

HTML: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
FORMS = [("JSON lines", "jsonl"), ("Parquet", "parquet")]

# A completion that is opened holds the rollout that is shown: the next one would take it away from whoever reads it.
_ASKED = """
const send = (asked) => trigger('click', asked);
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-g-do]');
  if (button && !button.disabled) send({do: button.dataset.gDo, to: button.dataset.gTo ?? ''});
});
element.addEventListener('change', (event) => {
  if (event.target.matches('[data-g-range]')) send({do: 'at', to: event.target.value});
});
element.addEventListener('toggle', (event) => {
  const bar = document.querySelector('.gr-g-bar[data-following=true]');
  if (event.target.open && bar) send({do: 'step', to: bar.dataset.step});
}, true);
"""


@dataclass(slots=True)
class MinedParts:
    """The hard samples of a run."""

    whole: gr.Accordion
    found: gr.HTML
    sending: gr.Row
    send: gr.Button
    reopen: gr.Checkbox
    sent: gr.HTML


@dataclass(slots=True)
class RolloutParts:
    """The rollouts of a run."""

    whole: gr.Accordion
    bar: gr.HTML
    through: gr.HTML
    groups: gr.HTML
    exporting: gr.Row
    form: gr.Radio
    export: gr.Button
    exported: gr.HTML
    file: gr.File


def mined() -> MinedParts:
    """The hard samples."""
    with gr.Accordion("Hard samples", open=False, elem_id="gr-t-hard", visible=False) as whole:
        found = gr.HTML("", **HTML, elem_id="gr-g-found")
        with gr.Row(visible=False, elem_classes="gr-d-buttons") as sending:
            send = gr.Button("Send them to review", size="sm", elem_id="gr-g-send")
            reopen = gr.Checkbox(
                False, label="also those that a reviewer has decided", elem_id="gr-g-reopen", container=False,
                min_width=200,
            )  # fmt: skip
        sent = gr.HTML("", **HTML, elem_id="gr-g-sent")
    return MinedParts(whole, found, sending, send, reopen, sent)


def rollouts() -> RolloutParts:
    """The rollouts."""
    asks: dict[str, Any] = {"js_on_load": _ASKED, "apply_default_css": False}
    with gr.Accordion("Rollouts", open=True, elem_id="gr-t-rollouts", visible=False) as whole:
        bar = gr.HTML("", **asks, elem_id="gr-g-where")
        through = gr.HTML("", **asks, elem_id="gr-g-followed")
        groups = gr.HTML("", **asks, elem_id="gr-g-groups")
        with gr.Row(visible=False, elem_classes="gr-d-buttons", elem_id="gr-g-exporting") as exporting:
            form = gr.Radio(FORMS, value="jsonl", label="All completions as", elem_id="gr-g-form", min_width=200)
            export = gr.Button("Export", size="sm", elem_id="gr-g-export")
        exported = gr.HTML("", **HTML, elem_id="gr-g-exported")
        file = gr.File(label="Rollouts", visible=False, elem_id="gr-g-file")
    return RolloutParts(whole, bar, through, groups, exporting, form, export, exported, file)
