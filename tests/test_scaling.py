import functools

import numpy as np
import pytest
from scipy.optimize import curve_fit

from bat import metrics, scaling

SIZES = np.linspace(1000, 10_000, 10)
DOUBLING = 1000.0 * 2 ** np.arange(8)
PLANTED = {
    "linear": (100.0, -0.004, None),
    "logarithmic": (200.0, -12.0, None),
    "power law": (80.0, 400.0, 0.4),
    "exponential": (90.0, 30.0, 2500.0),
}


def planted(family, n, a, b, shape):
    n = np.asarray(n, float)
    basis = {
        "linear": lambda: n,
        "logarithmic": lambda: np.log(n),
        "power law": lambda: n**-shape,
        "exponential": lambda: np.exp(-n / shape),
    }
    return a + b * basis[family]()


def power_law(n):
    return planted("power law", n, *PLANTED["power law"])


def scores(values, *, n=SIZES, factory=200.0, name="mae", shared=0.0, rows=0.0, arms=0.0, **how):
    """Scores with planted noise: common to all sizes, of each size, and of arms (not resampled)."""
    rng, draws = np.random.default_rng(how.get("seed", 0)), how.get("draws", 200)
    noise = [rng.normal(0, sd, size) for sd, size in ((shared, 1), (rows, len(n)), (arms, len(n)))]
    y = np.asarray(values, float) + sum(noise)
    drawn = y + rng.normal(0, shared, (draws, 1)) + rng.normal(0, rows, (draws, len(n)))
    return scaling.Scores(name, n, np.full(1 + draws, factory), np.vstack([y, drawn]))


def study(errors, factory, *, seeds=1, t=400, seed=0):
    """Prices, and predictions whose errors are multiples of one vector: MAE is ∝ ``errors``."""
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(10, 0.7, t))
    unit = rng.normal(0, 1, t)
    unit /= np.abs(unit).mean()
    arms = prices + np.asarray(errors)[:, None, None] * np.tile(unit, (seeds, 1))
    return prices, arms, np.tile(prices + factory * unit, (seeds, 1))


# ---- fitting


@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("family", PLANTED)
def test_a_curve_without_noise_is_recovered(family, rising):
    a, b, shape = PLANTED[family]
    if rising:  # R²: below 1
        a, b = 0.9 - a / 1000, -b / 1000
    fitted = scaling.fit(family, SIZES, planted(family, SIZES, a, b, shape), rising=rising)
    assert (fitted.a, fitted.b) == pytest.approx((a, b), rel=1e-5)
    assert fitted.shape == (shape and pytest.approx(shape, rel=1e-5))
    assert fitted.residual == pytest.approx(0, abs=1e-6)
    far = np.array([5e3, 2e4])
    expected = planted(family, far, a, b, shape)
    np.testing.assert_allclose(scaling.predict(fitted, far), expected, rtol=1e-6)


def test_last_value_is_the_last_value():
    fitted = scaling.fit("last value", [1, 2, 4], [5, 4, 3])
    assert scaling.predict(fitted, [1, 100]).tolist() == [3, 3]


def test_noisy_weighted_power_law_agrees_with_scipy():
    rng = np.random.default_rng(3)
    errors = rng.uniform(0.2, 1, 10)
    y = power_law(SIZES) + rng.normal(0, errors)
    fitted = scaling.fit("power law", SIZES, y, errors)
    oracle, _ = curve_fit(
        lambda n, a, b, c: a + b * (n / 1000) ** -c, SIZES, y, (85, 20, 0.6), errors, maxfev=10_000
    )
    assert (fitted.a, fitted.shape) == pytest.approx((oracle[0], oracle[2]), rel=1e-3)
    assert fitted.b == pytest.approx(oracle[1] * 1000 ** oracle[2], rel=1e-2)


@pytest.mark.parametrize("family", PLANTED)
def test_a_curve_never_turns_away_from_its_direction(family):
    worse = np.linspace(50, 60, 10)
    fitted = scaling.fit(family, SIZES, worse)
    assert scaling.predict(fitted, [1, 1e6]) == pytest.approx([55, 55])


