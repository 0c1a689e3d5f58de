"""Columns that nobody asked for come out of ``score`` as they went in; what is written parses."""

import csv
import datetime
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from bat.cli import InputError
from bat.data import chunks
from bat.registry import score, scored_errors, scored_file
from bat.stats import bootstrap

ADDED = list(scored_file.ADDED)
TEXTS = [f"Car number {i} with {7 * i}k miles" for i in range(10)]


@pytest.fixture
def folder(saved_pair):
    """A saved pair."""
    return saved_pair


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(score, "CHUNK", 4)


def scored(folder, data, output, **options):
    score.score(folder, str(data), output, **options)
    return output


def strict(path):
    """Read JSON Lines as a reader does that knows nothing beyond the standard."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {path}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def raw(kind, values):
    """Make an array from integers, whatever Python thinks of them."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(values, width).view(kind)


SPREAD = [None, *([1, 2**40 + 1, -3] * 3)]
COLUMNS = {
    "nanoseconds": raw(
        pa.timestamp("ns"), [None, *[1_600_000_000_123_456_789 + i for i in range(9)]]
    ),
    "zoned": raw(pa.timestamp("us", "Europe/Berlin"), SPREAD),
    "unknown zone": raw(pa.timestamp("ms", "Nowhere/Land"), SPREAD),
    "far": raw(pa.timestamp("ms"), [2**60] * 10),
    "far day": raw(pa.date32(), [4_000_000] * 10),
    "time": raw(pa.time64("ns"), [i * 1001 for i in range(10)]),
    "duration": raw(pa.duration("ms"), SPREAD),
    "uint64": pa.array([None, *[2**64 - 1 - i for i in range(9)]], pa.uint64()),
    "int8": pa.array([None, *range(-4, 5)], pa.int8()),
    "float32": pa.array([None, 0.1, math.nan, math.inf, -0.0, *[0.3] * 5], pa.float32()),
    "float16": pa.array([np.float16(0.1)] * 10),
    "float64": pa.array([None, 0.1, math.nan, -math.inf, -0.0, 1e300, *[1 / 3] * 4]),
    "dictionary": pa.array([None, *"xyzxyzxyz"]).dictionary_encode(),
    "decimal": pa.array([Decimal("1.500")] * 10, pa.decimal128(20, 3)),
    "wide": pa.array([Decimal(10) ** 60] * 10, pa.decimal256(76, 3)),
    "bytes": pa.array([b"\xff\x00", None] * 5),
    "fixed": pa.array([b"\xff\xfe"] * 10, pa.binary(2)),
    "bad text": pa.array([b"gr\xf6\xdfer"] * 10).view(pa.string()),
    "large": pa.array(TEXTS, pa.large_string()),
    "truth": pa.array([True, None] * 5),
    "nothing": pa.nulls(10),
    "list": pa.array([[0.5, math.nan], None, [], [None]] * 2 + [[1.0]] * 2),
    "struct": pa.array([{"a": math.inf, "b": [1, None]}, None] * 5),
    "map": pa.array([[("k", 1)], None] * 5, pa.map_(pa.string(), pa.int8())),
    "fixed list": pa.array([[1, 2], [3, None]] * 5, pa.list_(pa.int32(), 2)),
    "deep": pa.array([[{"t": datetime.datetime(2024, 5, 1), "x": [[math.nan]]}]] * 10),
}


@pytest.fixture
def typed(tmp_path):
    """A Parquet file with a column of every kind, field metadata, and pandas's own."""
    fields = [pa.field(name, c.type, metadata={"unit": name}) for name, c in COLUMNS.items()]
    schema = pa.schema([pa.field("text", pa.string()), *fields], {"origin": "here", "bat": "json"})
    table = pa.table([pa.array(TEXTS), *COLUMNS.values()], schema=schema)
    parquet.write_table(table, tmp_path / "theirs.parquet", row_group_size=3)
    return tmp_path / "theirs.parquet"


def test_parquet_to_parquet_is_bit_for_bit(folder, typed, tmp_path):
    before = parquet.ParquetFile(typed)
    after = parquet.ParquetFile(scored(folder, typed, tmp_path / "prices.parquet"))
    own = pa.schema(list(after.schema_arrow)[: -len(ADDED)], after.schema_arrow.metadata)
    assert own.equals(before.schema_arrow, check_metadata=True)
    for name in before.schema_arrow.names:
        old, new = (f.read(columns=[name])[name].combine_chunks() for f in (before, after))
        if pa.types.is_dictionary(old.type):
            old, new = old.dictionary_decode(), new.dictionary_decode()
        assert new.is_valid().equals(old.is_valid())
        if pa.types.is_floating(old.type):  # NaN is not equal to itself, and −0 is to 0
            old, new = (a.drop_null().to_numpy(zero_copy_only=False).tobytes() for a in (old, new))
            assert old == new
        elif name not in ("list", "struct", "deep"):
            assert new.equals(old), name
        else:
            assert str(new) == str(old)


