"""How good predicted prices are, and how uncertain that is: of rows (by group), fits and seeds."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from bat.stats import chance as chances
from bat.stats import jackknife, resampling

NAMES = chances.NAMES  # of the scores

COVERAGE = 0.95  # convention
# Fewer say little (convention): rows, and groups of rows that err together, of which a bootstrap is
# known to cover too little.
FEW_ROWS, FEW_GROUPS = 100, 30
DRAWS = 2000  # resamples; the ends of an interval are themselves random below some 1,000
CHUNK_VALUES = 2_000_000  # resampled counts in memory at once: 16 MB of float64
# R² has no interval where so few rows carry so much of its squared error (convention): single
# intervals of R² covered 61 to 86 % on the heavy-tailed prices of bat-10k.
FEW_DECIDE, MOST_OF_IT = 0.01, 0.5

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """A number with the ends of its 95 % interval; both ends are NaN where there is none to give.

    No comparison with NaN is true, so that a number without an interval never passes for shown.
    """

    value: float
    low: float
    high: float


def scores(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, float]:
    """Score predictions in the words people use: R², mean and median absolute error.

    Args:
        prices: n true prices, positive, not all equal.
        predictions: n predicted prices, or shape (seeds, n): then scores are means over seeds.

    Returns:
        One number for each of ``NAMES``: ``mae`` and ``medae`` in price units; ``r2_log`` is R² of
        the log price, where a prediction under ``resampling.SMALLEST_PRICE`` counts as that price.

    Raises:
        ValueError: shapes disagree, a value is not finite, or R² is undefined.
    """
    truth, guesses = resampling.checked(prices, predictions)
    once, alone = np.ones((1, truth.size)), np.arange(truth.size)
    values = np.mean(
        [resampling.scored(resampling.laid_out(truth, row, alone), once)[0] for row in guesses],
        axis=0,
    )
    return dict(zip(NAMES, values.tolist(), strict=True))


def bootstrap(
    prices: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    chance: bool | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Score predictions with 95 % intervals over test rows, fits and seeds.

    Percentile intervals of ``draw_scores``. R² has none where few rows decide it
    (``few_rows_decide``), and no score has one where all rows are one group.

    Args:
        prices: n true prices, positive, not all equal.
        predictions: n predicted prices, or shape (seeds, n).
        groups: n integers; rows of one group are drawn together, since they err together. Left
            out, every row is drawn by itself.
        chance: whether the model's scores hang on a seed; see ``draw_scores``.
        draws: resamples.
        seed: of the resampling; equal seeds take equal rows for equal n (and groups).

    Returns:
        An ``Interval`` for each of ``NAMES``; ``value`` is that of ``scores``.

    Raises:
        ValueError: as for ``scores``, or no draws.

    Source:
        Percentile interval: Efron and Tibshirani 1993, section 13.3. Groups: Davison and Hinkley
        1997, section 3.8.
    """
    told = None if chance is None else [chance]
    drawn = draw_scores(prices, [predictions], groups=groups, chance=told, draws=draws, seed=seed)[
        0
    ]
    without = _without_interval(prices, [predictions], groups)
    return _intervals(scores(prices, predictions), drawn, without)


