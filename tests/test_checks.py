"""Each detector finds what was planted, and nothing where nothing was."""

import math
import random
import re
from collections import Counter

import numpy as np
import pytest

from bat import checks, corpus
from bat.cli import InputError

VOCABULARY = [f"word{i}" for i in range(2000)]


def sentences(n, seed=0, n_words=40):
    draw = random.Random(seed)
    return [" ".join(draw.choices(VOCABULARY, k=n_words)) for _ in range(n)]


def made(texts, prices=None, parts=None):
    """A corpus of these rows; the parts by the texts unless given."""
    texts = list(texts)
    n = len(texts)
    ids = {}
    text_ids = np.array([ids.setdefault(corpus.text_key(t), len(ids)) for t in texts])
    return corpus.Corpus(
        name="made",
        texts=texts,
        prices=np.array(prices if prices is not None else range(1, n + 1), float),
        counts=np.ones(n, int),
        lines=np.arange(1, n + 1),
        text_ids=text_ids,
        group_ids=text_ids,
        parts=np.array(parts if parts is not None else [corpus.part_of(t) for t in texts], "<U11"),
        parts_by="text",
        rejected=(),
        n_read=n,
        digest="",
        medians=None,
    )


def changed(text, *places):
    words = text.split()
    for place in places:
        words[place] = "changed"
    return " ".join(words)


# Near repeats


def test_a_near_repeat_of_a_test_row_is_set_aside_and_the_test_row_stays():
    texts = sentences(500)
    parts = [corpus.part_of(text) for text in texts]
    test, train = parts.index("test"), parts.index("train")
    texts += [changed(texts[test], 20), changed(texts[train], 20)]
    parts += ["train", "validation"]  # the last nearly repeats a train row, which is no leak
    data, (finding,) = checks.set_aside_near_repeats(made(texts, parts=parts))
    assert data.parts.tolist() == [*parts[:-2], "aside", "validation"]
    assert data.digest != ""
    assert (finding.check, finding.severity, finding.count) == ("near repeats", "note", 1)
    assert re.match(r"1 of \d+ rows outside the test part .* were set aside", finding.message)
    assert finding.examples == ((501, f"like line {test + 1}: {texts[500][:80]}"),)


def test_rows_of_one_text_go_aside_together():
    texts = sentences(300)
    parts = [corpus.part_of(text) for text in texts]
    near = changed(texts[parts.index("test")], 5)
    data = made([*texts, near, near, near], parts=[*parts, "train", "train", "aside"])
    data, (finding,) = checks.set_aside_near_repeats(data)
    assert data.parts[-3:].tolist() == ["aside", "aside", "aside"]
    assert finding.count == 2  # the third was aside before


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearest_test_row_is_named(order):
    texts = sentences(200)
    tests = [changed(texts[0], 3), changed(texts[0], 3, 13)][::order]
    data = made(
        tests + texts,
        parts=["test", "test", *["train", "validation", "calibration"] * 66, "train", "test"],
    )
    _, (finding,) = checks.set_aside_near_repeats(data)
    nearer = 1 if order == 1 else 2
    assert finding.examples == ((3, f"like line {nearer}: {texts[0][:80]}"),)


def runs_of(text):
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def likeness(a, b, weight):
    return sum(map(weight, sorted(a & b))) / sum(map(weight, sorted(a | b)))


def test_exactly_the_pairs_of_the_definition_are_found(monkeypatch):
    monkeypatch.setattr(checks, "PAIRS_A_CHUNK", 50)  # many chunks
    monkeypatch.setattr(checks, "TEXTS_A_CHUNK", 40)
    monkeypatch.setattr(checks, "PAIRS_A_BATCH", 7)
    draw = random.Random(1)
    texts = sentences(150, seed=1)
    for text in texts[:140]:  # one to six words changed: likeness from 0.85 down to 0.3
        texts.append(changed(text, *draw.sample(range(40), draw.randint(1, 6))))
    texts = [f"offered by a private seller: {text}" for text in texts]  # a template
    parts = [draw.choice(["test", "train", "train", "validation", "calibration"]) for _ in texts]
    runs = [runs_of(text) for text in texts]

    holders = Counter(run for each in runs for run in each)

    def weight(run):
        return math.log((len(texts) + 1) / holders[run])

    tests = [i for i, part in enumerate(parts) if part == "test"]
    expected = [
        "aside"
        if part != "test" and max(likeness(runs[i], runs[t], weight) for t in tests) >= 0.6
        else part
        for i, part in enumerate(parts)
    ]
    assert 10 < expected.count("aside") < 40
    data, _ = checks.set_aside_near_repeats(made(texts, parts=parts))
    assert data.parts.tolist() == expected


def test_a_template_makes_no_two_texts_alike():
    frame = "offered without reserve by a private seller with a clean title and two keys, a {} car"
    texts = [frame.format(sentence) for sentence in sentences(400, n_words=6)]
    data = made(texts)
    assert checks.set_aside_near_repeats(data) == (data, [])


