"""Which way of tuning makes embeddings tell prices better: a field of recipes, halved twice.

BAT_CORPORA=folder python -m benchmarks.recipe [--toy] [--corpora bat-10k,wine-5k] \
    [--recipes "plain;rate 3e-4"]
BAT_CORPORA=folder python -m benchmarks.recipe --confirm "plain/tuned;NAME/FEATURES" \
    [--seeds 0,1,2] [--soup]

Each recipe tunes the default encoder on some documents of a corpus; one fixed regressor of trees
and one ridge regression are fitted to the same rows, and judged against those on the features of
the factory encoder. Training rows that neither has seen choose. ``--confirm`` tunes the named
pairs of recipe and features at full size and reports the held-out part; features with the
factory's beside them also against an encoder tuned on another corpus (what more columns alone are
worth). ``--soup`` confirms one encoder whose weights are the mean over the seeds. All steps are
kept under ``BAT_HOME``: a killed run goes on, and two runs with other ``--corpora`` share the
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

from bat import cli, records, units
from bat.data import corpus, subsets
from bat.data.corpus import Corpus
from bat.models import embedding, encoder, encoder_opening, regressor
from bat.models.encoder import Encoder
from bat.registry import tracking
from bat.stats import bootstrap
from bat.tuning import loop, masked_model, packing
from bat.tuning.masked_model import Masked
from bat.tuning.objective import Examples, Group, Laid, Objective, Opened
from bat.tuning.objectives import mlm
from bat.tuning.packing import Blocks

KIND = units.Kind("benchmark-recipe", 1, (), (), ())  # keys name the kinds that it draws on
CORPORA = {
    "bat-10k": "bat-10k.jsonl.gz", "wine-5k": "wine-5k.jsonl.gz", "auctions": "auctions:8000"
}  # fmt: skip
CONFIRM = CORPORA | {"airbnb-10k": "airbnb-60k.jsonl.gz"}
ROWS = 10_000  # at most, of a corpus
TOY = {"a": "auctions:300", "b": "auctions:320"}
# Documents that are tuned on; of the smallest corpus they leave 500 training rows that choose.
RUNGS, TOY_RUNGS = (1_200, 1_900, 2_700), (100, 150)
CHOOSING_ROWS = 2_500  # at most: what they cost to embed grows with them, their doubt with the root
TREES = regressor.Settings(learning_rate=0.05)
ROUNDS, TOY_ROUNDS = 500, 10
HELD_OUT = 200
LAYER = re.compile(r"\.layers?\.(\d+)\.")
PENALTIES = np.logspace(0, 5, 11)


@dataclass(frozen=True)
class Variation:
    """What a recipe does that the plain one does not."""

    changes: Mapping[str, Any] = field(default_factory=dict)  # to ``mlm.Recipe``
    layers: str = "all"  # or upper or lower (half), or layers (not the embeddings)
    layer_decay: float = 1.0  # of the rate, for each layer further from the top
    anchor: float = 0.0  # weight of the distance between pooled texts and the factory's
    warmup: int = mlm.WARMUP_STEPS
    alone: bool = False  # a text a row, as when it is embedded, instead of rows that are full
    pool: float = 0.0  # share of a row's mean vector that is added to what predicts its masks
    deeper: int = 0  # layers more, copies of the last, between what is pooled and the vocabulary


FIELD = {
    "plain": Variation(),
    "rate 3e-4": Variation({"learning_rate": 3e-4}),
    "a layer more": Variation(deeper=1),
    "a layer more, rate 3e-4": Variation({"learning_rate": 3e-4}, deeper=1),
    "a layer more, 3 passes": Variation({"passes": 3}, deeper=1),
    "3 passes": Variation({"passes": 3}),
    "5 passes": Variation({"passes": 5}),
    "rate 1e-5": Variation({"learning_rate": 1e-5}),
    "rate 3e-5": Variation({"learning_rate": 3e-5}),
    "mask 0.15": Variation({"mask_share": 0.15}),
    "mask 0.3": Variation({"mask_share": 0.3}),
    "mask 0.4": Variation({"mask_share": 0.4}),
    "whole words": Variation({"whole_words": True}),
    "upper half": Variation(layers="upper"),
    "lower half": Variation(layers="lower"),
    "a layer more, lower half": Variation(layers="lower", deeper=1),
    "a layer more, text a row": Variation(
        {"blocks_a_step": 24, "micro_blocks": 12}, alone=True, deeper=1
    ),
    "embeddings fixed": Variation(layers="layers"),
    "layer decay 0.7": Variation(layer_decay=0.7),
    "decay from half": Variation({"decay_share": 0.5}),
    "long warm-up": Variation(warmup=100),
    "anchor 3": Variation(anchor=3.0),
    "anchor 30": Variation(anchor=30.0),
    # About as many tokens a step as 8 full rows have.
    "text a row": Variation({"blocks_a_step": 24, "micro_blocks": 12}, alone=True),
    "text a row, pooled": Variation(
        {"blocks_a_step": 24, "micro_blocks": 12}, alone=True, pool=1.0
    ),
    "text a row, pooled, mask 0.4": Variation(
        {"blocks_a_step": 24, "micro_blocks": 12, "mask_share": 0.4}, alone=True, pool=1.0
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


def rounds() -> int:
    """Count the rounds in which the trees of the fixed regressor grow."""
    return TOY_ROUNDS if "--toy" in sys.argv else ROUNDS


@dataclass(frozen=True)
class Rows:
    """Texts and prices of one judgement: the first ``fitted`` are fitted to, the rest asked for."""

    texts: Sequence[str]
    prices: np.ndarray
    fitted: int

    @property
    def asked(self) -> np.ndarray:
        """True prices of the rows that are asked for."""
        return self.prices[self.fitted :]


def rows_that_choose(loaded: Corpus, seed: int, documents: int) -> Rows:
    """Fit to the documents that are tuned on; ask for others of the training part."""
    tuned_on = subsets.tuning_texts(loaded, seed=seed)[:documents]
    taken = np.isin(loaded.text_ids, loaded.text_ids[tuned_on])
    taken[corpus.rows(loaded, "held_out")] = True
    others = np.flatnonzero(~taken)
    asked = np.random.default_rng(0).permutation(others)[:CHOOSING_ROWS]
    return _rows(loaded, tuned_on, asked)


def rows_that_report(loaded: Corpus) -> Rows:
    """Fit to the training part, and ask for the held-out part."""
    return _rows(loaded, corpus.rows(loaded, "train"), corpus.rows(loaded, "held_out"))


def _rows(loaded: Corpus, fitted: np.ndarray, asked: np.ndarray) -> Rows:
    both = np.concatenate([fitted, asked])
    return Rows([loaded.texts[row] for row in both], loaded.prices[both], len(fitted))


def _scale(name: str, layers: int, variation: Variation) -> float:
    """Share of the rate that a parameter of the transformer gets; 0 leaves it alone."""
    found = LAYER.search(name)
    place = int(found.group(1)) if found else -1 if "embeddings" in name else layers
    half = layers // 2
    lowest = {"all": -1, "layers": 0, "upper": half, "lower": -1}[variation.layers]
    if place < lowest or (variation.layers == "lower" and half <= place < layers):
        return 0.0
    return variation.layer_decay ** max(0, layers - 1 - place)


def varied(variation: Variation) -> Objective:
    """Build the objective of a variation: masked words, with some parts replaced."""
    plain = mlm.OBJECTIVE
    batch = _trimmed if variation.alone else plain.batch
    put_back = _put_back_less if variation.deeper else plain.put_back
    return dataclasses.replace(
        plain,
        lay_out=functools.partial(_lay_out, variation),
        open_model=functools.partial(_open, variation),
        batch=batch,
        groups=functools.partial(_groups, variation),
        put_back=put_back,
    )


def _lay_out(variation: Variation, opened: Encoder, examples: Examples, recipe: mlm.Recipe) -> Laid:
    """Lay out as the plain objective does, with rows and warm-up of the variation."""
    pack = _pack_alone if variation.alone else packing.pack
    laid = mlm.lay_out(opened, examples, recipe, pack=pack)
    warmup = min(variation.warmup, laid.plan.leaves[0] // 2)
    return dataclasses.replace(laid, plan=dataclasses.replace(laid.plan, warmup=warmup))


def _open(variation: Variation, base: Encoder, laid: Laid, recipe: mlm.Recipe) -> Opened:
    """Open as the plain objective does, with layers and loss of the variation."""
    opened = mlm.OBJECTIVE.open_model(base, laid, recipe)
    lacking, loss = opened.lacking, opened.loss
    if variation.deeper:
        lacking = [*lacking, *_deepen(opened.model, variation.deeper)]
    if variation.pool:
        loss = functools.partial(
            masked_model.summed_loss,
            head_sees=functools.partial(_pooled_rows, variation.pool),
            **opened.facts,
        )
    if variation.anchor:
        loss = _anchored(loss, copy.deepcopy(opened.model.base_model), variation.anchor)
    return dataclasses.replace(opened, lacking=lacking, loss=loss)


def _groups(variation: Variation, model: Any, recipe: mlm.Recipe) -> list[Group]:
    """Give each parameter the rate of its layer."""
    if (variation.layers, variation.layer_decay) == ("all", 1.0):
        return mlm.OBJECTIVE.groups(model, recipe)
    layers = model.config.num_hidden_layers - variation.deeper
    return [
        Group([parameter], recipe.learning_rate * _scale(name, layers, variation))
        for name, parameter in model.named_parameters()
    ]


def _layers(model: Any) -> torch.nn.ModuleList:
    """Find the list in which a model's layers stand."""
    lists = (each for each in model.base_model.modules() if isinstance(each, torch.nn.ModuleList))
    return next(each for each in lists if len(each) == model.config.num_hidden_layers)


