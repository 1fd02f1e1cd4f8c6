"""The Train tab as a whole: who may see it, a new run, and the runs there are."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.markup.text import message
from app.shared.owner_lock import OwnerLock
from app.shared.services import Services
from app.train.runs import layout as runs_layout
from app.train.runs import views as run_views
from app.train.runs.rollouts_pane import Place
from app.train.runs.tab import Seen, TrainRuns
from app.train.start import layout as train_layout
from app.train.start.tab import TrainStart
from core.errors import GuardroomError, InputError

Changes = dict[Any, Any]


def build(services: Services, tab: gr.Tab) -> None:
    """Lay the tab out and wire it. Call inside `tab`."""
    lock = OwnerLock(services, "t", "training is the owner's.")
    token = lock.token
    with lock.inside, gr.Tabs(elem_id="gr-t-tabs") as tabs:
        with gr.Tab("New run", id="new"):
            form = train_layout.start()
        with gr.Tab("Runs", id="runs") as listed:
            shown = runs_layout.runs()
    cloned, opened, place, seen = gr.State(None), gr.State(None), gr.State(Place()), gr.State({})
    timer = gr.Timer(4.0, active=False)
    start = TrainStart(services, form, token, cloned)
    runs = TrainRuns(services, shown, token, opened, place, seen, timer)
    start.wire()
    runs.wire()
    local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}

    def enter(
        http: gr.Request, offered: str, snapshot: str | None, recipe: str | None, run: str | None, other: str,
        sent: Seen, where: Place,
    ) -> Changes:  # fmt: skip
        try:
            services.gate.check(offered, http.headers)
            changes = start.enter(snapshot, recipe) | runs.drawn(run, other, sent, where)
        except GuardroomError as error:
            return lock.refused(error, offered, http)
        # Whoever comes back while something runs wants to see it.
        first = not sent and any(not each.is_over for each in run_views.lines(services))
        shown_first: Changes = {tabs: gr.Tabs(selected="runs")} if first else {}
        return lock.opened() | changes | shown_first

    gr.on(
        lock.asked(tab),
        enter,
        [token, form.snapshot, form.recipe, opened, shown.other, seen, place],
        [*lock.parts, tabs, *start.screen, *runs.screen],
        **local,
    )
    listed.select(runs.look, runs.asked, runs.screen, **local)

    def begin(http: gr.Request, offered: str, was: str | None, sent: Seen, *chosen: Any) -> Changes:
        try:
            services.gate.check(offered, http.headers)
            run = start.begin(was, *chosen)
        except GuardroomError as error:
            return {form.told: message(str(error), "bad")}
        fresh: Changes = {form.told: "", form.clone: "", cloned: None, tabs: gr.Tabs(selected="runs")}
        return fresh | runs.cleared() | runs.drawn(run, "", sent, Place())

    form.start.click(
        begin,
        [token, cloned, seen, *form.chosen],
        [form.told, form.clone, cloned, tabs, *runs.quiet, *runs.screen],
        **local,
    )

    def clone(http: gr.Request, offered: str, run: str | None) -> Changes:
        try:
            services.gate.check(offered, http.headers)
            if not run:
                raise InputError("No run is open; choose one in the list.")
            changes = start.clone(run_views.draft_of(services, services.launcher().find(run).spec(), run))
        except GuardroomError as error:
            return {shown.told: message(str(error), "bad")}
        return changes | {tabs: gr.Tabs(selected="new"), form.told: ""}

    shown.clone.click(clone, [token, opened], [shown.told, form.told, tabs, *start.screen], **local)
