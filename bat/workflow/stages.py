"""What the tasks of a study do: tune, embed, search and fit; and how their folders are read."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import cli, drafts, units
from bat.data import corpus
from bat.models import encoder, encoder_opening, predictors, regressor, ridge_column, search
from bat.models.embedding import encode, encode_batches
from bat.models.encoder import Encoder
from bat.models.prediction import Predictor
from bat.models.predictors import PAIR, Cost
from bat.tuning import loop, model_card
from bat.tuning.objective import Examples, Objective
from bat.tuning.objectives import table
from bat.workflow.preparation import Prepared
from bat.workflow.tasks import Context

PROBED_TEXTS = 8  # of an encoder, before a study begins
SANITY_TEXTS = 32
SANITY_DIFFERENCE = 1e-5  # rounding of float32; a lost Normalize differs by far more
DIAGNOSTIC_ROWS = 500  # a 500 × 500 matrix of cosines is plenty for a mean
STATE, BEFORE = "state.pt", "before"  # of a trunk: its file; what it is called where it goes on
ROWS, PLACES, SECONDS = "rows.npy", "places.npy", "seconds"  # of a shard of embeddings
ABOUT_EMBEDDING, COST = "embedding.json", "cost.json"  # in the folder of an evaluation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TunedFolder:
    """A tuned encoder on disk with the story of its tuning (the fields of ``loop.Tuned``)."""

    folder: Path
    story: Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one set of features is worth: the regressor found on it, and its predictions."""

    fitted: regressor.Regressor
    found: Mapping[str, Any]  # settings, n_trees, smear, mae (cross-validated), seconds
    # (t,), of the training rows by trees that have not seen them; NaN where no fold holds one out
    out_of_fold: Floats
    trials: Sequence[Mapping[str, Any]]
    predictions: Floats  # (n,), every row of the corpus

    @property
    def train_mae(self) -> float:
        """Mean absolute out-of-fold error of the training rows: what the choice of arms goes by."""
        return float(self.found["mae"])


# Tuning.


@dataclass(frozen=True)
class Tuning:
    """One tuning over nested texts, from which the encoder of each size comes."""

    objective: Objective
    examples: Examples
    recipe: Any  # the objective's own

    @classmethod
    def of(cls, context: Context, arguments: Mapping[str, Any]) -> Tuning:
        """Read the arguments of ``trunk`` and ``branch``: objective, seed, sizes, and ``batch_of``.

        A size that is tuned by itself takes the batch of ``batch_of``, the study's smallest, so
        that the arms differ in size alone.
        """
        name, seed = arguments["objective"], arguments["seed"]
        objective, tuned_by = table.named(name), recipe_of(context, name, seed)
        texts = context.order(seed)
        if smallest := arguments["batch_of"]:
            tuned_by = objective.alike(context.base, texts, smallest, tuned_by)
        return cls(objective, Examples(texts, arguments["sizes"], context.held_out), tuned_by)


def recipe_of(context: Context, objective: str, seed: int) -> Any:
    """Give the recipe of an objective: the study's, or the usual one where that is of another."""
    way, given = table.named(objective), context.spec.recipe
    known = isinstance(given, way.recipe)
    return dataclasses.replace(given if known else way.recipe(), seed=seed)


