"""The stack: honest columns, the parts that help, files; and effects that add up."""

import dataclasses
import json

import numpy as np
import pytest

from bat.models import prediction, predictors, regressor, ridge_column, search, stack
from bat.models.stack import EMBEDDING, LINE, NUMBERS, PIECE_LINE, WORD_LINE, Chosen, Material
from tests.conftest import fitted

NAMES = ["arrow", "birch", "comet", "delta"]


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Small trees on a busy machine wait for threads rather than work."""
    monkeypatch.setattr(regressor, "cores", lambda: 1)


def material(n=300, *, seed=0):
    """Rows whose words, numbers and embeddings are random and tell nothing of each other."""
    random = np.random.default_rng(seed)
    words, miles = random.integers(4, size=n), random.integers(1, 100, size=n)
    texts = [
        f"the {NAMES[word]} ran {mile}k miles" for word, mile in zip(words, miles, strict=True)
    ]
    embeddings = random.normal(size=(n, 5)).astype(np.float32)
    prices = np.exp(random.normal(5, 0.3, size=n))
    return Material(texts, embeddings, prices, np.arange(n), seed), words, miles


def test_what_is_told_of_other_rows_hangs_on_no_price_of_theirs():
    made, *_ = material()
    learn, others = np.arange(200), np.arange(200, 300)
    prices = np.where(np.arange(300) < 200, made.prices, 1e6)
    changed = dataclasses.replace(made, prices=prices)
    chosen = Chosen(stack.ALL, {}, stack.NO_NUMBERS)
    ours, theirs = (stack.columns(each, chosen)(learn, others) for each in (made, changed))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [each.shape for each in ours] == [(200, 3), (100, 3)]


def test_rows_of_a_group_tell_each_other_nothing():
    groups = np.repeat(np.arange(200), 6)
    random = np.random.default_rng(4)
    prices = np.exp(random.normal(size=200))[groups]
    texts = [f"seller{group} has number {row}" for row, group in enumerate(groups)]
    embeddings = random.normal(size=(200, 250)).astype(np.float32)[groups]
    made = Material(texts, embeddings, prices, groups, 0)
    rows = np.arange(1200)
    unseen, told = stack.columns(made, Chosen(stack.ALL, {}, stack.NO_NUMBERS))(rows, rows)
    for column in range(3):
        assert np.corrcoef(told[:, column], np.log(prices))[0, 1] > 0.7
        assert abs(np.corrcoef(unseen[:, column], np.log(prices))[0, 1]) < 0.2


def test_columns_are_what_a_reader_gives_that_has_learnt_from_the_same_rows():
    made, *_ = material()
    chosen, learn = Chosen(stack.ALL, {}, stack.NO_NUMBERS), np.arange(200)
    others = np.arange(200, 300)
    _, told = stack.columns(made, chosen)(learn, others)
    learnt = stack.reader(made, learn, chosen)
    texts = [made.texts[row] for row in others]
    np.testing.assert_array_equal(learnt.learnt(texts, made.embeddings[others]), told)


def test_pieces_tell_of_words_that_no_training_text_has():
    stems, endings = ["arrow", "birch", "comet", "delta"], ["ing", "ed", "er", "s", "ly", "ish"]
    random = np.random.default_rng(0)
    stem, ending = random.integers(4, size=400), np.arange(400) // 67
    texts = [f"the {stems[a]}{endings[b]}" for a, b in zip(stem, ending, strict=True)]
    made = Material(texts, np.zeros((400, 2), np.float32), np.exp(stem + 5.0), ending, 0)
    chosen = Chosen((WORD_LINE, PIECE_LINE), {}, stack.NO_NUMBERS)
    _, told = stack.columns(made, chosen)(np.arange(335), np.arange(335, 400))
    assert np.ptp(told[:, 0]) < 1e-9
    assert np.corrcoef(told[:, 1], stem[335:])[0, 1] > 0.95


@pytest.mark.parametrize(("most", "folds", "offered"), [(300, 5, True), (299, 2, False)])
def test_many_rows_are_read_with_fewer_folds_and_without_pieces(most, folds, offered, monkeypatch):
    monkeypatch.setattr(stack, "MANY_ROWS", most)
    made, *_ = material(300)
    dealt, given = [], search.assign_folds
    monkeypatch.setattr(
        search, "assign_folds", lambda *a, **more: dealt.append(more["folds"]) or given(*a, **more)
    )
    stack.columns(made, Chosen((LINE,), {}, stack.NO_NUMBERS))(np.arange(300), np.arange(3))
    assert dealt == [folds]
    tried = stack.choose(made, np.arange(300)).errors
    assert any(PIECE_LINE in each for each in tried) == offered
    assert any(WORD_LINE in each for each in tried)


@pytest.mark.parametrize(
    ("law", "parts"),
    [
        (lambda made, words, miles: words, (WORD_LINE, PIECE_LINE)),
        (lambda made, words, miles: np.abs(miles - 50) / 20, (NUMBERS,)),
        (lambda made, words, miles: np.abs(made.embeddings[:, 0]) * 2, (EMBEDDING,)),
        (lambda made, words, miles: made.embeddings.sum(axis=1), (LINE,)),
    ],
)
def test_the_part_that_makes_the_prices_is_used(law, parts):
    made, words, miles = material()
    noise = np.random.default_rng(1).normal(0, 0.2, size=300)
    priced = dataclasses.replace(made, prices=np.exp(5 + law(made, words, miles) + noise))
    chosen = stack.choose(priced, np.arange(300))
    assert set(parts) & set(chosen.uses)
    errors = chosen.errors[" + ".join(chosen.uses)], chosen.errors[" + ".join(stack.ALL)]
    assert errors[0] <= errors[1]
    assert errors[0] < 0.8 * np.abs(priced.prices - np.median(priced.prices)).mean()


def test_the_choice_looks_at_no_price_outside_training():
    made, *_ = material(200)
    prices = np.where(np.arange(200) < 150, made.prices, 1e6)
    ours, theirs = (
        stack.choose(each, np.arange(150))
        for each in (made, dataclasses.replace(made, prices=prices))
    )
    assert ours == theirs


def test_texts_without_numbers_are_not_tried_with_them():
    made, *_ = material(100)
    plain = dataclasses.replace(made, texts=[text.split()[1] for text in made.texts])
    chosen = stack.choose(plain, np.arange(100))
    assert not any(NUMBERS in tried for tried in chosen.errors)


def test_the_folds_that_choose_are_not_those_of_the_search(monkeypatch):
    seen, splits = [], search.splits
    monkeypatch.setattr(
        search, "splits", lambda *rows, **more: seen.append(more["seed"]) or splits(*rows, **more)
    )
    made, *_ = material(100)
    stack.choose(made, np.arange(100))
    assert seen
    assert made.seed not in seen


def test_a_line_is_one_way_to_have_columns():
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(160, 6)).astype(np.float32)
    prices = np.exp(7 + embeddings[:, 0] + random.normal(0, 0.1, size=160))
    columns = ridge_column.columns(embeddings, prices)
    ours = search.search(embeddings, prices, trials=4, columns=columns)
    theirs = search.search(embeddings, prices, trials=4)
    np.testing.assert_array_equal(ours.out_of_fold, theirs.out_of_fold)
    plain = search.fit(theirs, embeddings, prices, seed=0)
    with_columns = search.fit(ours, embeddings, prices, seed=0, columns=columns)
    assert with_columns.line is None
    rows = plain.line.append_to(embeddings)
    np.testing.assert_array_equal(with_columns.predict(rows), plain.predict(embeddings))


def test_numbers_that_a_row_lacks_are_read_as_gaps_by_trees_without_a_line():
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 1)).astype(np.float32)
    rows[::2] = np.nan
    prices = np.where(np.isnan(rows[:, 0]), 100.0, 400.0)
    found = regressor.fit(rows, prices, regressor.Settings(), n_trees=60, seed=0, with_line=False)
    np.testing.assert_allclose(found.predict([[np.nan], [0.0]]), [100, 400], rtol=0.1)
    with pytest.raises(ValueError, match="finite: False"):
        regressor.fit(rows, prices, regressor.Settings(), n_trees=1, seed=0)
    with pytest.raises(ValueError, match="finite: False"):
        found.predict([[np.inf]])


@pytest.fixture(scope="module")
def stacked(tiny):
    """A stack of all parts on texts whose word and number make the price, and its rows."""
    _, words, miles = made = material(200)
    texts, prices = made[0].texts, np.exp(9 + 0.3 * words - miles / 50.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stack, "choose", lambda rows, train: Chosen(stack.ALL, {"all": 1.5}, known(rows))
        )
        patch.setattr(regressor, "cores", lambda: 1)
        return fitted("stack", texts, prices, np.arange(150), base=tiny), texts, prices


def known(rows):
    return stack.numbers.fit(rows.texts)


def test_a_stack_reads_what_the_parts_say(stacked):
    made, texts, prices = stacked
    guesses = made.predict(texts[150:])
    assert np.corrcoef(np.log(guesses), np.log(prices[150:]))[0, 1] > 0.8


def test_it_is_the_same_after_saving_and_says_what_it_uses(stacked, tmp_path):
    made, texts, _ = stacked
    predictors.save("stack", made, tmp_path)
    again = predictors.load(tmp_path)
    np.testing.assert_array_equal(again.read(texts[:20]).prices, made.read(texts[:20]).prices)
    assert again.reader.uses == stack.ALL
    told = json.loads((tmp_path / "reader" / stack.STACK_FILE).read_text())
    assert told == {"uses": list(stack.ALL), "errors": {"all": 1.5}}
    assert not [each for each in tmp_path.rglob("*") if each.suffix in (".pkl", ".joblib")]


def test_without_a_part_that_embeds_it_needs_no_encoder(monkeypatch, tmp_path):
    made, words, miles = material(200)
    prices = np.exp(9 + 0.3 * words - miles / 50.0)
    chosen = Chosen((NUMBERS, WORD_LINE), {}, known(made))
    monkeypatch.setattr(stack, "choose", lambda rows, train: chosen)
    monkeypatch.setattr(predictors.embedding, "embed", lambda base, texts: np.zeros((200, 0)))
    found = fitted("stack", made.texts, prices, np.arange(150), base=object())
    assert found.encoder is None
    predictors.save("stack", found, tmp_path)
    again = predictors.load(tmp_path)
    np.testing.assert_array_equal(again.predict(made.texts), found.predict(made.texts))
    read = again.read(made.texts[:3])
    np.testing.assert_array_equal(read.features, prediction.lengths(made.texts[:3]))
    for text in made.texts[:3]:
        assert "clause" in {effect.kind for effect in again.explain(text)}


def test_embeddings_that_are_no_numbers_are_refused(stacked):
    made, texts, _ = stacked
    rows = np.full((1, made.encoder.dimension), np.nan, np.float32)
    with pytest.raises(ValueError, match="not all finite"):
        made.reader.read(texts[:1], rows)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("stack.json", None, "got no stack in"),
        ("stack.json", b"[]", "got no stack in"),
        ("stack.json", b'{"uses": ["ridge on words"]}', "got no stack in"),
        ("line.npy", b"", "got no stack in"),
        ("numbers.json", None, "got no numbers in"),
        ("words/words.json", None, "got no words in"),
        ("pieces/words.json", None, "got no words in"),
        ("word_line.npy", "line.npy", "one for each of the"),
        ("piece_line.npy", "line.npy", "one for each of the"),
    ],
)
def test_a_damaged_folder_is_refused(file, content, message, stacked, tmp_path):
    stack.save(stacked[0].reader, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif isinstance(content, str):
        (tmp_path / file).write_bytes((tmp_path / content).read_bytes())
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        stack.load(tmp_path)
