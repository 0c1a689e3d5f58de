"""The pair that is served: an encoder and a regressor in one folder, texts in, prices out."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bat import encoder, interval, regressor
from bat.encoder import Encoder

ENCODER_FOLDER, REGRESSOR_FOLDER, INTERVAL_FOLDER = "encoder", "regressor", "interval"
BESIDE_FOLDER = "factory"  # only where the regressor reads two embeddings
SEEN_FILE = "pair_rows_seen.json"  # of the encoder alone it is another file, inside its folder

MOST_TOGETHER = 64  # texts: a second or two of two cores, which a lone request may have to wait

Floats = npt.NDArray[np.float64]


class Priced(NamedTuple):
    """Predicted prices and the ends of their intervals, each of shape (n,)."""

    price: Floats
    low: Floats
    high: Floats
    truncated: npt.NDArray[np.bool_]  # the encoder has not read the end of the text


class _Found(NamedTuple):
    """What a batch tells of some texts, each of shape (n,)."""

    price: Floats
    spread: Floats
    truncated: npt.NDArray[np.bool_]


@dataclass(eq=False)
class _Request:
    """Texts of one thread, and what some thread has found for them."""

    texts: list[str]
    found: _Found | None = None


@dataclass(frozen=True)
class _Waiting:
    """Requests that no thread has begun yet; ``door`` guards the list, ``turn`` the encoder."""

    requests: list[_Request] = field(default_factory=list)
    door: threading.Lock = field(default_factory=threading.Lock)
    turn: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Pricer:
    """Predicts prices of texts; threads may share it."""

    encoder: Encoder
    regressor: regressor.Regressor
    interval: interval.Calibrated
    beside: Encoder | None = None  # the factory encoder, where its embedding is read too
    waiting: _Waiting = field(default_factory=_Waiting, repr=False, compare=False)

    def predict(self, texts: Sequence[str], coverage: float | None = None) -> Priced:
        """Predict a price for each of n texts, in the unit of the training prices.

        Args:
            texts: n strings.
            coverage: share of true prices that shall lie between ``low`` and ``high``; the usual
                one if left out.

        Raises:
            ValueError: a text is empty (its index is named), or the calibration rows cannot vouch
                for the coverage.
        """
        encoder.refuse_empty(texts)
        found = self._find(texts)
        coverage = self.interval.usual_coverage if coverage is None else coverage
        low, high = self.interval.ends(found.price, found.spread, coverage)
        return Priced(found.price, low, high, found.truncated)

    def _find(self, texts: Sequence[str]) -> _Found:
        """Price texts with those of all threads that wait right now.

        One thread works at a time, since a fast tokenizer keeps the last padding and cutting in
        itself. Whoever comes next takes everything that has gathered meanwhile: under load batches
        grow by themselves, and a lone request waits for nothing.
        """
        mine = _Request(list(texts))
        with self.waiting.door:
            self.waiting.requests.append(mine)
        with self.waiting.turn:
            if mine.found is None:
                together = self._gathered(mine)
                try:
                    self._price(together)
                except Exception:  # of whatever kind: another's texts may be to blame, so try alone
                    if together == [mine]:
                        raise
                    self._price([mine])
        assert mine.found is not None
        return mine.found

    def _gathered(self, mine: _Request) -> list[_Request]:
        """Take a request and those that wait beside it, as far as the batch stays small."""
        with self.waiting.door:
            together, room = [mine], MOST_TOGETHER - len(mine.texts)
            for other in self.waiting.requests:
                if other is not mine and len(other.texts) <= room:
                    together.append(other)
                    room -= len(other.texts)
            self.waiting.requests[:] = [r for r in self.waiting.requests if r not in together]
        return together

    def _price(self, together: Sequence[_Request]) -> None:
        """Price the texts of requests, and hand each its own."""
        texts = [text for each in together for text in each.texts]
        rows, truncated = encoder.read(self.encoder, texts, self.beside)
        prices, spreads = self.regressor.predict(rows), self.interval.spreads(rows)
        end = 0
        for request in together:
            its = slice(end, end := end + len(request.texts))
            request.found = _Found(prices[its], spreads[its], truncated[its])


def save(
    encoder_folder: Path,
    fitted: regressor.Regressor,
    calibrated: interval.Calibrated,
    folder: Path,
    *,
    seen: Iterable[str],
    beside: Path | None = None,
) -> None:
    """Write a pair with its interval into one empty folder.

    Args:
        encoder_folder: of the encoder.
        fitted: its regressor.
        calibrated: the interval.
        folder: where to.
        seen: digests of the texts that the pair has seen in any way.
        beside: of the factory encoder, where the regressor reads its embedding too.
    """
    shutil.copytree(encoder_folder, folder / ENCODER_FOLDER)
    if beside:
        shutil.copytree(beside, folder / BESIDE_FOLDER)
    regressor.save(fitted, folder / REGRESSOR_FOLDER)
    interval.save(calibrated, folder / INTERVAL_FOLDER)
    (folder / SEEN_FILE).write_text(json.dumps(sorted(set(seen))))


def rows_seen(folder: Path) -> frozenset[str]:
    """Read the digests of the texts that a saved pair has seen."""
    return frozenset(json.loads((folder / SEEN_FILE).read_text()))


def load(folder: Path) -> Pricer:
    """Read what ``save`` wrote; needs no MLflow.

    Raises:
        InputError: the folder holds no encoder.
        ValueError: the folder holds no regressor, or no interval.
    """
    beside = folder / BESIDE_FOLDER
    return Pricer(
        encoder.open_encoder(str(folder / ENCODER_FOLDER)),
        regressor.load(folder / REGRESSOR_FOLDER),
        interval.load(folder / INTERVAL_FOLDER),
        encoder.open_encoder(str(beside)) if beside.is_dir() else None,
    )
