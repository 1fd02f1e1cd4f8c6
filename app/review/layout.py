"""The review queue's components and where they stand; what they do is in `app.review.tab`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from annotation_store.values.review import Left, QueueFilter
from app.review import present
from app.review.form import CONFIDENCE, Form
from core.policy import Policy

SIDES = [("harmful", "harmful"), ("unharmful", "unharmful")]


@dataclass(slots=True)
class Parts:
    """The components, as the handlers name them."""

    bar: gr.HTML
    kind: gr.Dropdown
    modality: gr.Dropdown
    checkpoint: gr.Dropdown
    words: gr.Textbox
    body: gr.Row
    empty: gr.HTML
    media: gr.HTML
    fetched: gr.HTML
    timeline: gr.HTML
    texts: gr.HTML
    near: gr.HTML
    why: gr.HTML
    model: gr.HTML
    request: gr.Radio
    response: gr.Radio
    categories: gr.CheckboxGroup
    confidence: gr.Radio
    reasoning: gr.Textbox
    adopt: gr.Button
    go_on: gr.Button
    stop: gr.Button
    difference: gr.HTML
    evidence: gr.HTML
    note: gr.Textbox
    submit: gr.Button
    said: gr.HTML
    recent: gr.HTML
    act: gr.Button
    message: gr.Textbox
    form: gr.State
    reviewer: gr.BrowserState

    @property
    def fields(self) -> list[Any]:
        """What the reviewer fills in, in the order in which handlers take it."""
        return [
            self.form, self.request, self.response, self.categories, self.confidence, self.note, self.reasoning
        ]  # fmt: skip

    @property
    def screen(self) -> list[Any]:
        """All that changes with the item."""
        return [
            self.bar, self.kind, self.modality, self.checkpoint, self.body, self.empty, self.media, self.timeline,
            self.texts, self.near, self.why, self.model, *self.fields, self.go_on, self.stop, self.difference,
            self.evidence, self.said, self.recent,
        ]  # fmt: skip


def plain(value: str, elem_id: str, **more: Any) -> gr.HTML:
    """HTML without Gradio's own dress."""
    return gr.HTML(value, elem_id=elem_id, js_on_load=None, apply_default_css=False, **more)


def lay_out(policy: Policy, reviewer: gr.BrowserState) -> Parts:
    """Make the components, in the order in which they are seen. Call inside a `gr.Tab`."""
    nothing = Left(0, {}, {}, {})
    with gr.Row(elem_id="gr-r-top"):
        bar = plain('<p class="gr-left gr-quiet">…</p>', "gr-r-bar")
        kind = _filter(present.kind_choices(nothing), "Reason", "gr-r-kind")
        modality = _filter(present.modality_choices(nothing), "Modality", "gr-r-modality")
        checkpoint = _filter(present.checkpoint_choices(nothing, ""), "Checkpoint", "gr-r-checkpoint")
        words = gr.Textbox(
            label="Words", placeholder="words, “a phrase”", lines=1, max_lines=1, elem_id="gr-r-words", min_width=120
        )
        plain('<button type="button" class="gr-r-help" data-r-do="help"><kbd>?</kbd> keys</button>', "gr-r-help")
    empty = plain(present.empty(nothing, QueueFilter()), "gr-r-empty", visible=False)
    with gr.Row(elem_id="gr-r-body", equal_height=False, visible=False) as body:
        with gr.Column(scale=6, min_width=320, elem_id="gr-r-item"):
            media = plain("", "gr-r-media")
            fetched = plain("", "gr-r-fetched")
            timeline = plain("", "gr-r-timeline")
            texts = plain("", "gr-r-texts")
            near = plain("", "gr-r-near")
            plain(present.policy_page(policy), "gr-r-policy-page")
        with gr.Column(scale=6, min_width=320, elem_id="gr-r-decide"):
            why = plain("", "gr-r-why")
            model = plain("", "gr-r-model")
            with gr.Group(elem_id="gr-r-form"):
                with gr.Row(elem_id="gr-r-labels"):
                    request = gr.Radio(SIDES, label="Request (h, u)", elem_id="gr-r-request", min_width=140)
                    response = gr.Radio(
                        SIDES,
                        label="Response (⇧H, ⇧U)",
                        elem_id="gr-r-response",
                        visible=False,
                        min_width=140,
                    )
                    confidence = gr.Radio(list(CONFIDENCE), label="Confidence (f)", elem_id="gr-r-confidence")
                categories = gr.CheckboxGroup(
                    [
                        (f"{letter} {each.name}", each.id)
                        for letter, each in zip(present.CATEGORY_LETTERS, policy.categories, strict=False)
                    ],
                    label="Categories (c, then the letter)",
                    elem_id="gr-r-categories",
                )
                reasoning = gr.Textbox(
                    label="Corrected reasoning, a step a line (e)",
                    placeholder="Empty: nothing is said about the reasoning. Press a to take the model's steps over, "
                    "or a step's number to rewrite from there.",
                    lines=2,
                    max_lines=14,
                    elem_id="gr-r-reasoning",
                )
                with gr.Row(elem_id="gr-r-writing"):
                    adopt = gr.Button("Take the steps over (a)", size="sm", elem_id="gr-r-adopt")
                    go_on = gr.Button("Guard goes on from here (g)", size="sm", elem_id="gr-r-continue")
                    stop = gr.Button("Stop (x)", size="sm", elem_id="gr-r-stop", interactive=False)
                difference = plain("", "gr-r-difference")
                evidence = plain(present.marked(Form()), "gr-r-evidence")
                note = gr.Textbox(label="Note (n)", lines=1, max_lines=6, elem_id="gr-r-note")
            with gr.Column(elem_id="gr-r-foot"):  # stays in sight: a refusal below the window's edge would not be seen
                said = plain("", "gr-r-said")
                with gr.Row(elem_id="gr-r-actions"):
                    submit = gr.Button("Submit  ↵", variant="primary", elem_id="gr-r-submit", scale=3, min_width=120)
                    plain(
                        '<div class="gr-r-others"><button type="button" data-r-do="skip">Skip <kbd>s</kbd></button>'
                        '<button type="button" data-r-do="second">Second opinion <kbd>o</kbd></button>'
                        '<button type="button" data-r-do="undo">Undo <kbd>z</kbd></button></div>',
                        "gr-r-others",
                        min_width=60,
                    )
    with gr.Accordion("Recent decisions", open=False, elem_id="gr-r-past"):
        recent = plain(present.recent(()), "gr-r-recent")
    plain(present.windows(), "gr-r-windows")
    message = gr.Textbox("", visible="hidden", elem_id="gr-r-message")
    act = gr.Button("act", visible="hidden", elem_id="gr-r-act")
    form = gr.State(Form())
    return Parts(
        bar, kind, modality, checkpoint, words, body, empty, media, fetched, timeline, texts, near, why, model, request,
        response, categories, confidence, reasoning, adopt, go_on, stop, difference, evidence, note, submit, said,
        recent, act, message, form, reviewer,
    )  # fmt: skip


def _filter(choices: list[tuple[str, str]], label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(choices, value="", label=label, elem_id=elem_id, min_width=130, filterable=False)