def test_a_floor_is_never_below_nothing_and_never_above_a_perfect_r2():
    line = 100 - SIZES / 110
    for family in scaling.SATURATING:
        assert scaling.fit(family, SIZES, line).a >= 0
        assert scaling.fit(family, SIZES, 1 - line / 100, rising=True).a <= 1
    falling = scaling.fit("linear", SIZES, line)
    assert scaling.predict(falling, 20_000) == 0


@pytest.mark.parametrize("family", PLANTED)
def test_a_size_counts_less_the_larger_its_standard_error(family):
    y = planted(family, SIZES, *PLANTED[family])
    y[4] += 5  # an outlier, which draws the curve towards itself
    pulls = []
    for error in (0.1, 1, 10, 100):
        errors = np.ones(10)
        errors[4] = error
        fitted = scaling.fit(family, SIZES, y, errors)
        pulls.append(float(scaling.predict(fitted, SIZES[4])) - (y[4] - 5))
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[0] > 4
    assert abs(pulls[-1]) < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cubic", SIZES, SIZES), "family='cubic'; expected one of last value, linear"),
        (("power law", SIZES[:4], SIZES[:4]), "got 4 sizes for the family power law; .* least 5"),
        (("linear", SIZES[:3], SIZES[:3]), "got 3 sizes for the family linear; .* least 4"),
        (("linear", [0, 1, 2, 3], [1, 1, 1, 1]), "rising and above 0"),
        (("linear", [1, 3, 2, 4], [1, 1, 1, 1]), "rising and above 0"),
        (("linear", [1, 2, 3, 4], [1, 1, 1]), r"scores \(3,\)"),
        (("linear", [1, 2, 3, 4], [1, 1, 1, np.nan]), "finite numbers"),
        (("linear", [1, 2, 3, 4], [4, 3, 2, 1], [1, 1, 1, 0]), "standard errors .* above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scaling.fit(*arguments)


# ---- choosing


@pytest.mark.parametrize(
    ("k", "fitted", "families"),
    [(4, 3, 2), (5, 3, 2), (6, 4, 4), (7, 4, 4), (8, 4, 4), (9, 5, 4), (10, 5, 4)],
)
def test_the_smaller_half_is_fitted_and_the_rest_held_out(k, fitted, families):
    choice = scaling.choose(SIZES[:k], power_law(SIZES[:k]))
    assert choice.fitted == tuple(SIZES[:fitted])
    assert choice.predicted == tuple(SIZES[fitted:k])
    assert len(choice.held_out) == families + 1  # and the last value


@pytest.mark.parametrize("family", PLANTED)
def test_the_planted_family_is_chosen(family):
    choice = scaling.choose(SIZES, planted(family, SIZES, *PLANTED[family]))
    assert choice.fit.family == family
    assert choice.held_out[family] == pytest.approx(0, abs=1e-4)
    assert f"the {family} curve predicts the 5 larger ones" in choice.reason


def test_held_out_error_is_that_of_a_line_through_the_smaller_sizes():
    y = [10, 8, 6, 5, 4.0]  # the line through the first three goes on to 4 and 2
    choice = scaling.choose([1, 2, 3, 4, 5], y)
    assert choice.held_out["linear"] == pytest.approx(np.sqrt((1 + 4) / 2))
    assert choice.held_out["last value"] == pytest.approx(np.sqrt((1 + 4) / 2))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([3, 2, 1], "3 sizes are too few for a curve: at least 4"),
        ([5] * 10, "do not improve steadily"),
        ([9, 8, 7, 6, 5, 5, 6, 7, 8, 9], r"tau .* the best score is at 5,000 documents"),
        ([9, 8, 6, 3, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0], "no curve .* better than assuming no change"),
    ],
)
def test_a_curve_that_is_not_supported_is_refused_in_words(y, message):
    choice = scaling.choose(SIZES[: len(y)], y)
    assert choice.fit is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(choice.reason)


def false_alarms(n, curves):
    """Share of flat curves with noise through which a curve is drawn."""
    drawn = np.random.default_rng(0).normal(90, 1, (curves, len(n)))
    return np.mean([scaling.choose(n, y).fit is not None for y in drawn])


