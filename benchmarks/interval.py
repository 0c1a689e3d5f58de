"""Intervals around a served price: how many prices lie inside, and what their width costs.

BAT_CORPORA=folder python -m benchmarks.interval [--toy]

Twenty times the rows of a corpus are dealt out afresh: 80 % to learn from, 20 % to judge. Ours, one
width for all prices and one factor for all go by the same predictions of folds for rows that they
have not seen, around the same prices; quantile regression (Romano et al. 2019) is split-conformal,
with a tenth of the rows to learn from set apart. Bat-10k where ``BAT_CORPORA`` names its folder,
and the built-in corpus; embeddings of the default encoder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xgboost

from bat import cli
from bat.data import corpus
from bat.models import embedding, encoder_opening, interval, regressor, search

FILE, BUILT_IN, TOY = "bat-10k.jsonl.gz", "auctions:8000", "auctions:600"
COVERAGES = (0.8, 0.9, 0.95)
SHARES = (0.72, 0.8)  # of the rows: up to here and here to learn from; between them, set apart
SPLITS, TOY_SPLITS = 20, 2
TREES, TOY_TREES = 300, 20
OURS, PEER = "ours", "one width"

Ends = tuple[np.ndarray, np.ndarray]


def bounds(scores: np.ndarray, coverage: float) -> tuple[float, float]:
    """Take the ends from calibration scores, half of what is outside on either side."""
    low, high = interval.ranks(scores.size, coverage)
    ordered = np.sort(scores)
    return ordered[low - 1], ordered[high - 1]


def quantiles(
    x: np.ndarray, prices: np.ndarray, parts: tuple[np.ndarray, ...], coverage: float, trees: int
) -> Ends:
    """Conformalised quantile regression on log price, with the peer's own trees."""
    learn, hold, judge = parts
    tails = [(1 - coverage) / 2, (1 + coverage) / 2]
    model = xgboost.XGBRegressor(
        objective="reg:quantileerror", quantile_alpha=tails, n_estimators=trees, max_depth=4,
        learning_rate=0.1, colsample_bytree=0.2, subsample=0.8, max_bin=regressor.MAX_BIN,
    )  # fmt: skip
    model.fit(x[learn], np.log(prices[learn]))
    held, asked = (np.sort(model.predict(x[rows]), axis=1) for rows in (hold, judge))
    truth = np.log(prices[hold])
    away = np.maximum(held[:, 0] - truth, truth - held[:, 1])
    wanted = min(hold.size, int(np.ceil((hold.size + 1) * coverage)))
    q = np.sort(away)[wanted - 1]
    return np.exp(asked[:, 0] - q), np.exp(asked[:, 1] + q)


def methods(
    x: np.ndarray, prices: np.ndarray, parts: tuple[np.ndarray, ...], seed: int, trees: int
) -> dict[str, Callable[[float], Ends]]:
    """Fit what each way of making intervals needs; each gives the ends for a coverage."""
    known, judge = np.concatenate(parts[:2]), parts[2]
    settings = regressor.Settings()

    def fitted(rows: np.ndarray) -> regressor.Regressor:
        return regressor.fit(x[rows], prices[rows], settings, n_trees=trees, seed=seed)

    folds = search.splits(known.size, folds=search.FOLDS, seed=seed)
    of_folds = [fitted(known[learn]).predict(x[known[apart]]) for learn, apart in folds]
    unseen, guesses = search.in_order(folds, of_folds, known.size), fitted(known).predict(x[judge])
    calibrated = interval.calibrate(
        x[known], prices[known], unseen, groups=np.arange(known.size), seed=seed
    )

    def one_width(coverage: float) -> Ends:
        low, high = bounds(prices[known] - unseen, coverage)
        return np.maximum(guesses + low, 0), guesses + high

    def one_factor(coverage: float) -> Ends:
        low, high = bounds(np.log(prices[known] / unseen), coverage)
        return guesses * np.exp(low), guesses * np.exp(high)

    return {
        OURS: lambda coverage: calibrated.bounds(x[judge], guesses, coverage),
        PEER: one_width,
        "one factor": one_factor,
        "quantile regression": lambda coverage: quantiles(x, prices, parts, coverage, trees),
    }


def score(prices: np.ndarray, low: np.ndarray, high: np.ndarray, coverage: float) -> np.ndarray:
    """Score intervals by their width, and by how far a price lies outside; less is better.

    Returns:
        One score a row, in price units, shape (n,).

    Source:
        Gneiting and Raftery 2007, "Strictly proper scoring rules", section 6.2.
    """
    outside = np.maximum(low - prices, 0) + np.maximum(prices - high, 0)
    return high - low + 2 / (1 - coverage) * outside


def compare(data: str, splits: int, trees: int) -> None:
    """Print coverage and mean score of each method, with what 20 resplits leave uncertain."""
    loaded = corpus.load(data)
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    x, prices = embedding.embed(opened, loaded.texts), loaded.prices
    inside: dict[tuple[str, float], list[float]] = {}
    scored: dict[tuple[str, float], list[float]] = {}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(prices))
        parts = (*np.split(order, [round(share * len(order)) for share in SHARES]),)
        for name, ends in methods(x, prices, parts, seed, trees).items():
            for coverage in COVERAGES:
                low, high = ends(coverage)
                truth = prices[parts[2]]
                hit = float(np.mean((low <= truth) & (truth <= high)))
                mean = float(score(truth, low, high, coverage).mean())
                inside.setdefault((name, coverage), []).append(hit)
                scored.setdefault((name, coverage), []).append(mean)
    for (name, coverage), hits in inside.items():
        mean, error = np.mean(hits), np.std(hits) / np.sqrt(len(hits))
        print(
            f"{loaded.name}, {name}, {coverage:.0%} asked: {mean:.1%} inside (± {1.96 * error:.1%} "
            f"over {len(hits)} resplits), mean score {np.mean(scored[name, coverage]):,.0f}"
        )
    for coverage in COVERAGES:
        mine, theirs = (np.mean(scored[name, coverage]) for name in (OURS, PEER))
        print(
            f"interval {coverage:.0%}: ours {mine:.0f} price units peer {theirs:.0f} price units "
            f"ratio {mine / theirs:.3f}",
            flush=True,
        )


def main() -> None:
    """Compare on each corpus at hand."""
    if "--toy" in sys.argv:
        compare(TOY, TOY_SPLITS, TOY_TREES)
        return
    path = Path(os.environ.get("BAT_CORPORA", "")) / FILE
    for data in [str(path)] * path.is_file() + [BUILT_IN]:
        compare(data, SPLITS, TREES)


if __name__ == "__main__":
    main()
