"""Which arm is served, and what that choice is worth on rows without a say in it."""

import math

import numpy as np
import pytest

from bat.workflow import arms, choice
from bat.workflow.arms import ArmKey

RIDGE = arms.baseline("base", 9, 0, "ridge")


def key(documents, seed=0, predictor="pair"):
    return ArmKey("base", "mlm" if documents else "factory", documents, 9, seed, predictor)


def test_the_best_mean_over_seeds_is_chosen_and_then_the_best_seed():
    errors = {
        key(0, 0): np.array([4.0, 4.0]),
        key(0, 1): np.array([1.0, 1.0]),  # the best of all, of a size that is worse in the mean
        key(256, 0): np.array([2.5, 2.5]),
        key(256, 1): np.array([1.0, 3.0]),
    }
    assert choice.best(errors) == key(256, 1)
    alike = {key(256, 0): np.ones(2), key(0, 0): np.ones(2)}
    assert choice.best(alike) == key(0, 0)


def test_each_row_is_predicted_by_the_arm_that_other_rows_choose():
    targets = np.zeros(10)
    wins = {key(0): 5, key(256): 6}  # the row on which each is right; elsewhere it errs by 1
    guesses = {arm: np.where(np.arange(10) == row, 0.0, 1.0) for arm, row in wins.items()}
    guesses[key(0)][0] = 0.0  # right twice: chosen, but for the fold that holds one of the two
    chosen = choice.rotated(choice.best, guesses, targets, np.arange(10))
    found = chosen.predictions
    assert choice.best(guesses) == chosen.key == key(0)
    assert set(np.unique(found)) <= {0.0, 1.0}
    for row in range(10):
        assert found[row] in {each[row] for each in guesses.values()}


def test_luck_on_the_rows_that_choose_does_not_flatter_the_rotated_error():
    random = np.random.default_rng(0)
    flattered, honest = [], []
    for _ in range(200):  # 20 arms that are equal in truth
        targets = random.normal(size=100)
        guesses = {key(size): targets + random.normal(size=100) for size in range(20)}
        best = choice.best({arm: np.abs(each - targets) for arm, each in guesses.items()})
        flattered.append(np.abs(guesses[best] - targets).mean())
        rotated = choice.rotated(choice.best, guesses, targets, np.arange(100))
        honest.append(np.abs(rotated.predictions - targets).mean())
    truth = np.sqrt(2 / np.pi)  # mean absolute value of a standard normal
    error = np.std(honest) / np.sqrt(200)
    assert np.mean(honest) == pytest.approx(truth, abs=4 * error)
    assert np.mean(flattered) < truth - 10 * error


def test_groups_stay_together_and_one_group_has_no_folds():
    random = np.random.default_rng(1)
    targets, groups = random.normal(size=60), np.repeat(np.arange(6), 10)
    guesses = {key(size): targets + random.normal(size=60) for size in (0, 256)}
    found = choice.rotated(choice.best, guesses, targets, groups).predictions
    for group in range(6):
        rows = groups == group
        assert any(np.array_equal(found[rows], each[rows]) for each in guesses.values())
    alone = choice.rotated(choice.best, guesses, targets, np.zeros(60))
    best = choice.best({arm: np.abs(each - targets) for arm, each in guesses.items()})
    assert alone.key == best
    assert np.array_equal(alone.predictions, guesses[best])


def test_of_what_is_as_good_the_cheapest_is_served():
    random = np.random.default_rng(2)
    n = 400
    scatter = random.normal(size=n)
    scatter -= scatter.mean()
    error = scatter.std(ddof=1) / np.sqrt(n)  # standard error of a mean difference like this
    stack = random.uniform(5, 6, n)
    rows = np.arange(n)
    for worse, served in ((0.9, RIDGE), (1.1, key(0, predictor="stack"))):
        errors = {key(0, predictor="stack"): stack, RIDGE: stack + scatter + worse * error}
        assert choice.served(errors, rows) == served
        assert choice.best(errors) == key(0, predictor="stack")
    # rows that err together say less: with 20 groups even the second is no longer shown worse
    together = np.repeat(np.arange(20), n // 20)
    shared = np.repeat(random.normal(size=20), n // 20)
    errors[RIDGE] = stack + shared - shared.mean() + 1.1 * error
    assert choice.served(errors, together) == RIDGE
    assert choice.served({**errors, RIDGE: stack - 1}, rows) == RIDGE


def test_of_the_pairs_the_best_alone_competes_and_of_stacks_the_smaller_is_cheaper():
    rows = np.arange(4)
    flat = {key(0): 2.0, key(256): 1.5, key(512): 1.0}
    errors = {arm: np.full(4, error) for arm, error in flat.items()}
    assert choice.served(errors, rows) == key(512)
    errors |= {key(size, predictor="stack"): np.full(4, 0.5) for size in (512, 0)}
    assert choice.served(errors, rows) == key(0, predictor="stack")
    over_seeds = {
        key(0, 0): np.full(4, 1.0),
        key(0, 1): np.full(4, 0.8),
        RIDGE: np.full(4, 0.85),  # better than the pair in the mean, not than its best seed
    }
    assert choice.served(over_seeds, rows) == RIDGE


def test_what_is_too_slow_does_not_compete_unless_everything_is():
    took = {key(0): 9.0, key(0, predictor="stack"): 12.0, RIDGE: 0.5, key(256): math.nan}
    assert choice.fast_enough(took, None) == list(took)
    assert choice.fast_enough(took, 9.0) == [key(0), RIDGE]
    assert choice.fast_enough(took, 0.1) == [RIDGE]
    assert choice.fast_enough({key(256): math.nan, key(0): 9.0}, 0.1) == [key(0)]
