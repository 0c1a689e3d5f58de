"""A corpus is read to the line, refused aloud, and split in a way that no later row changes."""

import csv
import gzip
import json
import random
import re
from collections import Counter
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bat import corpus
from bat.cli import InputError

N = 120  # rows of a small corpus: above the least number of texts


def plain(n=N):
    return [{"text": f"Car number {i}", "price": 100.0 + i} for i in range(n)]


def jsonl(path, rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return packed(path, "".join(line + "\n" for line in lines).encode())


def packed(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def loaded(tmp_path, rows, **settings):
    return corpus.load(jsonl(tmp_path / "cars.jsonl", rows), **settings)


def table(data):
    """All that a row says, without regard to order."""
    return sorted(zip(data.texts, data.prices, data.counts, data.parts, strict=True))


# Reading


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_corpus(tmp_path, kind, suffix):
    rows, path = plain(), tmp_path / f"cars{kind}{suffix}"
    if kind == ".jsonl":
        jsonl(path, rows)
    elif kind == ".csv":
        text = "text,price\r\n" + "".join(f'"{r["text"]}",{r["price"]}\r\n' for r in rows)
        packed(path, text.encode())
    else:
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist(rows), sink)
        packed(path, sink.getvalue().to_pybytes())
    data = corpus.load(str(path))
    assert data.name == path.name
    assert data.texts == [row["text"] for row in rows]
    assert data.prices.tolist() == [row["price"] for row in rows]
    assert data.lines.tolist() == list(range(2, N + 2) if kind == ".csv" else range(1, N + 1))
    assert data.digest == loaded(tmp_path, rows).digest
    assert (data.n_read, data.rejected, data.medians) == (N, (), None)


def test_a_hub_data_set_reads_its_train_split(monkeypatch):
    held = datasets.Dataset.from_list([{**row, "other": 1} for row in plain()])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: {"me/cars": held}[name])
    data = corpus.load("hf:me/cars")
    assert (data.name, len(data.texts), data.lines[-1]) == ("hf:me/cars", N, N)
    with pytest.raises(InputError, match="hf:me/cars without the column 'sum'"):
        corpus.load("hf:me/cars", price_column="sum")


def test_a_hub_that_does_not_answer_is_the_users_to_know(monkeypatch):
    def refuse(name, split):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"hub did not give \(no network\)"):
        corpus.load("hf:me/cars")


def test_the_built_in_corpus_brings_its_medians_along(monkeypatch):
    made = [SimpleNamespace(text=f"Car {i}", price=i + 1.0, median=i + 0.5) for i in range(N)]
    monkeypatch.setattr(corpus.auctions, "documents", lambda n: made[:n])
    data = corpus.load(f"auctions:{N}", limit=110)
    assert data.name == f"auctions:{N}"
    assert len(data.texts) == 110
    assert data.medians.tolist() == (data.prices - 0.5).tolist()


def test_csv_lines_are_those_on_which_records_start(tmp_path):
    rows = [("Two\nlines", 5), ('A "quoted", one', 6)] + [(f"Car {i}", i + 1) for i in range(N)]
    path = tmp_path / "cars.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([("text", "price"), *rows])
    content = path.read_bytes() + b"\r\nlast one,7\r\n"  # a blank line before it
    data = corpus.load(packed(path, content))
    assert data.texts[:2] == ["Two\nlines", 'A "quoted", one']
    assert data.lines[:3].tolist() == [2, 4, 5]
    assert data.lines[-1] == 1 + 2 + 1 + N + 2  # header, two-line record, quotes, cars, blank
    assert data.n_read == N + 3


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
def test_csv_lines_may_end_in_any_way(tmp_path, end):
    rows = [("Two\nlines, 5\nand more", 5)] + [(f"Car {i}", i + 1) for i in range(N)]
    path = tmp_path / "cars.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator=end).writerows([("text", "price"), *rows])
    data = corpus.load(str(path))
    assert data.rejected == ()
    assert data.n_read == N + 1
    each = 2 if end == "\r\r\n" else 1
    assert data.lines[:3].tolist() == [1 + each, 3 + 2 * each, 3 + 3 * each]


