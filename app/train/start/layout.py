"""A new run of the Train tab: its components and where they stand; what they do is in `app.train.start.tab`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.train.start import form as train_form
from app.train.start.form import FieldSpec, Section
from core.settings import BUILTIN
from train_jobs.runs.specs import JobKind

HTML: dict[str, Any] = {"js_on_load": None, "apply_default_css": False}
BY_PEOPLE, ANY_LABEL = "by_people", "yes"
FREEZABLE = [("all labelled samples", ANY_LABEL), ("samples that people have labelled", BY_PEOPLE)]
STAGES = [("1 Learn from labels (SFT)", JobKind.SFT.value), ("2 Reinforce (GRPO)", JobKind.GRPO.value)]
_IDS = {JobKind.SFT: "gr-t", JobKind.GRPO: "gr-g"}


@dataclass(slots=True)
class KindParts:
    """What belongs to one kind of recipe; hidden while the recipe is of the other."""

    kind: JobKind
    groups: list[gr.Column]
    fields: list[Any]
    """As `train_form.fields`, and at the end which picture sizes are taken."""
    sizes: gr.Row
    """Where the picture sizes are written; hidden while the checkpoint's own are taken."""

    def field(self, name: str) -> Any:
        """The component of a field."""
        return self.fields[[each.name for each in train_form.fields(self.kind)].index(name)]


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
    base: gr.Dropdown
    device: gr.Dropdown
    name: gr.Textbox
    stage: gr.Radio
    recipe: gr.Dropdown
    about: gr.HTML
    kinds: dict[JobKind, KindParts]
    chart: gr.HTML
    """What the chosen reward gives by length."""
    join: gr.Button
    joined: gr.HTML
    teacher_url: gr.Textbox
    teacher_model: gr.Textbox
    accelerate: gr.Textbox
    estimate: gr.HTML
    start: gr.Button
    told: gr.HTML
    command: gr.HTML

    @property
    def fields(self) -> list[Any]:
        """Those of every kind, in the order of the stages."""
        return [each for kind in train_form.PLANS for each in self.kinds[kind].fields]

    @property
    def chosen(self) -> list[Any]:
        """What a job is made of, in the order in which handlers take it."""
        return [
            self.snapshot, self.name, self.base, self.device, self.recipe, self.teacher_url, self.teacher_model,
            self.accelerate, *self.fields,
        ]  # fmt: skip


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
                    label="Name", placeholder="first hundred", elem_id="gr-t-freeze-name", scale=2,
                    min_width=140, max_lines=1,
                )  # fmt: skip
                freeze_what = gr.Dropdown(
                    FREEZABLE, value=ANY_LABEL, label="Of", elem_id="gr-t-freeze-what", scale=3, min_width=200,
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
                        max_lines=1, elem_id="gr-t-leak-path",
                    )  # fmt: skip
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
                    [("CPU", "cpu")], value="cpu", label="Device", info="One job at a time.",
                    elem_id="gr-t-device", scale=2, min_width=140, filterable=False,
                )  # fmt: skip
                name = gr.Textbox(
                    label="Name", placeholder="the recipe's", elem_id="gr-t-name", scale=2, min_width=140,
                    info="What the run is called.", max_lines=1,
                )  # fmt: skip
            stage = gr.Radio(
                STAGES, value=JobKind.SFT.value, label="Stage", elem_id="gr-t-stage",
                info="The second builds on a base that reasons: one that came of the first, or a released one.",
            )  # fmt: skip
            recipe = gr.Dropdown([], label="Recipe", elem_id="gr-t-recipe", filterable=False)
            about = gr.HTML("", **HTML, elem_id="gr-t-about")
            made = {kind: _Maker(kind) for kind in train_form.PLANS}
            with made[JobKind.SFT].group():
                made[JobKind.SFT].short()
            with made[JobKind.GRPO].group():
                made[JobKind.GRPO].short()
                with gr.Row(elem_id="gr-g-reward", equal_height=False):
                    with gr.Column(scale=5, min_width=260):
                        made[JobKind.GRPO].section(train_form.SHOWN)
                    with gr.Column(scale=5, min_width=260):
                        chart = gr.HTML("", **HTML, elem_id="gr-g-chart")
            with gr.Accordion("Advanced", open=False, elem_id="gr-t-advanced"):
                with made[JobKind.SFT].group():
                    for section in made[JobKind.SFT].sections:
                        made[JobKind.SFT].section(section.key)
                    with gr.Row():
                        teacher_url = gr.Textbox(
                            label="Or a teaching server", placeholder="http://localhost:8000/v1", min_width=170,
                            info="An OpenAI-compatible address that writes missing reasoning in the guard's place.",
                            elem_id="gr-t-teacher-url", scale=3,
                        )  # fmt: skip
                        teacher_model = gr.Textbox(
                            label="Its model", placeholder="its first", info="By its name on that server.",
                            min_width=120, scale=2, elem_id="gr-t-teacher-model",
                        )  # fmt: skip
                    made[JobKind.SFT].pictures()
                with made[JobKind.GRPO].group():
                    for section in made[JobKind.GRPO].sections:
                        if section.key == train_form.SHOWN:
                            continue
                        made[JobKind.GRPO].section(section.key)
                        if section.key == "concatenation":
                            join = gr.Button("Show joined samples", size="sm", elem_id="gr-g-join")
                            joined = gr.HTML("", **HTML, elem_id="gr-g-joined")
                    made[JobKind.GRPO].pictures()
                _title("Several processes")
                accelerate = gr.Textbox(
                    label="Accelerate configuration", placeholder="one process", elem_id="gr-t-accelerate",
                    info="A file on this machine, written by `accelerate config` or like those in assets/accelerate: "
                    "the job runs in its processes.",
                )  # fmt: skip
            estimate = gr.HTML("", **HTML, elem_id="gr-t-estimate")
            with gr.Row(elem_id="gr-t-go"):
                begin = gr.Button("Start", variant="primary", elem_id="gr-t-start", min_width=140)
                told = gr.HTML("", **HTML, elem_id="gr-t-told")
            command = gr.HTML("", **HTML, elem_id="gr-t-command")
    return StartParts(
        empty, snapshot, freezing, freeze_name, freeze_what, freeze, frozen, counts, leak_file, leak_path, leak_check,
        leak_stop, leaks, clone, base, device, name, stage, recipe, about,
        {kind: maker.parts() for kind, maker in made.items()}, chart, join, joined, teacher_url, teacher_model,
        accelerate, estimate, begin, told, command,
    )  # fmt: skip


