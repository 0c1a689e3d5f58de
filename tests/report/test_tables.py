"""Tables of a study: every number with its ends, rounded alike within a column."""

import dataclasses
import re

import pytest

from bat.report import tables, verdict
from bat.stats import bootstrap
from tests.report.made_up import outcome


def test_results_hold_every_number_with_its_ends():
    lines = tables.results(outcome({0: 0.3, 500: 0.1}))
    assert [line["arm"] for line in lines] == ["factory", "tuned on 500", "TF-IDF + SVD"]
    assert lines[1]["mae_low"] < lines[1]["mae"] < lines[1]["mae_high"]
    assert lines[1]["mae_minus_factory_high"] < 0
    assert "mae_minus_factory" not in lines[0]
    assert lines[1]["mae_minus_tfidf"] == lines[1]["mae_minus_factory"]  # equal by construction


def test_each_size_is_compared_with_the_one_before():
    lines = tables.results(outcome({0: 0.3, 500: 0.2, 1000: 0.1}))
    assert lines[1]["mae_minus_before"] == lines[1]["mae_minus_factory"]
    assert lines[2]["mae_minus_before"] == pytest.approx(lines[2]["mae"] - lines[1]["mae"])
    assert "mae_minus_before" not in lines[0]
    assert "mae_minus_before" not in lines[3]


def test_tables_are_aligned_and_marked_down():
    lines = [["arm", "R²"], ["factory", "0.5"]]
    assert tables.plain_table(lines) == "arm       R²\nfactory  0.5"
    assert tables.markdown_table(lines) == "| arm | R² |\n|---|---|\n| factory | 0.5 |"


def in_units(found, unit):
    """The same study with prices told in another unit."""
    prices = found.prices * unit
    rows = [
        dataclasses.replace(
            row,
            predictions=row.predictions * unit,
            scores=bootstrap.bootstrap(prices, row.predictions * unit, draws=50),
            train_mae=row.scores["mae"].value * unit,
        )
        for row in found.rows
    ]
    return dataclasses.replace(found, prices=prices, rows=rows)


@pytest.mark.parametrize("unit", [1, 1e-1, 1 / 70, 1e-3, 1 / 7000, 1e-5])
def test_a_column_has_one_number_of_decimals(unit):
    found = in_units(outcome({0: 0.9, 500: 0.02, 1000: 0.3}), unit)
    other = in_units(outcome({0: 0.001, 500: 0.0005}), unit)
    for lines in (tables.table(found), tables.table_together({"a": found, "b": other})):
        for title, *cells in zip(*lines, strict=True):
            numbers = [n for cell in cells for n in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)]
            decimals = {len(number.partition(".")[2]) for number in numbers}
            if "R²" in title or "MAE" in title or "MedAE" in title:
                assert len(decimals) == 1, (title, cells)


def test_the_arms_of_studies_stand_below_one_another():
    together = {"small": outcome({0: 0.3, 500: 0.2}), "large": outcome({0: 0.3, 500: 0.1})}
    lines = tables.table_together(together)
    assert [line[:2] for line in lines[1:3]] == [["small", "factory"], ["small", "tuned on 500"]]


def test_strongest_words_are_laid_out_with_ratio_and_amount():
    words = verdict.statements(outcome({0: 0.3}))[-1].facts["words"]
    assert tables.strongest_words(words) == [
        ["word or pair of words", "price", "at the median price", "training texts"],
        ["<mint>", "×1.50", "+11,000", "12"],
        ["project", "×0.80", "-4,400", "1,234"],
    ]
