"""Whether larger sizes can still change the answer, judged by out-of-fold errors alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat.stats import bootstrap, chance, families, jackknife, resampling
from bat.stats.learning_curve import MARGIN

STOP_SIZES = 4  # fewer give no chord over three steps

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stop:
    """Whether further sizes can still change the answer."""

    stop: bool
    remaining: float | None  # the most that all further documents could take off the error
    allowed: float | None  # what may be forgone: the margin's share of the gain so far
    reason: str


def can_stop(
    documents: Sequence[int],
    errors: npt.ArrayLike,
    factory: npt.ArrayLike,
    *,
    full: int,
    margin: float = MARGIN,
    groups: npt.ArrayLike | None = None,
) -> Stop:
    """Say, by out-of-fold errors of train rows alone, whether further sizes can change the answer.

    Assumes diminishing returns: no later document saves more than those of the last three steps
    did. Then the upper end of the 95 % interval of what a document saved over these steps, by rows
    (by group) and the chance of both arms, bounds the fall up to the full size. Stop when that
    bound is within the margin's share of the gain so far, or when even it would not bring a gain
    over the factory. About 14 % of real curves break the assumption (arXiv 2505.15657).

    Args:
        documents: sizes visited so far, rising, without 0.
        errors: absolute out-of-fold errors of one seed, shape (sizes, v).
        factory: those of the factory encoder, shape (v,).
        full: documents there are.
        margin: share of the gain that one may forgo.
        groups: of the rows, shape (v,): those of one group err together.

    Returns:
        Never ``stop`` with fewer than four sizes.

    Raises:
        ValueError: shapes disagree, or sizes do not rise up to ``full`` at most.
    """
    n, rows, base = _checked(documents, errors, factory, full)
    if n.size < STOP_SIZES:
        return Stop(False, None, None, f"{n.size} sizes; at least {STOP_SIZES} are needed")
    together = resampling.numbered(groups, base.size)
    if not together.any():
        return Stop(False, None, None, "the rows are one group: no scatter to judge by")
    saved = _most_saved(rows[-STOP_SIZES], rows[-1], together)
    remaining = max(0.0, saved / float(n[-1] - n[-STOP_SIZES]) * float(full - n[-1]))
    gain = float((base - rows[-1]).mean())
    allowed = margin * max(gain, 0.0)
    told = f"the {full - int(n[-1]):,} further documents can take at most {remaining:.4g} off"
    if gain + remaining <= 0:
        reason = f"{told}: no gain over the factory encoder either way"
        return Stop(True, remaining, allowed, reason)
    stop = remaining <= allowed
    verdict = "within" if stop else "more than"
    reason = f"{told}: {verdict} the {allowed:.4g} that may be forgone ({margin:.0%} of the gain)"
    return Stop(stop, remaining, allowed, reason)


def _checked(
    documents: Sequence[int], errors: npt.ArrayLike, factory: npt.ArrayLike, full: int
) -> tuple[Floats, Floats, Floats]:
    """Return sizes (k,), errors (k, v) and those of the factory (v,), or say what is wrong."""
    rows, base = np.asarray(errors, np.float64), np.asarray(factory, np.float64)
    if rows.ndim != 2 or base.shape != rows.shape[1:] or len(rows) != len(documents):
        raise ValueError(
            f"got {len(documents)} sizes, errors {rows.shape}, factory {base.shape}; expected "
            "(sizes, v) and (v,)"
        )
    n, _, _ = families.checked(documents, rows.mean(axis=1), None)
    if n[-1] > full:
        raise ValueError(f"got full={full}; expected at least the newest size, {n[-1]:.0f}")
    return n, rows, base


def _most_saved(before: Floats, after: Floats, groups: npt.NDArray[np.intp]) -> float:
    """Find the upper end of the 95 % interval of the MAE saved between two arms.

    Args:
        before: errors of the smaller arm, shape (v,).
        after: of the larger one, shape (v,).
        groups: of the rows, shape (v,).
    """
    rows = jackknife.ratios((before - after)[None], np.ones(after.size), groups)
    parts = [(float(rows.covariance[0, 0]), rows.freedom)]
    for mae in (float(before.mean()), float(after.mean())):
        parts.append(((chance.ONE_SEED.mae * mae) ** 2, float(chance.freedom(1))))
    return float(rows.values[0]) + jackknife.half_width(parts, coverage=bootstrap.COVERAGE)