@pytest.mark.parametrize("n", [SIZES, DOUBLING[:6], SIZES[:4]])
def test_flat_curves_are_refused_but_for_one_in_twenty(n):
    assert false_alarms(n, 100) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)


@pytest.mark.slow
@pytest.mark.parametrize("n", [SIZES, DOUBLING[:6], SIZES[:4]])
def test_flat_curves_are_refused_as_often_as_stated(n):
    assert false_alarms(n, 500) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)


# ---- resampling


def noisy_study(seeds, factory_seeds, t):
    rng = np.random.default_rng(5)
    prices = np.exp(rng.normal(10, 0.7, t))
    arms = prices * np.exp(rng.normal(0, 0.3, (3, seeds, t)))
    return prices, arms, prices * np.exp(rng.normal(0, 0.5, (factory_seeds, t)))


@pytest.mark.parametrize("groups", [None, np.arange(401) // 7])
@pytest.mark.parametrize(("seeds", "factory_seeds", "t"), [(1, 1, 401), (3, 3, 401), (3, 1, 400)])
def test_scores_gains_and_their_intervals_are_those_of_metrics(
    seeds, factory_seeds, t, groups, monkeypatch
):
    groups = None if groups is None else groups[:t]
    monkeypatch.setattr(metrics, "CHUNK_VALUES", 7 * 401)  # 7 draws a chunk: 100 is no multiple
    prices, arms, factory = noisy_study(seeds, factory_seeds, t)
    how = {"groups": groups, "draws": 100, "seed": 4}
    found = scaling.resample([1, 2, 3], prices, arms, factory, **how)
    single = metrics.bootstrap(prices, arms[-1], **how)
    paired = metrics.paired(prices, arms[-1], factory, **how)
    for name, each in found.items():
        told = scaling.curve(each)
        assert vars(told.full) == pytest.approx(vars(single[name]))
        better = paired[name] if name == "r2" else negative(paired[name])
        assert vars(told.gain) == pytest.approx(vars(better))


def negative(interval):
    return metrics.Interval(-interval.value, -interval.high, -interval.low)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prices": np.ones(400)}, "all equal"),
        ({"prices": np.ones(399)}, r"expected \(t,\), \(sizes, seeds, t\)"),
        ({"factory": np.ones((2, 400))}, "got 3 seeds of the sizes and 2 of the factory"),
        ({"factory": np.full((1, 400), np.nan)}, "not finite"),
        ({"documents": [2, 1]}, "rising and above 0"),
        ({"documents": [1, 2, 3]}, "sizes of shape"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_arms_that_cannot_be_scored_are_refused(change, message):
    prices, arms, factory = study([50, 40], 60, seeds=3)
    given = {"documents": [1, 2], "prices": prices, "predictions": arms, "factory": factory}
    with pytest.raises(ValueError, match=message):
        scaling.resample(**(given | change))


def test_too_few_rows_are_refused():
    prices, arms, factory = study([50, 40], 60, t=19)
    with pytest.raises(ValueError, match=r"got 19 test rows .* at least 20"):
        scaling.resample([1, 2], prices, arms, factory)


# ---- the chain


def test_the_whole_chain_on_a_planted_study_gives_the_planted_numbers():
    errors = power_law(DOUBLING)
    found = scaling.resample(DOUBLING, *study(errors, 200.0), draws=200)
    told = scaling.curve(found["mae"])
    a, b, c = PLANTED["power law"]
    end = DOUBLING[-1]
    last = power_law(end)
    assert told.choice.fit.family == "power law"
    assert told.gain.value == pytest.approx(200 - last)
    assert told.relative.value == pytest.approx(1 - last / 200)
    target = last + 0.1 * (200 - last)
    assert told.enough.documents == np.ceil(((target - a) / b) ** (-1 / c))
    assert told.enough.on_curve
    assert told.reliance.value == pytest.approx(2 * c * b * end**-c, rel=1e-4)
    assert [f.documents for f in told.forecasts] == [2 * end, 5 * end]
    for forecast in told.forecasts:
        assert forecast.score.value == pytest.approx(power_law(forecast.documents), rel=1e-5)
        assert forecast.score.low < forecast.score.value < forecast.score.high
    assert told.backtest.fitted == tuple(DOUBLING[:-1])
    assert told.backtest.error.value == pytest.approx(0, abs=1e-3)
    assert told.refusals == ()


def test_r2_is_a_gain_when_it_rises_and_its_forecast_stays_below_one():
    found = scaling.resample(SIZES, *study(1000 * power_law(SIZES), 200_000.0), draws=100)
    told = scaling.curve(found["r2"])
    assert told.gain.low > 0
    assert all(f.score.high <= 1 for f in told.forecasts)
    assert told.forecasts[0].score.value > told.full.value


def test_without_a_curve_enough_is_among_the_sizes_tried_and_no_lucky_one():
    y = [150, 101, 130, 109, 108, 100.0]  # factory 200: from 109 on all are within 10 of 100
    told = scaling.curve(scores(y, n=SIZES[:6]))
    assert told.choice.fit is None
    assert told.enough == scaling.Enough(4000, 4000, 4000)
    assert (told.forecasts, told.backtest, told.reliance) == ((), None, None)
    assert "improve steadily" in told.refusals[0]


def test_without_a_gain_no_number_of_documents_is_named():
    factory = power_law(SIZES[-1]) + 0.1
    told = scaling.curve(scores(power_law(SIZES), factory=factory, rows=0.5))
    assert told.enough is None
    assert "no gain over the factory encoder is established" in told.refusals[0]


def test_a_share_of_an_r2_that_may_be_nothing_is_not_given():
    each = scores(0.5 - 100 / SIZES, factory=0.0, name="r2")
    assert scaling.curve(each).relative is None


def test_too_few_sizes_up_to_half_are_told():
    told = scaling.curve(scores(power_law(SIZES[:6]), n=SIZES[:6]))
    ends = [told.band[0].documents, told.band[-1].documents]
    assert ends == [SIZES[0], SIZES[5]]
    for point in told.band:
        assert point.score.low <= point.score.value <= point.score.high
    assert told.backtest is None
    assert "too few sizes up to half" in told.refusals[0]


def test_scatter_of_the_arms_widens_a_forecast_although_rows_do_not_show_it():
    widths = []
    for arms in (0.0, 0.2, 1.0):
        score = scaling.curve(scores(power_law(DOUBLING), n=DOUBLING, arms=arms)).forecasts[0].score
        widths.append(score.high - score.low)
    assert widths[0] < 0.01 < widths[1] < widths[2]


def test_repeats_are_equal_and_seeds_are_not():
    each = scores(power_law(SIZES), rows=0.2)
    assert scaling.curve(each, seed=1) == scaling.curve(each, seed=1)
    assert scaling.curve(each, seed=1) != scaling.curve(each, seed=2)


def test_a_margin_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="margin=10"):
        scaling.curve(scores(power_law(SIZES)), margin=10)


def coverage(studies, n, arms):
    """Share of planted power laws whose interval holds the score of an arm of twice the size."""
    rng, hits, used = np.random.default_rng(9), 0, 0
    for number in range(studies):
        each = scores(power_law(n), n=n, shared=0.3, rows=0.05, arms=arms, seed=number)
        told = scaling.curve(each, seed=number)
        if told.forecasts:
            new = power_law(2 * n[-1]) + rng.normal(0, arms)
            used += 1
            hits += told.forecasts[0].score.low <= new <= told.forecasts[0].score.high
    return hits / used, used / studies


def test_forecasts_of_planted_power_laws_hold_about_as_often_as_they_say():
    share, used = coverage(30, DOUBLING, 0.2)
    assert used == 1
    assert share >= 0.86  # 0.95 less some two standard errors


@pytest.mark.slow
@pytest.mark.parametrize("arms", [0.0, 0.3])
@pytest.mark.parametrize("n", [SIZES, DOUBLING, DOUBLING[:6], SIZES[:6]])
def test_forecasts_of_planted_power_laws_hold_as_often_as_they_say(n, arms):
    share, used = coverage(150, n, arms)
    assert used >= 0.9
    assert 0.91 <= share <= 0.995  # 150 studies: a standard error of 0.018


# ---- hypotheses


def verdicts(values, *, factory, name):
    parts = {
        "r2": scores(np.linspace(0.5, 0.6, 10), factory=0.5, name="r2"),
        "mae": scores(power_law(SIZES)),
        "medae": scores(power_law(SIZES), name="medae"),
    }
    parts[name] = scores(values, factory=factory, name=name, rows=1e-4, shared=1e-3)
    found = scaling.hypotheses(parts)
    assert [v.name for v in found] == ["H1", "H2", "H3", "H4", "H4"]
    return {v.claim.split()[0] if v.name == "H4" else v.name: v.verdict for v in found}


@pytest.mark.parametrize(
    ("full", "verdict"), [(95, "holds"), (99.9, "does not hold"), (99, "cannot tell")]
)
def test_h1_a_gain_is_tangible_from_one_per_cent_on(full, verdict):
    assert verdicts(np.linspace(100, full, 10), factory=100.0, name="mae")["H1"] == verdict


@pytest.mark.parametrize(
    ("full", "verdict"),
    [(0.6, "holds"), (0.7, "does not hold"), (0.625, "cannot tell"), (0.5, "cannot tell")],
)
def test_h2_a_gain_is_modest_below_a_quarter_of_r2(full, verdict):
    assert verdicts(np.linspace(0.5, full, 10), factory=0.5, name="r2")["H2"] == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (0.6 - 0.2 * np.exp(-SIZES / 1500), "holds"),
        (0.6 - 0.2 * (SIZES / 1000) ** -0.7, "holds"),
        (0.5 + SIZES / 1e5, "does not hold"),
        (0.5 + (SIZES / 1e4) ** 2 / 10, "does not hold"),
        (0.5 + np.random.default_rng(5).normal(0, 0.02, 10), "cannot tell"),
    ],
)
def test_h3_saturation_is_told_from_a_line(values, verdict):
    assert verdicts(values, factory=0.4, name="r2")["H3"] == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (100 - SIZES / 1000 + np.random.default_rng(0).normal(0, 0.05, 10), "holds"),
        (80 + 20 * np.exp(-SIZES / 2000), "does not hold"),
        (np.random.default_rng(0).normal(90, 1, 10), "cannot tell"),
    ],
)
@pytest.mark.parametrize(("name", "title"), [("mae", "MAE"), ("medae", "MedAE")])
def test_h4_three_sizes_predict_the_rest_of_a_line_alone(values, verdict, name, title):
    assert verdicts(values, factory=110.0, name=name)[title] == verdict


