"""Arms of a study (subset size × seed): tune and evaluate what is missing, choose the best."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import (
    auctions,
    baselines,
    checks,
    cli,
    corpus,
    encoder,
    mlm,
    outcome,
    records,
    regressor,
    scaling,
    search,
    supervised,
    units,
)
from bat.corpus import Corpus
from bat.encoder import Encoder
from bat.outcome import Outcome, Scored

SANITY_TEXTS = 32
SANITY_DIFFERENCE = 1e-5  # rounding of float32; a lost Normalize differs by far more
HELD_OUT_TEXTS = 1_000  # more than fill the blocks of the held-out loss
DIAGNOSTIC_ROWS = 500  # a 500 × 500 matrix of cosines is plenty for a mean

KEPT_BYTES = 5e9  # of encoders that one study leaves in MLflow: 57 of the default one (convention)
DERIVED = ("steps", "blocks_a_step", "head_warmed", "masked_only")  # told by the tuning itself

Floats = npt.NDArray[np.float64]
Tuner = Callable[[int], Iterator["TunedFolder | None"]]  # seed -> the encoder of each size


@dataclass(frozen=True)
class Asked:
    """What a study is to do, beside its corpus and its factory encoder."""

    sizes: Sequence[int]  # rising numbers of tuning documents; 0 is the factory encoder
    seeds: Sequence[int]  # each draws its own order, masks and search
    trials: int  # settings that each search tries
    recipe: mlm.Recipe  # of the tuning; its seed is replaced
    schedule: str  # one_pass or independent
    finetune_on: str  # train or all
    features: str  # of ``cli.FEATURES``: what the regressor of a tuned arm reads
    baselines: Sequence[str]  # names of ``baselines.LABELS``
    margin: float  # share of the gain that one may forgo
    stop_when_enough: bool  # leave out sizes that, by validation, cannot change the answer
    keep: str  # which encoders to log: all (see ``kept``), best or none


@dataclass(frozen=True)
class Prepared:
    """A corpus that has passed the checks, and what they found."""

    corpus: Corpus
    token_counts: npt.NDArray[np.int64]  # (n,), of the whole texts
    findings: tuple[checks.Finding, ...]

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Indices of one part's rows."""
        return corpus.rows(self.corpus, part)


@dataclass(frozen=True)
class Pass:
    """One tuning over nested texts, from which the encoder of each size comes."""

    texts: Sequence[str]  # in nested order
    sizes: Sequence[int]  # rising, without 0
    recipe: mlm.Recipe
    held_out: Sequence[str]  # for the loss on unseen text


