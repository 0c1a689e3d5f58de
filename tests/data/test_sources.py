"""Every way to write rows is read as what it is, and one bad value costs one row."""

import datetime
import gzip
import json
import math
import re
from decimal import Decimal
from pathlib import Path

import datasets
import mlflow
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bat import cli
from bat.cli import InputError
from bat.data import chunks, corpus, fields, json_lines
from bat.data import rows as source_rows
from bat.data.texts import text_key
from bat.registry import tracking
from entrypoints import evaluate

N = 120
TEXTS = [f"Car number {i}, größer" for i in range(N)]
PRICES = [100.0 + i for i in range(N)]


def delimited(delimiter=",", end="\n", first=""):
    quoted = [f'"{text}"{delimiter}{price}' for text, price in zip(TEXTS, PRICES, strict=True)]
    return first + end.join([f"text{delimiter}price", *quoted]) + end


def lines(end="\n"):
    rows = zip(TEXTS, PRICES, strict=True)
    return "".join(
        json.dumps({"text": text, "price": price}, ensure_ascii=False) + end for text, price in rows
    )


def saved(path, content):
    path.write_bytes(content)
    return str(path)


def table(path, **columns):
    """Write a Parquet file of the usual texts and prices, some columns replaced or added."""
    held = {"text": pa.array(TEXTS), "price": pa.array(PRICES)} | columns
    parquet.write_table(pa.table(list(held.values()), names=list(held)), path)
    return str(path)


# Text files

