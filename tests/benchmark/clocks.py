"""What something took, by the clock and of the processor: on a busy machine only the second means something."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

HEAD = "| what | bar | by the clock | of the CPU | Label Studio 1.23.2 |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    clock: float
    cpu: float


def took(work: Callable[[], object]) -> Took:
    """Do it once. The CPU time is that of all threads of this process."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - clock, time.process_time() - cpu)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def spread(times: list[Took]) -> tuple[str, str]:
    """Median and 95th percentile in milliseconds, by the clock and of the CPU."""

    def say(seconds: list[float]) -> str:
        return f"{1000 * percentile(seconds, 0.5):.2f} ms, p95 {1000 * percentile(seconds, 0.95):.2f} ms"

    return say([each.clock for each in times]), say([each.cpu for each in times])


def speed(rows: int, time_taken: Took) -> tuple[str, str]:
    """Rows a second, by the clock and of the CPU."""
    return f"{rows / time_taken.clock:,.0f} rows/s", f"{rows / max(time_taken.cpu, 1e-9):,.0f} rows/s"


def row(what: str, bar: str, figures: tuple[str, str], peer: str = "") -> str:
    """A line of the table under `HEAD`."""
    return f"| {what} | {bar} | {figures[0]} | {figures[1]} | {peer} |"
