"""What moves a prediction: effects add up, are what leaving out does, and rank as the law's."""

import contextlib
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from bat.models import explanation, numbers, predictors, words
from bat.models.explanation import Effect
from bat.models.ridge_column import Line
from bat.models.stack import NUMBERS, WORD_LINE, Reader
from tests.models import law

TEXT = "Red van with 41,000 miles. It has 3 doors; one of them is red."


@pytest.fixture(scope="module")
def reader():
    """A reader of words and numbers with weights of its own."""
    texts = [TEXT, "Red van. Blue van with 7 miles.", "3 doors, 9 miles"] * 10
    known = words.fit(texts)
    weights = np.random.default_rng(0).normal(size=len(known.vocabulary))
    return Reader(
        (NUMBERS, WORD_LINE), {}, numbers.fit(texts), words=known, word_line=Line(weights, 0.7)
    )


@pytest.fixture(scope="module")
def made(reader):
    """A stack of that reader, whose trees are a formula."""
    return predictors.Stack(reader, SimpleNamespace(predict=predict))


def predict(rows):
    """Prices that follow from every column, and from whether a number is there."""
    there = ~np.isnan(rows)
    steps = np.arange(1, rows.shape[1] + 1)
    return 1000 + (np.nan_to_num(rows) * there) @ steps + 3.0 * (there @ steps)


def price(made, text):
    return float(made.read([text]).prices[0])