def test_pandas_reads_its_own_index_back(folder, tmp_path):
    frame = pd.DataFrame({"text": TEXTS}, index=pd.Index(list("abcdefghij"), name="key"))
    frame.to_parquet(tmp_path / "theirs.parquet")
    found = pd.read_parquet(scored(folder, tmp_path / "theirs.parquet", tmp_path / "p.parquet"))
    assert found.index.equals(frame.index)


def test_an_empty_parquet_file_keeps_its_schema(folder, typed, tmp_path):
    empty = tmp_path / "empty.parquet"
    parquet.write_table(parquet.read_table(typed).slice(0, 0), empty)
    found = parquet.read_table(scored(folder, empty, tmp_path / "prices.parquet"))
    assert found.schema.names == ["text", *COLUMNS, *ADDED]


def test_typed_values_become_text_that_says_all_of_them(folder, typed, tmp_path):
    rows = cells(scored(folder, typed, tmp_path / "prices.csv"))
    lines = strict(scored(folder, typed, tmp_path / "prices.jsonl"))
    assert [row["nanoseconds"] for row in rows[:2]] == ["", "2020-09-13 12:26:40.123456789"]
    assert [row["uint64"] for row in lines[:2]] == [None, 2**64 - 1]
    assert rows[1]["uint64"] == str(2**64 - 1)
    assert rows[1]["zoned"] == "1970-01-01 01:00:00.000001+0100"
    assert rows[1]["unknown zone"] == "1970-01-01 00:00:00.001Z"
    assert rows[0]["far day"] == "12921-08-18"
    assert rows[1]["time"] == "00:00:00.000001001"
    assert rows[2]["duration"] == f"{2**40 + 1} ms"
    assert [row["float32"] for row in rows[1:5]] == ["0.1", "nan", "inf", "-0.0"]
    assert [row["float32"] for row in lines[1:5]] == [0.1, None, None, -0.0]
    assert np.float16(rows[0]["float16"]) == np.float16(0.1)
    assert [float(row["float64"]) for row in rows[4:]] == [-0.0, 1e300, *[1 / 3] * 4]
    assert [row["dictionary"] for row in lines] == [None, *"xyzxyzxyz"]
    assert (rows[0]["decimal"], lines[0]["decimal"]) == ("1.500", "1.500")
    assert Decimal(lines[0]["wide"]) == Decimal(10) ** 60
    assert (lines[0]["bytes"], lines[1]["bytes"], lines[0]["fixed"]) == ("/wA=", None, "//4=")
    assert lines[0]["bad text"] == r"gr\xf6\xdfer"
    assert [row["truth"] for row in rows[:2]] == ["true", ""]
    assert [row["list"] for row in lines[:4]] == [[0.5, None], None, [], [None]]
    assert json.loads(rows[0]["list"]) == [0.5, None]
    assert [row["struct"] for row in lines[:2]] == [{"a": None, "b": [1, None]}, None]
    assert lines[0]["map"] == [{"key": "k", "value": 1}]
    assert lines[0]["fixed list"] == [1, 2]
    assert lines[0]["deep"] == [{"t": "2024-05-01 00:00:00", "x": [[None]]}]


# JSON Lines

WRITTEN = {
    "big": "123456789012345678901234567890",
    "huge": "1e400",
    "fine": "3.14159265358979323846264338",
    "zeros": "1.500",
    "tiny": "-0.0",
    "long": "9007199254740993",
    "nested": '{"a": [1.10, {"b": 1E+5}], "a": "twice"}',
    "words": '"gr\\u00f6\\u00dfer \\" NaN"',
    "truth": "true",
    "nothing": "null",
}


