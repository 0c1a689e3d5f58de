"""Arms put together into a study: fresh, read back, half finished, or stopped early."""

import dataclasses
import json
import math

import numpy as np
import pytest

from bat import records
from bat.cli import InputError
from bat.data import checks, corpus
from bat.data.auctions import generator
from bat.models import predictors
from bat.models.explanation import StrongWord
from bat.stats import stopping
from bat.workflow import arms, outcome
from bat.workflow.outcome import Scored

PRICES = np.array([10.0, 20.0, 30.0, 40.0])
GROUPS = np.array([5, 5, 7, 9])
ABOUT = outcome.About(
    corpus="theirs.csv",
    digest="d" * 64,
    parts={"train": 9, "held_out": 4},
    findings=[checks.Finding("one price", "warning", 3, "three of a price", ((4, "a text"),))],
    ceiling=generator.Ceiling(0.9, 1.0, 0.5, 0.95),
    base="base",
    finetune_on="train",
    sizes=[0, 256, 512],
    seeds=[0, 1],
    baselines=["median", "tfidf"],
    margin=0.1,
    objectives=["mlm"],
    protocol=corpus.PROTOCOL,
)


def arm(documents, seed=0, error=1.0, choice=5.0, baseline="", predictor="pair", cost=None):
    seconds = {"baselines": 3.0} if baseline else {"tuning": 2.0, "search": 1.0}
    key = ABOUT.key("mlm", documents, seed, predictor)
    key = arms.baseline("base", 9, 0, baseline) if baseline else key
    uses = ("embedding", "ridge on words") if predictor == "stack" else ()
    words = StrongWord("null", 5, 1.1, 1 / 3), StrongWord("a b", 7, 0.1 + 0.2, -4.0)
    strongest = words if baseline == "tfidf" else ()
    return Scored(key, PRICES + error, choice, seconds, cost, uses, strongest)


ALL = [arm(n, s, error=n + s) for n in (0, 256, 512) for s in (0, 1)]
BASELINES = [arm(0, baseline=name) for name in ("tfidf", "median")]


def test_seeds_share_a_row_and_baselines_come_last_as_asked_for():
    found = outcome.assemble(ABOUT, PRICES, [*BASELINES, *ALL[::-1]])
    names = ["factory", "tuned on 256", "tuned on 512", "median price", "TF-IDF + SVD"]
    assert [row.name for row in found.rows] == names
    assert (found.rows[1].predictions - PRICES).tolist() == [[256.0] * 4, [257.0] * 4]
    assert found.rows[1].scores["mae"].value == 256.5
    assert found.seconds == {"tuning": 12.0, "search": 6.0, "baselines": 6.0}
    assert found.missing == found.skipped == ()


def test_held_out_error_chooses_the_arm_and_validation_did_in_version_0_1():
    scored = [
        arm(0, 0, error=4.0, choice=1.0),
        arm(0, 1, error=1.0, choice=1.0),
        arm(256, 0, error=2.5),
        arm(256, 1, error=2.0),
        arm(512, 0, error=9.0),
        arm(512, 1, error=9.0),
        arm(0, baseline="tfidf", error=0.1),  # is compared with, and never chosen
    ]
    found = outcome.assemble(ABOUT, PRICES, scored)
    assert found.best_pair.key == found.served.key == ABOUT.key("mlm", 256, 1)
    predicted = found.best_pair.predictions  # every row chooses the same
    assert predicted.tolist() == (PRICES + 2.0).tolist()
    old = outcome.assemble(dataclasses.replace(ABOUT, protocol=1), PRICES, scored)
    assert old.best_pair.key == old.served.key == ABOUT.key("mlm", 0, 0)


def test_a_baseline_without_folds_has_no_error_to_be_chosen_by():
    lacking = arm(0, baseline="supervised", choice=math.nan)
    about = dataclasses.replace(ABOUT, baselines=["supervised"])
    found = outcome.assemble(about, PRICES, [*ALL, lacking])
    assert math.isnan(found.rows[-1].train_mae)
    again = outcome.rebuild(kept_study([*ALL, lacking], about=about))
    assert math.isnan(again.rows[-1].train_mae)


