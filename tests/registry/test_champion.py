"""Who is served: better on the same rows, that neither has seen, and never by a race."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from bat.data import corpus
from bat.models import pricer
from bat.registry import champion
from bat.stats import bootstrap


def rows(n=200, seed=0):
    """True prices, and the errors of a good and a poor pair."""
    rng = np.random.default_rng(seed)
    prices = np.exp(rng.normal(9, 1, n))
    return prices, prices * 1.05, prices * 1.4


def test_a_row_is_new_where_no_text_of_its_group_was_learnt_from():
    digests, groups = ["a", "b", "c", "d", "e", "a"], np.array([0, 0, 1, 2, 2, 0])
    found = champion.new_rows(digests, groups, frozenset("be"))
    assert found.tolist() == [False, False, True, False, False, False]
    assert champion.new_rows(digests, groups, frozenset()).all()


def test_the_better_one_is_promoted_and_its_equal_or_worse_is_not():
    prices, good, poor = rows()
    won = champion.judge(prices, good, poor, margin=0.0, comparisons=3)
    assert won.promoted
    assert won.gain.value == pytest.approx(np.mean(0.05 * prices) - np.mean(0.4 * prices))
    assert "on 200 held-out rows that neither has learnt from" in won.reason
    assert "the upper end holds with 99.75% in comparison 4 of this model" in won.reason
    for new, present in ((poor, good), (good, good)):
        lost = champion.judge(prices, new, present, margin=0.0, comparisons=0)
        assert not lost.promoted
        assert "that end must be below 0" in lost.reason


def levels(count, monkeypatch):
    """With which probability each of so many comparisons may promote what is no better."""
    prices, good, _ = rows()
    asked, paired = [], bootstrap.paired

    def noted(*arguments, coverage, **options):
        asked.append((1 - coverage) / 2)
        return paired(*arguments, coverage=coverage, **options)

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "paired", noted)
        for before in range(count):
            champion.judge(prices, good, good, margin=0.0, comparisons=before)
    return asked


def test_all_comparisons_together_err_in_less_than_one_of_twenty(monkeypatch):
    found = levels(20, monkeypatch)
    assert found == pytest.approx([0.05 / (k * (k + 1)) for k in range(1, 21)])
    assert sum(found) == pytest.approx(0.05 * 20 / 21)  # and below 0.05 for however many more


def test_an_equal_candidate_is_rarely_promoted_and_the_more_come_the_less():
    """Twenty candidates that err as the champion does, on rows that are drawn afresh each time."""
    draws = np.random.default_rng(0)
    promoted = []
    for _ in range(15):
        prices = np.exp(draws.normal(9, 1, 300))
        present = prices * np.exp(draws.normal(0, 0.3, 300))
        for before in range(20):
            new = prices * np.exp(draws.normal(0, 0.3, 300))
            verdict = champion.judge(prices, new, present, margin=0.0, comparisons=before)
            promoted.append(verdict.promoted)
    # Each series of twenty promotes one with a probability of 0.05 at most: of 15 hardly 4.
    assert sum(promoted) <= 3


def test_few_rows_or_groups_are_not_compared():
    assert "only 99 held-out rows are new to both it and the cha" in champion.too_few(99, 99).reason
    assert "only 29 groups of held-out rows are new" in champion.too_few(400, 29).reason


def test_a_margin_asks_for_more_than_any_gain():
    prices, good, poor = rows()
    assert champion.judge(prices, good, poor, margin=0.5, comparisons=0).promoted
    lost = champion.judge(prices, good, poor, margin=0.9, comparisons=0)
    assert not lost.promoted
    assert f"below {-0.9 * np.mean(0.4 * prices):+,.0f}" in lost.reason


def test_the_reason_says_the_unit_of_the_target_behind_its_errors():
    prices, good, poor = rows()
    plain, told = (
        champion.judge(prices, good, poor, margin=0.9, comparisons=0, unit=unit).reason
        for unit in ("", "USD")
    )
    assert told.count(" USD") == 2  # behind the difference, and behind what it must be below
    assert told.replace(" USD", "") == plain


def protocol(finetune_on="train", parts_by="text, protocol 2"):
    """How a pair was tuned, and what its parts hang on, as the tags of its version."""
    return {"corpus_digest": "d", "finetune_on": finetune_on, "parts_by": parts_by}


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
        protocol(),
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
            protocol(parts_by="group_column=seller, protocol 2"),
            "had its parts by text, protocol 2, this one by group_column=seller, protocol 2: no fa",
        ),
    ],
)
def test_what_is_not_compared_is_not_promoted(promote, mine, reason):
    tracker = SimpleNamespace(champion=lambda: SimpleNamespace(version="1", tags=protocol()))
    found = champion._verdict(None, None, tracker, "2", mine, promote=promote, margin=0.0)
    assert not found.promoted
    assert reason in found.reason


def test_a_version_of_the_protocol_before_is_refused_by_name():
    before = SimpleNamespace(version="1", tags=protocol(parts_by="text"))
    tracker = SimpleNamespace(champion=lambda: before)
    found = champion._verdict(None, None, tracker, "2", protocol(), promote="if_better", margin=0.0)
    assert not found.promoted
    assert found.reason == (
        "version 1 had its parts by text, this one by text, protocol 2: no fair comparison; "
        "promote=always would replace it"
    )


# What versions carry of the fits that were judged


N = 400


class Kept:
    """A registry with one champion, whose folder holds what it predicted for its held-out rows."""

    name = "kept"

    def __init__(self, folder, theirs, read):
        pricer_files = {pricer.HELD_OUT_FILE: theirs, pricer.SEEN_FILE: sorted(read)}
        for name, values in pricer_files.items():
            (folder / name).write_text(json.dumps(values))
        self.folder, self.recorded = folder, []

    def champion(self):
        return SimpleNamespace(version="1", tags=protocol())

    def fetch(self, version):
        return self.folder

    def record_comparison(self, version, against):
        self.recorded.append((version, against))
        return 0

    def promote(self, version, *, instead_of):
        return True


@pytest.fixture
def compare(tmp_path):
    """Compare a candidate that errs by 5 % with a champion that errs by 40 %, on some rows."""
    prices, _, _ = rows(N)
    texts = [f"text {at}" for at in range(N)]
    digests = corpus.row_digests(texts)

    def compared(*, shared=range(N), read=(), seen=(), groups=None, held_out=None, then=prices):
        """``shared``: rows that the champion has held out, at prices of ``then``.

        ``read`` and ``seen`` are those that it, and the candidate's encoder, have learnt from.
        """
        loaded = SimpleNamespace(
            texts=texts, prices=prices, group_ids=np.arange(N) if groups is None else groups
        )
        held_out = np.arange(N) if held_out is None else held_out
        prepared = SimpleNamespace(corpus=loaded, rows=lambda part: {"held_out": held_out}[part])
        theirs = {pricer.row_key(digests[at], then[at]): 1.4 * then[at] for at in shared}
        registry = Kept(tmp_path, theirs, [digests[at] for at in read])
        candidate = SimpleNamespace(
            predictions=1.05 * prices[held_out], seen=frozenset(digests[at] for at in seen)
        )
        found = champion._verdict(
            candidate, prepared, registry, "2", protocol(), promote="if_better", margin=0.0
        )
        return found, registry.recorded

    return compared


def counted(found):
    return int(re.search(r"on (\d+) held-out rows", found.reason).group(1))


def test_what_both_predicted_for_rows_that_both_held_out_is_compared(compare):
    found, recorded = compare()
    assert found.promoted
    prices, _, _ = rows(N)
    assert found.gain.value == pytest.approx(-0.35 * prices.mean())
    assert recorded == [("2", "1")]
    assert counted(found) == N
    assert counted(compare(shared=range(150, 350))[0]) == 200
    held_out = np.arange(0, N, 2)
    assert counted(compare(held_out=held_out)[0]) == N // 2


def test_rows_of_a_group_of_which_the_champion_has_read_a_text_are_left_out(compare):
    pairs = np.arange(N) // 2
    assert counted(compare(read=range(0, 100, 2), groups=pairs)[0]) == N - 100
    assert counted(compare(read=range(0, 100, 2))[0]) == N - 50  # each text a group of its own


def test_rows_that_the_candidates_encoder_was_tuned_on_are_left_out(compare):
    assert counted(compare(seen=range(100))[0]) == N - 100


def test_a_row_with_another_price_is_another_row(compare):
    prices, _, _ = rows(N)
    assert counted(compare(then=np.where(np.arange(N) < 250, prices, prices + 1))[0]) == 250


def test_what_too_few_rows_could_tell_is_not_looked_at(compare):
    found, recorded = compare(shared=range(99))
    assert "only 99 held-out rows are new to both" in found.reason
    assert not found.promoted
    assert recorded == []  # so that it does not count as a comparison


def test_a_champion_that_carries_no_predictions_is_kept(compare, monkeypatch):
    def lost(folder):
        raise FileNotFoundError("no held_out.json")

    monkeypatch.setattr(pricer, "held_out", lost)
    found, recorded = compare()
    assert not found.promoted
    assert found.reason == (
        "version 1 does not open (no held_out.json); promote=always would replace it"
    )
    assert recorded == []
