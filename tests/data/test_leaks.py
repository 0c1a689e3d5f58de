"""What gives the target away is found wherever it is planted, and nothing where nothing was."""

import dataclasses
import datetime
import os
import random
import re
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from scipy import stats

from bat.data import corpus, leaks, quantities
from bat.data.auctions import generator
from bat.data.corpus import HIDDEN
from tests.data.test_checks import made, sentences

N = 400
DAY_ONE = datetime.date(2019, 12, 25)


@pytest.fixture(scope="module")
def auctions():
    """Texts with the numbers that such texts have, their prices, and the rank of each price."""
    documents = list(generator.documents(N))
    prices = np.array([document.price for document in documents])
    return [document.text for document in documents], prices, prices.argsort().argsort()


def planted(auctions, sentence, rows=slice(None)):
    """A corpus in which some rows have one more sentence, somewhere in the text."""
    texts, prices, ranks = auctions
    draw = random.Random(0)
    texts = list(texts)
    for i in range(N)[rows]:
        said = texts[i].split(". ")
        said.insert(draw.randint(1, len(said) - 1), sentence(prices[i], int(ranks[i]), draw))
        texts[i] = ". ".join(said)
    return made(texts, prices)


def warnings(found):
    return [finding for finding in found if finding.severity == "warning"]


def grouped(blank):
    return lambda price, rank, draw: f"It made {price:,.0f}".replace(",", blank)


def dated(form):
    return lambda price, rank, draw: f"Listed on {DAY_ONE + datetime.timedelta(rank):{form}}"


def bids(price, rank, draw):
    shares = sorted(draw.uniform(0.9, 0.99) for _ in range(3))
    return "Bids: " + ", ".join(f"${price * share:,.0f}" for share in shares)


LEAKS = {
    "5 % off": lambda price, rank, draw: f"It made {price * draw.uniform(0.95, 1.05):,.0f}",
    "in thousands": lambda price, rank, draw: f"It made {price / 1000:.0f}k",
    "in thousands, unsaid": lambda price, rank, draw: f"It made {price / 1000:.1f}",
    "in millions": lambda price, rank, draw: f"It made {price / 1e6:.4f}M",
    "euros": lambda price, rank, draw: f"It made {price * 0.92:,.0f} EUR",
    "euros, as Germans write": lambda price, rank, draw: f"It made {price * 0.92:,.2f}".translate(
        str.maketrans(",.", ".,")
    ),
    "cents": lambda price, rank, draw: f"It made {price * 100:.0f}",
    "space": grouped(" "),
    "no-break space": grouped("\u00a0"),
    "figure space": grouped("\u2007"),
    "thin space": grouped("\u2009"),
    "narrow no-break space": grouped("\u202f"),
    "bids": bids,
    "number": lambda price, rank, draw: f"Lot {1000 + rank}",
    "number that falls": lambda price, rank, draw: f"Lot {9000 - rank}",
    "number in a name": lambda price, rank, draw: f"Filed as LOT{rank:06d}",
    "number after a year": lambda price, rank, draw: f"Filed as INV-2024-{rank:05d}",
    "ISO date": dated("%Y-%m-%d"),
    "day first": dated("%d/%m/%Y"),
    "month first": dated("%m/%d/%y"),
    "day and month": dated("%d %b %Y"),
    "month and day": dated("%B %d, %Y"),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_found_with_its_place_and_told_once(auctions, kind):
    found = leaks.find(planted(auctions, LEAKS[kind]))
    told = [each for each in warnings(found) if each.check.endswith("ranks as target")]
    assert len(told) == 1
    is_date = kind in ("ISO date", "day first", "month first", "day and month", "month and day")
    assert told[0].check == ("date ranks as target" if is_date else "number ranks as target")
    assert told[0].count == N
    assert "take it out of the texts" in told[0].message


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        (lambda price, *_: f"It made {price * 0.92:,.0f}", 'number after "it made" ranks'),
        (
            lambda price, *_: f"{price * 0.92:,.0f} euros was paid",
            'number before "euros was" ranks',
        ),
        (lambda price, rank, _: f"Filed as INV-2024-{rank}", 'number after "inv (number)" ranks'),
        (
            lambda price, _, draw: f"{draw.choice(WAYS)} ${price * 0.92:.0f}",
            'number with "$" ranks',
        ),
    ],
)
def test_the_narrowest_anchor_that_explains_all_is_named(auctions, sentence, place):
    (finding,) = warnings(leaks.find(planted(auctions, sentence)))
    assert place in finding.message


