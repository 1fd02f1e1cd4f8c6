"""Jobs for scripts and MCP clients: plain values in, plain JSON out, errors in a sentence. The owner's alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from app.shared.plain_errors import plain_errors
from app.shared.services import Services
from app.train.runs import views as run_views
from app.train.runs.views import RunView
from app.train.start import drafts as training

Json = dict[str, Any]

MOST_METRICS = 5000
"""Rows of metrics that are given at once, the last ones."""


def job_to_json(view: RunView, log: str) -> Json:
    """How a run stands, with its figures. No path of this machine but those that the spec names."""
    status, progress = view.status, view.status.progress
    return {
        "id": view.run.id,
        "state": view.state.value,
        "sentence": status.sentence,
        "place": view.place,
        "attempt": status.attempt,
        "progress": None
        if progress is None
        else {
            "done": progress.done,
            "total": progress.total,
            "words": progress.words,
            "seconds_left": progress.seconds_left,
        },
        "queued_at": status.queued_at,
        "started_at": status.started_at,
        "finished_at": status.finished_at,
        "spec": asdict(view.spec) | {"kind": view.spec.kind.value},
        "metrics": [dict(row) for row in view.metrics[-MOST_METRICS:]],
        "checkpoints": list(view.checkpoints),
        "report": None if view.report is None else dict(view.report),
        "log": log,
    }


def register(services: Services) -> None:
    """Add the endpoints. Call inside `gr.Blocks`; nothing of them is seen on the page."""

    def told(run_id: str, log_lines: float | None = None) -> Json:
        view = run_views.view(services, run_id.strip())
        count = 40 if log_lines is None else max(0, int(log_lines))
        return job_to_json(view, view.run.log_tail(count) if count else "")

    def launch(job: Json, http: gr.Request, owner_token: str | None = None) -> Json:
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            return told(services.launcher().launch(training.spec_from_json(services, job)))

    def job(run_id: str, http: gr.Request, log_lines: float | None = None, owner_token: str | None = None) -> Json:
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            return told(run_id or "", log_lines)

    def cancel(run_id: str, http: gr.Request, owner_token: str | None = None) -> Json:
        with plain_errors():
            services.gate.check(owner_token, http.headers)
            services.launcher().cancel((run_id or "").strip(), "api")
            return told(run_id)

    with gr.Row(visible=False):
        result = gr.JSON(label="Result")
        trigger = gr.Button()
        secret = gr.Textbox(None, label="Owner's token", type="password")
        spec = gr.JSON({}, label="Job")
        run = gr.Textbox("", label="Run id")
        lines = gr.Number(None, label="Lines of the log", precision=0)
    trigger.click(
        launch, [spec, secret], result, api_name="launch",
        api_description="Start a training: an object with snapshot (a digest), and where wanted name, recipe (sft-… or "
        "grpo-…), settings (values in place of the recipe's), base, device and options. Gives the run as /job does.",
    )  # fmt: skip
    trigger.click(
        job, [run, lines, secret], result, api_name="job",
        api_description="How a run of any kind stands: state, progress, figures, checkpoints, report, the log's end.",
    )  # fmt: skip
    trigger.click(
        cancel, [run, secret], result, api_name="cancel",
        api_description="End a run: a waiting one at once, a running one after it has saved a checkpoint.",
    )  # fmt: skip
