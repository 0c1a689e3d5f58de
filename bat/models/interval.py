"""The range a price lies in: split-conformal, and wider where the predictor is unsure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat.models import regressor, search
from bat.models.regressor import Regressor, Settings
from bat.models.ridge_column import Embeddings

# How far off a prediction is, as a factor, is itself predicted by trees. Shallow and slow ones:
# what there is to learn is faint, and a spread that follows noise makes intervals wider.
SPREAD = Settings(
    max_depth=3, learning_rate=0.05, min_child_weight=20.0, colsample_bytree=0.2, reg_lambda=100.0
)
SPREAD_TREES = 200
COVERAGE = 0.9  # of the interval that is served unless a request asks for another: convention
FOLDS = 5  # convention
FEWEST_GROUPS = 3  # of rows, for which an interval can be made
FLOOR = 0.01  # of a log price: no spread is taken for less than 1 %
SCORES_FILE, SPREAD_FOLDER = "scores.json", "spread"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """What turns a predicted price into an interval; threads may share it."""

    spread: Regressor  # features -> typical size of |log(price / prediction)|
    scores: Floats  # (c,), rising: log(price / prediction) / spread, both out of fold
    independent: float  # rows that they count for, c at most: see ``independent_rows``

    @property
    def most_coverage(self) -> float:
        """The largest share of prices for which the calibration rows can vouch."""
        return most_coverage(self.independent)

    @property
    def usual_coverage(self) -> float:
        """The share that is meant where nobody asks for another."""
        return min(COVERAGE, self.most_coverage)

    def bounds(
        self, features: npt.ArrayLike, predictions: npt.ArrayLike, coverage: float
    ) -> tuple[Floats, Floats]:
        """Give the ends of each price's interval.

        Of new rows drawn like the calibration rows, in groups of their own, about this share lies
        inside, and half of the others on either side. Folds learn from fewer rows than the
        predictor that is served, so that intervals are rather too wide; a study counts what they
        hold on held-out rows.

        Args:
            features: shape (n, dim).
            predictions: n prices, by the predictor that was calibrated.
            coverage: share of the prices that shall lie inside.

        Returns:
            Two arrays of shape (n,): the lower ends, and the upper ends.

        Raises:
            ValueError: the coverage is no share, or more than ``most_coverage``.
        """
        return self.ends(predictions, self.spreads(features), coverage)

    def spreads(self, features: npt.ArrayLike) -> Floats:
        """Predict the typical size of |log(price / prediction)|: features (n, dim) -> (n,)."""
        return _floored(self.spread.predict(features))

    def ends(
        self, predictions: npt.ArrayLike, spreads: npt.ArrayLike, coverage: float
    ) -> tuple[Floats, Floats]:
        """Do the rest of ``bounds``: its ends, or its error, from n predictions and ``spreads``."""
        if not 0 < coverage <= self.most_coverage:
            rows = f"{self.scores.size} calibration rows"
            if self.independent < self.scores.size:
                rows += f" that err in groups, as {self.independent:.0f} independent ones,"
            raise ValueError(
                f"got coverage={coverage}; expected a share above 0 and at most "
                f"{self.most_coverage:.4f}, for which {rows} can vouch"
            )
        at = ranks(self.scores.size, coverage, independent=self.independent)
        low, high = (self.scores[rank - 1] for rank in at)
        prices, widths = np.asarray(predictions, np.float64), np.asarray(spreads, np.float64)
        return prices * np.exp(low * widths), prices * np.exp(high * widths)


def most_coverage(independent: float) -> float:
    """Tell the largest share of prices for which so many independent rows can vouch."""
    return 1 - 2 / (independent + 1)


def ranks(n: int, coverage: float, *, independent: float | None = None) -> tuple[int, int]:
    """Number, from 1, the scores at the ends of the interval.

    Of n independent rows the next one is equally likely in each of n + 1 gaps, so that the share
    of rows outside is less than that of new ones. Where rows count for fewer, it is less by as much
    as among so many: an end that is found with variance v lets a share of new rows pass that is
    larger by half of what v changes with that share, here p (1 - p) / independent. Rounded
    outwards, after taking off what binary fractions add.

    Args:
        n: scores.
        coverage: share of new rows that shall lie between the ends.
        independent: rows that the scores count for; n where left out, and at most.
    """
    tail = (1 - coverage) / 2
    outside = n * (tail - (0.5 - tail) / (independent or n)) - 0.5  # (n + 1) tail - 1 of n alone
    low = 1 + max(0, math.floor(outside + 1e-9))
    return low, n + 1 - low


def independent_rows(scores: Floats, groups: npt.NDArray[np.integer[Any]]) -> float:
    """Count the independent rows that would know the ends of the usual interval as well.

    Where rows of one group lie outside together, their share says how some groups fared more than
    how rows do. Its variance over groups is compared with that of rows drawn one by one. Without
    this, 90 % intervals held 82 to 88 % of rows of new groups where 12 groups shift their rows by
    as much as rows scatter; with it 88 to 91 %, and the same as before where groups shift nothing.

    Args:
        scores: of the rows, shape (n,).
        groups: of the rows, shape (n,).

    Returns:
        From the number of groups, large ones counted for more (Kish), to n.

    Source:
        Design effect: Kish 1965, "Survey sampling", section 8.2. Ranks that count groups: Dunn,
        Wasserman and Ramdas 2022, "Distribution-free prediction sets for two-layer hierarchical
        models", which counts each group for one row however little its rows have in common.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    n, k = scores.size, sizes.size
    if k == n:
        return float(n)
    together = alone = 0.0
    low, high = np.sort(scores)[np.array(ranks(n, COVERAGE)) - 1]
    for outside in (scores <= low, scores >= high):
        apart = outside - outside.mean()
        together += np.square(np.bincount(group, apart)).sum() * k / (k - 1)
        alone += np.square(apart).sum() * n / (n - 1)
    effect = max(1.0, together / alone) if alone else 1.0
    return float(max(n / effect, n**2 / np.square(sizes).sum()))


