"""The registry's pages name target, unit, error and how to call, whatever users call things."""

import dataclasses

import pytest

from bat import cli, escape
from bat.registry import descriptions
from tests.report.made_up import ABOUT

IN_YEN = dataclasses.replace(ABOUT, corpus="sales_2024.csv", unit="¥ *1000*")
TAGS = {"mae": "2,560 [2,406, 2,715]", "reads": "words", "arm": "baseline=ridge seed=0"}


def test_a_model_says_what_it_predicts_and_how_to_call_it():
    told = descriptions.of_model("sales-price", IN_YEN, "sold_for")
    assert f"**{escape.markdown('sold_for')}** (in {escape.markdown('¥ *1000*')})" in told
    assert "mlflow models serve -m models:/sales-price@champion --env-manager local" in told
    assert descriptions.REQUEST in told
    assert 'bat.load("models:/sales-price@champion")' in told
    for alias in ("champion", "candidate", "best_pair", "previous"):
        assert f"`{alias}`" in told
    assert f"{escape.markdown(IN_YEN.corpus)} (1,000 rows, digest `{'d' * 16}`)" in told


def test_a_version_says_its_error_its_rows_and_what_it_reads():
    told = descriptions.of_version("ridge", IN_YEN, TAGS, "sold_for")
    assert told.startswith("TF-IDF + ridge, chosen by its held-out error; predicts ")
    unit = escape.markdown("¥ *1000*")
    assert f"(MAE): {escape.markdown(TAGS['mae'])} {unit}, 95 % interval" in told
    assert "- learnt from: sales\\_2024.csv (1,000 rows, digest `dddddddddddddddd`)" in told
    assert "- reads: words\n- encoder: base\n" in told
    assert "`best_pair` is the newest best encoder" in told
    without = descriptions.of_version("ridge", ABOUT, {"mae": "1"}, "price")
    assert "(in " not in without
    assert "- reads" not in without


def test_names_of_any_length_leave_room_on_a_page():
    long = dataclasses.replace(IN_YEN, corpus="<" * 9000, base="_" * 9000)
    assert len(descriptions.of_version("ridge", long, TAGS | {"arm": "x" * 9000}, "y")) < 5000


@pytest.mark.parametrize("unit", ["", " USD", "a\nb", "x" * 21, "\x1b[31m"])
def test_a_unit_that_does_not_fit_behind_a_number_is_refused(unit):
    with pytest.raises(cli.InputError, match="unit="):
        cli.check_unit(unit)


@pytest.mark.parametrize("unit", ["USD", "¥", "kWh/m²", "none", "x" * 20])
def test_a_unit_of_some_letters_is_taken(unit):
    cli.check_unit(unit)
