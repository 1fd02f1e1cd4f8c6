"""Laws of the figures: those of scikit-learn where it has them, and the papers' rules where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation import metrics
from core.evaluation.bootstrap import Interval, accuracy_of, as_counts, average_interval, f1_of, interval, paired
from core.evaluation.metrics import Confusion, confusion, weighted_average

H, U = True, False

CASES: dict[str, tuple[list[bool], list[bool]]] = {
    "mixed": ([H, H, U, U, H, U], [H, U, U, H, H, U]),
    "all right": ([H, U, H], [H, U, H]),
    "all wrong": ([H, U, H], [U, H, U]),
    "nothing called harmful": ([H, U, H], [U, U, U]),
    "everything called harmful": ([H, U, U, U], [H, H, H, H]),
    "only harmful rows": ([H, H, H], [H, U, H]),
    "only harmless rows": ([U, U, U], [H, U, U]),
}


@pytest.mark.parametrize("case", CASES)
def test_figures_are_those_of_scikit_learn(case: str) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score

    truth, said = CASES[case]
    found = confusion(truth, said)
    matrix = confusion_matrix(truth, said, labels=[U, H])
    assert [[found.passes, found.false_alarms], [found.misses, found.hits]] == matrix.tolist()
    assert found.accuracy == pytest.approx(accuracy_score(truth, said))
    expected = {
        "f1": f1_score(truth, said, zero_division=0) if any(truth) else None,
        "precision": precision_score(truth, said) if any(said) else None,
        "recall": recall_score(truth, said) if any(truth) else None,
        "false_alarm_rate": recall_score(np.invert(truth), np.array(said), pos_label=True) if not all(truth) else None,
    }
    for name, value in expected.items():
        assert getattr(found, name) == (None if value is None else pytest.approx(value)), name


# Truth, what was said (none: not readable), and what is counted.
RULES: list[tuple[bool | None, bool | None, Confusion]] = [
    (H, H, Confusion(hits=1)),
    (H, U, Confusion(misses=1)),
    (H, None, Confusion(misses=1)),
    (U, U, Confusion(passes=1)),
    (U, H, Confusion(false_alarms=1)),
    (U, None, Confusion(false_alarms=1)),
    (None, H, Confusion()),
    (None, U, Confusion()),
    (None, None, Confusion()),
]


@pytest.mark.parametrize(("truth", "said", "counted"), RULES)
def test_what_cannot_be_read_is_wrong_and_what_nobody_labelled_is_not_scored(
    truth: bool | None, said: bool | None, counted: Confusion
) -> None:
    assert confusion([truth], [said]) == counted


def test_averages_are_weighted_by_labelled_samples_and_leave_out_what_is_undefined() -> None:
    assert weighted_average([(0.9, 300), (0.5, 100), (None, 1000), (0.1, 0)]) == pytest.approx(0.8)
    assert weighted_average([(None, 10)]) is None
    assert weighted_average([]) is None


def test_a_misalignment_is_noticed() -> None:
    with pytest.raises(ValueError, match="argument"):
        confusion([H, U], [H])
    with pytest.raises(ValueError, match="the same rows are needed"):
        paired([Confusion(hits=1)], [])


def noisy(seed: int, rows: int, shift: float = 1.0) -> tuple[list[float], list[bool]]:
    """Probabilities that say something, many of them tied."""
    random = np.random.default_rng(seed)
    truth = random.random(rows) < 0.4
    p = 1 / (1 + np.exp(-(random.normal(size=rows) + shift * (2 * truth - 1))))
    return [round(float(each), 2) for each in p], [bool(each) for each in truth]


@pytest.mark.parametrize("seed", range(5))
def test_ranking_figures_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    p, truth = noisy(seed, 200)
    assert metrics.roc_auc(p, truth) == pytest.approx(roc_auc_score(truth, p))
    assert metrics.average_precision(p, truth) == pytest.approx(average_precision_score(truth, p))
    precision, recall, thresholds = precision_recall_curve(truth, p)
    points = metrics.precision_recall(p, truth)
    assert [each.threshold for each in points] == pytest.approx(thresholds[::-1])
    assert [each.precision for each in points] == pytest.approx(precision[:-1][::-1])
    assert [each.recall for each in points] == pytest.approx(recall[:-1][::-1])


def test_a_thinned_curve_keeps_its_ends_and_its_points() -> None:
    p, truth = noisy(1, 500)
    whole, thin = metrics.precision_recall(p, truth), metrics.precision_recall(p, truth, 10)
    assert len(thin) == 10
    assert (thin[0], thin[-1]) == (whole[0], whole[-1])
    assert set(thin) <= set(whole)
    assert metrics.precision_recall(p, truth, 1000) == whole


def test_without_harmful_rows_there_is_no_curve() -> None:
    assert metrics.precision_recall([0.1, 0.9], [U, U]) == []
    assert metrics.average_precision([0.1, 0.9], [U, U]) is None
    assert math.isnan(metrics.roc_auc([0.1], [U]))


@pytest.mark.parametrize("seed", range(3))
def test_reliability_is_that_of_scikit_learn_and_the_error_is_its_weighted_gap(seed: int) -> None:
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(seed)
    p = [float(each) for each in random.random(400)]
    truth = [bool(random.random() < each**2) for each in p]
    shares, means = calibration_curve(truth, p, n_bins=10, strategy="uniform")
    table = metrics.reliability(p, truth)
    assert [mean for _, mean, _ in table] == pytest.approx(means)
    assert [share for _, _, share in table] == pytest.approx(shares)
    counts = np.histogram(p, bins=10, range=(0, 1))[0]
    gaps = np.abs(shares - means)
    assert metrics.calibration_error(p, truth) == pytest.approx(float((counts * gaps).sum() / counts.sum()))
    assert sum(count for count, _, _ in table) == 400


def test_a_perfect_oracle_has_no_calibration_error_and_its_opposite_has_all() -> None:
    assert metrics.calibration_error([0.0, 1.0], [U, H]) == 0.0
    assert metrics.calibration_error([1.0, 0.0], [U, H]) == 1.0


# -- intervals ----------------------------------------------------------------------------------------------------


def drawn(seed: int, rows: int, recall: float = 0.8, false_alarms: float = 0.2) -> list[Confusion]:
    random = np.random.default_rng(seed)
    truth = random.random(rows) < 0.5
    said = random.random(rows) < np.where(truth, recall, false_alarms)
    return [confusion([bool(t)], [bool(s)]) for t, s in zip(truth, said, strict=True)]


counted = st.builds(Confusion, *[st.integers(0, 50)] * 4)


@given(st.lists(counted, min_size=1, max_size=5))
def test_figures_of_many_counts_at_once_are_those_of_each(counts: list[Confusion]) -> None:
    for statistic, name in ((f1_of, "f1"), (accuracy_of, "accuracy")):
        for value, each in zip(statistic(as_counts(counts)), counts, strict=True):
            expected = getattr(each, name)
            assert (math.isnan(value) and expected is None) or value == pytest.approx(expected)


def test_an_interval_is_that_of_resampling_the_rows_themselves() -> None:
    rows = drawn(3, 300)
    found = interval(rows, resamples=4000)
    assert found is not None
    counts, random = as_counts(rows), np.random.default_rng(1)
    values = f1_of(np.stack([counts[random.integers(0, 300, 300)].sum(axis=0) for _ in range(4000)]))
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    true_f1 = 2 * 0.4 / (2 * 0.4 + 0.1 + 0.1)
    held = 0
    for seed in range(200):
        found = interval(drawn(seed, 300), resamples=400, seed=seed)
        assert found is not None
        held += found.low <= true_f1 <= found.high
    assert 180 <= held <= 199


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = drawn(1, 100)
    assert interval(rows, seed=7) == interval(rows, seed=7)
    assert interval(rows, seed=7) != interval(rows, seed=8)


def test_an_undefined_figure_has_no_interval() -> None:
    harmless = [Confusion(passes=1)] * 20
    assert interval(harmless) is None
    assert interval([]) is None
    assert average_interval([]) is None
    assert paired(harmless, harmless) is None
    assert interval(harmless, accuracy_of) == Interval(1.0, 1.0)


def test_the_interval_of_an_average_is_narrower_than_that_of_its_sets() -> None:
    sets = [drawn(seed, 200) for seed in range(4)]
    widths = [found.high - found.low for rows in sets if (found := interval(rows)) is not None]
    whole = average_interval([*sets, [Confusion(passes=1)] * 50])
    assert whole is not None
    assert whole.high - whole.low == pytest.approx(sum(widths) / 4 / 2, rel=0.2)


def test_two_equal_checkpoints_differ_by_nothing() -> None:
    rows = drawn(1, 300)
    found = paired(rows, rows)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.is_loss
    assert not found.is_gain


def test_a_loss_of_one_row_is_none_and_a_loss_of_many_is_one() -> None:
    before = [Confusion(hits=1)] * 150 + [Confusion(passes=1)] * 150
    one = [Confusion(misses=1), *before[1:]]
    many = [Confusion(misses=1)] * 20 + before[20:]
    small, large, back = paired(before, one), paired(before, many), paired(many, before)
    assert small is not None
    assert large is not None
    assert back is not None
    assert small.value < 0
    assert not small.is_loss
    assert large.is_loss
    assert back.is_gain
    assert (back.value, back.low, back.high) == pytest.approx((-large.value, -large.high, -large.low))


def test_pairing_finds_what_two_intervals_hide() -> None:
    before = drawn(5, 400)
    after = [Confusion(hits=1) if each.misses and at % 3 == 0 else each for at, each in enumerate(before)]
    apart = [interval(before), interval(after)]
    assert apart[0] is not None
    assert apart[1] is not None
    assert apart[0].high > apart[1].low  # the two overlap
    found = paired(before, after)
    assert found is not None
    assert found.is_gain


def test_noise_is_called_a_loss_about_as_rarely_as_the_level_says() -> None:
    losses = 0
    for seed in range(200):
        found = paired(drawn(seed, 250), drawn(seed + 1000, 250), resamples=400, seed=seed)
        assert found is not None
        losses += found.is_loss
    assert losses <= 14
