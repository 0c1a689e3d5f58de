"""Time to a good regressor: our search against the loop that a careful user would write.

BAT_CORPORA=folder/with/bat-10k.jsonl.gz python -m benchmarks.search [--toy | --large]

The peer: Optuna, cross-validated ``XGBRegressor`` on log price with early stopping and pruning of
trials by fold, all cores. Both get the same embeddings, folds and number of trials. The clock of
each stops at the first result within 1 % of the peer's best cross-validated error (of ours, only
results on all folds and rows count). ``--large`` runs our search alone on 120,000 drawn rows of
384 numbers, and prints its time and the memory it took above them (Linux).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import xgboost

from bat import cli
from bat.data import corpus
from bat.models import embedding, encoder_opening, search
from bat.stats import bootstrap

ROWS = int(os.environ.get("BAT_ROWS", "10005"))
TRIALS = int(os.environ.get("BAT_TRIALS", "30"))
ROUNDS = int(os.environ.get("BAT_ROUNDS", "1"))
FILE, TOY_DATA = "bat-10k.jsonl.gz", "auctions:200"
CLOSE = 1.01
LARGE_ROWS, LARGE_WIDTH, DIRECTIONS = 120_000, 384, 40

Reached = list[tuple[float, float]]  # seconds since the start, error in price units
Model = Callable[[np.ndarray], np.ndarray]


def embedded(data: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Embed the first rows of a corpus; known ones are read from the cache."""
    loaded = corpus.load(data)
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    return embedding.embed(opened, loaded.texts[:rows]), loaded.prices[:rows]


def peer(
    x: np.ndarray, prices: np.ndarray, parts: np.ndarray, seed: int
) -> tuple[Reached, float, Model]:
    """Return (seconds, error) of every trial on all folds, and a fitted model's predictor."""
    start, reached, best = time.perf_counter(), [], {}

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "max_depth": trial.suggest_int("max_depth", 3, 8),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "min_child_weight": trial.suggest_float("min_child_weight", 1, 20, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.1, 1),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100, log=True),
        }
        errors, trees = [], []
        for part in np.unique(parts):
            train, valid = parts != part, parts == part
            model = xgboost.XGBRegressor(
                tree_method="hist", n_estimators=1500, early_stopping_rounds=50, n_jobs=-1,
                random_state=seed, **settings,
            )  # fmt: skip
            held_out = [(x[valid], np.log(prices[valid]))]
            model.fit(x[train], np.log(prices[train]), eval_set=held_out, verbose=False)
            errors.append(np.mean(np.abs(np.exp(model.predict(x[valid])) - prices[valid])))
            trees.append(model.best_iteration + 1)
            trial.report(float(np.mean(errors)), int(part))
            if trial.should_prune():
                raise optuna.TrialPruned
        reached.append((time.perf_counter() - start, float(np.mean(errors))))
        seconds, error = reached[-1]
        print(f"peer: {seconds:.0f} s, trial {trial.number}, error {error:.1f}", flush=True)
        if reached[-1][1] == min(error for _, error in reached):
            best.update(settings=settings, trees=int(np.mean(trees)))
        return reached[-1][1]

    sampler, pruner = optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()
    optuna.create_study(sampler=sampler, pruner=pruner).optimize(objective, n_trials=TRIALS)
    total = time.perf_counter() - start
    model = xgboost.XGBRegressor(
        tree_method="hist", n_estimators=best["trees"], random_state=seed, **best["settings"]
    ).fit(x, np.log(prices))
    return reached, total, lambda rows: np.exp(model.predict(rows))


def ours(x: np.ndarray, prices: np.ndarray, seed: int) -> tuple[Reached, float, Model]:
    """Return (seconds, error) of every finalist, and a fitted regressor's predictor."""
    start, reached = time.perf_counter(), []

    def clock(done: int, total: int, best: float) -> None:
        if done > TRIALS:
            reached.append((time.perf_counter() - start, best))

    found = search.search(x, prices, trials=TRIALS, seed=seed, progress=clock)
    total = time.perf_counter() - start
    fitted = search.fit(found, x, prices, seed=seed)
    return reached, total, fitted.predict


def arrival(reached: Reached, goal: float) -> float:
    """First time at which the error was at most the goal."""
    return next((seconds for seconds, error in reached if error <= goal), float("inf"))


def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of length 1, and prices that bend in some directions, with noise."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, LARGE_WIDTH), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    bent = np.tanh(x @ random.standard_normal((LARGE_WIDTH, DIRECTIONS), dtype=np.float32))
    told = bent @ random.standard_normal(DIRECTIONS) / 4
    return x, np.exp(9.5 + told + 0.4 * random.standard_normal(rows))


def resident_mb(line: str) -> float:
    """Read a line of the process's memory: VmRSS for now, VmHWM for the peak so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith(line)) / 1024


def large(rows: int = LARGE_ROWS) -> None:
    """Search drawn rows with the default budget."""
    x, prices = drawn(rows)
    before, start = resident_mb("VmRSS"), time.perf_counter()

    def clock(done: int, total: int, best: float) -> None:
        spent, above = time.perf_counter() - start, resident_mb("VmHWM") - before
        print(f"{spent:.0f} s, trial {done} of {total}, {above:.0f} MB above the data", flush=True)

    found = search.search(x, prices, trials=TRIALS, progress=clock)
    print(f"large: {rows} rows, {time.perf_counter() - start:.0f} s, {found.n_trees} trees")


def main() -> None:
    """Run both in turn, and print the medians."""
    if "--large" in sys.argv:
        large()
        return
    toy = "--toy" in sys.argv
    path = Path(os.environ.get("BAT_CORPORA", "")) / FILE
    if not (toy or path.is_file()):
        print(f"search: skipped, set BAT_CORPORA to a folder with {FILE}")
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    embeddings, prices = embedded(TOY_DATA if toy else str(path), ROWS)
    times = []
    for seed in range(ROUNDS):
        test = np.random.default_rng(seed).permutation(len(prices)) < len(prices) // 5
        x, y = embeddings[~test], prices[~test]
        parts = search.assign_folds(len(y), folds=search.FOLDS, seed=seed)
        our_path, our_total, our_model = ours(x, y, seed)
        print(f"ours: {our_total:.1f} s in all, {our_path}", flush=True)
        their_path, their_total, their_model = peer(x, y, parts, seed)
        goal = CLOSE * min(error for _, error in their_path)
        print(f"peer: {their_total:.1f} s in all, best {goal / CLOSE:.1f}")
        for name, model in (("ours", our_model), ("peer", their_model)):
            print(name, "test", bootstrap.scores(prices[test], model(embeddings[test])))
        difference = bootstrap.paired(
            prices[test], our_model(embeddings[test]), their_model(embeddings[test])
        )
        print("ours - peer", difference)
        times.append((arrival(our_path, goal), arrival(their_path, goal)))
    mine, theirs = np.median(times, axis=0)
    print(f"search: ours {mine:.1f} s peer {theirs:.1f} s ratio {mine / theirs:.3f}")


if __name__ == "__main__":
    main()
