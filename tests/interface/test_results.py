"""A study called from Python does what the command does, and shows it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bat
from bat import cli
from bat.interface import results

SMALL = {"sizes": "0", "trials": 2, "baselines": "ridge", "stack": "none"}


@pytest.fixture
def frame(sales):
    """The table of a small file of sales, with an index of its own."""
    rows = [json.loads(line) for line in Path(sales).read_text().splitlines()]
    found = pd.DataFrame(rows)[["text", "price"]].rename(
        columns={"text": "told", "price": "sold for"}
    )
    return found.set_index(np.arange(len(found)) + 1_000)


def test_a_table_gives_a_study_whose_predictor_keeps_the_index(
    frame, tiny_folder, store, tmp_path, capsys
):
    frame.loc[1_000, "sold for"] = np.nan
    result = bat.study(
        frame, text="told", target="sold for", name="old <cars>", base_model=str(tiny_folder),
        **SMALL,
    )  # fmt: skip
    assert result.verdict.startswith("No encoder was tuned: there is nothing to compare. Serve ")
    assert list(result.table.index) == [row.name for row in result.outcome.rows]
    factory = result.outcome.row("factory").scores["mae"]
    shown = result.table.loc["factory", ["mae", "mae_low", "mae_high"]]
    assert tuple(shown) == (factory.value, factory.low, factory.high)
    assert result.plot().axes
    assert "<b>No encoder was tuned" in result._repr_html_()
    assert "<html" in result.page
    run = store.get_run(result.run_id)
    assert run.data.params["config.target_column"] == "sold for"
    told = Path(store.download_artifacts(result.run_id, "rejected.jsonl")).read_text()
    assert json.loads(told)["line"] == 1

    rows = frame.iloc[5:9]
    predicted = result.predictor.predict(rows["told"])
    assert list(predicted.index) == list(rows.index)
    assert list(predicted.columns) == ["price", "price_low", "price_high", "truncated"]
    assert (predicted["price_low"] < predicted["price"]).all()
    again = bat.load(result.predictor.folder).predict(list(rows["told"]))
    np.testing.assert_array_equal(predicted["price"], again["price"])
    assert Path(result.encoder, "modules.json").is_file()


def test_a_name_from_a_table_is_escaped_in_a_notebook(frame, tiny_folder, store):
    result = bat.study(
        frame, text="told", target="sold for", name="<b>", base_model=str(tiny_folder), **SMALL
    )
    assert "<b>" not in result._repr_html_().replace("<p><b>", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trails": 3}, r"the setting 'trails'(?s:.)*did you mean trials\?"),
        ({"text_column": "told"}, r"the setting 'text_column'(?s:.)*use text"),
        ({"plan_only": True}, r"the setting 'plan_only'"),
        ({"target": "price"}, r"a table with 0 columns 'price'(?s:.)*there are told, sold for"),
        ({"target": "sold for", "trials": 0}, "trials=0"),
        ({"target": "sold for", "name": "a/b"}, "name='a/b'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(frame, settings, said):
    with pytest.raises(cli.InputError, match=said):
        bat.study(frame, **{"text": "told"} | settings)


def test_rows_of_a_table_are_written_as_a_file_would_have_them():
    frame = pd.DataFrame(
        {
            "text": ["a", None, "b"],
            "price": pd.array([1, pd.NA, 3], dtype="Int64"),
            "when": pd.to_datetime(["2020-01-02", None, "2021-03-04"]),
        }
    )
    found = [json.loads(line) for line in results._lines(frame)]
    assert found[0] == {"text": "a", "price": 1, "when": "2020-01-02 00:00:00"}
    assert found[1] == {"text": None, "price": None, "when": None}


def test_equal_tables_are_one_file_and_changed_ones_another(frame):
    columns = ["told", "sold for"]
    first = results._frame_file(frame, columns, "cars")
    assert results._frame_file(frame.copy(), columns, "cars") == first
    assert len(Path(first).read_text().splitlines()) == len(frame)
    frame.iloc[0, 1] += 1
    assert results._frame_file(frame, columns, "cars") != first
