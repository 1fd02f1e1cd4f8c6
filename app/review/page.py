"""The Review tab as a whole: who may see it, and the queue, samples and data inside it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.data import tab as data_tab
from app.mine import tab as mine_tab
from app.review import order
from app.review import samples_tab as sample_tab
from app.review import tab as review_tab
from app.shared.owner_lock import OwnerLock
from app.shared.services import Services
from core.errors import GuardroomError

Changes = dict[Any, Any]


def build(services: Services, tab: gr.Tab, reviewer: gr.BrowserState) -> None:
    """Lay the tab out and wire it. Call inside `tab`; `reviewer` lies outside, for what is not shown is not loaded."""
    lock = OwnerLock(services, "r", "what visitors handed in is not for everybody.")
    token = lock.token
    with lock.inside, gr.Tabs(elem_id="gr-r-tabs") as tabs:
        with gr.Tab("Queue", id="queue") as waiting:
            queue = review_tab.build(services, reviewer)
            order.build(services, token)
        with gr.Tab("Samples", id="samples") as samples:
            opener = sample_tab.build(services, token, samples)
        with gr.Tab("Mine", id="mine") as mine:
            to_queue = mine_tab.build(services, token, mine)
        with gr.Tab("Data", id="data") as data:
            data_tab.build(services, token, data)
    opener.click(
        lambda: gr.Tabs(selected="samples"), None, tabs, show_progress="hidden", api_visibility="private", queue=False
    )
    local: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    # What was mined or brought in meanwhile is there when the queue is shown again; an item on the desk stays.
    to_queue.click(lambda: gr.Tabs(selected="queue"), None, tabs, **local).then(
        queue.look_again, None, queue.parts.screen, **local
    )
    waiting.select(queue.look_again, None, queue.parts.screen, **local)

    def enter(offered: str | None, reviewer: str | None, http: gr.Request) -> Changes:
        try:
            services.gate.check(offered, http.headers)
            shown = queue.enter(reviewer, http)
        except GuardroomError as error:
            return lock.refused(error, offered, http)
        return lock.opened() | shown

    parts = queue.parts
    gr.on(
        lock.asked(tab),
        enter,
        [token, parts.reviewer],
        [*lock.parts, parts.reviewer, *parts.screen],
        show_progress="hidden",
        api_visibility="private",
        queue=False,
    ).then(queue.preload, None, parts.fetched, show_progress="hidden", api_visibility="private", queue=False)
