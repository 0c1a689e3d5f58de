"""Scores against arithmetic and scikit-learn; intervals against a naive loop and by coverage."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score

from bat.stats import bootstrap, chance, resampling


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
    found = bootstrap.scores([1, 2, 3, 6], [1, 2, 3, 2])  # mean 3; squares 4 + 1 + 0 + 9 = 14
    assert found["mae"] == 1
    assert found["medae"] == 0
    assert found["r2"] == pytest.approx(1 - 16 / 14)


def test_perfect_predictions_leave_no_doubt():
    prices, _ = corpus(50)
    for name, interval in bootstrap.bootstrap(prices, prices, draws=20).items():
        best = 1 if name.startswith("r2") else 0
        assert (interval.value, interval.low, interval.high) == (best, best, best)


def test_r2_of_log_price_counts_a_negative_prediction_as_a_tiny_price():
    prices = np.array([1.0, np.e])
    expected = r2_score(np.log(prices), [0, np.log(resampling.SMALLEST_PRICE)])
    assert bootstrap.scores(prices, [1, -5])["r2_log"] == pytest.approx(expected)


def test_tiny_prices_that_are_told_exactly_have_no_error():
    assert bootstrap.scores([1e-8, 3e-8], [1e-8, 3e-8])["r2_log"] == 1


@pytest.mark.parametrize("n", [2, 3, 10, 401, 3000])
def test_scores_agree_with_scikit_learn(n):
    prices, predictions = corpus(n)
    assert bootstrap.scores(prices, predictions) == pytest.approx(
        {
            "r2": r2_score(prices, predictions),
            "mae": mean_absolute_error(prices, predictions),
            "medae": median_absolute_error(prices, predictions),
            "r2_log": r2_score(np.log(prices), np.log(predictions)),
        },
        rel=1e-9,
    )


def wider(ends, value, sizes):
    """Ends (2, m) moved away from the value (m,), as t intervals of so many groups are wider."""
    k, freedom = len(sizes), np.sum(sizes) ** 2 / np.sum(np.square(sizes)) - 1
    factor = scipy.stats.t.ppf(0.975, freedom) / scipy.stats.norm.ppf(0.975) * np.sqrt(k / (k - 1))
    return value + factor * (ends - value)


def ends(found, names=bootstrap.NAMES):
    return np.array([(found[name].low, found[name].high) for name in names]).T


@pytest.mark.parametrize("n", [101, 401, 2500])
def test_bootstrap_equals_a_naive_loop_over_the_same_rows(n, monkeypatch):
    monkeypatch.setattr(bootstrap, "CHUNK_VALUES", 7 * n)  # 7 draws a chunk: 50 is no multiple
    prices, predictions = corpus(n)
    expected = np.quantile(list(naive(prices, predictions, 50, 3)), [0.025, 0.975], axis=0)
    found = bootstrap.bootstrap(prices, predictions, draws=50, seed=3)
    value = np.array(list(bootstrap.scores(prices, predictions).values()))
    np.testing.assert_allclose(ends(found), wider(expected, value, np.ones(n)), rtol=1e-9)


def test_paired_medae_scatters_as_in_a_naive_loop_over_the_same_rows():
    prices, ours = corpus()
    theirs = prices * 1.2
    drawn = np.array(list(naive(prices, ours, 50, 3))) - list(naive(prices, theirs, 50, 3))
    found = bootstrap.paired(prices, ours, theirs, draws=50, seed=3)["medae"]
    half = np.quantile(np.abs(drawn[:, 2] - found.value), 0.95)
    expected = wider(found.value + half, found.value, np.ones(400))
    assert (found.high, found.low) == pytest.approx((expected, 2 * found.value - expected))


def test_a_paired_interval_in_r2_leaves_out_one_row_after_the_other():
    prices, ours = corpus(60, noise=0.2)
    theirs = prices * 1.2
    squares = np.square(prices - theirs) - np.square(prices - ours)
    around = np.square(prices - prices.mean())
    without = [np.delete(squares, i).sum() / np.delete(around, i).sum() for i in range(60)]
    value = r2_score(prices, ours) - r2_score(prices, theirs)
    share = around / around.sum()
    sd = np.sqrt(59 / 60 * np.square(np.array(without) - value).sum())
    half = scipy.stats.t.ppf(0.975, 1 / (share @ share) - 1) * sd
    found = bootstrap.paired(prices, ours, theirs, draws=2)["r2"]
    assert (found.value, found.low, found.high) == pytest.approx(
        (value, value - half, value + half)
    )


def test_bands_of_one_arm_are_its_paired_intervals_and_more_arms_widen_them():
    (prices, ours), rng = corpus(300, noise=0.3), np.random.default_rng(1)
    theirs = prices * np.exp(rng.normal(0, 0.3, 300))
    arms = [ours, *(prices * np.exp(rng.normal(0, 0.3, (2, 300))))]
    how = {"chance": (True, True), "draws": 200}
    alone = bootstrap.paired(prices, ours, theirs, **how)
    assert {name: (each,) for name, each in alone.items()} == bootstrap.bands(
        prices, [ours], theirs, **how
    )
    for name, several in bootstrap.bands(prices, arms, theirs, **how).items():
        assert several[0].value == alone[name].value
        wider = (several[0].high - several[0].low) / (alone[name].high - alone[name].low)
        assert 1.05 < wider < 1.25  # Bonferroni's factor: 1.22
    thrice = bootstrap.bands(prices, [ours] * 3, theirs, draws=200)
    once = bootstrap.paired(prices, ours, theirs, draws=200)
    for name, several in thrice.items():
        for each in several:
            assert vars(each) == pytest.approx(vars(once[name]))


def test_the_paired_interval_in_mae_is_that_of_a_paired_t_test():
    prices, ours = corpus(50)
    theirs = prices * 1.2
    test = scipy.stats.ttest_rel(np.abs(prices - ours), np.abs(prices - theirs))
    found = bootstrap.paired(prices, ours, theirs, draws=2)["mae"]
    assert (found.low, found.high) == pytest.approx(test.confidence_interval(0.95))
    groups = np.repeat(np.arange(50), 3)  # three rows each: the same groups' means
    thrice = bootstrap.paired(*np.repeat([prices, ours, theirs], 3, axis=1), groups=groups, draws=2)
    assert vars(thrice["mae"]) == pytest.approx(vars(found))


def some_groups(n):
    """Groups of 1 to 7 rows, scattered, with numbers of no order."""
    rng = np.random.default_rng(9)
    sizes = rng.integers(1, 8, n)
    ids = rng.permutation(10 * n)[:n]
    return rng.permutation(np.repeat(ids, sizes)[:n])


@pytest.mark.parametrize("n", [101, 401, 2500])
def test_groups_are_drawn_whole(n):
    (prices, predictions), groups = corpus(n), some_groups(n)
    resamples = list(naive(prices, predictions, 50, 3, groups))
    expected = np.quantile(resamples, [0.025, 0.975], axis=0)
    found = bootstrap.bootstrap(prices, predictions, groups=groups, draws=50, seed=3)
    value = np.array(list(bootstrap.scores(prices, predictions).values()))
    sizes = np.unique(groups, return_counts=True)[1]
    np.testing.assert_allclose(ends(found), wider(expected, value, sizes), rtol=1e-9)


def test_groups_of_one_row_change_nothing():
    prices, predictions = corpus()
    alone = np.random.default_rng(0).permutation(prices.size)
    for groups in (alone, np.arange(prices.size)):
        assert bootstrap.bootstrap(prices, predictions, groups=groups) == bootstrap.bootstrap(
            prices, predictions
        )


def test_a_group_for_each_price_is_asked_for():
    with pytest.raises(ValueError, match=r"groups of shape \(2,\); expected \(3,\)"):
        bootstrap.bootstrap([1, 2, 3], [1, 2, 3], groups=[0, 1])


def test_intervals_of_rows_that_err_together_cover_the_truth():
    rng, hits, alone = np.random.default_rng(0), 0, 0
    groups = np.repeat(np.arange(60), 10)
    for number in range(150):
        prices = rng.normal(100, 10, 600)
        errors = 5 * np.sqrt([0.5, 0.5]) @ [rng.normal(0, 1, 600), rng.normal(0, 1, 60)[groups]]
        theirs = prices + errors
        ours = prices + errors * (1 + 0.2 * rng.normal(0, 1, 60)[groups])  # no better, no worse
        for name, told in (("groups", groups), ("rows", None)):
            gain = bootstrap.paired(prices, ours, theirs, groups=told, draws=250, seed=number)[
                "mae"
            ]
            hit = gain.low <= 0 <= gain.high
            hits, alone = hits + hit * (name == "groups"), alone + hit * (name == "rows")
    assert hits / 150 >= 0.9
    assert alone / 150 < 0.8  # what drawing row by row would claim


def test_a_share_knows_of_groups():
    hits, groups = np.repeat([True, False], 50), np.repeat(np.arange(10), 10)
    alone, together = bootstrap.share(hits), bootstrap.share(hits, groups=groups)
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert bootstrap.share(hits, groups=np.arange(100)) == alone
    certain = bootstrap.share(np.ones(100), groups=groups)
    assert (certain.value, certain.low) == (1, bootstrap.share(np.ones(10)).low)


def test_paired_difference_of_a_model_with_itself_is_exactly_nothing():
    prices, predictions = corpus()
    several = np.stack([predictions, predictions * 1.1, predictions * 0.8])
    for same in (predictions, several):
        for interval in bootstrap.paired(prices, same, same, draws=50).values():
            assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_one_seed_of_two_levels_is_one_level():
    prices, predictions = corpus()
    one = bootstrap.bootstrap(prices, predictions, draws=50)
    assert bootstrap.bootstrap(prices, predictions[None], draws=50) == one


def test_what_seeds_show_is_pooled_with_what_was_measured():
    scores = np.array([[0.5, 90.0, 40.0, 0.7], [0.6, 110.0, 40.0, 0.7]])
    known = chance.ONE_SEED
    expected = [
        (2 * 0.05**2 + 8 * known.r2**2) / 9,
        (2 * 10.0**2 + 8 * (100 * known.mae) ** 2) / 9,
        8 * (40 * known.medae) ** 2 / 9,
        8 * known.r2_log**2 / 9,
    ]
    assert chance.deviations(scores) == pytest.approx(np.sqrt(np.array(expected) / 2))
    one = chance.deviations(scores[:1])
    assert one == pytest.approx([known.r2, 90 * known.mae, 40 * known.medae, known.r2_log])


def test_one_seed_of_an_arm_has_its_chance_and_a_ridge_has_none():
    prices, ours = corpus(50)
    theirs = prices * 1.2
    rows = bootstrap.paired(prices, ours, theirs, draws=2)["mae"]
    for told in ((True, False), (False, True), (True, True)):
        found = bootstrap.paired(prices, ours, theirs, chance=told, draws=2)["mae"]
        sd = [chance.ONE_SEED.mae * np.abs(prices - each).mean() for each in (ours, theirs)]
        variances = np.square(sd) * told
        of_rows = np.var(np.abs(prices - ours) - np.abs(prices - theirs), ddof=1) / 50
        total = of_rows + variances.sum()
        freedom = total**2 / (of_rows**2 / 49 + variances.sum() ** 2 / chance.FREEDOM)
        half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(total)
        assert (found.value, found.high - found.value) == pytest.approx((rows.value, half))


def test_chance_moves_all_scores_of_a_model_together():
    prices, ours = corpus()
    how = {"draws": 400, "seed": 2}
    rows, other = bootstrap.draw_scores(prices, [ours, prices * 1.2], **how)
    moved, same = bootstrap.draw_scores(prices, [ours, prices * 1.2], chance=[True, False], **how)
    np.testing.assert_array_equal(same, other)
    by = (moved - rows) / chance.deviations(
        np.array([list(bootstrap.scores(prices, ours).values())])
    )
    for place, sign in enumerate((-1, 1, 1, -1)):
        np.testing.assert_allclose(sign * by[:, place], by[:, 1], rtol=1e-6)
    assert scipy.stats.kstest(by[:, 1], scipy.stats.t(chance.FREEDOM).cdf).pvalue > 0.01


def test_several_seeds_are_subject_to_chance_unless_told_otherwise():
    prices, _ = corpus()
    several = np.stack([prices + 1000, prices + 3000])  # every row errs by as much
    found = bootstrap.bootstrap(prices, several, draws=4000)["mae"]
    sd = np.sqrt((2 * 1000**2 + 8 * (2000 * chance.ONE_SEED.mae) ** 2) / 9 / 2)
    half = scipy.stats.t.ppf(0.975, 9) * sd
    assert found.value == pytest.approx(2000)
    assert (found.low, found.high) == pytest.approx((2000 - half, 2000 + half), rel=0.05)
    certain = bootstrap.bootstrap(prices, several, chance=False, draws=50)["mae"]
    assert (certain.low, certain.high) == pytest.approx((2000, 2000))


def test_many_seeds_can_be_compared_with_one():
    prices, _ = corpus()
    ours = np.stack([prices + 1000, prices + 1000])
    found = bootstrap.paired(prices, ours, prices + 4000, draws=50)["mae"]
    sd = 1000 * chance.ONE_SEED.mae * np.sqrt(8 / 9 / 2)
    assert found.value == pytest.approx(-3000)
    assert found.high - found.value == pytest.approx(scipy.stats.t.ppf(0.975, 9) * sd)


def test_one_word_of_chance_for_each_model_is_asked_for():
    prices, ours = corpus(10)
    with pytest.raises(ValueError, match="got chance of 1 models; expected 2"):
        bootstrap.draw_scores(prices, [ours, ours], chance=[True])


def test_few_rows_decide_where_one_in_a_hundred_carries_over_half_of_the_squares():
    prices = np.linspace(100, 200, 300)
    predictions = prices + 1.0
    predictions[[5, 50, 99]] += np.sqrt(101) - 1  # 3 rows of 300: 3 * 101 of 297 + 303
    assert "r2" in bootstrap.few_rows_decide(prices, predictions)
    predictions[5] = prices[5] + 9.7  # 94.1 + 2 * 101 of 297 and as much
    assert "r2" not in bootstrap.few_rows_decide(prices, predictions)


def test_r2_that_few_rows_decide_is_a_point_without_an_interval():
    prices, ours = corpus(300, noise=0.1)
    far = ours.copy()
    far[7] += 100 * prices.max()
    for found in (
        bootstrap.bootstrap(prices, far, draws=20),
        bootstrap.paired(prices, far, ours, draws=20),
        bootstrap.paired(prices, ours, far, draws=20),
    ):
        assert np.isfinite(found["r2"].value)
        assert np.isnan([found["r2"].low, found["r2"].high]).all()
        assert np.isfinite(ends(found, ("mae", "medae"))).all()
    assert np.isfinite(ends(bootstrap.bootstrap(prices, ours, draws=20))).all()


def test_one_group_gives_points_without_intervals():
    prices, ours = corpus(20)
    groups = np.zeros(20)
    for found in (
        bootstrap.bootstrap(prices, ours, groups=groups, draws=20),
        bootstrap.paired(prices, ours, prices * 1.2, groups=groups, draws=20),
    ):
        assert np.isnan(ends(found)).all()


def test_repeats_are_equal_and_seeds_are_not():
    prices, predictions = corpus()
    first = bootstrap.bootstrap(prices, predictions, draws=50, seed=1)
    assert bootstrap.bootstrap(prices, predictions, draws=50, seed=1) == first
    assert bootstrap.bootstrap(prices, predictions, draws=50, seed=2) != first


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
        bootstrap.scores(prices, predictions)


def test_seeds_that_cannot_be_paired_and_no_draws_are_refused():
    prices, predictions = corpus(10)
    with pytest.raises(ValueError, match=r"got \[2, 3\] seeds"):
        bootstrap.paired(prices, [predictions] * 2, [predictions] * 3)
    with pytest.raises(ValueError, match="draws=0"):
        bootstrap.bootstrap(prices, predictions, draws=0)


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
        found = bootstrap.bootstrap(prices, predictions, draws=draws, seed=number)
        for name, value in truth.items():
            hits[name] += found[name].low <= value <= found[name].high
    return {name: count / corpora for name, count in hits.items()}


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    assert all(0.92 <= share <= 0.98 for share in coverage(300, 250).values())


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    assert all(0.93 <= share <= 0.97 for share in coverage(2000, 1000).values())
