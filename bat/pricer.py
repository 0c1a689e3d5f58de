"""The pair that is served: an encoder and a regressor in one folder, texts in, prices out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bat import encoder, regressor

ENCODER_FOLDER, REGRESSOR_FOLDER = "encoder", "regressor"


@dataclass(frozen=True)
class Pricer:
    """Predicts prices of texts; threads may share it."""

    encoder: encoder.Encoder
    regressor: regressor.Regressor
    # A fast tokenizer keeps the last padding and cutting in itself, so threads take turns.
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def predict(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Predict one price a text, in the unit of the training prices, shape (n,).

        Raises:
            ValueError: a text is empty (its index is named).
        """
        with self.turn:
            embeddings = encoder.encode(self.encoder, texts)
        return self.regressor.predict(embeddings)


def save(encoder_folder: Path, fitted: regressor.Regressor, folder: Path) -> None:
    """Write a pair into one empty folder."""
    shutil.copytree(encoder_folder, folder / ENCODER_FOLDER)
    regressor.save(fitted, folder / REGRESSOR_FOLDER)


def load(folder: Path) -> Pricer:
    """Read what ``save`` wrote; needs no MLflow.

    Raises:
        InputError: the folder holds no encoder.
        ValueError: the folder holds no regressor.
    """
    opened = encoder.open_encoder(str(folder / ENCODER_FOLDER))
    return Pricer(opened, regressor.load(folder / REGRESSOR_FOLDER))