def test_h4_is_open_where_the_rows_are_too_few_to_see_a_bend():
    n, bent = np.array([400.0, 800, 1200, 1600, 2000]), [8273, 7590, 7214, 7049, 6967]
    parts = {
        name: scores(bent, n=n, factory=9500.0, rows=200, name=name)
        for name in ("r2", "mae", "medae")
    }
    (found,) = (v for v in scaling.hypotheses(parts) if v.claim.startswith("MAE"))
    assert found.number.low < 0 < found.number.high
    assert found.verdict == "cannot tell"


def test_h4_holds_on_planted_lines_but_for_one_in_twenty():
    told = [
        scaling.hypotheses(
            {
                "r2": scores(SIZES / 1e5, name="r2", seed=seed),
                "mae": scores(100 - SIZES / 500, rows=0.1, arms=0.2, seed=seed),
                "medae": scores(100 - SIZES / 500, name="medae", seed=seed),
            }
        )[3].verdict
        for seed in range(40)
    ]
    assert told.count("does not hold") <= 4  # 2 expected; two standard errors are 2.8


def test_few_sizes_leave_the_shape_open():
    n = SIZES[:3]
    parts = {
        name: scores([3, 2, 1.5], n=n, factory=4.0, name=name) for name in ("r2", "mae", "medae")
    }
    found = scaling.hypotheses(parts)
    assert [v.verdict for v in found[2:]] == ["cannot tell"] * 3
    assert "3 sizes; at least 6 are needed" in found[2].reason
    assert "3 sizes; at least 4 are needed" in found[3].reason