@dataclass(frozen=True)
class TunedFolder:
    """A tuned encoder on disk with the story of its tuning (the fields of ``mlm.Tuned``)."""

    folder: Path
    story: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one set of features is worth: the regressor found on it, and its predictions."""

    fitted: regressor.Regressor
    found: Mapping[str, Any]  # settings, n_trees, smear, mae (cross-validated), seconds
    held_out: Floats  # (t,), of the training rows by trees that have not seen them
    trials: Sequence[Mapping[str, Any]]
    predictions: Floats  # (n,), every row of the corpus
    validation_mae: float


@dataclass(frozen=True)
class Arm:
    """One encoder of a study, evaluated."""

    documents: int
    seed: int
    folder: Path
    beside: Path | None  # of the factory encoder, where its embedding is read too
    story: Mapping[str, Any]  # of the tuning; empty for the factory encoder
    evaluation: Evaluation
    seconds: Mapping[str, float]
    facts: Mapping[str, float]  # metrics of the tuning and the embeddings


def load(config: cli.DataConfig) -> Corpus:
    """Load the corpus that a command names.

    Raises:
        InputError: the corpus cannot be used; the message says why.
    """
    return corpus.load(
        config.data,
        text_column=config.text_column,
        price_column=config.price_column,
        group_column="" if config.group_column == "none" else config.group_column,
        time_column="" if config.time_column == "none" else config.time_column,
        limit=config.limit,
    )


def prepare(loaded: Corpus, opened: Encoder) -> Prepared:
    """Look for what could make a corpus's numbers untrue, before anything is computed with it.

    Raises:
        InputError: setting near repeats aside leaves a part without rows.
    """
    checked, findings = checks.run(loaded)
    counts = encoder.token_counts(opened, checked.texts)
    findings += checks.long_texts(checked, counts, opened.max_tokens)
    return Prepared(checked, counts, tuple(findings))


def tuning_texts(prepared: Prepared, *, seed: int, finetune_on: str) -> list[str]:
    """List the distinct texts to tune on, in the nested order of a seed."""
    order = corpus.tuning_texts(prepared.corpus, seed=seed, finetune_on=finetune_on)
    return [prepared.corpus.texts[index] for index in order]


def held_out_texts(prepared: Prepared, finetune_on: str) -> list[str]:
    """List texts for the loss on unseen text, of the validation part; none if all are tuned on."""
    if finetune_on == "all":
        return []
    return [prepared.corpus.texts[index] for index in prepared.rows("validation")[:HELD_OUT_TEXTS]]


def tune(base: Encoder, asked: Pass, only: Sequence[int] | None = None) -> Iterator[TunedFolder]:
    """Tune one pass over the texts; encoders finished before, by the same inputs, are reused.

    Args:
        base: the factory encoder.
        asked: what to tune on, and how.
        only: the sizes wanted; all when left out.

    Yields:
        The encoder of each size, smallest first; work for the next one starts when it is asked
        for. Of several processes that tune together, all but the first yield nothing.

    Raises:
        RuntimeError: a saved encoder does not reproduce the embeddings of the one in memory.
    """
    texts, sizes, recipe = asked.texts, asked.sizes, asked.recipe
    wanted = list(sizes if only is None else only)
    checkpoint, folders = places(base, asked)
    missing = mlm.agreed([size for size in wanted if not folders[size].exists()])
    bars: list[Any] = []  # the one on show: each size has its own, between those of other stages
    tunings = mlm.finetune(
        base,
        texts,
        sizes,
        recipe,
        held_out=asked.held_out,
        only=missing,
        checkpoint=checkpoint,
        progress=functools.partial(_show_loss, bars),
    )
    tokens = 0
    before = encoder.rows_seen(base.folder) or frozenset()  # by a base that was tuned itself
    for size in wanted:
        if size in missing:
            total = mlm.work(base, texts, sizes, recipe, [s for s in missing if s <= size])
            what = f"tuning, seed {recipe.seed}, {size:,}"
            with cli.bar(what, total - tokens, "token", shown=mlm.is_main()) as bar:
                bars[:] = [bar]
                tuned = next(tunings)
            tokens = total
            if mlm.is_main():
                seen = {*corpus.row_digests(texts[:size]), *before}
                fill = functools.partial(_save_tuned, tuned, seen, texts[:SANITY_TEXTS])
                units.build("encoders", folders[size].name, fill)
        if mlm.is_main():
            yield read_tuned(folders[size])
    forget_trunk(checkpoint)


def forget_trunk(checkpoint: Path) -> None:
    """Remove the state of a trunk, with the pieces of it that a cluster has left beside it."""
    for state in checkpoint.parent.glob(f"{checkpoint.stem}*"):
        state.unlink(missing_ok=True)


def places(base: Encoder, asked: Pass) -> tuple[Path, dict[int, Path]]:
    """Say where the cache has what a pass makes, named by all that it depends on.

    Returns:
        The file for the state of its trunk until all is finished, and the folder of each size.
    """
    trunk = units.key(
        base=base.digest,
        base_seen=sorted(encoder.rows_seen(base.folder) or ()),
        texts=units.digest(asked.texts[: asked.sizes[-1]]),
        held_out=units.digest(asked.held_out),
        sizes=list(asked.sizes),
        recipe=dataclasses.asdict(asked.recipe),
        precision=str(mlm.precision(asked.recipe.precision)),
        code=units.code(mlm),
    )
    names = {size: units.key(trunk=trunk, size=size) for size in asked.sizes}
    folders = {size: units.folder("encoders", name) for size, name in names.items()}
    return units.home() / "trunks" / f"{trunk}.pt", folders


def _show_loss(bars: Sequence[Any], tokens: int, loss: Any) -> None:
    bars[0].update(tokens)
    bars[0].set_postfix_str(f"loss {float(loss):.3f}", refresh=False)


def _save_tuned(tuned: mlm.Tuned, seen: Iterable[str], probe: Sequence[str], folder: Path) -> None:
    """Save a tuned encoder, open it again, and see that it embeds as before."""
    inside = folder / "encoder"
    with encoder.quiet():
        tuned.model.save_pretrained(str(inside))
    (inside / encoder.SEEN_FILE).write_text(json.dumps(sorted(seen)))
    in_memory = Encoder(tuned.model, "", inside, "")
    again = encoder.open_encoder(str(inside))
    difference = np.abs(encoder.encode(in_memory, probe) - encoder.encode(again, probe)).max()
    if not difference < SANITY_DIFFERENCE:
        raise RuntimeError(
            f"the encoder saved for {tuned.documents} documents differs from the one in memory by "
            f"{difference:.2g} in its embeddings; expected less than {SANITY_DIFFERENCE}"
        )
    story = dataclasses.asdict(dataclasses.replace(tuned, model=None))
    del story["model"]
    story |= {"reload_difference": float(difference), "digest": again.digest}
    (folder / "story.json").write_text(json.dumps(story))


def read_tuned(folder: Path) -> TunedFolder:
    """Open what ``tune`` has finished."""
    return TunedFolder(folder / "encoder", json.loads((folder / "story.json").read_text()))


def embed(opened: Encoder, prepared: Prepared, what: str) -> encoder.Embeddings:
    """Embed every row of the corpus, with a bar."""
    texts = prepared.corpus.texts
    distinct = len(set(texts))
    with cli.bar(f"embedding, {what}", distinct, "text") as bar:
        return encoder.embed(opened, texts, progress=bar.update)


def evaluate(
    features: npt.NDArray[np.float32], prepared: Prepared, *, trials: int, seed: int, what: str
) -> Evaluation:
    """Search settings and fit a regressor on the training rows, and predict all rows.

    The search sees the training part alone; validation is kept for the choice between arms.
    Finished before by the same inputs, it is read and not repeated.

    Args:
        features: float32, shape (n, d), a row for each of the corpus's.
        prepared: the corpus.
        trials: settings that the search tries.
        seed: of the search's folds and sampler.
        what: name on the bar.
    """
    unit = evaluation_folder(features, prepared, trials=trials, seed=seed).name
    fill = functools.partial(_evaluate, features, prepared, trials, seed, what)
    return _read_evaluation(units.build("evaluations", unit, fill), prepared)


def evaluation_folder(
    features: npt.NDArray[np.float32], prepared: Prepared, *, trials: int, seed: int
) -> Path:
    """Say where the cache has what ``evaluate`` finds, or will have it."""
    unit = units.key(
        features=hashlib.sha256(np.ascontiguousarray(features).data).hexdigest(),
        corpus=prepared.corpus.digest,
        order=units.digest(prepared.corpus.texts),
        groups=prepared.corpus.group_ids.tolist(),
        trials=trials,
        seed=seed,
        code=units.code(search, regressor),
    )
    return units.folder("evaluations", unit)


def _evaluate(
    features: npt.NDArray[np.float32],
    prepared: Prepared,
    trials: int,
    seed: int,
    what: str,
    folder: Path,
) -> None:
    train, prices = prepared.rows("train"), prepared.corpus.prices
    began = time.monotonic()
    with cli.bar(f"search, {what}", trials, "trial") as bar:
        found = search.search(
            np.ascontiguousarray(features[train]),
            prices[train],
            groups=prepared.corpus.group_ids[train],
            trials=trials,
            seed=seed,
            progress=functools.partial(_show_trial, bar),
        )
    fitted = search.fit(found, features[train], prices[train], seed=seed)
    regressor.save(fitted, folder)
    np.save(folder / "predictions.npy", fitted.predict(features))
    kept = dataclasses.asdict(found) | {"seconds": time.monotonic() - began}
    np.save(folder / "held_out.npy", kept.pop("held_out"))
    (folder / "found.json").write_text(json.dumps(kept, default=float))


def _read_evaluation(folder: Path, prepared: Prepared) -> Evaluation:
    predictions = np.load(folder / "predictions.npy")
    validation = prepared.rows("validation")
    found = json.loads((folder / "found.json").read_text())
    return Evaluation(
        fitted=regressor.load(folder),
        trials=found.pop("trials"),
        found=found,
        held_out=np.load(folder / "held_out.npy"),
        predictions=predictions,
        validation_mae=float(
            np.abs(predictions[validation] - prepared.corpus.prices[validation]).mean()
        ),
    )


def _show_trial(bar: Any, done: int, total: int, best: float) -> None:
    bar.total = total
    bar.update(done - bar.n)
    bar.set_postfix_str(f"best MAE {best:,.4g}", refresh=False)


def diagnose(embeddings: npt.NDArray[np.float32]) -> dict[str, float]:
    """Describe how embeddings fill their space; tuning by masked words tends to narrow it.

    Returns:
        ``mean_cosine`` between different rows, and ``effective_rank``: the exponential of the
        entropy of the singular values' shares (Roy and Vetterli 2007).
    """
    rows = np.asarray(embeddings[:DIAGNOSTIC_ROWS], np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    n = len(rows)
    shares = np.linalg.svd(rows, compute_uv=False)
    shares = shares[shares > 0] / shares.sum()
    return {
        "mean_cosine": float((cosines.sum() - np.trace(cosines)) / (n * (n - 1))),
        "effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
    }


def run(
    base: Encoder,
    prepared: Prepared,
    asked: Asked,
    tracker: records.Tracker,
    tuned_by: Tuner | None = None,
) -> tuple[Outcome, Arm, list[Path]]:
    """Run all arms and baselines of a study, each logged as a child as soon as it is done.

    Args:
        base: the factory encoder: the arm of 0 documents.
        prepared: the corpus.
        asked: what the study is to do.
        tracker: takes the study's and the children's records.
        tuned_by: gives the encoders of a seed, as ``tuned`` does and unless left out; what else
            it leaves in the cache is not computed again.

    Returns:
        What was found, the arm that validation chooses, and where the cache holds all that was
        tuned.

    Raises:
        InputError: ``stop_when_enough`` without the factory encoder to compare with.
    """
    if asked.stop_when_enough and 0 not in asked.sizes:
        raise cli.InputError(
            "stop_when_enough=true without the size 0",
            "the factory encoder among the sizes: a share of its error decides",
            "add 0 to sizes",
        )
    about = _about(base, prepared, asked)
    tracker.log(outcome.about_record(about))
    here = functools.partial(tuned, base, prepared, asked)
    arms, stop = _arms(base, prepared, asked, tracker, tuned_by or here)
    extra = [
        _baseline(name, base, prepared, asked.trials, asked.seeds[0], tracker)
        for name in asked.baselines
    ]
    scored = [*(_scored(arm, prepared) for arm in arms), *extra]
    test = prepared.rows("test")
    prices, groups = prepared.corpus.prices[test], prepared.corpus.group_ids[test]
    found = outcome.assemble(about, prices, scored, stop, arms[-1].documents, groups)
    best = next(arm for arm in arms if (arm.documents, arm.seed) == found.chosen)
    _log_kept(base, asked, arms, best, tracker)
    return found, best, [arm.folder.parent for arm in arms if arm.documents]


def _arms(
    base: Encoder, prepared: Prepared, asked: Asked, tracker: records.Tracker, tuned_by: Tuner
) -> tuple[list[Arm], scaling.Stop | None]:
    """Run the arms in rising order of size, seed by seed; the last look at whether to stop.

    Where ``stop_when_enough`` ends the first seed early, the other seeds visit the same sizes.
    """
    arms: list[Arm] = []
    visited, stop = list(asked.sizes), None
    to_keep = kept(base, asked)
    for seed in asked.seeds:
        for documents, folder in zip(visited, tuned_by(seed), strict=False):
            arm = _arm(base, prepared, documents, seed, asked, folder)
            arms.append(arm)
            _log_arm(arm, prepared, asked.finetune_on, (documents, seed) in to_keep, tracker)
            is_first = seed == asked.seeds[0]
            if asked.stop_when_enough and is_first and documents not in (0, asked.sizes[-1]):
                stop = _stop(prepared, arms, asked.sizes[-1], asked.margin)
                tracker.log(outcome.stop_record(stop, documents))
                if stop.stop:
                    visited = [size for size in asked.sizes if size <= documents]
                    break
    return arms, stop


def _log_kept(
    base: Encoder, asked: Asked, arms: Sequence[Arm], best: Arm, tracker: records.Tracker
) -> None:
    """Say which encoders the study keeps, and log the best one where it alone is wanted."""
    if asked.keep == "best":
        tracker.log(records.EncoderModel("encoder", best.folder))
        mine = [best]
    else:
        to_keep = kept(base, asked)
        mine = [arm for arm in arms if (arm.documents, arm.seed) in to_keep]
    names = ", ".join(outcome.arm_name(arm.documents, arm.seed) for arm in mine)
    tracker.log(records.Tags({"encoders_kept": names or "in the registered pair alone"}))


def kept(base: Encoder, asked: Asked) -> frozenset[tuple[int, int]]:
    """Choose the encoders that arms log: the first seed's, the largest sizes that have room.

    Returns:
        Documents and seed of each; none where not all are wanted.
    """
    room = int(KEPT_BYTES // weight_bytes(base)) if asked.keep == "all" else 0
    return frozenset((size, asked.seeds[0]) for size in asked.sizes[::-1][:room])


def weight_bytes(opened: Encoder) -> int:
    """Tell how much room the weights of an encoder take."""
    return sum(path.stat().st_size for path in opened.folder.rglob("*.safetensors"))


def _about(base: Encoder, prepared: Prepared, asked: Asked) -> outcome.About:
    loaded = prepared.corpus
    medians = loaded.medians
    return outcome.About(
        corpus=loaded.name,
        digest=loaded.digest,
        parts={part: len(prepared.rows(part)) for part in (*corpus.PARTS, corpus.ASIDE)},
        findings=prepared.findings,
        ceiling=None if medians is None else auctions.ceiling(medians[prepared.rows("test")]),
        base=base.name,
        finetune_on=asked.finetune_on,
        sizes=list(asked.sizes),
        seeds=list(asked.seeds),
        baselines=list(asked.baselines),
        margin=asked.margin,
        features=asked.features,
        parts_by=loaded.parts_by,
        base_protocol=protocol(base, prepared),
    )


def _scored(arm: Arm, prepared: Prepared) -> Scored:
    return Scored(
        documents=arm.documents,
        seed=arm.seed,
        baseline="",
        predictions=arm.evaluation.predictions[prepared.rows("test")],
        validation_mae=arm.evaluation.validation_mae,
        seconds=arm.seconds,
    )


def _stop(prepared: Prepared, arms: Sequence[Arm], full: int, margin: float) -> scaling.Stop:
    """Ask, by validation errors alone, whether larger sizes can still change the answer."""
    validation = prepared.rows("validation")
    prices = prepared.corpus.prices[validation]
    errors = [np.abs(arm.evaluation.predictions[validation] - prices) for arm in arms]
    documents = [arm.documents for arm in arms if arm.documents]
    groups = prepared.corpus.group_ids[validation]
    return scaling.can_stop(
        documents, errors[1:], errors[0], full=full, margin=margin, groups=groups
    )


def tuned(
    base: Encoder, prepared: Prepared, asked: Asked, seed: int
) -> Iterator[TunedFolder | None]:
    """Tune, on this machine, what the arms of one seed need.

    Yields:
        For each size, in order, its encoder; None for the factory's. With ``stop_when_enough``
        work for the next one starts when it is asked for.
    """
    found = (each for one in passes(base, prepared, asked, seed) for each in tune(base, one))
    if not asked.stop_when_enough:  # the tuner's memory is then free before embedding starts
        found = (each for each in list(found))
    yield from (next(found) if size else None for size in asked.sizes)


def passes(base: Encoder, prepared: Prepared, asked: Asked, seed: int) -> list[Pass]:
    """Lay out the tunings of a seed: all sizes in one, or each by itself.

    By itself each takes the batch that the smallest has, so that the arms differ in size alone.
    """
    sizes = [size for size in asked.sizes if size]
    if not sizes:
        return []
    recipe = dataclasses.replace(asked.recipe, seed=seed)
    texts = tuning_texts(prepared, seed=seed, finetune_on=asked.finetune_on)
    held_out = held_out_texts(prepared, asked.finetune_on)
    if asked.schedule == "one_pass":
        return [Pass(texts, sizes, recipe, held_out)]
    count = mlm.blocks_a_step(mlm.pack(base, texts, sizes), recipe)
    recipe = dataclasses.replace(recipe, blocks_a_step=count)
    return [Pass(texts, [size], recipe, held_out) for size in sizes]


def _arm(
    base: Encoder,
    prepared: Prepared,
    documents: int,
    seed: int,
    asked: Asked,
    tuned: TunedFolder | None,
) -> Arm:
    """Embed and evaluate one encoder."""
    what = f"{documents:,}" if documents else "factory"
    opened = encoder.open_encoder(str(tuned.folder)) if tuned else base
    embeddings = embed(opened, prepared, what)
    embedded = encoder.embedding_seconds(opened, prepared.corpus.texts)
    beside = beside_tuned(base, asked) if tuned else None
    if beside and not encoder.is_kept(beside, prepared.corpus.texts):
        embed(beside, prepared, "factory")
    rows = encoder.features(opened, beside, prepared.corpus.texts)
    evaluation = evaluate(rows, prepared, trials=asked.trials, seed=seed, what=what)
    facts: dict[str, float] = diagnose(embeddings)
    seconds = {"embedding": embedded, "search": evaluation.found["seconds"], "tuning": 0.0}
    if tuned:
        story = tuned.story
        seconds["tuning"] = story["seconds"]
        facts |= {
            "tokens": story["tokens"],
            "tokens_per_second": tokens_per_second(story),
            "reload_difference": story["reload_difference"],
        }
        if story["held_out"]:
            facts["mlm_loss_held_out"] = story["held_out"][-1][1]
    return Arm(
        documents,
        seed,
        opened.folder,
        beside.folder if beside else None,
        tuned.story if tuned else {},
        evaluation,
        seconds,
        facts,
    )


def beside_tuned(base: Encoder, asked: Asked) -> Encoder | None:
    """Hand out the encoder whose embedding stands beside those of the tuned ones, if any does."""
    return base if asked.features == cli.FACTORY_TUNED else None


def features(arm: Arm, prepared: Prepared) -> npt.NDArray[np.float32]:
    """Lay out what an arm's regressor reads, a row for each of the corpus's."""
    beside = encoder.open_encoder(str(arm.beside)) if arm.beside else None
    return encoder.features(encoder.open_encoder(str(arm.folder)), beside, prepared.corpus.texts)


def _log_arm(
    arm: Arm, prepared: Prepared, finetune_on: str, keep: bool, tracker: records.Tracker
) -> None:
    """Log one arm as a child: the pair as models, its numbers, settings, and corpus."""
    if tracker.adopt(outcome.arm_name(arm.documents, arm.seed)):
        return
    with tracker.child(outcome.arm_name(arm.documents, arm.seed)) as child:
        child.log(records.Params({"documents": arm.documents, "seed": arm.seed} | _told(arm.story)))
        word = "kept" if keep else "not kept"
        child.log(records.Tags({"arm": "encoder", "finetune_on": finetune_on, "encoder": word}))
        child.log(records.Metrics({"documents": arm.documents, **arm.facts}))
        for record in evaluation_records(arm.evaluation, prepared):
            child.log(record)
        if keep:
            child.log(records.EncoderModel("encoder", arm.folder))
        child.log(outcome.seconds_record(arm.seconds))


def _told(story: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a tuning says of itself so that it stands after what tells the arms apart."""
    return {f"tuning.{name}": story[name] for name in DERIVED if name in story}


