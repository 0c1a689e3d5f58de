"""The encoder trained on prices: it starts as scikit-learn ends, and learns from training rows."""

import numpy as np
import pytest
import torch

from bat import corpus, encoder, metrics, supervised


@pytest.fixture(scope="module")
def loaded(sales):
    return corpus.load(str(sales))


@pytest.fixture(scope="module")
def train(loaded):
    return corpus.rows(loaded, "train")


def predicted(tiny, loaded, train, prices=None, **options):
    prices = loaded.prices if prices is None else prices
    return supervised.predict(tiny, loaded.texts, prices, train, **{"seed": 0} | options)


def test_the_head_starts_as_ridge_regression():
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 5)).astype(np.float32), torch.from_numpy(random.normal(size=60))
    head = supervised._probe(x, y.float())
    oracle = Ridge(supervised.RIDGE_PENALTY).fit(x, y.float().numpy())
    np.testing.assert_allclose(head.weight.detach().numpy()[0], oracle.coef_, rtol=1e-4)
    assert head.bias.item() == pytest.approx(oracle.intercept_, abs=1e-5)


def test_training_fits_the_training_rows_better_than_the_start(tiny, loaded, train, monkeypatch):
    monkeypatch.setattr(supervised, "LEARNING_RATE", 1e-3)  # the tiny encoder's weights are large
    told = []
    tuned = predicted(tiny, loaded, train, progress=told.append)
    monkeypatch.setattr(supervised, "PASSES", 0)
    start = predicted(tiny, loaded, train)
    ours, theirs = (
        metrics.scores(loaded.prices[train], found[train])["r2_log"] for found in (tuned, start)
    )
    assert ours > theirs + 0.02
    assert sum(told) == 3 * len(train)


def test_the_factory_encoder_stays_as_it_is_and_the_same_seed_gives_the_same_bits(
    tiny, loaded, train
):
    before = encoder.digest(tiny.model)
    ours, again, other = (predicted(tiny, loaded, train, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(ours, again)
    assert (ours != other).any()
    assert encoder.digest(tiny.model) == before


def test_no_price_outside_training_is_looked_at(tiny, loaded, train):
    changed = loaded.prices * 7
    changed[train] = loaded.prices[train]
    np.testing.assert_array_equal(
        predicted(tiny, loaded, train), predicted(tiny, loaded, train, changed)
    )


def test_a_pass_holds_every_row_once_in_batches_of_like_length():
    ids = [np.zeros(length, np.int32) for length in range(100)]
    batches = list(supervised._batches(ids, (0, 0)))
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert max(map(len, batches)) == supervised.BATCH_TEXTS
    assert all(np.ptp([len(ids[index]) for index in batch]) < 40 for batch in batches)
    assert batches != list(supervised._batches(ids, (0, 1)))
