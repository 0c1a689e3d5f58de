"""What needs no encoder: answers known by arithmetic, and nothing learnt from outside training."""

import numpy as np
import pytest

from bat import baselines, cli, encoder

TEXTS = ["red car 12 miles", "blue car 7 miles", "red van 3", "blue van 1999 mint"] * 10
TRAIN = np.arange(0, 32)


def test_every_baseline_on_the_command_line_has_a_label():
    assert tuple(baselines.LABELS) == cli.BASELINES
    assert set(baselines.SEARCHED) < set(baselines.LABELS)


def test_lengths_are_counts():
    assert baselines.lengths(["ab 12 3c", "no"]).tolist() == [[8, 3, 3, 2], [2, 1, 0, 0]]


def test_static_vectors_are_the_mean_of_the_token_vectors(tiny):
    table = encoder.transformer(tiny.model).get_input_embeddings().weight.detach().numpy()
    words = tiny.model.tokenizer.convert_tokens_to_ids(["red", "coupe"])
    found = baselines.static(tiny, ["red coupe", "coupe red"])
    np.testing.assert_allclose(found[0], table[words].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])


def test_ridge_finds_the_word_that_makes_the_price():
    prices = np.array([100.0 if "red" in text else 1000.0 for text in TEXTS])
    found = baselines.tfidf_ridge(TEXTS, prices, TRAIN, groups=np.arange(len(TEXTS)) % 4)
    np.testing.assert_allclose(found[32:], prices[32:], rtol=0.15)


def test_ridge_looks_at_no_price_outside_training():
    prices = np.linspace(100, 200, len(TEXTS))
    changed = np.where(np.arange(len(TEXTS)) < 32, prices, 1e6)
    ours, theirs = (
        baselines.tfidf_ridge(TEXTS, values, TRAIN, groups=np.arange(len(TEXTS)))
        for values in (prices, changed)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_the_median_is_that_of_training():
    found = baselines.median([1.0, 2.0, 3.0, 100.0], np.array([0, 1, 2]))
    assert found == pytest.approx([2.0] * 4)
