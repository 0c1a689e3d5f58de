"""Scores that few rows decide have no interval: a point in tables, null in ``answer.json``."""

import dataclasses
import json

import numpy as np
import pytest

from bat import escape
from bat.report import answer_file, page, runs, tables, terminal
from bat.workflow import outcome
from bat.workflow.outcome import Scored
from tests.report.made_up import ABOUT

SECONDS = {"search": 1.0}


@pytest.fixture(scope="module")
def found():
    """Two arms, of which one row of 400 carries nearly all of the squared error."""
    rng = np.random.default_rng(0)
    prices = rng.lognormal(10, 0.5, 400)
    prices[7] = 5e7
    about = dataclasses.replace(ABOUT, sizes=(0, 500), baselines=())
    arms = [
        Scored(ABOUT.key("mlm", size, 0), prices * np.exp(rng.normal(0, error, 400)), 1.0, SECONDS)
        for size, error in ((0, 0.3), (500, 0.1))
    ]
    for arm in arms:
        arm.predictions[7] = 5e4
    return outcome.assemble(about, prices, arms)


def test_answer_json_has_null_for_both_ends(found):
    document = answer_file.document(found, {}, None)
    read = json.loads(escape.strict_json(document))
    for arm in read["arms"]:
        r2, mae = arm["metrics"]["r2"], arm["metrics"]["mae"]
        assert isinstance(r2["value"], float)
        assert (r2["low"], r2["high"]) == (None, None)
        assert mae["low"] < mae["value"] < mae["high"]


def test_tables_show_the_number_alone(found):
    lines = tables.table(found)
    place = lines[0].index("R²")
    for line in lines[1:]:
        assert "[" not in line[place]
        assert line[place][-3:].isdigit()
        assert "[" in line[lines[0].index("MAE")]
    text = "\n".join([terminal.screen(found, {}), page.page(found, {})])
    assert "nan" not in text.lower()


def test_no_end_is_logged_where_there_is_none(found):
    logged = {}
    for record in runs.parent_records(found, {}):
        logged |= getattr(record, "values", {})
    assert "r2" in logged
    assert not {"r2_low", "r2_high"} & set(logged)
    assert {"mae_low", "mae_high"} <= set(logged)
    lines = tables.results(found)
    assert all("r2_low" not in line and "mae_low" in line for line in lines)