def trunk(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Run a trunk on, from where an earlier size leaves it to where this one does."""
    tuning, size = Tuning.of(context, arguments), arguments["size"]
    checkpoint = _checkpoint(arguments, needs)
    sizes = [each for each in tuning.examples.sizes if each <= size]
    share = 1 - tuning.recipe.decay_share
    ends = [_tokens(context, tuning, each) for each in sizes[-2:]]
    total = share * (ends[-1] - (ends[0] if len(ends) > 1 else 0))
    what = f"trunk, seed {tuning.recipe.seed}, {size:,}"
    with cli.bar(what, round(total), "token", shown=loop.is_main()) as bar:
        run = loop.start(
            tuning.objective, context.base, tuning.examples, tuning.recipe,
            checkpoint=checkpoint, progress=functools.partial(_show_loss, bar),
        )  # fmt: skip
        state = loop.trunk_state(run, size)
    (folder / STATE).write_bytes(state)


def branch(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Finish one encoder: from where its branch leaves the trunk, or where there is none, from 0.

    Raises:
        RuntimeError: the saved encoder does not reproduce the embeddings of the one in memory.
    """
    base, tuning, size = context.base, Tuning.of(context, arguments), arguments["size"]
    checkpoint = _checkpoint(arguments, needs)
    total = _tokens(context, tuning, size) * (tuning.recipe.decay_share if needs else 1)
    what = f"tuning, seed {tuning.recipe.seed}, {size:,}"
    with cli.bar(what, round(total), "token", shown=loop.is_main()) as bar:
        (tuned,) = loop.finetune(
            tuning.objective, base, tuning.examples, tuning.recipe,
            only=[size], checkpoint=checkpoint, progress=functools.partial(_show_loss, bar),
        )  # fmt: skip
    if loop.is_main():
        texts = tuning.examples.texts
        card = model_card.text(
            base, tuned, tuning.objective.label, tuning.recipe, context.prepared.corpus.name
        )
        _save_tuned(tuned, texts_seen(base, texts[:size]), texts[:SANITY_TEXTS], card, folder)


def _checkpoint(arguments: Mapping[str, Any], needs: Sequence[Path]) -> units.Unit:
    """Name the unit whose parts hold how far a tuning has come, and lay where it begins there."""
    checkpoint: units.Unit = arguments["checkpoint"]
    for each in needs:
        loop.keep_state(checkpoint, BEFORE, (each / STATE).read_bytes())
    return checkpoint


def _tokens(context: Context, tuning: Tuning, size: int) -> int:
    """Count the tokens, padding included, on the way to a size."""
    bare = dataclasses.replace(tuning.examples, held_out=())
    laid = tuning.objective.lay_out(context.base, bare, tuning.recipe)
    return loop.work(laid, bare.sizes, [size])


def texts_seen(base: Encoder, texts: Sequence[str]) -> list[str]:
    """List the digests of the texts that an encoder has seen, by a base that was tuned itself too.

    Args:
        base: the factory encoder.
        texts: that it is tuned on now.
    """
    before = encoder.rows_seen(base.folder) or frozenset()
    return sorted({*corpus.row_digests(texts), *before})


def _show_loss(bar: Any, tokens: int, loss: Any) -> None:
    bar.total = max(bar.total, bar.n + tokens)  # which was told without rounding to whole steps
    bar.update(tokens)
    bar.set_postfix_str(f"loss {float(loss):.3f}", refresh=False)


def _save_tuned(
    tuned: loop.Tuned, seen: Sequence[str], probe: Sequence[str], card: str, folder: Path
) -> None:
    """Save a tuned encoder with its model card, open it again, and see that it embeds as before."""
    inside = folder / "encoder"
    again, difference = _saved(tuned.model, seen, probe, inside)
    (inside / model_card.CARD_FILE).write_text(card, encoding="utf-8")  # instead of the base's
    if not difference < SANITY_DIFFERENCE:
        raise RuntimeError(
            f"the encoder saved for {tuned.documents} documents differs from the one in memory by "
            f"{difference:.2g} in its embeddings; expected less than {SANITY_DIFFERENCE}"
        )
    story = dataclasses.asdict(dataclasses.replace(tuned, model=None))
    del story["model"]
    story |= story.pop("facts")
    story |= {"reload_difference": difference, "digest": again.digest}
    (folder / "story.json").write_text(json.dumps(story))


def _saved(
    model: Any, seen: Iterable[str], probe: Sequence[str], folder: Path
) -> tuple[Encoder, float]:
    """Save an encoder; return it opened again, and how far its embeddings then differ at most."""
    with encoder.quiet():
        model.save_pretrained(str(folder))
    (folder / encoder.SEEN_FILE).write_text(json.dumps(sorted(seen)))
    again = encoder_opening.open_encoder(str(folder))
    in_memory = Encoder(model, "", folder, "")
    difference = np.abs(encode(in_memory, probe) - encode(again, probe)).max()
    return again, float(difference)


def check_reload(base: Encoder, probe: Sequence[str]) -> None:
    """Refuse an encoder that cannot be tuned since it embeds differently once it is saved.

    Args:
        base: the factory encoder.
        probe: some texts.

    Raises:
        InputError: saved and opened again it gives other embeddings.
    """
    with drafts.draft() as top:
        _, difference = _saved(base.model, (), probe, top / "encoder")
    if not difference < SANITY_DIFFERENCE:
        raise cli.InputError(
            f"base_model={base.name!r}, whose embeddings differ by {difference:.2g} once it is "
            "saved and opened again",
            f"a difference below {SANITY_DIFFERENCE:g}: a tuned encoder is saved the same way",
            "choose another base_model, or leave tuning out with sizes=0",
        )


def read_tuned(folder: Path) -> TunedFolder:
    """Open the folder that ``branch`` has filled."""
    return TunedFolder(folder / "encoder", json.loads((folder / "story.json").read_text()))


def check(base: Encoder, prepared: Prepared, *, tuned: bool) -> None:
    """Refuse an encoder that a study would fail on after hours: by its numbers, or when saved.

    Raises:
        InputError: its embeddings are not finite, or, where it is to be tuned, it embeds
            differently once it is saved and opened again.
    """
    texts = prepared.corpus.texts[:PROBED_TEXTS]
    if not np.isfinite(encode(base, texts)).all():
        raise cli.InputError(
            f"base_model={base.name!r}, whose embeddings of the first texts are not finite",
            "an encoder that gives numbers",
            "choose another base_model, or save this one again",
        )
    if tuned:
        check_reload(base, texts)


# Embedding.


def embedding(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Embed a share of the distinct texts, by the tuned encoder that it needs, or by the factory's.

    Raises:
        ValueError: a row is not finite.
    """
    opened = _open_once(str(read_tuned(needs[0]).folder)) if needs else context.base
    number, count = arguments["shard"]
    share = context.batches[number::count]  # longest first: long texts to each
    texts = [[context.distinct[place] for place in batch] for batch in share]
    what = f"embedding, {arguments['what']}"
    what += f", {number + 1} of {count}" if count > 1 else ""
    with cli.bar(what, sum(map(len, texts)), "text") as bar:
        began = time.monotonic()
        rows = encode_batches(opened, texts, progress=bar.update)
        seconds = time.monotonic() - began
    np.save(folder / ROWS, rows)
    np.save(folder / PLACES, [place for batch in share for place in batch])
    (folder / SECONDS).write_text(str(seconds))


@functools.lru_cache(maxsize=1)
def _open_once(folder: str) -> Encoder:
    """Open a tuned encoder once for all shards that are embedded one after the other."""
    return encoder_opening.open_encoder(folder)


def by_embedding(shards: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """Part the folders of shards, ``count`` of each embedding; none where there is none."""
    return [shards[at : at + count] for at in range(0, len(shards), max(count, 1))]


def joined(texts: Sequence[str], embeddings: Sequence[Sequence[Path]]) -> npt.NDArray[np.float32]:
    """Put embeddings together for each row of a corpus.

    Args:
        texts: of the rows, n strings.
        embeddings: for each encoder, in the order of the columns, the folders of all its shards.

    Returns:
        float32, shape (n, dimensions of all); (n, 0) without encoders.
    """
    if not embeddings:
        return np.empty((len(texts), 0), np.float32)
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    columns = []
    for folders in embeddings:
        parts = [np.load(folder / ROWS, mmap_mode="r") for folder in folders]
        rows = np.empty((len(place), parts[0].shape[1]), np.float32)
        for folder, part in zip(folders, parts, strict=True):
            rows[np.load(folder / PLACES)] = part
        columns.append(rows)
    rows = columns[0] if len(columns) == 1 else np.hstack(columns)
    return rows if len(place) == len(texts) else rows[[place[text] for text in texts]]


# Searching and fitting.


def evaluation(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Search settings and fit a regressor on the training rows, and predict all rows.

    Search and fit see the training part alone. Needs the shards of each encoder that the
    regressor reads, its own last.
    """
    embeddings = by_embedding(needs, arguments["shards"])
    rows = joined(context.prepared.corpus.texts, embeddings)
    trials, seed = context.spec.trials, arguments["seed"]
    evaluate(rows, context.prepared, trials, seed, arguments["what"], folder)
    width = np.load(needs[-1] / ROWS, mmap_mode="r").shape[1]
    seconds = sum(float((each / SECONDS).read_text()) for each in embeddings[-1])
    about = {"seconds": seconds, "facts": diagnose(rows[:, -width:])}
    (folder / ABOUT_EMBEDDING).write_text(json.dumps(about))
    # A tuned encoder is as large and as fast as the factory's.
    beside = context.base if len(embeddings) > 1 else None
    pair = predictors.Pair(context.base, regressor.load(folder), beside)
    write_cost(PAIR, pair, context.prepared, folder)


def about_embedding(folder: Path) -> tuple[float, dict[str, float]]:
    """Read from an evaluation how long its embedding took, and what ``diagnose`` said of it."""
    about = json.loads((folder / ABOUT_EMBEDDING).read_text())
    return float(about["seconds"]), dict(about["facts"])


def write_cost(name: str, predictor: Predictor, prepared: Prepared, folder: Path) -> None:
    """Measure what serving a predictor costs, on held-out texts, and keep it in a task's folder."""
    few = prepared.rows("held_out")[: predictors.TIMED_TEXTS]
    found = predictors.cost_unsaved(name, predictor, [prepared.corpus.texts[row] for row in few])
    (folder / COST).write_text(json.dumps(found._asdict()))


def read_cost(folder: Path) -> Cost:
    """Read what ``write_cost`` has kept."""
    return Cost(**json.loads((folder / COST).read_text()))


def evaluate(
    features: npt.NDArray[np.float32],
    prepared: Prepared,
    trials: int,
    seed: int,
    what: str,
    folder: Path,
    columns: ridge_column.Columns | None = None,
    *,
    began: float | None = None,
) -> None:
    """Search settings on the training rows, fit a regressor to them, and predict all rows.

    Args:
        features: of all rows, (n, d).
        prepared: the corpus.
        trials: settings that the search tries.
        seed: of the search and the fit.
        what: name on the bars.
        folder: takes what ``read_evaluation`` reads.
        columns: as for ``predictors.Search``.
        began: when the work began, by ``time.monotonic``; now if left out.
    """
    train, prices = prepared.rows("train"), prepared.corpus.prices
    began = time.monotonic() if began is None else began
    learnt_from = np.ascontiguousarray(features[train])
    mine = columns and (lambda learn, apart: columns(train[learn], train[apart]))
    with contextlib.ExitStack() as bars:
        found = search.search(
            learnt_from,
            prices[train],
            groups=prepared.corpus.group_ids[train],
            times=prepared.times(train),
            columns=mine,
            trials=trials,
            seed=seed,
            progress=_shown_trials(bars, what, trials),
        )
    fitted = search.fit(found, learnt_from, prices[train], seed=seed, columns=mine)
    regressor.save(fitted, folder)
    if columns:
        others = np.setdiff1d(np.arange(len(features)), train)
        numbers = np.concatenate(columns(train, others))
        back = np.argsort(np.concatenate([train, others]))
        features = ridge_column.append(features, numbers[back])
    np.save(folder / "predictions.npy", fitted.predict(features))
    kept = dataclasses.asdict(found) | {"seconds": time.monotonic() - began}
    np.save(folder / "out_of_fold.npy", kept.pop("out_of_fold"))
    (folder / "found.json").write_text(json.dumps(kept, default=float))


def read_evaluation(folder: Path) -> Evaluation:
    """Read what ``evaluation`` has found, or a baseline that searches as it does."""
    found = json.loads((folder / "found.json").read_text())
    return Evaluation(
        fitted=regressor.load(folder),
        trials=found.pop("trials"),
        found=found,
        out_of_fold=np.load(folder / "out_of_fold.npy"),
        predictions=np.load(folder / "predictions.npy"),
    )


def _shown_trials(
    bars: contextlib.ExitStack, what: str, trials: int
) -> Callable[[int, int, float], None]:
    """Show a search on one bar and its finals on the next: their errors do not compare.

    Args:
        bars: closes the bar on show.
        what: name on the bars.
        trials: that are screened.

    Returns:
        What ``search.search`` takes as ``progress``.
    """
    bar = bars.enter_context(cli.bar(f"search, {what}", trials, "trial"))

    def show(done: int, total: int, best: float) -> None:
        nonlocal bar
        if done == trials + 1:
            bars.close()
            bar = bars.enter_context(cli.bar(f"finals, {what}", total - trials, "finalist"))
        stage = "best MAE" if done > trials else "best rough MAE"
        bar.set_postfix_str(f"{stage} {best:,.{0 if best >= 1000 else 2}f}", refresh=False)
        bar.update(1)

    return show


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