def test_json_values_pass_through_as_they_are_written(folder, tmp_path):
    rows = [
        "{" + ", ".join([f'"text": "{text}"', *(f'"{k}": {v}' for k, v in WRITTEN.items())]) + "}"
        for text in TEXTS
    ]
    data = tmp_path / "theirs.jsonl"
    data.write_text("\n".join(rows))
    output = scored(folder, data, tmp_path / "prices.jsonl")
    for line in output.read_text().splitlines():
        for name, value in WRITTEN.items():
            said = json.loads(value)
            if name == "words":
                assert json.loads(line)[name] == said
            else:
                assert f'"{name}": {value}, ' in line
    table = parquet.read_table(scored(folder, data, tmp_path / "prices.parquet"))
    exact = {"zeros": 1.5, "tiny": -0.0, "long": 9007199254740993, "truth": True, "nothing": None}
    for name, value in WRITTEN.items():
        wanted = exact.get(name, json.loads(value) if name == "words" else value)
        assert table[name].to_pylist() == [wanted] * 10, name
    assert table.schema.field("long").type == pa.int64()
    found = cells(scored(folder, data, tmp_path / "prices.csv"))[0]
    assert [found[name] for name in ("big", "huge", "zeros")] == [
        WRITTEN[name] for name in ("big", "huge", "zeros")
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5"], pa.float64()),
        (["1", str(2**63)], pa.uint64()),
        (["-1", str(2**63)], pa.string()),
        (["9007199254740993", "2.5"], pa.string()),
        (["1", "true"], pa.string()),
        (["1", "NaN"], pa.float64()),
        (["null", "true"], pa.bool_()),
        (["0.1000000000000000055511151231257827021181583404541015625", "1"], pa.float64()),
        (["9" * 5000, "1"], pa.string()),
    ],
)
def test_a_column_of_json_lines_gets_the_type_that_holds_it(folder, tmp_path, values, kind):
    data = tmp_path / "theirs.jsonl"
    data.write_text(
        "\n".join(f'{{"text": "{t}", "x": {values[i % 2]}}}' for i, t in enumerate(TEXTS))
    )
    assert parquet.read_schema(scored(folder, data, tmp_path / "p.parquet")).field("x").type == kind


def test_what_json_lacks_becomes_null_and_strings_keep_it(folder, tmp_path):
    data = tmp_path / "theirs.jsonl"
    nested = '{"y": NaN, "z": "NaN \\\\\\" -Infinity", "w": [-Infinity]}'
    odd = f'{{"text": "a car", "x": {nested}, "v": NaN}}'
    data.write_text(odd + "\n" + '{"text": "b car", "x": {"y": 1}}')
    for suffix in ("jsonl", "csv", "parquet"):
        scored(folder, data, tmp_path / f"prices.{suffix}")
    wanted = {"y": None, "z": 'NaN \\" -Infinity', "w": [None]}
    (first, second) = strict(tmp_path / "prices.jsonl")
    assert (first["x"], first["v"], second["x"]) == (wanted, None, {"y": 1})
    assert json.loads(cells(tmp_path / "prices.csv")[0]["x"]) == wanted
    assert json.loads(parquet.read_table(tmp_path / "prices.parquet")["x"][0].as_py()) == wanted


# CSV


def test_csv_columns_stay_the_strings_that_stood_there(folder, tmp_path):
    values = ["007", "1e5", "=1+1", "-2", "@x", " padded ", "NaN", "", "two\nlines", 'quo"te']
    data = tmp_path / "theirs.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "x"), *zip(TEXTS, values, strict=True)])
    assert [row["x"] for row in cells(scored(folder, data, tmp_path / "p.csv"))] == values
    assert [row["x"] for row in strict(scored(folder, data, tmp_path / "p.jsonl"))] == values
    table = parquet.read_table(scored(folder, data, tmp_path / "p.parquet"))
    assert table["x"].to_pylist() == values


def test_chunks_without_a_readable_row_keep_the_columns(folder, tmp_path):
    data = tmp_path / "theirs.csv"
    good = "".join(f"{text},5\n" for text in TEXTS[:2])
    data.write_text("text,x\n" + "only one\n" * 4 + good)
    table = parquet.read_table(scored(folder, data, tmp_path / "p.parquet"))
    assert table["x"].to_pylist() == [None] * 4 + ["5"] * 2
    data = tmp_path / "theirs.jsonl"
    data.write_text("{x\n" * 5 + '{"text": "a car", "x": 1}\n')
    assert [row["x"] for row in strict(scored(folder, data, tmp_path / "p.jsonl"))] == [
        None
    ] * 5 + [1]


# The output


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_an_output_that_appears_meanwhile_is_never_replaced(folder, tmp_path, kind):
    data = tmp_path / "theirs.csv"
    data.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    output = tmp_path / "prices.csv"

    def appear(done):
        if not output.is_symlink() and not output.exists():
            output.symlink_to("nowhere") if kind == "dangling link" else output.write_text("theirs")

    with pytest.raises(InputError, match=r"which cannot be made any more .File exists") as caught:
        scored(folder, data, output, progress=appear)
    assert output.is_symlink() if kind == "dangling link" else output.read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()
    kept = Path(str(caught.value).rpartition("move them from ")[2])
    whole = scored(folder, data, tmp_path / "whole.csv")
    assert kept.read_text() == whole.read_text()


