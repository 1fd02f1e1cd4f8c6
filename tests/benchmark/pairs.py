"""Alternating pairs and their ratio: pure arithmetic."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over the peer's, pair by pair."""

    name: str
    bar: str
    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """One for each pair."""
        return tuple(ours / peer for ours, peer in zip(self.ours, self.peers, strict=True))

    @property
    def median(self) -> float:
        """The middle ratio."""
        return statistics.median(self.ratios)

    def interval(self, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
        """The 95% bootstrap interval of the median ratio."""
        rng = random.Random(seed)
        medians = sorted(statistics.median(rng.choices(self.ratios, k=len(self.ratios))) for _ in range(draws))
        return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]

    def row(self) -> str:
        """A line of the benchmark's table."""
        low, high = self.interval()
        return (
            f"| {self.name} | {self.median:.3f} ({low:.3f} to {high:.3f}) | {self.bar} | {len(self.ratios)} | "
            f"{statistics.median(self.ours):.3f} | {statistics.median(self.peers):.3f} |"
        )


def alternate(
    name: str, bar: str, ours: Callable[[], float], peer: Callable[[], float], pairs: int, *, warm_ups: int = 1
) -> Ratio:
    """Run both in turn, the order changing from pair to pair, so that a machine's drift hits both alike."""
    for _ in range(warm_ups):
        ours(), peer()
    mine: list[float] = []
    theirs: list[float] = []
    for at in range(pairs):
        order = ((ours, mine), (peer, theirs)) if at % 2 == 0 else ((peer, theirs), (ours, mine))
        for run, seconds in order:
            seconds.append(run())
    return Ratio(name, bar, tuple(mine), tuple(theirs))
