"""The page: header, tabs and theme. Built by a function; nothing is built at import."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import gradio as gr

from app import header
from app.evaluate import api as evaluate_api
from app.evaluate import page as evaluate_page
from app.moderate import api
from app.moderate import tab as moderate_tab
from app.review import api as review_api
from app.review import page as review_page
from app.shared.services import Services
from app.train import api as train_api
from app.train import page as train_page
from core.settings import ASSETS

SANS = ["Inter", "ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#2b6777" d="M12 2.2l8 3v6.1c0 '
    '5-3.3 8.6-8 10.5-4.7-1.9-8-5.5-8-10.5V5.2z"/><path fill="none" stroke="#fff" stroke-width="2" '
    'd="M8 12.2l2.8 2.8L16 9.4"/></svg>'
)
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]


def build(services: Services) -> gr.Blocks:
    """The whole page with its named API."""
    page: gr.Blocks = gr.Blocks(
        title="Guardroom", analytics_enabled=False, fill_width=True, delete_cache=(3600, 24 * 3600)
    )
    with page:
        status, seen = header.build(services)
        reviewer = gr.BrowserState(None, storage_key="guardroom_reviewer", secret="guardroom")
        with gr.Tabs(elem_id="gr-tabs"):
            with gr.Tab("Moderate", id="moderate"):
                tab = moderate_tab.build(services)
            with gr.Tab("Review", id="review") as review:
                review_page.build(services, review, reviewer)
            with gr.Tab("Train", id="train") as train:
                train_page.build(services, train)
            with gr.Tab("Evaluate", id="evaluate") as evaluate:
                evaluate_page.build(services, evaluate)
        header.keep_current(services, page, status, seen, tab)
        api.register(services)
        review_api.register(services)
        train_api.register(services)
        evaluate_api.register(services)

        def left(http: gr.Request) -> None:
            page_id = http.session_hash or ""
            services.stops.stop(page_id)
            services.stops.stop(f"{page_id} review")
            if services.has_store:
                services.desks.leave(page_id, services.store())

        page.unload(left)
    page.queue(default_concurrency_limit=8)
    return page


def theme() -> gr.themes.Base:
    """Ink on paper with one accent; the decisions' colours are in assets/style.css. Fonts are the system's."""
    shared: dict[str, Any] = {
        "body_background_fill": "#f6f7f8",
        "body_background_fill_dark": "#14171b",
        "body_text_color": "#1d242c",
        "body_text_color_dark": "#e4e8ec",
        "body_text_color_subdued": "#5b6670",
        "body_text_color_subdued_dark": "#9aa5b0",
        "background_fill_primary": "#ffffff",
        "background_fill_primary_dark": "#1b1f25",
        "background_fill_secondary": "#f0f2f4",
        "background_fill_secondary_dark": "#22272e",
        "block_background_fill": "#ffffff",
        "block_background_fill_dark": "#1b1f25",
        "block_border_color": "#dde2e7",
        "block_border_color_dark": "#323942",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_label_border_width": "0px",
        "block_label_text_color": "#5b6670",
        "block_label_text_color_dark": "#9aa5b0",
        "block_label_text_weight": "600",
        "block_title_text_color": "#39434d",
        "block_title_text_color_dark": "#c2cad2",
        "block_title_text_weight": "600",
        "block_title_text_size": "*text_sm",
        "block_shadow": "none",
        "block_radius": "10px",
        "border_color_primary": "#dde2e7",
        "border_color_primary_dark": "#323942",
        "border_color_accent": "#2b6777",
        "border_color_accent_dark": "#6fb3c2",
        "color_accent_soft": "#e3eff1",
        "color_accent_soft_dark": "#21343a",
        "input_background_fill": "#ffffff",
        "input_background_fill_dark": "#14171b",
        "input_border_width": "1px",
        "input_border_color": "#c9d0d7",
        "input_border_color_dark": "#3b434d",
        "input_border_color_focus": "#2b6777",
        "input_border_color_focus_dark": "#6fb3c2",
        "input_placeholder_color": "#75808a",
        "input_placeholder_color_dark": "#7d8893",
        "button_large_radius": "8px",
        "button_small_radius": "8px",
        "button_large_text_weight": "600",
        "button_primary_background_fill": "#1f5664",
        "button_primary_background_fill_hover": "#184550",
        "button_primary_background_fill_dark": "#2f7688",
        "button_primary_background_fill_hover_dark": "#38889c",
        "button_primary_text_color": "#ffffff",
        "button_primary_text_color_dark": "#ffffff",
        "button_primary_border_color": "transparent",
        "button_secondary_background_fill": "#ffffff",
        "button_secondary_background_fill_hover": "#eef1f3",
        "button_secondary_background_fill_dark": "#22272e",
        "button_secondary_background_fill_hover_dark": "#2b313a",
        "button_secondary_text_color": "#1d242c",
        "button_secondary_text_color_dark": "#e4e8ec",
        "button_secondary_border_color": "#c9d0d7",
        "button_secondary_border_color_dark": "#3b434d",
        "slider_color": "#2b6777",
        "slider_color_dark": "#6fb3c2",
    }
    return gr.themes.Base(
        primary_hue=gr.themes.Color(
            *("#eef6f7", "#d9eaed", "#b8d7dd", "#8fbec8", "#5f9fac", "#2b6777"),
            *("#1f5664", "#184550", "#12363f", "#0d282f", "#081a1f"),
            name="harbour",
        ),
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=SANS,
        font_mono=MONO,
    ).set(**shared)


def look() -> dict[str, Any]:
    """What `launch` needs for the page's look."""
    scripts = ("guardroom.js", "review.js", "evaluate.js")
    script = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in scripts)
    icon = f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{quote(ICON)}">'
    return {
        "theme": theme(),
        "css_paths": [ASSETS / name for name in ("style.css", "review.css", "train.css", "evaluate.css")],
        "head": f"{icon}<script>{script}</script>",
    }