TEXTS = sentences(N)
WAYS = ["It made", "He got", "She paid", "They fetched", "Bids reached", "Offers ended on"]


def test_a_number_without_words_of_its_own_is_found_by_its_place_in_the_text(auctions):
    texts, prices, _ = auctions
    texts = [f"{text} {price * 92:.0f}" for text, price in zip(texts, prices, strict=True)]
    (finding,) = warnings(leaks.find(made(texts, prices)))
    assert finding.message.startswith("the last number of a text, whatever stands beside it, ranks")


def test_each_of_several_leaks_is_told(auctions):
    def one_or_the_other(price, rank, draw):
        return f"Lot {rank}" if rank % 2 else f"Listed on {DAY_ONE + datetime.timedelta(rank)}"

    found = warnings(leaks.find(planted(auctions, one_or_the_other)))
    assert {finding.check for finding in found} == {
        "date ranks as target",
        "number ranks as target",
    }
    assert [finding.count for finding in found] == [N // 2, N // 2]


def test_examples_show_the_number_where_texts_may_be_shown(auctions):
    data = planted(auctions, lambda price, *_: f"It made {price * 0.92:,.0f}")
    shown, hidden = (
        leaks.find(dataclasses.replace(data, show_texts=shown)) for shown in (True, False)
    )
    (finding,) = warnings(shown)
    assert [line for line, _ in finding.examples] == [1, 2, 3, 4, 5]
    for (_, text), price in zip(finding.examples, data.prices, strict=False):
        assert f"It made {price * 0.92:,.0f}" in text
    (finding,) = warnings(hidden)
    assert "after the same words ranks" in finding.message
    assert finding.examples == tuple((line, HIDDEN) for line in range(1, 6))
    assert not any("made" in each.message for each in hidden)


# How numbers and dates are read


def read(text, *, small=False):
    """The kinds and values of the numbers of a text."""
    return [(number.anchors[0][0], number.value) for number in quantities.read(text, small=small)]


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ("$67,911", 67_911),
        ("67911", 67_911),
        ("67.911 EUR", 67_911),
        ("67.911,50 €", 67_911.5),
        ("US$67'911.00", 67_911),
        ("67 911", 67_911),
        ("1\u202f067\u202f911", 1_067_911),
        ("67.9k", 67_900),
        ("67,9k", 67_900),
        ("67.9K", 67_900),
        ("67.911k", 67_911),
        ("1,200k", 1_200_000),
        ("68 thousand", 68_000),
        ("€68,000", 68_000),
        ("(67911)", 67_911),
        ("sold,67911", 67_911),
        ("価格67911円", 67_911),
        ("$1.2 million", 1_200_000),
        ("1.2m", 1_200_000),
        ("1.2M", 1_200_000),
        ("0.125", 0.125),
        ("67 kg", 67),
        ("67kg", 67),
    ],
)
def test_usual_spellings_are_read(spelt, value):
    assert read(f"Sold for {spelt}, as is.") == [("number", pytest.approx(value))]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u2007", "\u2009", "\u202f"])
def test_blanks_between_thousands_are_read(blank):
    assert read(f"It made 67{blank}911 in 2024") == [("number", 67_911), ("number", 2024)]


def test_three_places_after_a_dot_are_thousands_only_where_targets_are_as_large():
    assert read("rated 4.125") == [("number", 4125)]
    assert read("rated 4.125", small=True) == [("number", 4.125)]
    prices = np.linspace(1, 5, N).round(3)
    texts = [f"{text}, rated {price}" for text, price in zip(TEXTS, prices, strict=True)]
    assert len(warnings(leaks.find(made(texts, prices)))) == 2


@pytest.mark.parametrize("name", ["A67911", "LOT 4 v67911", "x_67911"])
def test_digits_in_a_name_are_no_price(name):
    assert read(f"It has {name} of it")[-1] == ("code", 67_911)


@pytest.mark.parametrize("other", ["60,000", "70k", "6791", "1,67911", "67,9112", "12.679.11"])
def test_other_numbers_are_no_price(other):
    assert not any(0.98 < value / 67_911 < 1.02 for _, value in read(f"It has {other} of it"))


