"""Which arm of a study is served: the best on held-out rows, or a cheaper one that is as good.

Out-of-fold errors of training rows cannot choose. An encoder that has read their texts embeds them
better than new ones: on three corpora its gain over the factory encoder looked larger there than on
held-out rows, by 0.7 % of the error in the mean (docs/LOG.md). The best of several on the rows that
chose it looks better than it is; ``rotated`` says what such a choice is worth on rows that had no
say in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat.models import predictors, search
from bat.models.predictors import PAIR
from bat.stats import jackknife, resampling
from bat.workflow.arms import FACTORY, ArmKey

FOLDS = 5  # of the held-out rows, that take turns to be judged by a choice of the others

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]
Errors = Mapping[ArmKey, Floats]  # absolute, (t,), of each arm on the same rows
Rule = Callable[[Errors, Groups], ArmKey]  # chooses an arm by its errors, given the rows' groups


@dataclass(frozen=True, eq=False)
class Choice:
    """An arm that was chosen, and what choices like it predict."""

    key: ArmKey
    predictions: Floats  # (t,), for held-out rows that had no say in the choice: see ``rotated``


def best(errors: Errors, groups: Groups | None = None) -> ArmKey:
    """Choose the best arm over its seeds, then its best seed; of equals the smaller."""
    means = _means(errors)
    line = min(means, key=lambda line: (means[line], line.documents))
    seeds = [key for key in errors if key.line == line]
    return min(seeds, key=lambda key: (float(errors[key].mean()), key.seed))


def served(errors: Errors, groups: Groups) -> ArmKey:
    """Choose what to serve: of the best and what is as good, the cheapest.

    As good is whatever errs by no more than one standard error of the paired difference above the
    best. Of the pairs only the best one competes.

    Args:
        errors: of the arms that compete.
        groups: of the rows, (t,); those of one group err together.

    Source:
        One standard error: Breiman et al. 1984, "Classification and Regression Trees", 3.4.3.
    """
    pairs = {key: each for key, each in errors.items() if key.predictor == PAIR}
    kept = best(pairs).line if pairs else None
    competing = {
        key: each for key, each in errors.items() if key.predictor != PAIR or key.line == kept
    }
    least = best(competing).line
    means = {line: _mean_rows(competing, line) for line in _means(competing)}
    as_good = [
        line
        for line, rows in means.items()
        if line == least or rows.mean() - means[least].mean() <= _error(rows - means[least], groups)
    ]
    cheapest = min(as_good, key=_cost)
    return best({key: each for key, each in competing.items() if key.line == cheapest})


def _cost(line: ArmKey) -> tuple[int, bool, int]:
    """Order arms by what they cost: to serve, then to make."""
    place = list(predictors.PREDICTORS).index(line.predictor)
    return place, line.objective != FACTORY, line.documents


def _means(errors: Errors) -> dict[ArmKey, float]:
    """Average over rows and seeds, by line."""
    lines = dict.fromkeys(key.line for key in errors)
    return {line: float(_mean_rows(errors, line).mean()) for line in lines}


def _mean_rows(errors: Errors, line: ArmKey) -> Floats:
    """Average over the seeds of a line: (t,)."""
    mean: Floats = np.mean([each for key, each in errors.items() if key.line == line], axis=0)
    return mean


def _error(differences: Floats, groups: Groups) -> float:
    """Estimate the standard error of a mean over rows that are drawn by group; (t,)."""
    ids = resampling.numbered(groups, differences.size)
    found = jackknife.ratios(differences[None], np.ones(differences.size), ids)
    return math.sqrt(found.covariance[0, 0])


def rotated(
    rule: Rule, predictions: Mapping[ArmKey, Floats], targets: Floats, groups: Groups
) -> Choice:
    """Choose by all rows, and predict each row by the arm that the rows of other folds choose.

    Args:
        rule: ``best`` or ``served``.
        predictions: of each arm for the held-out rows, shape (t,) each.
        targets: shape (t,).
        groups: shape (t,); rows of one group stay in one fold.

    Returns:
        The arm; its own predictions where there are too few groups for folds.
    """
    errors = {key: np.abs(each - targets) for key, each in predictions.items()}
    chosen = rule(errors, groups)
    count = min(FOLDS, np.unique(groups).size)
    if count < 2:
        return Choice(chosen, predictions[chosen])
    found = np.empty(targets.size)
    for others, rows in search.splits(groups, folds=count, seed=0):
        there = rule({key: each[others] for key, each in errors.items()}, groups[others])
        found[rows] = predictions[there][rows]
    return Choice(chosen, found)


def fast_enough(
    milliseconds: Mapping[ArmKey, float], serve_within: float | None
) -> Sequence[ArmKey]:
    """List the arms that predict a text in time; the fastest alone where none does.

    Args:
        milliseconds: a text takes of each arm; NaN where nobody measured it.
        serve_within: milliseconds; None for any.
    """
    if serve_within is None:
        return list(milliseconds)
    fast = [key for key, took in milliseconds.items() if took <= serve_within]
    return fast or [
        min(milliseconds, key=lambda key: (math.isnan(milliseconds[key]), milliseconds[key]))
    ]
