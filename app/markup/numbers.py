"""Probabilities and times as people read them."""

from __future__ import annotations

NOTHING = "–"


def probability(p_harmful: float | None) -> str:
    """Two decimals, never rounded up to a certainty that was not there."""
    if p_harmful is None:
        return NOTHING
    if 0.0 < p_harmful < 0.01:
        return "<0.01"
    if 0.99 < p_harmful < 1.0:
        return ">0.99"
    return f"{p_harmful:.2f}"


def clock(seconds: float, *, tenths: bool = False) -> str:
    """0:07, 12:30, 1:02:03; with tenths 0:07.5, for clips so short that two marks would else look alike."""
    ticks = round(seconds * 10) if tenths else 10 * int(seconds + 0.5)
    whole = ticks // 10
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    shown = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{shown}.{ticks % 10}" if tenths else shown


def duration(seconds: float | None) -> str:
    """12 ms, 0.94 s, 14.2 s."""
    if seconds is None:
        return NOTHING
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def moment(iso: str | None) -> str:
    """Date and time of a UTC moment, to the minute: 2026-01-31 09:05 UTC."""
    return f"{iso[:16].replace('T', ' ')} UTC" if iso else NOTHING