def test_without_hard_links_an_output_is_still_made_and_nothing_replaced(
    folder, tmp_path, monkeypatch
):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    draft, output = tmp_path / "draft", tmp_path / "prices.csv"
    draft.write_text("ours")
    scored_file._publish(draft, output)
    assert (output.read_text(), draft.exists()) == ("ours", False)
    draft.write_text("again")
    with pytest.raises(InputError, match="File exists"):
        scored_file._publish(draft, output)
    assert (output.read_text(), draft.read_text()) == ("ours", "again")


def test_outputs_that_the_system_refuses_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="whose folder does not exist or cannot be written to"):
        scored_file.check_output(Path("/proc/prices.csv"))
    with pytest.raises(InputError, match="File name too long"):
        scored_file.check_output(tmp_path / ("x" * 300 + ".csv"))
    with pytest.raises(InputError, match="null"):
        scored_file.check_output(tmp_path / "a\0b.csv")
    (tmp_path / "link.csv").symlink_to("nowhere")
    with pytest.raises(InputError, match="which exists"):
        scored_file.check_output(tmp_path / "link.csv")
    scored_file.check_output(tmp_path / "PRICES.CSV")
    longest = tmp_path / ("x" * (255 - len(".csv.metrics.json")) + ".csv")
    scored_file.check_output(longest)
    assert [path.name for path in tmp_path.iterdir()] == ["link.csv"]


# Errors against true prices


def test_errors_and_coverage_are_those_of_the_rows_with_a_price(folder, tmp_path):
    true = [1000.0 + 37 * i for i in range(10)]
    rows = [{"text": t, "price": p} for t, p in zip(TEXTS, true, strict=True)]
    rows[3]["price"] = rows[4]["price"] = None
    rows += [{"text": "", "price": 5}, {"text": TEXTS[0], "price": "n/a"}]
    data = tmp_path / "theirs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    done = score.score(folder, str(data), tmp_path / "p.jsonl", target_column="price")
    used = [row for row in strict(tmp_path / "p.jsonl")[:10] if row["price"]]
    off = [abs(row["price"] - row["predicted"]) for row in used]
    assert done.errors["mae"] == pytest.approx(np.mean(off))
    assert done.errors["medae"] == pytest.approx(np.median(off))
    held = [row["predicted_low"] <= row["price"] <= row["predicted_high"] for row in used]
    assert done.errors["coverage"] == np.mean(held)
    assert done.errors["rows_with_price"] == done.errors["rows_evaluated"] == 8
    squares = bootstrap.scores([r["price"] for r in used], [r["predicted"] for r in used])
    assert done.errors["r2"] == pytest.approx(squares["r2"])
    assert done.errors["mae_low"] <= done.errors["mae"] <= done.errors["mae_high"]
    written = scored_errors.write_errors(tmp_path / "p.jsonl", done.errors)
    assert written.name == "p.jsonl.metrics.json"
    assert json.loads(written.read_text()) == done.errors
    with pytest.raises(InputError, match="which exists"):
        scored_file.check_output(tmp_path / "p.jsonl")
    assert score.score(folder, str(data), tmp_path / "q.jsonl").errors is None
    again = score.score(folder, str(data), tmp_path / "r.csv", target_column="cost")
    assert again.errors is None


def test_one_price_has_no_r2(folder, tmp_path):
    data = tmp_path / "theirs.csv"
    data.write_text("text,price\n" + "".join(f"{text},5\n" for text in TEXTS))
    done = score.score(folder, str(data), tmp_path / "p.csv", target_column="price")
    assert "r2" not in done.errors
    assert done.errors["mae"] > 0


def test_true_prices_of_typed_columns_are_read(folder, tmp_path):
    columns = {"text": TEXTS, "cost": pa.array([Decimal(i + 1) for i in range(10)])}
    parquet.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    done = score.score(
        folder, str(tmp_path / "theirs.parquet"), tmp_path / "p.parquet", target_column="cost"
    )
    assert done.errors["rows_with_price"] == 10


def test_memory_holds_a_sample_in_which_every_row_is_as_likely(monkeypatch, tmp_path):
    monkeypatch.setattr(scored_errors, "MAX_EVALUATED", 50)
    counts = np.zeros(200)
    table = pa.table({name: [1.0] * 20 for name in ADDED[:3]})
    path = tmp_path / "chunk.arrow"
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    for seed in range(60):
        sample = scored_errors.Sample(draws=np.random.default_rng(seed))
        for first in range(0, 200, 20):
            prices = np.arange(first, first + 20) + 1.0
            sample.add(chunks.Chunk(table, ["a car"] * 20, [""] * 20, prices), path)
        assert len(sample.values) == 50
        assert sample.seen == 200
        counts[[int(row[0]) - 1 for row in sample.values]] += 1
    assert abs(counts[:100].sum() - counts[100:].sum()) < 4 * (60 * 50) ** 0.5
    assert counts.min() > 0