def _deepen(model: Any, count: int) -> list[str]:
    """Put copies of the last layer on top; what they add is warmed up with the rest of the head."""
    known = set(dict(model.named_parameters()))
    stack = _layers(model)
    stack.extend(copy.deepcopy(stack[-1]) for _ in range(count))
    model.config.num_hidden_layers += count
    return [name for name, _ in model.named_parameters() if name not in known]


def _put_back_less(model: Any, opened: Encoder, recipe: mlm.Recipe) -> Any:
    """Leave out the layers that were put on top."""
    depth = encoder.transformer(opened.model).config.num_hidden_layers
    del _layers(model)[depth:]
    return mlm.OBJECTIVE.put_back(model, opened, recipe)


def _pack_alone(
    opened: Encoder, texts: Sequence[str], sizes: Sequence[int], *, whole_words: bool = False
) -> Blocks:
    """Lay one text in each row, cut at the encoder's length, instead of filling rows."""
    used = list(texts[: sizes[-1]])
    ids = encoder.tokenise(opened, used)
    tokens = np.full((len(ids), max(map(len, ids))), opened.model.tokenizer.pad_token_id, np.int32)
    for row, each in enumerate(ids):
        tokens[row, : len(each)] = each
    counts = np.cumsum([len(each) for each in ids])
    return Blocks(
        tokens, None, tuple(sizes), tuple(int(counts[size - 1]) for size in sizes),
        min(packing.HEAD_DOCUMENTS, sizes[0]),
    )  # fmt: skip