def test_a_carriage_return_outside_quotes_ends_a_line_and_is_told(tmp_path):
    text = "text,price\n" + "".join(f"Car {i},{i + 1}\n" for i in range(N)) + "Mazda\rMiata,5\n"
    data = corpus.load(packed(tmp_path / "cars.csv", text.encode()))
    told = "fields: 1, in the header: 2: Mazda"
    assert data.rejected == ((N + 2, "wrong number of fields", told),)
    assert "Miata" in data.texts


def test_a_csv_text_may_list_words_and_numbers(tmp_path):
    path = tmp_path / "cars.csv"
    listed = "A fine car:\nCylinders, 6\nDoors, 4\nOwners, 2\nBring money"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "price"), (listed, 5)])
        csv.writer(stream).writerows((f"Car {i}", i + 1) for i in range(N))
    assert listed in corpus.load(str(path)).texts
    index = tmp_path / "index.csv"
    with index.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("", "text"), (0, "1, red\n2, blue\n3, green\n4, white")])
    assert [row.reason for row in corpus.stream(str(index))] == [""]


def test_a_csv_text_may_be_long(tmp_path):
    long = "word, 5\n" * 40_000
    path = tmp_path / "cars.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([("text", "price", "id"), (long, 5, 0)])
        writer.writerows((f"Car {i}", i + 1, i) for i in range(N))
    data = corpus.load(str(path))
    assert max(map(len, data.texts)) == len(long.strip())


def test_jsonl_lines_count_blank_and_bad_ones(tmp_path):
    data = loaded(tmp_path, ["\ufeff" + json.dumps({"text": "a", "price": 1}), "", "{", *plain()])
    assert data.lines[:3].tolist() == [1, 4, 5]
    assert data.rejected == (corpus.Rejected(3, "not valid JSON", "{"),)
    assert data.n_read == N + 2


def test_columns_can_be_named(tmp_path):
    rows = [{"title": row["text"], "sold": row["price"], "text": 7} for row in plain()]
    data = loaded(tmp_path, rows, text_column="title", price_column="sold")
    assert data.texts[5] == "Car number 5"


# Bad rows