def dataset_record(prepared: Prepared, context: str) -> records.Record:
    """Say which corpus a run has read, and what for."""
    loaded = prepared.corpus
    return records.Dataset(
        loaded.name, loaded.digest, loaded.texts, loaded.prices.tolist(), context
    )


def _predicted(
    prepared: Prepared, predictions: Floats, validation_mae: float
) -> Iterable[records.Record]:
    """Say what was predicted for the test rows, of predictions (n,) for all."""
    loaded, test = prepared.corpus, prepared.rows("test")
    return outcome.prediction_records(
        loaded.lines[test],
        loaded.prices[test],
        loaded.group_ids[test],
        predictions[test],
        validation_mae,
    )


def evaluation_records(evaluation: Evaluation, prepared: Prepared) -> Iterable[records.Record]:
    """Say what an evaluation found, in the form a run keeps."""
    yield from _predicted(prepared, evaluation.predictions, evaluation.validation_mae)
    yield records.Metrics({"cv_mae": evaluation.found["mae"]})
    settings = {f"regressor.{name}": value for name, value in evaluation.found["settings"].items()}
    extra = {f"regressor.{name}": evaluation.found[name] for name in ("n_trees", "smear")}
    yield records.Params(settings | extra)
    yield records.Table("trials.csv", list(evaluation.trials))
    yield dataset_record(prepared, "study")
    yield records.RegressorModel("regressor", evaluation.fitted)


