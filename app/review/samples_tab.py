"""Finding stored samples, a page for each with its trail, and deleting one for good."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.markup.text import message
from app.review import samples_present as present
from app.review.lineage import jobs_of
from app.shared.services import Services
from core.errors import GuardroomError

Changes = dict[Any, Any]

_TAKE_PAGE = "(id, ...rest) => [window.guardroomReview.page() || id, ...rest]"


def build(services: Services, token: gr.Textbox, tab: gr.Tab) -> gr.Button:
    """Lay the part out and wire it; the button opens the page that the script names. Call inside `tab`."""
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with gr.Row(elem_id="gr-s-top"):
        words = gr.Textbox(
            label="Words in requests, responses, reasoning and notes", placeholder="words, “a phrase”", scale=3,
            lines=1, max_lines=1, min_width=280, elem_id="gr-s-words",
        )  # fmt: skip
        named = gr.Textbox(
            label="or a sample's id",
            placeholder="s1-…",
            lines=1,
            max_lines=1,
            scale=3,
            min_width=280,
            elem_id="gr-s-id",
        )
    shown = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-s-shown")
    fresh = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-s-newest")
    with gr.Column(visible=False, elem_id="gr-s-removal") as removal:
        ask = gr.Button("Delete this sample…", size="sm", elem_id="gr-s-ask")
        with gr.Group(visible=False, elem_id="gr-s-sure") as sure:
            why = gr.Textbox(
                label="Why is it deleted?",
                info="The sample, its media, verdicts and labels go, also out of snapshots and the search. A tombstone "
                "without content stays. This cannot be taken back.",
                elem_id="gr-s-why",
            )
            with gr.Row(elem_classes="gr-d-buttons"):
                drop = gr.Button("Delete for good", variant="stop", size="sm", elem_id="gr-s-drop")
                keep = gr.Button("Keep it", size="sm", elem_id="gr-s-keep")
    jump = gr.Button("open", visible="hidden", elem_id="gr-s-open")

    def look(words: str, offered: str, http: gr.Request) -> Changes:
        from annotation_store.reading.searching import search

        try:
            services.gate.check(offered, http.headers)
            html = present.found(search(services.store(), words)) if words.strip() else ""
            return {shown: html, removal: gr.Column(visible=False)}
        except GuardroomError as error:
            return {shown: message(str(error), "bad"), removal: gr.Column(visible=False)}

    def enter(offered: str, http: gr.Request) -> str:
        """The newest samples, which are seen as long as nothing was searched or opened (assets/review.css)."""
        from annotation_store.reading.searching import newest

        try:
            services.gate.check(offered, http.headers)
            return present.newest(newest(services.store()))
        except GuardroomError as error:
            return message(str(error), "bad")

    def open_page(sample_id: str, offered: str, http: gr.Request) -> Changes:
        from annotation_store.deletion import tombstone
        from annotation_store.reading.trails import trail

        sample_id = (sample_id or "").strip()
        try:
            services.gate.check(offered, http.headers)
            if (stone := tombstone(services.store(), sample_id)) is not None:
                said = f"This sample was deleted on {stone.deleted_at[:10]} by {stone.deleted_by}: {stone.reason}"
                return {shown: message(said), removal: gr.Column(visible=False), named: sample_id}
            known = trail(services.store(), sample_id)
            html = present.page(known, services.addresses.of, jobs_of(services, known.snapshots))
        except GuardroomError as error:
            return {shown: message(str(error), "bad"), removal: gr.Column(visible=False), named: sample_id}
        return {shown: html, removal: gr.Column(visible=True), sure: gr.Group(visible=False), named: sample_id}

    def delete(sample_id: str, reason: str, offered: str, http: gr.Request) -> Changes:
        from annotation_store.deletion import delete_sample
        from annotation_store.snapshots.removal import remove_deleted
        from train_jobs.forgetting import forget_sample

        try:
            services.gate.check(offered, http.headers)
            stone = delete_sample(services.store(), sample_id.strip(), "owner", reason, services.media)
            remove_deleted(services.store(), services.snapshots)
            forget_sample(services.runs, sample_id.strip())
        except GuardroomError as error:
            return {shown: message(str(error), "bad")}
        files, frozen = len(stone.media), len(stone.snapshots)
        said = (
            f"Deleted, with {files} media file{'' if files == 1 else 's'}; it was taken out of {frozen} "
            f"snapshot{'' if frozen == 1 else 's'}, and out of the runs that held it."
        )
        return {shown: message(said, "good"), removal: gr.Column(visible=False), why: ""}

    outputs = [shown, removal, sure, named, why]
    tab.select(enter, token, fresh, **hidden)
    words.submit(look, [words, token], outputs, **hidden)
    named.submit(open_page, [named, token], outputs, **hidden)
    jump.click(open_page, [named, token], outputs, js=_TAKE_PAGE, **hidden)
    ask.click(lambda: gr.Group(visible=True), None, sure, queue=False, **hidden)
    keep.click(lambda: gr.Group(visible=False), None, sure, queue=False, **hidden)
    drop.click(delete, [named, why, token], outputs, **hidden)
    return jump