BAD = {
    "not a JSON object": "[1]",
    "not valid JSON": '{"text": "a" "price": 1}',
    "no field 'price'": {"text": "a"},
    "no field 'text'": {"price": 1},
    "text is not a string": {"text": 3, "price": 1},
    "text is not valid Unicode": '{"text": "a\\ud800", "price": 1}',
    "text is empty": {"text": " -\u00a0\n", "price": 1},
    "price is missing": {"text": "a", "price": None},
    "price is a string of spaces": {"text": "a", "price": " "},
    "price has a currency": {"text": "a", "price": "$12,000"},
    "price is true": {"text": "a", "price": True},
    "price is a list": {"text": "a", "price": [1]},
    "price is NaN": '{"text": "a", "price": NaN}',
    "price is infinite": '{"text": "a", "price": Infinity}',
    "price is huge": {"text": "a", "price": 1e300},
    "price is a huge integer": {"text": "a", "price": 10**400},
    "price is zero": {"text": "a", "price": 0},
    "price is negative": {"text": "a", "price": "-5"},
}
REASONS = {
    "price is a string of spaces": "price is missing",
    "price has a currency": "not a plain number .write 12000.50: no currency",
    "price is true": "price is not a number",
    "price is a list": "price is not a number",
    "price is NaN": "price is not a number",
    "price is infinite": "price is infinite or above 1e.15",
    "price is huge": "price is infinite or above 1e.15",
    "price is a huge integer": "price is infinite or above 1e.15",
    "price is zero": "price is not above zero",
    "price is negative": "price is not above zero",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_listed_with_line_and_reason(tmp_path, kind):
    data = loaded(tmp_path, [*plain(), BAD[kind]])
    assert len(data.texts) == N
    assert data.n_read == N + 1
    ((line, reason, excerpt),) = data.rejected
    assert line == N + 1
    assert 0 < len(excerpt) <= corpus.EXCERPT
    with pytest.raises(InputError, match=REASONS.get(kind, kind)):
        loaded(tmp_path, plain() + [BAD[kind]] * 7)
    with pytest.raises(InputError, match=re.escape(f"99 × {reason}")):
        loaded(tmp_path, plain(1) + [BAD[kind]] * 99)


@pytest.mark.parametrize("price", ["12000.50", " 12000.5 ", "1.20005e4", "+12000.5"])
def test_a_string_that_is_a_plain_number_is_a_price(tmp_path, price):
    assert loaded(tmp_path, [{"text": "a", "price": price}, *plain()]).prices[0] == 12000.5


@pytest.mark.parametrize("price", ["1_000", "nan", "inf", "１２", "0x10", "12,5", "12 000", "."])
def test_a_string_that_only_python_reads_as_a_number_is_none(tmp_path, price):
    data = loaded(tmp_path, [{"text": "a", "price": price}, *plain()])
    assert "not a plain number" in data.rejected[0].reason


def test_five_per_cent_of_bad_rows_pass_and_one_more_stops(tmp_path):
    bad = {"text": "a", "price": "$5"}
    assert len(loaded(tmp_path, [*plain(190), *[bad] * 10]).rejected) == 10
    message = (
        r"cars.jsonl with 11 of 200 rows unusable: 10 × price is not a plain .*; "
        r"1 × text is not a string\n    line 1: text is not a string: 5\n    line 191: .*'\$5'"
    )
    with pytest.raises(InputError, match=message):
        loaded(tmp_path, [{"text": 5, "price": 1}, *plain(189), *[bad] * 10])


def test_ragged_csv_rows_are_listed(tmp_path):
    text = "text,price\na,1,2\nb\n" + "".join(f"Car {i},{i + 1}\n" for i in range(N))
    data = corpus.load(packed(tmp_path / "cars.csv", text.encode() + b'"x"y,3\n'))
    assert data.rejected == (
        (2, "wrong number of fields", "fields: 3, in the header: 2: a,1,2"),
        (3, "wrong number of fields", "fields: 1, in the header: 2: b"),
        (
            N + 4,
            "broken CSV quotes (the lines after it may be parts of it)",
            "',' expected after '\"': \"x\"y,3",
        ),
    )
    assert data.n_read == N + 3


# Whole files that cannot be read

CSV = b"text,price\n" + b"".join(b"Car %d,%d\n" % (i, i + 1) for i in range(N))
FILES = {
    "empty.jsonl": (b"", "which holds no rows"),
    "blank.jsonl": (b"\n\n", "which holds no rows"),
    "empty.csv": (b"", "which holds no rows"),
    "header.csv": (b"text,price\n", "which holds no rows"),
    "cars.txt": (b"x", r"a file ending in .jsonl, .csv, .parquet \(also with .gz\)"),
    "cars.gz": (b"x", r"a file ending in .jsonl"),
    "utf16.csv": (CSV.decode().encode("utf-16"), "utf16.csv, UTF-16"),
    "latin.csv": (CSV + "Citroën,5\n".encode("latin-1"), "latin.csv, not UTF-8 on line 122"),
    "array.jsonl": (b'[{"text": "a", "price": 1}]', "one JSON value over the whole file"),
    "pretty.jsonl": (b'{\n"text": "a",\n"price": 1\n}\n', "JSON Lines: one object on each line"),
    "semicolon.csv": (CSV.replace(b",", b";"), "without the column 'text'\n.*found: 'text;price'"),
    "named.csv": (CSV.replace(b"text", b"title"), r"found: 'title', 'price'\n.*text_column=..."),
    "quote.csv": (CSV + b'"open,5\nCar,6\n', "record of line 122 is broken on line 123"),
    "long.csv": (CSV + b'"' + b"x\n" * 70_000, "record of line 122 .*unexpected end of data"),
    "header quote.csv": (b'text,"price\n' + CSV, "record of line 1 is broken on line 122"),
    "short swallow.csv": (
        CSV + b'"open,5\nCar 9 and more,6\nCar 10 and more,6\nwheels 19",7\n',
        "record of line 122 ends on line 125, while the lines between look like rows",
    ),
    "swallowed.csv": (
        CSV + b'"open,5\n' + b"Car 9 and more,6\n" * 40 + b'wheels 19",7\n',
        "record of line 122 ends on line 163, while the lines between look like rows",
    ),
    "twice.csv": (
        CSV.replace(b"text,price\n", b"price,price,text\n"),
        "more than one column 'price'",
    ),
    "bad.jsonl.gz": (b"not gzip", "unreadable after 0 rows .Not a gzipped file"),
    "cut.csv.gz": (gzip.compress(CSV * 9)[:-9], "unreadable after .* rows .Compressed file ended"),
    "bad.parquet": (b"PAR1 no", "bad.parquet, unreadable after row 0"),
    "few.csv": (b"".join(CSV.splitlines(True)[:100]), "99 distinct texts"),
    "one.csv": (b"text,price\n" + b"".join(b"Car %d,5\n" % i for i in range(N)), "one price 5 "),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used_says_why(tmp_path, name):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        corpus.load(str(tmp_path / name))
    assert "remedy" in str(caught.value)


def test_what_is_no_file_says_why(tmp_path):
    with pytest.raises(InputError, match="a folder"):
        corpus.load(str(tmp_path))
    with pytest.raises(InputError, match=r"no\.csv', which does not exist"):
        corpus.load(str(tmp_path / "no.csv"))
    for data in ("auctions:", "auctions:many", "auctions:99", "auctions:-5"):
        with pytest.raises(InputError, match=f"data='{data}'.*\n.*auctions:N"):
            corpus.load(data)


def test_parquet_without_the_column(tmp_path):
    parquet.write_table(pa.table({"title": ["a"], "price": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"without the column 'text'\n.*'title', 'price'"):
        corpus.load(str(tmp_path / "a.parquet"))


def test_settings_that_make_no_sense(tmp_path):
    with pytest.raises(InputError, match="limit=99"):
        loaded(tmp_path, plain(), limit=99)
    with pytest.raises(InputError, match="both 'text'"):
        loaded(tmp_path, plain(), price_column="text")


# Repeats


def test_same_text_same_price_is_one_row_counted(tmp_path):
    rows = [
        {"text": "Ｒed  CAR", "price": 5},  # full width R, two spaces
        {"text": "red car", "price": 5.0},
        {"text": " Red car\n", "price": 6},
        *plain(),
    ]
    data = loaded(tmp_path, rows)
    assert data.texts[:2] == ["Red car", "Red car"]  # first in code-point order of the three
    assert data.prices[:2].tolist() == [5.0, 6.0]
    assert data.counts[:3].tolist() == [2, 1, 1]
    assert data.lines[:3].tolist() == [1, 3, 4]
    assert data.text_ids[:4].tolist() == [0, 0, 1, 2]
    assert data.parts[0] == data.parts[1]


def test_digest_knows_rows_and_not_their_order(tmp_path):
    rows = [*plain(), {"text": "Car number 3", "price": 103.0}]
    data = loaded(tmp_path, rows)
    mixed = loaded(tmp_path, random.Random(0).sample(rows, len(rows)))
    assert data.digest == mixed.digest
    assert table(data) == table(mixed)
    assert data.digest != loaded(tmp_path, plain()).digest  # a count differs
    rows[7] = {"text": rows[7]["text"], "price": 107.5}
    assert data.digest != loaded(tmp_path, rows).digest
    moved = np.where(data.parts == "test", "train", data.parts)
    assert corpus.with_parts(data, moved).digest != data.digest
    assert corpus.with_parts(data, data.parts).digest == data.digest


# Parts


def test_shares_of_the_parts(tmp_path):
    n = 20_000
    found = Counter(corpus.part_of(f"Car number {i}") for i in range(n))
    for part, share in {"train": 0.64, "validation": 0.08, "calibration": 0.08}.items():
        assert abs(found[part] / n - share) < 4 * (share * (1 - share) / n) ** 0.5
    assert abs(found["test"] / n - 0.2) < 4 * (0.2 * 0.8 / n) ** 0.5
    assert sum(found.values()) == n


def test_parts_are_fixed_for_good():
    # Made with part_of: another salt or normal form would change every user's test part.
    others = {6: "calibration", 11: "test"}
    assert [corpus.part_of(f"Car {i}") for i in range(12)] == [
        others.get(i, "train") for i in range(12)
    ]
    assert corpus.part_of("CAR  ３ ") == corpus.part_of("car 3")


def test_added_rows_move_none(tmp_path):
    before = loaded(tmp_path, plain(1000))
    after = loaded(tmp_path, [*plain(3000)[::-1], {"text": "Car number 5", "price": 1}])
    parts = dict(zip(after.texts, after.parts, strict=True))
    assert all(parts[t] == p for t, p in zip(before.texts, before.parts, strict=True))


def test_rows_of_a_part(tmp_path):
    data = loaded(tmp_path, plain(1000))
    found = np.concatenate([corpus.rows(data, part) for part in corpus.PARTS])
    assert sorted(found) == list(range(1000))
    assert set(data.parts[corpus.rows(data, "test")]) == {"test"}
    assert len(corpus.rows(data, corpus.ASIDE)) == 0
    with pytest.raises(ValueError, match="got part 'tset', expected one of train"):
        corpus.rows(data, "tset")


def test_a_group_shares_a_part(tmp_path):
    rows = [{**row, "seller": f"S{i % 120}"} for i, row in enumerate(plain(900))]
    data = loaded(tmp_path, rows, group_column="seller")
    for i in range(900):
        assert data.parts[i] == corpus.part_of(f"S{i % 120}")
    with pytest.raises(InputError, match=r"with \d rows in the .* part\n.*\n.*smaller groups"):
        loaded(tmp_path, [{**row, "seller": "A"} for row in plain()], group_column="seller")
    groups = [data.group_ids[data.lines == line].item() for line in range(1, len(rows) + 1)]
    sellers = [row["seller"] for row in rows]
    assert len(set(zip(groups, sellers, strict=True))) == len(set(groups)) == len(set(sellers))
    assert data.parts_by == "group_column=seller"
    by_text = loaded(tmp_path, rows)
    assert by_text.parts_by == "text"
    assert by_text.group_ids.tolist() == by_text.text_ids.tolist()
    for none in (" ", None, float("nan")):
        bad = [{"text": "a", "price": 1, "seller": none}, *rows]
        refused = loaded(tmp_path, bad, group_column="seller").rejected
        assert refused[0].reason == "group is missing"
    with pytest.raises(InputError, match=r"text_column=..., price_column=..., group_column=..."):
        loaded(tmp_path, [{**row, "seller": ""} for row in rows], group_column="seller")


def test_parts_that_no_study_can_use_are_refused_before_it_starts(tmp_path):
    parts = {name: [] for name in corpus.PARTS}
    for number in range(400):
        parts[corpus.part_of(f"S{number}")].append(f"S{number}")
    sellers = [
        *parts["train"][:3],
        *(s for name in corpus.PARTS if name != "train" for s in parts[name]),
    ]
    rows = [
        {**row, "seller": sellers[i % len(sellers)]}
        for i, row in enumerate(plain(4 * len(sellers)))
    ]
    with pytest.raises(InputError, match=r"3 groups of rows in the train part\n.*at least 4"):
        loaded(tmp_path, rows, group_column="seller")
    few = [*(s for name in corpus.PARTS if name != "test" for s in parts[name]), *parts["test"][:9]]
    rows = [{**row, "seller": few[i % len(few)]} for i, row in enumerate(plain(4 * len(few)))]
    with pytest.raises(InputError, match=r"9 groups of rows in the test part\n.*at least 10"):
        loaded(tmp_path, rows, group_column="seller")
    same = [
        {**row, "price": 5 if corpus.part_of(row["text"]) == "test" else row["price"]}
        for row in plain()
    ]
    with pytest.raises(InputError, match="one price, 5, in the test part"):
        loaded(tmp_path, same)


def test_a_text_in_two_groups_stays_in_the_stricter_part(tmp_path):
    sellers = {corpus.part_of(f"S{i}"): f"S{i}" for i in range(120)}
    rows = [{**row, "seller": f"S{i % 120}"} for i, row in enumerate(plain(900))]
    twice = [
        {"text": "The same", "price": 5, "seller": sellers["train"]},
        {"text": "the same", "price": 5, "seller": sellers["test"]},
        {"text": "the same", "price": 6, "seller": sellers["train"]},
        {"text": "the same", "price": 5, "seller": sellers["test"]},
    ]
    data = loaded(tmp_path, [*twice, *rows], group_column="seller")
    assert data.parts[:3].tolist() == ["aside", "test", "aside"]
    assert data.counts[:3].tolist() == [1, 2, 1]


def test_a_text_in_two_groups_of_a_part_stays_in_one(tmp_path):
    training = [f"S{i}" for i in range(200) if corpus.part_of(f"S{i}") == "train"]
    rows = [{**row, "seller": f"S{i % 120}"} for i, row in enumerate(plain(900))]
    twice = [{"text": "The same", "price": 5 + i, "seller": training[i]} for i in range(3)]
    data = loaded(tmp_path, [*rows, *twice], group_column="seller")
    mine = data.group_ids[[text == "The same" for text in data.texts]]
    assert len(mine) == 3
    assert len(set(mine.tolist())) == 1


@pytest.mark.parametrize(
    "when",
    [
        lambda i: i,
        lambda i: f"{i}",
        lambda i: f"{2000 + i // 12}-{i % 12 + 1:02}-01",
        lambda i: f"2024-05-31T{i // 60:02}:{i % 60:02}:00Z",
    ],
)
def test_train_comes_first_and_test_last(tmp_path, when):
    times = [78 if 78 <= i <= 82 else i for i in range(100)]  # five rows of one time
    rows = [{**row, "sold": when(time)} for row, time in zip(plain(100), times, strict=True)]
    data = loaded(tmp_path, random.Random(0).sample(rows, 100), time_column="sold")
    place = {row["text"]: i for i, row in enumerate(rows)}
    parts = [part for _, part in sorted(zip(map(place.get, data.texts), data.parts, strict=True))]
    wanted = ["train"] * 64 + ["validation"] * 8 + ["calibration"] * 11 + ["test"] * 17
    assert parts == wanted


def test_a_text_sold_again_later_is_tested_and_not_tuned_on(tmp_path):
    rows = [{**row, "sold": i} for i, row in enumerate(plain(200))]
    again = {**rows[0], "sold": 1000}
    data = loaded(tmp_path, [*rows, again], time_column="sold")
    mine = data.parts[[text == again["text"] for text in data.texts]]
    assert mine.tolist() == ["aside", "test"]


def test_times_that_cannot_be_compared_are_refused(tmp_path):
    rows = [{**row, "sold": i} for i, row in enumerate(plain())]
    bad = loaded(tmp_path, [*rows, {"text": "a", "price": 1, "sold": "May"}], time_column="sold")
    assert bad.rejected[0].reason.startswith("time is neither a number nor an ISO date")
    missing = loaded(tmp_path, [*rows, {"text": "a", "price": 1, "sold": None}], time_column="sold")
    assert missing.rejected[0].reason == "time is missing or no time"
    for huge in (10**400, "1e999", float("inf"), float("nan")):
        bad = loaded(tmp_path, [*rows, {"text": "a", "price": 1, "sold": huge}], time_column="sold")
        assert bad.rejected[0].reason == "time is missing or not finite"
    with pytest.raises(InputError, match="date as time on line 121 and a number on line 1"):
        loaded(
            tmp_path, [*rows, {"text": "a", "price": 1, "sold": "2024-05-31"}], time_column="sold"
        )
    with pytest.raises(InputError, match="at most one of them"):
        loaded(tmp_path, rows, time_column="sold", group_column="price")


def test_limit_is_stable_nested_and_apart_from_the_parts(tmp_path):
    small, large = (loaded(tmp_path, plain(4000), limit=n) for n in (1000, 2000))
    assert len(small.texts) == 1000
    assert set(small.texts) < set(large.texts)
    assert small.lines.tolist() == sorted(small.lines)
    assert small.text_ids.tolist() == list(range(1000))
    share = (large.parts == "test").mean()
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5  # a hash shared with parts gives 0
    assert loaded(tmp_path, plain(4000)[::-1], limit=1000).digest == small.digest
    more = set(loaded(tmp_path, plain(5000), limit=1000).texts)
    assert more - {f"Car number {i}" for i in range(4000, 5000)} < set(small.texts)
    assert loaded(tmp_path, plain(), limit=N + 1).digest == loaded(tmp_path, plain()).digest


# Subsets


def test_tuning_order_hangs_on_seed_and_text_alone(tmp_path):
    rows = [*plain(600), {"text": "car number 5", "price": 1}]
    data, mixed = loaded(tmp_path, rows), loaded(tmp_path, rows[::-1])
    order = corpus.tuning_texts(data, seed=0)
    texts = [data.texts[i] for i in order]
    assert texts == [mixed.texts[i] for i in corpus.tuning_texts(mixed, seed=0)]
    assert sorted(texts) == sorted({data.texts[i] for i in corpus.rows(data, "train")})
    other = [data.texts[i] for i in corpus.tuning_texts(data, seed=1)]
    assert texts != other
    assert sorted(texts) == sorted(other)
    fewer = loaded(tmp_path, plain(300))
    kept = [fewer.texts[i] for i in corpus.tuning_texts(fewer, seed=0)]
    assert [t for t in texts if t in set(kept)] == kept


def test_tuning_on_all_texts_takes_each_once(tmp_path):
    data = loaded(tmp_path, [*plain(600), {"text": "car number 5", "price": 1}])
    assert sorted(corpus.tuning_texts(data, seed=0, finetune_on="all")) == list(range(600))
    with pytest.raises(InputError, match="finetune_on='test'"):
        corpus.tuning_texts(data, seed=0, finetune_on="test")


def test_sizes_are_shares_or_counts():
    assert corpus.parse_sizes("1.0, 0,0.25,0.5,0.1,2500,300", 10_000) == (
        (0, 300, 1000, 2500, 5000, 10_000)
    )
    assert corpus.subset_size(1, 300, "documents=1") == 300
    assert corpus.subset_size(256, 300, "documents=256") == 256


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("0,1.5", r"a subset size of 1.5 in sizes=0,1.5\n.*a share up to 1, or a whole"),
        ("-1", "a subset size of -1 in sizes=-1\n"),
        ("nan", "a subset size of nan in sizes=nan\n"),
        ("inf", "a subset size of inf in sizes=inf\n"),
        ("0,a", "got 'a' in sizes='0,a'\n"),
        ("", "got '' in sizes=''\n"),
        ("100", "which is 100 of 10,000 documents\n.*at least 256"),
        ("0.01", "a subset size of 0.01 in sizes=0.01, which is 100 of 10,000 documents"),
        ("20000", "20,000 documents in sizes=20000\n.*at most the 10,000 distinct texts"),
    ],
)
def test_what_is_no_size_says_why(sizes, message):
    with pytest.raises(InputError, match=message):
        corpus.parse_sizes(sizes, 10_000)


# What an encoder has seen


def test_a_row_digest_is_equal_for_spellings_of_one_text():
    one, two, three = corpus.row_digests(["Red car", "red  CAR", "blue car"])
    assert one == two != three
    assert len(one) == 16
