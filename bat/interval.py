"""The range a price lies in: split-conformal, and wider where the regressor is unsure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import regressor
from bat.regressor import Regressor, Settings

# How far off a prediction is, as a factor, is itself predicted by trees. Shallow and slow ones:
# what there is to learn is faint, and a spread that follows noise makes intervals wider.
SPREAD = Settings(
    max_depth=3, learning_rate=0.05, min_child_weight=20.0, colsample_bytree=0.2, reg_lambda=100.0
)
SPREAD_TREES = 200
COVERAGE = 0.9  # of the interval that is served unless a request asks for another: convention
FLOOR = 0.01  # of a log price: no spread is taken for less than 1 %
SCORES_FILE, SPREAD_FOLDER = "scores.json", "spread"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """What turns a predicted price into an interval; threads may share it."""

    spread: Regressor  # embedding -> typical size of |log(price / prediction)|
    scores: Floats  # (c,), rising: log(price / prediction) / spread of the calibration rows

    @property
    def most_coverage(self) -> float:
        """The largest share of prices for which the calibration rows can vouch."""
        return 1 - 2 / (self.scores.size + 1)

    @property
    def usual_coverage(self) -> float:
        """The share that is meant where nobody asks for another."""
        return min(COVERAGE, self.most_coverage)

    def bounds(
        self, embeddings: npt.ArrayLike, predictions: npt.ArrayLike, coverage: float
    ) -> tuple[Floats, Floats]:
        """Give the ends of each price's interval.

        Of new rows drawn like the calibration rows at least this share lies inside, on average
        over calibration parts, and half of the others on either side.

        Args:
            embeddings: shape (n, dim).
            predictions: n prices, by the regressor that was calibrated.
            coverage: share of the prices that shall lie inside.

        Returns:
            Two arrays of shape (n,): the lower ends, and the upper ends.

        Raises:
            ValueError: the coverage is no share, or more than ``most_coverage``.
        """
        return self.ends(predictions, self.spreads(embeddings), coverage)

    def spreads(self, embeddings: npt.ArrayLike) -> Floats:
        """Predict the typical size of |log(price / prediction)|: embeddings (n, dim) -> (n,)."""
        return _floored(self.spread.predict(embeddings))

    def ends(
        self, predictions: npt.ArrayLike, spreads: npt.ArrayLike, coverage: float
    ) -> tuple[Floats, Floats]:
        """Do the rest of ``bounds``: its ends, or its error, from n predictions and ``spreads``."""
        if not 0 < coverage <= self.most_coverage:
            raise ValueError(
                f"got coverage={coverage}; expected a share above 0 and at most "
                f"{self.most_coverage:.4f}, for which {self.scores.size} calibration rows can vouch"
            )
        low, high = (self.scores[rank - 1] for rank in ranks(self.scores.size, coverage))
        prices, widths = np.asarray(predictions, np.float64), np.asarray(spreads, np.float64)
        return prices * np.exp(low * widths), prices * np.exp(high * widths)


def ranks(n: int, coverage: float) -> tuple[int, int]:
    """Number, from 1, the scores at the ends; the next one is equally likely in each of n + 1 gaps.

    Rounded outwards, after taking off what binary fractions add.
    """
    tail = (1 - coverage) / 2 * (n + 1)
    low = max(1, math.floor(tail + 1e-9))
    return low, n + 1 - low


def _floored(spreads: Floats) -> Floats:
    """Take no spread for less than the floor."""
    return np.maximum(spreads, FLOOR)


def calibrate(
    embeddings: npt.ArrayLike,
    prices: npt.ArrayLike,
    held_out: npt.ArrayLike,
    fitted: Regressor,
    *,
    apart: tuple[npt.ArrayLike, npt.ArrayLike],
    seed: int,
) -> Calibrated:
    """Learn where predictions are unsure from training rows, and how much from rows kept apart.

    Args:
        embeddings: of the training rows, shape (n, dim).
        prices: theirs.
        held_out: predictions for them by trees that have not seen them, shape (n,).
        fitted: the regressor whose predictions get an interval.
        apart: embeddings and prices of the calibration rows, which nothing else has seen.
        seed: of the trees.

    Raises:
        ValueError: there are fewer than three calibration rows.

    Source:
        Papadopoulos et al. 2008, "Normalized nonconformity measures for regression conformal
        prediction"; Lei et al. 2018, section 5.2. Both tails apart: Linusson et al. 2014.
    """
    rows, truth = regressor.checked(*apart)
    if truth.size < 3:
        raise ValueError(f"got {truth.size} calibration rows; expected at least 3")
    _, known = regressor.checked(embeddings, prices)
    away = np.abs(np.log(known / np.asarray(held_out, np.float64)))
    spread = regressor.fit(
        embeddings, _floored(away), SPREAD, n_trees=SPREAD_TREES, seed=seed, with_line=False
    )
    scale = _floored(spread.predict(rows))
    return Calibrated(spread, np.sort(np.log(truth / fitted.predict(rows)) / scale))


def save(calibrated: Calibrated, folder: Path) -> None:
    """Write the spread's trees and the scores; ``load`` gives the same intervals."""
    regressor.save(calibrated.spread, folder / SPREAD_FOLDER)
    (folder / SCORES_FILE).write_text(json.dumps(calibrated.scores.tolist()) + "\n")


def load(folder: Path) -> Calibrated:
    """Read what ``save`` wrote.

    Raises:
        ValueError: a file is missing or damaged.
    """
    try:
        told: Any = json.loads((folder / SCORES_FILE).read_text())
        scores = np.asarray(told, np.float64)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"got no scores in {folder}: {error}; expected {SCORES_FILE}, as save() writes it"
        ) from None
    return Calibrated(regressor.load(folder / SPREAD_FOLDER), scores)


def score(prices: npt.ArrayLike, low: Floats, high: Floats, coverage: float) -> Floats:
    """Score intervals by their width, and by how far a price lies outside; less is better.

    Returns:
        One score a row, in price units, shape (n,).

    Source:
        Gneiting and Raftery 2007, "Strictly proper scoring rules", section 6.2.
    """
    truth = np.asarray(prices, np.float64)
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return high - low + 2 / (1 - coverage) * outside
