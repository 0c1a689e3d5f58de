"""Cells: promotions of no better models are rare, and served intervals hold what they promise.

A population is a whole corpus whose truth is known: its targets, and predictions for them by folds.
Each cell draws series of candidates or corpora from it, lets the program judge or calibrate, and
counts. Simulations of intervals fit trees, so that they are a tenth as many.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

from bat.data import corpus
from bat.models import interval, regressor, search, words
from bat.registry import champion
from bat.stats import chance
from benchmarks.honesty import material
from benchmarks.honesty.cells import Cell, Measured, mean, rate

NAMES = ("bat-10k", "wine-5k")  # corpora of which trees are fitted; any other stands alone
SLOWER = 10  # simulations of a promotion for one of an interval
FEATURES = 32
CLUSTER_ROWS = 25  # of similar texts, in the mean

CANDIDATES, MODELS = 20, 100  # of a series, and those that it is drawn from
NOISES = (0.03, 0.15)  # on the logarithm of a prediction: of another fit, of another method
EXPONENTS = np.linspace(0.6, 1.4, 81)  # of errors; the mean error is read off between them
BETTER, POWER = 0.06, 0.5  # share of the champion's error; least share that is promoted

TREES = regressor.Settings(max_depth=4, learning_rate=0.15, reg_lambda=30.0)
ROUNDS = 40
LEARNT, LEARNT_BY_FEW = 2000, 600  # rows, of a corpus of ordinary size; with few groups
TWINS, JITTER = (0.2, 0.4), 0.03  # share of rows that nearly repeat another; how nearly
GROUPS, EVENNESS, TEXT_CLUSTERS = 12, 4.0, 60  # sizes of groups are drawn from a Dirichlet
EFFECTS = (0, 1, 2)
WITH_TWINS, OF_GROUPS = (0.89, 0.91), (0.87, 0.92)  # bounds
SEED = 0


@dataclass(frozen=True, eq=False)
class Population:
    """Rows to draw from, and what is known of all of them."""

    targets: np.ndarray  # (n,), positive
    features: np.ndarray  # (n, FEATURES), float32, each of unit variance
    log_errors: np.ndarray  # (n,), log target less log prediction, by ridge regression on words
    clusters: tuple[np.ndarray, ...]  # rows of similar texts
    families: np.ndarray  # (n,), one of TEXT_CLUSTERS coarser clusters of texts


@dataclass(frozen=True, eq=False)
class Models:
    """Ways to predict a population that are equally good, each in its own way."""

    log_errors: np.ndarray  # (MODELS, n)
    mean_errors: np.ndarray  # (MODELS, EXPONENTS), mean absolute error of log_errors × exponent
    mean_error: float  # of the population's own predictions


def cells(corpora: Sequence[str]) -> list[Cell]:
    """List the cells of each corpus of which trees are fitted."""
    chosen = [data for data in corpora if material.title(data) in NAMES] or corpora[:1]
    return [cell for data in chosen for cell in promotions(data) + intervals(data)]


@functools.lru_cache(maxsize=2)
def population(data: str) -> Population:
    """Load a corpus, predict each of its rows from the words of others, and find similar texts."""
    made = material.kept(f"{material.title(data)}-served", functools.partial(prepared, data))
    rows = tuple(np.flatnonzero(made["fine"] == each) for each in np.unique(made["fine"]))
    return Population(made["targets"], made["features"], made["log_errors"], rows, made["families"])


def prepared(data: str) -> dict[str, np.ndarray]:
    """Work out what ``population`` keeps."""
    loaded = corpus.load(data, limit=material.LIMIT)
    weights, logs = words.fit(loaded.texts).weigh(loaded.texts), np.log(loaded.prices)
    ridge = Ridge(alpha=1.0, solver="sparse_cg")
    features = TruncatedSVD(FEATURES, random_state=0).fit_transform(weights)
    features = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32)
    fine, coarse = (
        MiniBatchKMeans(count, random_state=0, n_init=3).fit_predict(features)
        for count in (logs.size // CLUSTER_ROWS, TEXT_CLUSTERS)
    )
    return {
        "targets": loaded.prices,
        "features": features,
        "log_errors": logs - cross_val_predict(ridge, weights, logs, cv=search.FOLDS),
        "fine": fine,
        "families": coarse,
    }


# Promotions


def promotions(data: str) -> list[Cell]:
    """Make the cells of series of equal candidates of which any is promoted, and of better ones."""
    made = []
    for noise in NOISES:
        told = f"{material.title(data)}: noise {noise}"
        for rows in (1000, 3000):
            for grouped in (False, True):
                made += [
                    Cell(
                        f"{told}, {rows:,} rows{' in groups' if grouped else ''}, chance of a fit "
                        f"{'of its own' if own else 'as measured'}: any of {CANDIDATES} "
                        "equal candidates promoted",
                        functools.partial(equals_promoted, data, noise, rows, grouped, own),
                        most=champion.ERROR,
                    )
                    for own in (False, True)
                ]
        made.append(
            Cell(
                f"{told}, 1,000 rows: promoted at the first look where its MAE is {BETTER:.0%} "
                "lower",
                functools.partial(better_promoted, data, noise),
                least=POWER,
            )
        )
    return made


@functools.lru_cache(maxsize=2)
def equals(data: str, noise: float) -> Models:
    """Make models whose log predictions lie ``noise`` from the population's own.

    Half of the variance is of similar texts together, half of each row alone.
    """
    of, rng = population(data), np.random.default_rng([SEED, 0])
    n = of.targets.size
    together = rng.standard_normal((MODELS, FEATURES)) @ of.features.T / math.sqrt(FEATURES)
    alone = rng.standard_normal((MODELS, n))
    log_errors = of.log_errors + noise * math.sqrt(0.5) * (together + alone)
    mean_errors = [
        [material.mean_error(of.targets, power * each) for power in EXPONENTS]
        for each in log_errors
    ]
    own = material.mean_error(of.targets, of.log_errors)
    return Models(log_errors, np.array(mean_errors), own)


def equals_promoted(
    data: str, noise: float, rows: int, grouped: bool, own: bool, draws: int
) -> Measured:
    """Count series of equal candidates of which any is promoted."""
    of, models = population(data), equals(data, noise)
    rng = np.random.default_rng([SEED, 1, rows, grouped, own])
    hits = sum(
        any_promoted(rng, of, models, held_out(rng, of, rows, grouped), own) for _ in range(draws)
    )
    return rate(hits, draws)


def better_promoted(data: str, noise: float, draws: int) -> Measured:
    """Count better candidates that are promoted, each the first one."""
    of, models = population(data), equals(data, noise)
    rng, hits = np.random.default_rng([SEED, 2]), 0
    for _ in range(draws):
        rows, groups = held_out(rng, of, 1000, False)
        errors = np.array([1, 1 - BETTER]) + rng.normal(0, chance.ONE_SEED.mae, 2)
        present, candidate = predicted(rng, of, models, rows, errors)
        hits += champion.judge(
            of.targets[rows], candidate, present, groups=groups, margin=0.0, comparisons=0
        ).promoted
    return rate(hits, draws)


def held_out(
    rng: np.random.Generator, of: Population, rows: int, grouped: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows, alone or as clusters of similar texts, and number their groups."""
    if not grouped:
        return rng.integers(of.targets.size, size=rows), np.arange(rows)
    wanted = round(rows / of.targets.size * len(of.clusters))
    picked = [of.clusters[each] for each in rng.integers(len(of.clusters), size=wanted)]
    return np.concatenate(picked), np.repeat(np.arange(wanted), [each.size for each in picked])