def _trimmed(rows: mlm.Rows, made: Sequence[Masked]) -> dict[str, torch.Tensor]:
    """Leave out the columns in which all rows of a batch are padding."""
    pad = rows.tokenizer.pad_token_id
    width = max(int(np.flatnonzero(row != pad)[-1]) + 1 for row, _, _ in made)
    cut = [(row[:width], places, labels) for row, places, labels in made]
    return mlm.OBJECTIVE.batch(rows, cut)


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

    def loss(model: Any, batch: Any) -> torch.Tensor:
        seen = []
        handle = model.base_model.register_forward_hook(
            lambda module, inputs, output: seen.append(output.last_hidden_state), prepend=True
        )
        try:
            summed = plain(model, batch)
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
    changes = (
        varied, _scale, _lay_out, _open, _groups, _layers, _deepen, _put_back_less, _pack_alone,
        _trimmed, _pooled_rows, _anchored,
    )  # fmt: skip
    return units.digest(map(inspect.getsource, changes))


def tuned(
    opened: Encoder, loaded: Corpus, variation: Variation, seed: int, documents: int | None = None
) -> Path:
    """Tune on a corpus's training texts, or the first of them; the folder of weights and story."""
    order = subsets.tuning_texts(loaded, seed=seed)[:documents]
    texts = [loaded.texts[index] for index in order]
    unseen = [loaded.texts[index] for index in corpus.rows(loaded, "held_out")[:HELD_OUT]]
    recipe = mlm.Recipe(**variation.changes, tuned_share=1.0, seed=seed)  # mixed in ``pooled``

    def fill(folder: Path) -> None:
        examples = Examples(texts, [len(texts)], unseen)
        began = time.perf_counter()
        (found,) = loop.finetune(varied(variation), opened, examples, recipe)
        torch.save(encoder.transformer(found.model).state_dict(), folder / "weights.pt")
        story = {
            "seconds": time.perf_counter() - began,
            "steps": found.steps,
            "held_out": found.held_out[-1][1] if found.held_out else math.nan,
        }
        (folder / "story.json").write_text(json.dumps(story))

    unit = units.unit(
        KIND,
        tuning=units.ENCODERS.identity(),
        encoder=opened.digest,
        texts=units.digest(texts),
        variation=dataclasses.asdict(variation),
        seed=seed,
        precision=str(loop.precision("auto")),
        code=_own_code(),
    )
    return units.build(unit, fill)


