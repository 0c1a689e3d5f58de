"""Optuna search of the trees' settings for one embedding: the same effort for every embedding."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna

from bat.models import regressor, ridge_column
from bat.models.regressor import CrossValidated, Fold, Regressor, Settings
from bat.models.ridge_column import Columns, Embeddings

FOLDS = 4
TRIALS = 30

# Screening: every trial on two folds, with few and large steps. Measured on 16 random settings
# (2,000 auctions): Spearman correlation 0.86 with all four folds at rate 0.08 and 700 trees, at a
# tenth of the time; 0.78 with 40 trees, 0.71 with 100 trees at rate 0.2. (reg_lambda up to 100
# there; beyond it trees start more slowly, so screening may underrate them.)
SCREEN_FOLDS = 2
SCREEN_ROWS = 8000  # training rows a fold at most: screening does not grow with the corpus
SCREEN_RATE, SCREEN_TREES, SCREEN_PATIENCE, SCREEN_WARMUP = 0.3, 100, 40, 60

# Finals: the best tenth on all folds and rows, with smaller steps and more trees. Strong reg_lambda
# stands in for smaller steps still: 2,500 auctions, depth 4, error 17,253 at rate 0.1 with
# reg_lambda 50, 17,062 at rate 0.2 with 1,000, 16,984 at rate 0.1 with 300 (1,000 trees each).
FINAL_SHARE = 10
FINAL_RATE, FINAL_TREES, FINAL_PATIENCE = 0.15, 700, 60

# (target, loss) worth their time: the absolute loss was slower and worse than pseudo-Huber.
AIMS = ("log_price squared", "log_price pseudo_huber", "price pseudo_huber")

# Tried first, for every embedding: from shallow to deep, each aim at least once.
SEARCHED = ("aim", "max_depth", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda")
FIRST = (
    (AIMS[0], 4, 3.0, 0.8, 0.2, 300.0),
    (AIMS[1], 3, 10.0, 0.9, 0.2, 50.0),
    (AIMS[2], 4, 3.0, 0.8, 0.2, 100.0),
    (AIMS[0], 6, 10.0, 0.8, 0.1, 30.0),
)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Found:
    """The best settings for one embedding, ready for ``fit``, and how they were found."""

    settings: Settings
    # Best for all folds together. Not scaled up for the rows that a fold held out: whether that
    # would help was not measured.
    n_trees: int
    smear: float  # the factor for ``regressor.fit``; 1.0 where Duan's did not lower the error
    mae: float  # cross-validated, in price units
    # (n,), what trees that have not seen a row predict for it; NaN for rows no fold holds out
    out_of_fold: Floats
    trials: list[dict[str, Any]]  # one flat row each, in the order they ran


@dataclass(frozen=True)
class _Log:
    """The table of trials, and whom to tell of the next row."""

    table: list[dict[str, Any]]
    total: int
    progress: Callable[[int, int, float], None] | None

    def note(
        self, rung: str, state: str, settings: Settings, outcome: CrossValidated, seconds: float
    ) -> None:
        """Add one trial."""
        self.table.append(
            {"number": len(self.table), "rung": rung, "state": state, "value": outcome.mae}
            | {"n_trees": outcome.n_trees, "grown": outcome.grown, "seconds": seconds}
            | dataclasses.asdict(settings)
        )
        if self.progress is not None:
            best = min(row["value"] for row in self.table if row["rung"] == rung)
            self.progress(len(self.table), self.total, best)


def search(
    embeddings: npt.ArrayLike,
    prices: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    times: npt.ArrayLike | None = None,
    columns: Columns | None = None,
    trials: int = TRIALS,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Found:
    """Find the settings with the least cross-validated mean absolute error, in price units.

    Two rungs, whose cost is bounded in trees and rows, never in seconds, so that equal input and
    seed give an equal result: ``screen`` tries every configuration cheaply, ``final`` takes the
    best tenth to all folds and rows, the first configuration always among them. Folds, first
    configurations and budget depend on nothing but the arguments: embeddings compare fairly.

    Args:
        embeddings: float32, shape (n, dim).
        prices: n positive prices.
        groups: n integers; rows of one group (say, of one text) stay in one fold.
        times: as for ``splits``.
        columns: as for ``regressor.fold``; with them NaN stands for a number that a row lacks.
        trials: configurations to screen.
        folds: parts that take turns as held-out rows.
        seed: of the folds, of Optuna's sampler and of the trees.
        progress: called after every trial with (done, total, best error of this rung so far).

    Returns:
        ``trials`` has a row for each trial of each rung: number, rung, state (complete or pruned),
        value, n_trees, grown (trees paid for), seconds, the settings.

    Raises:
        ValueError: embeddings or prices are refused by ``regressor.fit``, or there are fewer
            groups than folds.
    """
    rows, truth = regressor.checked(embeddings, prices, with_gaps=columns is not None)
    together = np.arange(len(rows)) if groups is None else np.asarray(groups)
    if together.shape != truth.shape or trials < 1:
        raise ValueError(
            f"got {together.size} groups for {truth.size} rows, trials={trials}; expected one "
            "group a row and at least one trial"
        )
    divided = splits(together, folds=folds, seed=seed, times=times)
    finalists = count_finalists(trials)
    log = _Log([], trials + finalists, progress)
    few, whole = _binned(rows, truth, divided, columns)
    with _quiet_optuna():
        screened = _screen(few, trials, seed, log)
    settings, outcome = _final(whole, _finalists(screened, finalists), seed, log)
    smear, mae = _smearing(whole, outcome, settings)
    unseen = in_order(divided, outcome.predictions, len(rows)) * smear
    return Found(settings, outcome.n_trees, smear, mae, unseen, log.table)


def count_finalists(trials: int) -> int:
    """Tell how many of so many screened settings go on to the finals."""
    return min(trials, max(2, math.ceil(trials / FINAL_SHARE)))


def fit(
    found: Found,
    embeddings: npt.ArrayLike,
    prices: npt.ArrayLike,
    *,
    seed: int,
    columns: Columns | None = None,
) -> Regressor:
    """Fit the regressor of a search to all its rows, ``regressor.FOREST`` trees a round.

    With ``columns`` it predicts from rows that have their numbers behind them.

    Args:
        found: what ``search`` returned for these rows.
        embeddings: float32, shape (n, dim).
        prices: n positive prices.
        seed: as for ``regressor.fit``, whose errors are raised here too.
        columns: those of the search.
    """
    rows = np.asarray(embeddings, np.float32)
    if columns is not None:
        everything = np.arange(len(rows))
        rows = ridge_column.append(rows, columns(everything, everything[:0])[0])
    return regressor.fit(
        rows,
        prices,
        found.settings,
        n_trees=found.n_trees,
        forest=regressor.FOREST,
        seed=seed,
        smear=found.smear,
        with_line=columns is None,
    )


def assign_folds(groups: int | npt.ArrayLike, *, folds: int, seed: int) -> Rows:
    """Give every row a fold, so that rows of one group share it and folds are of equal size.

    scikit-learn's GroupKFold either takes no seed or, shuffled, deals out groups whatever their
    sizes: 200 to 2,819 rows a fold where these are of 742 to 1,774 (docs/LOG.md).

    Args:
        groups: n integers, or n itself where every row is its own group.
        folds: at least 2.
        seed: of the order in which groups of one size are dealt out.

    Returns:
        Shape (n,), numbers from 0 to folds - 1.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    ids = np.arange(groups) if isinstance(groups, int) else np.asarray(groups)
    _, group, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    if folds < 2 or sizes.size < folds:
        raise ValueError(
            f"got {sizes.size} groups and folds={folds}; expected at least 2 folds, and a group "
            "for each"
        )
    order = np.random.default_rng(seed).permutation(sizes.size)
    filled = [(0, part) for part in range(folds)]
    fold_of = np.empty(sizes.size, dtype=np.intp)
    for each in order[np.argsort(-sizes[order], kind="stable")]:  # large groups first
        rows, part = filled[0]
        fold_of[each] = part
        heapq.heapreplace(filled, (rows + int(sizes[each]), part))
    return fold_of[group]


