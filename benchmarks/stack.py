"""What each part of the stack is worth, and whether the stack is ahead of TF-IDF + ridge.

BAT_CORPORA=folder python -m benchmarks.stack [--toy] [--only bat-10k,wine-5k] [--seeds 0,1,2] \
    [--lines "all parts;the stack as chosen"]
python -m benchmarks.stack --large

Every line learns from the training rows of a corpus and is scored on its held-out rows; all but the
ridge search their trees with the same budget. Differences are to TF-IDF + ridge, paired, with 95 %
intervals as in a study; seconds are the processor's. Finished lines are kept under ``BAT_HOME``.
``--large`` measures on 100,000 texts and drawn embeddings what choosing and fitting the columns
costs beside one search.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bat import cli, formatting, units
from bat.data import corpus
from bat.data.corpus import Corpus
from bat.models import embedding, encoder_opening, ridge_column, search, stack, words
from bat.models.ridge_column import Columns
from bat.models.stack import ALL, Chosen, Material
from bat.stats import bootstrap
from bat.workflow import preparation
from benchmarks.recipe import CONFIRM, TOY
from benchmarks.search import resident_mb

KIND = units.Kind("benchmark-stack", 1, (), (), ())
ROWS = 10_000  # at most, of airbnb-60k
TRIALS = int(os.environ.get("BAT_TRIALS", search.TRIALS))
LARGE, LARGE_WIDTH = int(os.environ.get("BAT_ROWS", "100000")), 384
RIDGE, PAIR = "TF-IDF + ridge", "embedding + its ridge"
CHOSEN, BARE = "the stack as chosen", "the stack without an encoder"
SETS = (
    {"embedding alone": (stack.EMBEDDING,)}
    | {f"without {out}": tuple(name for name in ALL if name != out) for out in ALL}
    | {"all parts": ALL}
)
LINES = ("embedding alone", PAIR, *list(SETS)[1:], BARE, CHOSEN)
ABOUT = "about.json"
SCORES = ("mae", "medae", "r2_log")


def opened_corpus(data: str) -> tuple[Corpus, np.ndarray]:
    """Load and check a corpus as a study does; embed its texts by the default encoder."""
    if not data.startswith("auctions"):
        data = str(Path(os.environ["BAT_CORPORA"]) / data)
    limit = ROWS if "airbnb" in data else 0
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    loaded = preparation.load(cli.DataConfig(data=data, limit=limit))
    loaded = preparation.prepare(loaded, opened).corpus

    def fill(folder: Path) -> None:
        np.save(folder / "rows.npy", embedding.embed(opened, loaded.texts))

    unit = units.unit(
        KIND,
        embedding=units.EMBEDDINGS.identity(),
        encoder=cli.DEFAULT_ENCODER,
        texts=units.digest(loaded.texts),
    )
    return loaded, np.load(units.build(unit, fill) / "rows.npy")


def by_ridge(material: Material, train: np.ndarray) -> np.ndarray:
    """Predict all rows by ridge regression on the words of the training rows."""
    texts = [material.texts[row] for row in train]
    known = words.fit(texts)
    weights, offset = words.ridge(
        known.weigh(texts), material.prices[train], groups=material.groups[train]
    )
    return np.exp(known.weigh(material.texts) @ weights + offset)


def by_trees(
    features: np.ndarray, material: Material, train: np.ndarray, columns: Columns | None
) -> np.ndarray:
    """Search and fit trees on the training rows, and predict all rows, as a study does."""
    rows, prices = np.ascontiguousarray(features[train]), material.prices[train]
    mine = columns and (lambda learn, apart: columns(train[learn], train[apart]))
    found = search.search(
        rows,
        prices,
        groups=material.groups[train],
        columns=mine,
        trials=TRIALS,
        seed=material.seed,
    )
    fitted = search.fit(found, rows, prices, seed=material.seed, columns=mine)
    if columns:
        _, numbers = columns(train, np.arange(len(features)))
        features = ridge_column.append(features, numbers)
    return fitted.predict(features)


def predicted(name: str, material: Material, train: np.ndarray) -> np.ndarray:
    """Fit one line to the training rows, and predict all rows."""
    if name == RIDGE:
        return by_ridge(material, train)
    if name == PAIR:
        return by_trees(material.embeddings, material, train, None)
    uses = SETS.get(name) or tuple(name.split(" + "))
    known = stack.numbers.fit([material.texts[row] for row in train])
    chosen = Chosen(uses, {}, known)
    features, columns = stack.features(material, chosen), stack.columns(material, chosen)
    return by_trees(features, material, train, columns)


def kept(name: str, material: Material, train: np.ndarray, digest: str) -> tuple[np.ndarray, float]:
    """Fit a line once, and read it afterwards: its predictions of all rows, and its seconds.

    A stack as chosen is the line that has its parts.
    """
    if name == BARE:
        bare = np.empty((len(material.texts), 0), np.float32)
        material = dataclasses.replace(material, embeddings=bare)
    key = {"code": units.own_code(), "corpus": digest, "trials": TRIALS}
    key["seed"] = 0 if name == RIDGE else material.seed

    def choose(folder: Path) -> None:
        began = time.process_time()
        chosen = stack.choose(material, train)
        about = {"uses": chosen.uses, "seconds": time.process_time() - began}
        (folder / ABOUT).write_text(json.dumps(about | {"errors": dict(chosen.errors)}))

    def fill(folder: Path) -> None:
        began = time.process_time()
        np.save(folder / "predictions.npy", predicted(name, material, train))
        (folder / ABOUT).write_text(json.dumps({"seconds": time.process_time() - began}))

    choice = 0.0
    if name in (CHOSEN, BARE):
        folder = units.build(units.unit(KIND, line=name, **key), choose)
        about = json.loads((folder / ABOUT).read_text())
        choice, uses = about["seconds"], tuple(about["uses"])
        print(f"{choice:.0f} s for the choice, {about}", flush=True)
        name = next((line for line, each in SETS.items() if each == uses), " + ".join(uses))
    folder = units.build(units.unit(KIND, line=name, **key), fill)
    seconds = json.loads((folder / ABOUT).read_text())["seconds"]
    return np.load(folder / "predictions.npy"), choice + seconds


def compare(name: str, data: str, seeds: Sequence[int], lines: Sequence[str]) -> bool:
    """Print some lines of a corpus; tell whether the stack meets its bar there."""
    loaded, embeddings = opened_corpus(data)
    train, held_out = corpus.rows(loaded, "train"), corpus.rows(loaded, "held_out")
    truth, ahead = loaded.prices[held_out], False
    print(f"{name}: {len(train)} rows to learn from, {len(held_out)} held out", flush=True)
    ridge = np.empty(0)
    for line in (RIDGE, *lines):
        made = [
            kept(
                line,
                Material(loaded.texts, embeddings, loaded.prices, loaded.group_ids, seed),
                train,
                loaded.digest,
            )
            for seed in (seeds[:1] if line == RIDGE else seeds)
        ]
        guesses = np.stack([rows[held_out] for rows, _ in made])
        values = bootstrap.scores(truth, guesses)
        shown = "  ".join(f"{values[score]:9,.4g}" for score in SCORES)
        seconds = np.mean([seconds for _, seconds in made])
        print(f"{line:32} {shown}  {seconds:5.0f} s", flush=True)
        if line == RIDGE:
            ridge = guesses
            continue
        change = bootstrap.paired(
            truth, guesses, ridge, groups=loaded.group_ids[held_out], chance=(True, False)
        )
        told = ", ".join(
            f"{key} {change[key].value:+.4g} [{change[key].low:+.4g}, {change[key].high:+.4g}]"
            for key in SCORES
        )
        print(f"{'':32} minus the ridge: {told}", flush=True)
        if line == CHOSEN:
            ahead = change["mae"].high < 0 or change["r2_log"].low > 0
            worse = any(change[key].low > 0 for key in ("mae", "medae"))
            ahead = ahead and not worse and not change["r2_log"].high < 0
    return ahead


def large() -> None:
    """Time the choice and the columns of the stack beside one search, on many rows."""
    loaded = corpus.load(f"auctions:{LARGE}")
    random = np.random.default_rng(0)
    # Stands in for an embedding: a random projection of word counts, as wide as the default one.
    known = words.fit(loaded.texts)
    onto = random.standard_normal((len(known.vocabulary), LARGE_WIDTH)) / LARGE_WIDTH**0.5
    rows = words.compress(known.weigh(loaded.texts), onto.T)
    del known, onto
    train = corpus.rows(loaded, "train")
    material = Material(loaded.texts, rows, loaded.prices, loaded.group_ids, 0)
    before, spent = resident_mb("VmRSS"), {}
    began = time.process_time()
    chosen = stack.choose(material, train)
    spent["choice"] = time.process_time() - began
    print(f"choice {spent['choice']:.0f} s, uses {', '.join(chosen.uses)}", flush=True)
    most = max((name.split(" + ") for name in chosen.errors), key=len)
    forced, inside = dataclasses.replace(chosen, uses=tuple(most)), [0.0]
    plain = stack.columns(material, forced)

    def timed(learn: np.ndarray, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start = time.process_time()
        made = plain(learn, apart)
        inside[0] += time.process_time() - start
        return made

    began = time.process_time()
    by_trees(stack.features(material, forced), material, train, timed)
    spent["columns"] = inside[0]
    spent["search"] = time.process_time() - began - inside[0]
    above = formatting.number(resident_mb("VmHWM") - before)
    print(f"{spent}, {above} MB above the data")
    share = (spent["choice"] + spent["columns"]) / spent["search"]
    print(f"large: {len(train)} rows to learn from, stack / search ratio {share:.3f}")


def main() -> None:
    """Compare all lines on each corpus, or measure the cost on many rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", help="names with commas between; all when left out")
    parser.add_argument("--seeds", default="0", help="numbers with commas between")
    parser.add_argument("--lines", help="lines with ; between; all when left out")
    asked = parser.parse_args()
    if asked.large:
        large()
        return
    if not asked.toy and "BAT_CORPORA" not in os.environ:
        print("stack: skipped, set BAT_CORPORA to a folder with bat-10k, wine-5k and airbnb-60k")
        return
    corpora = TOY if asked.toy else CONFIRM
    names = asked.only.split(",") if asked.only else list(corpora)
    if unknown := set(names) - set(corpora):
        parser.error(f"{sorted(unknown)}: expected some of {list(corpora)}")
    lines = asked.lines.split(";") if asked.lines else LINES
    if unknown := set(lines) - set(LINES):
        parser.error(f"{sorted(unknown)}: expected some of {list(LINES)}")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    met = {name: compare(name, corpora[name], seeds, lines) for name in names}
    ahead = f"{sum(met.values())} of {len(met)}"
    print(f"stack: not worse than the ridge, and ahead clear of zero, on {ahead}")


if __name__ == "__main__":
    main()
