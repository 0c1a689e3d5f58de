"""Shapes of learning curves: fitted by least squares, chosen by what they predict.

Every curve is a + b·φ(n): the score against the documents tuned on, n > 0. All families are
monotone, and about 14 % of real curves are not (LCDB 1.1, arXiv 2505.15657): so a curve is drawn
only where one has predicted larger sizes, held out, better than "no change" does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

TREND = 0.05  # largest p of Kendall's test; hence the false alarms on flat curves, at most
FEWEST_SIZES = 4  # for a curve: with three no larger size is left to test a fit of two parameters
GRID = 40  # starts of the shape, evenly in its logarithm: steps of some 10 %
GOLDEN_STEPS = 32  # each leaves 0.618 of a grid step: shapes good to 1e-7
GOLDEN = (math.sqrt(5) - 1) / 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """A shape of curve: score = a + b·basis(n, shape)."""

    parameters: int
    formula: str
    basis: Callable[[Any, Any], Any]
    inverse: Callable[[Any, Any], Any]  # n of a value of the basis
    side: int  # of b when the curve falls: +1 for a falling basis, −1 for a rising one
    shapes: Callable[[Floats], tuple[float, float]] | None = None  # bounds; with them a is a floor


LAST, LINEAR, POWER, EXPONENTIAL = "last value", "linear", "power law", "exponential"
SATURATING = (POWER, EXPONENTIAL)
FAMILIES: Mapping[str, Family] = {
    LAST: Family(1, "a", lambda n, _: 0 * n, lambda p, _: 0 * p, 1),
    LINEAR: Family(2, "a + b·n", lambda n, _: n, lambda p, _: p, -1),
    "logarithmic": Family(
        2,
        "a + b·ln n",
        lambda n, _: np.log(n),
        lambda p, _: np.exp(np.minimum(p, 700)),  # the exponent that a float can hold
        -1,
    ),
    # Exponents: 1/2 to 1 in theory, 0.07 to 0.35 in Hestness et al. 2017; with room on both sides.
    POWER: Family(
        3,
        "a + b·n^-c",
        lambda n, c: n**-c,
        lambda p, c: p ** (-1 / c),
        1,
        lambda n: (0.05, 3.0),
    ),
    # A scale under a third of the smallest size is a step, one over three times the largest a line.
    EXPONENTIAL: Family(
        3,
        "a + b·exp(-n/s)",
        lambda n, s: np.exp(-n / s),
        lambda p, s: -s * np.log(p),
        1,
        lambda n: (n[0] / 3, n[-1] * 3),
    ),
}


@dataclass(frozen=True)
class Fit:
    """One curve: score = a + b·basis(n), the basis of ``FAMILIES[family]``."""

    family: str
    a: float
    b: float
    shape: float | None  # exponent c of a power law, scale s (documents) of an exponential
    residual: float  # weighted root mean square, in the units of the score
    rising: bool


@dataclass(frozen=True)
class Choice:
    """Which family may be used, how each did on the sizes held out, and why."""

    fit: Fit | None  # of the family chosen, on all sizes; None: refused
    reason: str
    held_out: Mapping[str, float]  # root mean square error on the sizes held out, for each family
    fitted: tuple[int, ...]  # sizes that the families were fitted on
    predicted: tuple[int, ...]  # the larger ones, held out


@dataclass(frozen=True)
class Fits:
    """One family fitted to many falling curves at once; each array has shape (curves,)."""

    family: Family
    a: Floats
    b: Floats
    shape: Floats
    rss: Floats

    def at(self, n: float) -> Floats:
        """Read every curve at one size; shape (curves,)."""
        values: Floats = self.a + self.b * self.family.basis(n, self.shape)
        return values


@dataclass(frozen=True)
class Chosen:
    """All families fitted to many falling curves, and which of them each curve chooses."""

    names: tuple[str, ...]
    fits: tuple[Fits, ...]  # one for each name
    pick: npt.NDArray[np.intp]  # (curves,), into names

    def at(self, n: float) -> Floats:
        """Read every curve, of the family it chooses, at one size; shape (curves,)."""
        values: Floats = np.choose(self.pick, [each.at(n) for each in self.fits])
        return values


def fit(
    family: str,
    documents: npt.ArrayLike,
    values: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    rising: bool = False,
) -> Fit:
    """Fit one family by weighted least squares, to the best shape within its bounds.

    For each shape a and b follow in closed form; the shape is searched from 40 starts. The curve
    may not turn away from its direction, a floor may not lie below 0 (a ceiling not above 1).

    Args:
        family: one of ``FAMILIES``.
        documents: k sizes, rising, above 0.
        values: k scores.
        errors: k standard errors; without them all sizes weigh alike.
        rising: True for R², False for errors.

    Raises:
        ValueError: unknown family, fewer than its parameters + 2 sizes, or unusable numbers.

    Source:
        Separable least squares: Golub and Pereyra 1973.
    """
    if family not in FAMILIES:
        raise ValueError(f"got family={family!r}; expected one of {', '.join(FAMILIES)}")
    n, y, weights = checked(documents, values, errors)
    if n.size < FAMILIES[family].parameters + 2:
        raise ValueError(
            f"got {n.size} sizes for the family {family}; expected at least "
            f"{FAMILIES[family].parameters + 2}: add sizes or use a simpler family"
        )
    return _in_words(family, n, y, weights, rising)


def predict(fitted: Fit, documents: npt.ArrayLike) -> Floats:
    """Read scores off a curve, kept within what the metric can be (errors ≥ 0, R² ≤ 1)."""
    n = np.asarray(documents, np.float64)
    line = fitted.a + fitted.b * FAMILIES[fitted.family].basis(n, fitted.shape)
    values: Floats = np.minimum(line, 1) if fitted.rising else np.maximum(line, 0)
    return values


def choose(
    documents: npt.ArrayLike,
    values: npt.ArrayLike,
    errors: npt.ArrayLike | None = None,
    *,
    rising: bool = False,
    noise: float = 0.0,
) -> Choice:
    """Choose the family that describes the scores best, or refuse to draw a curve and say why.

    A curve is drawn when (1) the scores improve with size by Kendall's exact one-sided test at 5 %,
    which bounds the false alarms on flat or shuffled curves, and (2) a curve fitted to the smaller
    half of the sizes (rounded up; at least 3, with 6 sizes or more at least 4) predicts the larger
    ones better than "last value" does. Which family it is, all sizes decide (``fit_all``): chosen
    by what half of the sizes predicts, forecasts missed by up to four times as much (docs/LOG.md).

    Args:
        documents: k sizes, rising, above 0.
        values: k scores.
        errors: k standard errors; without them all sizes weigh alike.
        rising: True for R², False for errors.
        noise: standard deviation of one size's score around the curve.

    Raises:
        ValueError: the numbers cannot be used. Too few sizes are no error but a refusal.
    """
    n, y, weights = checked(documents, values, errors)
    down, half = falling(y, rising), smaller_half(n.size)
    entrants = [name for name in candidates(n.size) if FAMILIES[name].parameters < half]
    held_out = {
        name: _held_out_error(name, n, down, weights, half, rising)
        for name in (LAST, *entrants)
        if half < n.size
    }
    sizes = tuple(int(size) for size in n)
    best = min(held_out, key=lambda name: held_out[name], default=LAST)
    if reason := _refusal(n, down, held_out, best):
        return Choice(None, reason, held_out, sizes[:half], sizes[half:])
    chosen = fit_all(n, down[None], weights, rising, noise)
    fitted = _in_words(chosen.names[chosen.pick[0]], n, y, weights, rising)
    reason = (
        f"fitted on {half} sizes up to {sizes[half - 1]:,}, the {best} curve predicts the "
        f"{n.size - half} larger ones with an error of {held_out[best]:.4g}; assuming no change: "
        f"{held_out[LAST]:.4g}"
    )
    return Choice(fitted, reason, held_out, sizes[:half], sizes[half:])


def _refusal(n: Floats, y: Floats, held_out: Mapping[str, float], best: str) -> str:
    """Say why no family may be used; nothing when the best one may."""
    if n.size < FEWEST_SIZES:
        return f"{n.size} sizes are too few for a curve: at least {FEWEST_SIZES} are needed"
    trend = stats.kendalltau(n, -y, alternative="greater") if np.ptp(y) else None
    if trend is None or not trend.pvalue < TREND:
        tau = trend.statistic if trend else 0.0
        where = int(n[y.argmin()])
        return (
            "the scores do not improve steadily with the number of documents (Kendall's tau "
            f"{tau:.2f} over {n.size} sizes; the best score is at {where:,} documents), so no "
            "curve is drawn through them"
        )
    if best == LAST:
        return (
            "no curve fitted on the smaller sizes predicts the larger ones better than assuming "
            "no change, so none is used to look beyond them"
        )
    return ""


def smaller_half(k: int) -> int:
    """Count the sizes to fit on when the larger ones are held out."""
    return max(math.ceil(k / 2), 3 if k < 6 else 4)


def candidates(k: int) -> tuple[str, ...]:
    """List the families that k sizes allow."""
    return tuple(
        name for name, family in FAMILIES.items() if name != LAST and family.parameters + 2 <= k
    )


def _held_out_error(
    name: str, n: Floats, y: Floats, weights: Floats, half: int, rising: bool
) -> float:
    """Fit a falling curve's first sizes and give the error on the others."""
    fits = fit_many(name, n[:half], y[None, :half], weights[:half], rising)
    missed = np.array([fits.at(size)[0] for size in n[half:]]) - y[half:]
    return math.sqrt(missed**2 @ weights[half:] / weights[half:].sum())


