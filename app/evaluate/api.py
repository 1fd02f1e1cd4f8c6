"""Evaluation and promotion for scripts and MCP clients: plain values in, plain JSON out, errors in a sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.evaluate import work as evaluations
from app.evaluate.work import Wanted
from app.shared import promotion
from app.shared.plain_errors import plain_errors
from app.shared.services import Services
from core.errors import InputError
from core.evaluation.rows import HELD_OUT

if TYPE_CHECKING:
    from app.shared.promotion import Asked
    from core.checkpoints.registry import Promotion

Json = dict[str, Any]

LOOK_EVERY_S = 0.5


def asked_to_json(asked: Asked) -> Json:
    """What the gate says, and on which evaluations."""
    return {
        "checkpoint": asked.checkpoint,
        "report": asked.report,
        "against": asked.against,
        "promoted": asked.promoted,
        "gate": asked.decision.to_json(),
    }


def event_to_json(event: Promotion) -> Json:
    """A promotion or a rollback."""
    return asdict(event) | {"kind": event.kind.value, "gate": dict(event.gate)}


def register(services: Services) -> None:
    """Add the endpoints. Call inside `gr.Blocks`; nothing of them is seen on the page."""

    def evaluate(
        checkpoint: str, http: gr.Request, snapshot: str | None = None, files: list[str] | None = None,
        first_look_only: bool = False, limit: int | None = None, split: str = HELD_OUT, name: str = "",
        wait: bool = False, owner_token: str | None = None,
    ) -> Iterator[Json]:  # fmt: skip
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            if not isinstance(files, list | None) or not all(isinstance(each, str) for each in files or ()):
                raise InputError("files is no list of paths on the machine that Guardroom runs on.")
            run = evaluations.launch(
                services,
                Wanted(
                    checkpoint or "", snapshot or None, split or HELD_OUT, tuple(files or ()), bool(first_look_only),
                    _whole(limit), name or "", "api",
                ),
            )  # fmt: skip
            last: Json = {}
            while True:
                line = evaluations.evaluation(services, run)
                if (told := evaluations.line_to_json(line)) != last:
                    last = told
                    yield told
                if line.status.state.is_over or not wait:
                    return
                time.sleep(LOOK_EVERY_S)

    def promote(
        checkpoint: str, report: str, http: gr.Request, author: str = "", reason: str = "", against: str | None = None,
        only_ask: bool = False, owner_token: str | None = None,
    ) -> Json:  # fmt: skip
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            named = (checkpoint or "").strip(), (report or "").strip()
            if only_ask:
                return asked_to_json(promotion.ask(services, *named, reason or "", against or None)) | {"event": None}
            event, asked = promotion.promote(
                services, *named, author=author or "", reason=reason or "", against=against or None
            )
            return asked_to_json(asked) | {"event": event_to_json(event)}

    def rollback(author: str, http: gr.Request, reason: str = "", owner_token: str | None = None) -> Json:
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            return event_to_json(promotion.rollback(services, author=author or "", reason=reason or ""))

    def text(label: str, value: str | None = None) -> gr.Textbox:
        return gr.Textbox(value, label=label)

    with gr.Row(visible=False):
        result = gr.JSON(label="Result")
        trigger = gr.Button()
        secret = gr.Textbox(None, label="Owner's token", type="password")
        checkpoint, snapshot, split, name = (
            text("Checkpoint", ""),
            text("Snapshot"),
            text("Split", HELD_OUT),
            text("Name", ""),
        )
        files = gr.JSON(None, label="Files")
        first_look_only = gr.Checkbox(False, label="First look only")
        limit = gr.Number(None, label="Rows of each set at most", precision=0)
        wait = gr.Checkbox(False, label="Wait")
        report, author, reason, against = text("Report", ""), text("Author", ""), text("Reason", ""), text("Against")
        only_ask = gr.Checkbox(False, label="Only ask")
    trigger.click(
        evaluate, [checkpoint, snapshot, files, first_look_only, limit, split, name, wait, secret], result,
        api_name="evaluate", concurrency_limit=8,
        api_description="Score a checkpoint on the held-out rows of a snapshot (by digest) and on files (paths). Gives "
        "how the job stands; with wait it streams until the job has ended, and the last value holds the report.",
    )  # fmt: skip
    trigger.click(
        promote, [checkpoint, report, author, reason, against, only_ask, secret], result, api_name="promote",
        concurrency_limit=1,
        api_description="Let a checkpoint go live on the strength of a report (the run of its evaluation), if the gate "
        "lets it pass or a reason is written. With only_ask nothing changes, and the gate's answer is given.",
    )  # fmt: skip
    trigger.click(
        rollback, [author, reason, secret], result, api_name="rollback", concurrency_limit=1,
        api_description="Go back to the checkpoint that was promoted before.",
    )  # fmt: skip


def _whole(value: float | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or value != int(value) or value < 1:
        raise InputError(f"limit is {value!r}; a whole number of at least 1, or null for all rows, is expected.")
    return int(value)
