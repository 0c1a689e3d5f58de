"""A registered or saved predictor, as Python users call it: texts in, a table out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bat import cli
from bat.cli import InputError
from bat.models import pricer
from bat.models.pricer import PRICES, Priced, Pricer
from bat.registry import versions

TEXT = "text"  # the column of a table that is read, unless another is named
CHUNK = 1_000  # texts that are read at once: what a long list then takes in memory is bounded


@dataclass(frozen=True)
class Loaded:
    """A predictor with its interval; ``load`` opens one."""

    pricer: Pricer
    folder: Path
    text: str = TEXT  # column of a table that is read

    def predict(self, texts: Any, coverage: float | None = None) -> pd.DataFrame:
        """Predict the target of each text, with an interval.

        Args:
            texts: a string, an iterable of n strings, a Series, or a table with the column ``text``
                that ``load`` was told.
            coverage: share of true values that shall lie in the interval; 0.9 if left out.

        Returns:
            A table of n rows in their order, with the index of a Series or table: ``price`` and
            its interval ``price_low`` to ``price_high``, in units of the target; ``truncated``,
            whether the end of a text was left unread.

        Raises:
            InputError: a text is missing, no string, or without letter and digit (its place is
                named), or a table has no such column.
        """
        column = _column(texts, self.text)
        nothing = np.empty(0)
        found = [Priced(nothing, nothing, nothing, nothing.astype(bool))]
        with cli.bar("predicting", len(column), "text", shown=len(column) > CHUNK) as bar:
            for at in range(0, len(column), CHUNK):
                found.append(self.pricer.predict(column.iloc[at : at + CHUNK].tolist(), coverage))
                bar.update(len(found[-1].price))
        columns = map(np.concatenate, zip(*found, strict=True))
        return pd.DataFrame(dict(zip(PRICES, columns, strict=True)), index=column.index)

    def explain(self, texts: Any) -> pd.DataFrame:
        """Say what in each text moves its prediction: its words, numbers and clauses.

        Args:
            texts: as for ``predict``. Each is read some 20 times.

        Returns:
            A table with a row for each effect, the largest of a text first: the index of the text
            (``row``), the ``part`` of it, its ``kind`` and its ``effect`` in units of the target.
        """
        column = _column(texts, self.text)
        found = self.pricer.explain(column.tolist()) if len(column) else []
        rows = [
            {"row": row, **effect._asdict()}
            for row, effects in zip(column.index, found, strict=True)
            for effect in effects
        ]
        return pd.DataFrame(rows, columns=["row", "part", "kind", "effect"])


def load(model: str | Path, text: str = TEXT) -> Loaded:
    """Open a predictor by its address in MLflow, or from a folder.

    Args:
        model: such as ``models:/bat-pricer@champion``, ``models:/bat-pricer/3``,
            ``runs:/<run id of a study>/pricer``, or a folder.
        text: column of the texts in tables that it is given.

    Raises:
        InputError: no predictor is there.
    """
    place = str(model)
    place = str(cli.local_path(place)) if place.startswith("~") else place
    folder = versions.pricer_folder(place)
    return Loaded(pricer.load(folder), folder, text)


def _column(texts: Any, name: str) -> pd.Series[Any]:
    """Find the column of texts, with its index, and refuse what is no text by its place."""
    column = _as_column(texts, name)
    return pd.Series(
        [pricer.usable(place, text) for place, text in enumerate(column)],
        index=column.index,
        dtype=object,
    )


def _as_column(texts: Any, name: str) -> pd.Series[Any]:
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, pd.DataFrame):
        return texts if isinstance(texts, pd.Series) else pd.Series(list(texts), dtype=object)
    if list(texts.columns).count(name) != 1:
        raise InputError(
            f"a table with the columns {', '.join(map(str, texts.columns))}",
            f"one column named {name!r}",
            "hand over the column itself, such as frame['description'], or name it: "
            "bat.load(…, text='description')",
        )
    return texts[name]