UTF16 = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")
FORMS = {
    "cars.CSV": delimited().encode(),
    "cars.Csv.GZ": gzip.compress(delimited().encode()),
    "cars.JSONL": lines().encode(),
    "cars.ndjson": lines().encode(),
    "cars.NDJSON.Gz": gzip.compress(lines().encode()),
    "cars.tsv": delimited("\t").encode(),
    "cars.TSV.gz": gzip.compress(delimited("\t").encode()),
    "comma.tsv": delimited().encode(),
    "semicolon.csv": delimited(";").encode(),
    "tab.csv": delimited("\t").encode(),
    "bar.csv": delimited("|").encode(),
    "sep comma.csv": delimited(first="sep=,\n").encode(),
    "sep.csv": delimited(";", "\r\n", "SEP=;\r\n").encode("utf-8-sig"),
    "sep caret.csv": delimited("^", first='"sep=^"\n').encode(),
    "return.jsonl": lines("\r").encode(),
    "returns.jsonl": lines("\r\n").encode(),
    "return.csv": delimited(end="\r").encode(),
    "mark.jsonl": lines().encode("utf-8-sig"),
    **{f"{kind}.csv": delimited(end="\r\n").encode(kind) for kind in UTF16},
    **{f"{kind}.jsonl": lines().encode(kind) for kind in UTF16},
    "excel.tsv": delimited("\t", "\r\n").encode("utf-16"),
    "utf-16.csv.gz": gzip.compress(delimited().encode("utf-16-le")),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_corpus(tmp_path, name):
    data = corpus.load(saved(tmp_path / name, FORMS[name]))
    assert data.texts == TEXTS
    assert data.prices.tolist() == PRICES
    assert data.rejected == ()
    before = 0 if "json" in name.lower() else 2 if "sep" in name else 1
    assert data.lines.tolist() == [before + i + 1 for i in range(N)]


def test_parquet_in_capitals_and_packed(tmp_path):
    path = table(tmp_path / "cars.Parquet")
    assert corpus.load(path).texts == TEXTS
    packed = saved(tmp_path / "cars.PARQUET.GZ", gzip.compress(Path(path).read_bytes()))
    assert corpus.load(packed).texts == TEXTS


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_chinese_in_utf16_without_a_mark_is_told_by_its_line_ends(tmp_path, order):
    # Zero and line-end bytes inside characters: U+4E00, U+4E0A, U+4E0D.
    texts = [f"一上不车{chr(0x4E00 + i)}" for i in range(N)]
    content = "文,text,price\r\n" + "".join(f"一,{t},{i + 1}\r\n" for i, t in enumerate(texts))
    assert corpus.load(saved(tmp_path / "c.csv", content.encode(order))).texts == texts


def test_a_null_character_does_not_make_utf16(tmp_path):
    text = delimited().replace("Car number 7,", "Car\0number 7,")
    data = corpus.load(saved(tmp_path / "c.csv", text.encode()))
    assert data.texts[7] == "Car\0number 7, größer"


@pytest.mark.parametrize("name", ["cars.csv", "cars.jsonl"])
def test_bytes_that_are_not_utf8_reject_their_row_alone(tmp_path, name):
    content = (delimited() if name.endswith("csv") else lines()).encode()
    bad = content.replace("number 7, größer".encode(), b"number 7, gr\xf6\xdfer")
    data = corpus.load(saved(tmp_path / name, bad))
    ((line, reason, shown),) = data.rejected
    assert line == (9 if name.endswith("csv") else 8)
    assert reason.startswith("not UTF-8")
    assert r"gr\xf6\xdfer" in shown
    assert data.texts == [text for text in TEXTS if "number 7," not in text]
    (chunk,) = chunks.stream(str(tmp_path / name), size=N)
    assert [place for place, reason in enumerate(chunk.reasons) if reason] == [7]


def test_a_header_that_is_not_utf8_is_refused(tmp_path):
    content = delimited().replace("text,", "Schl\u00fcssel,text,", 1).encode("latin-1")
    with pytest.raises(InputError, match="not UTF-8 on line 1, which names the columns"):
        corpus.load(saved(tmp_path / "cars.csv", content))


def test_a_key_twice_rejects_its_row_as_a_column_twice_does_its_file(tmp_path):
    twice = [
        '{"text": "old", "text": "new", "price": 1}',
        '{"text": "new", "price": 1, "pr\\u0069ce": 2}',
    ]
    other = '{"note": 1, "text": "fine", "price": 5, "note": 2, "of": {"a": 1, "a": 2}}'
    path = saved(tmp_path / "c.jsonl", "\n".join([*twice, other, lines()]).encode())
    data = corpus.load(path)
    assert [row[:2] for row in data.rejected] == [
        (1, "more than one field 'text'"),
        (2, "more than one field 'price'"),
    ]
    assert data.texts[0] == "fine"  # nobody asked for its note
    (chunk,) = chunks.stream(path, size=N + 3)  # and here all are kept
    assert chunk.reasons[2].startswith("line 3: more than one field 'note'")


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"a":1}', True),
        ('{ "a" : [1, {"b": "}"}] , "c" : "," }', True),
        ("{}", True),
        ("{ }", True),
        ('{"a":1,}', False),
        ('{,"a":1}', False),
        ('{"a" 1}', False),
        ('{"a":1}}', False),
        ('{"a":1} x', False),
        ("{1:1}", False),
        ('{"a":1', False),
        ('{"a"', False),
        ("{", False),
        ('{"a":}', False),
        ('{"a":1 "b":2}', False),
        ('{"a":\u00a01}', False),
    ],
)
def test_objects_are_taken_apart_as_json_reads_them(text, is_json):
    if not is_json:
        with pytest.raises(ValueError, match=r".+"):
            json.loads(text)
        with pytest.raises(ValueError, match=r".+"):
            json_lines._members(text)
        return
    members = json_lines._members(text)
    assert {key: value for key, value, _ in members} == json.loads(text)
    assert {key: json.loads(written) for key, _, written in members} == json.loads(text)


def test_a_number_of_5000_digits_is_a_number(tmp_path):
    rows = lines() + '{"text": "a", "price": ' + "9" * 5000 + "}\n"
    data = corpus.load(saved(tmp_path / "c.jsonl", rows.encode()))
    assert data.rejected[0].reason.startswith("price is infinite or above")


# Values that Python cannot hold


