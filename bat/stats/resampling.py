"""Predictions checked, and scored on many resamples of their rows, drawn by group, at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Logarithms need a positive price: a prediction below this one is counted as this one. Far below
# any real price, so that only the predictions of a model that ignores the sign are touched.
SMALLEST_PRICE = 1e-6
WINDOW = 5.0  # see reach: ten standard deviations
ROUNDING = 1e-12  # a resample whose variance is below this share of the whole's is constant

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """What one set of predictions needs, so that a resample costs one product and one sum."""

    columns: Floats  # (n, 8), summed over the resampled rows: see laid_out
    window: npt.NDArray[np.intp]  # (w,): rows by growing absolute error, the middle ones
    errors: Floats  # (w,): absolute errors in that order


def checked(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return prices (n,) and predictions (seeds, n) as float64, or say what is wrong.

    Raises:
        ValueError: shapes disagree, a value is not finite, or R² is undefined.
    """
    truth = np.asarray(prices, dtype=np.float64)
    guesses = np.atleast_2d(np.asarray(predictions, dtype=np.float64))
    if truth.ndim != 1 or guesses.ndim != 2 or guesses.shape[1] != truth.size or not guesses.size:
        raise ValueError(
            f"got prices of shape {truth.shape} and predictions of shape {np.shape(predictions)}; "
            "expected (n,) and (n,) or (seeds, n)"
        )
    if not (np.isfinite(truth).all() and np.isfinite(guesses).all()):
        raise ValueError("got prices or predictions that are not finite; expected finite numbers")
    if truth.min() <= 0 or truth.min() == truth.max():
        raise ValueError(
            f"got prices from {truth.min()} to {truth.max()}; expected positive prices that are "
            "not all equal (R² is undefined without variance)"
        )
    return truth, guesses


def laid_out(prices: Floats, predictions: Floats, groups: Groups) -> Table:
    """Lay out one set of predictions for resampling.

    The median of a resample is found by counting rows in order of their error: only those within
    reach of the middle are kept in order, and the ones below them as a sum.
    """
    n = prices.size
    log_prices = np.log(prices)
    errors = np.abs(prices - predictions)
    order = np.argsort(errors, kind="stable")
    low = max(0, n // 2 - reach(groups))
    window = order[low : n - low]
    below = np.zeros(n)
    below[order[:low]] = 1
    centred, log_centred = prices - prices.mean(), log_prices - log_prices.mean()
    columns = [centred, log_centred, centred**2, log_centred**2]
    squares = squared_errors(prices, predictions)
    return Table(np.column_stack([*columns, *squares, errors, below]), window, errors[window])


def squared_errors(prices: Floats, predictions: Floats) -> Floats:
    """Square the errors of prices and of their logarithms, shape (2, n)."""
    smallest = min(SMALLEST_PRICE, prices.min())
    logs = np.log(prices) - np.log(np.maximum(predictions, smallest))
    squares: Floats = np.square([prices - predictions, logs])
    return squares


def scored(table: Table, counts: Floats) -> Floats:
    """Score resamples given as how often each row was taken.

    Args:
        table: of one set of predictions.
        counts: shape (draws, n).

    Returns:
        Shape (draws, 4), in the order of ``chance.NAMES``; R² of a constant resample is NaN.
    """
    n = counts.sum(axis=1)  # (draws,): other than the rows' number where groups differ in size
    sums = counts @ table.columns  # (draws, 8)
    spread = sums[:, 2:4] - sums[:, 0:2] ** 2 / n[:, None]  # (draws, 2): squares around the mean
    spread[spread <= ROUNDING * table.columns[:, 2:4].sum(axis=0)] = np.nan
    r2, r2_log = (1 - sums[:, 4:6] / spread).T
    reached = sums[:, 7:] + np.cumsum(np.take(counts, table.window, axis=1), axis=1)  # (draws, w)
    return np.column_stack([r2, sums[:, 6] / n, medians(reached, n, table.errors), r2_log])


def medians(reached: Floats, n: Floats, errors: Floats) -> Floats:
    """Find the median error of each resample.

    Args:
        reached: rows of the resample up to each of the window's, in order of their error, shape
            (draws, w).
        n: rows of the resample, shape (draws,).
        errors: of the window's rows, rising, shape (w,).

    Returns:
        Shape (draws,).
    """
    middles = np.column_stack([(n - 1) // 2, n // 2])
    found = [
        row.searchsorted(ranks, side="right") for row, ranks in zip(reached, middles, strict=True)
    ]
    middle: Floats = errors[np.array(found)].mean(axis=1)
    return middle


def reach(groups: Groups) -> int:
    """Say how many rows from the middle, in order of their error, a resample's median can be.

    Its rank among all rows has a standard deviation of at most sqrt(s) / 2, with s the sum of the
    squared sizes of the groups (n where each row is alone): ten of them are enough.
    """
    return math.ceil(WINDOW * math.sqrt((np.bincount(groups) ** 2).sum()))


def numbered(groups: npt.ArrayLike | None, n: int) -> Groups:
    """Number groups from 0 in the order in which their first rows stand.

    Args:
        groups: n integers, equal for rows that belong together; None where each row is alone.
        n: rows.

    Returns:
        Shape (n,).

    Raises:
        ValueError: there is not one for each row.
    """
    if groups is None:
        return np.arange(n)
    ids = np.asarray(groups)
    if ids.shape != (n,):
        raise ValueError(f"got groups of shape {ids.shape}; expected ({n},), one for each price")
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def drawn_rows(rng: np.random.Generator, draws: int, groups: Groups) -> Floats:
    """Draw as many groups as there are, with replacement, and count their rows.

    Args:
        rng: moves on.
        draws: resamples.
        groups: of ``numbered``, shape (n,).

    Returns:
        How often each row was taken, shape (draws, n); a line sums to n where groups are of one
        size.
    """
    k = int(groups.max()) + 1
    taken = rng.integers(0, k, size=(draws, k))
    counts = np.array([np.bincount(each, minlength=k) for each in taken], dtype=np.float64)
    return counts if k == groups.size else counts[:, groups]