def paired(
    prices: npt.ArrayLike,
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    *,
    names: Sequence[str] = NAMES,
    groups: npt.ArrayLike | None = None,
    chance: tuple[bool, bool] | None = None,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Say how much better we are than they, with what both share (the rows) taken out.

    Args:
        prices: n true prices, positive, not all equal.
        ours: n predicted prices, or shape (seeds, n).
        theirs: likewise, with as many seeds as ours; or with one.
        names: the scores to compare; nothing is resampled unless MedAE is among them.
        groups: as for ``bootstrap``.
        chance: whether our scores hang on a seed, and theirs; see ``draw_scores``.
        coverage: of the intervals.
        draws: resamples for MedAE.
        seed: of the resampling; the rows drawn are those of ``bootstrap`` with the same seed.

    Returns:
        For each name the difference ours − theirs on the same rows: better is above 0 for
        the two R², below 0 for the two errors. Intervals are those of ``bands`` with one arm.

    Raises:
        ValueError: as for ``bootstrap``, or the numbers of seeds cannot be paired.
    """
    found = bands(
        prices, [ours], theirs, names=names,
        groups=groups, chance=chance, coverage=coverage, draws=draws, seed=seed,
    )  # fmt: skip
    return {name: only for name, (only,) in found.items()}


def bands(
    prices: npt.ArrayLike,
    arms: Sequence[npt.ArrayLike],
    theirs: npt.ArrayLike,
    *,
    names: Sequence[str] = NAMES,
    groups: npt.ArrayLike | None = None,
    chance: tuple[bool, bool] | None = None,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, tuple[Interval, ...]]:
    """Compare several arms with one model, in intervals that hold for all of the arms at once.

    In 95 % of studies (``coverage``) *every* interval of a score holds the truth, so that a reader
    may pick the best size of a figure. MAE and both R² have t intervals over groups of rows with
    the variance of the models' chance added (``jackknife``): percentile intervals of the same
    differences covered 85 to 92 % with 12 groups where these cover 95 to 98 %. MedAE, and
    any other score, has the draws' own deviations.

    Args:
        prices: n true prices, positive, not all equal.
        arms: predictions of each, (n,) or (seeds, n).
        theirs: of the model that all are compared with, with as many seeds or one.
        names: the scores to compare; nothing is resampled unless MedAE is among them.
        groups: as for ``bootstrap``.
        chance: whether the arms' scores hang on a seed, and theirs; see ``draw_scores``.
        coverage: of the intervals, all of a score's together.
        draws: resamples for MedAE.
        seed: of the resampling.

    Returns:
        For each name the differences arm − theirs, one for each arm.

    Raises:
        ValueError: as for ``bootstrap``, or the numbers of seeds differ.
    """
    models = [*arms, theirs]
    told = None if chance is None else [chance[0]] * len(arms) + [chance[1]]
    measured = [scores(prices, model) for model in models]
    values = {
        name: np.array([each[name] - measured[-1][name] for each in measured[:-1]])
        for name in names
    }
    halves = _half_widths_of_means(prices, models, groups, told, coverage, names)
    if no_means := [name for name in names if name not in halves]:
        drawn = draw_scores(prices, models, groups=groups, chance=told, draws=draws, seed=seed)
        for name in no_means:
            each = drawn[:, :, NAMES.index(name)].T  # (draws, models)
            moved = each[:, :-1] - each[:, -1:] - values[name]
            factor = jackknife.family_factor(moved, coverage=coverage)
            halves[name] = np.quantile(np.abs(moved), coverage, axis=0) * factor
    without = [_without_interval(prices, [arm, theirs], groups) for arm in arms]
    return {
        name: tuple(
            _around(value, math.nan if name in none else half)
            for value, half, none in zip(values[name], halves[name], without, strict=True)
        )
        for name in names
    }


def _around(value: float, half: float) -> Interval:
    return Interval(float(value), float(value - half), float(value + half))


def _half_widths_of_means(
    prices: npt.ArrayLike,
    models: Sequence[npt.ArrayLike],
    groups: npt.ArrayLike | None,
    chance: Sequence[bool] | None,
    coverage: float,
    names: Sequence[str],
) -> dict[str, Floats]:
    """Find half-widths of differences from the last model: of MAE and both R², sums over rows.

    Of ``names`` those are left out that are no such sums.
    """
    checked = [resampling.checked(prices, model) for model in models]
    truth, logs = checked[0][0], np.log(checked[0][0])
    together = resampling.numbered(groups, truth.size)
    denominators = {
        "mae": np.ones(truth.size),
        "r2": np.square(truth - truth.mean()),
        "r2_log": np.square(logs - logs.mean()),
    }
    *mine, other = [_terms(truth, guesses) for _, guesses in checked]
    deviations, freedoms = chances_of(prices, models, chance=chance)
    differ = np.array([not np.array_equal(each, checked[-1][1]) for _, each in checked[:-1]])
    halves = {}
    for name in (name for name in denominators if name in names):
        numerators = np.array([each[name] - other[name] for each in mine])
        sd = deviations[:, NAMES.index(name)]
        halves[name] = jackknife.half_widths(
            jackknife.ratios(numerators, denominators[name], together),
            jackknife.Chance(sd[:-1] * differ, sd[-1] * differ, min(freedoms)),
            coverage=coverage,
        )
    return halves


def chances_of(
    prices: npt.ArrayLike, models: Sequence[npt.ArrayLike], *, chance: Sequence[bool] | None = None
) -> tuple[Floats, list[float]]:
    """Say how far each model's scores could lie from what other seeds would give.

    Args:
        prices: n true prices.
        models: predictions of each, (n,) or (seeds, n).
        chance: as for ``draw_scores``.

    Returns:
        Standard deviations of the scores, shape (models, 4), and the degrees of freedom of each
        model's: 0 and infinite for a model without chance.
    """
    checked = [resampling.checked(prices, predictions) for predictions in models]
    by_seed = [
        np.array([list(scores(truth, row).values()) for row in guesses])
        for truth, guesses in checked
    ]
    subject = _subject(checked, chance)
    deviations = np.array([chances.deviations(each) for each in by_seed])
    freedoms = [
        chances.freedom(len(each)) if has else math.inf
        for each, has in zip(by_seed, subject, strict=True)
    ]
    return deviations * np.array(subject)[:, None], freedoms


def _terms(truth: Floats, guesses: Floats) -> dict[str, Floats]:
    """Give what each row adds to MAE and takes off the two R², as means over seeds; each (n,)."""
    squares, log_squares = np.mean([resampling.squared_errors(truth, g) for g in guesses], axis=0)
    return {"mae": np.abs(truth - guesses).mean(axis=0), "r2": squares, "r2_log": log_squares}


def few_rows_decide(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> frozenset[str]:
    """Name the R² of which 1 % of the rows carry over half of the squared error.

    Such a number is that of a handful of rows, and no resampling knows what other rows would bring:
    it may be shown as a point, without an interval.

    Args:
        prices: n true prices, positive, not all equal.
        predictions: n predicted prices, or shape (seeds, n).

    Returns:
        Of ``r2`` and ``r2_log`` those that rest on few rows.

    Raises:
        ValueError: as for ``scores``.
    """
    truth, guesses = resampling.checked(prices, predictions)
    few = math.ceil(FEW_DECIDE * truth.size)
    squares = np.mean([resampling.squared_errors(truth, row) for row in guesses], axis=0)  # (2, n)
    largest = np.partition(squares, -few, axis=1)[:, -few:].sum(axis=1)
    decided = largest > MOST_OF_IT * squares.sum(axis=1)
    return frozenset(name for name, few in zip(("r2", "r2_log"), decided, strict=True) if few)


def _without_interval(
    prices: npt.ArrayLike, models: Sequence[npt.ArrayLike], groups: npt.ArrayLike | None
) -> frozenset[str]:
    """Name the scores that get no interval."""
    if not resampling.numbered(groups, np.size(prices)).any():
        return frozenset(NAMES)
    return frozenset().union(*(few_rows_decide(prices, predictions) for predictions in models))


def draw_scores(
    prices: npt.ArrayLike,
    models: Sequence[npt.ArrayLike],
    *,
    groups: npt.ArrayLike | None = None,
    chance: Sequence[bool] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Draw what every model's scores could be: over rows, the same for all, and over its seeds.

    Rows are drawn by group with replacement. The score of a draw is the mean over seeds, plus the
    chance of those seeds for a model that is subject to it: a deviate of its own in each draw,
    which moves all its scores together (errors up, R² down). It follows Student's t, since the
    standard deviation (``chance.deviations``) is an estimate itself. Models with equal predictions
    are one model and share it. Few groups scatter too little when drawn: draws stand as much
    farther from the measured score as a t interval of so many groups is wider.

    Args:
        prices: n true prices, positive, not all equal.
        models: predictions of each, (n,) or (seeds, n), with equal numbers of seeds, or one.
        groups: as for ``bootstrap``.
        chance: for each model, whether its scores hang on a seed: True for one that is tuned,
            searched or fitted with chance, False for one that always comes out the same. Left out,
            only a model with several seeds is taken to be subject to chance.
        draws: resamples.
        seed: of the resampling.

    Returns:
        Shape (models, draws, 4), in the order of ``NAMES``; R² of a constant resample is NaN.

    Raises:
        ValueError: as for ``bootstrap``, or the numbers of seeds differ.

    Source:
        Factor for few groups: Davison and Hinkley 1997, section 2.3 (the variance of a mean is
        short by (k − 1) / k); effective number of groups: Kish 1965, "Survey sampling".
    """
    checked = [resampling.checked(prices, predictions) for predictions in models]
    truth, seeds = checked[0][0], max(len(guesses) for _, guesses in checked)
    if draws < 1:
        raise ValueError(f"got draws={draws}; expected at least 1")
    if any(len(guesses) not in (1, seeds) for _, guesses in checked):
        raise ValueError(
            f"got {[len(guesses) for _, guesses in checked]} seeds; expected equal numbers of "
            "seeds, or one seed on one side"
        )
    together = resampling.numbered(groups, truth.size)
    tables = [
        [resampling.laid_out(truth, row, together) for row in guesses] for _, guesses in checked
    ]
    drawn = _rows_drawn(tables, together, draws, seed)
    once = np.ones((1, truth.size))
    measured = [_each_scored(of_model, once)[:, 0] for of_model in tables]  # each (seeds, 4)
    points = np.array([each.mean(axis=0) for each in measured])[:, None]  # (models, 1, 4)
    drawn = points + _few_groups(together) * (drawn - points)
    drawn += _chance_drawn(checked, measured, _subject(checked, chance), draws, seed)
    possible: Floats = np.where(chances.IS_R2, np.minimum(drawn, 1), np.maximum(drawn, 0))
    return possible


def _rows_drawn(
    tables: list[list[resampling.Table]], together: Groups, draws: int, seed: int
) -> Floats:
    """Score every model, as a mean over its seeds, on the same rows; shape (models, draws, 4)."""
    rng = np.random.default_rng([seed, 0])
    at_once = max(1, CHUNK_VALUES // together.size)
    chunks = []
    for start in range(0, draws, at_once):
        counts = resampling.drawn_rows(rng, min(at_once, draws - start), together)
        chunks.append([_each_scored(of_model, counts).mean(axis=0) for of_model in tables])
    return np.concatenate(chunks, axis=1)


def _each_scored(tables: list[resampling.Table], counts: Floats) -> Floats:
    """Score each seed of a model on the same resamples, shape (seeds, draws, 4)."""
    return np.array([resampling.scored(table, counts) for table in tables])


def _subject(checked: list[tuple[Floats, Floats]], chance: Sequence[bool] | None) -> list[bool]:
    """Say of each model whether it is subject to chance.

    Raises:
        ValueError: ``chance`` does not hold one truth value for each model.
    """
    if chance is None:
        return [len(guesses) > 1 for _, guesses in checked]
    if len(chance) != len(checked):
        raise ValueError(f"got chance of {len(chance)} models; expected {len(checked)}, one each")
    return list(chance)


def _chance_drawn(
    checked: list[tuple[Floats, Floats]],
    measured: list[Floats],
    subject: list[bool],
    draws: int,
    seed: int,
) -> Floats:
    """Draw the deviation that each model's seeds bring, shape (models, draws, 4).

    Deviates hang on the predictions, so that equal ones share them wherever they stand.
    """
    moved = []
    for (_, guesses), scored, has in zip(checked, measured, subject, strict=True):
        rng = np.random.default_rng([seed, 1, zlib.crc32(guesses.tobytes())])
        deviates = rng.standard_t(chances.freedom(len(guesses)), draws)
        moved.append(np.outer(deviates, chances.deviations(scored) * chances.SIGNS * has))
    return np.array(moved)


def _few_groups(groups: Groups) -> float:
    """Say by how much a t interval over groups is wider than one of as many draws of them."""
    sizes = np.bincount(groups)
    if sizes.size < 2:
        return 1.0  # every draw is the measured score: there is nothing to widen
    freedom = max(1.0, groups.size**2 / float(sizes @ sizes) - 1)
    quantile = (1 + COVERAGE) / 2
    wider = float(stdtrit(freedom, quantile) / ndtri(quantile))
    return wider * math.sqrt(sizes.size / (sizes.size - 1))


def _intervals(
    values: dict[str, float], drawn: Floats, without: frozenset[str]
) -> dict[str, Interval]:
    """Put the percentile ends of the draws beside the values, where there is an interval."""
    return {
        name: Interval(values[name], *((math.nan,) * 2 if name in without else (low, high)))
        for name, low, high in zip(NAMES, *_ends(drawn).tolist(), strict=True)
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
    together = resampling.numbered(groups, counted.size)
    k, mean = int(together.max()) + 1, float(counted.mean())
    if k < counted.size and 0 < mean < 1:
        counts = resampling.drawn_rows(np.random.default_rng(0), DRAWS, together)
        return Interval(mean, *map(float, _ends(counts @ counted / counts.sum(axis=1))))
    found = binomtest(round(k * mean), k).proportion_ci(COVERAGE, method="wilson")
    return Interval(mean, float(found.low), float(found.high))


def flat(scores: Mapping[str, Interval]) -> dict[str, float]:
    """Name the value and the ends of each interval, if it has some: r2, r2_low, r2_high, ..."""
    return {
        f"{name}{end}": value
        for name, score in scores.items()
        for end, value in (("", score.value), ("_low", score.low), ("_high", score.high))
        if not math.isnan(value)
    }
