"""Intervals: ranks by arithmetic, coverage and width where the truth is known."""

import numpy as np
import pytest

from bat import interval, regressor

SEEDS = 40


def corpus(n, seed):
    """Two numbers a row: the first makes the price, the second how far it may be off."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    noise = np.where(x[:, 1] > 0, 0.6, 0.1) * rng.standard_normal(n)
    return x, np.exp(8 + x[:, 0] + noise), np.exp(8 + x[:, 0].astype(np.float64))


@pytest.fixture(scope="module")
def fitted():
    """A regressor of the price, and held-out predictions of other rows."""
    x, prices, law = corpus(1_500, seed=1)
    trees = regressor.fit(x, prices, regressor.Settings(), n_trees=50, seed=0)
    return trees, (x, prices, law)


@pytest.fixture(scope="module")
def calibrated(fitted):
    trees, (x, prices, law) = fitted
    apart = corpus(199, seed=2)[:2]
    return interval.calibrate(x, prices, law, trees, apart=apart, seed=0)


@pytest.mark.parametrize(
    ("n", "coverage", "wanted"),
    [
        (99, 0.9, (5, 95)),
        (199, 0.8, (20, 180)),
        (9, 0.8, (1, 9)),
        (100, 0.9, (5, 96)),  # 5.05 on either side, rounded outwards
        (999, 0.95, (25, 975)),
    ],
)
def test_ranks_leave_half_of_the_rest_on_either_side(n, coverage, wanted):
    assert interval.ranks(n, coverage) == wanted


def test_three_rows_can_vouch_for_half_and_not_for_more(fitted):
    trees, (x, prices, law) = fitted
    few = interval.calibrate(x, prices, law, trees, apart=(x[:3], prices[:3]), seed=0)
    assert few.most_coverage == few.usual_coverage == 0.5
    low, high = few.bounds(x[:3], trees.predict(x[:3]), 0.5)
    assert (low < high).all()
    with pytest.raises(ValueError, match=r"got coverage=0\.9; .* at most 0\.5000, for which 3"):
        few.bounds(x, trees.predict(x), 0.9)
    with pytest.raises(ValueError, match="got 2 calibration rows; expected at least 3"):
        interval.calibrate(x, prices, law, trees, apart=(x[:2], prices[:2]), seed=0)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_the_share_asked_for_lies_inside_over_calibration_parts(fitted, calibrated, coverage):
    trees, _ = fitted
    x, prices, _ = corpus(4_000, seed=3)
    guesses, shares = trees.predict(x), []
    for seed in range(SEEDS):
        rows, truth, _ = corpus(199, seed=100 + seed)
        spread = np.maximum(calibrated.spread.predict(rows), interval.FLOOR)
        scores = np.sort(np.log(truth / trees.predict(rows)) / spread)
        low, high = interval.Calibrated(calibrated.spread, scores).bounds(x, guesses, coverage)
        shares.append(np.mean((low <= prices) & (prices <= high)))
    # A part of 199 rows scatters by sqrt(0.9 × 0.1 / 200) = 0.02, the mean of 40 by 0.0034.
    assert np.mean(shares) == pytest.approx(coverage, abs=0.012)


def test_intervals_are_wide_where_the_prices_scatter(fitted, calibrated):
    trees, _ = fitted
    x, _, _ = corpus(2_000, seed=4)
    low, high = calibrated.bounds(x, trees.predict(x), 0.9)
    width = np.log(high / low)
    assert np.median(width[x[:, 1] > 0.1]) > 2 * np.median(width[x[:, 1] < -0.1])


def test_they_score_better_than_one_width_for_all(fitted, calibrated):
    trees, _ = fitted
    x, prices, _ = corpus(4_000, seed=5)
    held, known, _ = corpus(199, seed=6)
    away = np.sort(known - trees.predict(held))
    low, high = interval.ranks(199, 0.9)
    guesses = trees.predict(x)
    plain = interval.score(prices, guesses + away[low - 1], guesses + away[high - 1], 0.9)
    ours = interval.score(prices, *calibrated.bounds(x, guesses, 0.9), 0.9)
    assert ours.mean() < 0.9 * plain.mean()


def test_the_score_is_the_width_and_a_fine_for_what_lies_outside():
    found = interval.score([5.0, 1.0, 12.0], *np.array([[2.0] * 3, [10.0] * 3]), 0.9)
    assert found == pytest.approx([8.0, 8.0 + 20 * 1.0, 8.0 + 20 * 2.0])


def test_what_was_saved_gives_the_same_intervals(fitted, calibrated, tmp_path):
    trees, (x, *_) = fitted
    interval.save(calibrated, tmp_path)
    found = interval.load(tmp_path).bounds(x, trees.predict(x), 0.9)
    np.testing.assert_array_equal(found, calibrated.bounds(x, trees.predict(x), 0.9))
    (tmp_path / interval.SCORES_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"got no scores in .*; expected scores\.json"):
        interval.load(tmp_path)
