"""How good predicted prices are, with the range that a different draw of test rows would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NAMES = ("r2", "mae", "medae", "r2_log")

# Logarithms need a positive price: a prediction below this one is counted as this one. Far below
# any real price, so that only the predictions of a model that ignores the sign are touched.
SMALLEST_PRICE = 1e-6
COVERAGE = 0.95  # convention
DRAWS = 2000  # resamples; the ends of an interval are themselves random below some 1,000
CHUNK_VALUES = 2_000_000  # resampled counts in memory at once: 16 MB of float64
WINDOW = 5.0  # see reach: ten standard deviations
ROUNDING = 1e-12  # a resample whose variance is below this share of the whole's is constant

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Table:
    """What one set of predictions needs, so that a resample costs one product and one sum."""

    columns: Floats  # (n, 8), summed over the resampled rows: see _table
    window: npt.NDArray[np.intp]  # (w,): rows by growing absolute error, the middle ones
    errors: Floats  # (w,): absolute errors in that order


def scores(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, float]:
    """Score predictions in the words people use: R², mean and median absolute error.

    Args:
        prices: n true prices, positive, not all equal.
        predictions: n predicted prices, or shape (seeds, n): then scores are means over seeds.

    Returns:
        One number for each of ``NAMES``: ``mae`` and ``medae`` in price units; ``r2_log`` is R² of
        the log price, where a prediction under ``SMALLEST_PRICE`` counts as that price.

    Raises:
        ValueError: shapes disagree, a value is not finite, or R² is undefined.
    """
    truth, guesses = _checked(prices, predictions)
    once, alone = np.ones((1, truth.size)), np.arange(truth.size)
    values = np.mean([_resampled(_table(truth, row, alone), once)[0] for row in guesses], axis=0)
    return dict(zip(NAMES, values.tolist(), strict=True))


def bootstrap(
    prices: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Score predictions with 95 % percentile intervals over test rows, and over seeds if several.

    Two-level with shape (seeds, n): each draw takes rows with replacement, the same rows for every
    seed, and seeds with replacement. Two or three seeds cannot establish a small gain, whatever
    the width of the interval: so few seeds resampled understate how much seeds differ.

    Args:
        prices: n true prices, positive, not all equal.
        predictions: n predicted prices, or shape (seeds, n).
        groups: n integers; rows of one group are drawn together, since they err together. Left
            out, every row is drawn by itself.
        draws: resamples.
        seed: of the resampling; equal seeds take equal rows for equal n (and groups).

    Returns:
        An ``Interval`` for each of ``NAMES``; ``value`` is that of ``scores``.

    Raises:
        ValueError: as for ``scores``, or no draws.

    Source:
        Percentile interval: Efron and Tibshirani 1993, section 13.3. Rows and seeds crossed: Owen
        2007, "The pigeonhole bootstrap". Groups: Davison and Hinkley 1997, section 3.8. Too few
        seeds: arXiv 2511.19794.
    """
    drawn = _drawn(prices, [predictions], groups, draws, seed)[0]
    return _intervals(scores(prices, predictions), drawn)


