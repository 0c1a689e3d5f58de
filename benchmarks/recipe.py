"""Which way of tuning makes embeddings tell prices better: a field of recipes, halved twice.

BAT_CORPORA=folder python -m benchmarks.recipe [--toy] [--corpora bat-10k,wine-5k]
BAT_CORPORA=folder python -m benchmarks.recipe --confirm plain/tuned,NAME/FEATURES [--seeds 0,1,2]

Each recipe tunes the default encoder on a corpus; its features are then judged by one fixed
regressor of trees and one ridge regression against those of the factory encoder.
Rows of the validation and calibration parts choose, whose texts no tuning has seen. ``--confirm``
tunes the named pairs of recipe and features at full size, beside the same features of an encoder
tuned on another corpus (what more columns alone are worth), and reports the test part. All steps
are kept under ``BAT_HOME``: a killed run goes on, and two runs with other ``--corpora`` share the
work. Each pair is a run in MLflow.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import inspect
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from bat import corpus, encoder, metrics, mlm, records, regressor, tracking, units
from bat.corpus import Corpus
from bat.encoder import Encoder

CORPORA = {"bat-10k": "bat-10k.jsonl.gz", "wine-5k": "wine-5k.jsonl.gz"}
CONFIRM = CORPORA | {"airbnb-10k": "airbnb-60k.jsonl.gz", "auctions": "auctions:8000"}
CONFIRM_ROWS = 10_000
TOY = {"a": "auctions:300", "b": "auctions:320"}
RUNGS = (3_150, 4_700, 6_300)  # rows; some 2,000, 3,000 and 4,000 of them are tuned on
TREES, TOY_TREES = 300, 10
HELD_OUT = 200
LAYER = re.compile(r"\.layers?\.(\d+)\.")
PENALTIES = np.logspace(0, 5, 11)


@dataclass(frozen=True)
class Variation:
    """What a recipe does that the plain one does not."""

    changes: Mapping[str, Any] = field(default_factory=dict)  # to ``mlm.Recipe``
    layers: str = "all"  # or upper (half), or layers (not the embeddings)
    layer_decay: float = 1.0  # of the rate, for each layer further from the top
    anchor: float = 0.0  # weight of the distance between pooled texts and the factory's
    warmup: int = mlm.WARMUP_STEPS
    alone: bool = False  # a text a row, as when it is embedded, instead of rows that are full
    pool: float = 0.0  # share of a row's mean vector that is added to what predicts its masks


FIELD = {
    "plain": Variation(),
    "rate 1e-5": Variation({"learning_rate": 1e-5}),
    "rate 3e-5": Variation({"learning_rate": 3e-5}),
    "rate 3e-4": Variation({"learning_rate": 3e-4}),
    "mask 0.15": Variation({"mask_share": 0.15}),
    "mask 0.3": Variation({"mask_share": 0.3}),
    "mask 0.4": Variation({"mask_share": 0.4}),
    "whole words": Variation({"whole_words": True}),
    "upper half": Variation(layers="upper"),
    "embeddings fixed": Variation(layers="layers"),
    "layer decay 0.7": Variation(layer_decay=0.7),
    "decay from half": Variation({"decay_share": 0.5}),
    "long warm-up": Variation(warmup=100),
    "anchor 3": Variation(anchor=3.0),
    "anchor 30": Variation(anchor=30.0),
    "3 passes": Variation({"passes": 3}),
    # As many tokens a step as 8 full rows have.
    "text a row": Variation({"blocks_a_step": 32, "micro_blocks": 16}, alone=True),
    "text a row, pooled": Variation(
        {"blocks_a_step": 32, "micro_blocks": 16}, alone=True, pool=1.0
    ),
    "text a row, pooled, mask 0.4": Variation(
        {"blocks_a_step": 32, "micro_blocks": 16, "mask_share": 0.4}, alone=True, pool=1.0
    ),
}
# Shares of the tuned weights (the rest is the factory's), whether scaled to length 1 (as the
# encoder does), and whether the factory's features stand beside them.
FEATURES = {
    "tuned": (1.0, True, False),
    "tuned, not normalised": (1.0, False, False),
    "halfway": (0.5, True, False),
    "factory + tuned": (1.0, True, True),
    "factory + halfway": (0.5, True, True),
}


def trees() -> int:
    """Count the trees of the fixed regressor."""
    return TOY_TREES if "--toy" in sys.argv else TREES


@dataclass(frozen=True)
class Judged:
    """Predictions from one set of features: of the rows that choose (m,), and of test rows (t,)."""

    chosen_by: Mapping[str, np.ndarray]  # trees and ridge
    reported: Mapping[str, np.ndarray]


class _Scaled(torch.optim.AdamW):
    """AdamW with a rate for each group: the tuning's own, times the group's scale."""

    def step(self, closure: Any = None) -> Any:
        """Take a step; the tuning sets one rate for all groups before it."""
        for group in self.param_groups:
            group["lr"] *= group["scale"]
        return super().step(closure)


def _scale(name: str, layers: int, variation: Variation) -> float:
    """Share of the rate that a parameter of the transformer gets; 0 leaves it alone."""
    found = LAYER.search(name)
    place = int(found.group(1)) if found else -1 if "embeddings" in name else layers
    lowest = {"all": -1, "layers": 0, "upper": layers // 2}[variation.layers]
    return 0.0 if place < lowest else variation.layer_decay ** max(0, layers - 1 - place)


def _vary(variation: Variation) -> Any:
    """Change how ``mlm`` tunes; returns what undoes it."""
    changed = ("_start", "summed_loss", "WARMUP_STEPS", "pack", "_batch", "_only_rows")
    kept = {name: getattr(mlm, name) for name in changed}
    mlm.WARMUP_STEPS = variation.warmup
    if variation.alone:
        mlm.pack = _pack_alone
        mlm._batch = functools.partial(_trimmed, kept["_batch"])

    def start(*arguments: Any) -> Any:
        run, lacking = kept["_start"](*arguments)
        layers = run.model.config.num_hidden_layers
        rate = run.recipe.learning_rate
        groups = [
            {"params": [parameter], "scale": _scale(name, layers, variation)}
            for name, parameter in run.model.named_parameters()
        ]
        if (variation.layers, variation.layer_decay) != ("all", 1.0):
            run.optimizer = _Scaled(groups, lr=rate, weight_decay=0.0, fused=True)
        if variation.pool:
            mlm._only_rows = functools.partial(_pooled_rows, variation.pool)
        if variation.anchor:
            factory = copy.deepcopy(run.model.base_model)
            mlm.summed_loss = _anchored(kept["summed_loss"], factory, variation.anchor)
        return run, lacking

    mlm._start = start
    return lambda: [setattr(mlm, name, value) for name, value in kept.items()]


def _pack_alone(
    opened: Encoder, texts: Sequence[str], sizes: Sequence[int], *, whole_words: bool = False
) -> mlm.Blocks:
    """Lay one text in each row, cut at the encoder's length, instead of filling rows."""
    used = list(texts[: sizes[-1]])
    ids = encoder.tokenise(opened, used)
    tokens = np.full((len(ids), max(map(len, ids))), opened.model.tokenizer.pad_token_id, np.int32)
    for row, each in enumerate(ids):
        tokens[row, : len(each)] = each
    counts = np.cumsum([len(each) for each in ids])
    return mlm.Blocks(
        tokens, None, tuple(sizes), tuple(int(counts[size - 1]) for size in sizes),
        min(mlm.HEAD_DOCUMENTS, sizes[0]),
    )  # fmt: skip


