"""Every package that a fresh environment gets has its version written down."""

import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import renew_constraints
from bat import records
from bat.models import regressor
from bat.registry import tracking

ROOT = Path(__file__).parent.parent
HERE = pytest.mark.skipif(
    not renew_constraints.Marker(renew_constraints.MARKER).evaluate(),
    reason="the constraints are those of Linux x86-64 with Python 3.11",
)


def lines(name):
    """The requirements of a file and of those that it names, without options and comments."""
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith(("-r ", "-c ")):
            yield from lines(line[3:])
        elif line and not line.startswith("#"):
            yield Requirement(line.partition(" #")[0])


def brought(name):
    """The installed versions of all that a file of requirements brings, by walking metadata."""
    todo, done = [(each, "") for each in lines(name)], {}
    seen = set()
    while todo:
        requirement, by = todo.pop()
        package = canonicalize_name(requirement.name)
        if by == "torch" and renew_constraints.OF_TORCH.match(package):
            continue
        if package == "pip":  # every environment has the one of its Python
            continue
        for extra in {"", *requirement.extras}:
            if (package, extra) in seen:
                continue
            seen.add((package, extra))
            distribution = metadata.distribution(package)
            done[package] = distribution.version.partition("+")[0]
            for line in distribution.requires or ():
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append((inner, package))
    return done


def pinned(name):
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in lines(name)}


@HERE
@pytest.mark.parametrize(
    ("requirements", "constraints"),
    [("requirements.txt", "constraints.txt"), ("requirements-dev.txt", "constraints-dev.txt")],
)
def test_all_that_is_brought_is_pinned_to_what_is_installed(requirements, constraints):
    found, pins = brought(requirements), pinned(constraints)
    assert len(found) > 100
    assert {name: pins.get(name) for name in found} == found, "make constraints"
    assert set(pins) == set(found), "no longer needed: make constraints"


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-dev.txt"])
def test_a_constraint_is_one_version_without_label_for_one_platform(name):
    for each in lines(name):
        assert re.fullmatch(r"==[^+*,]+", str(each.specifier)), each
        assert each.marker == renew_constraints.Marker(renew_constraints.MARKER)
        for other in (
            {"sys_platform": "darwin"}, {"platform_machine": "aarch64"}, {"python_version": "3.12"}
        ):  # fmt: skip
            assert not each.marker.evaluate(other)


def test_make_installs_with_the_constraints():
    assert "-r requirements-dev.txt -c constraints-dev.txt" in (ROOT / "Makefile").read_text()


def test_a_logged_model_brings_the_constraints_with_it(store, tmp_path):
    random = np.random.default_rng(0)
    features, prices = random.normal(size=(60, 4)), random.lognormal(9, 0.5, 60)
    fitted = regressor.fit(features, prices, regressor.Settings(), n_trees=2, seed=0)
    with tracking.run("test") as tracker:
        tracker.log(records.RegressorModel("regressor", fitted))
    (model,) = store.search_logged_models(["0"])
    folder = Path(store.download_artifacts(model.source_run_id, "regressor", str(tmp_path)))
    asked = (folder / "requirements.txt").read_text().splitlines()
    assert asked[-1] == "-c constraints.txt"
    assert set(asked[:-1]) == {str(each) for each in lines("requirements.txt")}
    brought_along = set((folder / "constraints.txt").read_text().splitlines())
    assert brought_along == {
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"
    }
