"""Whether fine-tuning is worth it: the verdict on the arm named beforehand, and what would tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from bat.stats import bootstrap, jackknife, resampling
from bat.stats.bootstrap import COVERAGE, Interval

WORTH = 0.02  # share of the factory's MAE: the smallest gain worth paying for (convention)
POWER = 0.8  # convention
WORTH_IT, NOT_WORTH_IT = "worth_it", "not_worth_it"
DOES_HARM, TOO_EARLY = "does_harm", "too_early"
TIMES = np.geomspace(
    1e-2, 1e4, 1001
)  # multiples of the rows at hand that a plan tries: 1.4 % apart
CHANCE_SHARE = 0.5  # of the variance allowed, where a plan has to add seeds (convention)
MOST_SEEDS = 100  # beyond which no plan goes (convention)
NORMAL = float(ndtri((1 + COVERAGE) / 2))  # no t quantile is smaller


@dataclass(frozen=True)
class Gain:
    """The share of the factory's MAE that an arm saves, and what makes it uncertain."""

    share: Interval  # above 0 is better; holds for all arms compared at once
    rows: float  # variance that other rows would bring
    rows_freedom: float
    chance: float  # variance that other seeds would bring, the arm's and the factory's
    chance_freedom: float
    wider: float  # by how much the interval is wider than that of this arm alone
    seeds: int


@dataclass(frozen=True)
class Plan:
    """Corpus rows with which the verdict would be found in 80 of 100 studies.

    More rows are taken to be of the same kind, in groups of the same size. They change the gain
    itself, too, which no plan knows.
    """

    if_nothing: int  # to call a true gain of 0 not worth it
    if_twice: int  # to call a true gain of twice ``worth`` worth it
    seeds: int  # the present ones; more where their chance alone forbids either verdict

    @property
    def rows(self) -> int:
        """Corpus rows that do for both."""
        return max(self.if_nothing, self.if_twice)


@dataclass(frozen=True)
class Judgement:
    """What a study says of one way to learn."""

    verdict: str  # worth_it, not_worth_it, does_harm, too_early
    gain: Gain
    r2: Interval  # arm − factory on the fitted scale, for all arms at once
    r2_worse: bool  # shown to be lower: then no gain in MAE is called worth it
    plan: Plan | None  # None where the scatter of rows is not known


def judge(
    prices: npt.ArrayLike,
    arms: Mapping[str, npt.ArrayLike],
    factory: npt.ArrayLike,
    *,
    corpus_rows: int,
    worth: float = WORTH,
    fitted: str = "r2_log",
    groups: npt.ArrayLike | None = None,
    chance: tuple[bool, bool] | None = (True, True),
) -> dict[str, Judgement]:
    """Say of each arm whether it is worth it, with errors bounded over all of them.

    *Worth it*: all of the interval around the share of MAE saved lies beyond ``worth``, and R² on
    the fitted scale is not shown to be lower. *Not worth it*: all of it falls short of ``worth``;
    the arm *does harm* where all of it lies below 0. *Too early* to tell: anything else. The arms
    are those named before the study, the largest size of each way to learn. Intervals hold for all
    at once, so that a study in which nothing helps finds something worth it or harmful in at most
    5 of 100 cases, however many ways it compares.

    Args:
        prices: n true prices of held-out rows, positive, not all equal.
        arms: predictions of each, (n,) or (seeds, n).
        factory: of the encoder as it comes, with as many seeds or one.
        corpus_rows: rows of the whole corpus, in which a plan is counted.
        worth: the smallest gain worth paying for, a share of the factory's MAE.
        fitted: ``r2_log`` where the regressor is fitted to logarithms, else ``r2``.
        groups: n integers, equal for rows that err together. Left out, each row by itself.
        chance: whether the arms' scores hang on a seed, and the factory's; see
            ``bootstrap.draw_scores``.

    Returns:
        A judgement for each arm.

    Raises:
        ValueError: no arm, ``worth`` is no share, the factory makes no error, or predictions cannot
            be scored.
    """
    if not 0 < worth < 1 or not arms:
        raise ValueError(
            f"got worth={worth} and {len(arms)} arms; expected a share between 0 and 1, and an arm"
        )
    predictions = list(arms.values())
    measured = gains(prices, predictions, factory, groups=groups, chance=chance)
    fits = bootstrap.bands(
        prices, predictions, factory, names=[fitted], groups=groups, chance=chance
    )[fitted]
    found = {}
    for name, gain, r2 in zip(arms, measured, fits, strict=True):
        worse = r2.high < 0
        called = verdict(gain.share, worth=worth, r2_worse=worse)
        found[name] = Judgement(called, gain, r2, worse, plan(gain, corpus_rows, worth=worth))
    return found


