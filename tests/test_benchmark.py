"""Laws of the benchmark's arithmetic; the figures themselves are never asserted."""

from __future__ import annotations

from itertools import count

from tests.benchmark import label_studio
from tests.benchmark.clocks import HEAD, Took, percentile, row, speed, spread
from tests.benchmark.pairs import Ratio, alternate


def test_the_ratio_is_taken_pair_by_pair() -> None:
    ratio = Ratio("drifting machine", "", (1.0, 2.0, 4.0), (2.0, 4.0, 8.0))
    assert ratio.ratios == (0.5, 0.5, 0.5)
    assert ratio.median == 0.5
    assert ratio.interval() == (0.5, 0.5)


def test_the_interval_holds_the_median_and_widens_with_the_spread() -> None:
    calm = Ratio("calm", "", (1.0, 1.1, 0.9, 1.0, 1.0, 1.05, 0.95), (1.0,) * 7)
    wild = Ratio("wild", "", (0.2, 3.0, 1.0, 0.1, 5.0, 1.0, 2.0), (1.0,) * 7)
    for ratio in (calm, wild):
        low, high = ratio.interval()
        assert low <= ratio.median <= high
    assert wild.interval()[1] - wild.interval()[0] > calm.interval()[1] - calm.interval()[0]


def test_pairs_alternate_and_swap_their_order_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    clock = count()

    def run(name: str) -> float:
        calls.append(name)
        return float(next(clock))

    ratio = alternate("order", "", lambda: run("a"), lambda: run("b"), 3, warm_ups=1)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert len(ratio.ratios) == 3
    assert ratio.ours == (2.0, 5.0, 6.0)


def test_a_percentile_is_a_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.95) == 96.0
    assert percentile([3.0], 0.95) == 3.0


def test_clock_and_cpu_stand_in_columns_of_their_own() -> None:
    times = [Took(0.002, 0.001)] * 20
    assert spread(times) == ("2.00 ms, p95 2.00 ms", "1.00 ms, p95 1.00 ms")
    assert speed(1_000, Took(2.0, 0.5)) == ("500 rows/s", "2,000 rows/s")
    assert row("a", "b", ("c", "d")).count("|") == HEAD.split("\n")[0].count("|")


def test_the_peers_figure_is_of_no_larger_a_project_than_ours() -> None:
    assert label_studio.next_item(1_000) == "67 ms (1,000 rows)"
    assert label_studio.next_item(1_000_000) == "97 ms (50,000 rows)"
    assert label_studio.next_item(100) == ""
