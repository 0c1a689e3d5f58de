"""Intervals around a served price: how many prices lie inside, and what their width costs.

BAT_CORPORA=folder python -m benchmarks.interval [--toy]

Twenty times the rows of a corpus are dealt out afresh: 72 % to learn from, 8 % to calibrate on,
20 % to judge. Ours against three others, each split-conformal on the same rows: one width for all
prices, one factor for all, and quantile regression (Romano et al. 2019). Bat-10k where
``BAT_CORPORA`` names its folder, and the built-in corpus; embeddings of the default encoder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xgboost

from bat import corpus, encoder, interval, regressor, search

FILE, BUILT_IN, TOY = "bat-10k.jsonl.gz", "auctions:8000", "auctions:600"
COVERAGES = (0.8, 0.9, 0.95)
SHARES = (0.72, 0.8)  # of the rows: up to here to learn from, up to here to calibrate on
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
    learn, hold, judge = parts
    settings = regressor.Settings()

    def fitted(rows: np.ndarray) -> regressor.Regressor:
        return regressor.fit(x[rows], prices[rows], settings, n_trees=trees, seed=seed)

    folds = search.assign_folds(learn.size, folds=search.FOLDS, seed=seed)
    held_out = np.empty(learn.size)
    for fold in range(search.FOLDS):
        held_out[folds == fold] = fitted(learn[folds != fold]).predict(x[learn[folds == fold]])
    whole = fitted(learn)
    calibrated = interval.calibrate(
        x[learn], prices[learn], held_out, whole, apart=(x[hold], prices[hold]), seed=seed
    )
    guesses, known = whole.predict(x[judge]), whole.predict(x[hold])

    def one_width(coverage: float) -> Ends:
        low, high = bounds(prices[hold] - known, coverage)
        return np.maximum(guesses + low, 0), guesses + high

    def one_factor(coverage: float) -> Ends:
        low, high = bounds(np.log(prices[hold] / known), coverage)
        return guesses * np.exp(low), guesses * np.exp(high)

    return {
        OURS: lambda coverage: calibrated.bounds(x[judge], guesses, coverage),
        PEER: one_width,
        "one factor": one_factor,
        "quantile regression": lambda coverage: quantiles(x, prices, parts, coverage, trees),
    }


def compare(data: str, splits: int, trees: int) -> None:
    """Print coverage and mean score of each method, with what 20 resplits leave uncertain."""
    loaded = corpus.load(data)
    opened = encoder.open_encoder(encoder.DEFAULT_ENCODER)
    x, prices = np.asarray(encoder.embed(opened, loaded.texts)), loaded.prices
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
                score = float(interval.score(truth, low, high, coverage).mean())
                inside.setdefault((name, coverage), []).append(hit)
                scored.setdefault((name, coverage), []).append(score)
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
