"""Rows a second of a whole file priced: ours against a loop over the model that MLflow loads.

python -m benchmarks.score [--toy]

The peer: ``mlflow.pyfunc.load_model`` and ``predict`` row by row, on the first of the rows. Both
use the champion of a small study that is run first, in a folder that is then thrown away. Opening
the model is inside our clock, and outside the peer's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import pandas as pd

from bat.data import corpus
from bat.registry import score, versions
from entrypoints import scaling_study

STUDY, ROWS, PEER_ROWS = "auctions:600", 3_000, 300
TOY_STUDY, TOY_ROWS, TOY_PEER_ROWS = "auctions:300", 40, 10
CHAMPION = "models:/bat-pricer@champion"


def champion(data: str) -> None:
    """Register a pair of the factory encoder and quickly found trees."""
    scaling_study.run(scaling_study.StudyConfig(data=data, sizes="0", trials=2, baselines="none"))


def ours(texts: list[str], folder: Path) -> float:
    """Seconds for all texts, from a file to a file, opening the pair included."""
    data = folder / "texts.parquet"
    pd.DataFrame({"text": texts}).to_parquet(data)
    pair = versions.pricer_folder(CHAMPION)
    began = time.perf_counter()
    score.score(pair, str(data), folder / "prices.parquet")
    return time.perf_counter() - began


def peer(texts: list[str]) -> float:
    """Seconds for all texts, without opening the model."""
    model = mlflow.pyfunc.load_model(CHAMPION)
    began = time.perf_counter()
    for text in texts:
        model.predict(pd.DataFrame({"text": [text]}))
    return time.perf_counter() - began


def main() -> None:
    """Run both, and print their rates."""
    toy = "--toy" in sys.argv
    data, rows, few = (TOY_STUDY, TOY_ROWS, TOY_PEER_ROWS) if toy else (STUDY, ROWS, PEER_ROWS)
    texts = corpus.load(f"auctions:{max(100, rows)}").texts[:rows]
    with tempfile.TemporaryDirectory() as top:
        os.chdir(top)
        os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{top}/mlflow.db", "BAT_HOME": f"{top}/h"}
        champion(data)
        mine = len(texts) / ours(texts, Path(top))
        theirs = few / peer(texts[:few])
        os.chdir("/")
    print(f"score: ours {mine:.1f} rows/s peer {theirs:.1f} rows/s ratio {mine / theirs:.3f}")


if __name__ == "__main__":
    main()
