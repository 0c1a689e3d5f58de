"""The search: folds by group, equal effort, equal results."""

import itertools

import numpy as np
import optuna
import pytest

from bat.models import regressor, search

TIME = "seconds"


def corpus(n=240, dim=8, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dim)).astype(np.float32)
    noise = 0.3 * rng.normal(size=n)
    return embeddings, np.exp(7 + embeddings[:, 0] + 0.5 * embeddings[:, 1] + noise)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A few trees are enough to see what the search does."""
    monkeypatch.setattr(search, "SCREEN_TREES", 40)
    monkeypatch.setattr(search, "SCREEN_WARMUP", 20)
    monkeypatch.setattr(search, "FINAL_TREES", 60)


def timeless(trials):
    return [{name: value for name, value in row.items() if name != TIME} for row in trials]


def test_groups_stay_in_one_fold_and_folds_are_equal():
    groups = np.random.default_rng(0).integers(0, 40, size=400)
    parts = search.assign_folds(groups, folds=4, seed=0)
    assert all(np.unique(parts[groups == group]).size == 1 for group in range(40))
    assert np.bincount(parts).tolist() == pytest.approx([100] * 4, abs=3)


def test_rows_without_groups_are_dealt_out_evenly_and_by_seed():
    parts = search.assign_folds(10, folds=4, seed=0)
    assert sorted(np.bincount(parts)) == [2, 2, 3, 3]
    assert (parts == search.assign_folds(10, folds=4, seed=0)).all()
    assert (parts != search.assign_folds(10, folds=4, seed=1)).any()


def test_one_large_group_leaves_no_fold_empty():
    parts = search.assign_folds([0] * 90 + list(range(1, 11)), folds=4, seed=0)
    assert sorted(np.bincount(parts)) == [3, 3, 4, 90]


def test_the_held_out_rows_of_a_fold_share_no_group_with_the_others():
    groups = np.arange(240) // 2
    divided = search.splits(groups, folds=3, seed=0)
    for learn, apart in divided:
        assert not set(groups[learn]) & set(groups[apart])
        assert sorted([*learn, *apart]) == list(range(240))
    assert sorted(np.concatenate([apart for _, apart in divided])) == list(range(240))


def test_a_small_corpus_is_screened_on_all_its_rows():
    embeddings, prices = corpus()
    divided = search.splits(240, folds=3, seed=0)
    few, whole = search._binned(embeddings, prices, divided)
    assert few == whole[-search.SCREEN_FOLDS :]
    for fold, (learn, apart) in zip(whole, divided, strict=True):
        np.testing.assert_array_equal(fold.train_prices, prices[learn])
        np.testing.assert_array_equal(fold.valid_prices, prices[apart])


def test_screening_of_a_large_corpus_takes_some_of_its_rows(monkeypatch):
    monkeypatch.setattr(search, "SCREEN_ROWS", 50)
    embeddings, prices = corpus()
    few, whole = search._binned(embeddings, prices, search.splits(240, folds=4, seed=0))
    assert [(fold.train_prices.size, fold.valid_prices.size) for fold in few] == [(50, 50)] * 2
    assert [fold.train_prices.size for fold in whole] == [180] * 4
    assert not set(few[0].train_prices) & set(whole[-2].valid_prices)


@pytest.mark.parametrize("drawn", range(5))
def test_folds_along_time_never_learn_from_what_comes_later(drawn):
    rng = np.random.default_rng(drawn)
    n, folds = 200, int(rng.integers(2, 6))
    groups, times = rng.integers(0, 90, n), rng.permutation(n) * 3600.0
    latest = np.array([times[groups == group].max() for group in groups])
    divided = search.splits(groups, folds=folds, seed=drawn, times=times)
    assert len(divided) == folds
    for learn, apart in divided:
        assert not set(groups[learn]) & set(groups[apart])
        # a group stands where its latest row does
        assert latest[learn].max() < latest[apart].min()
    for (before, held), (now, _) in itertools.pairwise(divided):
        assert sorted(now) == sorted([*before, *held])  # each fold goes on where the last ended
    unheld = set(range(n)) - set(np.concatenate([apart for _, apart in divided]))
    assert unheld == set(divided[0][0])


def test_rows_of_one_time_lie_on_one_side_where_there_are_enough_times():
    days = np.random.default_rng(0).integers(0, 12, 300)
    for learn, apart in search.splits(300, folds=4, seed=0, times=days):
        assert days[learn].max() < days[apart].min()
    alike = np.repeat([1, 2], [20, 280])  # two times cannot make five blocks
    for learn, apart in search.splits(300, folds=4, seed=0, times=alike):
        assert alike[learn].max() <= alike[apart].min()
        assert apart.size == 60


@pytest.mark.parametrize(
    ("sizes", "held_out"),
    [
        ([10] * 10, [20, 20, 20, 20]),
        ([90, 2, 2, 2, 2, 2], [2, 2, 2, 2]),  # by rows the first group would fill four blocks
        ([2, 2, 2, 2, 90], [2, 2, 2, 90]),
        ([1, 1, 1, 1, 1], [1, 1, 1, 1]),
    ],
)
def test_a_large_group_leaves_no_fold_along_time_empty(sizes, held_out):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    divided = search.splits(groups, folds=4, seed=0, times=np.arange(len(groups)))
    assert [apart.size for _, apart in divided] == held_out
    assert all(learn.size for learn, _ in divided)


def test_too_few_groups_for_folds_along_time_are_refused():
    with pytest.raises(ValueError, match="got 4 groups and 5 blocks in time; expected a group for"):
        search.splits(4, folds=4, seed=0, times=np.arange(4))


def test_predictions_of_folds_are_put_where_their_rows_stand():
    divided = [(np.array([0]), np.array([3, 1])), (np.array([0, 1, 3]), np.array([4]))]
    found = search.in_order(divided, [np.array([30.0, 10.0]), np.array([40.0])], 5)
    np.testing.assert_array_equal(found, [np.nan, 10.0, np.nan, 30.0, 40.0])


def test_what_a_search_says_of_unseen_rows_is_the_error_that_it_reports():
    embeddings, prices = corpus()
    found = search.search(embeddings, prices, trials=4)
    assert np.isfinite(found.out_of_fold).all()
    assert np.mean(np.abs(prices - found.out_of_fold)) == pytest.approx(found.mae)
    # trees that have learnt from the rows are nearer to them than those that have not
    fitted = search.fit(found, embeddings, prices, seed=0).predict(embeddings)
    assert np.mean(np.abs(prices - fitted)) < found.mae


def test_a_search_along_time_says_nothing_of_the_earliest_rows():
    embeddings, prices = corpus()
    times = np.random.default_rng(1).permutation(240)
    found = search.search(embeddings, prices, times=times, trials=4)
    np.testing.assert_array_equal(np.isnan(found.out_of_fold), times < 48)
    known = np.isfinite(found.out_of_fold)
    assert np.mean(np.abs(prices - found.out_of_fold)[known]) == pytest.approx(found.mae)


def test_equal_seeds_find_equal_things():
    embeddings, prices = corpus()
    first, again = (search.search(embeddings, prices, trials=8, seed=3) for _ in range(2))
    assert timeless(first.trials) == timeless(again.trials)
    assert (first.settings, first.n_trees, first.smear, first.mae) == (
        again.settings, again.n_trees, again.smear, again.mae,
    )  # fmt: skip
    other = search.search(embeddings, prices, trials=8, seed=4)
    drawn = [[row["min_child_weight"] for row in found.trials[4:8]] for found in (first, other)]
    assert not set(drawn[0]) & set(drawn[1])


def test_every_embedding_starts_from_the_same_settings():
    embeddings, prices = corpus()
    for rows in (embeddings, np.random.default_rng(1).normal(size=(240, 3))):
        trials = search.search(rows, prices, trials=4).trials
        started = [
            (f"{row['target']} {row['loss']}", *(row[name] for name in search.SEARCHED[1:]))
            for row in trials[:4]
        ]
        assert tuple(started) == search.FIRST


def test_the_table_tells_of_every_trial_and_progress_of_every_row():
    embeddings, prices = corpus()
    told = []
    found = search.search(embeddings, prices, trials=12, progress=lambda *now: told.append(now))
    assert [row["rung"] for row in found.trials] == ["screen"] * 12 + ["final"] * 2
    assert [row["number"] for row in found.trials] == list(range(14))
    assert [(done, total) for done, total, _ in told] == [(k + 1, 14) for k in range(14)]
    assert told[11][2] == min(row["value"] for row in found.trials[:12])
    assert {row["state"] for row in found.trials} <= {"complete", "pruned"}
    assert all(row["n_trees"] <= row["grown"] and row["seconds"] >= 0 for row in found.trials)
    best = min(found.trials[12:], key=lambda row: row["value"])
    assert (best["n_trees"], best["max_depth"]) == (found.n_trees, found.settings.max_depth)
    assert found.mae <= best["value"]


def test_what_was_found_beats_the_median_and_fits():
    embeddings, prices = corpus()
    found = search.search(embeddings, prices, trials=6)
    assert found.mae < 0.7 * np.mean(np.abs(prices - np.median(prices)))
    fresh, truth = corpus(seed=1)
    # A few high prices decide the size of any error, so it is taken as a share of the median's.
    before, now = (np.mean(np.abs(paid - np.median(prices))) for paid in (prices, truth))
    trees = search.fit(found, embeddings, prices, seed=0)
    error = np.mean(np.abs(trees.predict(fresh) - truth))
    assert error / now < 1.2 * found.mae / before
    assert error < 0.7 * now


def test_prices_that_do_not_follow_the_embedding_are_not_predicted():
    embeddings, prices = corpus()
    shuffled = np.random.default_rng(0).permutation(prices)
    found = search.search(embeddings, shuffled, trials=6)
    assert found.mae > 0.95 * np.mean(np.abs(prices - np.median(prices)))


@pytest.mark.parametrize(("guess", "expected"), [(50.0, 2.0), (100.0, 1.0), (200.0, 0.5)])
def test_smearing_is_chosen_by_the_held_out_error(guess, expected):
    rows = np.zeros((20, 1), dtype=np.float32)
    prices = np.full(20, 100.0)
    fold = regressor.fold(rows, prices, np.arange(10), np.arange(10, 20))
    mae = abs(100 - guess)
    outcome = regressor.CrossValidated(5, mae, 5, [np.full(10, guess)])
    log, plain = regressor.Settings(), regressor.Settings(target="price")
    assert search._smearing([fold], outcome, log) == (expected, 0)
    assert search._smearing([fold], outcome, plain) == (1.0, mae)


def test_optuna_is_quiet_and_left_as_it_was():
    embeddings, prices = corpus(60)
    heard = []
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    search.search(
        embeddings,
        prices,
        trials=3,
        progress=lambda done, total, best: heard.append(optuna.logging.get_verbosity()),
    )
    assert heard[:3] == [optuna.logging.WARNING] * 3
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_first_configuration_is_always_a_finalist():
    ranked = [
        (error, number, regressor.Settings(max_depth=number + 1))
        for number, error in enumerate((9.0, 3.0, 1.0, 2.0))
    ]
    depths = [[each.max_depth for each in search._finalists(ranked, n)] for n in (1, 2, 4)]
    assert depths == [[1], [3, 1], [3, 4, 2, 1]]


def test_what_cannot_be_searched_is_refused():
    embeddings, prices = corpus(40)
    with pytest.raises(ValueError, match="got 2 groups and folds=4"):
        search.search(embeddings, prices, groups=np.arange(40) % 2)
    with pytest.raises(ValueError, match="got 39 groups for 40 rows"):
        search.search(embeddings, prices, groups=np.arange(39))
    with pytest.raises(ValueError, match="trials=0"):
        search.search(embeddings, prices, trials=0)
    with pytest.raises(ValueError, match="finite prices above 0"):
        search.search(embeddings, -prices)
