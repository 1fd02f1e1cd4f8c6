"""The Moderate tab's components and where they stand; what they do is in `app.moderate.tab`."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.moderate import card as present
from app.moderate.examples import EXAMPLES
from app.moderate.progress import Progress
from app.shared.services import Services


@dataclass(slots=True)
class Parts:
    """The tab's components, as the handlers name them."""

    box: gr.MultimodalTextbox
    fold: gr.Accordion
    response: gr.Textbox
    file: gr.File
    preview: gr.HTML
    review: gr.Slider
    block: gr.Slider
    moderate: gr.Button
    stop: gr.Button
    card: gr.HTML
    evidence: gr.HTML
    copy: gr.HTML
    wrong: gr.Button
    report: gr.Group
    note: gr.Textbox
    send: gr.Button
    leave: gr.Button
    said: gr.HTML
    shown: gr.State
    person: gr.BrowserState
    examples: list[gr.Button]


def lay_out(services: Services) -> Parts:
    """Make the components, in the order in which they are seen. Call inside a `gr.Tab`."""
    at = services.thresholds()
    with gr.Row(elem_id="gr-moderate", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="gr-ask"):
            box = gr.MultimodalTextbox(
                label="What the user asks",
                placeholder="Write the request. Drop or paste an image or a video beside it, if there is one.",
                file_count="multiple",  # "single" ignores a second file; here it takes the place of the first
                lines=5,
                max_lines=14,
                max_plain_text_length=2**31 - 1,  # a long text stays a text: how long it may be is said by the guard
                submit_btn=False,
                elem_id="gr-box",
            )
            file = gr.File(visible="hidden", elem_id="gr-file")
            preview = gr.HTML("", elem_id="gr-preview", js_on_load=None, apply_default_css=False)
            with gr.Accordion("What the AI answered (optional)", open=False, elem_id="gr-response-fold") as fold:
                response = gr.Textbox(
                    label="The AI's response",
                    show_label=False,
                    placeholder="Paste the response to have it judged as well.",
                    lines=3,
                    max_lines=10,
                    container=False,
                    elem_id="gr-response",
                )
            with gr.Accordion("Thresholds", open=False, elem_id="gr-threshold-fold"):
                review = gr.Slider(
                    0, 1, value=at.review, step=0.01, label="Review from", elem_id="gr-review", buttons=[]
                )
                block = gr.Slider(0, 1, value=at.block, step=0.01, label="Block from", elem_id="gr-block", buttons=[])
            with gr.Row(elem_id="gr-actions"):
                moderate = gr.Button("Moderate", variant="primary", elem_id="gr-go", scale=3, min_width=140)
                stop = gr.Button(
                    "Stop", variant="secondary", elem_id="gr-stop", scale=1, min_width=90, interactive=False
                )
            with gr.Group(elem_id="gr-examples"):
                gr.HTML("<h3>Examples</h3>", js_on_load=None, apply_default_css=False)
                with gr.Row(elem_classes="gr-chips"):
                    buttons = [
                        gr.Button(
                            example.title,
                            size="sm",
                            min_width=60,
                            scale=0,
                            elem_classes=["gr-chip", f"gr-{example.kind}"],
                        )
                        for example in EXAMPLES
                    ]
        with gr.Column(scale=6, min_width=320, elem_id="gr-verdict"):
            start = present.card(Progress(thresholds=at), services.guard.status)
            card = gr.HTML(start, elem_id="gr-card", js_on_load=None, apply_default_css=False)
            shown_evidence = gr.HTML("", elem_id="gr-evidence", js_on_load=None, apply_default_css=False)
            with gr.Row(elem_id="gr-after"):
                wrong = gr.Button(
                    "This verdict is wrong", size="sm", interactive=False, elem_id="gr-wrong", min_width=150
                )
                copy = gr.HTML(
                    present.copy_button(None),
                    elem_id="gr-copy",
                    js_on_load=None,
                    apply_default_css=False,
                    min_width=120,
                )
            with gr.Group(visible=False, elem_id="gr-report") as report:
                note = gr.Textbox(
                    label="What is wrong with it?",
                    placeholder="For example: this is a harmless question about my own door.",
                    lines=2,
                    max_lines=6,
                    elem_id="gr-note",
                )
                with gr.Row():
                    send = gr.Button("Keep for review", variant="primary", size="sm", elem_id="gr-send")
                    leave = gr.Button("Never mind", size="sm", elem_id="gr-leave")
            said = gr.HTML("", elem_id="gr-said", js_on_load=None, apply_default_css=False)
    shown = gr.State(None)
    person = gr.BrowserState(None, storage_key="guardroom_person", secret="guardroom")
    return Parts(
        box, fold, response, file, preview, review, block, moderate, stop, card, shown_evidence, copy, wrong, report,
        note, send, leave, said, shown, person, buttons,
    )  # fmt: skip
