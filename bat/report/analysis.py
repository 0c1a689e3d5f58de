"""What a study's predictions support, computed once: paired differences, the learning curve."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bat.models import predictors
from bat.stats import bootstrap, hypotheses, learning_curve, worth
from bat.workflow.arms import ArmKey
from bat.workflow.outcome import Outcome, Row

WORDS, SUPERVISED = (predictors.named(name).label for name in ("tfidf", "supervised"))
# What an embedding is added to: the first of them that a study has. The first reads all but it.
WITHOUT_ENCODER = tuple(predictors.named(name).label for name in (predictors.WORDS, "ridge"))
EMBEDDING, TUNING = "embedding", "tuning"  # what is added to words, and to words + factory
Together = Mapping[str, Outcome]  # studies of one corpus, by what tells them apart


class Addition(NamedTuple):
    """What one line adds to another."""

    what: str  # EMBEDDING or TUNING
    ours: Row
    theirs: Row
    found: worth.Judgement  # against ``theirs``


def paired(outcome: Outcome, ours: Row, theirs: Row) -> dict[str, bootstrap.Interval]:
    """Give the paired difference of each metric between two lines, ours minus theirs."""
    return bootstrap.paired(
        outcome.prices,
        ours.predictions,
        theirs.predictions,
        groups=outcome.groups,
        chance=(ours.by_chance, theirs.by_chance),
    )


@functools.lru_cache(maxsize=2)
def over_factory(outcome: Outcome) -> Mapping[ArmKey, Mapping[str, bootstrap.Interval]]:
    """Compare every tuned encoder with the factory's on the same held-out rows.

    Args:
        outcome: of the study.

    Returns:
        By the key of the line, the difference of each metric, in intervals that hold for all
        sizes at once; empty without the factory encoder.
    """
    factory, tuned = outcome.row("factory"), outcome.tuned
    if not factory or not tuned:
        return {}
    found = bootstrap.bands(
        outcome.prices,
        [row.predictions for row in tuned],
        factory.predictions,
        groups=outcome.groups,
        chance=(True, True),
    )
    return {
        row.key: {name: band[place] for name, band in found.items()}
        for place, row in enumerate(tuned)
    }


@functools.lru_cache(maxsize=2)
def verdicts(outcome: Outcome) -> Mapping[str, worth.Judgement]:
    """Judge the largest size of each way to learn, which is named before anything is seen.

    Returns:
        By the name of the line; empty without the factory encoder, or where nothing is tuned.
    """
    factory, last = outcome.row("factory"), largest(outcome)
    if not factory or not last.documents:
        return {}
    return {last.name: _judged(outcome, last, factory)}


@functools.lru_cache(maxsize=2)
def beside_words(outcome: Outcome) -> tuple[Addition, ...]:
    """Judge what the factory embedding adds to words, and what tuning adds to both.

    The stack on the factory encoder against that without an encoder (or ridge regression on words,
    where a study has no other), and the stack on the largest size against that on the factory
    encoder; either, where both lines are there.
    """
    words = next(filter(None, map(outcome.row, WITHOUT_ENCODER)), None)
    stacks = {row.key.documents: row for row in outcome.stacks}
    factory = stacks.get(0)
    largest = stacks.get(max(stacks, default=0))
    compared = [(EMBEDDING, factory, words), (TUNING, largest if factory else None, factory)]
    return tuple(
        Addition(what, ours, theirs, _judged(outcome, ours, theirs))
        for what, ours, theirs in compared
        if ours and theirs and ours is not theirs
    )


def _judged(outcome: Outcome, ours: Row, theirs: Row) -> worth.Judgement:
    return worth.judge(
        outcome.prices,
        {ours.name: ours.predictions},
        theirs.predictions,
        corpus_rows=sum(outcome.about.parts.values()),
        worth=outcome.about.worth,
        groups=outcome.groups,
        chance=(ours.by_chance, theirs.by_chance),
    )[ours.name]


def has_curve(outcome: Outcome) -> bool:
    """Tell whether there is enough to study the learning curve: sizes, something to beat, rows."""
    sizes = [row.documents for row in outcome.curve]
    enough = len(outcome.prices) >= learning_curve.FEWEST_ROWS
    return enough and 0 in sizes and sum(1 for size in sizes if size) > 1


@functools.lru_cache(maxsize=2)
def learned(
    outcome: Outcome,
) -> tuple[Mapping[str, learning_curve.Curve], tuple[hypotheses.Verdict, ...]]:
    """Study the learning curve of an outcome that has one.

    Returns:
        The curve of each metric, and the working hypotheses' verdicts.
    """
    tuned, factory = outcome.tuned, outcome.row("factory")
    assert factory is not None
    scores = learning_curve.resample(
        [row.documents or 0 for row in tuned],
        outcome.prices,
        np.stack([row.predictions for row in tuned]),
        factory.predictions,
        groups=outcome.groups,
    )
    margin = outcome.about.margin
    curves = {name: learning_curve.curve(score, margin=margin) for name, score in scores.items()}
    return curves, hypotheses.hypotheses(scores, margin=margin)


def largest(outcome: Outcome) -> Row:
    """Find the encoder tuned on most documents; the factory encoder if none is tuned."""
    return outcome.curve[-1]


def best_baseline(outcome: Outcome) -> Row | None:
    """Find the baseline with the least out-of-fold error; ``supervised`` is compared by itself."""
    others = [row for row in outcome.rows if row.key.is_baseline and row.name != SUPERVISED]
    return min(others, key=lambda row: row.train_mae, default=None)


def group_count(groups: npt.ArrayLike | None) -> int:
    """Count the groups of some rows; 0 where each row is alone."""
    if groups is None:
        return 0
    ids = np.asarray(groups)
    count = len(np.unique(ids))
    return count if count < ids.size else 0
