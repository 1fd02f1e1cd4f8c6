"""Figures that others have published (`assets/published.toml`), to stand beside one's own where the set is the same."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from core.errors import InputError
from core.settings import ASSETS

FILE = ASSETS / "published.toml"


@dataclass(frozen=True, slots=True)
class Published:
    """One figure on one set."""

    set: str
    """As the paper calls it."""
    benchmark: str
    """As evaluation files call it."""
    side: str
    """request or response."""
    model: str
    f1: float
    """In percent."""
    source: str


@dataclass(frozen=True, slots=True)
class PublishedAverage:
    """One average over all sets of a paper: other sets than one's own."""

    side: str
    model: str
    f1: float
    """In percent."""
    source: str
    mean_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """All of them."""

    figures: tuple[Published, ...]
    averages: tuple[PublishedAverage, ...]
    scored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By benchmark the sides that count in averages; all of them for one that is not named."""

    def counts(self, benchmark: str, side: str) -> bool:
        """Whether the labels of that side count in averages."""
        return side in self.scored.get(benchmark, (side,))

    def on(self, benchmark: str) -> tuple[Published, ...]:
        """Those on one set; none for a set without a name."""
        return tuple(each for each in self.figures if benchmark and each.benchmark == benchmark)


@cache
def published(path: Path = FILE) -> PublishedFigures:
    """Read the figures.

    Raises:
        InputError: the file cannot be used.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return PublishedFigures(
            tuple(Published(**each) for each in values.pop("figure", ())),
            tuple(PublishedAverage(**each) for each in values.pop("average", ())),
            {each["benchmark"]: tuple(each["sides"]) for each in values.pop("scored", ())},
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be used ({error}).") from None
