"""The Train tab's components and where they stand; what they do is in `app.train_start` and `app.train_runs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import train_form
from app.train_form import FieldSpec
from core.settings import BUILTIN

HTML: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
BY_PEOPLE, ANY_LABEL = "by_people", "yes"
FREEZABLE = [("all labelled samples", ANY_LABEL), ("samples that people have labelled", BY_PEOPLE)]
EXPORT_WORDS = {"merged": ("merged weights", "merged"), "adapter": ("the adapter alone", "adapter")}

_OPEN_A_RUN = """element.addEventListener('click', (event) => {
  const name = event.target.closest('[data-open]');
  if (name) trigger('click', {run: name.dataset.open});
});"""


@dataclass(slots=True)
class StartParts:
    """A new run."""

    empty: gr.HTML
    snapshot: gr.Dropdown
    freezing: gr.Accordion
    freeze_name: gr.Textbox
    freeze_what: gr.Dropdown
    freeze: gr.Button
    frozen: gr.HTML
    counts: gr.HTML
    leak_file: gr.File
    leak_path: gr.Textbox
    leak_check: gr.Button
    leak_stop: gr.Button
    leaks: gr.HTML
    clone: gr.HTML
    name: gr.Textbox
    base: gr.Dropdown
    device: gr.Dropdown
    recipe: gr.Dropdown
    about: gr.HTML
    fields: list[Any]
    """As `train_form.fields`, and at the end which picture sizes are taken."""
    sizes: gr.Row
    """Where the picture sizes are written; hidden while the checkpoint's own are taken."""
    teacher_url: gr.Textbox
    teacher_model: gr.Textbox
    estimate: gr.HTML
    start: gr.Button
    told: gr.HTML
    command: gr.HTML

    @property
    def chosen(self) -> list[Any]:
        """What a job is made of, in the order in which handlers take it."""
        return [
            self.snapshot, self.name, self.base, self.device, self.recipe, self.teacher_url, self.teacher_model,
            *self.fields,
        ]  # fmt: skip


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
    export: gr.Accordion
    made: gr.HTML
    export_form: gr.Radio
    export_go: gr.Button
    exported: gr.HTML
    files: gr.File
    log: gr.HTML
    command: gr.HTML
    listed: gr.HTML