def soup(folders: Sequence[Path]) -> Path:
    """Average the weights of some tunings; a folder like theirs.

    After Wortsman et al. (2022), "Model soups", ICML, arXiv 2203.05482: the uniform soup.
    """

    def fill(folder: Path) -> None:
        each = [torch.load(one / "weights.pt", weights_only=True) for one in folders]
        mean = {
            name: torch.stack([one[name] for one in each]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in each[0].items()
        }
        torch.save(mean, folder / "weights.pt")

    return units.build(units.unit(KIND, soup=[one.name for one in folders]), fill)


def pooled(opened: Encoder, weights: Path | None, share: float, texts: Sequence[str]) -> np.ndarray:
    """Embed texts, once, with weights between factory and tuned; before Normalize, (n, d)."""

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
        dtype = loop.precision("auto")  # twice as fast; alike for factory and tuned
        with torch.autocast(encoder.device().type, dtype, enabled=dtype != torch.float32):
            rows = embedding.encode(dataclasses.replace(opened, model=model), texts)
        np.save(folder / "rows.npy", rows)

    unit = units.unit(
        KIND,
        embedding=units.EMBEDDINGS.identity(),
        encoder=opened.digest,
        weights=weights.name if weights else "",
        share=share if weights else 0,
        texts=units.digest(texts),
        precision=str(loop.precision("auto")),
    )
    return np.load(units.build(unit, fill) / "rows.npy")


def features(opened: Encoder, weights: Path | None, kind: str, texts: Sequence[str]) -> np.ndarray:
    """Lay out one kind of features, float32 (n, d) or (n, 2 d) beside the factory's."""
    share, normalised, beside = FEATURES[kind]
    parts = [pooled(opened, weights, share, texts)]
    parts += [pooled(opened, None, 0, texts)] if beside else []
    rows = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    return np.hstack(rows if normalised else parts)


def judge(opened: Encoder, weights: Path | None, kind: str, rows: Rows) -> dict[str, np.ndarray]:
    """Predict the rows that are asked for by both fixed regressors, once: trees and ridge."""
    seen = features(opened, weights, kind, rows.texts)
    fitted, prices = seen[: rows.fitted], rows.prices[: rows.fitted]

    def fill(folder: Path) -> None:
        grown = regressor.fit(
            fitted, prices, TREES, n_trees=rounds(), seed=0, forest=regressor.FOREST
        )
        ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(fitted, np.log(prices))
        asked = seen[rows.fitted :]
        guesses = {"trees": grown.predict(asked), "ridge": np.exp(ridge.predict(asked))}
        np.savez(folder / "guesses.npz", **guesses)

    unit = units.unit(
        KIND,
        evaluation=units.EVALUATIONS.identity(),
        seen=units.digest([seen.tobytes().hex()]),
        prices=rows.prices.tolist(),
        fitted=rows.fitted,
        rounds=rounds(),
        code=units.digest([inspect.getsource(judge)]),
    )
    return dict(np.load(units.build(unit, fill) / "guesses.npz"))


def open_corpora(asked: Mapping[str, str]) -> dict[str, Corpus]:
    """Load the corpora by name, at most ``ROWS`` rows of each."""
    folder = Path(os.environ.get("BAT_CORPORA", ""))
    return {
        name: corpus.load(data if data.startswith("auctions") else str(folder / data), limit=ROWS)
        for name, data in asked.items()
    }


def screen(
    opened: Encoder,
    asked: Mapping[str, str],
    alive: Sequence[str],
    rungs: Sequence[int],
    tracker: records.Tracker,
) -> None:
    """Halve the recipes at each rung by the mean gain in R² of log price over the corpora."""
    loaded = open_corpora(asked)
    for rung, documents in enumerate(rungs):
        gains: dict[tuple[str, str], list[float]] = {}
        for name in alive:
            for where, each in loaded.items():
                weights = tuned(opened, each, FIELD[name], 0, documents)
                rows = rows_that_choose(each, 0, documents)
                factory = judge(opened, None, "tuned", rows)
                for kind in FEATURES:
                    ours = judge(opened, weights, kind, rows)
                    told = {
                        model: bootstrap.paired(rows.asked, ours[model], factory[model])
                        for model in ours
                    }
                    gains.setdefault((name, kind), []).append(told["trees"]["r2_log"].value)
                    tell(tracker, f"{name}/{kind}, minus factory", where, rung, [0], told)
        mean = {pair: float(np.mean(values)) for pair, values in gains.items()}
        best = {name: max(mean[name, kind] for kind in FEATURES) for name in alive}
        alive = sorted(alive, key=lambda name: -best[name])[: max(2, math.ceil(len(alive) / 2))]
        print(f"rung {rung}: {documents} documents; mean gain in R² of log price, {list(loaded)}")
        for pair, value in sorted(mean.items(), key=lambda item: -item[1]):
            print(f"  {value:+.4f} {pair[0]}, {pair[1]}", flush=True)
        print(f"  go on with {alive}", flush=True)


def tell(
    tracker: records.Tracker,
    name: str,
    where: str,
    rung: int,
    seeds: Sequence[int],
    told: Mapping[str, Mapping[str, bootstrap.Interval]],
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
            flat = bootstrap.flat(gains)
            child.log(records.Metrics({f"{model}_{key}": value for key, value in flat.items()}))


def confirm(
    opened: Encoder,
    asked: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    averaged: bool,
    tracker: records.Tracker,
) -> None:
    """Report the held-out part for each pair; two embeddings also against two of equal width."""
    loaded = open_corpora(asked)
    names = list(loaded)
    for name, kind in pairs:
        for place, (where, each) in enumerate(loaded.items()):
            rows = rows_that_report(each)
            factory = judge(opened, None, "tuned", rows)
            own = _by_seeds(opened, each, FIELD[name], seeds, averaged, kind, rows)
            compared = [("own minus factory", own, factory)]
            if FEATURES[kind][2]:
                elsewhere = loaded[names[place - 1]]
                control = _by_seeds(opened, elsewhere, FIELD[name], seeds, averaged, kind, rows)
                compared += [
                    (f"control, tuned on {names[place - 1]}, minus factory", control, factory),
                    ("own minus control", own, control),
                ]
            for label, ours, theirs in compared:
                told = {
                    model: bootstrap.paired(rows.asked, ours[model], theirs[model])
                    for model in factory
                }
                told_of = f"{name}/{kind}{', soup' if averaged else ''}, {label}"
                tell(tracker, told_of, where, -1, seeds, told)


def _by_seeds(
    opened: Encoder,
    source: Corpus,
    variation: Variation,
    seeds: Sequence[int],
    averaged: bool,
    kind: str,
    rows: Rows,
) -> dict[str, np.ndarray]:
    """Predict what is asked for (seeds, t) from encoders tuned on a source, by each regressor.

    ``averaged`` makes one encoder of them all: then the result is (1, t).
    """
    encoders = [tuned(opened, source, variation, seed) for seed in seeds]
    if averaged:
        encoders = [soup(encoders)]
    found = [judge(opened, one, kind, rows) for one in encoders]
    return {model: np.stack([one[model] for one in found]) for model in found[0]}


def _names(
    parser: argparse.ArgumentParser, asked: argparse.Namespace, corpora: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Read the recipes to screen, and the pairs of recipe and features to confirm."""
    names = asked.recipes.split(";") if asked.recipes else list(FIELD)
    if unknown := set(names) - set(FIELD):
        parser.error(f"{sorted(unknown)}: expected some of {list(FIELD)}")
    pairs = []
    for pair in asked.confirm.split(";") if asked.confirm else ():
        name, _, kind = pair.partition("/")
        if name not in FIELD or kind not in FEATURES:
            parser.error(f"{pair!r}: expected one of {list(FIELD)} / one of {list(FEATURES)}")
        if FEATURES[kind][2] and corpora < 2:
            parser.error(f"{pair!r}: a control needs a second corpus")
        pairs.append((name, kind))
    return names, pairs


def main() -> None:
    """Screen the field, or confirm some pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--corpora", help="names with commas between; all when left out")
    parser.add_argument("--recipes", help="names with ; between, to screen; all when left out")
    parser.add_argument("--confirm", help="recipe/features pairs with ; between")
    parser.add_argument("--seeds", default="0,1,2", help="for --confirm")
    parser.add_argument(
        "--soup", action="store_true", help="confirm the mean of the seeds' weights"
    )
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
    names, pairs = _names(parser, asked, len(corpora))
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    with tracking.run("recipe") as tracker:
        if asked.confirm:
            seeds = [int(seed) for seed in asked.seeds.split(",")]
            confirm(opened, corpora, pairs, seeds, asked.soup, tracker)
        else:
            screen(opened, corpora, names, TOY_RUNGS if asked.toy else RUNGS, tracker)


if __name__ == "__main__":
    main()
