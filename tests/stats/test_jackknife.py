"""Ratios against leaving groups out one by one; families against closed forms."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from bat.stats import jackknife


def some_ratios(k=9, m=2, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(k), rng.integers(1, 6, k))
    denominators = rng.exponential(1, groups.size)
    numerators = rng.normal(0.3, 1, (m, groups.size)) + denominators
    return numerators, denominators, groups


def test_ratios_and_their_covariance_are_those_of_leaving_out_each_group():
    numerators, denominators, groups = some_ratios()
    found = jackknife.ratios(numerators, denominators, groups)
    np.testing.assert_allclose(found.values, numerators.sum(axis=1) / denominators.sum())
    without = [
        numerators[:, groups != g].sum(axis=1) / denominators[groups != g].sum() for g in range(9)
    ]
    moved = np.array(without) - found.values
    np.testing.assert_allclose(found.covariance, 8 / 9 * moved.T @ moved)
    weights = np.bincount(groups, denominators) / denominators.sum()
    assert found.freedom == pytest.approx(1 / np.square(weights).sum() - 1)


def test_one_group_says_nothing_of_others():
    numerators, denominators, groups = some_ratios()
    found = jackknife.ratios(numerators, denominators, np.zeros_like(groups))
    assert np.isinf(found.covariance).all()
    none = jackknife.Chance(np.zeros(2), np.zeros(2), 8)
    assert np.isnan(jackknife.half_widths(found, none, coverage=0.95)).all()


def test_parts_of_an_interval_add_up_as_variances():
    one = jackknife.half_width([(4.0, 10)], coverage=0.9)
    assert one == pytest.approx(2 * scipy.stats.t.ppf(0.95, 10))
    both = jackknife.half_width([(4.0, 10), (4.0, 10), (0.0, 3)], coverage=0.9)
    assert both == pytest.approx(np.sqrt(8) * scipy.stats.t.ppf(0.95, 20))
    assert jackknife.half_width([(0.0, 3)], coverage=0.9) == 0


def independent(m, freedom):
    """Bound that the largest of m independent deviates over one common scale keeps to, in 95 %."""
    middles = (np.arange(20_000) + 0.5) / 20_000
    scale = np.sqrt(scipy.stats.chi2.ppf(middles, freedom) / freedom)

    def missed(bound):
        return np.mean((2 * scipy.stats.norm.cdf(bound * scale) - 1) ** m) - 0.95

    return scipy.optimize.brentq(missed, 1, 10)


@pytest.mark.parametrize("m", [2, 3, 10])
def test_a_family_is_wider_as_its_members_go_their_own_ways(m):
    rows = jackknife.Ratios(np.zeros(m), np.zeros((m, m)), 1e6)
    one = jackknife.half_width([(1.0, 8)], coverage=0.95)
    own = jackknife.Chance(np.ones(m), np.zeros(m), 8)
    shared = jackknife.Chance(np.zeros(m), np.ones(m), 8)
    apart = jackknife.half_widths(rows, own, coverage=0.95)
    np.testing.assert_allclose(apart, independent(m, 8), rtol=0.02)
    np.testing.assert_allclose(jackknife.half_widths(rows, shared, coverage=0.95), one)
    of_rows = jackknife.Ratios(np.zeros(m), np.eye(m), 1e6)
    none = jackknife.Chance(np.zeros(m), np.zeros(m), np.inf)
    found = jackknife.half_widths(of_rows, none, coverage=0.95)
    np.testing.assert_allclose(found, independent(m, 1e6), rtol=0.02)


def test_arms_that_never_move_widen_no_one():
    deviations = np.column_stack([np.zeros(500), np.linspace(-1, 1, 500)])
    assert jackknife.family_factor(deviations, coverage=0.95) == 1
    assert jackknife.family_factor(np.zeros((5, 2)), coverage=0.95) == 1
