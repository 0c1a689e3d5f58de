"""Intervals: ranks by arithmetic, coverage and width where the truth is known."""

import numpy as np
import pytest
from scipy.special import ndtr

from bat.models import interval, regressor, search
from benchmarks.interval import score

SEEDS = 12


def corpus(n, seed):
    """Two numbers a row: the first makes the price, the second how far it may be off."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    noise = np.where(x[:, 1] > 0, 0.6, 0.1) * rng.standard_normal(n)
    return x, np.exp(8 + x[:, 0] + noise), np.exp(8 + x[:, 0].astype(np.float64))


def unseen(x, prices, groups):
    """What trees predict for rows of groups that they have not seen."""
    folds = search.splits(groups, folds=4, seed=1)
    guesses = []
    for learn, apart in folds:
        trees = regressor.fit(x[learn], prices[learn], regressor.Settings(), n_trees=50, seed=0)
        guesses.append(trees.predict(x[apart]))
    return search.in_order(folds, guesses, len(x))


@pytest.fixture(scope="module")
def fitted():
    """A regressor of the price, its rows, and what others predict for them unseen."""
    x, prices, _ = corpus(1_500, seed=1)
    trees = regressor.fit(x, prices, regressor.Settings(), n_trees=50, seed=0)
    return trees, (x, prices, unseen(x, prices, np.arange(1_500)))


@pytest.fixture(scope="module")
def calibrated(fitted):
    _, (x, prices, guesses) = fitted
    return interval.calibrate(x, prices, guesses, groups=np.arange(len(x)), seed=0)


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


def test_three_groups_can_vouch_for_half_and_not_for_more(fitted):
    trees, (x, prices, guesses) = fitted
    few = interval.calibrate(x[:3], prices[:3], guesses[:3], groups=np.arange(3), seed=0)
    assert few.most_coverage == few.usual_coverage == 0.5
    low, high = few.bounds(x[:3], trees.predict(x[:3]), 0.5)
    assert (low < high).all()
    with pytest.raises(ValueError, match=r"got coverage=0\.9; .* at most 0\.5000, for which 3"):
        few.bounds(x, trees.predict(x), 0.9)


def test_groups_are_counted_among_rows_with_a_prediction(fitted):
    _, (x, prices, guesses) = fitted
    with pytest.raises(ValueError, match="got 2 groups of calibration rows; expected at least 3"):
        interval.calibrate(x[:9], prices[:9], guesses[:9], groups=np.arange(9) % 2, seed=0)
    lacking = np.where(np.arange(9) < 7, np.nan, guesses[:9])
    with pytest.raises(ValueError, match="got 2 groups"):
        interval.calibrate(x[:9], prices[:9], lacking, groups=np.arange(9), seed=0)


def test_rows_without_a_prediction_have_no_say(fitted):
    _, (x, prices, guesses) = fitted
    some = np.where(np.arange(1_500) % 3, guesses, np.nan)
    known = np.isfinite(some)
    found = interval.calibrate(x, prices, some, groups=np.arange(1_500), seed=0)
    alone = interval.calibrate(
        x[known], prices[known], some[known], groups=np.flatnonzero(known), seed=0
    )
    assert found.scores.size == 1_000
    np.testing.assert_array_equal(found.scores, alone.scores)
    np.testing.assert_array_equal(found.spreads(x), alone.spreads(x))


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_the_share_asked_for_lies_inside_over_new_rows(coverage):
    """Small corpora, each with predictor, folds and interval of its own."""
    x, prices, _ = corpus(4_000, seed=3)
    shares = []
    for seed in range(SEEDS):
        rows, truth, _ = corpus(300, seed=100 + seed)
        made = interval.calibrate(
            rows, truth, unseen(rows, truth, np.arange(300)), groups=np.arange(300), seed=seed
        )
        trees = regressor.fit(rows, truth, regressor.Settings(), n_trees=50, seed=0)
        low, high = made.bounds(x, trees.predict(x), coverage)
        shares.append(np.mean((low <= prices) & (prices <= high)))
    # A corpus of 300 rows scatters by about sqrt(0.9 × 0.1 / 300) = 0.017, the mean of 12 by
    # 0.005. Trees fitted to all rows err a little less than those of a fold.
    assert coverage - 0.015 < np.mean(shares) < coverage + 0.04


def test_rows_that_err_together_stay_in_one_fold():
    """Rows of a group share an error; a spread that had seen one would know the others'."""
    rng = np.random.default_rng(0)
    sellers = np.repeat(np.arange(60), 10)
    x = rng.normal(size=(60, 12)).astype(np.float32)[sellers]  # by which a seller is known again
    prices = np.exp(8 + rng.choice([0.02, 0.8], 60)[sellers] * rng.standard_normal(60)[sellers])
    guesses = np.full(600, np.exp(8.0))
    x_new = rng.normal(size=(4_000, 12)).astype(np.float32)
    new = np.exp(8 + rng.choice([0.02, 0.8], 4_000) * rng.standard_normal(4_000))

    def covered(groups):
        made = interval.calibrate(x, prices, guesses, groups=groups, seed=0)
        low, high = made.bounds(x_new, np.full(4_000, np.exp(8.0)), 0.9)
        return np.mean((low <= new) & (new <= high))

    assert covered(np.arange(600)) < 0.8
    assert covered(sellers) > covered(np.arange(600)) + 0.05


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
    plain = score(prices, guesses + away[low - 1], guesses + away[high - 1], 0.9)
    ours = score(prices, *calibrated.bounds(x, guesses, 0.9), 0.9)
    assert ours.mean() < 0.9 * plain.mean()