def _baseline(
    name: str,
    base: Encoder,
    prepared: Prepared,
    trials: int,
    seed: int,
    tracker: records.Tracker,
) -> Scored:
    """Evaluate one baseline, and log it as a child."""
    loaded, test = prepared.corpus, prepared.rows("test")
    validation = prepared.rows("validation")
    predictions, found, seconds = baseline(name, base, prepared, trials=trials, seed=seed)
    scored = Scored(
        documents=None,
        seed=seed,
        baseline=name,
        predictions=predictions[test],
        validation_mae=float(np.abs(predictions - loaded.prices)[validation].mean()),
        seconds={name if name == "supervised" else "baselines": seconds},
    )
    if tracker.adopt(f"baseline={name}"):
        return scored
    with tracker.child(f"baseline={name}") as child:
        child.log(records.Tags({"arm": "baseline", "baseline": name}))
        logged = (
            evaluation_records(found, prepared)
            if found
            else _predicted(prepared, predictions, scored.validation_mae)
        )
        for record in logged:
            child.log(record)
        child.log(outcome.seconds_record(scored.seconds))
    return scored


def baseline(
    name: str, base: Encoder, prepared: Prepared, *, trials: int, seed: int
) -> tuple[Floats, Evaluation | None, float]:
    """Predict all rows by one baseline; done before by the same inputs, it is read.

    Returns:
        Predictions (n,); where settings were searched as for the arms, what was found; and the
        seconds that it took.
    """
    searched = name in baselines.SEARCHED

    def fill(folder: Path) -> None:
        began = time.monotonic()
        if searched:
            features = _baseline_features(name, base, prepared, seed)
            _evaluate(features, prepared, trials, seed, baselines.LABELS[name], folder)
        else:
            np.save(folder / "predictions.npy", _baseline_predictions(name, base, prepared, seed))
        (folder / "seconds").write_text(str(time.monotonic() - began))

    unit = baseline_folder(name, base, prepared, trials=trials, seed=seed).name
    folder = units.build("baselines", unit, fill)
    found = _read_evaluation(folder, prepared) if searched else None
    seconds = float((folder / "seconds").read_text())
    return np.load(folder / "predictions.npy"), found, seconds


