"""Nothing of the held-out part reaches tuning, search or choice; each test here can fail."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bat.data import corpus, subsets
from bat.data.texts import normalise
from bat.models import regressor, search
from bat.stats import bootstrap
from bat.workflow import preparation, stages
from tests.conftest import fitted


@pytest.fixture(scope="module")
def loaded(sales):
    return corpus.load(str(sales))


def prepared_from(loaded):
    return preparation.Prepared(loaded, np.zeros(len(loaded.texts), np.int64), ())


@pytest.fixture(scope="module")
def features(loaded):
    """Eight numbers a row: two tell the price, six are noise."""
    random = np.random.default_rng(0)
    log_price = np.log(loaded.prices)[:, None]
    told = log_price + random.normal(0, 0.2, (len(log_price), 2))
    return np.hstack([told, random.normal(size=(len(log_price), 6))]).astype(np.float32)


def evaluated(features, loaded):
    prepared = prepared_from(loaded)
    with tempfile.TemporaryDirectory() as top:
        stages.evaluate(features, prepared, 2, 0, "test", Path(top))
        return stages.read_evaluation(Path(top))


def test_no_held_out_text_is_tuned_on(loaded):
    tuned = subsets.tuning_texts(loaded, seed=0)
    keys = {normalise(loaded.texts[row]) for row in tuned}
    others = np.flatnonzero(loaded.parts != "train")
    assert len(keys) == len(tuned)
    assert not keys & {normalise(loaded.texts[row]) for row in others}


def test_prices_never_reach_the_tuning(loaded):
    other = dataclasses.replace(loaded, prices=loaded.prices[::-1].copy())
    assert subsets.tuning_texts(other, seed=0) == subsets.tuning_texts(loaded, seed=0)


def repriced(loaded, rows, prices):
    """The corpus with other prices in some rows, its parts as they were."""
    changed = loaded.prices.copy()
    changed[rows] = prices
    return corpus.with_parts(dataclasses.replace(loaded, prices=changed), loaded.parts)


def test_held_out_prices_change_nothing_that_is_learnt_or_chosen_by(loaded, features):
    held_out = corpus.rows(loaded, "held_out")
    changed = repriced(loaded, held_out, 7 * loaded.prices[held_out])
    ours, theirs = evaluated(features, loaded), evaluated(features, changed)
    assert ours.found["settings"] == theirs.found["settings"]
    assert ours.found["n_trees"] == theirs.found["n_trees"]
    np.testing.assert_array_equal(ours.predictions, theirs.predictions)
    np.testing.assert_array_equal(ours.out_of_fold, theirs.out_of_fold)
    assert ours.train_mae == theirs.train_mae


def test_the_choice_goes_by_errors_of_rows_that_were_not_learnt_from(loaded, features):
    """Trees that know their rows by heart would choose noise over features that tell the price."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(loaded.texts), 200)).astype(np.float32)
    train = corpus.rows(loaded, "train")
    told, untold = evaluated(features, loaded), evaluated(noise, loaded)
    for each in (told, untold):
        errors = np.abs(each.out_of_fold - loaded.prices[train])
        assert each.train_mae == pytest.approx(errors.mean())
        fitted_to = np.abs(each.predictions - loaded.prices)[train].mean()
        assert fitted_to < each.train_mae
    assert told.train_mae < 0.7 * untold.train_mae
    spread = np.abs(loaded.prices - np.median(loaded.prices))[train].mean()
    assert untold.train_mae > 0.9 * spread


def test_a_group_lies_in_one_part_and_in_one_fold(tmp_path, sales):
    lines = [json.loads(line) for line in sales.read_text().splitlines()]
    path = tmp_path / "sold.jsonl"
    rows = [row | {"seller": at % 125} for at, row in enumerate(lines)]
    path.write_text("\n".join(map(json.dumps, rows)))
    grouped = corpus.load(str(path), group_column="seller")
    sellers = np.array([rows[line - 1]["seller"] for line in grouped.lines])
    train, held_out = (corpus.rows(grouped, part) for part in corpus.PARTS)
    assert not set(sellers[train]) & set(sellers[held_out])
    for learn, apart in search.splits(grouped.group_ids[train], folds=search.FOLDS, seed=0):
        assert not set(sellers[train][learn]) & set(sellers[train][apart])


@pytest.fixture(scope="module")
def dated(tmp_path_factory, sales):
    """The same rows, sold one after the other in a random order."""
    lines = [json.loads(line) for line in sales.read_text().splitlines()]
    days = np.random.default_rng(0).permutation(len(lines)).tolist()
    path = tmp_path_factory.mktemp("dated") / "dated.jsonl"
    path.write_text(
        "\n".join(json.dumps(row | {"day": day}) for row, day in zip(lines, days, strict=True))
    )
    return corpus.load(str(path), time_column="day")


def test_along_time_no_price_changes_what_was_predicted_before_it(dated):
    rng = np.random.default_rng(0)
    features = np.column_stack(
        [np.log(dated.prices) + rng.normal(0, 0.2, len(dated.prices)), rng.normal(size=500)]
    ).astype(np.float32)
    train, held_out = (corpus.rows(dated, part) for part in corpus.PARTS)
    assert dated.times[train].max() < dated.times[held_out].min()
    found = evaluated(features, dated)
    times, known = dated.times[train], np.isfinite(found.out_of_fold)
    assert 0.15 < np.mean(~known) < 0.25  # the earliest fifth has no past to learn from
    assert times[~known].max() < times[known].min()
    # Prices of the last block are learnt from by no fold: with settings and trees as they were,
    # nothing before them moves.
    last = train[times >= np.quantile(times, 0.85)]
    changed = repriced(dated, last, 3 * dated.prices[last])
    divided = search.splits(dated.group_ids[train], folds=search.FOLDS, seed=0, times=times)
    for learn, apart in divided:
        ours, theirs = (
            regressor.fit(
                features[train][learn], each.prices[train][learn], found.fitted.settings,
                n_trees=found.fitted.n_trees, seed=0,
            ).predict(features[train][apart])
            for each in (dated, changed)
        )  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)


def test_word_weights_come_from_training_rows(loaded):
    train = corpus.rows(loaded, "train")
    held_out = corpus.rows(loaded, "held_out")
    texts = list(loaded.texts)
    for row in held_out:
        texts[row] = "entirely other words " + texts[row][::-1]
    ours, theirs = (
        fitted("tfidf", each, loaded.prices, train).read(each).features
        for each in (loaded.texts, texts)
    )
    np.testing.assert_array_equal(ours[train], theirs[train])
    assert (ours[held_out] != theirs[held_out]).any()


def test_shuffled_prices_score_like_the_median(loaded, features):
    shuffled = np.random.default_rng(1).permutation(loaded.prices)
    changed = corpus.with_parts(dataclasses.replace(loaded, prices=shuffled), loaded.parts)
    train, held_out = (corpus.rows(loaded, part) for part in corpus.PARTS)
    predicted = evaluated(features, changed).predictions[held_out]
    median = fitted("median", loaded.texts, shuffled, train).predict(loaded.texts)[held_out]
    gain = bootstrap.paired(shuffled[held_out], predicted, median)["r2_log"]
    assert gain.low < 0.1
    honest = evaluated(features, loaded).predictions[held_out]
    assert bootstrap.scores(loaded.prices[held_out], honest)["r2_log"] > 0.5
