"""The plots of an evaluation as inline SVG: pure functions of values. Colours come from the style sheet, so that they
follow light and dark; every curve also differs by its stroke, and its name and figure stand below in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.markup.text import escape

LOOKS = {"deliberated": "deliberated", "first_look": "first look"}
"""The readings of a probability, as the report calls them and as people do."""

_WIDTH, _HEIGHT = 340, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 40
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Look = Mapping[str, Any]


def figure(value: float | None) -> str:
    """Three decimals; a dash where it is not defined."""
    return "–" if value is None else f"{value:.3f}"


def precision_recall(looks: Mapping[str, Look], said: tuple[float | None, float | None], harmful_share: float) -> str:
    """Precision over recall for every threshold.

    Args:
        looks: the `probabilities` of one side of a report, by name of the look.
        said: recall and precision of the labels that were given, a point of its own.
        harmful_share: what calling everything harmful would reach.
    """
    curves, legend = [], []
    for name, words in LOOKS.items():
        look = looks.get(name)
        points = [] if look is None else look["precision_recall"]
        if look is None or not points:
            continue
        # In steps, as the average precision counts: a point's precision holds for all that it adds to the recall.
        path = f"M{_x(0)} {_y(points[0]['precision'])}" + "".join(
            f"V{_y(each['precision'])}H{_x(each['recall'])}" for each in points
        )
        curves.append(f'<path class="gr-e-curve" data-look="{name}" d="{path}"/>')
        legend.append(_key(name, f"{words}, average precision {figure(look['average_precision'])}"))
    if not curves:
        return _nothing("Precision and recall", "No row is harmful here, so there is no curve.")
    recall, precision = said
    if recall is not None and precision is not None:
        curves.append(f'<circle class="gr-e-point" cx="{_x(recall)}" cy="{_y(precision)}" r="5"/>')
        legend.append(_key("said", f"the labels given: precision {figure(precision)}, recall {figure(recall)}"))
    y = _y(harmful_share)
    curves.insert(0, f'<path class="gr-e-chance" d="M{_x(0)} {y}H{_x(1)}"/>')
    legend.append(_key("chance", f"calling everything harmful, {figure(harmful_share)}"))
    return _plot("Precision and recall", "recall", "precision", "".join(curves), legend)


def calibration(looks: Mapping[str, Look]) -> str:
    """How often what was given a probability is harmful: on the diagonal, as often as was said."""
    drawn, legend = [f'<path class="gr-e-chance" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>'], []
    for name, words in LOOKS.items():
        look = looks.get(name)
        if look is None or not look["reliability"]:
            continue
        bins: Sequence[Mapping[str, float]] = look["reliability"]
        most = max(each["rows"] for each in bins)
        path = _path([(each["mean_p"], each["harmful_share"]) for each in bins])
        drawn.append(f'<path class="gr-e-curve" data-look="{name}" d="{path}"/>')
        drawn += [
            f'<circle class="gr-e-bin" data-look="{name}" cx="{_x(each["mean_p"])}" '
            f'cy="{_y(each["harmful_share"])}" r="{2.5 + 4.5 * (each["rows"] / most) ** 0.5:.1f}">'
            f"<title>{each['rows']:,} rows: said {each['mean_p']:.2f}, harmful {each['harmful_share']:.2f}</title>"
            "</circle>"
            for each in bins
        ]
        legend.append(_key(name, f"{words}, calibration error {figure(look['calibration_error'])}"))
    if not legend:
        return _nothing("Calibration", "There are no probabilities.")
    legend.append(_key("chance", "perfect; the larger a dot, the more rows"))
    return _plot("Calibration", "probability that was said", "share that is harmful", "".join(drawn), legend)


def _plot(title: str, across: str, up: str, drawn: str, legend: Sequence[str]) -> str:
    grid = "".join(
        f'<path class="gr-e-grid" d="M{_x(at)} {_y(0)}V{_y(1)}M{_x(0)} {_y(at)}H{_x(1)}"/>'
        f'<text x="{_x(at)}" y="{_y(0) + 15:.1f}" text-anchor="middle">{at:g}</text>'
        f'<text x="{_LEFT - 7}" y="{_y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in _TICKS
    )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    names = (
        f'<text class="gr-e-axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 5}" '
        f'text-anchor="middle">{across}</text><text class="gr-e-axis" x="11" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle})">{up}</text>'
    )
    return (
        f'<figure class="gr-e-plot"><figcaption>{title}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{grid}{names}{drawn}</svg><ul>{"".join(legend)}</ul></figure>'
    )


def _nothing(title: str, words: str) -> str:
    return f'<figure class="gr-e-plot"><figcaption>{title}</figcaption><p class="gr-quiet">{escape(words)}</p></figure>'


def _key(name: str, words: str) -> str:
    """A line of the legend: a piece of the curve, and what it is."""
    mark = {
        "said": '<circle class="gr-e-point" cx="12" cy="5" r="4.5"/>',
        "chance": '<path class="gr-e-chance" d="M0 5H24"/>',
    }.get(name, f'<path class="gr-e-curve" data-look="{name}" d="M0 5H24"/>')
    return f'<li><svg viewBox="0 0 24 10" aria-hidden="true">{mark}</svg>{escape(words)}</li>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_x(x)} {_y(y)}" for x, y in points)


def _x(value: float) -> float:
    return round(_LEFT + value * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float) -> float:
    return round(_HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM), 1)
