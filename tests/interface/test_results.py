"""A study called from Python does what the command does, and shows it."""

import errno
import json
import signal
from decimal import Decimal
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost

import bat
from bat import cli, interrupts
from bat.data.corpus import TooManyRejectedError
from bat.interface import results, studying

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
    frame.loc[1_003, "sold for"] = np.nan
    with mlflow.start_run() as opened:  # by a notebook, in which ours goes on as a child
        result = bat.study(
            frame, text="told", target="sold for", name="old <cars>", base_model=tiny_folder,
            **SMALL,
        )  # fmt: skip
        assert mlflow.active_run().info.run_id == opened.info.run_id
    assert result.verdict.startswith("No encoder was tuned: there is nothing to compare. Serve ")
    assert list(result.table.index) == [row.name for row in result.outcome.rows]
    factory = result.outcome.row("factory").scores["mae"]
    shown = result.table.loc["factory", ["mae", "mae_low", "mae_high"]]
    assert tuple(shown) == (factory.value, factory.low, factory.high)
    for metric in ("mae", "medae", "r2"):
        assert result.plot(metric).axes
    with pytest.raises(cli.InputError, match="metric='rmse'"):
        result.plot("rmse")
    assert "<b>No encoder was tuned" in result._repr_html_()
    assert "<html" in result.page
    run = store.get_run(result.run_id)
    assert run.data.params["config.target_column"] == "sold for"
    told = Path(store.download_artifacts(result.run_id, "rejected.jsonl")).read_text()
    assert json.loads(told)["line"] == 4
    assert result.rejected["reason"].to_dict() == {1_003: "price is missing"}
    assert run.data.tags["mlflow.parentRunId"] == opened.info.run_id
    assert run.info.status == "FINISHED"

    rows = frame.iloc[5:9]
    assert result.predictor is result.predictor  # opened once
    predicted = result.predictor.predict(rows)
    assert list(predicted.index) == list(rows.index)
    assert list(predicted.columns) == ["price", "price_low", "price_high", "truncated"]
    assert (predicted["price_low"] < predicted["price"]).all()
    for where in (result.predictor.folder, f"runs:/{result.run_id}/pricer"):
        again = bat.load(where).predict(list(rows["told"]))
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
        ({"text": 0}, r"text=0(?s:.)*map\(str\)"),
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
            "exact": [Decimal("1.5"), np.float64("nan"), np.int64(7)],
            "odd": [b"a", ["a"], np.array(["a", "b"])],
            "when": pd.to_datetime(["2020-01-02", None, "2021-03-04"]),
        }
    )
    found = [json.loads(line) for line in results._lines(frame)]
    assert found[0] | {"odd": ""} == {
        "text": "a", "price": 1, "exact": "1.5", "odd": "", "when": "2020-01-02 00:00:00",
    }  # fmt: skip
    assert found[1] | {"odd": ""} == dict.fromkeys(frame, None) | {"odd": ""}
    assert found[2]["exact"] == 7
    assert all(isinstance(row["odd"], list) for row in found)  # bytes are no text


def test_equal_tables_are_one_file_and_changed_ones_another(frame):
    columns = ["told", "sold for"]
    first = results._frame_file(frame, columns, "cars")
    assert results._frame_file(frame.copy(), columns, "cars") == first
    assert len(Path(first).read_text().splitlines()) == len(frame)
    frame.iloc[0, 1] += 1
    assert results._frame_file(frame, columns, "cars") != first


def test_a_table_of_bad_rows_is_refused_with_the_way_to_find_them(frame, tiny_folder, store):
    frame.iloc[[2, *range(10, 60)], 1] = np.nan
    with pytest.raises(TooManyRejectedError) as caught:
        bat.study(frame, text="told", target="sold for", base_model=tiny_folder, **SMALL)
    assert "line 3: price is missing" in str(caught.value)
    assert "line n is the table's row n, counted from 1: frame.iloc[n - 1]" in str(caught.value)
    assert caught.value.rejected[0].line == 3


@pytest.mark.parametrize("data", [["a text"], pd.Series(["a text"]), None])
def test_other_data_are_refused_by_their_type(data):
    with pytest.raises(cli.InputError, match=f"data of type {type(data).__name__}"):
        bat.study(data)


def finishes(monkeypatch, work):
    """Let a study of Python's do some other work."""
    monkeypatch.setattr(studying, "run", work)
    return bat.study("auctions:200")


def test_ctrl_c_waits_for_what_must_be_finished(monkeypatch):
    done, before = [], signal.getsignal(signal.SIGINT)

    def work(config):
        with interrupts.deferred():
            signal.raise_signal(signal.SIGINT)
            done.append(config.data)

    monkeypatch.setattr(interrupts, "_STOP", interrupts._Stop())
    with pytest.raises(KeyboardInterrupt):
        finishes(monkeypatch, work)
    assert done == ["auctions:200"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_is_a_message_and_a_bug_is_not(monkeypatch):
    def full(config):
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(config):
        raise ZeroDivisionError

    with pytest.raises(cli.InputError, match="a disk with no room left"):
        finishes(monkeypatch, full)
    with pytest.raises(ZeroDivisionError):
        finishes(monkeypatch, broken)


def test_autologging_is_idle_while_a_study_runs(monkeypatch, store):
    rows = xgboost.DMatrix(np.arange(8.0).reshape(4, 2), label=np.arange(4.0))

    def train(config=None):
        return xgboost.train({}, rows, num_boost_round=1)

    mlflow.xgboost.autolog(log_models=False, importance_types=[])
    try:
        finishes(monkeypatch, train)
        assert store.search_runs(["0"]) == []
        train()
        assert len(store.search_runs(["0"])) == 1
    finally:
        mlflow.xgboost.autolog(disable=True)


def test_launched_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(cli.InputError, match="2 processes"):
        bat.study("auctions:200")
