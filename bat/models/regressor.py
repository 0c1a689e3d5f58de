"""Trees that turn an embedding into a price: fit, cross-validate, predict, save, load."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xgboost

from bat.models import ridge_column
from bat.models.ridge_column import Columns, Embeddings, Floats, Line

# Bins a feature, the same for every search. Measured on MiniLM embeddings of 2,500 auctions, one
# setting, three folds: mean absolute error 17,920 at 16 bins, 17,939 at 32, 18,000 at 64, 17,860
# at 256 (seeds differ by 1 %), in 5.6, 6.4, 9.6 and 45.6 seconds.
MAX_BIN = 32
# Trees a round of the final fit. On 1,500 rows of two real corpora, 700 rounds at rate 0.15: R² of
# log price 0.326 and 0.541 with one tree (seeds differ by 0.008 and 0.004), 0.343 and 0.552 with
# four (by 0.001); four times the rounds with smaller steps are no better.
FOREST = 4
CHECK_TREES = 5  # trees between two looks at the held-out error: convention
CHUNK_TREES = 20  # trees that a fold grows before it waits for the other folds: convention
MAD_TO_MEAN = 1e-9  # a median deviation below this share of the mean one counts as zero

TREES_FILE = "regressor.ubj"
VALUES_FILE = "regressor.json"

OBJECTIVES = {
    "squared": "reg:squarederror",
    "absolute": "reg:absoluteerror",
    "pseudo_huber": "reg:pseudohubererror",
}
TARGETS = ("price", "log_price")


@dataclass(frozen=True)
class Settings:
    """What a search may choose; the defaults suit an embedding of some thousand rows.

    Losses act on the target in units of its median absolute deviation: pseudo-Huber with its slope
    of 1 turns from squared to absolute there, and not at one price unit.
    """

    max_depth: int = 4
    learning_rate: float = 0.1
    min_child_weight: float = 5.0
    subsample: float = 0.8
    colsample_bytree: float = 0.2
    reg_lambda: float = 10.0
    target: Literal["price", "log_price"] = "log_price"
    loss: Literal["squared", "absolute", "pseudo_huber"] = "squared"

    def __post_init__(self) -> None:
        """Refuse what XGBoost would refuse later, or silently bend."""
        if self.target not in TARGETS or self.loss not in OBJECTIVES:
            raise ValueError(
                f"got target={self.target!r}, loss={self.loss!r}; expected a target of {TARGETS} "
                f"and a loss of {tuple(OBJECTIVES)}"
            )
        shares = (self.learning_rate, self.subsample, self.colsample_bytree)
        weights = (self.min_child_weight, self.reg_lambda)
        if not all(0 < share <= 1 for share in shares) or min(weights) < 0 or self.max_depth < 1:
            raise ValueError(
                f"got {self}; expected learning_rate, subsample and colsample_bytree in (0, 1], "
                "min_child_weight and reg_lambda not negative, max_depth at least 1"
            )


@dataclass(frozen=True)
class Scaling:
    """How a price becomes the number that trees learn, and back."""

    log: bool
    centre: float  # median of the (log) training prices
    scale: float  # their median absolute deviation from it
    floor: float  # the smallest training price: no prediction is below it


@dataclass(frozen=True)
class Regressor:
    """Prices for embeddings; ``fit`` or ``load`` makes one, and threads may share it."""

    booster: Any
    line: Line | None  # none where trees do without, and in those that older versions saved
    settings: Settings
    scaling: Scaling
    smear: float
    n_trees: int
    dim: int

    def predict(self, embeddings: npt.ArrayLike) -> Floats:
        """Predict one price a row, always finite and at least the smallest training price.

        On log prices the trees predict a median (of a mean, ``smear`` makes the difference).

        Args:
            embeddings: shape (n, dim), finite; where trees do without a line, NaN stands for a
                number that a row lacks.

        Returns:
            float64, shape (n,).

        Raises:
            ValueError: the width is not that of training, or a value is not finite.
        """
        rows = _checked_embeddings(embeddings, with_gaps=self.line is None)
        if rows.shape[1] != self.dim:
            raise ValueError(f"got embeddings of width {rows.shape[1]}; expected {self.dim}")
        if not len(rows):
            return np.empty(0)
        seen = rows if self.line is None else self.line.append_to(rows)
        margins = self.booster.inplace_predict(seen, predict_type="margin")
        return np.maximum(_prices(margins, self.scaling) * self.smear, self.scaling.floor)


@dataclass(frozen=True)
class Fold:
    """One division into rows to learn from and rows held out, binned once for all trials."""

    train: Any
    valid: Any
    train_prices: Floats
    valid_prices: Floats


@dataclass(frozen=True)
class CrossValidated:
    """What held-out rows say about one choice of settings."""

    n_trees: int  # the number that is best for all folds together
    mae: float  # over all held-out rows, in price units, at that number
    grown: int  # trees grown in each fold to find it: the cost
    predictions: list[Floats]  # one array a fold, at that number, unsmeared


def fit(
    embeddings: npt.ArrayLike,
    prices: npt.ArrayLike,
    settings: Settings,
    *,
    n_trees: int,
    seed: int,
    smear: float = 1.0,
    forest: int = 1,
    with_line: bool = True,
) -> Regressor:
    """Fit trees to every row given; how many trees was found before, on held-out rows.

    Args:
        embeddings: float32, shape (n, dim).
        prices: n positive prices.
        settings: for instance those that a search found.
        n_trees: boosting rounds.
        seed: of the sampling of rows and columns; same seed, same bits on one machine's CPU.
        smear: factor on every prediction. On log prices trees predict a median; Duan's factor,
            from held-out rows (``duan``), makes it a mean. 1 leaves the median.
        forest: trees a round, each on its own sample of rows and columns; their mean is the step.
        with_line: let the trees see the column of ``Line``. Without it, NaN stands for a number
            that a row lacks.

    Raises:
        ValueError: shapes disagree, a value is not finite, a price is not positive.
    """
    rows, truth = checked(embeddings, prices, with_gaps=not with_line)
    least = min(n_trees, forest)
    if isinstance(smear, bool) or not (np.isfinite(smear) and smear > 0) or least < 1:
        raise ValueError(
            f"got n_trees={n_trees}, forest={forest}, smear={smear}; expected at least one tree "
            "and a positive factor (1.0 for no smearing)"
        )
    scaling = _scaling(truth, settings)
    line, seen = None, rows
    if with_line:
        line, unseen = ridge_column.fit(rows, truth)
        seen = ridge_column.append(rows, unseen)
    data = xgboost.QuantileDMatrix(seen, _targets(truth, scaling), max_bin=MAX_BIN)
    chosen = _parameters(settings, seed, cores()) | {"num_parallel_tree": forest}
    booster = xgboost.train(chosen, data, num_boost_round=n_trees)
    return Regressor(booster, line, settings, scaling, float(smear), n_trees, rows.shape[1])


def duan(prices: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Estimate the factor that turns a predicted median into a mean: the mean of price / median.

    Give it held-out rows: residuals of rows that the trees have seen are too small.

    Source:
        Duan 1983, "Smearing estimate: a nonparametric retransformation method".
    """
    ratio = np.asarray(prices, np.float64) / np.asarray(predictions, np.float64)
    return float(ratio.mean())