def gains(
    prices: npt.ArrayLike,
    arms: Sequence[npt.ArrayLike],
    factory: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    chance: tuple[bool, bool] | None = (True, True),
) -> tuple[Gain, ...]:
    """Measure which share of the factory's MAE each arm saves, in intervals that hold for all.

    A share scatters less than the difference in price units, which a few dear rows rule: where
    errors have heavy tails and gains are large, its intervals cover what those do not.

    Args:
        prices: as for ``judge``.
        arms: predictions of each, (n,) or (seeds, n).
        factory: as for ``judge``.
        groups: as for ``judge``.
        chance: as for ``judge``.

    Returns:
        One for each arm.

    Raises:
        ValueError: the factory makes no error, or predictions cannot be scored.
    """
    models = [*arms, factory]
    checked = [resampling.checked(prices, model) for model in models]
    *mine, theirs = [np.abs(truth - guesses).mean(axis=0) for truth, guesses in checked]
    if not theirs.any():
        raise ValueError("got a factory encoder that never errs; expected an error to save a share")
    rows = jackknife.ratios(np.array(mine), theirs, resampling.numbered(groups, theirs.size))
    told = None if chance is None else [chance[0]] * len(arms) + [chance[1]]
    deviations, freedoms = bootstrap.chances_of(prices, models, chance=told)
    of_mae = deviations[:, bootstrap.NAMES.index("mae")] / theirs.mean()
    of_seeds = jackknife.Chance(of_mae[:-1], rows.values * of_mae[-1], min(freedoms))
    halves = jackknife.half_widths(rows, of_seeds, coverage=COVERAGE)
    return tuple(
        _gain(rows, of_seeds, float(half), place, len(checked[place][1]))
        for place, half in enumerate(halves)
    )


def _gain(
    rows: jackknife.Ratios, of_seeds: jackknife.Chance, half: float, place: int, seeds: int
) -> Gain:
    """Put together what is known of one arm; ``rows`` holds shares of the factory's MAE."""
    scatter, saved = float(rows.covariance[place, place]), float(1 - rows.values[place])
    chance = float(of_seeds.own[place] ** 2 + of_seeds.shared[place] ** 2)
    parts = [(scatter, rows.freedom), (chance, of_seeds.freedom)]
    alone = jackknife.half_width(parts, coverage=COVERAGE)
    return Gain(
        share=Interval(saved, saved - half, saved + half),
        rows=scatter,
        rows_freedom=rows.freedom,
        chance=chance,
        chance_freedom=of_seeds.freedom,
        wider=half / alone if alone else 1.0,
        seeds=seeds,
    )


def verdict(share: Interval, *, worth: float, r2_worse: bool) -> str:
    """Name what an interval around the share of MAE saved says."""
    if share.low > worth and not r2_worse:
        return WORTH_IT
    if share.high < 0:
        return DOES_HARM
    return NOT_WORTH_IT if share.high < worth else TOO_EARLY


def plan(gain: Gain, corpus_rows: int, *, worth: float = WORTH) -> Plan | None:
    """Say with how many rows a study of the same kind would find its verdict.

    What rows bring to the interval shrinks with their root, what seeds bring does not. Where the
    chance of the present seeds alone makes an interval too wide for either verdict, the plan adds
    seeds until chance takes up at most half of the variance that may be.

    Args:
        gain: as measured.
        corpus_rows: rows of the corpus that it was measured with.
        worth: the smallest gain worth paying for.

    Returns:
        None where the scatter of rows is not known or nothing, or no number of seeds would do.
    """
    if not 0 < gain.rows < math.inf or gain.share.value >= 1:
        return None
    for seeds in range(gain.seeds, MOST_SEEDS):
        most = 1.0 if seeds == gain.seeds else CHANCE_SHARE
        times = [_times(gain, true, worth, seeds, most) for true in (0.0, 2 * worth)]
        if all(times):
            nothing, twice = (math.ceil(corpus_rows * each) for each in times)
            return Plan(nothing, twice, seeds)
    return None


def _times(gain: Gain, true: float, worth: float, seeds: int, most: float) -> float:
    """Find the least multiple of the rows at which a true gain is told from ``worth``; 0 if none.

    Both gains planned for lie ``worth`` away from it. Shares scatter in proportion to what is left
    of the error.
    """
    scale = ((1 - true) / (1 - gain.share.value)) ** 2
    rows, chance = gain.rows * scale / TIMES, gain.chance * scale * gain.seeds / seeds
    if chance > most * (worth / (gain.wider * NORMAL + ndtri(POWER))) ** 2:
        return 0.0  # too much for any number of rows
    squares = rows**2 / (gain.rows_freedom * TIMES)
    squares += chance**2 / (gain.chance_freedom + seeds - gain.seeds)
    quantile = stdtrit((rows + chance) ** 2 / squares, (1 + COVERAGE) / 2)
    allowed = (worth / (gain.wider * quantile + ndtri(POWER))) ** 2
    found = (rows + chance <= allowed) & (chance <= most * allowed)
    return float(TIMES[found.argmax()]) if found.any() else 0.0
