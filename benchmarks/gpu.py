"""A whole study of 120,000 documents and eleven sizes on one GPU, and where its time goes.

BAT_CORPORA=folder python -m benchmarks.gpu [--toy]

Runs the command on airbnb-60k (where ``BAT_CORPORA`` names a folder) and on the built-in corpus;
prints the seconds of each stage, the tokens a second of the largest tuning with the share of the
card's bf16 rate that its arithmetic is, and then the two benchmarks of the stock parts (``Trainer``
and ``SentenceTransformer.encode``) on the same card. Without a CUDA device it says so and ends;
``--toy`` runs a small study anyway. Its figures have yet to be taken: no GPU was at hand so far.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import pandas as pd
import torch

from bat import cli
from bat.models import encoder, encoder_opening
from benchmarks.study import timed

SIZES = ",".join(["0", *(f"{tenth / 10}" for tenth in range(1, 11))])
STUDY = [f"--sizes={SIZES}", "--trials=30", "--promote=never"]
TOY = ["--sizes=0,1.0", "--trials=2", "--baselines=median", "--promote=never"]
SIDE, TOY_SIDE = 8192, 512  # of the square matrices that show what the card can do
FLOPS_A_WEIGHT = 6  # multiply and add, once forward and twice backward (Kaplan et al. 2020)


def matrix_rate(side: int) -> float:
    """Measure the best of ten products of two square bf16 matrices; operations a second."""
    device = encoder.device()
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in "ab")
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        float((left @ right)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def layer_weights() -> int:
    """Count the weights that every token is multiplied with: all but the embedding tables."""
    inside = encoder.transformer(encoder_opening.open_encoder(cli.DEFAULT_ENCODER).model)
    named = inside.named_parameters()
    return sum(each.numel() for name, each in named if "embeddings" not in name)


def tell(folder: Path, rate: float) -> None:
    """Print where a study's time went, and how well the card was used."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    table = pd.read_csv(client.download_artifacts(run.info.run_id, "results.csv"))
    for name in (column for column in table if column.endswith("_seconds")):
        print(f"  {name.removesuffix('_seconds')}: {table[name].sum():.0f} s")
    children = client.search_runs(["0"], "metrics.tokens > 0", order_by=["metrics.documents DESC"])
    tokens = children[0].data.metrics["tokens_per_second"]
    share = FLOPS_A_WEIGHT * layer_weights() * tokens / rate
    print(f"  largest tuning: {tokens:,.0f} tokens/s, {share:.1%} of the matrix rate", flush=True)


def main() -> None:
    """Run the studies, then the benchmarks of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    if not torch.cuda.is_available() and not toy:
        print("gpu: skipped, no CUDA device")
        return
    rate = matrix_rate(TOY_SIDE if toy else SIDE)
    print(f"bf16 matrix rate: {rate / 1e12:.1f} TFLOP/s")
    corpora = ["auctions:450" if toy else "auctions:120000"]
    if "BAT_CORPORA" in os.environ and not toy:
        corpora.insert(0, str(Path(os.environ["BAT_CORPORA"]) / "airbnb-60k.jsonl.gz"))
    seconds = 0.0
    for data in corpora:
        with tempfile.TemporaryDirectory() as top:
            words = ["entrypoints.scaling_study", f"--data={data}", *(TOY if toy else STUDY)]
            seconds = timed(words, Path(top))
            print(f"{Path(data).name}: {seconds:.0f} s in all", flush=True)
            tell(Path(top), rate)
    for part in ("finetune", "embed"):
        flags = ["--toy"] if toy else []
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}", *flags], check=True)
    print(f"gpu: {Path(corpora[-1]).name}, eleven sizes, {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    main()