def splits(
    groups: int | npt.ArrayLike, *, folds: int, seed: int, times: npt.ArrayLike | None = None
) -> list[tuple[Rows, Rows]]:
    """List the rows to learn from and those held out, fold by fold.

    Args:
        groups: as for ``assign_folds``.
        folds: at least 2.
        seed: of the folds, and of the order of rows in each.
        times: n numbers; then each fold learns from the past and holds out what comes next, and
            the earliest rows are held out by none. A group stands where its latest row does.
            Rows of one time stay together, unless too few times are left for the folds.

    Returns:
        Row numbers, (train, held out) for each fold.

    Raises:
        ValueError: there are too few groups for the folds.
    """
    if times is None:
        parts = assign_folds(groups, folds=folds, seed=seed)
        order = np.random.default_rng(seed).permutation(parts.size)
        return [(order[parts[order] != k], order[parts[order] == k]) for k in range(folds)]
    ids = np.arange(groups) if isinstance(groups, int) else np.asarray(groups)
    parts = _along_time(ids, np.asarray(times), folds + 1)
    order = np.random.default_rng(seed).permutation(parts.size)
    return [(order[parts[order] < k], order[parts[order] == k]) for k in range(1, folds + 1)]


def _along_time(groups: Rows, times: npt.NDArray[Any], blocks: int) -> Rows:
    """Cut rows into blocks of about one size that follow each other in time; (n,), from 0."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.size < blocks:
        raise ValueError(
            f"got {sizes.size} groups and {blocks} blocks in time; expected a group for each"
        )
    latest = np.full(sizes.size, times.min())
    np.maximum.at(latest, group, times)
    order = np.argsort(latest, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]  # rows
    at_once = before[np.searchsorted(latest[order], latest[order])]  # the same for one time
    ways = (at_once * blocks // len(group), before * blocks // len(group))
    # Where one time, or one group, has so many rows that a block would stay empty.
    by_groups = np.arange(sizes.size) * blocks // sizes.size
    block_of = np.empty(sizes.size, np.intp)
    block_of[order] = next((way for way in ways if np.unique(way).size == blocks), by_groups)
    return block_of[group]


def in_order(divided: list[tuple[Rows, Rows]], predictions: list[Floats], n: int) -> Floats:
    """Put the predictions of each fold's held-out rows where these rows stand: (n,), else NaN."""
    found = np.full(n, np.nan)
    for (_, valid), guesses in zip(divided, predictions, strict=True):
        found[valid] = guesses
    return found


