"""Arms put together into a study: fresh, read back, half finished, or stopped early."""

import dataclasses
import json

import numpy as np
import pytest

from bat import auctions, checks, outcome, records, scaling
from bat.cli import InputError
from bat.outcome import Scored

PRICES = np.array([10.0, 20.0, 30.0, 40.0])
GROUPS = np.array([5, 5, 7, 9])
ABOUT = outcome.About(
    corpus="theirs.csv",
    digest="d" * 64,
    parts={"train": 9, "test": 4},
    findings=[checks.Finding("one price", "warning", 3, "three of a price", ((4, "a text"),))],
    ceiling=auctions.Ceiling(0.9, 1.0, 0.5, 0.95),
    base="base",
    finetune_on="train",
    sizes=[0, 256, 512],
    seeds=[0, 1],
    baselines=["median", "tfidf"],
    margin=0.1,
)


def arm(documents, seed=0, error=1.0, validation=5.0, baseline=""):
    seconds = {"baselines": 3.0} if baseline else {"tuning": 2.0, "search": 1.0}
    return Scored(documents, seed, baseline, PRICES + error, validation, seconds)


ALL = [arm(n, s, error=n + s) for n in (0, 256, 512) for s in (0, 1)]
BASELINES = [arm(None, baseline=name) for name in ("tfidf", "median")]


def test_seeds_share_a_row_and_baselines_come_last_as_asked_for():
    found = outcome.assemble(ABOUT, PRICES, [*BASELINES, *ALL[::-1]])
    names = ["factory", "tuned on 256", "tuned on 512", "median price", "TF-IDF + SVD"]
    assert [row.name for row in found.rows] == names
    assert (found.rows[1].predictions - PRICES).tolist() == [[256.0] * 4, [257.0] * 4]
    assert found.rows[1].scores["mae"].value == 256.5
    assert found.seconds == {"tuning": 12.0, "search": 6.0, "baselines": 6.0}
    assert found.missing == found.skipped == ()


def test_validation_chooses_the_size_by_its_mean_and_then_the_seed():
    scored = [
        arm(0, 0, validation=4.0),
        arm(0, 1, validation=1.0),
        arm(256, 0, validation=2.5),
        arm(256, 1, validation=2.0),
        arm(None, baseline="tfidf", validation=0.1),  # is compared with, and never chosen
    ]
    assert outcome.choose(scored) == (256, 1)
    assert outcome.choose([arm(0), arm(256)]) == (0, 0)  # alike: the cheaper one


def test_only_seeds_that_have_every_size_are_compared():
    found = outcome.assemble(ABOUT, PRICES, [*ALL[:-1], *BASELINES])  # 512 of seed 1 is not there
    assert [len(row.predictions) for row in found.rows[:3]] == [1, 1, 1]
    assert (found.seeds, found.missing) == ((0,), ("documents=512 seed=1",))


def test_a_study_that_has_just_begun_is_told_as_far_as_it_got():
    found = outcome.assemble(ABOUT, PRICES, [arm(0), arm(256)])
    assert [row.name for row in found.rows] == ["factory", "tuned on 256"]
    assert found.missing[0] == "documents=512 seed=0"
    assert found.missing[-2:] == ("baseline=median", "baseline=tfidf")
    with pytest.raises(InputError, match="at least one finished arm"):
        outcome.assemble(ABOUT, PRICES, BASELINES)


def test_sizes_after_a_stop_are_skipped_and_not_missing():
    stop = scaling.Stop(True, 1.0, 2.0, "enough")
    found = outcome.assemble(ABOUT, PRICES, [*ALL[:4], *BASELINES], stop, 256)
    assert (found.skipped, found.missing) == ((512,), ())
    lost = outcome.assemble(ABOUT, PRICES, [*ALL[:3], *BASELINES], stop, 256)
    assert (lost.skipped, lost.missing) == ((512,), ("documents=256 seed=1",))
    went_on = scaling.Stop(False, 3.0, 2.0, "not yet")
    assert outcome.assemble(ABOUT, PRICES, [*ALL, *BASELINES], went_on).skipped == ()


