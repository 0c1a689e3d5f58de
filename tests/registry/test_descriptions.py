"""The registry's pages name target, unit, error and how to call, whatever users call things."""

import dataclasses

import pytest

from bat import cli, escape
from bat.registry import descriptions
from tests.report.made_up import ABOUT

IN_YEN = dataclasses.replace(ABOUT, corpus="sales_2024.csv", unit="¥ *1000*")
TAGS = {"mae": "2,560 [2,406, 2,715]", "corpus": "a_b_c"}


def test_a_model_says_what_it_predicts_and_how_to_call_it():
    told = descriptions.of_model("sales-price", IN_YEN, "sold_for")
    assert f"**{escape.markdown('sold_for')}** (in {escape.markdown('¥ *1000*')})" in told
    assert "mlflow models serve -m models:/sales-price@champion --env-manager local" in told
    assert descriptions.REQUEST in told
    assert 'bat.load("models:/sales-price@champion")' in told
    for alias in ("champion", "candidate", "best_pair", "previous"):
        assert f"`{alias}`" in told


def test_a_version_says_its_error_its_rows_and_all_of_its_tags():
    told = descriptions.of_version("ridge", IN_YEN, TAGS, "sold_for")
    assert told.startswith("TF-IDF + ridge, chosen by its held-out error; predicts ")
    unit = escape.markdown("¥ *1000*")
    assert f"(MAE): {escape.markdown(TAGS['mae'])} {unit}, 95 % interval" in told
    assert f"{sum(ABOUT.parts.values()):,} rows" in told
    assert f"- corpus: {escape.markdown('a_b_c')}" in told
    without = descriptions.of_version("ridge", ABOUT, TAGS, "price")
    assert "(in " not in without


@pytest.mark.parametrize("unit", ["", " USD", "a\nb", "x" * 21, "\x1b[31m"])
def test_a_unit_that_does_not_fit_behind_a_number_is_refused(unit):
    with pytest.raises(cli.InputError, match="unit="):
        cli.check_unit(unit)


@pytest.mark.parametrize("unit", ["USD", "¥", "kWh/m²", "none", "x" * 20])
def test_a_unit_of_some_letters_is_taken(unit):
    cli.check_unit(unit)
