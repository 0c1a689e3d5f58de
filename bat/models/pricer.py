"""What is served: a predictor and the interval around its prices in one folder."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bat.cli import InputError
from bat.data.texts import UnusableError, usable_text
from bat.models import interval, predictors
from bat.models.explanation import Effect
from bat.models.prediction import Predictor, Turn

INTERVAL_FOLDER = "interval"
SEEN_FILE = "pair_rows_seen.json"  # of the encoder alone it is another file, inside its folder
HELD_OUT_FILE = "held_out.json"

# Names of the fields of ``Priced`` in tables that people and programs get.
PRICES = ("price", "price_low", "price_high", "truncated")

Floats = npt.NDArray[np.float64]


class Priced(NamedTuple):
    """Predicted prices and the ends of their intervals, each of shape (n,)."""

    price: Floats
    low: Floats
    high: Floats
    truncated: npt.NDArray[np.bool_]  # the predictor has not read the end of the text


@dataclass(frozen=True)
class Pricer:
    """Predicts prices of texts; threads may share it."""

    predictor: Predictor
    interval: interval.Calibrated
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def predict(self, texts: Sequence[str], coverage: float | None = None) -> Priced:
        """Predict a price for each of n texts, in the unit of the training prices.

        Blanks around a text do not count. All texts are read at once; other threads wait for as
        long.

        Args:
            texts: n strings.
            coverage: share of true prices that shall lie between ``low`` and ``high``; the usual
                one if left out.

        Raises:
            InputError: a text is no string, not valid Unicode, or without letter and digit (its
                index is named).
            ValueError: the calibration rows cannot vouch for the coverage.
        """
        kept = [usable(index, text) for index, text in enumerate(texts)]
        with self.lock:  # a fast tokenizer keeps the last padding and cutting in itself
            found = self.predictor.read(kept)
            spreads = self.interval.spreads(found.features)
        coverage = self.interval.usual_coverage if coverage is None else coverage
        low, high = self.interval.ends(found.prices, spreads, coverage)
        return Priced(found.prices, low, high, found.truncated)

    def explain(
        self, texts: Sequence[str], turn: Turn = contextlib.nullcontext
    ) -> list[list[Effect]]:
        """Say what in each of n texts moves its price, the largest effects first.

        The effects of words and numbers are exact where the predictor knows them (ridge regression
        on words, the stack); those of clauses are the price less that of the text without the
        clause. A text is read up to ``explanation.MOST_READ`` times; equal ones once.

        Args:
            texts: n strings.
            turn: entered whenever a few texts are read; other threads may work in between.

        Returns:
            For each text at most 20 effects of a kind; none where nothing moves its price, as in a
            text of one word that only an encoder reads.

        Raises:
            InputError: as of ``predict``.
        """
        kept = [usable(index, text) for index, text in enumerate(texts)]

        @contextlib.contextmanager
        def alone() -> Iterator[None]:
            with turn(), self.lock:
                yield

        found = {text: self.predictor.explain(text, alone) for text in dict.fromkeys(kept)}
        return [found[text] for text in kept]


def usable(index: int, text: object) -> str:
    """Give a text as predictors read it; ``index`` names one that cannot be read."""
    try:
        return usable_text(text)
    except UnusableError as problem:
        raise InputError(
            f"text {index}, {problem.excerpt}: {problem.reason}",
            "valid strings with a letter or digit",
            "leave it out, or correct it",
        ) from None


def save(
    name: str,
    predictor: Predictor,
    calibrated: interval.Calibrated,
    folder: Path,
    *,
    seen: Iterable[str],
    held_out: Iterable[tuple[str, float, float]] = (),
) -> None:
    """Write a predictor with its interval into one empty folder.

    Args:
        name: of the predictor's method in ``predictors.PREDICTORS``.
        predictor: by that method.
        calibrated: the interval.
        folder: where to.
        seen: digests of the texts that its study's fit, which was judged, has seen in any way.
        held_out: digest of the text, target, and that fit's prediction of each held-out row.
    """
    predictors.save(name, predictor, folder)
    interval.save(calibrated, folder / INTERVAL_FOLDER)
    (folder / SEEN_FILE).write_text(json.dumps(sorted(set(seen))))
    kept = {row_key(digest, target): float(guess) for digest, target, guess in held_out}
    (folder / HELD_OUT_FILE).write_text(json.dumps(kept))


def row_key(digest: str, target: float) -> str:
    """Name a row by the digest of its text and its target."""
    return f"{digest} {float(target)!r}"


def held_out(folder: Path) -> dict[str, float]:
    """Read what the fit that a study judged has predicted for held-out rows, by ``row_key``."""
    return dict(json.loads((folder / HELD_OUT_FILE).read_text()))


def rows_seen(folder: Path) -> frozenset[str]:
    """Read the digests of the texts that the judged fit of a saved predictor has seen."""
    return frozenset(json.loads((folder / SEEN_FILE).read_text()))


def is_served(folder: Path) -> bool:
    """Tell whether a folder looks like one that ``save`` wrote."""
    return (folder / INTERVAL_FOLDER).is_dir()


def load(folder: Path) -> Pricer:
    """Read what ``save`` wrote, today or in version 0.1; needs no MLflow.

    Raises:
        InputError: the folder holds no encoder where it should, or an unknown predictor.
        ValueError: another part of the predictor, or the interval, is missing or damaged.
    """
    return Pricer(predictors.load(folder), interval.load(folder / INTERVAL_FOLDER))