@pytest.mark.parametrize(
    ("spelt", "days"),
    [
        ("2024-03-12", ["2024-03-12"] * 2),
        ("2024/3/12", ["2024-03-12"] * 2),
        ("12 Mar 2024", ["2024-03-12"] * 2),
        ("12th of March, 2024", ["2024-03-12"] * 2),
        ("Mar. 12, 2024", ["2024-03-12"] * 2),
        ("SEPTEMBER 2nd 2024", ["2024-09-02"] * 2),
        ("12/03/2024", ["2024-03-12", "2024-12-03"]),
        ("12.03.24", ["2024-03-12", "2024-12-03"]),
        ("03-31-98", ["1998-03-31"] * 2),
        ("31.02.2024", []),
    ],
)
def test_dates_are_read_and_are_no_numbers(spelt, days):
    expected = [datetime.date.fromisoformat(day).toordinal() for day in days]
    found = read(f"Listed on {spelt}.")
    assert [value for _, value in found] == expected
    assert [kind for kind, _ in found] == ["date", "date, month first"][: len(days)]


# What is no leak


@pytest.mark.parametrize(("count", "is_found"), [(99, False), (100, True)])
def test_fewer_than_a_hundred_texts_are_not_judged(auctions, count, is_found):
    data = planted(auctions, LEAKS["euros"], slice(count))
    assert bool(warnings(leaks.find(data))) == is_found


@pytest.mark.parametrize(("distinct", "is_found"), [(19, False), (20, True)])
def test_few_distinct_numbers_are_not_judged(auctions, distinct, is_found):
    data = planted(auctions, lambda price, rank, _: f"Lot {rank * distinct // N}")
    assert bool(warnings(leaks.find(data))) == is_found


def test_rows_that_repeat_a_pair_count_once():
    draw = np.random.default_rng(0)
    numbers = np.concatenate([draw.permutation(60) + 500, np.full(340, 100)])
    prices = np.concatenate([draw.permutation(60) + 9000.0, np.full(340, 50.0)])
    assert stats.spearmanr(numbers, prices).statistic > 0.95  # one seller's rows against the others
    texts = [f"{text}, lot {number}" for text, number in zip(sentences(N), numbers, strict=True)]
    assert warnings(leaks.find(made(texts, prices))) == []


def test_no_anchor_comes_near_by_luck(monkeypatch):
    draw = np.random.default_rng(0)
    words = [first + second for first in ascii_lowercase for second in "aeiouxyz"]
    texts = [" ".join(f"{word} {draw.integers(1000)}" for word in words) for _ in range(100)]
    monkeypatch.setattr(leaks, "MIN_RANK_CORRELATION", 0.5)  # five standard errors
    data = made(texts)
    said = leaks._read(data)
    assert len(np.unique(said.anchors)) > len(words)
    assert list(leaks._ordered(data, said)) == []