def _floored(spreads: Floats) -> Floats:
    """Take no spread for less than the floor."""
    return np.maximum(spreads, FLOOR)


def calibrate(
    features: npt.ArrayLike,
    prices: npt.ArrayLike,
    out_of_fold: npt.ArrayLike,
    *,
    groups: npt.ArrayLike,
    seed: int,
) -> Calibrated:
    """Learn where predictions are unsure, and how much, from what folds predicted for unseen rows.

    The size of a row's error is predicted by trees that have not seen the row either, so that each
    row vouches for the interval as a new one would.

    Args:
        features: of the rows, shape (n, dim); of a pair the embedding.
        prices: theirs.
        out_of_fold: predictions for them by predictors that have not seen them, shape (n,); NaN
            where there is none.
        groups: n integers; rows of one group err together, and stay in one fold.
        seed: of the folds and the trees.

    Raises:
        ValueError: there are fewer than three groups of rows with a prediction.

    Source:
        Papadopoulos et al. 2008, "Normalized nonconformity measures for regression conformal
        prediction"; Lei et al. 2018, section 5.2. Both tails apart: Linusson et al. 2014. Out of
        fold: the jackknife of Barber et al. 2021, "Predictive inference with the jackknife+", with
        folds in place of single rows.
    """
    guesses = np.asarray(out_of_fold, np.float64)
    known = np.isfinite(guesses)
    rows, truth = np.asarray(features, np.float32)[known], np.asarray(prices, np.float64)[known]
    together = np.asarray(groups)[known]
    count = np.unique(together).size
    if count < FEWEST_GROUPS:
        raise ValueError(f"got {count} groups of calibration rows; expected at least 3")
    rows, truth = regressor.checked(rows, truth)
    errors = np.log(truth / guesses[known])
    scales = np.empty(truth.size)
    for learn, apart in search.splits(together, folds=min(FOLDS, count), seed=seed):
        scales[apart] = _floored(_spread(rows[learn], errors[learn], seed).predict(rows[apart]))
    scores = errors / scales
    independent = independent_rows(scores, together)
    return Calibrated(_spread(rows, errors, seed), np.sort(scores), independent)


def _spread(rows: Embeddings, errors: Floats, seed: int) -> Regressor:
    """Fit the trees that predict how far off a prediction is, (n, dim) and (n,)."""
    away = _floored(np.abs(errors))
    return regressor.fit(rows, away, SPREAD, n_trees=SPREAD_TREES, seed=seed, with_line=False)


def save(calibrated: Calibrated, folder: Path) -> None:
    """Write the spread's trees and the scores; ``load`` gives the same intervals."""
    regressor.save(calibrated.spread, folder / SPREAD_FOLDER)
    told = {"scores": calibrated.scores.tolist(), "independent": calibrated.independent}
    (folder / SCORES_FILE).write_text(json.dumps(told) + "\n")


def load(folder: Path) -> Calibrated:
    """Read what ``save`` wrote, today or in version 0.1, which took every row for independent.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        told: Any = json.loads((folder / SCORES_FILE).read_text())
        if isinstance(told, list):
            told = {"scores": told, "independent": len(told)}
        scores, independent = np.asarray(told["scores"], np.float64), float(told["independent"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"got no scores in {folder}: {error}; expected {SCORES_FILE}, as save() writes it"
        ) from None
    return Calibrated(regressor.load(folder / SPREAD_FOLDER), scores, independent)
