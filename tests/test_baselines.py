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


def test_words_are_found_where_they_are_written_without_spaces():
    numbers = "一二三四五六七八九十"
    texts = [f"好车 红色汽车{numbers[i % 10]}{numbers[i // 10]}公里里程好" for i in range(40)]
    red = [each if i % 2 else each.replace("红", "蓝") for i, each in enumerate(texts)]
    prices = np.array([1000.0 if i % 2 else 100.0 for i in range(40)])
    found = baselines.tfidf_ridge(red, prices, TRAIN, groups=np.arange(40))
    np.testing.assert_allclose(found[32:], prices[32:], rtol=0.3)
    assert baselines.tfidf_svd(red, TRAIN, seed=0).shape[0] == 40


def test_words_are_those_of_scikit_learn_where_there_are_spaces():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["Größe 42, l'été: a b-c x1 naïve_x", "Mazda RX-7 (1993)… 12,500 km ☺ да", *TEXTS]
    ours, theirs = (
        TfidfVectorizer(**pattern).build_analyzer()
        for pattern in ({"token_pattern": baselines.WORD}, {})
    )
    assert [ours(text) for text in texts] == [theirs(text) for text in texts]


def test_texts_that_share_no_word_are_read_by_character():
    texts = [f"word{i}" for i in range(40)]
    assert baselines.tfidf_svd(texts, TRAIN, seed=0).shape[0] == 40


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
