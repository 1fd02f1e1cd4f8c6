"""A reward as a picture: what a completion gets by its length, right, half right, wrong or unreadable.

The curves are drawn from the function that the training runs (`train_jobs.rules.rewards.reward`), so people see what
they ask for, weak spots included. Pure: a rule in, inline SVG out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.markup.text import escape
from core.mining.rules import Answer
from core.types import Label
from train_jobs.rules.rewards import RewardRule, reward

_GOLD = (Label.HARMFUL, Label.UNHARMFUL)
CASES: Mapping[str, Answer | None] = {
    "right": _GOLD,
    "half right": (Label.HARMFUL, Label.HARMFUL),
    "wrong": (Label.UNHARMFUL, Label.HARMFUL),
    "unreadable": None,
}
"""What a completion says of a sample whose request is harmful and whose response is not."""

_STROKES: Mapping[str, tuple[str, str]] = {
    "right": ("var(--gr-allow)", ""),
    "half right": ("var(--gr-review)", "9 4"),
    "wrong": ("var(--gr-block)", "3 4"),
    "unreadable": ("var(--gr-soft)", "11 4 2 4"),
}
"""Colour, which follows light and dark, and dashes: no curve is told by its colour alone."""

_WIDTH, _HEIGHT = 440, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_POINTS = 96

Curve = list[tuple[int, float]]


def reward_curves(rule: RewardRule, limit: int) -> dict[str, Curve]:
    """Length in tokens and reward, from 1 to the completion limit, for each of `CASES`.

    The lengths at which the formulas have a kink are among them.

    Raises:
        ValueError: the limit is below 2 tokens.
    """
    if limit < 2:
        raise ValueError(f"a completion limit of {limit} tokens leaves nothing to draw")
    lengths = {1 + round(at * (limit - 1) / _POINTS) for at in range(_POINTS + 1)}
    kinks = (rule.free, rule.beta * limit, rule.floor * limit)
    lengths |= {round(each) for each in kinks if 1 <= round(each) <= limit}
    return {
        case: [(length, reward(rule, said, _GOLD, length, limit).total) for length in sorted(lengths)]
        for case, said in CASES.items()
    }


def reward_chart(rule: RewardRule, limit: int) -> str:
    """The curves as a figure, with their ends in words below.

    Raises:
        ValueError: as `reward_curves`.
    """
    curves = reward_curves(rule, limit)
    values = [value for curve in curves.values() for _, value in curve]
    ticks = _ticks(min(0.0, *values), max(0.0, *values))

    def x(length: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (length - 1) / (limit - 1), 1)

    def y(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    grid = "".join(
        f'<path d="M{x(1)} {y(tick)}H{x(limit)}" style="stroke:var(--gr-line)"/>'
        f'<text x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    )
    grid += "".join(
        f'<text x="{x(length)}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{length:,}</text>'
        for length in sorted({1, round(limit / 2), limit})
    )
    grid += (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">length in tokens</text>'
        f'<text x="11" y="{(_TOP + _HEIGHT - _BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 11 {(_TOP + _HEIGHT - _BOTTOM) / 2})">reward</text>'
    )

    def line(curve: Curve) -> str:
        return "M" + "L".join(f"{x(length)} {y(value)}" for length, value in curve)

    drawn = "".join(
        f'<path data-case="{case}" d="{line(curve)}" {_stroke(case)}><title>{escape(_said(case, curve))}</title></path>'
        for case, curve in curves.items()
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 24 10" aria-hidden="true"><path d="M0 5H24" {_stroke(case)}/></svg>'
        f"{escape(_said(case, curve))}</li>"
        for case, curve in curves.items()
    )
    said = "; ".join(_said(case, curve) for case, curve in curves.items())
    return (
        '<figure class="gr-e-plot"><figcaption>Reward by length</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"Reward by length: {said}")}">'
        f"{grid}{drawn}</svg><ul>{legend}</ul></figure>"
    )


def _stroke(case: str) -> str:
    colour, dashes = _STROKES[case]
    dashed = f";stroke-dasharray:{dashes}" if dashes else ""
    return f'style="fill:none;stroke:{colour};stroke-width:2{dashed}"'


def _said(case: str, curve: Curve) -> str:
    first, last = curve[0][1], curve[-1][1]
    if all(math.isclose(value, first, abs_tol=1e-9) for _, value in curve):
        return f"{case}: {_number(first)} at every length"
    return f"{case}: {_number(first)} at 1 token, {_number(last)} at {curve[-1][0]:,}"


def _number(value: float) -> str:
    """At most two decimals, and a real minus sign."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return ("0" if text == "-0" else text).replace("-", "−")


def _ticks(low: float, high: float) -> Sequence[float]:
    """Round values that hold the whole range, four to seven of them."""
    rough = (high - low or 1.0) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(each * size for each in (1, 2, 2.5, 5, 10) if each * size >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 10) for at in range(first, max(last, first + 1) + 1)]
