"""What baselines predict: their tasks, and how their folders are read."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import cli, units
from bat.models import explanation, predictors, regressor, search
from bat.models.encoder import Encoder
from bat.models.explanation import StrongWord
from bat.models.prediction import Predictor
from bat.models.predictors import EndToEnd, Method, Stack, TrainingData
from bat.models.ridge_column import Columns
from bat.tuning.objectives import supervised
from bat.workflow import stages
from bat.workflow.preparation import Prepared
from bat.workflow.tasks import Context

ABOUT = "baseline.json"
PREDICTOR = "predictor"  # folder of one that a study may serve

Floats = npt.NDArray[np.float64]


def predict(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Predict all rows by one baseline."""
    name, seed = arguments["name"], arguments["seed"]
    checkpoint = arguments["checkpoint"]
    spec, prepared = context.spec, context.prepared
    fitted = _fill(name, context.base, prepared, spec.trials, seed, checkpoint, folder)
    stages.write_cost(name, fitted, prepared, folder)
    units.drop(checkpoint)  # what is kept of a long one on the way


@dataclass(frozen=True)
class Baseline:
    """What one baseline predicts."""

    predictions: Floats  # (n,), every row of the corpus
    train_mae: float  # mean absolute out-of-fold error of the training rows; NaN without folds
    seconds: float
    searched: stages.Evaluation | None  # where settings were searched as for the arms
    strongest: Sequence[StrongWord]  # words that move its prices, where it adds up words
    uses: Sequence[str]  # what it reads, where that was chosen as for a stack


def read(name: str, folder: Path) -> Baseline:
    """Read what ``predict`` has found."""
    searched = stages.read_evaluation(folder) if predictors.named(name).searched else None
    about = json.loads((folder / ABOUT).read_text())
    train_mae = searched.train_mae if searched else float(about["train_mae"])
    return Baseline(
        np.load(folder / "predictions.npy"),
        train_mae,
        float(about["seconds"]),
        searched,
        tuple(StrongWord(*each) for each in about["strongest"]),
        tuple(about["uses"]),
    )


def read_predictor(folder: Path) -> Predictor:
    """Read the predictor of a baseline that a study may serve, as fitted to the training rows."""
    return predictors.load(folder / PREDICTOR)


def read_out_of_fold(folder: Path) -> Floats:
    """Read what fits that have not seen a training row predict for it, (t,)."""
    return np.asarray(np.load(folder / "out_of_fold.npy"))


def _fill(
    name: str,
    base: Encoder,
    prepared: Prepared,
    trials: int,
    seed: int,
    checkpoint: units.Unit | None,
    folder: Path,
) -> Predictor:
    began, method, error = time.monotonic(), predictors.named(name), math.nan
    data = training_data(method.label, base, prepared, trials, seed, folder, checkpoint)
    fitted = method.fit(data)
    if not method.searched:
        np.save(folder / "predictions.npy", fitted.predict(prepared.corpus.texts))
    if method.candidate:
        predictors.save(name, fitted, folder / PREDICTOR)
    if not (method.searched or method.tunes):
        unseen = out_of_fold(method, data, prepared)
        np.save(folder / "out_of_fold.npy", unseen)
        error = float(np.nanmean(np.abs(unseen - data.prices[data.train])))
    strongest: Sequence[StrongWord] = ()
    if not method.searched and (line := fitted.word_line):  # else trees bend what words say
        median = float(np.median(data.prices[data.train]))
        strongest = explanation.strongest(line, data.train_texts, median)
    about = {"seconds": time.monotonic() - began, "train_mae": error, "strongest": strongest}
    about["uses"] = fitted.reader.uses if isinstance(fitted, Stack) else ()
    (folder / ABOUT).write_text(json.dumps(about))
    return fitted


def out_of_fold(method: Method, data: TrainingData, prepared: Prepared) -> Floats:
    """Fit a method without search on folds of the training rows.

    Returns:
        What fits that have not seen a training row predict for it, (t,); NaN where no fold does.
    """
    train, loaded = data.train, prepared.corpus
    divided = search.splits(
        loaded.group_ids[train], folds=search.FOLDS, seed=data.seed, times=prepared.times(train)
    )
    unseen = []
    for learn, apart in divided:
        fitted = method.fit(dataclasses.replace(data, train=train[learn]))
        unseen.append(fitted.predict([loaded.texts[row] for row in train[apart]]))
    return search.in_order(divided, unseen, len(train))


def training_data(
    what: str,
    base: Encoder,
    prepared: Prepared,
    trials: int,
    seed: int,
    folder: Path,
    checkpoint: units.Unit | None,
) -> TrainingData:
    """Lay out what a predictor is fitted to: the training rows.

    Args:
        what: name on the bars.
        base: the factory encoder.
        prepared: the corpus.
        trials: settings that a search tries, where there is one.
        seed: of all that is drawn.
        folder: takes what a search finds, and what its trees predict for all rows.
        checkpoint: the unit that the work is for, whose long tuning is kept in parts on the way;
            None where nothing is tuned.
    """
    loaded, train, began = prepared.corpus, prepared.rows("train"), time.monotonic()

    def find_trees(
        features: npt.NDArray[np.float32], columns: Columns | None = None
    ) -> regressor.Regressor:
        stages.evaluate(features, prepared, trials, seed, what, folder, columns, began=began)
        return regressor.load(folder)

    def fine_tune() -> EndToEnd:
        assert checkpoint is not None
        with cli.bar(what, supervised.PASSES * len(train), "text") as bar:
            return supervised.fit(
                base,
                loaded.texts,
                loaded.prices,
                train,
                seed=seed,
                checkpoint=checkpoint,
                progress=bar.update,
            )

    groups = loaded.group_ids
    return TrainingData(
        loaded.texts, loaded.prices, groups, train, base, seed, find_trees, fine_tune
    )
