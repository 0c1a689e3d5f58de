"""Encoders for ten subset sizes: one pass for all against ten tunings, each by our own loop.

python -m benchmarks.one_pass [--toy] [--seeds 0,1,2] [--r2]

Both take the same blocks a step, rates and masks; only the trunk that the one pass shares differs.
The clock holds opening, warming and all copies of weights, not the held-out losses, which say what
the one pass costs in quality. ``--r2`` also embeds the corpus with every encoder, in the tuning's
precision, fits one fixed regressor on the training rows, and prints the paired interval of test R².
Each tuning is kept under ``BAT_HOME`` when done, with its time: a killed run goes on from there,
and ``--seeds 0`` today and ``--seeds 0,1,2`` tomorrow do the work of three seeds once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bat import cli, units
from bat.data import corpus, subsets
from bat.data.corpus import Corpus
from bat.models import embedding, encoder, encoder_opening, regressor
from bat.models.encoder import Encoder
from bat.stats import bootstrap
from bat.tuning import loop, packing
from bat.tuning.objective import Examples
from bat.tuning.objectives import mlm

KIND = units.Kind("benchmark-one-pass", 1, (), (), ())  # keys name the kinds that it draws on
DATA, TOY_DATA = "auctions:4000", "auctions:300"
POINTS, TOY_POINTS = 10, 2
TOY_DOCUMENTS, TOY_STEPS = 24, 2
HELD_OUT, TOY_HELD_OUT = 200, 4  # texts of that part
TREES = 300
CHECKS: list[float] = []  # seconds of the held-out losses since the last tuning
Sides = tuple[np.ndarray, np.ndarray]  # of one pass, and of the size tuned alone
Times = dict[str, float]  # seconds; held-out loss of each size, under its number


def clock_checks() -> None:
    """Note the seconds of each held-out loss: they are for this report, and outside the clock."""
    check = loop.check_held_out

    def clocked(run: Any) -> None:
        began = time.perf_counter()
        check(run)
        CHECKS.append(time.perf_counter() - began)

    loop.check_held_out = clocked


def tune(
    opened: Encoder,
    loaded: Corpus,
    sizes: list[int],
    recipe: mlm.Recipe,
    *,
    held_out: int,
    rows: bool,
    folder: Path,
) -> None:
    """Tune for the sizes and keep times, losses and, if asked, embeddings in the folder."""
    order = subsets.tuning_texts(loaded, seed=recipe.seed)
    texts = [loaded.texts[index] for index in order][: sizes[-1]]
    unseen = [loaded.texts[index] for index in corpus.rows(loaded, "held_out")[:held_out]]
    kept: Times = {"seconds": 0.0}
    began = time.perf_counter()
    examples = Examples(texts, sizes, unseen)
    for tuned in loop.finetune(mlm.OBJECTIVE, opened, examples, recipe):
        kept["seconds"] += time.perf_counter() - began - sum(CHECKS)
        CHECKS.clear()
        kept[str(tuned.documents)] = tuned.held_out[-1][1]
        if rows:
            ready = dataclasses.replace(opened, model=tuned.model)
            np.save(folder / f"{tuned.documents}.npy", embedded(ready, loaded))
        began = time.perf_counter()
    (folder / "kept.json").write_text(json.dumps(kept))


def kept(
    opened: Encoder,
    loaded: Corpus,
    sizes: list[int],
    recipe: mlm.Recipe,
    *,
    held_out: int,
    rows: bool,
) -> tuple[Times, Path]:
    """Read a tuning, after making it where there is none yet."""
    unit = units.unit(
        KIND,
        tuning=units.ENCODERS.identity(),
        encoder=opened.digest,
        corpus=loaded.digest,
        sizes=sizes,
        recipe=dataclasses.asdict(recipe),
        held_out=held_out,
        rows=rows,
    )
    folder = units.build(
        unit,
        lambda empty: tune(
            opened, loaded, sizes, recipe, held_out=held_out, rows=rows, folder=empty
        ),
    )
    return json.loads((folder / "kept.json").read_text()), folder


def embedded(opened: Encoder, loaded: Corpus) -> np.ndarray:
    """Embed a corpus in the precision of the tuning, which is faster than ``encoder.embed``."""
    dtype = loop.precision("auto")
    with torch.autocast(encoder.device().type, dtype, enabled=dtype != torch.float32):
        return embedding.encode(opened, loaded.texts)


def predictions(loaded: Corpus, embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Predict the held-out rows' prices from the embeddings of one encoder."""
    train, held_out = (corpus.rows(loaded, part) for part in corpus.PARTS)
    fitted = regressor.fit(
        embeddings[train],
        loaded.prices[train],
        regressor.Settings(),
        n_trees=TREES,
        seed=seed,
    )
    return fitted.predict(embeddings[held_out])


