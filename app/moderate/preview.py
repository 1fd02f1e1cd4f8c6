"""The dropped file as the person sees it, once it was checked."""

from __future__ import annotations

from urllib.parse import quote

from app.markup.numbers import clock
from app.markup.text import escape, message
from app.shared.services import Services
from core.errors import GuardroomError
from core.types import MediaRef


def preview(services: Services, file: str | None) -> str:
    """The dropped file once it was checked: nothing is shown, and nothing is played, before that."""
    if not file:
        return ""
    try:
        media = services.sample("", None, file).media[0]
    except GuardroomError as error:
        return message(str(error), "bad")
    return player(media, f"gradio_api/file={quote(file)}")


def player(media: MediaRef, url: str) -> str:
    """An image, or a video with its controls. A `url` relative to the page works behind a path prefix as well."""
    size = f"{media.width} × {media.height}"
    if media.media_type.startswith("image/"):
        shown = f'<img src="{escape(url)}" alt="The given picture, {size}">'
    else:
        shown = (
            f'<video src="{escape(url)}" controls muted playsinline preload="metadata" '
            'aria-label="The given video"></video>'
        )
    length = f" · {clock(media.duration_s)}" if media.duration_s is not None else ""
    caption = f"{media.media_type} · {size}{length}"
    return f'<figure class="gr-figure">{shown}<figcaption>{escape(caption)}</figcaption></figure>'