# ---- stopping


def rows(means):
    return np.tile(np.asarray(means, float)[:, None], 50)


def test_flat_enough_stops_by_the_steepest_of_three_chords():
    # chords to 60 at 4: (63 - 60) / 3, (61 - 60) / 2, 0.4 / 1; the steepest, 1, over 6 documents
    found = scaling.can_stop([1, 2, 3, 4], rows([63, 61, 60.4, 60]), np.full(50, 130.0), full=10)
    assert found.stop
    assert (found.remaining, found.allowed) == pytest.approx((6, 7))
    assert "the 6 further documents can take at most 6 off: within the 7" in found.reason


def test_a_fall_that_may_go_on_does_not_stop():
    found = scaling.can_stop([1, 2, 3, 4], rows([63, 61, 60.4, 60]), np.full(50, 110.0), full=10)
    assert not found.stop
    assert "more than the 5 that may be forgone" in found.reason


def test_no_gain_in_reach_stops():
    found = scaling.can_stop([1, 2, 3, 4], rows([63, 61, 60.4, 60]), np.full(50, 50.0), full=10)
    assert found.stop
    assert "no gain over the factory encoder either way" in found.reason


def test_noise_between_arms_keeps_it_from_stopping():
    rng = np.random.default_rng(0)
    noisy = rows([60.1, 60, 60, 60]) + rng.normal(0, 60, (4, 50))
    noisy += (rows([60.1, 60, 60, 60]) - noisy).mean(axis=1, keepdims=True)
    quiet = scaling.can_stop([1, 2, 3, 4], rows([60.1, 60, 60, 60]), np.full(50, 70.0), full=5)
    loud = scaling.can_stop([1, 2, 3, 4], noisy, np.full(50, 70.0), full=5)
    assert (quiet.stop, loud.stop) == (True, False)