def compare(
    opened: Encoder,
    loaded: Corpus,
    sizes: list[int],
    recipe: mlm.Recipe,
    *,
    held_out: int,
    rows: bool,
) -> tuple[tuple[float, float], dict[int, tuple[float, float]], dict[int, Sides]]:
    """Tune one seed both ways; return seconds, and losses and predictions of each size."""
    ours, our_folder = kept(opened, loaded, sizes, recipe, held_out=held_out, rows=rows)
    theirs, losses, found = 0.0, {}, {}
    for size in sizes:
        alone, folder = kept(opened, loaded, [size], recipe, held_out=held_out, rows=rows)
        theirs += alone["seconds"]
        losses[size] = ours[str(size)], alone[str(size)]
        print(
            f"seed {recipe.seed}, {size} documents: held-out loss, one pass "
            f"{losses[size][0]:.4f}, alone {losses[size][1]:.4f}",
            flush=True,
        )
        if rows:
            both = (
                predictions(loaded, np.load(each / f"{size}.npy"), recipe.seed)
                for each in (our_folder, folder)
            )
            found[size] = (*both,)
    return (ours["seconds"], theirs), losses, found


def main() -> None:
    """Compare seed by seed, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--seeds", default="0", help="with commas between")
    parser.add_argument("--r2", action="store_true")
    asked = parser.parse_args()
    clock_checks()
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    loaded = corpus.load(TOY_DATA if asked.toy else DATA)
    if asked.toy:
        mlm.MIN_STEPS = mlm.HEAD_STEPS = TOY_STEPS
    held_out = TOY_HELD_OUT if asked.toy else HELD_OUT
    points = TOY_POINTS if asked.toy else POINTS
    available = TOY_DOCUMENTS if asked.toy else len(subsets.tuning_texts(loaded, seed=0))
    sizes = [round(available * point / points) for point in range(1, points + 1)]
    times, losses, found = [], [], []
    for seed in map(int, asked.seeds.split(",")):
        texts = [loaded.texts[i] for i in subsets.tuning_texts(loaded, seed=seed)]
        blocks = packing.pack(opened, texts, sizes)
        recipe = mlm.Recipe(tuned_share=1.0, seed=seed)
        recipe = dataclasses.replace(recipe, blocks_a_step=mlm.blocks_a_step(blocks, recipe))
        seconds, loss, both = compare(
            opened, loaded, sizes, recipe, held_out=held_out, rows=asked.r2
        )
        print("seed {}: one pass {:.0f} s, alone {:.0f} s".format(seed, *seconds), flush=True)
        times.append(seconds)
        losses.append(loss)
        found.append(both)
    for size in sizes:
        mine, theirs = np.mean([each[size] for each in losses], axis=0)
        print(
            f"{size} documents, mean held-out loss: one pass {mine:.4f}, alone {theirs:.4f}, "
            f"{mine / theirs - 1:+.1%}"
        )
    prices = loaded.prices[corpus.rows(loaded, "held_out")]
    for size in sizes if asked.r2 else ():
        ours, alone = (np.stack([each[size][side] for each in found]) for side in (0, 1))
        difference = bootstrap.paired(prices, ours, alone)["r2"]
        print(f"{size} documents, R² one pass - alone: {difference}")
    mine, theirs = np.median(times, axis=0)
    print(f"one_pass: ours {mine:.1f} s peer {theirs:.1f} s ratio {mine / theirs:.3f}")


if __name__ == "__main__":
    main()
