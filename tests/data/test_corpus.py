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

from bat.cli import InputError
from bat.data import chunks, corpus, rows, subsets
from bat.data.auctions import generator
from bat.data.texts import EXCERPT, text_key

N = 120  # rows of a small corpus: above the least number of texts


def plain(n=N):
    return [{"text": f"Car number {i}", "price": 100.0 + i} for i in range(n)]


def auctions(n):
    """Texts of the built-in corpus, whose templates they share."""
    return [document.text for document in generator.documents(n)]


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
        corpus.load("hf:me/cars", target_column="sum")


def test_a_hub_that_does_not_answer_is_the_users_to_know(monkeypatch):
    def refuse(name, split):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"hub did not give \(no network\)"):
        corpus.load("hf:me/cars")


def test_the_built_in_corpus_brings_its_medians_along(monkeypatch):
    made = [SimpleNamespace(text=f"Car {i}", price=i + 1.0, median=i + 0.5) for i in range(N)]
    monkeypatch.setattr(generator, "documents", lambda n: made[:n])
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
    assert [chunk.reasons for chunk in chunks.stream(str(index))] == [[""]]


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
    assert data.rejected == (rows.Rejected(3, "not valid JSON", "{"),)
    assert data.n_read == N + 2


def test_columns_can_be_named(tmp_path):
    rows = [{"title": row["text"], "sold": row["price"], "text": 7} for row in plain()]
    data = loaded(tmp_path, rows, text_column="title", target_column="sold")
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
    assert 0 < len(excerpt) <= EXCERPT
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
    "cars.txt": (b"x", r"a file ending in .jsonl, .csv, .parquet, .ndjson, .tsv \(also"),
    "cars.gz": (b"x", r"a file ending in .jsonl"),
    "utf16.csv": (CSV.decode().encode("utf-16")[:-1], "utf16.csv, UTF-16 that breaks off"),
    "latin.csv": (
        CSV.replace(b"Car", b"Citro\xebn"),
        r"latin.csv .*120 × not UTF-8 .*\n    line 2: ",
    ),
    "array.jsonl": (b'[{"text": "a", "price": 1}]', "one JSON value over the whole file"),
    "pretty.jsonl": (b'{\n"text": "a",\n"price": 1\n}\n', "JSON Lines: one object on each line"),
    "semicolon.csv": (
        CSV.replace(b",", b";").replace(b"text", b"title"),
        "without the column 'text'\n.*found: 'title;price'",
    ),
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
        loaded(tmp_path, plain(), target_column="text")


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
    moved = np.where(data.parts == "held_out", "train", data.parts)
    assert corpus.with_parts(data, moved).digest != data.digest
    assert corpus.with_parts(data, data.parts).digest == data.digest


# Parts


def test_shares_of_the_parts(tmp_path):
    n = 20_000
    found = Counter(corpus.part_of(text_key(f"Car number {i}")) for i in range(n))
    assert abs(found["train"] / n - 0.64) < 4 * (0.64 * 0.36 / n) ** 0.5
    assert found["train"] + found["held_out"] == n


def test_parts_are_fixed_for_good():
    # Made with part_of: another salt or normal form would change every user's parts.
    held_out = [2, 7, 11]
    assert [i for i in range(12) if corpus.part_of(text_key(f"Car {i}")) == "held_out"] == held_out
    assert corpus.part_of(text_key("CAR  ３ ")) == corpus.part_of(text_key("car 3"))


def test_twins_with_a_tenth_of_the_words_replaced_share_a_part(tmp_path):
    draw = random.Random(0)
    texts = auctions(1000)
    words = [word for text in texts for word in text.split()]
    twins = []
    for at, text in enumerate(texts):
        spelt = text.split()
        for place in draw.sample(range(len(spelt)), round((0.05, 0.1)[at % 2] * len(spelt))):
            spelt[place] = draw.choice(words)
        twins.append(" ".join(spelt))
    both = [{"text": text, "price": 100 + at} for at, text in enumerate(texts + twins)]
    data = loaded(tmp_path, both)
    assert len(data.texts) == 2000
    assert data.parts[:1000].tolist() == data.parts[1000:].tolist()
    assert data.group_ids[:1000].tolist() == data.group_ids[1000:].tolist()
    assert len(set(data.group_ids.tolist())) == 1000
    assert not data.near_cut.any()


