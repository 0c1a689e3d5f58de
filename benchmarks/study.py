"""A whole study against the original procedure, written plainly from stock parts.

python -m benchmarks.study [--toy]

The peer, on the same documents, sizes, parts and number of trials: for each size a ``Trainer`` run
of the stock masked-language model over packed blocks, the weights put back into the sentence
encoder, ``SentenceTransformer.encode`` of the whole corpus, and Optuna over cross-validated
``XGBRegressor`` (the loop of ``benchmarks.search``). Ours is the command, from an empty cache, with
its plan, checks, five baselines, figures and registry, which the peer has not. Both sides are
processes of their own; the clock holds all of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bat import cli
from bat.data import corpus, subsets
from bat.models import search
from bat.stats import bootstrap
from bat.workflow import outcome
from benchmarks.finetune import stock_trainer

DATA, SIZES, TRIALS = "auctions:3000", "0,0.25,0.5,1.0", 30
TOY_DATA, TOY_SIZES, TOY_TRIALS = "auctions:450", "0,1.0", 2
BLOCK_TOKENS = 256


def tuned(folder: Path, texts: list[str], scratch: str) -> Any:
    """Tune a fresh copy of the encoder with the stock ``Trainer`` on packed blocks."""
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModelForMaskedLM

    encoder = SentenceTransformer(str(folder), device="cpu")
    if not texts:
        return encoder
    words = encoder.tokenizer
    stream = list(chain.from_iterable(words(texts, truncation=False, verbose=False)["input_ids"]))
    starts = range(0, len(stream) - BLOCK_TOKENS + 1, BLOCK_TOKENS)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    rows = [{"input_ids": stream[start : start + BLOCK_TOKENS]} for start in starts]
    stock_trainer(model, rows, words, scratch).train()
    encoder[0].auto_model.load_state_dict(model.base_model.state_dict(), strict=False)
    return encoder


def peer(data: str, sizes: list[int], trials: int, out: Path) -> None:
    """Run the original procedure; keep what it predicts for held-out rows with each size."""
    from bat.models import encoder_opening
    from benchmarks import search as searches

    searches.TRIALS = trials
    loaded = corpus.load(data)
    train, held_out = (corpus.rows(loaded, part) for part in corpus.PARTS)
    texts = [loaded.texts[index] for index in subsets.tuning_texts(loaded, seed=0)]
    folder = encoder_opening.open_encoder(cli.DEFAULT_ENCODER).folder
    parts = search.assign_folds(len(train), folds=search.FOLDS, seed=0)
    for size in sizes:
        began = time.perf_counter()
        model = tuned(folder, texts[:size], str(out))
        rows = model.encode(loaded.texts, show_progress_bar=False)
        embedded = time.perf_counter()
        _, _, predict = searches.peer(rows[train], loaded.prices[train], parts, 0)
        np.save(out / f"{size}.npy", predict(rows[held_out]))
        print(
            f"peer, {size} documents: tuned and embedded {embedded - began:.0f} s, "
            f"searched {time.perf_counter() - embedded:.0f} s",
            flush=True,
        )


def ours(folder: Path, size: int) -> pd.DataFrame:
    """Read what our study predicted for the held-out rows with the encoder of one size."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs(["0"], f"run_name = 'documents={size} seed=0'")
    return pd.read_csv(client.download_artifacts(run.info.run_id, outcome.PREDICTIONS_FILE))


def timed(command: list[str], folder: Path) -> float:
    """Run one side in its own folder with an empty cache and store; its seconds."""
    root = str(Path(__file__).parents[1])
    places = {
        "BAT_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",  # not one that both sides share
        "PYTHONPATH": root,
    }
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=os.environ | places, check=True
    )
    return time.perf_counter() - began


def main() -> None:
    """Run both sides, compare their scores size by size, and print the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    data, shares, trials = (TOY_DATA, TOY_SIZES, TOY_TRIALS) if asked.toy else (DATA, SIZES, TRIALS)
    loaded = corpus.load(data)
    sizes = list(subsets.parse_sizes(shares, len(subsets.tuning_texts(loaded, seed=0))))
    if asked.peer:
        peer(data, sizes, trials, Path(asked.peer))
        return
    with tempfile.TemporaryDirectory() as top:
        folders = [Path(top) / side for side in ("ours", "peer")]
        for folder in folders:
            folder.mkdir()
        flags = [f"--data={data}", f"--sizes={shares}", f"--trials={trials}"]
        mine = timed(["entrypoints.scaling_study", *flags], folders[0])
        toy = ["--toy"] if asked.toy else []
        theirs = timed(["benchmarks.study", *toy, "--peer", str(folders[1])], folders[1])
        for size in sizes:
            table = ours(folders[0], size)
            other = np.load(folders[1] / f"{size}.npy")
            difference = bootstrap.paired(table["price"], table["predicted"], other)
            print(f"{size} documents, ours - peer: R² {difference['r2']}, MAE {difference['mae']}")
    print(f"study: ours {mine:.0f} s peer {theirs:.0f} s ratio {mine / theirs:.3f}")


if __name__ == "__main__":
    main()