def buffers(kind, values):
    """Make an array from raw numbers, or strings from raw bytes, whatever Python thinks of them."""
    if kind in (pa.string(), pa.large_string()):
        return pa.array(values, pa.binary() if kind == pa.string() else pa.large_binary()).view(
            kind
        )
    width = pa.int32() if kind in (pa.date32(), pa.time32("s")) else pa.int64()
    return pa.array(values, width).view(kind)


BAD_TEXT = [text.encode() for text in TEXTS]
BAD_TEXT[7] = b"gr\xf6\xdfer"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), "dictionary"])
def test_a_bad_text_rejects_its_row(tmp_path, kind):
    held = buffers(pa.string() if kind == "dictionary" else kind, BAD_TEXT)
    path = table(
        tmp_path / "c.parquet", text=held.dictionary_encode() if kind == "dictionary" else held
    )
    data = corpus.load(path)
    assert [row[:2] for row in data.rejected] == [(8, "text is not UTF-8")]
    assert len(data.texts) == N - 1
    (chunk,) = chunks.stream(path, size=N)
    assert [place for place, reason in enumerate(chunk.reasons) if reason] == [7]


DAY, FAR = 20_000, 4_000_000  # days after 1970: in 2024, and in the year 12921
TIMES = {
    "date": (pa.date32(), DAY, FAR),
    "seconds": (pa.timestamp("s"), DAY * 86_400, FAR * 86_400),
    "zoned": (pa.timestamp("ms", "Europe/Berlin"), DAY * 86_400_000, FAR * 86_400_000),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_day_beyond_the_year_9999_rejects_its_row(tmp_path, name):
    kind, day, far = TIMES[name]
    step = day // DAY
    days = [day + i * step for i in range(N)]
    days[7] = far
    data = corpus.load(table(tmp_path / "c.parquet", sold=buffers(kind, days)), time_column="sold")
    assert [row[:2] for row in data.rejected] == [(8, "time is no value that Python can hold")]
    assert corpus.load(table(tmp_path / "d.parquet", sold=buffers(kind, days))).rejected == ()


def test_an_unknown_zone_rejects_the_rows_and_says_so(tmp_path):
    times = buffers(pa.timestamp("us", "Nowhere/Land"), list(range(N)))
    path = table(tmp_path / "c.parquet", sold=times)
    assert len(corpus.load(path).texts) == N
    with pytest.raises(InputError, match=r"120 × time is no value .*\n.*tz=Nowhere/Land"):
        corpus.load(path, time_column="sold")


UNASKED = {
    "bad text": buffers(pa.string(), BAD_TEXT),
    "far day": buffers(pa.date32(), [FAR] * N),
    "far time": buffers(pa.timestamp("s"), [2**45] * N),
    "no such zone": buffers(pa.timestamp("ns", "Nowhere/Land"), [1] * N),
    "time64": buffers(pa.time64("ns"), [2**62] * N),
    "duration": buffers(pa.duration("s"), [2**62] * N),
    "struct": pa.array([{"text": "x", "price": 1}] * N),
    "lists": pa.array([[b"\xff", None]] * N),
    "view": pa.array(TEXTS).cast(pa.string_view()),
    "fixed": pa.array([b"\xff\xfe"] * N, pa.binary(2)),
    "decimal": pa.array([Decimal("1e40")] * N, pa.decimal256(76, 3)),
    "half": pa.array([np.float16(0.1)] * N),
    "text.part": pa.array([1] * N),
}


@pytest.mark.parametrize("name", UNASKED)
def test_a_column_that_nobody_asked_for_costs_nothing(tmp_path, name):
    data = corpus.load(table(tmp_path / "c.parquet", **{name: UNASKED[name]}))
    assert (data.texts, data.prices.tolist(), data.rejected) == (TEXTS, PRICES, ())
    (chunk,) = chunks.stream(str(tmp_path / "c.parquet"), size=N)
    assert chunk.texts == TEXTS
    assert (
        chunk.table.column(name)
        .combine_chunks()
        .equals(UNASKED[name].cast(chunk.table.schema.field(name).type))
    )


def test_columns_of_one_name_matter_only_where_they_are_asked_for(tmp_path):
    held = [pa.array(TEXTS), pa.array(PRICES), pa.array(PRICES), pa.array(TEXTS)]
    named = pa.table(held, names=["text", "price", "note", "note"])
    parquet.write_table(named, tmp_path / "c.parquet")
    assert corpus.load(str(tmp_path / "c.parquet")).texts == TEXTS
    with pytest.raises(InputError, match="more than one column 'note'"):
        list(chunks.stream(str(tmp_path / "c.parquet")))


@pytest.mark.parametrize(
    "prices",
    [
        pa.array([Decimal(f"{price}00") for price in PRICES], pa.decimal128(20, 3)),
        pa.array([np.float16(price) for price in PRICES]),
        pa.array(PRICES, pa.float32()),
        pa.array([int(price) for price in PRICES], pa.uint64()),
        pa.array(PRICES).dictionary_encode(),
        pa.array(map(str, PRICES)),
    ],
    ids=lambda prices: str(prices.type),
)
def test_prices_of_any_kind_of_number(tmp_path, prices):
    assert corpus.load(table(tmp_path / "c.parquet", price=prices)).prices.tolist() == PRICES


def test_small_row_groups_make_even_batches(tmp_path):
    held = pa.table({"text": pa.array(TEXTS).dictionary_encode(), "price": PRICES})
    parquet.write_table(held, tmp_path / "c.parquet", row_group_size=7)
    found = list(chunks.stream(str(tmp_path / "c.parquet"), size=50))
    assert [len(chunk) for chunk in found] == [50, 50, 20]
    assert [text for chunk in found for text in chunk.texts] == TEXTS


# Groups


def test_equal_numbers_are_one_group():
    seven = [7, 7.0, Decimal("7"), Decimal("7.00"), np.float64(7)]
    assert len({fields.read_group(value) for value in seven}) == 1
    assert fields.read_group(7) == text_key("7")  # as ever: groups keep their parts
    assert fields.read_group(7.5) == fields.read_group(Decimal("7.50"))
    assert fields.read_group(10**400) != fields.read_group(math.inf)
    assert fields.read_group("7") != fields.read_group("7.0")
    huge = Decimal("12345678901234567890123456789.0")
    assert fields.read_group(huge) == fields.read_group(int(huge))


# Names and addresses


def test_a_tilde_is_the_users_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "cars.csv", delimited().encode())
    assert len(corpus.load("~/cars.csv").texts) == N
    config = cli.parse(evaluate.EvaluateConfig, ["--data=~/cars.csv", "--encoder=~/mine"])
    assert (config.data, config.encoder) == (f"{tmp_path}/cars.csv", f"{tmp_path}/mine")
    assert cli.parse(evaluate.EvaluateConfig, ["--text_column=~/x"]).text_column == "~/x"
    from entrypoints import finetune, scaling_study, score

    for kind, name in (
        (finetune.FinetuneConfig, "base_model"),
        (scaling_study.StudyConfig, "base_model"),
        (score.ScoreConfig, "model"),
        (score.ScoreConfig, "output"),
    ):
        assert getattr(cli.parse(kind, [f"--{name}=~/x"]), name) == f"{tmp_path}/x"
    assert cli.local_path("~no-such-user/x") == Path("~no-such-user/x")


