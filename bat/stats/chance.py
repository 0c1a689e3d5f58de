"""The chance of an arm: how far its scores move when it is tuned, searched and fitted anew."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scatter:
    """Standard deviation of one seed's scores around the mean of all seeds, by score."""

    r2: float  # as it is
    mae: float  # as a share of MAE
    medae: float  # as a share of MedAE
    r2_log: float  # as it is


# One seed of tuning, search and fit: root of the mean variance over three seeds each of the factory
# encoder and a tuned one, on three corpora (docs/LOG.md, 2026-11-27).
ONE_SEED = Scatter(r2=0.0084, mae=0.0059, medae=0.0118, r2_log=0.0075)
# How well ONE_SEED is known: degrees of freedom of that measurement. Corpora differ in it, so that
# three of them with several seeds each count for fewer than their seeds (convention).
FREEDOM = 8
NAMES = tuple(each.name for each in fields(Scatter))
IS_R2 = np.array([name.startswith("r2") for name in NAMES])
SIGNS = np.where(IS_R2, -1, 1)  # an unlucky seed has a lower R² and larger errors


def deviations(scores: Floats) -> Floats:
    """Estimate how far the mean over seeds lies from that over all seeds there could be.

    What the seeds show (seeds − 1 degrees of freedom) is pooled with ``ONE_SEED``, so that one seed
    has an uncertainty and two that happen to agree do not pass for certain.

    Args:
        scores: shape (seeds, m), in the order of ``NAMES``.

    Returns:
        Standard deviations of the mean's scores, shape (m,), in their units.
    """
    seeds, mean = len(scores), scores.mean(axis=0)
    known = np.where(IS_R2, 1.0, mean) * astuple(ONE_SEED)
    squares = np.square(scores - mean).sum(axis=0) + FREEDOM * known**2
    pooled: Floats = np.sqrt(squares / freedom(seeds) / seeds)
    return pooled


def freedom(seeds: int) -> int:
    """Count the degrees of freedom of ``deviations``."""
    return FREEDOM + seeds - 1