def test_a_line_says_whether_another_seed_would_change_it():
    found = outcome.assemble(ABOUT, PRICES, [*ALL, *BASELINES], groups=GROUPS)
    by_chance = {row.name: row.by_chance for row in found.rows}
    assert by_chance["factory"]
    assert by_chance["TF-IDF + SVD"]  # searched
    assert not by_chance["median price"]


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
    stop = stopping.Stop(True, 1.0, 2.0, "enough")
    found = outcome.assemble(ABOUT, PRICES, [*ALL[:4], *BASELINES], stop, 256)
    assert (found.skipped, found.missing) == ((512,), ())
    lost = outcome.assemble(ABOUT, PRICES, [*ALL[:3], *BASELINES], stop, 256)
    assert (lost.skipped, lost.missing) == ((512,), ("documents=256 seed=1",))
    went_on = stopping.Stop(False, 3.0, 2.0, "not yet")
    assert outcome.assemble(ABOUT, PRICES, [*ALL, *BASELINES], went_on).skipped == ()


class Run:
    """A tracker that keeps what ``reading.read`` reads."""

    def __init__(self):
        self.params, self.metrics, self.tags, self.texts = {}, {}, {}, {}

    def log(self, record):
        match record:
            case records.Metrics(values):
                self.metrics |= values
            case records.Tags(values):
                self.tags |= values
            case records.Text(name, text):
                self.texts[name] = text
            case records.Table(name, rows):
                lines = [",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]
                self.texts[name] = "\n".join(lines)

    def kept(self, children=()):
        return records.Kept("run", self.params, self.metrics, self.tags, self.texts, children)


def kept_child(scored, prices=PRICES, *, keyed=True):
    run = Run()
    key = scored.key
    if key.is_baseline:
        run.tags = {"baseline": key.predictor}
    else:
        run.params = {"documents": str(key.documents), "seed": str(key.seed)}
        run.tags = {"arm": {"pair": "encoder", "stack": "stack"}[key.predictor]}
        run.params |= {outcome.USES: ", ".join(scored.uses)} if scored.uses else {}
    lines = np.arange(len(PRICES))
    for record in [
        *outcome.prediction_records(lines, prices, GROUPS, scored.predictions, scored.train_mae),
        *outcome.cost_records(scored.seconds, scored.cost),
        *([outcome.key_record(key)] if keyed else []),
        *outcome.words_records(scored.strongest),
    ]:
        run.log(record)
    return run.kept()


def kept_study(scored, stop=None, about=ABOUT):
    run = Run()
    run.log(outcome.about_record(about))
    if stop:
        run.log(outcome.stop_record(stop, 256))
    return run.kept([kept_child(each) for each in scored])


STOPS = [None, *(stopping.Stop(is_over, None, 2.0, "a reason") for is_over in (True, False))]


@pytest.mark.parametrize("stop", STOPS)
def test_a_study_read_back_says_what_the_fresh_one_said(stop):
    scored = [*(ALL[:4] if stop and stop.stop else ALL), *BASELINES]
    fresh = outcome.assemble(ABOUT, PRICES, scored, stop, 256, GROUPS)
    again = outcome.rebuild(kept_study(scored, stop))
    assert again.about == fresh.about
    for name in ("seeds", "seconds", "skipped", "stop", "missing"):
        assert getattr(again, name) == getattr(fresh, name), name
    for mine, theirs in ((fresh.best_pair, again.best_pair), (fresh.served, again.served)):
        assert mine.key == theirs.key
        np.testing.assert_array_equal(mine.predictions, theirs.predictions)
    assert sum(bool(row.strongest) for row in again.rows) == 1
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


WORDS = dataclasses.replace(ABOUT, baselines=["ridge"], stack="auto", seeds=[0])


def stack(documents, error, milliseconds=20.0):
    cost = predictors.Cost(milliseconds, 90.0)
    return arm(documents, error=error, predictor="stack", cost=cost)


def test_what_words_add_has_lines_of_its_own_that_may_be_served():
    scored = [arm(0, error=5.0), arm(256, error=4.0), arm(512, error=3.0)]
    scored += [stack(0, 2.0), stack(512, 1.0), arm(0, baseline="ridge", error=2.5)]
    found = outcome.assemble(WORDS, PRICES, scored)
    names = ["factory", "tuned on 256", "tuned on 512", "words + factory", "words + tuned on 512"]
    assert [row.name for row in found.rows] == [*names, "TF-IDF + ridge"]
    assert [row.documents for row in found.rows] == [0, 256, 512, None, None, None]
    assert found.missing == ()
    assert found.best_pair.key == ABOUT.key("mlm", 512, 0)
    assert found.served.key == ABOUT.key("mlm", 512, 0, "stack")
    again = outcome.rebuild(kept_study(scored, about=WORDS))
    assert [row.key for row in again.rows] == [row.key for row in found.rows]
    assert again.served.key == found.served.key
    assert again.rows[3].uses == found.rows[3].uses == ("embedding", "ridge on words")
    assert again.rows[3].cost == found.rows[3].cost == predictors.Cost(20.0, 90.0)
    half = outcome.assemble(WORDS, PRICES, [*scored[:4], scored[5]])
    assert half.missing == ("stack documents=512 seed=0",)


def test_what_is_served_is_fast_enough_if_anything_is():
    scored = [arm(0, error=5.0, cost=predictors.Cost(9.0, 90.0))]
    scored += [stack(0, 1.0), arm(0, baseline="ridge", error=2.0, cost=predictors.Cost(0.5, 3.0))]
    for within, chosen in ((None, "stack"), (25.0, "stack"), (9.0, "ridge"), (0.1, "ridge")):
        about = dataclasses.replace(WORDS, sizes=[0], serve_within=within)
        found = outcome.assemble(about, PRICES, scored)
        assert found.served.key.predictor == chosen, within
        assert found.best_pair.key.predictor == "pair"


def test_two_ways_to_learn_keep_apart_and_the_curve_is_of_the_first():
    about = dataclasses.replace(ABOUT, objectives=["mlm", "other"], seeds=[0], baselines=[])
    other = [
        Scored(about.key("other", size, 0), PRICES + size, 1.0, {"search": 1.0})
        for size in (256, 512)
    ]
    scored = [*(arm(size, error=1.0) for size in (0, 256, 512)), *other]
    found = outcome.assemble(about, PRICES, scored)
    assert [row.name for row in found.rows] == [
        "factory",
        "tuned on 256",
        "tuned on 512",
        "tuned on 256 (other)",
        "tuned on 512 (other)",
    ]
    assert [row.name for row in found.curve] == ["factory", "tuned on 256", "tuned on 512"]
    again = outcome.rebuild(kept_study(scored, about=about))
    assert [row.key for row in again.rows] == [row.key for row in found.rows]
    lacking = outcome.assemble(about, PRICES, scored[:-1])
    assert lacking.missing == ("objective=other documents=512 seed=0",)


def test_runs_of_older_versions_say_less_and_are_read():
    kept = outcome.rebuild(
        dataclasses.replace(
            kept_study([], about=dataclasses.replace(ABOUT, baselines=[])),
            children=[kept_child(each, keyed=False) for each in ALL],
        )
    )
    assert [row.key for row in kept.rows] == [ABOUT.key("mlm", size, 0) for size in (0, 256, 512)]


def test_no_words_are_served_where_no_text_may_be_shown():
    scored = [arm(0, error=5.0), arm(0, baseline="ridge", error=1.0)]
    about = dataclasses.replace(WORDS, sizes=[0], stack="none")
    for shown, served in ((True, "ridge"), (False, "pair")):
        told = dataclasses.replace(about, show_texts=shown)
        assert outcome.assemble(told, PRICES, scored).served.key.predictor == served