def _binned(
    rows: Embeddings,
    prices: Floats,
    divided: list[tuple[Rows, Rows]],
    columns: Columns | None = None,
) -> tuple[list[Fold], list[Fold]]:
    """Bin the folds for screening and those for the finals; a small corpus shares them."""
    fold = partial(regressor.fold, rows, prices, columns=columns)
    whole = [fold(train, valid) for train, valid in divided]
    if max(train.size for train, _ in divided) <= SCREEN_ROWS:
        return whole[-SCREEN_FOLDS:], whole
    few = [
        fold(train[:SCREEN_ROWS], valid[:SCREEN_ROWS]) for train, valid in divided[-SCREEN_FOLDS:]
    ]
    return few, whole


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna from writing a line a trial, and leave its setting as it was."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _suggest(trial: optuna.Trial) -> Settings:
    """Ask Optuna for one configuration."""
    target, _, loss = trial.suggest_categorical("aim", AIMS).partition(" ")
    return Settings(
        max_depth=trial.suggest_int("max_depth", 2, 6),
        learning_rate=SCREEN_RATE,
        min_child_weight=trial.suggest_float("min_child_weight", 1, 50, log=True),
        subsample=trial.suggest_float("subsample", 0.5, 1),
        colsample_bytree=trial.suggest_float("colsample_bytree", 0.05, 0.4, log=True),
        reg_lambda=trial.suggest_float("reg_lambda", 1, 1000, log=True),
        target=target,
        loss=loss,
    )