def test_added_rows_move_none_but_those_whose_groups_they_join(tmp_path):
    texts = auctions(900)
    texts += [text.replace(" the ", " a ", 2) + " Sold as is." for text in texts[:300]]
    rows = [{"text": text, "price": 100 + at} for at, text in enumerate(texts)]
    before = loaded(tmp_path, rows[:1000])
    after = loaded(tmp_path, random.Random(0).sample(rows, len(rows)))
    was = dict(zip(before.texts, before.parts.tolist(), strict=True))
    joined = set(after.group_ids[[text not in was for text in after.texts]].tolist())
    moved = 0
    for text, part, group in zip(after.texts, after.parts, after.group_ids, strict=True):
        if text in was and group not in joined:
            assert was[text] == part
        elif text in was:
            moved += was[text] != part
    assert len(joined) == 200
    # The new one of two texts is the least once in two times, and the part another 0.46 of these.
    assert moved / 200 == pytest.approx(0.5 * 0.46, abs=4 * (0.23 * 0.77 / 200) ** 0.5)


def test_added_rows_move_none(tmp_path):
    before = loaded(tmp_path, plain(1000))
    after = loaded(tmp_path, [*plain(3000)[::-1], {"text": "Car number 5", "price": 1}])
    parts = dict(zip(after.texts, after.parts, strict=True))
    assert all(parts[t] == p for t, p in zip(before.texts, before.parts, strict=True))


def test_rows_of_a_part(tmp_path):
    data = loaded(tmp_path, plain(1000))
    found = np.concatenate([corpus.rows(data, part) for part in corpus.PARTS])
    assert sorted(found) == list(range(1000))
    assert set(data.parts[corpus.rows(data, "held_out")]) == {"held_out"}
    with pytest.raises(ValueError, match="got part 'tset', expected one of train"):
        corpus.rows(data, "tset")


def test_a_group_shares_a_part(tmp_path):
    rows = [{**row, "seller": f"S{i % 120}"} for i, row in enumerate(plain(900))]
    data = loaded(tmp_path, rows, group_column="seller")
    for i in range(900):
        assert data.parts[i] == corpus.part_of(text_key(f"S{i % 120}"))
    with pytest.raises(InputError, match=r"with \d rows in the .* part\n.*\n.*smaller groups"):
        loaded(tmp_path, [{**row, "seller": "A"} for row in plain()], group_column="seller")
    groups = [data.group_ids[data.lines == line].item() for line in range(1, len(rows) + 1)]
    sellers = [row["seller"] for row in rows]
    assert len(set(zip(groups, sellers, strict=True))) == len(set(groups)) == len(set(sellers))
    assert data.parts_by == "group_column=seller, protocol 2"
    by_text = loaded(tmp_path, rows)
    assert by_text.parts_by == f"text, protocol {corpus.PROTOCOL}"
    assert by_text.group_ids.tolist() == by_text.text_ids.tolist()
    for none in (" ", None, float("nan")):
        bad = [{"text": "a", "price": 1, "seller": none}, *rows]
        refused = loaded(tmp_path, bad, group_column="seller").rejected
        assert refused[0].reason == "group is missing"
    with pytest.raises(InputError, match=r"text_column=..., target_column=..., group_column=..."):
        loaded(tmp_path, [{**row, "seller": ""} for row in rows], group_column="seller")


def sellers_of_part(n=400):
    parts = {name: [] for name in corpus.PARTS}
    for number in range(n):
        parts[corpus.part_of(text_key(f"S{number}"))].append(f"S{number}")
    return parts["train"], parts["held_out"]


def test_parts_that_no_study_can_use_are_refused_before_it_starts(tmp_path):
    train, held_out = sellers_of_part()

    def rows_of(sellers):
        return [
            {**row, "seller": sellers[i % len(sellers)]}
            for i, row in enumerate(plain(4 * len(sellers)))
        ]

    with pytest.raises(InputError, match=r"3 groups of rows in the train part\n.*at least 5"):
        loaded(tmp_path, rows_of([*train[:3], *held_out]), group_column="seller")
    with pytest.raises(InputError, match=r"9 groups of rows in the held_out part\n.*at least 10"):
        loaded(tmp_path, rows_of([*train, *held_out[:9]]), group_column="seller")
    same = [
        {**row, "price": 5 if corpus.part_of(text_key(row["text"])) == "held_out" else row["price"]}
        for row in plain()
    ]
    with pytest.raises(InputError, match="one price, 5, in the held_out part"):
        loaded(tmp_path, same)