def start() -> StartParts:
    """A new run, in the order in which it is filled in. Call inside a `gr.Tab`."""
    with gr.Row(elem_id="gr-t-new", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="gr-t-data"):
            gr.HTML("<h2>Data</h2>", **HTML, elem_classes="gr-t-title")
            empty = gr.HTML("", **HTML, elem_id="gr-t-empty")
            snapshot = gr.Dropdown([], label="Snapshot", elem_id="gr-t-snapshot", filterable=False)
            freezing = gr.Accordion("Freeze a snapshot here", open=False, elem_id="gr-t-freezing")
            with freezing, gr.Row(elem_classes="gr-d-buttons"):
                freeze_name = gr.Textbox(
                    label="Name", placeholder="for example: first hundred", elem_id="gr-t-freeze-name", scale=3,
                    min_width=140,
                )  # fmt: skip
                freeze_what = gr.Dropdown(
                    FREEZABLE, value=ANY_LABEL, label="Of", elem_id="gr-t-freeze-what", scale=3, min_width=140,
                    filterable=False,
                )  # fmt: skip
                freeze = gr.Button("Freeze", size="sm", elem_id="gr-t-freeze")
            frozen = gr.HTML("", **HTML, elem_id="gr-t-frozen")
            counts = gr.HTML("", **HTML, elem_id="gr-t-counts")
            with gr.Accordion("Is an evaluation file in it?", open=False, elem_id="gr-t-leakage"):
                with gr.Row():
                    leak_file = gr.File(label="A file (JSONL)", height=140, elem_id="gr-t-leak-file")
                    leak_path = gr.Textbox(
                        label="or a path on this machine",
                        info="One JSON object a line with id and request, and response or media where there are any.",
                        elem_id="gr-t-leak-path",
                    )
                with gr.Row(elem_classes="gr-d-buttons"):
                    leak_check = gr.Button("Compare", size="sm", elem_id="gr-t-leak-check")
                    leak_stop = gr.Button("Stop", size="sm", elem_id="gr-t-leak-stop")
                leaks = gr.HTML("", **HTML, elem_id="gr-t-leaks")
        with gr.Column(scale=6, min_width=320, elem_id="gr-t-how"):
            gr.HTML("<h2>Training</h2>", **HTML, elem_classes="gr-t-title")
            clone = gr.HTML("", **HTML, elem_id="gr-t-clone")
            with gr.Row():
                base = gr.Dropdown(
                    [("Built-in", BUILTIN)], value=BUILTIN, allow_custom_value=True, label="Base checkpoint",
                    info="One of these, a folder, or a Hub id.", elem_id="gr-t-base", scale=3, min_width=180,
                )  # fmt: skip
                device = gr.Dropdown(
                    [("CPU", "cpu")], value="cpu", label="Device", info="One job computes on it at a time.",
                    elem_id="gr-t-device", scale=2, min_width=140, filterable=False,
                )  # fmt: skip
            recipe = gr.Dropdown([], label="Recipe", elem_id="gr-t-recipe", filterable=False)
            about = gr.HTML("", **HTML, elem_id="gr-t-about")
            every = train_form.fields()
            short = len(train_form.SHORT)
            with gr.Row(elem_id="gr-t-short"):
                name = gr.Textbox(label="Name", placeholder="the recipe's", elem_id="gr-t-name", min_width=150)
                fields = [_field(each, 120) for each in every[:short]]
            with gr.Accordion("Advanced", open=False, elem_id="gr-t-advanced"):
                plain = [each for each in every[short:] if "." not in each.name]
                pictured = [each for each in every[short:] if "." in each.name]
                with gr.Row(elem_classes="gr-t-grid"):
                    fields += [_field(each, 170) for each in plain]
                with gr.Row():
                    teacher_url = gr.Textbox(
                        label="Or a teaching server", placeholder="http://localhost:8000/v1", min_width=170, scale=3,
                        info="An OpenAI-compatible address that writes missing reasoning in the guard's place.",
                        elem_id="gr-t-teacher-url",
                    )  # fmt: skip
                    teacher_model = gr.Textbox(
                        label="Its model", placeholder="its first", info="By its name on that server.", min_width=120,
                        scale=2, elem_id="gr-t-teacher-model",
                    )  # fmt: skip
                pictures = gr.Radio(
                    train_form.PICTURE_CHOICES, value=train_form.OWN_PICTURES, label="Pictures and frames",
                    info="How media become pixels in training; serving keeps the checkpoint's own.",
                    elem_id="gr-t-sizes",
                )  # fmt: skip
                with gr.Row(elem_classes="gr-t-grid", visible=False) as sizes:
                    fields += [_field(each, 170) for each in pictured]
            estimate = gr.HTML("", **HTML, elem_id="gr-t-estimate")
            with gr.Row(elem_id="gr-t-go"):
                begin = gr.Button("Start", variant="primary", elem_id="gr-t-start", min_width=140)
                told = gr.HTML("", **HTML, elem_id="gr-t-told")
            command = gr.HTML("", **HTML, elem_id="gr-t-command")
    return StartParts(
        empty, snapshot, freezing, freeze_name, freeze_what, freeze, frozen, counts, leak_file, leak_path, leak_check,
        leak_stop, leaks, clone, name, base, device, recipe, about, [*fields, pictures], sizes, teacher_url,
        teacher_model, estimate, begin, told, command,
    )  # fmt: skip


def _field(spec: FieldSpec, width: int) -> Any:
    more: dict[str, Any] = {
        "label": spec.label, "info": spec.info or None, "min_width": width,
        "elem_id": f"gr-t-{spec.name.replace('.', '-').replace('_', '-')}",
    }  # fmt: skip
    if spec.kind == "choice":
        return gr.Dropdown(list(spec.choices), value=spec.choices[0][1], filterable=False, **more)
    if spec.kind == "yes or no":
        return gr.Checkbox(value=False, **more)
    # No bounds in the browser: what is out of bounds is refused by the recipe, in a sentence.
    return gr.Number(value=None, precision=0 if spec.kind == "whole" else None, **more)


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
        plots = gr.HTML("", **HTML, elem_id="gr-t-curves")
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
    gr.HTML("<h2>All runs</h2>", **HTML, elem_classes="gr-t-title")
    listed = gr.HTML("", js_on_load=_OPEN_A_RUN, apply_default_css=False, elem_id="gr-t-list")
    return RunParts(
        none, shown, head, cancel, resume, clone, remove, sure, remove_now, keep, told, other, plots, export,
        made, export_form, export_go, exported, files, log, command, listed,
    )  # fmt: skip
