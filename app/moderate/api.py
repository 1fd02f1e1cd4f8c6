"""The named endpoints for scripts and MCP clients: plain values and files in, plain JSON out, errors in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gradio as gr

from app.moderate.tab import QUEUE
from app.shared.pacing import paced
from app.shared.plain_errors import plain_errors
from app.shared.services import Services
from core.events import Event, FirstLooked, MediaRead, Queued, ReasoningGrew, VerdictReached

Json = dict[str, Any]


def event_to_json(event: Event) -> Json:
    """One step of `/moderate`. The last one is the verdict itself; those before it carry `stage`."""
    match event:
        case Queued(place=place, loading=loading):
            return {"stage": "queued", "place": place, "loading": loading}
        case MediaRead(media=media):
            return {"stage": "media", "frames": [len(each.frames) for each in media]}
        case FirstLooked(probability=probability, windows=windows):
            return {
                "stage": "first_look",
                "request": probability.request,
                "response": probability.response,
                "windows": [asdict(window) for window in windows],
            }
        case ReasoningGrew(text=text, token_count=count):
            return {"stage": "reasoning", "text": text, "tokens": count}
        case VerdictReached(verdict=verdict):
            return verdict.to_json()


def register(services: Services) -> None:
    """Add the endpoints. Call inside `gr.Blocks`; nothing of them is seen on the page."""

    def moderate(
        request: str,
        response: str | None = None,
        media: str | None = None,
        review_threshold: float | None = None,
        block_threshold: float | None = None,
    ) -> Iterator[Json]:
        with plain_errors():
            at = services.thresholds(review_threshold, block_threshold)
            sample = services.sample(request, response, media)
            for event in paced(services.guard.moderate(sample, thresholds=at)):
                if isinstance(event, VerdictReached):
                    services.record(sample, event.verdict)
                yield event_to_json(event)

    def first_look(
        request: str,
        response: str | None = None,
        media: str | None = None,
        review_threshold: float | None = None,
        block_threshold: float | None = None,
    ) -> Json:
        with plain_errors():
            at = services.thresholds(review_threshold, block_threshold)
            return services.guard.first_look(services.sample(request, response, media), thresholds=at).to_json()

    def load_checkpoint(source: str, http: gr.Request, owner_token: str | None = None) -> Iterator[Json]:
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            for progress in services.guard.load(source.strip()):
                yield {"stage": "loading", "fraction": progress.fraction, "message": progress.message}
            info = services.guard.status.info
            yield {"stage": "ready", "checkpoint_id": info.id if info else None}

    with gr.Row(visible=False):
        request = gr.Textbox("", label="Request")
        response = gr.Textbox(None, label="Response")
        media = gr.File(label="Media")
        review = gr.Number(None, label="Review threshold")
        block = gr.Number(None, label="Block threshold")
        source = gr.Textbox("", label="Checkpoint")
        token = gr.Textbox(None, label="Owner's token", type="password")
        result = gr.JSON(label="Result")
        trigger = gr.Button()
    inputs = [request, response, media, review, block]
    trigger.click(
        moderate, inputs, result, api_name="moderate", **QUEUE,
        api_description="Judge a request, and perhaps a response and one image or video, with reasoning. Streams "
        "objects with a stage (queued, media, first_look, reasoning); the last value is the verdict.",
    )  # fmt: skip
    trigger.click(
        first_look, inputs, result, api_name="first_look", **QUEUE,
        api_description="The same judgement without reasoning: one verdict with the first look's probabilities.",
    )  # fmt: skip
    trigger.click(
        load_checkpoint, [source, token], result, api_name="load_checkpoint", concurrency_limit=1,
        api_description="Make another checkpoint live (built-in, a local folder, or a Hub id). The owner's alone.",
    )  # fmt: skip