def fit_all(n: Floats, y: Floats, weights: Floats, rising: bool, noise: float) -> Chosen:
    """Fit every family to falling curves y (curves, k), and let each curve choose one.

    Source:
        Mallows 1973, "Some comments on Cp": squares left, plus twice the variance of the noise for
        each parameter.
    """
    names = candidates(n.size)
    fits = tuple(fit_many(name, n, y, weights, rising) for name in names)
    criterion = [each.rss + 2 * each.family.parameters * noise**2 for each in fits]
    return Chosen(names, fits, np.argmin(criterion, axis=0))


def _in_words(name: str, n: Floats, y: Floats, weights: Floats, rising: bool) -> Fit:
    """Fit one curve and put it in the words of its metric."""
    fits = fit_many(name, n, falling(y, rising)[None], weights, rising)
    sign = -1 if rising else 1
    shape = float(fits.shape[0]) if fits.family.shapes else None
    residual = math.sqrt(fits.rss[0] / n.size)
    return Fit(name, sign * float(fits.a[0]), sign * float(fits.b[0]), shape, residual, rising)


def falling(values: Floats, rising: bool) -> Floats:
    """Turn scores so that lower is better."""
    return -values if rising else values


def fit_many(name: str, n: Floats, y: Floats, weights: Floats, rising: bool) -> Fits:
    """Fit one family to falling curves y (curves, k) at once."""
    family, flat = FAMILIES[name], np.zeros(len(y))
    if name == LAST:
        rss = (y - y[:, -1:]) ** 2 @ weights
        return Fits(family, y[:, -1], flat, flat, rss)
    if family.shapes is None:
        a, b, rss = _solve(family.side * family.basis(n, 0), y, weights, -np.inf)
        return Fits(family, a, family.side * b, flat, rss)
    floor = -1.0 if rising else 0.0
    low, high = np.log(family.shapes(n))

    def solve(logs: Floats) -> tuple[Floats, Floats, Floats]:
        return _solve(family.basis(n, np.exp(logs)[..., None]), y, weights, floor)

    grid, step = np.linspace(low, high, GRID, retstep=True)
    best = grid[solve(grid[:, None])[2].argmin(axis=0)]
    left, right = np.maximum(best - step, low), np.minimum(best + step, high)
    for _ in range(GOLDEN_STEPS):
        inner = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
        lower = solve(inner[0])[2] < solve(inner[1])[2]
        left, right = np.where(lower, left, inner[0]), np.where(lower, inner[1], right)
    logs = (left + right) / 2
    a, b, rss = solve(logs)
    return Fits(family, a, b, np.exp(logs), rss)


