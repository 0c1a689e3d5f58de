"""What is served has learnt from all rows, and its interval is made as if each were new."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from bat.data import corpus
from bat.models import interval, regressor, search
from bat.workflow import preparation, refit, stages

SEED = 3


def prepared_from(loaded):
    return preparation.Prepared(loaded, np.zeros(len(loaded.texts), np.int64), ())


def told(loaded):
    """Eight numbers a distinct text: two tell its price, six are noise."""
    rng = np.random.default_rng(0)
    _, first = np.unique(loaded.text_ids, return_index=True)
    logs = np.log(loaded.prices[np.sort(first)])[:, None]
    columns = [logs + rng.normal(0, 0.2, (len(logs), 2)), rng.normal(size=(len(logs), 6))]
    return np.hstack(columns).astype(np.float32)


def evaluated(loaded, features, folder):
    """Folders as the tasks that come before leave them: evaluation, and its features as a shard."""
    judged, shard = folder / "judged", folder / "shard"
    for each in (judged, shard):
        each.mkdir(parents=True)
    np.save(shard / stages.ROWS, features)
    np.save(shard / stages.PLACES, np.arange(len(features)))
    rows = stages.joined(loaded.texts, [[shard]])
    stages.evaluate(rows, prepared_from(loaded), 4, SEED, "told", judged)
    return rows, judged, shard


def refitted(loaded, judged, shard, folder):
    folder.mkdir()
    context = SimpleNamespace(prepared=prepared_from(loaded))
    arguments = {"predictor": "pair", "seed": SEED, "shards": 1}
    refit.refit(context, arguments, [judged, shard], folder)
    return refit.read_refit(folder)


def trees(found):
    """The regressor that a refit has left."""
    return regressor.load(found.folder)


@pytest.fixture(scope="module")
def done(sales, tmp_path_factory):
    """A corpus, its features, the fit that was judged, and the one that is served."""
    loaded, folder = corpus.load(str(sales)), tmp_path_factory.mktemp("done")
    rows, judged, shard = evaluated(loaded, told(loaded), folder)
    served = refitted(loaded, judged, shard, folder / "served")
    return SimpleNamespace(
        loaded=loaded, rows=rows, judged=stages.read_evaluation(judged), served=served,
        held_out=corpus.rows(loaded, "held_out"), train=corpus.rows(loaded, "train"),
        folders=(judged, shard),
    )  # fmt: skip


def test_the_choice_is_kept_and_all_rows_are_learnt_from(done):
    judged, served, prices = done.judged.fitted, trees(done.served), done.loaded.prices
    assert (served.settings, served.n_trees, served.smear) == (
        judged.settings, judged.n_trees, judged.smear,
    )  # fmt: skip
    oracle = regressor.fit(
        done.rows, prices, judged.settings,
        n_trees=judged.n_trees, smear=judged.smear, forest=regressor.FOREST, seed=SEED,
    )  # fmt: skip
    np.testing.assert_array_equal(served.predict(done.rows), oracle.predict(done.rows))
    # who has learnt from a row is nearer to its price
    truth, held_out = prices[done.held_out], done.rows[done.held_out]
    new, old = served.predict(held_out), done.judged.predictions[done.held_out]
    assert (new != old).mean() > 0.9
    assert np.abs(new - truth).mean() < 0.9 * np.abs(old - truth).mean()


def test_each_row_vouches_by_a_prediction_of_trees_that_have_not_seen_it(done):
    calibrated, prices = done.served.calibrated, done.loaded.prices
    assert calibrated.scores.size == len(prices)
    unseen = []
    folds = search.splits(done.loaded.group_ids, folds=search.FOLDS, seed=SEED)
    for learn, apart in folds:
        fitted = regressor.fit(
            done.rows[learn], prices[learn], done.judged.fitted.settings,
            n_trees=done.judged.fitted.n_trees, smear=done.judged.fitted.smear,
            forest=regressor.FOREST, seed=SEED,
        )  # fmt: skip
        unseen.append(fitted.predict(done.rows[apart]))
    guesses = search.in_order(folds, unseen, len(prices))
    wanted = interval.calibrate(done.rows, prices, guesses, groups=done.loaded.group_ids, seed=SEED)
    np.testing.assert_array_equal(calibrated.scores, wanted.scores)
    # of its own rows the fit that is served errs less than the interval says
    own = trees(done.served).predict(done.rows)
    low, high = calibrated.bounds(done.rows, own, 0.8)
    assert np.mean((low <= prices) & (prices <= high)) > 0.85


def test_the_promise_is_counted_on_held_out_rows_as_if_they_were_new(done):
    prices, held_out, train = done.loaded.prices, done.held_out, done.train
    apart = interval.calibrate(
        done.rows[train], prices[train], done.judged.out_of_fold,
        groups=done.loaded.group_ids[train], seed=SEED,
    )  # fmt: skip
    low, high = apart.bounds(
        done.rows[held_out], done.judged.predictions[held_out], apart.usual_coverage
    )
    inside = (low <= prices[held_out]) & (prices[held_out] <= high)
    np.testing.assert_array_equal(done.served.inside, inside)
    # 180 rows of which 90 % are expected inside scatter by 0.022
    assert abs(done.served.inside.mean() - 0.9) < 0.07


def test_held_out_prices_move_the_count_and_not_what_it_counts_with(done, tmp_path):
    prices = done.loaded.prices.copy()
    prices[done.held_out] *= 50
    changed = corpus.with_parts(dataclasses.replace(done.loaded, prices=prices), done.loaded.parts)
    found = refitted(changed, *done.folders, tmp_path / "served")
    assert found.inside.mean() < 0.05  # an interval that had seen them would hold them
    assert done.served.inside.mean() > 0.8
    # and what is served has learnt them
    moved = trees(found).predict(done.rows[done.held_out])
    assert np.median(moved / done.judged.predictions[done.held_out]) > 3


def test_along_time_the_earliest_rows_vouch_for_nothing(sales, tmp_path):
    lines = [json.loads(line) for line in sales.read_text().splitlines()]
    days = np.random.default_rng(0).permutation(len(lines)).tolist()
    path = tmp_path / "dated.jsonl"
    dated = [row | {"day": day} for row, day in zip(lines, days, strict=True)]
    path.write_text("\n".join(map(json.dumps, dated)))
    loaded = corpus.load(str(path), time_column="day")
    _, judged, shard = evaluated(loaded, told(loaded), tmp_path)
    found = refitted(loaded, judged, shard, tmp_path / "served")
    assert found.calibrated.scores.size == 400  # four of five blocks
    assert found.inside.shape == corpus.rows(loaded, "held_out").shape
    assert found.inside.mean() > 0.75