def _trimmed(plain: Any, made: Sequence[mlm.Masked], tokenizer: Any) -> dict[str, torch.Tensor]:
    """Leave out the columns in which all rows of a batch are padding."""
    width = max(int(np.flatnonzero(row != tokenizer.pad_token_id)[-1]) + 1 for row, _, _ in made)
    return plain([(row[:width], places, labels) for row, places, labels in made], tokenizer)


@contextlib.contextmanager
def _pooled_rows(share: float, model: Any, rows: torch.Tensor) -> Iterator[None]:
    """Let the head see masked positions with their row's mean vector added to each."""

    def gather(module: Any, inputs: Any, options: Any, output: Any) -> Any:
        hidden = output.last_hidden_state  # (b, t, h)
        mask = options.get("attention_mask")
        mask = torch.ones(hidden.shape[:2]) if mask is None else mask
        weights = mask.to(hidden).unsqueeze(-1)
        mean = (hidden * weights).sum(1) / weights.sum(1)  # (b, h)
        flat = hidden.reshape(-1, hidden.shape[-1])[rows]
        output.last_hidden_state = (flat + share * mean[rows // hidden.shape[1]]).unsqueeze(0)
        return output

    handle = model.base_model.register_forward_hook(gather, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _anchored(plain: Any, factory: Any, weight: float) -> Any:
    """Add the mean of 1 − cosine between a block's mean vector now and from the factory."""

    def loss(model: Any, batch: Any, **options: Any) -> torch.Tensor:
        seen = []
        handle = model.base_model.register_forward_hook(
            lambda module, inputs, output: seen.append(output.last_hidden_state), prepend=True
        )
        try:
            summed = plain(model, batch, **options)
        finally:
            handle.remove()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        with torch.no_grad():
            before = factory(**inputs).last_hidden_state
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).unsqueeze(-1)
        now, then = ((hidden * mask).sum(1) for hidden in (seen[0], before))  # (b, h)
        away = (1 - functional.cosine_similarity(now.float(), then.float())).mean()
        return summed + weight * away * len(batch["labels"])

    return loss


def _own_code() -> str:
    """Fingerprint what changes the tuning here; a new name in the field changes nothing."""
    changes = (_Scaled, _scale, _vary, _pack_alone, _trimmed, _pooled_rows, _anchored)
    return units.digest(map(inspect.getsource, changes))


def tuned(opened: Encoder, loaded: Corpus, variation: Variation, seed: int) -> Path:
    """Tune on a corpus's training texts, once; the folder of weights and story."""
    order = corpus.tuning_texts(loaded, seed=seed)
    texts = [loaded.texts[index] for index in order]
    unseen = [loaded.texts[index] for index in corpus.rows(loaded, "validation")[:HELD_OUT]]
    recipe = mlm.Recipe(**variation.changes, seed=seed)

    def fill(folder: Path) -> None:
        undo = _vary(variation)
        began = time.perf_counter()
        try:
            (found,) = mlm.finetune(opened, texts, [len(texts)], recipe, held_out=unseen)
        finally:
            undo()
        torch.save(encoder.transformer(found.model).state_dict(), folder / "weights.pt")
        story = {
            "seconds": time.perf_counter() - began,
            "steps": found.steps,
            "held_out": found.held_out[-1][1] if found.held_out else math.nan,
        }
        (folder / "story.json").write_text(json.dumps(story))

    unit = units.key(
        encoder=opened.digest,
        texts=units.digest(texts),
        variation=dataclasses.asdict(variation),
        seed=seed,
        code=units.code(mlm) + _own_code(),
    )
    return units.build("benchmark-recipe", unit, fill)


def pooled(opened: Encoder, weights: Path | None, share: float, loaded: Corpus) -> np.ndarray:
    """Embed a corpus, once, with weights between factory and tuned; before Normalize, (n, d)."""

    def fill(folder: Path) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize

        modules = [copy.deepcopy(each) for each in opened.model if not isinstance(each, Normalize)]
        model = SentenceTransformer(modules=modules, device=str(encoder.device())).eval()
        model.max_seq_length = opened.max_tokens
        if weights:
            own = encoder.transformer(model).state_dict()
            new = torch.load(weights / "weights.pt", weights_only=True)
            mixed = {
                name: torch.lerp(value, new[name], share) if value.is_floating_point() else value
                for name, value in own.items()
            }
            encoder.transformer(model).load_state_dict(mixed)
        dtype = mlm.precision("auto")  # twice as fast; alike for factory and tuned
        with torch.autocast(encoder.device().type, dtype, enabled=dtype != torch.float32):
            rows = encoder.encode(dataclasses.replace(opened, model=model), loaded.texts)
        np.save(folder / "rows.npy", rows)

    unit = units.key(
        encoder=opened.digest,
        weights=weights.name if weights else "",
        share=share if weights else 0,
        texts=units.digest(loaded.texts),
        code=units.code(encoder),
    )
    return np.load(units.build("benchmark-recipe", unit, fill) / "rows.npy")


def features(opened: Encoder, weights: Path | None, kind: str, loaded: Corpus) -> np.ndarray:
    """Lay out one kind of features, float32 (n, d) or (n, 2 d) beside the factory's."""
    share, normalised, beside = FEATURES[kind]
    parts = [pooled(opened, weights, share, loaded)]
    parts += [pooled(opened, None, 0, loaded)] if beside else []
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    return np.hstack(rows if normalised else parts)


def judge(rows: np.ndarray, loaded: Corpus) -> Judged:
    """Predict with both fixed regressors, fitted to the training rows, once."""
    train, test = (corpus.rows(loaded, part) for part in ("train", "test"))

    def fill(folder: Path) -> None:
        logs = np.log(loaded.prices[train])
        fitted = regressor.fit(
            rows[train], loaded.prices[train], regressor.Settings(), n_trees=trees(), seed=0
        )
        ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(rows[train], logs)
        for name, ask in (("chosen_by", choosing(loaded)), ("reported", test)):
            guesses = {
                "trees": fitted.predict(rows[ask]),
                "ridge": np.exp(ridge.predict(rows[ask])),
            }
            np.savez(folder / f"{name}.npz", **guesses)

    unit = units.key(
        rows=units.digest([rows.tobytes().hex()]),
        corpus=loaded.digest,
        code=units.code(regressor) + units.digest([inspect.getsource(judge)]),
    )
    folder = units.build("benchmark-recipe", unit, fill)
    return Judged(*(dict(np.load(folder / f"{name}.npz")) for name in ("chosen_by", "reported")))


def open_corpora(asked: Mapping[str, str], limit: int) -> dict[str, Corpus]:
    """Load the corpora by name, at most so many rows of each."""
    folder = Path(os.environ.get("BAT_CORPORA", ""))
    return {
        name: corpus.load(data if data.startswith("auctions") else str(folder / data), limit=limit)
        for name, data in asked.items()
    }


def choosing(loaded: Corpus) -> np.ndarray:
    """Number the rows that choose between recipes: neither tuned nor fitted on, and not of test."""
    return np.concatenate([corpus.rows(loaded, part) for part in ("validation", "calibration")])


def screen(
    opened: Encoder, asked: Mapping[str, str], rungs: Sequence[int], tracker: records.Tracker
) -> None:
    """Halve the field at each rung by the mean gain in R² of log price over the corpora."""
    alive = list(FIELD)
    for rung, limit in enumerate(rungs):
        loaded = open_corpora(asked, limit)
        gains: dict[tuple[str, str], list[float]] = {}
        for name in alive:
            for where, each in loaded.items():
                weights = tuned(opened, each, FIELD[name], 0)
                for kind in FEATURES:
                    told = compared(opened, each, weights, kind, kind_of="chosen_by")
                    gains.setdefault((name, kind), []).append(told["trees"]["r2_log"].value)
                    tell(tracker, f"{name}/{kind}, minus factory", where, rung, [0], told)
        mean = {pair: float(np.mean(values)) for pair, values in gains.items()}
        best = {name: max(mean[name, kind] for kind in FEATURES) for name in alive}
        alive = sorted(alive, key=lambda name: -best[name])[: max(2, math.ceil(len(alive) / 2))]
        print(f"rung {rung}: {limit} rows; mean gain in R² of log price over {list(loaded)}")
        for pair, value in sorted(mean.items(), key=lambda item: -item[1]):
            print(f"  {value:+.4f} {pair[0]}, {pair[1]}", flush=True)
        print(f"  go on with {alive}", flush=True)


def compared(
    opened: Encoder, loaded: Corpus, weights: Path, kind: str, *, kind_of: str
) -> dict[str, dict[str, metrics.Interval]]:
    """Compare features with the factory's by both regressors: paired gains of every metric."""
    ours = getattr(judge(features(opened, weights, kind, loaded), loaded), kind_of)
    theirs = getattr(judge(features(opened, None, "tuned", loaded), loaded), kind_of)
    rows = choosing(loaded) if kind_of == "chosen_by" else corpus.rows(loaded, "test")
    prices = loaded.prices[rows]
    return {name: metrics.paired(prices, ours[name], theirs[name]) for name in ours}


def _test_prices(loaded: Corpus) -> np.ndarray:
    return loaded.prices[corpus.rows(loaded, "test")]


def tell(
    tracker: records.Tracker,
    name: str,
    where: str,
    rung: int,
    seeds: Sequence[int],
    told: Mapping[str, Mapping[str, metrics.Interval]],
) -> None:
    """Print one comparison, and log it as a child run."""
    numbers = ",".join(map(str, seeds))
    for model, gains in told.items():
        line = ", ".join(
            f"{key} {gains[key].value:+.4g} [{gains[key].low:+.4g}, {gains[key].high:+.4g}]"
            for key in ("r2_log", "mae")
        )
        print(f"{where}, {name}, seeds {numbers}, {model}: {line}", flush=True)
    with tracker.child(f"{where}: {name}") as child:
        child.log(records.Params({"recipe": name, "corpus": where, "rung": rung, "seeds": numbers}))
        for model, gains in told.items():
            flat = metrics.flat(gains)
            child.log(records.Metrics({f"{model}_{key}": value for key, value in flat.items()}))


def confirm(
    opened: Encoder,
    asked: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    limit: int,
    tracker: records.Tracker,
) -> None:
    """Report the test part for each pair, and the same features of an encoder tuned elsewhere."""
    loaded = open_corpora(asked, limit)
    names = list(loaded)
    for name, kind in pairs:
        for place, (where, each) in enumerate(loaded.items()):
            elsewhere = loaded[names[place - 1]]
            prices = _test_prices(each)
            factory = judge(features(opened, None, "tuned", each), each).reported
            own, control = (
                _by_seeds(opened, source, FIELD[name], seeds, kind, each)
                for source in (each, elsewhere)
            )
            for label, ours, theirs in (
                ("own minus factory", own, factory),
                (f"control, tuned on {names[place - 1]}, minus factory", control, factory),
                ("own minus control", own, control),
            ):
                told = {
                    model: metrics.paired(prices, ours[model], theirs[model]) for model in factory
                }
                tell(tracker, f"{name}/{kind}, {label}", where, -1, seeds, told)


def _by_seeds(
    opened: Encoder,
    source: Corpus,
    variation: Variation,
    seeds: Sequence[int],
    kind: str,
    loaded: Corpus,
) -> dict[str, np.ndarray]:
    """Predict test rows (seeds, t) from encoders tuned on a source, by each regressor."""
    found = [
        judge(features(opened, tuned(opened, source, variation, seed), kind, loaded), loaded)
        for seed in seeds
    ]
    return {model: np.stack([one.reported[model] for one in found]) for model in found[0].reported}


def main() -> None:
    """Screen the field, or confirm some pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--corpora", help="names with commas between; all when left out")
    parser.add_argument("--confirm", help="recipe/features pairs with commas between")
    parser.add_argument("--seeds", default="0,1,2", help="for --confirm")
    asked = parser.parse_args()
    if asked.toy:
        mlm.MIN_STEPS = mlm.HEAD_STEPS = 2
        for known, kept in (
            (FIELD, ("plain", "text a row, pooled")),
            (FEATURES, ("tuned", "halfway")),
        ):
            for name in set(known) - set(kept):
                del known[name]
    elif "BAT_CORPORA" not in os.environ:
        print("recipe: skipped, set BAT_CORPORA to a folder with bat-10k, wine-5k and airbnb-60k")
        return
    corpora = TOY if asked.toy else CONFIRM if asked.confirm else CORPORA
    if asked.corpora:
        corpora = {name: corpora[name] for name in asked.corpora.split(",")}
    opened = encoder.open_encoder(encoder.DEFAULT_ENCODER)
    with tracking.run("recipe") as tracker:
        if asked.confirm:
            pairs = [tuple(each.split("/")) for each in asked.confirm.split(",")]
            seeds = [int(seed) for seed in asked.seeds.split(",")]
            confirm(opened, corpora, pairs, seeds, CONFIRM_ROWS, tracker)
        else:
            screen(opened, corpora, RUNGS[:2] if asked.toy else RUNGS, tracker)


if __name__ == "__main__":
    main()