def test_a_text_of_two_sellers_joins_them(tmp_path):
    train, held_out = (each[0] for each in sellers_of_part())
    rows = [{**row, "seller": f"S{i % 120}"} for i, row in enumerate(plain(900))]
    twice = [
        {"text": "The same", "price": 5, "seller": train},
        {"text": "the same", "price": 5, "seller": held_out},
        {"text": "the same", "price": 6, "seller": train},
    ]
    data = loaded(tmp_path, [*twice, *rows], group_column="seller")
    assert data.counts[:2].tolist() == [2, 1]
    joined = data.group_ids == data.group_ids[0]
    sellers = {rows[line - 4]["seller"] for line in data.lines[joined] if line > 3}
    assert sellers == {train, held_out}
    assert len(set(data.group_ids.tolist())) == 119
    expected = corpus.part_of(min(text_key(train), text_key(held_out)))
    assert set(data.parts[joined]) == {expected}


def test_near_repeats_of_two_sellers_join_them(tmp_path):
    texts = auctions(600)
    rows = [
        {"text": text, "price": 100 + at, "seller": f"S{at % 30}"} for at, text in enumerate(texts)
    ]
    again = {"text": f"{texts[0]} Sold.", "price": 99, "seller": "S7"}
    data = loaded(tmp_path, [*rows, again], group_column="seller")
    sellers = [row["seller"] for row in [*rows, again]]
    joined = data.group_ids == data.group_ids[0]
    assert {sellers[line - 1] for line in data.lines[joined]} == {"S0", "S7"}
    assert joined.sum() == 41
    assert len(set(data.group_ids.tolist())) == 29
    assert set(data.parts[joined]) == {corpus.part_of(min(text_key("S0"), text_key("S7")))}


@pytest.mark.parametrize(
    "when",
    [
        lambda i: i,
        lambda i: f"{i}",
        lambda i: f"{2000 + i // 12}-{i % 12 + 1:02}-01",
        lambda i: f"2024-05-31T{i // 60:02}:{i % 60:02}:00Z",
    ],
)
def test_train_comes_first_in_time(tmp_path, when):
    times = [62 if 62 <= i <= 66 else i for i in range(100)]  # five rows of one time
    rows = [{**row, "sold": when(time)} for row, time in zip(plain(100), times, strict=True)]
    data = loaded(tmp_path, random.Random(0).sample(rows, 100), time_column="sold")
    place = {row["text"]: i for i, row in enumerate(rows)}
    parts = [part for _, part in sorted(zip(map(place.get, data.texts), data.parts, strict=True))]
    assert parts == ["train"] * 67 + ["held_out"] * 33


def test_a_text_sold_again_later_is_held_out_and_not_tuned_on(tmp_path):
    rows = [{**row, "sold": i} for i, row in enumerate(plain(200))]
    again = [{**rows[0], "sold": 1000}, {**rows[1], "sold": 1001, "price": 7}]
    data = loaded(tmp_path, [*rows, *again], time_column="sold")
    assert data.texts[:2] == [row["text"] for row in again]
    assert data.parts[:4].tolist() == ["held_out", "held_out", "train", "train"]
    assert data.parts[-1] == "held_out"
    assert data.cut == ("129", "130")


def test_a_group_across_the_cut_in_time_is_held_out(tmp_path):
    texts = auctions(200)
    rows = [
        {"text": text, "price": 100 + at, "sold": at, "seller": at % 100}
        for at, text in enumerate(texts)
    ]
    again = {"text": f"{texts[128]} Sold.", "price": 99, "sold": 500, "seller": 100}
    data = loaded(tmp_path, [*rows, again], time_column="sold")
    late = np.flatnonzero(data.parts == "held_out").tolist()
    assert late == [128, *range(129, 201)]
    assert data.cut == ("127", "129")
    assert data.parts_by == "time_column=sold, protocol 2"
    both = loaded(tmp_path, [*rows, again], time_column="sold", group_column="seller")
    # Sellers 29 to 99 have a row after the cut, and seller 28 a near repeat after it.
    late = np.flatnonzero(both.parts == "held_out").tolist()
    assert late == sorted([*range(28, 100), *range(128, 201)])
    assert both.parts_by == "group_column=seller, time_column=sold, protocol 2"


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
    both = loaded(tmp_path, rows, time_column="sold", group_column="price")
    assert both.parts_by.startswith("group_column=price, time_column=sold")