def test_copies_of_a_row_in_one_group_make_nothing_surer():
    noisy = rows([60.3, 60.2, 60.1, 60]) + np.random.default_rng(0).normal(0, 3, (4, 50))
    base, groups = np.full(50, 90.0), np.repeat(np.arange(50), 8)
    ask = functools.partial(scaling.can_stop, [1, 2, 3, 4], full=8)
    once, copied = ask(noisy, base), ask(noisy.repeat(8, axis=1), base.repeat(8), groups=groups)
    assert copied.remaining == pytest.approx(once.remaining)
    assert ask(noisy.repeat(8, axis=1), base.repeat(8)).remaining < 0.8 * once.remaining
    one = ask(noisy, base, groups=np.zeros(50))
    assert not one.stop
    assert "are one group" in one.reason


def test_fewer_than_four_sizes_never_stop():
    found = scaling.can_stop([1, 2, 3], rows([60, 60, 60]), np.full(50, 70.0), full=10)
    assert (found.stop, found.remaining) == (False, None)
    assert "3 sizes; at least 4 are needed" in found.reason


def test_stopping_is_right_where_returns_diminish():
    rng, wrong, stops = np.random.default_rng(0), 0, 0
    for _ in range(200):
        c, factory = rng.uniform(0.3, 2), rng.uniform(105, 130)
        curve = planted("power law", DOUBLING, 80, 20 * 1000**c, c)
        noise = rng.normal(0, 30, 400) + rng.normal(0, 3, (8, 400))
        for k in range(4, 8):
            base = np.full(400, factory) + noise[0]
            errors = curve[:k, None] + noise[:k]
            if scaling.can_stop(DOUBLING[:k], errors, base, full=int(DOUBLING[-1])).stop:
                stops += 1
                wrong += curve[k - 1] - curve[-1] > 0.1 * (factory - curve[-1])
                break
    assert stops >= 30
    assert wrong <= 0.05 * stops


@pytest.mark.parametrize(
    ("documents", "full", "message"),
    [
        ([1, 2, 3], 10, r"got 3 sizes, errors \(4, 50\)"),
        ([1, 2, 4, 3], 10, "rising"),
        ([1, 2, 3, 4], 3, "full=3; expected at least the newest size, 4"),
    ],
)
def test_a_stop_that_cannot_be_judged_is_refused(documents, full, message):
    with pytest.raises(ValueError, match=message):
        scaling.can_stop(documents, rows([4, 3, 2, 1]), np.full(50, 5.0), full=full)