def test_the_rank_correlation_is_scipys():
    random = np.random.default_rng(0)
    pairs = np.stack([random.permutation(300) // 3, random.permutation(300) // 2], 1)
    numbers, targets = np.unique(pairs, axis=0).astype(float).T
    expected = stats.spearmanr(numbers, targets).statistic
    assert leaks._rank_correlation(pairs[:, 0], pairs[:, 1]) == pytest.approx(expected)


def test_a_number_that_no_float_holds_is_read():
    texts = [f"{text}, lot {'9' * (400 if i % 3 else i + 1)}" for i, text in enumerate(TEXTS)]
    assert warnings(leaks.find(made(texts))) == []


def test_the_built_in_corpus_is_clean():
    data = corpus.load("auctions:2000")
    assert warnings(leaks.find(data)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bat-10k", "wine-5k", "airbnb-60k"])
def test_real_corpora_are_clean(name):
    path = Path(os.environ.get("BAT_CORPORA", ""), f"{name}.jsonl.gz")
    if not path.exists():
        pytest.skip(f"BAT_CORPORA names no folder with {path.name}")
    assert warnings(leaks.find(corpus.load(str(path), limit=10_000))) == []


# The target itself


def mileages(n=2000):
    draw = np.random.default_rng(0)
    prices = np.round(np.exp(draw.normal(9.5, 1, n)), 2)
    miles = np.round(np.exp(draw.normal(10, 1, n)) / 1000) + 1
    return [f"Car {i:.0f}k miles, in red" for i in miles], prices


def in_text(texts, prices):
    data = made(texts, prices)
    (finding,) = leaks.price_in_text(data, leaks._read(data))
    return finding


def test_mileages_near_the_price_by_chance_are_only_noted():
    finding = in_text(*mileages())
    assert finding.severity == "note"
    assert finding.count > 10  # chance alone gives more than the warning's least share
    assert finding.examples == ()
    assert re.search(r"hold a number within 2% of their price; by chance it would", finding.message)


def test_a_few_rows_above_chance_are_not_enough():
    texts = ["Sold for 50 dollars"] * 3 + ["Sold for something"] * 197
    prices = [50.0, 50.5, 49.5, *range(1000, 1197)]  # 1.5 % of the rows; by chance none to speak of
    finding = in_text(texts, prices)
    assert (finding.severity, finding.count) == ("note", 3)


def test_two_per_cent_of_texts_with_their_price_are_warned_of():
    texts, prices = mileages()
    for i in range(0, 2000, 50):
        texts[i] += f", sold for ${prices[i]:,.0f}"
    finding = in_text(texts, prices)
    assert finding.severity == "warning"
    assert "Take the price out of the texts" in finding.message
    assert finding.examples[0] == (1, texts[0][:80])


# What phrases say


def tiers(n=N):
    """Texts of which every fifth belongs to a tier that costs more; all are for training."""
    prices = np.array([i % 5 * 1000.0 + i + 1 for i in range(n)])
    texts = [f"{text} premium tier" if i % 5 == 4 else text for i, text in enumerate(sentences(n))]
    return made(texts, prices, parts=["train"] * n)


def test_a_phrase_that_says_much_is_listed_with_its_effect():
    (finding,) = leaks.telling_phrases(tiers())
    assert (finding.check, finding.severity, finding.count) == ("telling phrases", "note", 1)
    # The texts with it cost 4005, 4010, ... 4400; the others from 1 on.
    assert finding.message.endswith('texts with "premium tier" (80): 4,202, others 1,700')
    assert finding.examples == ((5, sentences(5)[4][:80]),)


def test_what_comes_with_a_listed_phrase_or_in_its_stead_is_left_out():
    data = tiers()
    texts = [text if "premium" in text else f"plain {text}" for text in data.texts]
    (finding,) = leaks.telling_phrases(dataclasses.replace(data, texts=texts))
    assert finding.count == 1


def test_phrases_are_not_listed_where_texts_may_not_be_shown():
    (finding,) = leaks.telling_phrases(dataclasses.replace(tiers(), show_texts=False))
    assert finding.message.endswith("; they are not listed (show_texts=false)")
    assert "premium" not in finding.message
    assert finding.examples == ((5, HIDDEN),)


def test_only_train_rows_are_asked():
    data = tiers()
    parts = np.where(data.prices > 4000, "test", "train")
    assert leaks.telling_phrases(dataclasses.replace(data, parts=parts)) == []
    assert leaks.telling_phrases(dataclasses.replace(data, parts=np.full(N, "test"))) == []


@pytest.mark.parametrize(("count", "listed"), [(19, 0), (20, 1), (380, 1), (381, 0)])
def test_a_phrase_is_judged_where_twenty_texts_have_it_and_twenty_do_not(count, listed):
    texts = [f"premium {text} premium" if i < count else text for i, text in enumerate(TEXTS)]
    found = leaks.telling_phrases(made(texts, parts=["train"] * N))
    assert len(found) == listed


def test_words_that_say_nothing_are_not_listed():
    words = [f"word{i}" for i in range(50)]
    draw = random.Random(0)
    texts = [" ".join(draw.sample(words, 20)) for _ in range(1000)]
    assert leaks.telling_phrases(made(texts, parts=["train"] * 1000)) == []


def test_phrases_are_ordered_by_the_variance_that_they_explain():
    names, holds = leaks._phrases(
        texts := [f"{text} {'dear' * (i > 300)}" for i, text in enumerate(TEXTS)]
    )
    ranks = np.arange(N, dtype=float)
    by_hand = {
        name: stats.pearsonr([name in text for text in texts], ranks).statistic ** 2
        for name in names
        if 20 <= sum(name in text for text in texts) <= 380
    }
    chosen = leaks._most_telling(holds, ranks)
    assert names[next(iter(chosen))] == max(by_hand, key=by_hand.get) == "dear"
    assert chosen[names.index("dear")].tolist() == ["dear" in text for text in texts]
