"""Prices for whole files: nothing lost, nothing moved, nothing done twice."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from bat.cli import InputError
from bat.models import pricer
from bat.registry import score, scored_file

ADDED = list(scored_file.ADDED)


@pytest.fixture
def folder(saved_pair):
    """A saved pair."""
    return saved_pair


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(score, "CHUNK", 4)


def jsonl(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def test_order_columns_and_bad_rows_are_kept(folder, tmp_path, texts):
    rows = [
        {"id": 1, "text": texts[0], "price": 5},
        {"id": 2, "text": ""},
        "{broken",
        {"id": 3, "text": texts[1], "tags": ["a", "b"]},
        {"id": "four", "text": texts[2]},
        {"id": 5, "words": "no text"},
        {"id": 6, "text": " ".join(texts[:3])},
    ]
    output = tmp_path / "prices.jsonl"
    done = score.score(folder, jsonl(tmp_path / "theirs.jsonl", rows), output)
    assert done == score.Scored(rows=7, without=3)
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in found] == [1, 2, None, 3, "four", 5, 6]
    assert list(found[0]) == ["id", "text", "price", "tags", "words", *ADDED]
    assert [row["reason"] is None for row in found] == [True, False, False, True, True, False, True]
    assert found[1]["reason"].startswith("line 2: text is empty")
    assert found[2]["reason"].startswith("line 3: not valid JSON: {broken")
    assert "no field 'text' (name another with text_column=...)" in found[5]["reason"]
    assert found[3]["tags"] == ["a", "b"]
    assert [row["truncated"] for row in found] == [False, None, None, False, False, None, True]
    wanted = pricer.load(folder).predict([row["text"] for row in found if not row["reason"]])
    for name, values in zip(ADDED[:3], wanted[:3], strict=True):
        got = [row[name] for row in found if not row["reason"]]
        np.testing.assert_allclose(got, values, rtol=1e-4)


def test_numbers_of_two_kinds_become_one_and_csv_stays_text(folder, tmp_path, texts):
    rows = [{"text": text, "size": 1 if i < 4 else 2.5} for i, text in enumerate(texts[:8])]
    output = tmp_path / "prices.parquet"
    score.score(folder, jsonl(tmp_path / "theirs.jsonl", rows), output)
    assert pd.read_parquet(output)["size"].tolist() == [1.0] * 4 + [2.5] * 4
    table = tmp_path / "theirs.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["size", "text"], ["007", texts[0]], ["", texts[1]]])
    score.score(folder, str(table), tmp_path / "prices.csv")
    with (tmp_path / "prices.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["size"] for row in found] == ["007", ""]
    assert list(found[0]) == ["size", "text", *ADDED]
    assert float(found[0]["predicted_low"]) < float(found[0]["predicted_high"])


def test_all_columns_of_a_parquet_file_keep_their_types(folder, tmp_path, texts):
    times = pd.date_range("2024-05-01", periods=10, tz="UTC")
    frame = pd.DataFrame({"sold": times, "text": texts[:10], "n": range(10)})
    frame.to_parquet(tmp_path / "theirs.parquet")
    score.score(folder, str(tmp_path / "theirs.parquet"), tmp_path / "prices.parquet")
    found = pd.read_parquet(tmp_path / "prices.parquet")
    assert (found["sold"] == frame["sold"]).all()
    assert found["n"].tolist() == list(range(10))
    assert found[ADDED[:3]].notna().all().all()


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path, texts, monkeypatch):
    data = jsonl(tmp_path / "theirs.jsonl", [{"text": text} for text in texts[:10]])
    whole = tmp_path / "whole.jsonl"
    score.score(folder, data, whole)
    priced, asked = score._priced, []

    def dies(pair, chunk, coverage):
        asked.append(len(chunk))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return priced(pair, chunk, coverage)

    monkeypatch.setattr(score, "_priced", dies)
    output = tmp_path / "prices.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score.score(folder, data, output)
    assert not output.exists()
    told = []
    score.score(folder, data, output, progress=told.append)
    assert asked == [4, 4, 4, 2]  # the second chunk again, and the first one never
    assert told == [4, 4, 2]
    assert output.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "prices.jsonl",
        "theirs.jsonl",
        "whole.jsonl",
    ]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("prices.xlsx", r"a file ending in \.jsonl, \.csv, \.parquet"),
        ("theirs.jsonl", "which exists"),
        ("nowhere/prices.csv", "whose folder does not exist or"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    folder, tmp_path, texts, output, message
):
    data = jsonl(tmp_path / "theirs.jsonl", [{"text": texts[0]}])
    with pytest.raises(InputError, match=message):
        score.score(folder, data, tmp_path / output)


def test_what_cannot_be_meant_is_refused(folder, tmp_path, texts):
    data = jsonl(tmp_path / "theirs.jsonl", [{"text": texts[0], "predicted": 3}])
    with pytest.raises(InputError, match="data with a column 'predicted'"):
        score.count(data)
    with pytest.raises(InputError, match="data with a column 'predicted'"):
        score.score(folder, data, tmp_path / "prices.csv")
    with pytest.raises(InputError, match=r"coverage=0\.9999"):
        score.score(folder, data, tmp_path / "prices.csv", coverage=0.9999)


def test_values_that_no_column_type_holds_are_kept(folder, tmp_path, texts):
    odd = [
        {"text": texts[0], "n": 2**53 + 1, "of": {}, "who": "\ud800 half"},
        {"text": "\ud800 half a letter", "n": 2**70, "of": {"a": 1}},
        {"text": texts[1], "n": 3, "of": {"b": ["\ud83d", None]}, "when": float("nan")},
        {"text": texts[2], "n": 4},
        {"text": texts[3], "n": 1.5, "of": "words"},
    ]
    data = jsonl(tmp_path / "theirs.jsonl", odd)
    output = tmp_path / "prices.csv.jsonl"  # the last suffix counts
    assert score.score(folder, data, output).without == 1
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["n"] for row in found] == [2**53 + 1, 2**70, 3, 4, 1.5]
    assert [row["of"] for row in found] == [{}, {"a": 1}, {"b": ["\ud83d", None]}, None, "words"]
    assert found[0]["who"] == "\\ud800 half"
    assert "text is not valid Unicode" in found[1]["reason"]
    for suffix in ("csv", "parquet"):
        score.score(folder, data, tmp_path / f"prices.{suffix}")
    table = pd.read_parquet(tmp_path / "prices.parquet")
    assert table["n"].tolist() == [str(2**53 + 1), str(2**70), "3", "4", "1.5"]
    assert table["of"].tolist()[1:3] == ['{"a": 1}', '{"b": ["\\ud83d", null]}']
    assert table["of"].tolist()[4] == "words"


def test_a_long_number_does_not_become_a_fraction(folder, tmp_path, texts):
    rows = [{"text": text, "id": 1234567890123456789} for text in texts[:4]]
    rows.append({"text": texts[4], "id": 1.5})
    output = tmp_path / "prices.parquet"
    score.score(folder, jsonl(tmp_path / "theirs.jsonl", rows), output)
    assert pd.read_parquet(output)["id"].tolist() == ["1234567890123456789"] * 4 + ["1.5"]


def test_dates_of_a_parquet_file_are_plain_in_csv(folder, tmp_path, texts):
    frame = pd.DataFrame({"sold": pd.to_datetime(["2024-05-01"]), "text": texts[:1]})
    frame.to_parquet(tmp_path / "theirs.parquet")
    score.score(folder, str(tmp_path / "theirs.parquet"), tmp_path / "prices.csv")
    with (tmp_path / "prices.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["sold"] == "2024-05-01 00:00:00"


def test_columns_of_one_name_are_refused(folder, tmp_path, texts):
    (tmp_path / "theirs.csv").write_text(f'note,text,note\na,"{texts[0]}",b\n')
    with pytest.raises(InputError, match="more than one column 'note'"):
        score.count(str(tmp_path / "theirs.csv"))


def test_a_file_that_changes_while_it_is_read_is_refused(folder, tmp_path, texts):
    path = tmp_path / "theirs.jsonl"
    data = jsonl(path, [{"text": text} for text in texts[:6]])

    def more(done):
        path.write_text(path.read_text() + "\n")

    with pytest.raises(InputError, match="which changed while it was read"):
        score.score(folder, data, tmp_path / "prices.csv", progress=more)
    assert not (tmp_path / "prices.csv").exists()


def test_an_empty_file_gives_an_empty_table(folder, tmp_path):
    (tmp_path / "none.csv").write_text("text,id\n")
    done = score.score(folder, str(tmp_path / "none.csv"), tmp_path / "prices.csv")
    assert done == score.Scored(0, 0)
    assert (tmp_path / "prices.csv").read_text().split() == [",".join(ADDED)]
