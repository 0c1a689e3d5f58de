"""Who is served: better on the same rows, that neither has seen, and never by a race."""

from types import SimpleNamespace

import numpy as np
import pytest

from bat import champion


def rows(n=200, seed=0):
    """True prices, and the errors of a good and a poor pair."""
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(9, 1, n))
    return prices, prices * 1.05, prices * 1.4


def test_rows_that_either_has_seen_are_left_out():
    found = champion.common_rows(["a", "b", "c", "a", "d"], frozenset("b"), frozenset("dx"))
    assert found.tolist() == [0, 2, 3]
    assert champion.common_rows(["a"], frozenset("a")).size == 0


def test_the_better_one_is_promoted_and_its_equal_or_worse_is_not():
    prices, good, poor = rows()
    won = champion.judge(prices, good, poor, margin=0.0, comparisons=3)
    assert won.promoted
    assert won.gain.value == pytest.approx(np.mean(0.05 * prices) - np.mean(0.4 * prices))
    assert "on 200 test rows that neither has seen, which were compared 3 times" in won.reason
    for new, present in ((poor, good), (good, good)):
        lost = champion.judge(prices, new, present, margin=0.0, comparisons=0)
        assert not lost.promoted
        assert "the upper end must be below 0" in lost.reason


def test_few_rows_or_groups_are_not_compared():
    assert "only 99 test rows are new" in champion.too_few(99, 99).reason
    assert "only 29 groups of test rows are new" in champion.too_few(400, 29).reason


def test_a_margin_asks_for_more_than_any_gain():
    prices, good, poor = rows()
    assert champion.judge(prices, good, poor, margin=0.5, comparisons=0).promoted
    lost = champion.judge(prices, good, poor, margin=0.9, comparisons=0)
    assert not lost.promoted
    assert f"below {-0.9 * np.mean(0.4 * prices):+,.4g}" in lost.reason


def protocol(finetune_on="train", parts_by="text"):
    """How a pair was tuned, and what its parts hang on: the tags of one, the study of another."""
    return {"finetune_on": finetune_on, "parts_by": parts_by}


def test_rows_that_err_together_count_once():
    prices, _, _ = rows()
    sellers = np.repeat(np.arange(20), 10)
    shift = np.random.default_rng(2).normal(0.01, 0.03, 20)[sellers]
    new, present = prices * (1.2 - shift), prices * 1.2
    alone = champion.judge(prices, new, present, margin=0.0, comparisons=0)
    together = champion.judge(prices, new, present, groups=sellers, margin=0.0, comparisons=0)
    assert together.gain.high > alone.gain.high


def test_a_champion_that_changed_meanwhile_is_compared_again(monkeypatch):
    present = [SimpleNamespace(version="1", tags=protocol())]
    asked = []

    class Racing:
        def champion(self):
            return present[0]

        def promote(self, version, *, instead_of):
            asked.append((version, instead_of))
            if present[0].version != "1":
                return True
            present[0] = SimpleNamespace(version="2", tags=protocol())
            return False

    monkeypatch.setattr(champion, "_compared", lambda *_: champion.Verdict(True, "better"))
    decided = champion._verdict(
        None,
        None,
        Racing(),
        "3",
        frozenset(),
        SimpleNamespace(**protocol()),
        promote="if_better",
        margin=0.0,
    )
    assert decided.promoted
    assert asked == [("3", "1"), ("3", "2")]


@pytest.mark.parametrize(
    ("promote", "mine", "reason"),
    [
        ("never", protocol(), "promote=never"),
        ("if_better", protocol("all"), "tuned on train texts, this one on all: no fair"),
        (
            "if_better",
            protocol(parts_by="group_column=seller"),
            "its parts by text, this one by group_column=seller: no fair comparison",
        ),
    ],
)
def test_what_is_not_compared_is_not_promoted(promote, mine, reason):
    tracker = SimpleNamespace(champion=lambda: SimpleNamespace(version="1", tags=protocol()))
    found = champion._verdict(
        None, None, tracker, "2", frozenset(), SimpleNamespace(**mine), promote=promote, margin=0.0
    )
    assert not found.promoted
    assert reason in found.reason
