"""Nothing of the test part reaches tuning, search or choice; each test here can fail."""

import dataclasses

import numpy as np
import pytest

from bat import baselines, corpus, metrics, study


@pytest.fixture(scope="module")
def loaded(sales):
    return corpus.load(str(sales))


def prepared_from(loaded):
    return study.Prepared(loaded, np.zeros(len(loaded.texts), np.int64), ())


@pytest.fixture(scope="module")
def features(loaded):
    """Eight numbers a row: two tell the price, six are noise."""
    random = np.random.default_rng(0)
    log_price = np.log(loaded.prices)[:, None]
    told = log_price + random.normal(0, 0.2, (len(log_price), 2))
    return np.hstack([told, random.normal(size=(len(log_price), 6))]).astype(np.float32)


def evaluated(features, loaded):
    return study.evaluate(features, prepared_from(loaded), trials=2, seed=0, what="test")


def test_no_test_text_is_tuned_on(loaded):
    tuned = corpus.tuning_texts(loaded, seed=0)
    keys = {corpus.normalise(loaded.texts[row]) for row in tuned}
    others = np.flatnonzero(loaded.parts != "train")
    assert len(keys) == len(tuned)
    assert not keys & {corpus.normalise(loaded.texts[row]) for row in others}


def test_prices_never_reach_the_tuning(loaded):
    other = dataclasses.replace(loaded, prices=loaded.prices[::-1].copy())
    assert corpus.tuning_texts(other, seed=0) == corpus.tuning_texts(loaded, seed=0)


@pytest.mark.parametrize("part", ["test", "calibration", "validation"])
def test_prices_outside_training_change_nothing_that_is_learnt(loaded, features, part):
    prices = loaded.prices.copy()
    prices[corpus.rows(loaded, part)] *= 7
    changed = corpus.with_parts(dataclasses.replace(loaded, prices=prices), loaded.parts)
    ours, theirs = evaluated(features, loaded), evaluated(features, changed)
    assert ours.found["settings"] == theirs.found["settings"]
    assert ours.found["n_trees"] == theirs.found["n_trees"]
    np.testing.assert_array_equal(ours.predictions, theirs.predictions)
    if part == "validation":
        assert ours.validation_mae != theirs.validation_mae
    else:
        assert ours.validation_mae == theirs.validation_mae


def test_word_weights_come_from_training_rows(loaded):
    train = corpus.rows(loaded, "train")
    test = corpus.rows(loaded, "test")
    texts = list(loaded.texts)
    for row in test:
        texts[row] = "entirely other words " + texts[row][::-1]
    ours = baselines.tfidf_svd(loaded.texts, train, seed=0)
    theirs = baselines.tfidf_svd(texts, train, seed=0)
    np.testing.assert_array_equal(ours[train], theirs[train])
    assert (ours[test] != theirs[test]).any()


def test_shuffled_prices_score_like_the_median(loaded, features):
    shuffled = np.random.default_rng(1).permutation(loaded.prices)
    changed = corpus.with_parts(dataclasses.replace(loaded, prices=shuffled), loaded.parts)
    test = corpus.rows(loaded, "test")
    predicted = evaluated(features, changed).predictions[test]
    median = baselines.median(shuffled, corpus.rows(loaded, "train"))[test]
    gain = metrics.paired(shuffled[test], predicted, median)["r2_log"]
    assert gain.low < 0.1
    honest = evaluated(features, loaded).predictions[test]
    assert metrics.scores(loaded.prices[test], honest)["r2_log"] > 0.5