def _screen(
    folds: list[Fold], trials: int, seed: int, log: _Log
) -> list[tuple[float, int, Settings]]:
    """Try every configuration cheaply; return error, number and settings of each."""
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_warmup_steps=SCREEN_WARMUP))
    for first in FIRST:
        study.enqueue_trial(dict(zip(SEARCHED, first, strict=True)))
    ranked: list[tuple[float, int, Settings]] = []
    for number in range(trials):
        # A sampler for each trial: what it draws follows from the seed and the trials before.
        draw = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=draw)
        trial, start = study.ask(), time.perf_counter()
        settings = _suggest(trial)
        outcome = regressor.cross_validate(
            folds,
            settings,
            seed=seed,
            most_trees=SCREEN_TREES,
            patience=SCREEN_PATIENCE,
            go_on=partial(_promising, trial),
        )
        pruned = outcome.grown < SCREEN_TREES and trial.should_prune()
        if pruned:  # its value is the last error reported
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, outcome.mae)
        ranked.append((outcome.mae, number, settings))
        state = "pruned" if pruned else "complete"
        log.note("screen", state, settings, outcome, time.perf_counter() - start)
    return ranked


def _finalists(ranked: list[tuple[float, int, Settings]], wanted: int) -> list[Settings]:
    """Take the best of screening, and the first configuration in any case.

    Screening is noisy; with the first one among them, no search ends with a larger
    cross-validated error than that fixed choice has.
    """
    best = [number for _, number, _ in sorted(ranked, key=lambda each: each[:2])[:wanted]]
    if 0 not in best:
        best[-1] = 0
    return [ranked[number][2] for number in best]


def _promising(trial: optuna.Trial, trees: int, mae: float) -> bool:
    """Tell Optuna of the error so far; False when most trials were better by then."""
    trial.report(mae, trees)
    return not trial.should_prune()


def _final(
    folds: list[Fold], finalists: list[Settings], seed: int, log: _Log
) -> tuple[Settings, CrossValidated]:
    """Grow every finalist on all folds and rows; return the best.

    None is stopped for being behind another: strong reg_lambda starts slowly and ends well.
    """
    done: list[tuple[Settings, CrossValidated]] = []
    for finalist in finalists:
        start = time.perf_counter()
        settings = dataclasses.replace(finalist, learning_rate=FINAL_RATE)
        outcome = regressor.cross_validate(
            folds, settings, seed=seed, most_trees=FINAL_TREES, patience=FINAL_PATIENCE
        )
        done.append((settings, outcome))
        log.note("final", "complete", settings, outcome, time.perf_counter() - start)
    return min(done, key=lambda each: each[1].mae)


def _smearing(
    folds: list[Fold], outcome: CrossValidated, settings: Settings
) -> tuple[float, float]:
    """Choose between a predicted median and mean by the error on held-out rows.

    The factor is estimated on the rows that judge it: one number for all of them, so the flattery
    is negligible. Only log prices have one; a price predicted directly is what its loss makes it.
    """
    if settings.target != "log_price":
        return 1.0, outcome.mae
    truth = np.concatenate([each.valid_prices for each in folds])
    guesses = np.concatenate(outcome.predictions)
    factor = regressor.duan(truth, guesses)
    smeared = float(np.mean(np.abs(truth - guesses * factor)))
    return (factor, smeared) if smeared < outcome.mae else (1.0, outcome.mae)