def paired(
    prices: npt.ArrayLike,
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Say how much better we are than they, with what both share (the rows) taken out.

    Args:
        prices: n true prices, positive, not all equal.
        ours: n predicted prices, or shape (seeds, n).
        theirs: likewise, with as many seeds as ours, row i of the same seed; or with one.
        groups: as for ``bootstrap``.
        draws: resamples.
        seed: of the resampling; the rows drawn are those of ``bootstrap`` with the same seed.

    Returns:
        For each of ``NAMES`` the difference ours − theirs on the same rows: better is above 0 for
        the two R², below 0 for the two errors.

    Raises:
        ValueError: as for ``bootstrap``, or the numbers of seeds cannot be paired.
    """
    mine, other = _drawn(prices, [ours, theirs], groups, draws, seed)
    value, their_value = scores(prices, ours), scores(prices, theirs)
    return _intervals({name: value[name] - their_value[name] for name in NAMES}, mine - other)


def _checked(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return prices (n,) and predictions (seeds, n) as float64, or say what is wrong."""
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


def _table(prices: Floats, predictions: Floats, groups: Groups) -> _Table:
    """Lay out one set of predictions for resampling.

    The median of a resample is found by counting rows in order of their error: only those within
    reach of the middle are kept in order, and the ones below them as a sum.
    """
    n = prices.size
    log_prices = np.log(prices)
    smallest = min(SMALLEST_PRICE, prices.min())
    log_errors = log_prices - np.log(np.maximum(predictions, smallest))
    errors = np.abs(prices - predictions)
    order = np.argsort(errors, kind="stable")
    low = max(0, n // 2 - reach(groups))
    window = order[low : n - low]
    below = np.zeros(n)
    below[order[:low]] = 1
    centred, log_centred = prices - prices.mean(), log_prices - log_prices.mean()
    columns = [centred, log_centred, centred**2, log_centred**2, errors**2, log_errors**2]
    return _Table(np.column_stack([*columns, errors, below]), window, errors[window])


def _resampled(table: _Table, counts: Floats) -> Floats:
    """Score resamples given as how often each row was taken.

    Args:
        table: of one set of predictions.
        counts: shape (draws, n).

    Returns:
        Shape (draws, 4), in the order of ``NAMES``; R² of a constant resample is NaN.
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


def _drawn(
    prices: npt.ArrayLike,
    models: list[npt.ArrayLike],
    groups: npt.ArrayLike | None,
    draws: int,
    seed: int,
) -> Floats:
    """Score every model on the same resamples; shape (models, draws, 4)."""
    checked = [_checked(prices, predictions) for predictions in models]
    truth, seeds = checked[0][0], max(len(guesses) for _, guesses in checked)
    if draws < 1:
        raise ValueError(f"got draws={draws}; expected at least 1")
    if any(len(guesses) not in (1, seeds) for _, guesses in checked):
        raise ValueError(
            f"got {[len(guesses) for _, guesses in checked]} seeds; expected equal numbers of "
            "seeds, or one seed on one side"
        )
    together = numbered(groups, truth.size)
    tables = [[_table(truth, row, together) for row in guesses] for _, guesses in checked]
    rows_rng, seeds_rng = (np.random.default_rng([seed, level]) for level in range(2))
    shares = seeds_rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    n = truth.size
    at_once = max(1, CHUNK_VALUES // n)
    parts = []
    for start in range(0, draws, at_once):
        share = shares[start : start + at_once]  # (at_once, seeds)
        counts = drawn_rows(rows_rng, len(share), together)
        parts.append([_mean_over_seeds(each, counts, share) for each in tables])
    return np.concatenate(parts, axis=1)


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


def reach(groups: Groups) -> int:
    """Say how many rows from the middle, in order of their error, a resample's median can be.

    Its rank among all rows has a standard deviation of at most sqrt(s) / 2, with s the sum of the
    squared sizes of the groups (n where each row is alone): ten of them are enough.
    """
    return math.ceil(WINDOW * math.sqrt((np.bincount(groups) ** 2).sum()))


def _mean_over_seeds(tables: list[_Table], counts: Floats, share: Floats) -> Floats:
    """Average the seeds' scores by how often each seed was drawn; shape (draws, 4)."""
    if len(tables) == 1:  # no seeds to draw from, whatever the other model has
        return _resampled(tables[0], counts)
    scored = np.stack([_resampled(table, counts) for table in tables], axis=1)
    averaged: Floats = (share[:, :, None] * scored).sum(axis=1)
    return averaged


def _intervals(values: dict[str, float], drawn: Floats) -> dict[str, Interval]:
    """Put the percentile ends of the draws beside the values."""
    return {
        name: Interval(values[name], float(low), float(high))
        for name, low, high in zip(NAMES, *_ends(drawn), strict=True)
    }


def _ends(drawn: Floats) -> Any:
    """Find the percentile ends of draws (draws, ...), of which some may be NaN; shape (2, ...)."""
    tail = (1 - COVERAGE) / 2
    return np.nanquantile(drawn, [tail, 1 - tail], axis=0)


def share(hits: npt.ArrayLike, *, groups: npt.ArrayLike | None = None) -> Interval:
    """Say which share of trials hit, with its 95 % interval.

    Args:
        hits: n truth values.
        groups: as for ``bootstrap``; then the interval is a percentile one over groups.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    from scipy.stats import binomtest

    counted = np.asarray(hits, bool)
    together = numbered(groups, counted.size)
    k, mean = int(together.max()) + 1, float(counted.mean())
    if k < counted.size and 0 < mean < 1:
        counts = drawn_rows(np.random.default_rng(0), DRAWS, together)
        return Interval(mean, *map(float, _ends(counts @ counted / counts.sum(axis=1))))
    found = binomtest(round(k * mean), k).proportion_ci(COVERAGE, method="wilson")
    return Interval(mean, float(found.low), float(found.high))


def flat(scores: Mapping[str, Interval]) -> dict[str, float]:
    """Name the value and the ends of each interval: r2, r2_low, r2_high and so on."""
    return {
        f"{name}{end}": value
        for name, score in scores.items()
        for end, value in (("", score.value), ("_low", score.low), ("_high", score.high))
    }
