"""Kinds of units declare what computes them, and their versions rise when it changes.

After a change that leaves all results as they are, or that comes with a higher version:
``python -m tests.test_kinds`` notes the code of today.
"""

import importlib
import json
from pathlib import Path

import pytest

from bat import units
from bat.tuning.objectives import table
from tests import reach

NOTED = Path(__file__).parent / "golden" / "kinds.json"


# What computes: kinds of units; and objectives, whose versions are in the keys of what they tune.
STARTS = {kind.name: (kind.version, kind.fills) for kind in units.KINDS} | {
    f"objective {name}": (objective.version, (f"{name}.OBJECTIVE",))
    for name, objective in table.OBJECTIVES.items()
}


def today(name):
    version, starts = STARTS[name]
    return {"version": version, "code": reach.fingerprint(reach.reach(starts)[0])}


@pytest.mark.parametrize("kind", units.KINDS, ids=lambda kind: kind.name)
def test_a_kind_declares_what_its_code_reaches(kind):
    found, libraries = reach.reach(kind.fills)
    assert set(kind.modules) == {module for module, _ in found}
    assert set(kind.libraries) == libraries


@pytest.mark.parametrize("name", STARTS)
def test_code_that_changes_comes_with_a_higher_version(name):
    noted, found = json.loads(NOTED.read_text()).get(name), today(name)
    assert noted, f"{name} is new: run python -m tests.test_kinds"
    if noted["version"] == found["version"]:
        assert found["code"] == noted["code"], (
            f"the code of {name} has changed. If it makes something else of equal inputs, raise "
            "its version (of a kind in bat/units.py, of an objective in its module); then, or if "
            "it does not, run: python -m tests.test_kinds"
        )
    assert found == noted, "the version is new: run python -m tests.test_kinds"


@pytest.mark.parametrize("name", table.OBJECTIVES)
def test_an_objective_is_found_by_its_name_and_computes_with_what_keys_hold(name):
    module = importlib.import_module(f"bat.tuning.objectives.{name}")
    assert table.OBJECTIVES[name] is module.OBJECTIVE
    _, libraries = reach.reach([f"{name}.OBJECTIVE"])
    assert libraries <= set(units.TRUNKS.libraries) & set(units.ENCODERS.libraries)


def test_every_kind_is_in_the_table():
    declared = {each for each in vars(units).values() if isinstance(each, units.Kind)}
    assert declared == set(units.KINDS)
    assert len({kind.name for kind in units.KINDS}) == len(units.KINDS)


def test_reach_follows_names_and_not_comments():
    assert reach.plain('def f():\n    """Say."""\n    return 1  # one\n') == (
        "def f():\n    return 1"
    )
    assert reach.plain("x = '#'  # no") == "x = '#'"
    found, libraries = reach.reach(["search.fit"])
    assert {("regressor", "fit"), ("regressor", "Settings"), ("search", "Found")} <= found
    assert "xgboost" in libraries
    assert reach.fingerprint({("search", "fit")}) != reach.fingerprint({("search", "search")})


def test_versions_of_kind_and_libraries_and_every_input_make_another_key(monkeypatch):
    first = units.Kind("k", 1, (), (), ("numpy",))
    second = units.Kind("k", 2, (), (), ("numpy",))
    found = {units.unit(first, a=1).key, units.unit(second, a=1).key, units.unit(first, a=2).key}
    monkeypatch.setattr(units, "_version", lambda name: "0.0.1")
    assert len(found | {units.unit(first, a=1).key}) == 4


if __name__ == "__main__":
    NOTED.parent.mkdir(exist_ok=True)
    NOTED.write_text(json.dumps({name: today(name) for name in STARTS}, indent=2) + "\n")