def baseline_folder(
    name: str, base: Encoder, prepared: Prepared, *, trials: int, seed: int
) -> Path:
    """Say where the cache has what ``baseline`` finds, or will have it."""
    unit = units.key(
        name=name,
        base=base.digest,
        corpus=prepared.corpus.digest,
        order=units.digest(prepared.corpus.texts),
        groups=prepared.corpus.group_ids.tolist(),
        trials=trials,
        seed=seed,
        device=encoder.device().type,
        precision=str(mlm.precision("auto")),
        code=units.own_code(),  # they draw on most of it
    )
    return units.folder("baselines", unit)


def _baseline_features(
    name: str, base: Encoder, prepared: Prepared, seed: int
) -> npt.NDArray[np.float32]:
    texts = prepared.corpus.texts
    if name == "tfidf":
        return baselines.tfidf_svd(texts, prepared.rows("train"), seed=seed)
    return baselines.lengths(texts) if name == "lengths" else baselines.static(base, texts)


def _baseline_predictions(name: str, base: Encoder, prepared: Prepared, seed: int) -> Floats:
    loaded, train = prepared.corpus, prepared.rows("train")
    if name == "median":
        return baselines.median(loaded.prices, train)
    if name == "ridge":
        return baselines.tfidf_ridge(loaded.texts, loaded.prices, train, groups=loaded.group_ids)
    with cli.bar(name, supervised.PASSES * len(train), "text") as bar:
        return supervised.predict(
            base, loaded.texts, loaded.prices, train, seed=seed, progress=bar.update
        )


