"""Verdicts and plans against arithmetic, and how often they are wrong, by simulation."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from bat.stats import chance, worth
from bat.stats.bootstrap import Interval

PRICES = np.exp(np.random.default_rng(0).normal(10, 0.5, 80))
EXACT = 1e9  # degrees of freedom of what is as good as known


def predicted(errors, prices=PRICES):
    """Predictions that miss by so much, half of them too low."""
    sign = np.where(np.arange(prices.size) % 2, 1, -1)
    return prices + sign * errors


@pytest.mark.parametrize(
    ("low", "high", "r2_worse", "expected"),
    [
        (0.021, 0.05, False, "worth_it"),
        (0.021, 0.05, True, "too_early"),
        (0.019, 0.05, False, "too_early"),
        (-0.01, 0.019, False, "not_worth_it"),
        (0.001, 0.019, False, "not_worth_it"),  # a gain, too small to pay for
        (-0.05, -0.001, False, "does_harm"),
        (-0.01, 0.021, False, "too_early"),
        (math.nan, math.nan, False, "too_early"),
    ],
)
def test_an_interval_has_one_verdict(low, high, r2_worse, expected):
    share = Interval((low + high) / 2, low, high)
    assert worth.verdict(share, worth=0.02, r2_worse=r2_worse) == expected


def test_a_gain_is_the_share_of_the_errors_saved_with_rows_left_out_one_by_one():
    rng = np.random.default_rng(1)
    theirs, ours = rng.exponential(1000, (2, 80))
    (found,) = worth.gains(PRICES, [predicted(ours)], predicted(theirs), chance=(False, False))
    assert found.share.value == pytest.approx(1 - ours.sum() / theirs.sum())
    without = [1 - np.delete(ours, i).sum() / np.delete(theirs, i).sum() for i in range(80)]
    assert found.rows == pytest.approx(
        79 / 80 * np.square(np.array(without) - found.share.value).sum()
    )
    half = scipy.stats.t.ppf(0.975, found.rows_freedom) * math.sqrt(found.rows)
    assert found.share.high - found.share.value == pytest.approx(half)
    assert (found.chance, found.wider, found.seeds) == (0, 1, 1)


def test_the_chance_of_both_sides_is_added():
    errors = np.random.default_rng(1).exponential(1000, 80)
    ours, theirs = predicted(0.9 * errors), predicted(errors)
    (found,) = worth.gains(PRICES, [ours], theirs)
    assert found.rows == pytest.approx(0, abs=1e-20)  # every row is better by a tenth
    assert found.chance == pytest.approx(2 * (0.9 * chance.ONE_SEED.mae) ** 2)
    half = scipy.stats.t.ppf(0.975, chance.FREEDOM) * math.sqrt(found.chance)
    assert found.share.high - found.share.low == pytest.approx(2 * half)
    (one_side,) = worth.gains(PRICES, [ours], theirs, chance=(True, False))
    assert one_side.chance == pytest.approx(found.chance / 2)


def test_a_gain_in_mae_is_not_worth_it_where_r2_is_shown_to_fall():
    prices = np.exp(np.random.default_rng(0).normal(10, 0.5, 300))
    theirs, ours = np.full(300, 1000.0), np.full(300, 100.0)
    ours[::10] = 5000  # the mean falls to 590, the mean square grows two and a half times
    arms = {"few far": predicted(ours, prices), "even": predicted(0.9 * theirs, prices)}
    told = {"corpus_rows": 833, "fitted": "r2", "chance": (False, False)}
    found = worth.judge(prices, arms, predicted(theirs, prices), **told)
    assert found["few far"].gain.share.value == pytest.approx(0.41)
    assert found["few far"].gain.share.low > worth.WORTH
    assert found["few far"].r2_worse
    assert found["few far"].verdict == "too_early"
    assert (found["even"].verdict, found["even"].r2_worse) == ("worth_it", False)
    flipped = worth.judge(prices, {"factory": predicted(theirs, prices)}, arms["even"], **told)
    assert flipped["factory"].verdict == "does_harm"


def test_what_cannot_be_judged_is_refused():
    arms = {"mlm": PRICES * 1.1}
    with pytest.raises(ValueError, match="got worth=2 and 1 arms"):
        worth.judge(PRICES, arms, PRICES * 1.2, corpus_rows=222, worth=2)
    with pytest.raises(ValueError, match="and 0 arms"):
        worth.judge(PRICES, {}, PRICES * 1.2, corpus_rows=222)
    with pytest.raises(ValueError, match="never errs"):
        worth.judge(PRICES, arms, PRICES, corpus_rows=222)


def test_one_group_of_rows_is_too_early_and_makes_no_plan():
    found = worth.judge(
        PRICES, {"mlm": PRICES * 1.1}, PRICES * 1.2, corpus_rows=222, groups=np.zeros(80)
    )["mlm"]
    assert (found.verdict, found.plan) == ("too_early", None)


def gain(**changes):
    share = Interval(0.0, -0.03, 0.03)
    made = worth.Gain(share, 0.015**2, EXACT, 0.0, EXACT, 1.0, 1)
    return dataclasses.replace(made, **changes)


def test_a_plan_shrinks_the_interval_until_four_in_five_studies_tell():
    error = 0.02 / (1.959964 + 0.841621)  # of a study that finds what lies ``worth`` away
    plan = worth.plan(gain(), 3000, worth=0.02)
    assert plan.if_nothing == pytest.approx(3000 * (0.015 / error) ** 2, rel=0.015)
    assert plan.if_twice == pytest.approx(3000 * (0.96 * 0.015 / error) ** 2, rel=0.015)
    assert (plan.rows, plan.seeds) == (plan.if_nothing, 1)
    family = worth.plan(gain(wider=1.2), 3000, worth=0.02)
    wider = 0.02 / (1.2 * 1.959964 + 0.841621)
    assert family.rows == pytest.approx(3000 * (0.015 / wider) ** 2, rel=0.015)


def test_chance_leaves_less_room_for_rows():
    error = 0.02 / (1.959964 + 0.841621)
    plan = worth.plan(gain(chance=0.005**2), 3000, worth=0.02)
    assert plan.if_nothing == pytest.approx(3000 * 0.015**2 / (error**2 - 0.005**2), rel=0.015)
    assert plan.seeds == 1


def test_where_chance_alone_forbids_a_verdict_seeds_are_added():
    error = 0.02 / (1.959964 + 0.841621)  # 0.71 %
    plan = worth.plan(gain(chance=0.008**2), 3000, worth=0.02)
    assert plan.seeds == math.ceil(0.008**2 / (error**2 / 2)) == 3
    room = error**2 - 0.008**2 / 3
    assert plan.if_nothing == pytest.approx(3000 * 0.015**2 / room, rel=0.015)


def studies(true, rows, number, arms=1):
    """Verdicts of studies of errors with a standard deviation, and of seeds that scatter."""
    rng = np.random.default_rng(7)
    prices = np.exp(rng.normal(10, 0.5, rows))
    for _ in range(number):
        errors = rng.exponential(1000, rows)
        luck = chance.ONE_SEED.mae * rng.normal(0, 1, arms + 1)
        factory = predicted(errors * (1 + luck[-1]), prices)
        predictions = {
            str(arm): predicted(
                errors * (1 - true) * (1 + luck[arm]) * (1 + rng.normal(0, 0.1, rows)), prices
            )
            for arm in range(arms)
        }
        yield worth.judge(prices, predictions, factory, corpus_rows=2 * rows)


@pytest.mark.parametrize("arms", [1, 3])
def test_nothing_is_seldom_called_worth_it_or_harmful(arms):
    wrong = sum(
        any(each.verdict in {"worth_it", "does_harm"} for each in study.values())
        for study in studies(0.0, 150, 200, arms=arms)
    )
    assert wrong / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


def test_a_planned_study_finds_its_verdict_in_about_four_of_five_cases():
    (first,) = [study["0"] for study in studies(0.0, 150, 1)]
    assert first.plan.seeds > 1  # one seed's chance alone hides 2 %
    (first,) = [worth.plan(study["0"].gain, 300, worth=0.04) for study in studies(0.0, 150, 1)]
    assert first.seeds == 1
    found = [
        worth.verdict(study["0"].gain.share, worth=0.04, r2_worse=False)
        for study in studies(0.0, first.if_nothing // 2, 300)
    ]
    told = np.mean([each in {"not_worth_it", "does_harm"} for each in found])
    assert 0.7 < told < 0.9
