"""Settings that Python users write become those that the command reads."""

from pathlib import Path

import numpy as np
import pytest

from bat import cli
from bat.interface import settings


def settled(**given):
    return settings.config("sales.jsonl", "told", "sold for", given)


def test_lists_numbers_and_none_are_written_as_flags_have_them():
    found = settled(
        sizes=[0, 0.5, np.int64(300)], seeds=(0, 1), trials=np.int64(3), worth=0.05, margin="0.2",
        baselines=["ridge", "words"], group_column=None, resume=np.bool_(False), limit=500,
        show_texts=False, base_model=Path("encoders") / "mine",
    )  # fmt: skip
    assert (found.data, found.text_column, found.target_column) == (
        "sales.jsonl", "told", "sold for",
    )  # fmt: skip
    assert (found.sizes, found.seeds, found.baselines) == ("0,0.5,300", "0,1", "ridge,words")
    assert (found.trials, found.limit, found.worth, found.margin) == (3, 500, 0.05, 0.2)
    assert type(found.trials) is int
    assert (found.resume, found.show_texts) == (False, False)
    assert (found.group_column, found.base_model) == ("none", "encoders/mine")
    assert settled(seeds=7).seeds == "7"
    assert settled() == settings.StudyConfig(
        data="sales.jsonl", text_column="told", target_column="sold for"
    )


def test_a_tilde_is_the_users_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    found = settings.config("~/sales.csv", "text", "price", {"base_model": Path("~/mine")})
    assert (found.data, found.base_model) == ("/home/ann/sales.csv", "/home/ann/mine")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trails": 3}, r"the setting 'trails'(?s:.)*did you mean trials\?"),
        ({"zzz": 3}, r"the setting 'zzz'(?s:.)*there are group_column, (?s:.)*, name"),
        ({"text_column": "told"}, r"the setting 'text_column'(?s:.)*use text"),
        ({"data": "a.csv"}, r"the setting 'data'(?s:.)*as the first argument"),
        ({"plan_only": True}, r"the setting 'plan_only'(?s:.)*-P plan_only=true"),
        ({"trials": 2.5}, r"trials='2.5'(?s:.)*a whole number"),
        ({"trials": True}, r"trials='true'(?s:.)*a whole number"),
        ({"trials": None}, r"trials='none'(?s:.)*a whole number"),
        ({"resume": "perhaps"}, r"resume='perhaps'(?s:.)*true or false"),
        ({"sizes": {0: 1}}, r"sizes=\{0: 1\}, of type dict(?s:.)*a list of these"),
        ({"sizes": [0, 0]}, r"'0' twice in sizes='0,0'"),
        ({"trials": 0}, "trials=0"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said):
    with pytest.raises(cli.InputError, match=said):
        settled(**given)


def test_a_column_has_a_name():
    assert settings.column("text", np.str_("told")) == "told"
    with pytest.raises(cli.InputError, match=r"text=0(?s:.)*map\(str\)"):
        settings.column("text", 0)
