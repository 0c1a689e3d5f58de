"""Every way to predict: answers known by arithmetic, the same after saving, and room for more."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from bat import cli
from bat.models import embedding, encoder, encoder_opening, prediction, predictors, words
from bat.models.encoder import Encoder
from tests.conftest import context_of, fitted

TEXTS = ["red car 12 miles", "blue car 7 miles", "red van 3", "blue van 1999 mint"] * 10
TRAIN = np.arange(0, 32)


def test_a_study_may_compare_with_all_of_the_table_but_what_reads_its_arms():
    assert set(predictors.baselines()) == {*cli.DEFAULT_BASELINES, "supervised"}
    assert len({method.label for method in predictors.PREDICTORS.values()}) == 9


def test_lengths_are_counts():
    assert prediction.lengths(["ab 12 3c", "no"]).tolist() == [[8, 3, 3, 2], [2, 1, 0, 0]]


def test_static_vectors_are_the_mean_of_the_token_vectors(tiny):
    table = encoder.transformer(tiny.model).get_input_embeddings().weight.detach().numpy()
    words = tiny.model.tokenizer.convert_tokens_to_ids(["red", "coupe"])
    found = predictors.static(tiny, ["red coupe", "coupe red"])
    np.testing.assert_allclose(found[0], table[words].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])


def test_ridge_finds_the_word_that_makes_the_price():
    prices = np.array([100.0 if "red" in text else 1000.0 for text in TEXTS])
    found = fitted("ridge", TEXTS, prices, TRAIN, groups=np.arange(len(TEXTS)) % 4).predict(TEXTS)
    np.testing.assert_allclose(found[32:], prices[32:], rtol=0.15)


def test_words_are_found_where_they_are_written_without_spaces():
    numbers = "一二三四五六七八九十"
    texts = [f"好车 红色汽车{numbers[i % 10]}{numbers[i // 10]}公里里程好" for i in range(40)]
    red = [each if i % 2 else each.replace("红", "蓝") for i, each in enumerate(texts)]
    prices = np.array([1000.0 if i % 2 else 100.0 for i in range(40)])
    found = fitted("ridge", red, prices, TRAIN).predict(red)
    np.testing.assert_allclose(found[32:], prices[32:], rtol=0.3)
    assert fitted("tfidf", red, prices, TRAIN).predict(red).shape == (40,)


def test_words_are_those_of_scikit_learn_where_there_are_spaces():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["Größe 42, l'été: a b-c x1 naïve_x", "Mazda RX-7 (1993)… 12,500 km ☺ да", *TEXTS]
    ours, theirs = (
        TfidfVectorizer(**pattern).build_analyzer()
        for pattern in ({"token_pattern": words.WORD}, {})
    )
    assert [ours(text) for text in texts] == [theirs(text) for text in texts]


def test_texts_that_share_no_word_are_read_by_character():
    texts = [f"word{i}" for i in range(40)]
    found = fitted("tfidf", texts, np.arange(1, 41), TRAIN)
    assert found.words.analyzer == "char"
    assert found.predict(texts).shape == (40,)


def test_ridge_looks_at_no_price_outside_training():
    prices = np.linspace(100, 200, len(TEXTS))
    changed = np.where(np.arange(len(TEXTS)) < 32, prices, 1e6)
    ours, theirs = (
        fitted("ridge", TEXTS, values, TRAIN).predict(TEXTS) for values in (prices, changed)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_the_median_is_that_of_training():
    found = fitted("median", ["a"] * 4, [1.0, 2.0, 3.0, 100.0], np.array([0, 1, 2])).predict(
        ["a"] * 4
    )
    assert found == pytest.approx([2.0] * 4)


def test_words_read_from_json_weigh_as_scikit_learn_does():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [f"{text} sold in {1990 + at % 7}" for at, text in enumerate(TEXTS)]
    oracle = TfidfVectorizer(
        sublinear_tf=True, token_pattern=words.WORD, ngram_range=(1, 2), min_df=2
    ).fit([texts[row] for row in TRAIN])
    known = words.fit([texts[row] for row in TRAIN])
    ours, theirs = known.weigh(texts), oracle.transform(texts)
    assert (ours != theirs).nnz == 0
    assert ours.shape[1] > 10
    onto = words.directions(ours[TRAIN], seed=3)
    svd = TruncatedSVD(len(TRAIN) - 1, random_state=3).fit(theirs[TRAIN])
    np.testing.assert_array_equal(
        words.compress(ours, onto), svd.transform(theirs).astype(np.float32)
    )


@pytest.fixture(scope="module")
def priced(texts):
    """Some texts, prices that follow from a word of theirs, and the rows to learn from."""
    worth = {"arrow": 40_000.0, "birch": 8_000.0, "comet": 25_000.0, "delta": 12_000.0}
    chosen = list(texts[:120])
    return chosen, np.array([worth[text.split()[1]] for text in chosen]), np.arange(80)


@pytest.mark.parametrize("name", predictors.PREDICTORS)
def test_a_predictor_is_the_same_after_saving(name, tiny, priced, tmp_path):
    texts, prices, train = priced
    made = fitted(name, texts, prices, train, base=tiny)
    predictors.save(name, made, tmp_path / "saved")
    again = predictors.load(tmp_path / "saved")
    assert type(again) is predictors.named(name).kind
    new, exact = texts[80:], name != "supervised"
    for ours, theirs in zip(made.read(new), again.read(new), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0 if exact else 1e-5, atol=0)
    np.testing.assert_allclose(made.predict(new), again.read(new).prices, rtol=1e-4)
    assert made.read(new).prices.shape == made.read(new).truncated.shape == (40,)
    assert made.read(new).features.dtype == np.float32
    cost = predictors.cost(again, new, tmp_path / "saved")
    assert cost.milliseconds_a_text > 0
    assert cost.megabytes == pytest.approx(size(tmp_path / "saved") / 1e6)


ODD_TEXTS = [
    "arrow",
    "x",
    "🚗🔥 arrow, 🚗",
    "سيارة حمراء، 41 ألف ميل. מכונית",
    "好车。红色，九成新",
    "İ ﬁ \u0301 9\u200d\0",
    " ".join(f"w{n}" for n in range(10_000)),
    ", ".join(f"{n} miles" for n in range(3_000)),
]


@pytest.mark.parametrize("name", predictors.PREDICTORS)
def test_a_predictor_says_what_moves_whatever_it_prices(name, tiny, priced):
    texts, prices, train = priced
    made = fitted(name, texts, prices, train, base=tiny)
    for text in [*texts[80:83], *ODD_TEXTS]:
        found, price = made.explain(text), made.read([text]).prices[0]
        assert found == made.explain(text)
        assert all(each.part in text for each in found)
        assert all(each.kind in ("word", "number", "clause") for each in found)
        assert all(0 < abs(each.effect) < np.inf for each in found)
        assert len({each.part for each in found if each.kind == "clause"}) <= 20
        if name == "ridge" and text == "arrow":
            (word,) = found
            assert word.part == "arrow"
            assert word.effect == pytest.approx(price - np.exp(made.offset), rel=1e-4)
    kinds = {each.kind for each in made.explain(texts[80])}
    expected = {"median": set(), "ridge": {"word", "clause"}}.get(name, {"clause"})
    assert kinds >= expected
    assert kinds == expected or name == "stack"


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["pair", "tfidf", "ridge", "static", "stack", "supervised"])
def test_what_reads_words_beats_the_median(name, tiny, priced):
    texts, prices, train = priced
    found, median = (fitted(each, texts, prices, train, base=tiny) for each in (name, "median"))
    ours, theirs = (np.abs(each.predict(texts[80:]) - prices[80:]) for each in (found, median))
    assert ours.mean() < 0.9 * theirs.mean()


def test_a_predictor_without_features_gives_the_interval_lengths_and_its_price(priced):
    texts, prices, train = priced
    read = fitted("ridge", texts, prices, train).read(texts)
    np.testing.assert_array_equal(read.features[:, :4], prediction.lengths(texts))
    np.testing.assert_allclose(np.exp(read.features[:, 4]), read.prices, rtol=1e-5)
    assert not read.truncated.any()


@pytest.mark.parametrize("name", ["pair", "static", "supervised"])
def test_what_reads_tokens_says_where_it_stops(name, tiny, priced):
    texts, prices, train = priced
    read = fitted(name, texts, prices, train, base=tiny).read([texts[0], " ".join(texts[:4])])
    assert read.truncated.tolist() == [False, True]


def test_an_encoder_that_has_changed_in_memory_is_saved_as_it_is_now(tiny, priced, tmp_path):
    texts, prices, train = priced
    made = fitted("supervised", texts, prices, train, base=tiny)
    predictors.save("supervised", made, tmp_path / "saved")
    kept = encoder_opening.open_encoder(str(tmp_path / "saved" / "encoder"))
    np.testing.assert_allclose(
        embedding.encode(kept, texts[:9]), embedding.encode(made.encoder, texts[:9]), atol=1e-5
    )
    moved = embedding.encode(kept, texts[:9]) - embedding.encode(tiny, texts[:9])
    assert np.abs(moved).max() > 1e-4


def test_an_unknown_name_is_refused_and_falls_through_to_nobody(tmp_path):
    with pytest.raises(
        cli.InputError, match=r"predictor called 'word2vec'\n.*median, lengths, ridge"
    ):
        fitted("word2vec", TEXTS, np.ones(len(TEXTS)), TRAIN)
    (tmp_path / predictors.PREDICTOR_FILE).write_text(json.dumps({"name": "new", "parts": {}}))
    with pytest.raises(cli.InputError, match="predictor called 'new'"):
        predictors.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("predictor.json", b"{", "got no predictor in"),
        ("predictor.json", b'{"name": "ridge"}', "got no predictor in"),
        ("predictor.json", b'{"name": "ridge", "parts": {}}', "got no TF-IDF . ridge in"),
        ("predictor.json", b'{"name": "ridge", "parts": {"words": "x"}}', "got no TF-IDF . ridge"),
        ("weights.npy", None, "got no TF-IDF . ridge in .*weights.npy"),
        ("weights.npy", b"", "got no TF-IDF . ridge in"),
        ("words/words.json", None, "got no words in"),
        ("words/words.json", b'{"analyzer": "word", "vocabulary": ["a"]}', "one for each of the 1"),
        ("words/idf.npy", b"x", "got no words in"),
    ],
)
def test_a_damaged_folder_is_refused_in_a_sentence(file, content, message, tmp_path):
    predictors.save("ridge", fitted("ridge", TEXTS, np.arange(1, 41), TRAIN), tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        predictors.load(tmp_path)


# A regressor that nobody has written yet: one class, and one line in the table.


@dataclass(frozen=True)
class Nearest(prediction.Predictor):
    """The price of the training text whose embedding is nearest."""

    encoder: Encoder
    rows: np.ndarray
    prices: np.ndarray

    def predict(self, texts):
        return self.prices[np.argmax(embedding.embed(self.encoder, texts) @ self.rows.T, axis=1)]


def fit_nearest(data):
    rows = embedding.embed(data.base, data.train_texts)
    return Nearest(data.base, np.asarray(rows), data.prices[data.train])


LINE = predictors.Method("nearest neighbour", fit_nearest, Nearest)


def test_a_new_regressor_is_one_function_and_one_line(tiny, sales, monkeypatch, tmp_path):
    from bat.data import corpus
    from bat.models import interval, pricer, search
    from bat.workflow import baselines, graph, local, preparation

    monkeypatch.setattr(predictors, "PREDICTORS", {**predictors.PREDICTORS, "nearest": LINE})
    prepared = preparation.prepare(corpus.load(str(sales)), tiny)
    texts, prices, train = prepared.corpus.texts, prepared.corpus.prices, prepared.rows("train")

    # in a study: its predictions, and its error on training rows that it has not learnt from
    context = context_of(tiny, texts, (0,), None, prepared=prepared)
    task = graph.baseline(context, "nearest")
    list(local.execute(context, [task]))
    found = baselines.read("nearest", task.unit.folder)
    np.testing.assert_array_equal(found.predictions[train], prices[train])
    spread = np.abs(prices[train] - np.median(prices[train])).mean()
    assert 0.1 * spread < found.train_mae < spread

    # served
    divided = search.splits(prepared.corpus.group_ids, folds=4, seed=0)
    guesses = [
        fitted("nearest", texts, prices, learn, base=tiny).predict([texts[row] for row in apart])
        for learn, apart in divided
    ]
    made = fitted("nearest", texts, prices, np.arange(len(texts)), base=tiny)
    calibrated = interval.calibrate(
        made.read(texts).features,
        prices,
        search.in_order(divided, guesses, len(texts)),
        groups=prepared.corpus.group_ids,
        seed=0,
    )
    pricer.save("nearest", made, calibrated, tmp_path / "served", seen=())
    priced = pricer.load(tmp_path / "served").predict(texts)
    np.testing.assert_array_equal(priced.price, made.predict(texts))
    assert (priced.low < priced.high).all()
