"""Each detector finds what was planted, and nothing where nothing was."""

import dataclasses
import random
import re

import numpy as np
import pytest

from bat.data import checks, corpus
from bat.data.texts import text_key

VOCABULARY = [f"word{i}" for i in range(2000)]


def sentences(n, seed=0, n_words=40):
    draw = random.Random(seed)
    return [" ".join(draw.choices(VOCABULARY, k=n_words)) for _ in range(n)]


def made(texts, prices=None, near=None, parts=None, **fields):
    """A corpus of these rows, the parts by the texts if none are given; ``near``: near repeats."""
    texts = list(texts)
    n = len(texts)
    ids = {}
    text_ids = np.array([ids.setdefault(text_key(t), len(ids)) for t in texts])
    return corpus.Corpus(
        name="made",
        texts=texts,
        prices=np.array(prices if prices is not None else range(1, n + 1), float),
        counts=np.ones(n, int),
        lines=np.arange(1, n + 1),
        text_ids=text_ids,
        group_ids=text_ids,
        parts=np.array(parts or [corpus.part_of(text_key(t)) for t in texts]),
        parts_by="text",
        rejected=(),
        n_read=n,
        digest="",
        medians=None,
        near_ids=text_ids if near is None else np.array(near),
        near_cut=np.zeros(n, bool),
        **fields,
    )


# Repeats


def test_near_repeats_are_counted_and_listed():
    texts = sentences(200)
    near = [*range(200)]
    near[7] = near[9] = near[3]
    near[50] = near[40]
    assert checks.near_repeats(made(texts)) == []
    (finding,) = checks.near_repeats(made(texts, near=near))
    assert (finding.severity, finding.count) == ("note", 5)
    assert finding.message.startswith("5 of 200 rows (2.5%) nearly repeat others, in 2 groups")
    assert finding.examples == (
        (8, f"like line 4: {texts[7][:80]}"),
        (51, f"like line 41: {texts[50][:80]}"),
    )
    listed = checks.near_repeat_rows(made(texts, near=near))
    assert [(row["group"], row["rows"], row["line"]) for row in listed] == [
        (1, 3, 4), (1, 3, 8), (1, 3, 10), (2, 2, 41), (2, 2, 51),
    ]  # fmt: skip
    assert listed[0]["text"] == texts[3][:80]


def test_one_text_at_two_prices_is_no_near_repeat():
    data = made([*sentences(100), sentences(1)[0]])
    assert data.text_ids[100] == data.text_ids[0]
    assert checks.near_repeats(data) == checks.near_repeat_rows(data) == []