def fold(
    embeddings: Embeddings,
    prices: Floats,
    train: npt.NDArray[np.intp],
    valid: npt.NDArray[np.intp],
    columns: Columns | None = None,
) -> Fold:
    """Bin the rows of one fold; held-out rows take the bins of the training rows.

    Args:
        embeddings: float32, shape (n, dim).
        prices: n positive prices.
        train: row numbers to learn from.
        valid: row numbers held out.
        columns: that are learnt from the training rows; that of ``Line`` if left out.
    """
    columns = columns or ridge_column.columns(embeddings, prices)
    seen, unseen = (
        ridge_column.append(embeddings[of], numbers)
        for of, numbers in zip((train, valid), columns(train, valid), strict=True)
    )
    rows = xgboost.QuantileDMatrix(seen, max_bin=MAX_BIN)
    held_out = xgboost.QuantileDMatrix(unseen, max_bin=MAX_BIN, ref=rows)
    return Fold(rows, held_out, prices[train], prices[valid])


def cross_validate(
    folds: Sequence[Fold],
    settings: Settings,
    *,
    seed: int,
    most_trees: int,
    patience: int,
    go_on: Callable[[int, float], bool] = lambda trees, mae: True,
) -> CrossValidated:
    """Grow all folds side by side until their mean held-out error stops falling.

    One number of trees serves all folds, so that the error is the one that this number earns; a
    best number for each fold would flatter it. Folds run in threads of their own, which beats
    several threads in one small fold, most of all on a busy machine.

    Args:
        folds: not in use by another call, since labels are set on them.
        settings: of the trees.
        seed: as for ``fit``.
        most_trees: where to stop at the latest.
        patience: trees without a better mean error after which to stop.
        go_on: asked after each chunk with the trees so far and the best error; False stops.
    """
    threads = max(1, cores() // len(folds))
    sizes = [each.valid_prices.size for each in folds]
    with ThreadPoolExecutor(min(len(folds), cores())) as pool:
        plants = list(pool.map(lambda each: _plant(each, settings, seed, threads), folds))
        paths: list[float] = []
        grown, best = 0, 0
        while grown < most_trees and grown - (best + 1) * CHECK_TREES < patience:
            grow = functools.partial(_grow, first=grown, last=min(grown + CHUNK_TREES, most_trees))
            paths.extend(np.average(list(pool.map(grow, plants)), axis=0, weights=sizes))
            grown, best = min(grown + CHUNK_TREES, most_trees), int(np.argmin(paths))
            if not go_on(grown, paths[best]):
                break
        n_trees = min((best + 1) * CHECK_TREES, grown)
        held_out = list(pool.map(lambda plant: _held_out(plant, n_trees), plants))
    return CrossValidated(n_trees, float(paths[best]), grown, held_out)


def save(regressor: Regressor, folder: Path) -> None:
    """Write two files, the trees and a small JSON; ``load`` gives the same bits."""
    folder.mkdir(parents=True, exist_ok=True)
    regressor.booster.save_model(folder / TREES_FILE)
    values = {
        "settings": asdict(regressor.settings),
        "scaling": asdict(regressor.scaling),
        "smear": regressor.smear,
        "n_trees": regressor.n_trees,
        "dim": regressor.dim,
    }
    if regressor.line is not None:
        values["line"] = [*regressor.line.weights.tolist(), regressor.line.offset]
    (folder / VALUES_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Regressor:
    """Read what ``save`` wrote.

    Raises:
        ValueError: a file is missing, damaged, or does not belong to the other.
    """
    try:
        values = json.loads((folder / VALUES_FILE).read_text(encoding="utf-8"))
        settings, scaling = Settings(**values["settings"]), Scaling(**values["scaling"])
        booster = xgboost.Booster(model_file=folder / TREES_FILE)
        # Two threads wait for each other at the end of each call: a row of a request took 16 ms
        # while other threads were busy, and 0.6 ms on one thread. Encoding takes far longer anyway.
        booster.set_param({"device": device(), "nthread": 1})
        line = values.get("line")
        loaded = Regressor(
            booster,
            line and Line(np.array(line[:-1], np.float64), float(line[-1])),
            settings,
            scaling,
            values["smear"],
            values["n_trees"],
            values["dim"],
        )
    except (OSError, KeyError, TypeError, ValueError, xgboost.core.XGBoostError) as error:
        raise ValueError(
            f"got no regressor in {folder}: {str(error).splitlines()[0]}; expected {TREES_FILE} "
            f"and {VALUES_FILE}, as save() writes them"
        ) from None
    found = (booster.num_boosted_rounds(), booster.num_features())
    if loaded.line is not None and loaded.line.weights.shape != (loaded.dim,):
        raise ValueError(
            f"got a line of {loaded.line.weights.size} weights in {folder / VALUES_FILE}; expected "
            f"{loaded.dim}"
        )
    expected = (loaded.n_trees, loaded.dim + (loaded.line is not None))
    if found != expected:
        raise ValueError(
            f"got {found} trees and features in {folder / TREES_FILE}; expected "
            f"{expected}, as {VALUES_FILE} says"
        )
    return loaded


def cores() -> int:
    """Count the processor cores that this process may use: as told (OpenMP's way), or as found."""
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def device() -> str:
    """Name where trees grow: ``cuda`` if XGBoost has it and sees a GPU, else ``cpu``."""
    with xgboost.config_context(verbosity=0):  # else it warns that it falls back
        asked = xgboost.Booster({"device": "cuda", "num_feature": 1})
        given = json.loads(asked.save_config())["learner"]["generic_param"]["device"]
    return "cuda" if str(given).startswith("cuda") else "cpu"


def _checked_embeddings(embeddings: npt.ArrayLike, *, with_gaps: bool = False) -> Embeddings:
    """Return embeddings as float32 (n, dim), or say what is wrong."""
    rows = np.asarray(embeddings, dtype=np.float32)
    finite = bool((np.isfinite(rows) | (with_gaps & np.isnan(rows))).all())
    if rows.ndim != 2 or not finite:
        raise ValueError(
            f"got embeddings of shape {rows.shape}, finite: {finite}; expected shape (n, dim), "
            "all finite"
        )
    return rows


def checked(
    embeddings: npt.ArrayLike, prices: npt.ArrayLike, *, with_gaps: bool = False
) -> tuple[Embeddings, Floats]:
    """Return rows to learn from as float32 (n, dim) and float64 (n,).

    Args:
        embeddings: shape (n, dim).
        prices: n of them.
        with_gaps: let NaN stand for a number that a row lacks.

    Raises:
        ValueError: shapes disagree, a value is not finite, a price is not positive.
    """
    rows = _checked_embeddings(embeddings, with_gaps=with_gaps)
    truth = np.asarray(prices, dtype=np.float64)
    if truth.shape != rows.shape[:1] or not len(rows):
        raise ValueError(
            f"got {rows.shape} embeddings and prices of shape {truth.shape}; expected one price "
            "a row, and at least one row"
        )
    if not (np.isfinite(truth).all() and truth.min() > 0):
        raise ValueError(f"got prices from {truth.min()}; expected finite prices above 0")
    return rows, truth


def _scaling(prices: Floats, settings: Settings) -> Scaling:
    """Choose centre and scale from training prices alone."""
    log = settings.target == "log_price"
    values = np.log(prices) if log else prices
    centre = float(np.median(values))
    away = np.abs(values - centre)
    scale = float(np.median(away))
    if scale <= MAD_TO_MEAN * away.mean():  # most prices are equal
        scale = float(away.mean()) or 1.0
    return Scaling(log, centre, scale, float(prices.min()))


def _targets(prices: Floats, scaling: Scaling) -> Floats:
    """Turn prices into what trees learn."""
    return ((np.log(prices) if scaling.log else prices) - scaling.centre) / scaling.scale


def _prices(margins: npt.NDArray[np.float32], scaling: Scaling) -> Floats:
    """Turn what trees predict into prices, at least the smallest training price."""
    values = margins.astype(np.float64) * scaling.scale + scaling.centre
    return np.maximum(np.exp(values) if scaling.log else values, scaling.floor)


def _parameters(settings: Settings, seed: int, threads: int) -> dict[str, Any]:
    """Name settings in XGBoost's words."""
    chosen = asdict(settings)
    del chosen["target"]
    return {
        **chosen,
        "objective": OBJECTIVES[chosen.pop("loss")],
        "base_score": 0.0,  # targets are centred
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        "device": device(),
        "nthread": threads,
        "seed": seed,
        # XGBoost draws from a generator of the thread that calls it. Seeded once, boosters that
        # take turns on threads would draw from each other's numbers.
        "seed_per_iteration": True,
        "verbosity": 0,
    }


def _plant(each: Fold, settings: Settings, seed: int, threads: int) -> tuple[Any, Fold, Scaling]:
    """Make a booster without trees for one fold."""
    scaling = _scaling(each.train_prices, settings)
    each.train.set_label(_targets(each.train_prices, scaling))
    parameters = _parameters(settings, seed, threads)
    return xgboost.Booster(parameters, [each.train, each.valid]), each, scaling


def _grow(plant: tuple[Any, Fold, Scaling], first: int, last: int) -> list[float]:
    """Grow trees first to last; the held-out error after each few of them."""
    booster, each, scaling = plant
    path = []
    for tree in range(first, last):
        booster.update(each.train, tree)
        if (tree + 1) % CHECK_TREES == 0 or tree + 1 == last:
            guesses = _prices(booster.predict(each.valid, output_margin=True), scaling)
            path.append(float(np.mean(np.abs(guesses - each.valid_prices))))
    return path


def _held_out(plant: tuple[Any, Fold, Scaling], n_trees: int) -> Floats:
    """Predict the held-out rows with the first trees alone."""
    booster, each, scaling = plant
    margins = booster.predict(each.valid, output_margin=True, iteration_range=(0, n_trees))
    return _prices(margins, scaling)
