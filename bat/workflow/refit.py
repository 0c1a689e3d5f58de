"""The chosen predictor fitted to all rows, with an interval around its predictions: what is served.

What a study says of its arms comes from held-out rows, which no arm has learnt from. What it serves
has learnt from them too: the choice is kept, and out-of-fold errors of all rows make the interval.
An encoder that was fine-tuned end to end is not tuned again: it is served as it was judged, with an
interval made of its errors on held-out rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bat import cli
from bat.models import interval, prediction, predictors, regressor, ridge_column, search, stack
from bat.models.encoder import Encoder
from bat.models.interval import Calibrated
from bat.models.prediction import Predictor
from bat.models.predictors import STACK, WORDS, Pair, Stack
from bat.models.regressor import Regressor
from bat.models.ridge_column import Columns
from bat.models.stack import Reader
from bat.workflow import baselines, stacks, stages
from bat.workflow.preparation import Prepared
from bat.workflow.tasks import Context

INTERVAL, INSIDE = "interval", "inside.npy"
CHUNK_TEXTS = 100  # that a predictor reads at a time: convention

Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Refit:
    """A predictor that has learnt from all rows, but for its encoder."""

    folder: Path
    calibrated: Calibrated
    inside: Bools  # (h,), of the held-out rows, as if they were new: see ``refit``


class Guesses(NamedTuple):
    """Predictions of rows by fits that have not seen them, and what the interval's trees read."""

    features: Features  # (k, d)
    targets: Floats  # (k,)
    predictions: Floats  # (k,)
    groups: npt.NDArray[np.int64]  # (k,)

    def of(self, rows: npt.NDArray[np.intp]) -> Guesses:
        """Take some of the rows."""
        features, targets, predictions, groups = self
        return Guesses(features[rows], targets[rows], predictions[rows], groups[rows])

    def calibrated(self, seed: int) -> Calibrated:
        """Make an interval of them."""
        return interval.calibrate(
            self.features, self.targets, self.predictions, groups=self.groups, seed=seed
        )

    def inside(self, made: Calibrated) -> Bools:
        """Tell which targets, (k,), lie in an interval."""
        low, high = made.bounds(self.features, self.predictions, made.usual_coverage)
        return np.asarray((low <= self.targets) & (self.targets <= high))


