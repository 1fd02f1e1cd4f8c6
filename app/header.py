"""The header: the product's name, what is live, the owner's checkpoint picker, and the light and dark switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.header_present import BRAND, THEME_TOGGLE, status_line
from app.markup.tables import progress_bar
from app.markup.text import message
from app.moderate import card as present
from app.moderate.progress import Progress
from app.moderate.tab import ModerateTab
from app.shared.services import Services
from core.errors import GuardroomError
from core.settings import BUILTIN
from core.types import Thresholds

LOADING_S, IDLE_S = 1.5, 5.0
"""How often the page asks what is live: while a checkpoint loads, and otherwise. Each asking costs the browser work."""


def build(services: Services) -> tuple[gr.HTML, gr.State]:
    """Lay the header out. Returns the status line and the id of the checkpoint that the page last saw."""
    with gr.Row(elem_id="gr-header"):
        gr.HTML(BRAND, js_on_load=None, apply_default_css=False, elem_id="gr-brand", min_width=120)
        status = gr.HTML(
            status_line(services.guard.status),
            js_on_load=None,
            apply_default_css=False,
            elem_id="gr-live",
            min_width=120,
        )
        change = gr.Button("Checkpoint", size="sm", elem_id="gr-change", scale=0, min_width=110)
        gr.HTML(THEME_TOGGLE, js_on_load=None, apply_default_css=False, elem_id="gr-toggle", min_width=40)
    with gr.Group(visible=False, elem_id="gr-picker") as picker:
        with gr.Row():
            source = gr.Dropdown(
                [("Built-in", BUILTIN)],
                value=BUILTIN,
                allow_custom_value=True,
                label="Checkpoint",
                info="The built-in guard, a local folder, or a Hub id such as owner/name.",
                elem_id="gr-source",
                scale=3,
            )
            token = gr.Textbox(
                label="Owner's token",
                info="Asked for because others can reach this app.",
                type="password",
                visible=False,
                elem_id="gr-token",
                scale=2,
            )
        with gr.Row():
            load = gr.Button("Load", variant="primary", size="sm", elem_id="gr-load", scale=0, min_width=110)
            told = gr.HTML("", js_on_load=None, apply_default_css=False, elem_id="gr-told")
    opened = gr.State(False)
    seen = gr.State(None)

    def toggle(is_open: bool, http: gr.Request) -> tuple[bool, Any, Any, Any]:
        return (
            not is_open,
            gr.Group(visible=not is_open),
            gr.Button("Checkpoint" if is_open else "Close"),
            gr.Textbox(visible=services.gate.needs_token(http.headers)),
        )

    change.click(
        toggle, opened, [opened, picker, change, token], show_progress="hidden", api_visibility="private", queue=False
    )

    def loading(named: str | None, owner_token: str | None, http: gr.Request) -> Iterator[tuple[str, str, Any]]:
        yield from _loading(services, (named or "").strip(), owner_token, http)

    load.click(
        loading,
        [source, token],
        [told, status, load],
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=4,
        concurrency_id="load",
    )
    return status, seen


def _loading(services: Services, named: str, token: str | None, http: gr.Request) -> Iterator[tuple[str, str, Any]]:
    def shown(text: str, *, done: bool) -> tuple[str, str, Any]:
        return text, status_line(services.guard.status), gr.Button(interactive=done)

    if not named:
        yield shown(message("Name a checkpoint: built-in, a local folder, or a Hub id.", "bad"), done=True)
        return
    before = services.guard.status.info
    try:
        services.gate.check(token, http.headers)
        for progress in services.guard.load(named):
            yield shown(progress_bar(progress.fraction, progress.message), done=False)
    except GuardroomError as error:
        still = f" {before.id} is still live." if before else ""
        yield shown(message(f"{error}{still}", "bad"), done=True)
        return
    info = services.guard.status.info
    yield shown(message(f"{info.id if info else named} is live.", "good"), done=True)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the page last knew of the guard."""

    key: str
    thresholds: Thresholds
    loading: bool


def keep_current(services: Services, page: gr.Blocks, status: gr.HTML, seen: gr.State, tab: ModerateTab) -> None:
    """Let the page follow, from its opening on, what is live: header line, thresholds, a card that waits for work."""

    timer = gr.Timer(LOADING_S)

    def look(last: _Seen | None, shown: Any, review: float, block: float) -> dict[Any, Any]:
        now = services.guard.status
        at = services.thresholds()
        current = _Seen(f"{now.state} {now.info.id if now.info else now.message}", at, now.state == "loading")
        if current == last:
            return {seen: gr.skip()}
        changed: dict[Any, Any] = {seen: current, status: status_line(now)}
        untouched = last is None or (review, block) == (last.thresholds.review, last.thresholds.block)
        if now.info is not None and untouched:
            changed |= {tab.review: at.review, tab.block: at.block}
        if shown is None:
            changed[tab.card] = present.card(Progress(thresholds=at), now)
        if last is None or last.loading != current.loading:
            changed[timer] = gr.Timer(LOADING_S if current.loading else IDLE_S, active=True)
        return changed

    gr.on(
        [page.load, timer.tick],
        look,
        [seen, tab.shown, tab.review, tab.block],
        [seen, status, tab.review, tab.block, tab.card, timer],
        show_progress="hidden",
        api_visibility="private",
        queue=False,
    )