def test_many_near_repeats_are_warned_of():
    near = [at // 2 for at in range(22)] + [*range(11, 189)]
    (finding,) = checks.near_repeats(made(sentences(200), near=near))
    assert (finding.severity, finding.count) == ("warning", 22)
    assert "name a group_column" in finding.message


def test_texts_stay_out_of_the_lists_where_they_may_not_be_shown():
    near = [0, 0, *range(1, 199)]
    data = made(sentences(200), near=near, show_texts=False)
    (finding,) = checks.near_repeats(data)
    assert finding.examples == ((2, f"like line 1: {corpus.HIDDEN}"),)
    assert {row["text"] for row in checks.near_repeat_rows(data)} == {corpus.HIDDEN}


def test_groups_that_were_cut_are_warned_of(tmp_path):
    assert checks.cut_groups(made(sentences(200))) == []
    texts = sentences(200)
    (chain,) = sentences(1, seed=1)
    for at in range(15):  # each three words of forty from the last
        chain = " ".join([*chain.split()[3:], *(f"new{at}{i}" for i in range(3))])
        texts.append(chain)
    path = tmp_path / "cars.csv"
    rows = [f"{text},{at % 70 + 1}" for at, text in enumerate(texts)]
    path.write_text("\n".join(["text,price", *rows]))
    data = corpus.load(str(path))
    assert np.bincount(data.group_ids).max() <= 10
    (finding,) = checks.cut_groups(data)
    assert finding.severity == "warning"
    assert 2 <= finding.count == data.near_cut.sum() < 15
    assert "over 2% of the rows" in finding.message
    assert "a group_column (seller, item)" in finding.message


def retold(texts, share, seed=0):
    draw = random.Random(seed)
    return [
        " ".join(
            draw.choice(VOCABULARY) if draw.random() < share else word for word in text.split()
        )
        for text in texts
    ]


def prices_of(n, seed=0):
    return np.exp(np.random.default_rng(seed).normal(9, 1, n))


def test_items_told_again_in_other_words_are_warned_of():
    texts, prices = sentences(500), prices_of(500)
    again = made(texts + retold(texts[:200], 0.4), [*prices, *prices[:200] * 1.03])
    (finding,) = checks.relisted(again)
    assert finding.severity == "warning"
    assert finding.count == pytest.approx(400 + 0.03 * 300, abs=15)
    assert re.match(r"5\d\.\d% of 700 texts have a target within 5%", finding.message)
    assert "name a group_column (seller, item)" in finding.message
    assert finding.examples[0] == (1, f"near line 501: {texts[0][:80]}")


def test_a_few_items_told_again_are_only_noted():
    texts, prices = sentences(700), prices_of(700)
    again = made(texts + retold(texts[:40], 0.4), [*prices, *prices[:40]])
    (finding,) = checks.relisted(again)
    assert finding.severity == "note"
    assert finding.count > 80  # a tenth of the rows, far beyond chance


def test_items_of_one_group_are_no_leak():
    texts, prices = sentences(500), prices_of(500)
    again = made(texts + retold(texts[:200], 0.4), [*prices, *prices[:200] * 1.03])
    together = dataclasses.replace(again, group_ids=np.array([*range(500), *range(200)]))
    (finding,) = checks.relisted(together)
    assert finding.severity == "note"


@pytest.mark.parametrize("seed", range(3))
def test_clean_corpora_are_only_noted(seed):
    (finding,) = checks.relisted(made(sentences(700, seed), prices_of(700, seed)))
    assert (finding.severity, finding.examples) == ("note", ())
    stars = np.random.default_rng(seed).integers(1, 6, 700)  # a fifth of all pairs agree by chance
    (finding,) = checks.relisted(made(sentences(700, seed), stars))
    assert finding.severity == "note"
    assert finding.count > 90


def test_at_most_so_many_texts_are_compared(monkeypatch):
    monkeypatch.setattr(checks, "MOST_SAMPLED", 300)
    (finding,) = checks.relisted(made(sentences(700), prices_of(700)))
    assert "of 300 sampled texts" in finding.message


# The rest


def test_one_price_in_most_rows_is_warned_of():
    texts = sentences(200)
    assert checks.one_price(made(texts, [1.0] * 100 + list(range(2, 102)))) == []
    (finding,) = checks.one_price(made(texts, [1.0] * 101 + list(range(2, 101))))
    assert finding.severity == "warning"
    assert "101 of 200 rows have the price 1:" in finding.message
    assert finding.examples[0] == (1, texts[0][:80])


def test_long_texts_are_counted():
    data = made(sentences(200))
    assert checks.long_texts(data, [256] * 200, 256) == []
    (note,) = checks.long_texts(data, [257] * 20 + [9] * 180, 256)
    assert (note.severity, note.count) == ("note", 20)
    assert "20 of 200 texts (10.0%) are longer than the 256 tokens" in note.message
    assert checks.long_texts(data, [257] * 21 + [9] * 179, 256)[0].severity == "warning"


def test_run_gathers_what_needs_no_encoder(tmp_path):
    texts = sentences(300)
    texts.append(f"{texts[17]} more")
    lines = ["text,price", *(f"{text},{i % 70 + 1}" for i, text in enumerate(texts)), "x"]
    path = tmp_path / "cars.csv"
    path.write_text("\n".join(lines))
    data, findings = checks.run(corpus.load(str(path)))
    assert [finding.check for finding in findings] == [
        "rejected rows",
        "price in text",
        "near repeats",
        "relisted items",
    ]
    assert findings[0].examples == (
        (303, "wrong number of fields: fields: 1, in the header: 2: x"),
    )
    assert findings[2].examples[0][0] == 302
    assert data.parts[300] == data.parts[17]
