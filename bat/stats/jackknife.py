"""Means and ratios over rows, and what makes them uncertain: groups of rows, and models' chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

FAMILY_DRAWS = 10_000  # draws of a family's largest deviation: its end is known to some 1 %

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratios:
    """Ratios that share a denominator, and how they would scatter over other rows."""

    values: Floats  # (m,)
    covariance: Floats  # (m, m); infinite where there is but one group
    freedom: float  # degrees of freedom of the covariance


@dataclass(frozen=True)
class Chance:
    """What the chance of models adds to differences of m arms from one other model."""

    own: Floats  # (m,): standard deviation that each arm's seeds bring
    shared: Floats  # (m,): that the other model's seeds bring to all at once
    freedom: float  # degrees of freedom of both, which rest on one measurement


def ratios(numerators: Floats, denominators: Floats, groups: npt.NDArray[np.intp]) -> Ratios:
    """Divide sums over rows, and learn from the groups of rows how uncertain the ratios are.

    Few groups, groups of uneven size, and rows that weigh much are what makes usual intervals too
    narrow: here each group's residual is enlarged by its own weight (the jackknife), and the
    degrees of freedom count groups by their weight (Kish). Of shares of MAE on three corpora of
    real prices, in 12, 30 and 60 clusters of texts, 93 to 97 % of the 95 % intervals held the
    truth; the plain variance over groups with k − 1 degrees of freedom: 89 to 95 %.

    Args:
        numerators: shape (m, n).
        denominators: shape (n,), none negative, their sum above 0.
        groups: shape (n,), numbers from 0; rows of one group belong together.

    Returns:
        m ratios of sums.

    Source:
        Leaving out groups: Bell and McCaffrey 2002, "Bias reduction in standard errors for linear
        regression with multi-stage samples". Effective number: Kish 1965, "Survey sampling".
    """
    total = denominators.sum()
    values = numerators.sum(axis=1) / total
    weights = np.bincount(groups, denominators) / total  # (k,), sum 1
    k, m = weights.size, len(numerators)
    if (weights > 0).sum() < 2:
        return Ratios(values, np.full((m, m), math.inf), 1.0)
    sums = np.array([np.bincount(groups, row, minlength=k) for row in numerators]) / total
    moved = (sums - values[:, None] * weights) / (1 - weights)  # (m, k), by leaving each group out
    return Ratios(
        values, (k - 1) / k * moved @ moved.T, max(1.0, float(1 / (weights @ weights)) - 1)
    )


def half_widths(rows: Ratios, chance: Chance, *, coverage: float, seed: int = 0) -> Floats:
    """Find half-widths of intervals that hold all true values at once in ``coverage`` of cases.

    For one arm it is the t interval; for several each is widened by how much farther than a single
    one the largest of their deviations goes (max |t|), which is less than Bonferroni's factor where
    arms go up and down together.

    Args:
        rows: m differences and their covariance over rows.
        chance: of the models.
        coverage: share of families that hold all their m truths.
        seed: of the draws of the largest deviation.

    Returns:
        Shape (m,); NaN where nothing is known of the rows' scatter.

    Source:
        Hothorn, Bretz and Westfall 2008, "Simultaneous inference in general parametric models".
    """
    of_seeds = chance.own**2 + chance.shared**2
    parts = [
        [(float(r), rows.freedom), (float(s), chance.freedom)]
        for r, s in zip(np.diag(rows.covariance), of_seeds, strict=True)
    ]
    single = np.array([half_width(each, coverage=coverage) for each in parts])
    covariance = rows.covariance + np.diag(chance.own**2) + np.outer(chance.shared, chance.shared)
    if single.size < 2 or not np.isfinite(covariance).all() or not single.any():
        return single
    rng = np.random.default_rng([seed, 2])
    normal = rng.multivariate_normal(
        np.zeros(single.size), covariance, FAMILY_DRAWS, check_valid="ignore", method="eigh"
    )
    freedom = min(freedom_of(each) for each in parts)
    scale = np.sqrt(rng.chisquare(freedom, (FAMILY_DRAWS, 1)) / freedom)
    return single * family_factor(normal / scale, coverage=coverage)


def family_factor(deviations: Floats, *, coverage: float) -> float:
    """Say how much wider intervals must be to hold a whole family than each for itself.

    Args:
        deviations: shape (draws, m), around 0.
        coverage: share of draws in which all m are to lie inside.

    Returns:
        1 for one member; above 1 for several that differ.
    """
    single = np.nanquantile(np.abs(deviations), coverage, axis=0)
    moving = single > 0
    if not moving.any():
        return 1.0
    largest = (np.abs(deviations[:, moving]) / single[moving]).max(axis=1)
    return float(np.nanquantile(largest, coverage))


def half_width(parts: Sequence[tuple[float, float]], *, coverage: float) -> float:
    """Find the half-width of an interval around a sum of independent estimates.

    Args:
        parts: of each the variance, and the degrees of freedom with which it is known.
        coverage: share of such intervals that hold the truth.

    Returns:
        0 or more; NaN where a variance is not known at all (infinite).
    """
    total = sum(variance for variance, _ in parts)
    if not math.isfinite(total):
        return math.nan
    if not total:
        return 0.0
    return float(stdtrit(freedom_of(parts), (1 + coverage) / 2)) * math.sqrt(total)


def freedom_of(parts: Sequence[tuple[float, float]]) -> float:
    """Count the degrees of freedom of a sum of independent estimates; infinite where it is 0.

    Args:
        parts: as for ``half_width``, finite.

    Source:
        Satterthwaite 1946, "An approximate distribution of estimates of variance components".
    """
    squares = sum(variance**2 / freedom for variance, freedom in parts)
    return sum(variance for variance, _ in parts) ** 2 / squares if squares else math.inf