def test_the_score_is_the_width_and_a_fine_for_what_lies_outside():
    found = score(np.array([5.0, 1.0, 12.0]), *np.array([[2.0] * 3, [10.0] * 3]), 0.9)
    assert found == pytest.approx([8.0, 8.0 + 20 * 1.0, 8.0 + 20 * 2.0])


def test_what_was_saved_gives_the_same_intervals(fitted, calibrated, tmp_path):
    trees, (x, *_) = fitted
    interval.save(calibrated, tmp_path)
    found = interval.load(tmp_path).bounds(x, trees.predict(x), 0.9)
    np.testing.assert_array_equal(found, calibrated.bounds(x, trees.predict(x), 0.9))
    (tmp_path / interval.SCORES_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"got no scores in .*; expected scores\.json"):
        interval.load(tmp_path)


@pytest.mark.parametrize(
    ("n", "coverage", "independent", "wanted"),
    [
        (199, 0.8, 199, (20, 180)),  # as without groups
        (1_000, 0.9, 50, (41, 960)),  # 50 less 1,000 × 0.45 / 50, less a half: 40.5 outside
        (1_000, 0.8, 50, (92, 909)),  # 100 less 1,000 × 0.4 / 50, less a half: 91.5 outside
        (1_000, 0.9, 9, (1, 1_000)),  # none is left
    ],
)
def test_rows_that_count_for_fewer_leave_fewer_outside(n, coverage, independent, wanted):
    assert interval.ranks(n, coverage, independent=independent) == wanted


def test_rows_count_for_as_many_as_their_groups_leave_independent():
    scores = np.random.default_rng(0).standard_normal(600)
    alone, many = np.arange(600), np.arange(600) % 12
    assert interval.independent_rows(scores, alone) == 600
    ordered = np.sort(scores)
    assert interval.independent_rows(ordered, many) == 600  # as many outside in each group
    by_group = np.repeat(np.arange(12), 50)
    assert interval.independent_rows(scores[by_group], by_group) == pytest.approx(12)  # all alike
    assert interval.independent_rows(np.ones(600), by_group) == 600  # nothing to go by
    uneven = np.repeat([0, 1, 2], [400, 100, 100])
    least = 1 / (4 / 9 + 1 / 36 + 1 / 36)  # Kish
    assert least <= interval.independent_rows(uneven.astype(float), uneven) <= 3
    shifted = scores + 2 * np.random.default_rng(1).standard_normal(12)[by_group]
    assert 12 < interval.independent_rows(shifted, by_group) < 100


@pytest.mark.parametrize(("effect", "gained"), [(0.0, 0.0), (0.5, 0.008), (0.8, 0.015)])
def test_rows_of_new_groups_lie_inside_where_groups_are_few(effect, gained):
    """A part of a row's variance is its group's: what lies inside is the normal distribution's."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(12), 50)
    inside = {True: [], False: []}
    for _ in range(300):
        shifts = np.sqrt(effect) * rng.standard_normal(12)
        scores = shifts[groups] + np.sqrt(1 - effect) * rng.standard_normal(600)
        for counted, shares in inside.items():
            told = interval.independent_rows(scores, groups) if counted else None
            at = np.array(interval.ranks(600, 0.9, independent=told)) - 1
            shares.append(np.ptp(ndtr(np.sort(scores)[at])))
    assert 0.87 < np.mean(inside[True]) < 0.92
    assert np.mean(inside[True]) >= np.mean(inside[False]) + gained


def shifted(groups):
    """Rows whose group shifts their price more than anything else; nothing tells the groups."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(groups.size, 4)).astype(np.float32)
    errors = rng.standard_normal(groups.max() + 1)[groups] + 0.3 * rng.standard_normal(groups.size)
    return x, np.exp(8 + errors), np.full(groups.size, np.exp(8.0))


def test_less_is_promised_where_groups_are_few_and_differ():
    groups = np.repeat(np.arange(12), 50)
    x, prices, guesses = shifted(groups)
    alone = interval.calibrate(x, prices, guesses, groups=np.arange(600), seed=0)
    together = interval.calibrate(x, prices, guesses, groups=groups, seed=0)
    assert alone.independent == 600
    assert alone.usual_coverage == 0.9
    assert 12 <= together.independent < 60
    assert together.most_coverage == 1 - 2 / (together.independent + 1)
    few = interval.Calibrated(together.spread, together.scores, independent=12.0)
    assert few.usual_coverage == few.most_coverage == 1 - 2 / 13
    low, high = few.ends([1.0], [1.0], few.usual_coverage)
    assert np.log([low[0], high[0]]) == pytest.approx(
        few.scores[[24, -25]]
    )  # 600 / 13 less 21.15 and ½
    told = r"at most 0\.8462, for which 600 calibration rows that err in groups, as 12 independent"
    with pytest.raises(ValueError, match=told):
        few.ends([1.0], [1.0], 0.9)


def test_what_the_rows_count_for_is_saved_and_rows_of_version_0_1_counted_alone(tmp_path):
    made = interval.calibrate(*shifted(groups := np.arange(120) // 4), groups=groups, seed=0)
    interval.save(made, tmp_path)
    assert interval.load(tmp_path).independent == made.independent < 120
    (tmp_path / interval.SCORES_FILE).write_text("[-1.0, 0.0, 1.0]\n")
    assert interval.load(tmp_path).most_coverage == 0.5
    (tmp_path / interval.SCORES_FILE).write_text('{"scores": [1.0]}\n')
    with pytest.raises(ValueError, match="got no scores"):
        interval.load(tmp_path)
