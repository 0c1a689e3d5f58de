"""A predictor in Python takes texts in any form that a table gives them, and keeps their order."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bat import cli
from bat.interface import loaded
from bat.interface.loaded import Loaded
from bat.models.explanation import Effect
from bat.models.pricer import Priced


def by_length(texts, coverage=None):
    """Predict the length of a text."""
    prices = np.array([float(len(text)) for text in texts])
    half = 1.0 if coverage is None else coverage
    return Priced(prices, prices - half, prices + half, np.zeros(len(texts), bool))


LENGTHS = Loaded(
    SimpleNamespace(
        predict=by_length,
        explain=lambda texts: [[Effect(text[:1], "word", float(len(text)))] for text in texts],
    ),
    None,
)


@pytest.mark.parametrize(
    "texts",
    [
        ["abc", " de "],
        ("abc", "de"),
        np.array(["abc", "de"]),
        pd.Series(["abc", "de"], index=["x", "y"]),
        pd.DataFrame({"n": [1, 2], "text": ["abc", "de"]}, index=["x", "y"]),
        iter(["abc", "de"]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_texts_in_any_form_get_a_row_each(texts):
    found = LENGTHS.predict(texts)
    assert found["price"].tolist() == [3, 2]  # blanks around a text do not count
    if hasattr(texts, "index") and not callable(texts.index):
        assert list(found.index) == ["x", "y"]


def test_one_string_is_one_text_and_none_give_an_empty_table():
    assert LENGTHS.predict("abc")["price"].tolist() == [3]
    assert LENGTHS.predict([]).shape == (0, 4)
    assert LENGTHS.explain([]).shape == (0, 4)


def test_a_long_list_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(loaded, "CHUNK", 3)
    texts = ["x" * n for n in range(1, 9)]
    assert LENGTHS.predict(texts)["price"].tolist() == list(range(1, 9))


def test_the_coverage_reaches_the_interval():
    found = LENGTHS.predict(["abc"], coverage=0.5)
    assert found.iloc[0, :3].tolist() == [3.0, 2.5, 3.5]


def test_effects_name_the_row_that_they_are_of():
    texts = pd.Series(["abc", "de"], index=["x", "y"])
    assert LENGTHS.explain(texts).to_dict("list") == {
        "row": ["x", "y"], "part": ["a", "d"], "kind": ["word"] * 2, "effect": [3.0, 2.0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["abc", "..."], r"text 1, "),
        (["abc", None], r"text 1, "),
        (pd.DataFrame({"told": ["abc"]}), r"the columns told(?s:.)*one column named 'text'"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the columns text, text"),
    ],
)
def test_what_is_no_text_is_refused_by_its_place(texts, said):
    with pytest.raises(cli.InputError, match=said):
        LENGTHS.predict(texts)


def test_a_folder_without_a_predictor_is_refused(tmp_path):
    with pytest.raises(cli.InputError, match="holds no encoder and regressor"):
        loaded.load(tmp_path)


def test_of_a_table_the_column_is_read_that_was_named():
    told = Loaded(LENGTHS.pricer, None, "told")
    frame = pd.DataFrame({"text": ["abc"], "told": ["de"]})
    assert told.predict(frame)["price"].tolist() == [2]
    assert told.explain(frame)["effect"].tolist() == [2]


def test_a_folder_may_be_named_from_home(saved_pair, texts, monkeypatch):
    monkeypatch.setenv("HOME", str(saved_pair.parent))
    found = loaded.load(f"~/{saved_pair.name}", text="told")
    assert found.folder == saved_pair
    frame = pd.DataFrame({"told": texts[:2]}, index=["x", "y"])
    assert list(found.predict(frame).index) == ["x", "y"]


def test_columns_are_those_of_the_served_model():
    from bat.registry import tracking

    served = [column.name for column in tracking.TEXT_TO_PRICE.outputs]
    assert list(LENGTHS.predict(["abc"]).columns) == served