def test_a_name_that_no_system_takes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"which cannot be opened .File name too long"):
        corpus.load(str(tmp_path / ("x" * 300 + ".csv")))
    with pytest.raises(InputError, match=r"data='caf\\udce9.csv', which is not UTF-8"):
        cli.parse(evaluate.EvaluateConfig, ["--data=caf\udce9.csv"])


@pytest.mark.parametrize("count", ["9" * 30, "9" * 5000, "10000001"])
def test_too_many_auctions_are_refused_at_once(count):
    with pytest.raises(InputError, match=r"from 100 to 10,000,000 .which take some 45 minutes"):
        corpus.load(f"auctions:{count}")


def test_a_hub_folder_with_a_script_says_why(tmp_path):
    (tmp_path / "scripted").mkdir()
    script = "import datasets\nclass X(datasets.GeneratorBasedBuilder):\n    pass\n"
    (tmp_path / "scripted" / "scripted.py").write_text(script)
    with pytest.raises(InputError, match=r"hub did not give .*scripts are no longer supported"):
        corpus.load(f"hf:{tmp_path}/scripted")


def test_a_hub_error_tells_its_cause(monkeypatch):
    def fails(name, split):
        try:
            raise PermissionError("the data set is gated")
        except PermissionError as cause:
            raise RuntimeError("An error occurred while generating the dataset") from cause

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(InputError, match="the data set is gated; An error occurred"):
        corpus.load("hf:me/cars")