def predicted(
    rng: np.random.Generator, of: Population, models: Models, rows: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Predict rows by models drawn at random, with mean errors relative to the population's own.

    Args:
        rng: moves on.
        of: to which the rows belong.
        models: to draw from.
        rows: of the population, (k,).
        errors: wanted of each model over the whole population, (m,).

    Returns:
        Shape (m, k).
    """
    picked = rng.permutation(MODELS)[: errors.size]
    powers = [
        np.interp(error, models.mean_errors[model], EXPONENTS)
        for model, error in zip(picked, models.mean_error * errors, strict=True)
    ]
    missed = np.array(powers)[:, None] * models.log_errors[np.ix_(picked, rows)]
    return np.asarray(of.targets[rows] * np.exp(-missed))


def any_promoted(
    rng: np.random.Generator,
    of: Population,
    models: Models,
    drawn: tuple[np.ndarray, np.ndarray],
    of_its_own: bool,
) -> bool:
    """Judge candidates that are as good as the champion but for the chance of each fit.

    The standard deviation of that chance is ``chance.ONE_SEED``, or one that the corpus has of its
    own, as far from it as ``chance.FREEDOM`` says.
    """
    rows, groups = drawn
    sd = chance.ONE_SEED.mae
    if of_its_own:
        sd *= math.sqrt(chance.FREEDOM / rng.chisquare(chance.FREEDOM))
    luck = rng.normal(0, sd, CANDIDATES + 1)
    present, *candidates = predicted(rng, of, models, rows, 1 + luck)
    targets = of.targets[rows]
    return any(
        champion.judge(
            targets, candidates[before], present, groups=groups, margin=0.0, comparisons=before
        ).promoted
        for before in worth_judging(targets, np.array(candidates), present)
    )


def worth_judging(targets: np.ndarray, candidates: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Number the candidates (m, n) whose gain is more than the chance of two fits explains.

    ``champion.judge`` promotes no other, since its intervals add to that chance what rows bring.
    """
    errors, error = (np.abs(targets - each).mean(axis=-1) for each in (candidates, present))
    levels = np.array([champion.level(before) for before in range(errors.size)])
    needed = ndtri(1 - levels) * chance.ONE_SEED.mae * np.hypot(errors, error)
    return np.flatnonzero(error - errors > needed)


# Intervals


class Sample(NamedTuple):
    """Rows to learn from and new ones, of groups that were not seen."""

    features: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    new_features: np.ndarray
    new_targets: np.ndarray


Draw = Callable[[Population, float, np.random.Generator], Sample]


def intervals(data: str) -> list[Cell]:
    """Make the cells of the interval that is served unless another is wanted, on new groups."""
    kinds = [
        (f"{part:.0%} of {LEARNT:,} rows nearly repeat another", twins, part, WITH_TWINS)
        for part in TWINS
    ]
    kinds += [
        (
            f"{GROUPS} groups that shift their rows by {effect} times a row's own scatter",
            in_groups,
            effect,
            OF_GROUPS,
        )
        for effect in EFFECTS
    ]
    told = f"{GROUPS} clusters of similar texts, new rows of others"
    kinds.append((told, clusters, TEXT_CLUSTERS, OF_GROUPS))
    return [
        Cell(
            f"{material.title(data)}: {told}: inside what is promised for 90 %",
            functools.partial(inside, data, sample, how),
            *bounds,
            one_of=SLOWER,
        )
        for told, sample, how, bounds in kinds
    ]


def inside(data: str, sample: Draw, how: float, draws: int) -> Measured:
    """Average the share of new rows inside."""
    of, rng = (
        population(data),
        np.random.default_rng([SEED, 3, *sample.__name__.encode(), int(100 * how)]),
    )
    return mean([covered(sample(of, how, rng), rng) for _ in range(draws)])


def twins(of: Population, part: float, rng: np.random.Generator) -> Sample:
    """Draw rows of which a part are others again, in one group with them, and new ones."""
    order = rng.permutation(of.targets.size)
    learnt = min(LEARNT, of.targets.size // 2)
    copies = round(part * learnt)
    base, new = order[: learnt - copies], order[learnt:]
    groups = np.concatenate([np.arange(base.size), rng.permutation(base.size)[:copies]])
    features, targets = of.features[base[groups]], of.targets[base[groups]]
    features[base.size :] *= rng.uniform(1 - JITTER, 1 + JITTER, (copies, FEATURES))
    targets[base.size :] *= rng.uniform(1 - JITTER, 1 + JITTER, copies)
    return Sample(features, targets, groups, of.features[new], of.targets[new])


def in_groups(of: Population, effect: float, rng: np.random.Generator) -> Sample:
    """Draw rows of groups of uneven size, each with a shift of its own, and rows of others.

    Args:
        of: the population.
        effect: standard deviation of the shifts, on the logarithm, as a share of that of errors.
        rng: moves on.
    """
    order = rng.permutation(of.targets.size)
    learnt = min(LEARNT_BY_FEW, of.targets.size // 2)
    rows, new = order[:learnt], order[learnt:]
    groups = rng.choice(GROUPS, learnt, p=rng.dirichlet(np.full(GROUPS, EVENNESS)))
    shifts = effect * of.log_errors.std() * rng.standard_normal(GROUPS)
    of_new = effect * of.log_errors.std() * rng.standard_normal(new.size)
    return Sample(
        of.features[rows],
        of.targets[rows] * np.exp(shifts[groups]),
        groups,
        of.features[new],
        of.targets[new] * np.exp(of_new),
    )


def clusters(of: Population, count: float, rng: np.random.Generator) -> Sample:
    """Draw rows of some of ``count`` clusters of similar texts; new are all rows of the others."""
    known = np.isin(of.families, rng.permutation(int(count))[:GROUPS])
    rows = rng.permutation(np.flatnonzero(known))[:LEARNT_BY_FEW]
    return Sample(
        of.features[rows],
        of.targets[rows],
        of.families[rows],
        of.features[~known],
        of.targets[~known],
    )


def covered(sample: Sample, rng: np.random.Generator) -> float:
    """Fit, calibrate and predict as a study does for what it serves; count new rows inside."""
    features, targets, groups, new_features, new_targets = sample
    seed = int(rng.integers(1 << 31))

    def fitted(rows: np.ndarray) -> regressor.Regressor:
        return regressor.fit(
            features[rows], targets[rows], TREES, n_trees=ROUNDS, seed=seed, with_line=False
        )

    divided = search.splits(groups, folds=search.FOLDS, seed=seed)
    unseen = [fitted(learn).predict(features[apart]) for learn, apart in divided]
    out_of_fold = search.in_order(divided, unseen, targets.size)
    calibrated = interval.calibrate(features, targets, out_of_fold, groups=groups, seed=seed)
    guesses = fitted(np.arange(targets.size)).predict(new_features)
    low, high = calibrated.bounds(new_features, guesses, calibrated.usual_coverage)
    return float(np.mean((low <= new_targets) & (new_targets <= high)))
