"""One medium as HTML, hidden until somebody asks."""

from __future__ import annotations

from collections.abc import Callable

from app.markup.numbers import clock
from app.markup.text import escape
from core.types import MediaRef, Modality

Address = Callable[[MediaRef], str]
"""Where the page finds a medium."""


def veiled(ref: MediaRef, url: str) -> str:
    """One medium, blurred and grey; assets/evaluate.js reveals it."""
    size = f"{ref.width} × {ref.height}"
    if ref.modality is Modality.VIDEO:
        shown = (
            f'<video src="{escape(url)}" controls muted playsinline preload="none" disablepictureinpicture '
            'controlslist="nofullscreen nodownload noremoteplayback" aria-label="The video"></video>'
        )
        size += f" · {clock(ref.duration_s or 0.0)}"
    else:
        shown = f'<img src="{escape(url)}" alt="The picture, {size}" loading="lazy" draggable="false">'
    return (
        f'<figure class="gr-r-media gr-e-media"><div class="gr-r-veil">{shown}'
        '<button type="button" class="gr-r-reveal" data-e-reveal><span>Hidden until you ask</span></button></div>'
        f"<figcaption>{escape(f'{ref.media_type} · {size}')}</figcaption></figure>"
    )
