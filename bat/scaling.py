"""The learning curve: how many documents are enough (numpy and scipy only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 2000  # the ends of a 95 % interval are then good to a percentile or so
MARGIN = 0.1  # of the whole gain: what one may forgo and still call it enough


@dataclass(frozen=True)
class Enough:
    """The smallest size within the margin of the full gain, with the ends of its interval."""

    documents: int
    low: int
    high: int


def enough(
    documents: Sequence[int],
    errors: npt.NDArray[np.float64],
    factory: npt.NDArray[np.float64],
    *,
    margin: float = MARGIN,
    seed: int = 0,
) -> Enough | None:
    """Find how many documents bring all but a margin of the gain in mean absolute error.

    The whole chain is repeated on resampled test rows: factory error, full gain, smallest size.

    Args:
        documents: rising sizes, the last one being all.
        errors: absolute errors on the test rows, shape (sizes, t).
        factory: absolute errors of the factory encoder, shape (t,).
        margin: share of the full gain.
        seed: of the resampling.

    Returns:
        None when the full size does not beat the factory encoder in 97.5 % of the draws: then
        there is no gain of which to take a share.
    """
    t = len(factory)
    counts = np.random.default_rng(seed).multinomial(t, np.full(t, 1 / t), size=DRAWS)
    weights = np.vstack([np.ones(t), counts]) / t  # (1 + draws, t); the first is the data itself
    mae, base = weights @ errors.T, weights @ factory  # (1 + draws, sizes), (1 + draws,)
    gain = base - mae[:, -1]
    if gain[0] <= 0 or np.mean(gain[1:] > 0) < 0.975:
        return None
    within = mae <= (mae[:, -1] + margin * np.maximum(gain, 0))[:, None]
    first = within.argmax(axis=1)  # the last size always is
    sizes = np.asarray(documents)
    low, high = np.quantile(sizes[first[1:]], [0.025, 0.975], method="nearest")
    return Enough(int(sizes[first[0]]), int(low), int(high))
