"""The benchmark of claims: its arms have the gain they say, and its table says what was found."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from bat.stats import worth
from benchmarks.honesty import __main__ as honesty
from benchmarks.honesty import cells, material


def test_a_cell_holds_is_open_or_does_not():
    cell = cells.Cell("covers", lambda draws: cells.rate(draws, draws), least=0.93, most=0.97)
    assert cell.holds(cells.Measured(0.95, 0.01)) == "yes"
    assert cell.holds(cells.Measured(0.92, 0.01)) == "open"
    assert cell.holds(cells.Measured(0.98, 0.004)) == "no"
    assert cells.line(cell, cells.Measured(0.9, 0.01)).endswith("| 0.93 to 0.97 | no |")
    most = cells.Cell("wrong", cell.measure, most=0.05)
    assert cells.line(most, cells.Measured(0.04)) == "| wrong | none | 0.040 | at most 0.05 | yes |"
    assert most.holds(cells.Measured(math.nan)) == "no"


def test_what_no_study_has_stays_open():
    cell = cells.Cell("covers", lambda draws: cells.rate(0, 0), least=0.93)
    assert cell.holds(cell.measured(10)) == "open"


def test_a_cell_that_costs_more_takes_part_of_the_draws_and_says_so():
    cell = cells.Cell("covers", lambda draws: cells.rate(draws, draws), least=0.93, one_of=8)
    measured = cell.measured(1600)
    assert cells.line(cell, measured).startswith("| covers | 200 | 1.000 ")
    assert cell.measured(8).studies == cells.FEWEST


def test_a_rate_is_never_known_exactly():
    assert cells.rate(5, 10) == cells.Measured(0.5, pytest.approx(np.sqrt(0.25 / 10)), 10)
    assert cells.rate(0, 10).error > 0


def test_a_mean_of_shares_has_their_standard_error():
    shares = [0.8, 0.9, 1.0, 0.85]
    error = pytest.approx(np.std(shares, ddof=1) / 2)
    assert cells.mean(shares) == cells.Measured(pytest.approx(np.mean(shares)), error, 4)


@pytest.fixture
def tiny(monkeypatch):
    """A population of 600 rows in 60 clusters, in the place of a corpus."""
    rng = np.random.default_rng(0)
    made = material.Population(
        np.exp(rng.normal(10, 1, 600)), rng.normal(0, 0.5, 600), tuple(np.split(np.arange(600), 60))
    )
    monkeypatch.setattr(material, "population", lambda data: made)
    material.model.cache_clear()
    yield made
    material.model.cache_clear()


def test_an_arm_saves_exactly_its_share_of_the_error_over_the_population(tiny):
    arm, everything = material.model("", gain=0.05, noise=0.1, number=1), np.arange(600)
    rng = np.random.default_rng(1)
    luck = np.array([0.0, 0.01, -0.02])
    predicted = material.drawn_model(rng, arm, tiny.targets, everything, luck)
    errors = np.abs(tiny.targets - predicted).mean(axis=1)
    of_factory = np.abs(tiny.targets * -np.expm1(-tiny.log_errors)).mean()
    np.testing.assert_allclose(errors, 0.95 * of_factory * (1 + luck), rtol=1e-4)


@pytest.mark.parametrize("kind", [{"rows": 40}, {"groups": 5}])
def test_a_study_draws_rows_or_whole_clusters(tiny, kind):
    factory, arm = material.model(""), material.model("", noise=0.1, number=1)
    seen = material.study(np.random.default_rng(1), "", factory, [arm, arm], seeds=2, **kind)
    n = 40 if "rows" in kind else 50
    assert seen.factory.shape == (2, n)
    assert [each.shape for each in seen.arms] == [(2, n)] * 2
    if "groups" in kind:
        assert np.bincount(seen.groups).tolist() == [10] * 5
        assert np.isin(seen.targets[:10], tiny.targets).all()
    else:
        assert seen.groups is None


ONE_CELL = "share of MAE saved, 300 rows, 1 seeds, noise 0.05"


def rows_of(printed):
    """What the table holds, line by line: cell, studies, measured, bound, holds."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:1] == "|"]
    return lines[2:]


def test_the_toy_table_has_a_line_for_each_cell_of_every_family(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("BAT_HOME", str(tmp_path))
    for words in (ONE_CELL, "no gain: worth it", "flat, 10 even", "12 clusters of similar texts"):
        assert honesty.main(["--toy", "--only", words]) == 0
        found = rows_of(capsys.readouterr().out)
        assert found
        for name, studies, _, _, holds in found:
            assert words in name
            assert int(studies) >= cells.FEWEST
            assert holds in ("yes", "open", "no")


def test_a_claim_holds_and_the_same_one_broken_does_not(tiny, capsys, monkeypatch):
    monkeypatch.delenv("BAT_CORPORA", raising=False)
    arguments = ["--draws", "1000", "--only", ONE_CELL]
    assert honesty.main(arguments) == 0
    ((_, studies, _, bound, holds),) = rows_of(capsys.readouterr().out)
    assert (studies, bound, holds) == ("1,000", "0.93 to 0.97", "yes")

    gains = worth.gains

    def half_as_wide(*told, **named):
        found = []
        for each in gains(*told, **named):
            share = each.share
            half = (share.high - share.low) / 4
            narrow = worth.Interval(share.value, share.value - half, share.value + half)
            found.append(dataclasses.replace(each, share=narrow))
        return found

    monkeypatch.setattr(worth, "gains", half_as_wide)
    assert honesty.main(arguments) == 1
    ((*_, holds),) = rows_of(capsys.readouterr().out)
    assert holds == "no"


def test_an_aim_that_is_not_claimed_refutes_nothing(capsys):
    missed = cells.Cell("aim", functools.partial(cells.rate, 0), least=0.9, claimed=False)
    assert honesty.table([missed], 100) == 0
    printed = capsys.readouterr().out
    assert rows_of(printed)[0][-1] == "no, not claimed"
    assert printed.strip().endswith(
        "0 claims in 0.0 minutes: 0 hold, 0 open, 0 do not hold; 1 aims not claimed"
    )