def moved(made, text, kind):
    """The exact effects of a kind, by the part of the text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanation, "DIGITS", 17)
        patch.setattr(explanation, "MOST_OF_A_KIND", 1_000)
        return {each.part: each.effect for each in made.explain(text) if each.kind == kind}


def test_word_effects_add_up_to_what_the_words_say(reader, made):
    whole = price(made, TEXT)
    found = explanation.of_words(TEXT, made.word_line, whole)
    logs = -np.log1p([-each.effect / whole for each in found])
    said = reader.words.weigh([TEXT]) @ reader.word_line.weights
    np.testing.assert_allclose(logs.sum(), said[0], rtol=1e-9)
    assert {each.part for each in found} >= {"Red", "Red van", "miles"}
    by_part = {each.part: each.effect for each in found}
    assert moved(made, TEXT, "word") == pytest.approx(by_part, rel=1e-9, abs=1e-9)


def test_without_each_word_ridge_predicts_what_its_effect_says():
    texts = [TEXT, "Red van. Blue van with 7 miles.", "3 doors, 9 miles"] * 10
    known, random = words.fit(texts), np.random.default_rng(1)
    made = predictors.WordRidge(known, random.normal(size=len(known.vocabulary)), 8.0)
    whole, places = price(made, TEXT), known.places(TEXT)
    parts = {TEXT[slice(*places[word])]: at for at, word in enumerate(known.vocabulary)
             if word in places}  # fmt: skip
    found = moved(made, TEXT, "word")
    assert len(found) == len(parts) > 8
    for part, effect in found.items():
        weights = made.weights.copy()
        weights[parts[part]] = 0.0
        without = dataclasses.replace(made, weights=weights)
        assert effect == pytest.approx(whole - price(without, TEXT), rel=1e-9, abs=1e-9)


def test_segments_are_judged_by_leaving_them_out(made):
    moves = moved(made, TEXT, "clause")
    assert set(moves) == {"Red van with 41,000 miles.", "It has 3 doors;", "one of them is red."}
    whole, rest = made.read([TEXT, "Red van with 41,000 miles. one of them is red."]).prices
    assert moves["It has 3 doors;"] == pytest.approx(whole - rest)


def test_numbers_are_judged_by_the_columns_that_read_them(reader, made):
    row = reader.read([TEXT], np.empty((1, 0), np.float32))
    lacking = row.copy()
    lacking[0, :-1][row[0, :-1] == 41_000] = np.nan
    moves = moved(made, TEXT, "number")
    assert set(moves) == {"41,000", "3"}
    assert moves["41,000"] == pytest.approx((predict(row) - predict(lacking))[0])


def test_the_largest_effects_stand_first_some_of_a_kind_in_digits_of_the_price():
    effects = [Effect(f"w{n}", "word", (-1) ** n * float(n)) for n in range(50)]
    effects += [Effect("a clause", "clause", 12.3456), Effect("nothing", "number", 0.004)]
    found = explanation.listed(effects, 999.0)
    assert [each.part for each in found if each.kind == "word"] == [
        f"w{n}" for n in range(49, 29, -1)
    ]
    assert [each for each in found if each.kind != "word"] == [("a clause", "clause", 12.35)]
    sizes = [abs(each.effect) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    assert explanation.listed([Effect("a", "word", 12_345.678)], 123_456.0)[0].effect == 12_350.0
    assert explanation.listed([Effect("a", "word", 0.0123456)], 0.5)[0].effect == 0.01235


def test_a_text_is_read_a_few_at_a_time_each_in_a_turn_of_its_own(made, monkeypatch):
    batches, open_turns, real = [], [], predictors.Stack.read

    @contextlib.contextmanager
    def turn():
        assert not open_turns
        open_turns.append(True)
        yield
        open_turns.clear()

    def read(self, texts):
        assert open_turns
        batches.append(len(texts))
        return real(self, texts)

    monkeypatch.setattr(predictors.Stack, "read", read)
    text = " ".join(f"{n} doors." for n in range(17))
    assert made.explain(text, turn)
    assert not open_turns
    assert batches == [1, 5, 5, 5, 2]


def test_a_text_whose_end_is_not_read_is_cut_finely_at_its_beginning(made, monkeypatch):
    real = predictors.Stack.read
    monkeypatch.setattr(
        predictors.Stack,
        "read",
        lambda self, texts: real(self, texts)._replace(truncated=np.ones(len(texts), bool)),
    )
    text = " ".join(f"{n} doors." for n in range(500))
    assert set(moved(made, text, "clause")) <= {f"{n} doors." for n in range(20)}


def test_characters_that_take_the_place_of_words_are_not_explained():
    texts = [f"word{n}" for n in range(40)]
    known = words.fit(texts)
    assert known.analyzer == "char"
    made = predictors.WordRidge(known, np.ones(len(known.vocabulary)), 1.0)
    assert explanation.of_words("word1 word2", made.word_line, 5.0) == []
    assert explanation.strongest(made.word_line, texts, 5.0) == []
    assert {each.kind for each in made.explain("word1 word2x")} == {"clause"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Red, red", {"red": "Red", "red red": "Red, red"}),
        ("with a Roof", {"with": "with", "roof": "Roof", "with roof": "with a Roof"}),
        ("İstanbul AB", {"stanbul": "stanbul", "ab": "AB", "stanbul ab": "stanbul AB"}),
        ("ΟΔΟΣ ἀπ", {"οδος": "ΟΔΟΣ", "ἀπ": "ἀπ", "οδος ἀπ": "ΟΔΟΣ ἀπ"}),
        ("好车 x", {"好": "好", "车": "车", "好 车": "好车"}),
        ("!", {}),
    ],
)
def test_words_are_found_where_they_stand_as_scikit_learn_reads_them(text, parts):
    from sklearn.feature_extraction.text import TfidfVectorizer

    places = words.fit(["some words", "some words"]).places(text)
    assert {word: text[slice(*place)] for word, place in places.items()} == parts
    analyse = TfidfVectorizer(token_pattern=words.WORD, ngram_range=(1, 2)).build_analyzer()
    assert set(places) == set(analyse(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A, b. C", ["A,", "b.", "C"]),
        ("It cost 41,000.50 then", ["It", "cost", "41,000.50", "then"]),
        ("one\ntwo!!", ["one", "two!!"]),
        ("好车。红色，九成新", ["好车。", "红色，", "九成新"]),
        ("word", ["word"]),
        ("a … … b", ["a …", "b"]),
    ],
)
def test_texts_are_cut_at_the_end_of_clauses_or_into_words(text, said):
    assert [text[start:end] for start, end in explanation.segments(text)] == said


@pytest.mark.parametrize("n", [20, 21, 399, 5000])
def test_long_texts_are_cut_into_at_most_twenty_parts_that_hold_all_of_it(n):
    text = " ".join(f"w{number}," for number in range(n))
    parts = [text[start:end] for start, end in explanation.segments(text)]
    assert len(parts) <= explanation.MOST_SEGMENTS
    assert len(parts) > 15
    assert " ".join(parts) == text


# The built-in corpus, whose law is known


@pytest.mark.parametrize("name", law.PREDICTORS)
def test_effects_rank_as_the_law_of_the_built_in_corpus(name, monkeypatch):
    texts, prices = law.documents()
    made = law.PREDICTORS[name](texts, prices)
    monkeypatch.setattr(explanation, "MOST_OF_A_KIND", 1_000)
    whys = [made.explain(text) for text in texts[law.LEARNT :]]
    by_clause, by_word = law.ranks(made.predict(texts[law.LEARNT :]), whys)
    assert by_clause > 0.8
    assert by_word > 0.8


# The words of a corpus


def test_the_strongest_words_are_weight_times_mean_value():
    texts = [
        "red van",
        "red",
        "red cab",
        "blue van",
        "blue",
        "red van",
        "cab cab",
        "van",
        "van red",
    ]
    known = words.fit(texts)
    weights = np.array(
        [{"red": 0.5, "van": -0.3, "blue": 9.0}.get(w, 0.0) for w in known.vocabulary]
    )
    line = explanation.WordLine(known, weights)
    red, van = explanation.strongest(line, texts, 200.0)  # blue stands in two texts, cab in two
    values = known.weigh(texts).toarray()
    for found, word, texts_with, weight in ((red, "red", 5, 0.5), (van, "van", 5, -0.3)):
        column = values[:, known.vocabulary.index(word)]
        ratio = math.exp(weight * column[column > 0].mean())
        assert found[:2] == (word, texts_with)
        assert found.ratio == pytest.approx(ratio)
        assert found.amount == pytest.approx(200 * (ratio - 1))


def test_the_strongest_words_of_the_built_in_corpus_are_thirty_in_order():
    texts, prices = law.documents()
    line = law.a_ridge(texts, prices).word_line
    found = explanation.strongest(line, texts, float(np.median(prices)))
    assert len(found) == 30
    ratios = [each.ratio for each in found]
    assert ratios == sorted(ratios, reverse=True)
    assert min(ratios[:15]) > 1 > max(ratios[15:])
    assert all(each.texts >= 5 for each in found)