class Run:
    """A tracker that keeps what ``tracking.read`` reads."""

    def __init__(self):
        self.params, self.metrics, self.tags, self.texts = {}, {}, {}, {}

    def log(self, record):
        match record:
            case records.Metrics(values):
                self.metrics |= values
            case records.Text(name, text):
                self.texts[name] = text
            case records.Table(name, rows):
                lines = [",".join(rows[0]), *(",".join(map(repr, r.values())) for r in rows)]
                self.texts[name] = "\n".join(lines)

    def kept(self, children=()):
        return records.Kept("run", self.params, self.metrics, self.tags, self.texts, children)


def kept_child(scored, prices=PRICES):
    run = Run()
    if scored.baseline:
        run.tags = {"baseline": scored.baseline}
    else:
        run.params = {"documents": str(scored.documents), "seed": str(scored.seed)}
    lines = np.arange(len(PRICES))
    for record in [
        *outcome.prediction_records(
            lines, prices, GROUPS, scored.predictions, scored.validation_mae
        ),
        outcome.seconds_record(scored.seconds),
    ]:
        run.log(record)
    return run.kept()


def kept_study(scored, stop=None):
    run = Run()
    run.log(outcome.about_record(ABOUT))
    if stop:
        run.log(outcome.stop_record(stop, 256))
    return run.kept([kept_child(each) for each in scored])


STOPS = [None, *(scaling.Stop(is_over, None, 2.0, "a reason") for is_over in (True, False))]


@pytest.mark.parametrize("stop", STOPS)
def test_a_study_read_back_says_what_the_fresh_one_said(stop):
    scored = [*(ALL[:4] if stop and stop.stop else ALL), *BASELINES]
    fresh = outcome.assemble(ABOUT, PRICES, scored, stop, 256, GROUPS)
    again = outcome.rebuild(kept_study(scored, stop))
    assert again.about == fresh.about
    for name in ("seeds", "chosen", "seconds", "skipped", "stop", "missing"):
        assert getattr(again, name) == getattr(fresh, name), name
    for mine, theirs in zip(fresh.rows, again.rows, strict=True):
        np.testing.assert_array_equal(mine.predictions, theirs.predictions)
        assert mine.scores == theirs.scores  # the intervals of groups
        same = dataclasses.replace(theirs, predictions=None)
        assert same == dataclasses.replace(mine, predictions=None)


def test_the_newest_run_of_an_arm_counts():
    old, new = arm(0, error=1.0), arm(0, error=2.0)
    again = outcome.rebuild(kept_study([new, old]))
    assert (again.rows[0].predictions - PRICES).tolist() == [[2.0] * 4]


def test_arms_of_other_rows_are_refused():
    kept = kept_study([arm(0)])
    changed = kept_child(arm(256), PRICES + 1)
    both = dataclasses.replace(kept, children=[*kept.children, changed])
    with pytest.raises(InputError, match="the data changed between them"):
        outcome.rebuild(both)


def test_a_run_that_is_no_study_is_refused():
    with pytest.raises(InputError, match="the run of a scaling_study"):
        outcome.rebuild(kept_child(ALL[0]))


def test_studies_are_told_apart_by_what_differs():
    asked = [{"base_model": "a", "seed": "0"}, {"base_model": "b", "seed": "0"}]
    assert outcome.labels(asked, ["1" * 32, "2" * 32]) == ["base_model=a", "base_model=b"]
    same = outcome.labels([asked[0]] * 2, ["1" * 32, "2" * 32])
    assert same == ["run 11111111", "run 22222222"]


def test_settings_are_those_of_the_user():
    run = Run()
    run.params = {"config.data": "theirs.csv", "documents": "5"}
    assert outcome.settings(run.kept()) == {"data": "theirs.csv"}


def test_the_story_is_plain_json():
    assert json.loads(outcome.about_record(ABOUT).text)["sizes"] == [0, 256, 512]