def tuning_records(tuned: TunedFolder, prepared: Prepared) -> Iterable[records.Record]:
    """Say how one tuning went, in the form a run keeps, and hand over its encoder."""
    story = tuned.story
    for name, points in (("mlm_loss", story["losses"]), ("mlm_loss_held_out", story["held_out"])):
        for step, loss in points:
            yield records.Metrics({name: loss}, step=step)
    yield records.Metrics(
        {
            "documents": story["documents"],
            "tokens": story["tokens"],
            "tokens_per_second": tokens_per_second(story),
            "reload_difference": story["reload_difference"],
        }
    )
    yield records.Params({"documents": story["documents"]} | _told(story))
    yield dataset_record(prepared, "tune")
    yield records.EncoderModel("encoder", tuned.folder)


def tokens_per_second(story: Mapping[str, Any]) -> float:
    """Tokens, padding included, that a tuning took in a second of its own time."""
    return float(story["tokens_trained"] / max(story["seconds"], 1e-9))


def protocol(opened: Encoder, prepared: Prepared) -> str:
    """Tell whether an encoder has seen test texts: inductive, transductive or unknown."""
    seen = encoder.rows_seen(opened.folder)
    if seen is None:
        return "unknown"
    test = corpus.row_digests([prepared.corpus.texts[row] for row in prepared.rows("test")])
    return "transductive" if seen & set(test) else "inductive"
