"""Scores against arithmetic and scikit-learn; intervals against a naive loop and by coverage."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score

from bat import metrics


def corpus(n=400, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(10, 0.5, n))
    return prices, prices * np.exp(rng.normal(0, noise, n))


def naive(prices, predictions, draws, seed, groups=None):
    """The same resamples, one by one, scored by scikit-learn; one row a draw."""
    rng = np.random.default_rng([seed, 0])
    groups = np.arange(prices.size) if groups is None else groups
    names = list(dict.fromkeys(groups.tolist()))
    for _ in range(draws):
        taken = rng.integers(0, len(names), size=len(names))
        i = np.concatenate([np.flatnonzero(groups == names[each]) for each in taken])
        p, q = prices[i], predictions[i]
        yield (
            r2_score(p, q),
            mean_absolute_error(p, q),
            median_absolute_error(p, q),
            r2_score(np.log(p), np.log(q)),
        )


def test_scores_that_can_be_done_in_the_head():
    found = metrics.scores([1, 2, 3, 6], [1, 2, 3, 2])  # mean 3; squares 4 + 1 + 0 + 9 = 14
    assert found["mae"] == 1
    assert found["medae"] == 0
    assert found["r2"] == pytest.approx(1 - 16 / 14)


def test_perfect_predictions_leave_no_doubt():
    prices, _ = corpus(50)
    for name, interval in metrics.bootstrap(prices, prices, draws=20).items():
        best = 1 if name.startswith("r2") else 0
        assert (interval.value, interval.low, interval.high) == (best, best, best)


def test_r2_of_log_price_counts_a_negative_prediction_as_a_tiny_price():
    prices = np.array([1.0, np.e])
    expected = r2_score(np.log(prices), [0, np.log(metrics.SMALLEST_PRICE)])
    assert metrics.scores(prices, [1, -5])["r2_log"] == pytest.approx(expected)


def test_tiny_prices_that_are_told_exactly_have_no_error():
    assert metrics.scores([1e-8, 3e-8], [1e-8, 3e-8])["r2_log"] == 1


@pytest.mark.parametrize("n", [2, 3, 10, 401, 3000])
def test_scores_agree_with_scikit_learn(n):
    prices, predictions = corpus(n)
    assert metrics.scores(prices, predictions) == pytest.approx(
        {
            "r2": r2_score(prices, predictions),
            "mae": mean_absolute_error(prices, predictions),
            "medae": median_absolute_error(prices, predictions),
            "r2_log": r2_score(np.log(prices), np.log(predictions)),
        },
        rel=1e-9,
    )


@pytest.mark.parametrize("n", [40, 401, 2500])
def test_bootstrap_equals_a_naive_loop_over_the_same_rows(n, monkeypatch):
    monkeypatch.setattr(metrics, "CHUNK_VALUES", 7 * n)  # 7 draws a chunk: 50 is no multiple
    prices, predictions = corpus(n)
    expected = np.quantile(list(naive(prices, predictions, 50, 3)), [0.025, 0.975], axis=0).T
    found = metrics.bootstrap(prices, predictions, draws=50, seed=3)
    ends = [(found[name].low, found[name].high) for name in metrics.NAMES]
    np.testing.assert_allclose(ends, expected, rtol=1e-9)


def test_paired_equals_a_naive_loop_over_the_same_rows():
    prices, ours = corpus()
    theirs = prices * 1.2
    differences = np.array(list(naive(prices, ours, 50, 3))) - list(naive(prices, theirs, 50, 3))
    expected = np.quantile(differences, [0.025, 0.975], axis=0).T
    found = metrics.paired(prices, ours, theirs, draws=50, seed=3)
    ends = [(found[name].low, found[name].high) for name in metrics.NAMES]
    np.testing.assert_allclose(ends, expected, rtol=1e-9)


def some_groups(n):
    """Groups of 1 to 7 rows, scattered, with numbers of no order."""
    rng = np.random.default_rng(9)
    sizes = rng.integers(1, 8, n)
    ids = rng.permutation(10 * n)[:n]
    return rng.permutation(np.repeat(ids, sizes)[:n])


@pytest.mark.parametrize("n", [40, 401, 2500])
def test_groups_are_drawn_whole(n):
    (prices, predictions), groups = corpus(n), some_groups(n)
    resamples = list(naive(prices, predictions, 50, 3, groups))
    expected = np.quantile(resamples, [0.025, 0.975], axis=0).T
    found = metrics.bootstrap(prices, predictions, groups=groups, draws=50, seed=3)
    ends = [(found[name].low, found[name].high) for name in metrics.NAMES]
    np.testing.assert_allclose(ends, expected, rtol=1e-9)


def test_groups_of_one_row_change_nothing():
    prices, predictions = corpus()
    alone = np.random.default_rng(0).permutation(prices.size)
    for groups in (alone, np.arange(prices.size)):
        assert metrics.bootstrap(prices, predictions, groups=groups) == metrics.bootstrap(
            prices, predictions
        )


def test_a_group_for_each_price_is_asked_for():
    with pytest.raises(ValueError, match=r"groups of shape \(2,\); expected \(3,\)"):
        metrics.bootstrap([1, 2, 3], [1, 2, 3], groups=[0, 1])


def test_intervals_of_rows_that_err_together_cover_the_truth():
    rng, hits, alone = np.random.default_rng(0), 0, 0
    groups = np.repeat(np.arange(60), 10)
    for number in range(150):
        prices = rng.normal(100, 10, 600)
        errors = 5 * np.sqrt([0.5, 0.5]) @ [rng.normal(0, 1, 600), rng.normal(0, 1, 60)[groups]]
        theirs = prices + errors
        ours = prices + errors * (1 + 0.2 * rng.normal(0, 1, 60)[groups])  # no better, no worse
        for name, told in (("groups", groups), ("rows", None)):
            gain = metrics.paired(prices, ours, theirs, groups=told, draws=250, seed=number)["mae"]
            hit = gain.low <= 0 <= gain.high
            hits, alone = hits + hit * (name == "groups"), alone + hit * (name == "rows")
    assert hits / 150 >= 0.9
    assert alone / 150 < 0.8  # what drawing row by row would claim


def test_a_share_knows_of_groups():
    hits, groups = np.repeat([True, False], 50), np.repeat(np.arange(10), 10)
    alone, together = metrics.share(hits), metrics.share(hits, groups=groups)
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert metrics.share(hits, groups=np.arange(100)) == alone
    certain = metrics.share(np.ones(100), groups=groups)
    assert (certain.value, certain.low) == (1, metrics.share(np.ones(10)).low)


def test_paired_difference_of_a_model_with_itself_is_exactly_nothing():
    prices, predictions = corpus()
    several = np.stack([predictions, predictions * 1.1, predictions * 0.8])
    for same in (predictions, several):
        for interval in metrics.paired(prices, same, same, draws=50).values():
            assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_one_seed_of_two_levels_is_one_level():
    prices, predictions = corpus()
    one = metrics.bootstrap(prices, predictions, draws=50)
    assert metrics.bootstrap(prices, predictions[None], draws=50) == one


def test_seeds_that_differ_widen_the_interval():
    prices, _ = corpus()
    near, far = prices + 1000, prices + 3000
    found = metrics.bootstrap(prices, np.stack([near, far]), draws=500)["mae"]
    assert found.value == pytest.approx(2000)
    assert (found.low, found.high) == pytest.approx((1000, 3000))  # both draws of one seed


def test_many_seeds_can_be_compared_with_one():
    prices, _ = corpus()
    ours = np.stack([prices + 1000, prices + 1000])
    found = metrics.paired(prices, ours, prices + 4000, draws=50)["mae"]
    assert (found.value, found.low, found.high) == pytest.approx((-3000, -3000, -3000))


def test_repeats_are_equal_and_seeds_are_not():
    prices, predictions = corpus()
    first = metrics.bootstrap(prices, predictions, draws=50, seed=1)
    assert metrics.bootstrap(prices, predictions, draws=50, seed=1) == first
    assert metrics.bootstrap(prices, predictions, draws=50, seed=2) != first


@pytest.mark.parametrize(
    ("prices", "predictions", "message"),
    [
        ([1, 2], [1, 2, 3], r"shape \(2,\) and predictions of shape \(3,\)"),
        ([], [], "expected \\(n,\\)"),
        ([1, 2], [1, np.nan], "not finite"),
        ([1, -2], [1, 2], "positive prices"),
        ([2, 2], [1, 2], "R² is undefined"),
    ],
)
def test_what_cannot_be_scored_is_refused(prices, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.scores(prices, predictions)


def test_seeds_that_cannot_be_paired_and_no_draws_are_refused():
    prices, predictions = corpus(10)
    with pytest.raises(ValueError, match=r"got \[2, 3\] seeds"):
        metrics.paired(prices, [predictions] * 2, [predictions] * 3)
    with pytest.raises(ValueError, match="draws=0"):
        metrics.bootstrap(prices, predictions, draws=0)


def coverage(corpora, draws):
    """Share of corpora whose interval holds the truth, for each metric.

    Prices 100 + normal of sd 10, errors normal of sd 5: MAE is 5 sqrt(2 / pi), MedAE 5 times the
    upper quartile of the normal, R² is 1 - 25 / 100.
    """
    rng = np.random.default_rng(0)
    truth = {"r2": 0.75, "mae": 5 * np.sqrt(2 / np.pi), "medae": 5 * 0.6744897501960817}
    hits = dict.fromkeys(truth, 0)
    for number in range(corpora):
        prices = rng.normal(100, 10, 400)
        predictions = prices + rng.normal(0, 5, 400)
        found = metrics.bootstrap(prices, predictions, draws=draws, seed=number)
        for name, value in truth.items():
            hits[name] += found[name].low <= value <= found[name].high
    return {name: count / corpora for name, count in hits.items()}


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    assert all(0.92 <= share <= 0.98 for share in coverage(300, 250).values())


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    assert all(0.93 <= share <= 0.97 for share in coverage(2000, 1000).values())
