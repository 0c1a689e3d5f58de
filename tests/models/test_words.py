"""Words that are counted once for all folds weigh what they weigh when each fold counts anew."""

import numpy as np
import pytest

from bat.models import words

TEXTS = [
    f"The {colour} van, {colour} as a {thing}! 价格 {n % 7}k"
    for n, (colour, thing) in enumerate([("red", "rose"), ("blue", "sky"), ("grey", "cloud")] * 20)
]
ROWS = np.array([50, 3, 4, 5, 6, 7, 10, 11, 30, 3])
OTHERS = np.array([0, 59, 8])


def taken(rows):
    return [TEXTS[row] for row in rows]


def test_counted_once_words_are_those_of_the_rows_alone():
    counts = words.count(TEXTS, words.WHOLE)
    known, kept = counts.fit(ROWS)
    expected = words.fit(taken(ROWS))
    assert known.vocabulary == expected.vocabulary
    np.testing.assert_array_equal(known.idf, expected.idf)
    for rows in (ROWS, OTHERS):
        ours, theirs = counts.weigh(known, kept, rows), expected.weigh(taken(rows))
        np.testing.assert_array_equal(ours.toarray(), theirs.toarray())


def test_pieces_weigh_what_scikit_learn_gives():
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = words.count(TEXTS, words.PIECES)
    known, kept = counts.fit(ROWS)
    oracle = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=5
    ).fit(taken(ROWS))
    assert known.vocabulary == tuple(oracle.get_feature_names_out())
    for rows in (ROWS, OTHERS):
        expected = oracle.transform(taken(rows)).toarray()
        np.testing.assert_array_equal(counts.weigh(known, kept, rows).toarray(), expected)
        np.testing.assert_array_equal(known.weigh(taken(rows)).toarray(), expected)


def test_there_are_no_more_pieces_than_the_most_and_they_are_the_most_frequent(monkeypatch):
    monkeypatch.setattr(words, "MOST_PIECES", 4)
    known, _ = words.count(["abc"] * 9 + ["xyz"] * 8, words.PIECES).fit(np.arange(17))
    assert known.vocabulary == (" ab", " abc", " abc ", "abc")


@pytest.mark.parametrize("analyzer", [words.WHOLE, words.PIECES])
@pytest.mark.parametrize("texts", [["one", "two", "six"], ["?", "!", ";"]])
def test_texts_that_share_nothing_are_read_by_characters(analyzer, texts):
    counts = words.count(texts, analyzer)
    known, kept = counts.fit(np.arange(3))
    assert known.vocabulary == words.fit(texts).vocabulary
    rows = np.arange(3)
    np.testing.assert_array_equal(
        counts.weigh(known, kept, rows).toarray(), known.weigh(texts).toarray()
    )


def test_pieces_are_the_same_after_saving(tmp_path):
    known, _ = words.count(TEXTS, words.PIECES).fit(np.arange(60))
    words.save(known, tmp_path)
    again = words.load(tmp_path)
    np.testing.assert_array_equal(again.weigh(TEXTS).toarray(), known.weigh(TEXTS).toarray())
