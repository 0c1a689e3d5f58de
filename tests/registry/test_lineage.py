"""Each corpus and target has a registered model of its own, and only like replaces like."""

import unicodedata

import numpy as np
import pytest
from mlflow.utils.validation import _validate_model_name

from bat.cli import InputError
from bat.registry import lineage

NASTY = "$ /:\\@%#?&;|<>\"'`()[]{}*!~^=+,\n\t\0\x1b\u202e\ud800"


@pytest.mark.parametrize(
    ("data", "column", "name"),
    [
        ("auctions:3000", "price", "bat-pricer"),
        ("/data/wine-5k.jsonl.gz", "price", "wine-5k-price"),
        ("wine-5k.JSONL.GZ", "price", "wine-5k-price"),
        ("~/a b/sales 2024 (new).csv", "sold for", "sales-2024-new-sold-for"),
        ("cars_$5k_to_$9k_.jsonl", "price", "cars_-5k_to_-9k_-price"),
        ("hf:owner/name", "stars", "owner-name-stars"),
        ("cars.2024.parquet", "price", "cars.2024-price"),
        ("..jsonl", "..", "pricer"),
        ("ワイン.csv", "価格", "ワイン-価格"),
        ("$$$.csv", "$", "pricer"),
    ],
)
def test_a_model_is_named_after_its_corpus_and_target(data, column, name):
    assert lineage.model_name("auto", data, column) == name
    assert lineage.model_name("mine", data, column) == "mine"


def test_two_spellings_of_one_letter_are_one_name():
    names = {
        lineage.model_name("auto", unicodedata.normalize(form, "café.csv"), "prix")
        for form in ("NFC", "NFD")
    }
    assert names == {"café-prix"}


@pytest.mark.parametrize("letter", NASTY)
def test_any_name_of_a_file_or_column_gives_one_that_the_registry_and_a_shell_take(letter):
    for data in (f"x{letter}y.jsonl", f"{letter * 300}.csv", f"hf:a{letter}b/c", "x" * 300):
        for column in (letter, f"p{letter}q", "y" * 300):
            name = lineage.model_name("auto", data, column)
            _validate_model_name(name)
            lineage.check_name(name)
            assert letter not in name
            assert len(name) <= 256


@pytest.mark.parametrize("name", ["", "a/b", "models:/a", "a@champion", "a b", "a'b", "x" * 257])
def test_a_chosen_name_that_would_be_read_otherwise_is_refused(name):
    with pytest.raises(InputError, match="write for instance model_name=") as refused:
        lineage.check_name(name)
    lineage.check_name(refused.value.sentences[2].partition("model_name=")[2])


def tags(values, column="price", **others):
    corpus = {"corpus": "x.jsonl", "corpus_digest": str(hash(tuple(values)))}
    target = lineage.describe(column, np.asarray(values, float))
    return corpus | target.tags() | others


def spread(median, factor=2.0):
    """101 positive numbers about a median."""
    return median * factor ** np.linspace(-1, 1, 101)


CARS = spread(20_000)


def test_a_target_is_described_by_its_quantiles():
    told = tags(np.arange(101))
    wanted = {"p5": "5", "p25": "25", "median": "50", "p75": "75", "p95": "95"}
    assert {name: told[f"target_{name}"] for name in wanted} == wanted
    assert (told["target_positive"], told["target_column"]) == ("false", "price")
    large = tags(spread(1.234e12))
    assert "e" not in large["target_median"]
    assert float(large["target_median"]) == 1.234e12


@pytest.mark.parametrize(
    ("values", "column", "apart"),
    [
        (CARS, "price", ""),
        (spread(59_000, 4), "price", ""),  # the median is 2.95 times as high
        (spread(6_700, 4), "price", ""),
        (CARS, "rating", "it predicts the column 'price', this one 'rating'"),
        (spread(15), "price", "from 10,718 to 37,321, of this one's from 8.04 to 27.99"),
        (CARS * 150, "price", "to 37,321, of this one's from 1,607,660 to 5,598,198"),
        (np.linspace(1, 5, 101), "price", "of this one's from 1.20 to 4.80"),
        (spread(61_000, 4), "price", "of this one's 61,000, a factor of 3 or more apart"),
        (spread(6_600, 4), "price", "of this one's 6,600, a factor of 3 or more apart"),
    ],
)
def test_only_the_same_quantity_is_one_lineage(values, column, apart):
    found = lineage.difference(tags(values, column), tags(CARS))
    assert apart in found
    assert bool(found) == bool(apart)


@pytest.mark.parametrize(("median", "same"), [(0, True), (9.9, True), (10.1, False)])
def test_numbers_of_both_signs_are_compared_by_their_middle_half(median, same):
    about_zero = np.linspace(-10, 10, 101)  # interquartile range 10
    assert bool(lineage.difference(tags(about_zero + median), tags(about_zero))) is not same
    assert bool(lineage.difference(tags(about_zero), tags(about_zero + median))) is not same


def test_a_champion_without_a_note_of_its_target_is_replaced_only_by_the_same_corpus():
    old = {"corpus": "auctions:3000", "corpus_digest": "a"}
    assert lineage.difference(tags(CARS, corpus="auctions:20000"), old) == ""
    assert "registered on 'auctions:3000' without" in lineage.difference(tags(CARS), old)
    built_in = tags(CARS, corpus="auctions:3000")
    assert "registered on 'wine.csv'" in lineage.difference(built_in, old | {"corpus": "wine.csv"})
    assert "registered on 'unknown'" in lineage.difference(built_in, {})
    assert lineage.difference(tags(CARS, corpus_digest="a"), old | {"corpus": "x"}) == ""
