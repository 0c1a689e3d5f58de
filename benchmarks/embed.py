"""Texts embedded a second: ours against ``SentenceTransformer.encode`` at its default batch size.

BAT_CORPORA=folder python -m benchmarks.embed [--toy]

Each measurement has a process and an empty cache of its own, and both sides alternate; opening the
model is outside the clock. The corpora are bat-10k and 5,000 rows of airbnb-60k, or the built-in
one where ``BAT_CORPORA`` names no folder. Also said: the largest difference between the embeddings,
and the share of the machine's matrix rate that the encoder's own arithmetic reaches.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bat import cli
from bat.data.auctions import generator
from bat.models import embedding, encoder, encoder_opening

ROUNDS = int(os.environ.get("BAT_ROUNDS", "3"))
CORPORA = (("bat-10k.jsonl.gz", 10_000), ("airbnb-60k.jsonl.gz", 5_000))
TOY_TEXTS, BUILT_IN_TEXTS = 32, 2_000
ARMS = ("ours", "peer")
SHAPES = ((2048, 384, 1536), (4096, 4096, 4096))  # a feed-forward layer's product; a large square


def load(name: str, count: int) -> list[str]:
    """Read the first texts of a corpus; with no file name, of the built-in one."""
    if not name:
        return [document.text for document in generator.documents(count)]
    with gzip.open(Path(os.environ["BAT_CORPORA"]) / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in islice(lines, count)]


def measure(arm: str, name: str, count: int, out: str) -> None:
    """Embed once, keep the rows in a file, and print the time as JSON."""
    texts = load(name, count)
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    warm = [text + "." for text in texts[:8]]  # sets up the machine's libraries
    embedding.encode(opened, warm) if arm == "ours" else opened.model.encode(warm)
    wall, cpu = time.perf_counter(), time.process_time()
    if arm == "ours":
        rows = embedding.embed(opened, texts)
    else:
        rows = opened.model.encode(texts, show_progress_bar=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    np.save(out, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak}))


def apart(*arguments: str) -> dict[str, float]:
    """Run one measurement in a process and a cache of its own."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.embed", *arguments],
            env=os.environ | {"BAT_HOME": home},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def matrix_rate(rows: int, inner: int, columns: int) -> float:
    """Best float32 matrix product of this shape, in floating-point operations a second."""
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * rows * inner * columns / best


def operations(texts: list[str]) -> float:
    """Arithmetic that the encoder needs for the texts, without padding.

    Twice the layers' parameters for each token, and two products of attention for each pair.
    """
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    model = encoder.transformer(opened.model)
    weights = sum(parameter.numel() for parameter in model.encoder.parameters())
    lengths = np.minimum(encoder.token_counts(opened, texts), opened.max_tokens).astype(float)
    pairs = 4 * model.config.hidden_size * model.config.num_hidden_layers * (lengths**2).sum()
    return float(2 * weights * lengths.sum() + pairs)


def compare(name: str, count: int, rounds: int, peak: float) -> None:
    """Alternate both sides on one corpus, and print the medians."""
    texts = load(name, count)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
                out = str(Path(folder) / f"{arm}.npy")
                found[arm].append(apart(arm, name, str(count), out))
                print(arm, found[arm][-1], flush=True)
        ours, peer = (np.load(Path(folder) / f"{arm}.npy") for arm in ARMS)
    print(f"largest difference {np.abs(ours - peer).max():.1e}")
    middle = {
        arm: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for arm, runs in found.items()
    }
    for arm in ARMS:
        rate = operations(texts) / middle[arm]["wall"]
        print(
            f"{arm}: {rate / 1e9:.0f} GFLOP/s, {rate / peak:.2f} of the matrix rate; "
            f"{middle[arm]['cpu']:.1f} CPU seconds, peak {middle[arm]['peak']:.0f} MB"
        )
    mine, theirs = (len(texts) / middle[arm]["wall"] for arm in ARMS)
    print(
        f"embed {name or 'auctions'}: ours {mine:.1f} texts/s peer {theirs:.1f} texts/s "
        f"ratio {mine / theirs:.3f}"
    )


def main() -> None:
    """Measure each corpus at hand."""
    if sys.argv[1:] and sys.argv[1] in ARMS:
        arm, name, count, out = sys.argv[1:]
        measure(arm, name, int(count), out)
        return
    rates = [matrix_rate(*shape) for shape in SHAPES]
    for shape, rate in zip(SHAPES, rates, strict=True):
        print(f"float32 product {shape}: {rate / 1e9:.0f} GFLOP/s")
    if "--toy" in sys.argv:
        compare("", TOY_TEXTS, 1, max(rates))
    elif "BAT_CORPORA" in os.environ:
        for name, count in CORPORA:
            compare(name, count, ROUNDS, max(rates))
    else:
        compare("", BUILT_IN_TEXTS, ROUNDS, max(rates))


if __name__ == "__main__":
    main()
