"""The header as HTML: brand, switch, and which checkpoint is live."""

from __future__ import annotations

from app.markup.text import escape
from core.serving.live import READY, GuardStatus

BRAND = (
    '<div class="gr-brand"><svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
    '<path d="M12 2.2l8 3v6.1c0 5-3.3 8.6-8 10.5-4.7-1.9-8-5.5-8-10.5V5.2z"/>'
    '<path class="mark" d="M8 12.2l2.8 2.8L16 9.4"/>'
    "</svg><h1>Guardroom</h1></div>"
)


THEME_TOGGLE = (
    '<button type="button" class="gr-theme" data-theme-toggle aria-label="Switch between light and dark">'
    '<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><circle cx="12" cy="12" r="8.5"/>'
    '<path class="half" d="M12 3.5a8.5 8.5 0 0 1 0 17z"/></svg></button>'
)


def status_line(status: GuardStatus) -> str:
    """Which checkpoint is live, in what state, and where it runs."""
    info = status.info
    parts = [info.id if info else "guard", status.state]
    if status.state == "ready":
        parts += [part for part in (status.device, status.dtype) if part]
    detail = "" if status.message == READY else f'<span class="gr-detail">{escape(status.message)}</span>'
    words = "".join(f"<span>{escape(part)}</span>" for part in parts)
    return (
        f'<div class="gr-status" data-state="{status.state}" role="status"><i aria-hidden="true"></i>'
        f'<span class="gr-parts">{words}</span>{detail}</div>'
    )
