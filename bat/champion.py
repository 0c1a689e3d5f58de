"""Who is served: a new pair must beat the champion on test rows that neither has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat import metrics

MIN_ROWS = 100  # fewer than this, and an interval says little (convention)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Whether a new pair becomes the champion, and the sentence that says why or why not."""

    promoted: bool
    reason: str
    gain: metrics.Interval | None = None  # new MAE minus the champion's, where it was measured


def common_rows(digests: Sequence[str], *seen: frozenset[str]) -> npt.NDArray[np.int64]:
    """Number the test rows whose text no pair's training or tuning has seen, shape (k,).

    Args:
        digests: of the test rows' texts.
        seen: of the texts that each pair has seen.
    """
    known = frozenset().union(*seen)
    return np.array([row for row, each in enumerate(digests) if each not in known], np.int64)


def too_few(rows: int) -> Verdict:
    """Refuse to compare on so few rows."""
    return Verdict(
        False,
        f"only {rows} test rows are new to both it and the champion, of the {MIN_ROWS} needed to "
        "compare them",
    )


def judge(
    prices: Floats, new: Floats, present: Floats, *, margin: float, comparisons: int
) -> Verdict:
    """Compare a new pair with the champion on the same rows, paired, by their absolute errors.

    Args:
        prices: of the rows that neither has seen, shape (k,).
        new: what the new pair predicts for them.
        present: what the champion predicts for them.
        margin: share of the champion's error by which the new one must be better for certain.
        comparisons: how often these rows were asked before: each time makes luck more likely.
    """
    gain = metrics.paired(prices, new, present)["mae"]
    bound = -margin * metrics.scores(prices, present)["mae"]
    told = (
        f"its MAE minus the champion's is {gain.value:+,.4g} [{gain.low:+,.4g}, "
        f"{gain.high:+,.4g}] on {len(prices):,} test rows that neither has seen, which were "
        f"compared {comparisons} times before"
    )
    if gain.high < bound:
        return Verdict(True, told, gain)
    wanted = f"below {bound:+,.4g}" if margin else "below 0"
    return Verdict(False, f"{told}; the upper end must be {wanted}", gain)