def test_short_texts_and_scripts_without_spaces():
    texts = sentences(200)
    parts = [corpus.part_of(text) for text in texts]
    kept = "赤い車を東京で売ります。走行距離は少なく、状態は良好です。"
    texts += [kept, kept.replace("少なく", "多く"), "Blue mug", "blue, mug!", "mug"]
    parts += ["test", "train", "test", "train", "train"]
    data, _ = checks.set_aside_near_repeats(made(texts, parts=parts))
    assert data.parts[200:].tolist() == ["test", "aside", "test", "aside", "train"]


def test_many_near_repeats_warn_and_a_lost_part_stops():
    texts = sentences(200)
    parts = [["test", "train", "validation", "calibration"][i % 4] for i in range(200)]
    near = [changed(text, 3) for text in texts[:100:4]]
    found = checks.set_aside_near_repeats(made(texts + near, parts=parts + ["train"] * 25))
    assert found[1][0].severity == "warning"
    assert "a group_column" in found[1][0].message
    parts = [part if part != "train" else "test" for part in parts]
    with pytest.raises(InputError, match="of whose train rows all but 0 nearly repeat a test row"):
        checks.set_aside_near_repeats(made(texts + near, parts=parts + ["train"] * 25))


# Prices in the texts


@pytest.mark.parametrize(
    "spelt",
    [
        "$67,911",
        "67911",
        "67.911 EUR",
        "US$67'911.00",
        "67.9k",
        "67.9K",
        "68k",
        "68 thousand",
        "€68,000",
        "(67911)",
        "sold,67911",
    ],
)
def test_usual_spellings_of_a_price_are_read(spelt):
    owners, numbers = checks._numbers([f"Sold for {spelt}, as is."])
    assert checks._near_price(owners, numbers, np.array([67_911.0])).tolist() == [True]


@pytest.mark.parametrize("spelt", ["$1.2 million", "1.2m", "1.2M", "1,200,000", "1200k"])
def test_usual_spellings_of_a_million_are_read(spelt):
    owners, numbers = checks._numbers(["Nothing here", f"Sold for {spelt}."])
    assert checks._near_price(owners, numbers, np.array([9.0, 1.2e6])).tolist() == [False, True]


@pytest.mark.parametrize(
    "other", ["60,000", "67kg", "68kg", "v67.911", "A67911", "70k", "6791", "1,67911", "67,9112"]
)
def test_other_numbers_are_no_price(other):
    owners, numbers = checks._numbers([f"It has {other} of it"])
    assert not checks._near_price(owners, numbers, np.array([67_911.0])).any()


def mileages(n=2000):
    draw = np.random.default_rng(0)
    prices = np.round(np.exp(draw.normal(9.5, 1, n)), 2)
    miles = np.round(np.exp(draw.normal(10, 1, n)) / 1000) + 1
    return [f"Car {i:.0f}k miles, in red" for i in miles], prices


def test_mileages_near_the_price_by_chance_are_only_noted():
    texts, prices = mileages()
    (finding,) = checks.price_in_text(made(texts, prices))
    assert finding.severity == "note"
    assert finding.count > 10  # chance alone gives more than the warning's least share
    assert finding.examples == ()
    assert re.search(r"hold a number within 2% of their price; by chance it would", finding.message)


def test_a_few_rows_above_chance_are_not_enough():
    texts = ["Sold for 50 dollars"] * 3 + ["Sold for something"] * 197
    prices = [50.0, 50.5, 49.5, *range(1000, 1197)]  # 1.5 % of the rows; by chance none to speak of
    (finding,) = checks.price_in_text(made(texts, prices))
    assert (finding.severity, finding.count) == ("note", 3)


def test_two_per_cent_of_texts_with_their_price_are_warned_of():
    texts, prices = mileages()
    for i in range(0, 2000, 50):
        texts[i] += f", sold for ${prices[i]:,.0f}"
    (finding,) = checks.price_in_text(made(texts, prices))
    assert finding.severity == "warning"
    assert "Take the price out of the texts" in finding.message
    assert finding.examples[0] == (1, texts[0][:80])


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
    near = changed(next(text for text in texts if corpus.part_of(text) == "test"), 7)
    while corpus.part_of(near) == "test":
        near += " more"
    lines = ["text,price", *(f"{text},{i % 70 + 1}" for i, text in enumerate([*texts, near])), "x"]
    path = tmp_path / "cars.csv"
    path.write_text("\n".join(lines))
    data, findings = checks.run(corpus.load(str(path)))
    assert [finding.check for finding in findings] == [
        "rejected rows",
        "price in text",
        "near repeats",
    ]
    assert findings[0].examples == (
        (303, "wrong number of fields: fields: 1, in the header: 2: x"),
    )
    assert findings[2].examples[0][0] == 302
    assert corpus.rows(data, corpus.ASIDE).tolist() == [300]