def test_a_hub_data_set_keeps_its_columns_as_they_are(monkeypatch):
    day = [datetime.datetime(2024, 5, 1)] * N
    held = datasets.Dataset.from_dict({"text": TEXTS, "price": PRICES, "day": day})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: held)
    (chunk,) = chunks.stream("hf:me/cars", target_column="price", size=N)
    assert chunk.table.schema.field("day").type == held.data.schema.field("day").type
    assert chunk.prices.tolist() == PRICES


# Rejected rows


def test_the_share_of_bad_rows_is_a_parameter(tmp_path):
    bad = lines() + '{"text": "a", "price": "$5"}\n' * N
    path = saved(tmp_path / "cars.jsonl", bad.encode())
    assert len(corpus.load(path, max_rejected=0.5).rejected) == N
    with pytest.raises(InputError, match=r"at most 0.499 of the rows"):
        corpus.load(path, max_rejected=0.499)
    clean = saved(tmp_path / "clean.jsonl", lines().encode())
    assert corpus.load(clean, max_rejected=0).rejected == ()
    with pytest.raises(InputError, match=r"max_rejected=1.5"):
        cli.parse(evaluate.EvaluateConfig, ["--max_rejected=1.5"])


def test_rejected_rows_are_listed_also_where_they_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BAT_HOME", str(tmp_path / "home"))
    path = saved(tmp_path / "odd name.jsonl", (lines() + "{\n" * 50).encode())
    with pytest.raises(corpus.TooManyRejectedError) as caught:
        corpus.load(path)
    (listed,) = re.findall(r"all of them: (.*)\n", str(caught.value))
    rows = [json.loads(line) for line in Path(listed).read_text().splitlines()]
    assert rows == corpus.rejected_rows(caught.value.rejected)
    assert [row["line"] for row in rows] == list(range(N + 1, N + 51))
    blocked = saved(tmp_path / "file", b"")
    monkeypatch.setenv("BAT_HOME", blocked)
    with pytest.raises(InputError, match=r"50 of 170 rows .*(\n.*)+could not be written to"):
        corpus.load(path)


def test_a_failed_run_keeps_the_rejected_rows(tmp_path, store):
    path = saved(tmp_path / "cars.jsonl", (lines() + "{\n" * 50).encode())
    with pytest.raises(InputError), tracking.log_refusal("evaluate"):
        corpus.load(path)
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.status == "FAILED"
    kept = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/rejected.jsonl")
    assert len(kept.splitlines()) == 50
    assert "50 of 170 rows unusable" in run.data.tags["mlflow.note.content"]


# Progress


def test_reading_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(source_rows, "BAR_SECONDS", 0.0)
    path = saved(tmp_path / "cars.jsonl", lines().encode())
    corpus.load(path)
    assert "reading" in (said := capsys.readouterr().err)
    assert "100%" in said
    list(chunks.stream(path))
    assert capsys.readouterr().err == ""
    list(chunks.stream(table(tmp_path / "c.parquet"), label="counting rows"))
    assert "120/120" in capsys.readouterr().err