class _Maker:
    """Makes the fields of one kind of recipe, wherever they stand, and keeps them in the order of the form."""

    def __init__(self, kind: JobKind) -> None:
        self.kind = kind
        self._specs = {each.name: each for each in train_form.fields(kind)}
        self._made: dict[str, Any] = {}
        self._groups: list[gr.Column] = []
        self._sizes: gr.Row
        self._which: gr.Radio

    @property
    def sections(self) -> tuple[Section, ...]:
        """In the order of the form."""
        return train_form.PLANS[self.kind].sections

    def group(self) -> gr.Column:
        """A column that is shown with this kind alone."""
        at = len(self._groups)
        column = gr.Column(
            visible=self.kind is JobKind.SFT, elem_id=f"{_IDS[self.kind]}-group-{at}", elem_classes="gr-t-group"
        )
        self._groups.append(column)
        return column

    def short(self) -> None:
        """What is asked for at once."""
        with gr.Row(elem_classes="gr-t-short"):
            self._make(train_form.PLANS[self.kind].short, 110)

    def section(self, key: str) -> None:
        """A titled section: numbers and choices in a grid, then what is switched on or off."""
        section = next(each for each in self.sections if each.key == key)
        _title(section.title)
        switches = [name for name in section.names if self._specs[name].kind == "yes or no"]
        with gr.Row(elem_classes="gr-t-grid"):
            self._make([name for name in section.names if name not in switches], 150)
        if switches:
            with gr.Row(elem_classes="gr-t-switches"):
                self._make(switches, 220)

    def pictures(self) -> None:
        """How media become pixels."""
        prefix = _IDS[self.kind]
        _title("Pictures and frames")
        self._which = gr.Radio(
            train_form.PICTURE_CHOICES, value=train_form.OWN_PICTURES, label="Sizes", elem_id=f"{prefix}-sizes",
            info="How media become pixels in training; serving keeps the checkpoint's own.",
        )  # fmt: skip
        names = [name for name in self._specs if name.startswith(f"{train_form.PICTURES}.")]
        with gr.Row(elem_classes="gr-t-grid", visible=False) as self._sizes:
            self._make(names, 150)

    def parts(self) -> KindParts:
        """All that was made."""
        fields = [self._made[name] for name in self._specs]
        return KindParts(self.kind, self._groups, [*fields, self._which], self._sizes)

    def _make(self, names: Iterable[str], width: int) -> None:
        for name in names:
            self._made[name] = _field(self._specs[name], _IDS[self.kind], width)


def _title(words: str) -> None:
    gr.HTML(f"<h3>{words}</h3>", **HTML, elem_classes="gr-t-section")


def _field(spec: FieldSpec, prefix: str, width: int) -> Any:
    more: dict[str, Any] = {
        "label": spec.label, "info": spec.info or None, "min_width": width,
        "elem_id": f"{prefix}-{spec.name.replace('.', '-').replace('_', '-')}",
    }  # fmt: skip
    if spec.kind == "choice":
        return gr.Dropdown(list(spec.choices), value=spec.choices[0][1], filterable=False, **more)
    if spec.kind == "yes or no":
        return gr.Checkbox(value=False, **more)
    if spec.kind == "text":
        return gr.Textbox("", max_lines=1, **more)
    # No bounds in the browser: what is out of bounds is refused by the recipe, in a sentence.
    return gr.Number(value=None, precision=0 if spec.kind == "whole" else None, **more)