def _solve(
    basis: Floats, y: Floats, weights: Floats, floor: float
) -> tuple[Floats, Floats, Floats]:
    """Minimise the weighted squares of y − a − b·basis under a ≥ floor and b ≥ 0, exactly.

    Args:
        basis: shape (..., k), broadcast against y.
        y: shape (curves, k).
        weights: shape (k,), of mean 1.
        floor: least a.

    Returns:
        a, b and the sum of squares, each of shape (..., curves).
    """
    share = weights / weights.sum()
    basis_mean, y_mean = basis @ share, y @ share
    centred = basis - basis_mean[..., None]
    spread = centred**2 @ share
    b = np.maximum((centred * y) @ share / np.where(spread > 0, spread, 1), 0)
    a = y_mean - b * basis_mean
    if np.any(a < floor):  # then the optimum lies on an edge: the floor, or a flat curve
        edge = np.maximum((basis * (y - floor)) @ share / (basis**2 @ share), 0)
        on_floor = (y - floor - edge[..., None] * basis) ** 2 @ share
        flat = (y - np.maximum(y_mean, floor)[..., None]) ** 2 @ share
        below, rests = a < floor, on_floor <= flat
        b = np.where(below, np.where(rests, edge, 0), b)
        a = np.where(below, np.where(rests, floor, np.maximum(y_mean, floor)), a)
    rss = (y - a[..., None] - b[..., None] * basis) ** 2 @ weights
    return a, b, rss


def checked(
    documents: npt.ArrayLike, values: npt.ArrayLike, errors: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Return sizes, scores and weights of mean 1, each (k,), or say what is wrong."""
    n, y = np.asarray(documents, np.float64), np.asarray(values, np.float64)
    spread = np.ones_like(n) if errors is None else np.asarray(errors, np.float64)
    if n.ndim != 1 or not n.size or y.shape != n.shape or spread.shape != n.shape:
        raise ValueError(
            f"got sizes of shape {n.shape}, scores {y.shape}, standard errors {spread.shape}; "
            "expected (k,) for each"
        )
    if not (np.isfinite(n).all() and n[0] > 0 and (np.diff(n) > 0).all()):
        raise ValueError(f"got sizes {n.tolist()}; expected them rising and above 0")
    if not np.isfinite(y).all():
        raise ValueError(f"got scores {y.tolist()}; expected finite numbers")
    if not (np.isfinite(spread).all() and (spread > 0).all()):
        raise ValueError(f"got standard errors {spread.tolist()}; expected them above 0")
    weights = spread**-2.0
    return n, y, weights / weights.mean()