def test_limit_is_stable_nested_and_apart_from_the_parts(tmp_path):
    small, large = (loaded(tmp_path, plain(4000), limit=n) for n in (1000, 2000))
    assert len(small.texts) == 1000
    assert set(small.texts) < set(large.texts)
    assert small.lines.tolist() == sorted(small.lines)
    assert small.text_ids.tolist() == list(range(1000))
    share = (large.parts == "held_out").mean()
    assert abs(share - 0.36) < 4 * (0.36 * 0.64 / 2000) ** 0.5  # a hash shared with parts gives 0
    assert loaded(tmp_path, plain(4000)[::-1], limit=1000).digest == small.digest
    more = set(loaded(tmp_path, plain(5000), limit=1000).texts)
    assert more - {f"Car number {i}" for i in range(4000, 5000)} < set(small.texts)
    assert loaded(tmp_path, plain(), limit=N + 1).digest == loaded(tmp_path, plain()).digest


def test_groups_are_made_of_the_rows_that_are_kept(tmp_path):
    texts = auctions(400)
    texts += [f"{text} Sold." for text in texts]
    rows = [{"text": text, "price": 100 + at} for at, text in enumerate(texts)]
    small = loaded(tmp_path, rows, limit=400)
    kept = [row for row in rows if row["text"] in set(small.texts)]
    alone = loaded(tmp_path, kept)
    assert alone.parts.tolist() == small.parts.tolist()
    assert alone.group_ids.tolist() == small.group_ids.tolist()
    assert 250 < len(set(small.group_ids.tolist())) < 350
    cut = corpus.limited(loaded(tmp_path, rows), 400)
    assert cut.texts == small.texts
    assert len(cut.near_ids) == len(cut.near_cut) == 400


# Subsets


def test_tuning_order_hangs_on_seed_and_text_alone(tmp_path):
    rows = [*plain(600), {"text": "car number 5", "price": 1}]
    data, mixed = loaded(tmp_path, rows), loaded(tmp_path, rows[::-1])
    order = subsets.tuning_texts(data, seed=0)
    texts = [data.texts[i] for i in order]
    assert texts == [mixed.texts[i] for i in subsets.tuning_texts(mixed, seed=0)]
    assert sorted(texts) == sorted({data.texts[i] for i in corpus.rows(data, "train")})
    other = [data.texts[i] for i in subsets.tuning_texts(data, seed=1)]
    assert texts != other
    assert sorted(texts) == sorted(other)
    fewer = loaded(tmp_path, plain(300))
    kept = [fewer.texts[i] for i in subsets.tuning_texts(fewer, seed=0)]
    assert [t for t in texts if t in set(kept)] == kept


def test_tuning_on_all_texts_takes_each_once(tmp_path):
    data = loaded(tmp_path, [*plain(600), {"text": "car number 5", "price": 1}])
    assert sorted(subsets.tuning_texts(data, seed=0, finetune_on="all")) == list(range(600))
    with pytest.raises(InputError, match="finetune_on='test'"):
        subsets.tuning_texts(data, seed=0, finetune_on="test")


def test_sizes_are_shares_or_counts():
    assert subsets.parse_sizes("1.0, 0,0.25,0.5,0.1,2500,300", 10_000) == (
        (0, 300, 1000, 2500, 5000, 10_000)
    )
    assert subsets.subset_size(1, 300, "documents=1") == 300
    assert subsets.subset_size(256, 300, "documents=256") == 256


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("0,1.5", r"a subset size of 1.5 in sizes=0,1.5\n.*a share up to 1, or a whole"),
        ("-1", "a subset size of -1 in sizes=-1\n"),
        ("nan", "a subset size of nan in sizes=nan\n"),
        ("inf", "a subset size of inf in sizes=inf\n"),
        ("0,a", "got 'a' in sizes='0,a'\n"),
        ("", "got '' in sizes=''\n"),
        ("100", "a subset size of 100 documents in sizes=100\n.*at least 256"),
        ("0,0.5,0.50", "'0.50' twice in sizes='0,0.5,0.50'\n"),
        ("0.01", "a subset size of 0.01 in sizes=0.01, which is 100 of 10,000 documents"),
        ("20000", "20,000 documents in sizes=20000\n.*at most the 10,000 distinct texts"),
    ],
)
def test_what_is_no_size_says_why(sizes, message):
    with pytest.raises(InputError, match=message):
        subsets.parse_sizes(sizes, 10_000)


# What an encoder has seen


def test_a_row_digest_is_equal_for_spellings_of_one_text():
    one, two, three = corpus.row_digests(["Red car", "red  CAR", "blue car"])
    assert one == two != three
    assert len(one) == 16