def refit(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Fit the predictor of an arm or a baseline again, to all rows, and make its interval.

    What the interval promises is counted on held-out rows as if they were new: with one that is
    made from the training rows alone. Needs the evaluation, then the shards of its embeddings; or
    the baseline.
    """
    name, seed, prepared = arguments["predictor"], arguments["seed"], context.prepared
    method = predictors.named(name)
    if method.tunes:
        _keep(name, needs[0], prepared, seed, folder)
    elif method.searched:
        embeddings = stages.by_embedding(needs[1:], arguments["shards"])
        rows = stages.joined(prepared.corpus.texts, embeddings)
        _fill(name, rows, needs[0], prepared, seed, folder)
    else:
        _fit_anew(name, context.base, needs[0], prepared, seed, folder)


def read_refit(folder: Path) -> Refit:
    """Read what ``refit`` has made."""
    return Refit(folder, interval.load(folder / INTERVAL), np.load(folder / INSIDE))


def read_predictor(
    name: str, folder: Path, opened: Encoder | None, factory: Encoder | None
) -> Predictor:
    """Put together what is served: what a refit has left, and the encoders that it reads."""
    method = predictors.named(name)
    if not method.searched:
        return baselines.read_predictor(folder)
    trees = regressor.load(folder)
    if name in (STACK, WORDS):
        return predictors.put_together(stacks.read_reader(folder), trees, opened, factory)
    assert opened is not None
    return Pair(opened, trees, factory)


def _fill(
    name: str, rows: Features, judged: Path, prepared: Prepared, seed: int, folder: Path
) -> None:
    """Fit trees on an embedding, (n, d), with the settings that a search has found."""
    found, read, columns = stages.read_evaluation(judged), rows, None
    features = rows
    if name in (STACK, WORDS):
        material = stacks.laid_out(rows, prepared, seed)
        chosen = stacks.chosen_again(_judged_reader(name, judged))
        read, columns = stack.features(material, chosen), stack.columns(material, chosen)
        everything = np.arange(len(rows))
        made = stack.reader(material, everything, chosen)
        stack.save(made, folder / stacks.READER)
        if not made.embeds:
            features = prediction.lengths(prepared.corpus.texts)
    unseen = _fit_trees(found, read, columns, prepared, seed, folder)
    _judge(
        features,
        features,
        unseen,
        found.out_of_fold,
        found.predictions,
        prepared,
        seed,
        folder,
    )


def _judged_reader(name: str, judged: Path) -> Reader:
    """Read what the judged fit reads of a text; a baseline keeps it as part of its predictor."""
    if name == STACK:
        return stacks.read_reader(judged)
    made = baselines.read_predictor(judged)
    assert isinstance(made, Stack)
    return made.reader


def _fit_trees(
    found: stages.Evaluation,
    rows: Features,
    columns: Columns | None,
    prepared: Prepared,
    seed: int,
    folder: Path,
) -> Floats:
    """Fit to all rows, and to all but one fold at a time.

    Returns:
        (n,), what fits that have not seen a row predict for it; NaN where no fold holds it out.
    """
    targets, n = prepared.corpus.prices, len(rows)
    divided = search.splits(
        prepared.corpus.group_ids,
        folds=search.FOLDS,
        seed=seed,
        times=prepared.times(np.arange(n)),
    )
    unseen = []
    with cli.bar("fit to all rows", len(divided) + 1, "fit") as bar:
        for learn, apart in divided:
            mine, theirs = _seen(rows, columns, learn, apart)
            fitted = _again(found, mine, targets[learn], seed, with_line=columns is None)
            unseen.append(fitted.predict(theirs))
            bar.update(1)
        everything = np.arange(n)
        mine, _ = _seen(rows, columns, everything, everything[:0])
        regressor.save(_again(found, mine, targets, seed, with_line=columns is None), folder)
        bar.update(1)
    return search.in_order(divided, unseen, n)


def _seen(
    rows: Features,
    columns: Columns | None,
    learn: npt.NDArray[np.intp],
    apart: npt.NDArray[np.intp],
) -> tuple[Features, Features]:
    """Give what trees read of rows to learn from and of others, learnt columns included."""
    if columns is None:
        return rows[learn], rows[apart]
    mine, theirs = columns(learn, apart)
    return ridge_column.append(rows[learn], mine), ridge_column.append(rows[apart], theirs)


def _again(
    found: stages.Evaluation, rows: Features, targets: Floats, seed: int, *, with_line: bool
) -> Regressor:
    """Fit with the settings that a search has found."""
    return regressor.fit(
        rows,
        targets,
        found.fitted.settings,
        n_trees=found.fitted.n_trees,
        smear=found.fitted.smear,
        forest=regressor.FOREST,
        seed=seed,
        with_line=with_line,
    )


def _fit_anew(
    name: str, base: Encoder, judged: Path, prepared: Prepared, seed: int, folder: Path
) -> None:
    """Fit a baseline without search to all rows."""
    method, texts = predictors.named(name), prepared.corpus.texts
    data = baselines.training_data(method.label, base, prepared, 0, seed, folder, None)
    data = dataclasses.replace(data, train=np.arange(len(texts)))
    predictors.save(name, method.fit(data), folder / baselines.PREDICTOR)
    unseen = baselines.out_of_fold(method, data, prepared)
    known, predicted = baselines.read_out_of_fold(judged), np.load(judged / "predictions.npy")
    train = prepared.rows("train")
    as_judged = predicted.copy()
    as_judged[train] = known
    _judge(
        prediction.plain_features(texts, unseen),
        prediction.plain_features(texts, as_judged),
        unseen,
        known,
        predicted,
        prepared,
        seed,
        folder,
    )


def _judge(
    features: Features,
    judged_features: Features,
    unseen: Floats,
    out_of_fold: Floats,
    predicted: Floats,
    prepared: Prepared,
    seed: int,
    folder: Path,
) -> None:
    """Make the interval that is served, and count what one like it holds on new rows.

    Args:
        features: of all rows, (n, d), that belong to ``unseen``.
        judged_features: of all rows, (n, d), that belong to the fit which the study judged.
        unseen: (n,), out-of-fold predictions of all rows.
        out_of_fold: (t,), those of the training rows in the judged fit.
        predicted: (n,), by that fit.
        prepared: the corpus.
        seed: of the intervals.
        folder: takes both.
    """
    train, held_out = prepared.rows("train"), prepared.rows("held_out")

    def guesses(of: Features, rows: npt.NDArray[np.intp], predictions: Floats) -> Guesses:
        loaded = prepared.corpus
        return Guesses(of[rows], loaded.prices[rows], predictions, loaded.group_ids[rows])

    everything = np.arange(len(unseen))
    interval.save(guesses(features, everything, unseen).calibrated(seed), folder / INTERVAL)
    as_if_new = guesses(judged_features, train, out_of_fold).calibrated(seed)
    inside = guesses(judged_features, held_out, predicted[held_out]).inside(as_if_new)
    np.save(folder / INSIDE, inside)


def _keep(name: str, judged: Path, prepared: Prepared, seed: int, folder: Path) -> None:
    """Keep an encoder that was fine-tuned end to end; held-out rows make its interval.

    What that promises is counted on some of these rows with an interval made of the others.
    """
    made, loaded = baselines.read_predictor(judged), prepared.corpus
    predictors.save(name, made, folder / baselines.PREDICTOR)
    rows = prepared.rows("held_out")
    texts, read = [loaded.texts[row] for row in rows], []
    with cli.bar("reading held-out rows", len(texts), "text") as bar:
        for at in range(0, len(texts), CHUNK_TEXTS):
            read.append(made.read(texts[at : at + CHUNK_TEXTS]))
            bar.update(len(read[-1].prices))
    known = Guesses(
        np.concatenate([each.features for each in read]),
        loaded.prices[rows],
        np.concatenate([each.prices for each in read]),
        loaded.group_ids[rows],
    )
    interval.save(known.calibrated(seed), folder / INTERVAL)
    inside = np.zeros(len(rows), bool)
    for others, apart in search.splits(known.groups, folds=interval.FOLDS, seed=seed):
        inside[apart] = known.of(apart).inside(known.of(others).calibrated(seed))
    np.save(folder / INSIDE, inside)
