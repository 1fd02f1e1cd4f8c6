"""Runs of the Train tab: their components and where they stand; what they do is in `app.train.runs.tab`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.train.runs import rollouts_layout
from app.train.runs.rollouts_layout import MinedParts, RolloutParts

HTML: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
EXPORT_WORDS = {"merged": ("merged weights", "merged"), "adapter": ("the adapter alone", "adapter")}

_OPEN_A_RUN = """element.addEventListener('click', (event) => {
  const name = event.target.closest('[data-open]');
  if (name) trigger('click', {run: name.dataset.open});
});"""


@dataclass(slots=True)
class RunParts:
    """What there is of runs."""

    none: gr.HTML
    shown: gr.Column
    head: gr.HTML
    cancel: gr.Button
    resume: gr.Button
    clone: gr.Button
    remove: gr.Button
    sure: gr.Group
    remove_now: gr.Button
    keep: gr.Button
    told: gr.HTML
    other: gr.Dropdown
    plots: gr.HTML
    mined: MinedParts
    rollouts: RolloutParts
    export: gr.Accordion
    made: gr.HTML
    export_form: gr.Radio
    export_go: gr.Button
    exported: gr.HTML
    files: gr.File
    log: gr.HTML
    command: gr.HTML
    listed: gr.HTML


def runs() -> RunParts:
    """What there is of runs: the one that is open, then all. Call inside a `gr.Tab`."""
    none = gr.HTML("", **HTML, elem_id="gr-t-none")
    with gr.Column(visible=False, elem_id="gr-t-opened") as shown:
        head = gr.HTML("", **HTML, elem_id="gr-t-head")
        with gr.Row(elem_id="gr-t-actions"):
            cancel = gr.Button("Cancel", size="sm", elem_id="gr-t-cancel")
            resume = gr.Button("Resume", size="sm", elem_id="gr-t-resume")
            clone = gr.Button("Clone with changes", size="sm", elem_id="gr-t-again")
            remove = gr.Button("Delete…", size="sm", elem_id="gr-t-remove")
            other = gr.Dropdown(
                [("nothing", "")], value="", label="Compare with", elem_id="gr-t-other", filterable=False,
                min_width=200,
            )  # fmt: skip
        with gr.Group(visible=False, elem_id="gr-t-sure") as sure:
            gr.HTML(
                '<p class="gr-message">The run goes for good, with its log, curves and checkpoints. Checkpoints in the '
                "registry stay.</p>",
                **HTML,
            )
            with gr.Row(elem_classes="gr-d-buttons"):
                remove_now = gr.Button("Delete for good", variant="stop", size="sm", elem_id="gr-t-remove-now")
                keep = gr.Button("Keep it", size="sm", elem_id="gr-t-keep")
        told = gr.HTML("", **HTML, elem_id="gr-t-run-told")
        mined = rollouts_layout.mined()
        plots = gr.HTML("", **HTML, elem_id="gr-t-curves")
        rollouts = rollouts_layout.rollouts()
        with gr.Accordion("Export the checkpoint", open=False, elem_id="gr-t-export", visible=False) as export:
            made = gr.HTML("", **HTML, elem_id="gr-t-made")
            with gr.Row(elem_classes="gr-d-buttons"):
                export_form = gr.Radio([EXPORT_WORDS["merged"]], label="Form", elem_id="gr-t-form", scale=3)
                export_go = gr.Button("Export", size="sm", elem_id="gr-t-export-go")
            exported = gr.HTML("", **HTML, elem_id="gr-t-exported")
            files = gr.File(label="Checkpoint", visible=False, elem_id="gr-t-files")
        with gr.Accordion("Log", open=True, elem_id="gr-t-logs"):
            log = gr.HTML("", **HTML, elem_id="gr-t-log")
        command = gr.HTML("", **HTML, elem_id="gr-t-run-command")
    gr.HTML("<h2>All runs</h2>", **HTML, elem_classes="gr-t-title", elem_id="gr-t-all")
    listed = gr.HTML("", js_on_load=_OPEN_A_RUN, apply_default_css=False, elem_id="gr-t-list", elem_classes="gr-stacks")
    return RunParts(
        none, shown, head, cancel, resume, clone, remove, sure, remove_now, keep, told, other, plots, mined,
        rollouts, export, made, export_form, export_go, exported, files, log, command, listed,
    )  # fmt: skip
