"""The stack as a scikit-learn regressor, for texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from bat import cli
from bat.cli import InputError
from bat.data import groups, near_duplicates
from bat.data.texts import text_key
from bat.models import embedding, encoder_opening, predictors, search, stack
from bat.models.pricer import usable
from bat.models.regressor import Regressor
from bat.models.ridge_column import Columns, Embeddings
from bat.registry import reading

Floats = npt.NDArray[np.float64]
FEWEST = 20  # texts to learn from: five in each of the folds of a search (convention)


class TextRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a positive number from a text, by its words, its numbers and its embedding.

    One XGBoost over an encoder's embedding, ridge regressions on it, on words and on pieces of
    words, each out of fold, and the numbers in the text; what does not lower the cross-validated
    error is left out. Optuna searches the trees' settings.

    Args:
        encoder: hub id, folder, or a ``runs:/`` or ``models:/`` address; None for words and numbers
            alone, which need no encoder.
        trials: settings that the search tries.
        seed: of the folds, the search and the trees.

    Attributes:
        predictor_: the fitted stack.
        uses_: what it reads of a text.
    """

    def __init__(
        self,
        encoder: str | Path | None = cli.DEFAULT_ENCODER,
        trials: int = search.TRIALS,
        seed: int = 0,
    ) -> None:
        """Keep the settings; ``fit`` checks them, as scikit-learn asks."""
        self.encoder = encoder
        self.trials = trials
        self.seed = seed

    def fit(self, X: Iterable[str], y: npt.ArrayLike) -> TextRegressor:
        """Fit to texts, n strings or a table of one column, and their n positive targets.

        Raises:
            InputError: a text cannot be read, a target is not a positive number, there are not as
                many of them as texts, or too few texts.
            ValueError: the targets are no column.
        """
        texts, targets = _texts(X), np.asarray(column_or_1d(y, warn=True), np.float64)
        _check(texts, targets)
        opened = None
        if self.encoder is not None:
            name = str(self.encoder)
            opened = encoder_opening.open_encoder(reading.resolve(name), name=name)
        rows = np.empty((len(texts), 0), np.float32)
        if opened is not None:
            rows = embedding.embed(opened, texts)
        together = _groups(texts)

        def find_trees(features: Embeddings, columns: Columns | None = None) -> Regressor:
            found = search.search(
                features,
                targets,
                groups=together,
                columns=columns,
                trials=self.trials,
                seed=self.seed,
            )
            return search.fit(found, features, targets, seed=self.seed, columns=columns)

        material = stack.Material(texts, rows, targets, together, self.seed)
        every = np.arange(len(texts))
        self.predictor_ = predictors.stacked(material, every, find_trees, opened)
        self.uses_ = self.predictor_.reader.uses
        return self

    def predict(self, X: Iterable[str]) -> Floats:
        """Predict the targets of n texts, (n,).

        Raises:
            InputError: a text cannot be read.
            NotFittedError: ``fit`` has not been called.
        """
        check_is_fitted(self)
        texts = _texts(X)
        return self.predictor_.predict(texts) if texts else np.empty(0)

    def __sklearn_tags__(self) -> Tags:
        """Say that rows are strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.target_tags.positive_only = True
        tags.regressor_tags.poor_score = True  # on a handful of numbers called texts
        return tags


def _texts(rows: Any) -> list[str]:
    """List the texts of a list, a Series, an array, or a table of one column."""
    if isinstance(rows, str):
        raise InputError(
            "one string", "a list of strings, one a row", "put it into brackets: [text]"
        )
    shape: tuple[int, ...] = getattr(rows, "shape", (0,))
    if len(shape) == 2 and shape[1] != 1:
        raise InputError(
            f"a table of {shape[1]} columns", "one column of texts", "hand over frame['text']"
        )
    values = np.asarray(rows, dtype=object).reshape(-1) if len(shape) == 2 else rows
    return [usable(place, text) for place, text in enumerate(values)]


def _groups(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number texts, (n,), alike for those that nearly repeat each other, as a study does.

    They stay in one fold: a search that had seen a text's repeat would trust words too far.

    Raises:
        InputError: there are fewer groups than folds.
    """
    keys = [text_key(text) for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    place = {key: at for at, key in enumerate(distinct)}
    of = np.array([place[key] for key in keys])
    links = near_duplicates.links(list(distinct.values()), lambda count: None)
    values = [(at, key) for key, at in place.items()]
    found = groups.join(np.bincount(of), values, links, list(distinct)).of[of]
    if (count := len(np.unique(found))) < search.FOLDS:
        raise InputError(
            f"{len(texts)} texts in {count} groups of texts that nearly repeat each other",
            f"at least {search.FOLDS} groups: the folds of a search are made of them",
            "collect texts that differ",
        )
    return np.asarray(found)


def _check(texts: list[str], targets: Floats) -> None:
    if len(texts) != len(targets):
        raise InputError(
            f"{len(texts)} texts and {len(targets)} targets",
            "a target for each text",
            "hand over columns of one table",
        )
    if len(texts) < FEWEST:
        raise InputError(f"{len(texts)} texts", f"at least {FEWEST}", "collect more of them")
    if wrong := np.flatnonzero(~(np.isfinite(targets) & (targets > 0))).tolist():
        raise InputError(
            f"the target {targets[wrong[0]]:g} in place {wrong[0]} ({len(wrong)} such)",
            "numbers above 0",
            "leave these rows out, or predict another quantity",
        )
