"""``answer.json`` holds what docs/answer.md promises."""

import json
import re
from pathlib import Path

from bat import records
from bat.registry import champion
from bat.report import answer_file
from bat.stats import bootstrap
from tests.report.made_up import outcome, with_stacks, with_supervised

DOCUMENTED = (Path(__file__).parents[2] / "docs" / "answer.md").read_text()


def fields(heading):
    """The fields that the documentation lists in the first table after a heading."""
    section = DOCUMENTED.partition(f"{heading}\n")[2].partition("\n#")[0]
    table = re.search(r"(?:^\|.*\n?)+", section, re.MULTILINE)[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def served(promoted, best_pair="3"):
    return champion.Registered(
        model_name="cars-price",
        version="3",
        address="models:/cars-price@champion",
        verdict=champion.Verdict(promoted, "a reason"),
        coverage=0.9,
        inside=bootstrap.Interval(0.9, 0.88, 0.93),
        best_pair=best_pair,
    )


def test_every_field_is_documented_and_there():
    found = with_supervised(outcome({0: 0.3, 500: 0.2}, best=500), 0.1)
    registered = answer_file.registered(found, served(True))
    document = json.loads(answer_file.record(found, {}, registered).text)
    assert set(document) == fields("# answer.json")
    assert all(set(arm) == fields("## An arm") for arm in document["arms"])
    assert set(document["registered"]) == fields("## registered")
    said = [*document["verdicts"], *document["doubts"]]
    keys = {"kind", "verdict", "action", "numbers", "facts", "text"}
    assert all(set(each) == keys for each in said)
    assert keys <= set(re.findall(r"`(\w+)`", DOCUMENTED))
    assert {each["kind"] for each in document["doubts"]} == {"doubt"}
    assert "doubt" not in {each["kind"] for each in document["verdicts"]}
    assert document["schema_version"] == 1
    assert document["costs"] == {"seconds": {"search": 2.0}}


def test_an_arm_says_how_it_learnt_from_what_and_what_it_scored():
    found = with_supervised(outcome({0: 0.3, 500: 0.2}, seeds=2), 0.1)
    arms = answer_file.document(found, {}, None)["arms"]
    assert [(arm["name"], arm["kind"], arm["objective"]) for arm in arms] == [
        ("factory", "encoder", "factory"),
        ("tuned on 500", "encoder", "mlm"),
        ("TF-IDF + SVD", "baseline", "tfidf"),
        ("supervised", "baseline", "supervised"),
    ]
    assert [arm["documents"] for arm in arms] == [0, 500, None, None]
    assert [arm["base"] for arm in arms] == ["base", "base", None, "base"]
    assert [arm["seeds"] for arm in arms] == [[0, 1], [0, 1], [0], [0]]
    assert {arm["labels"] for arm in arms} == {640}
    scores = found.row("tuned on 500").scores
    for ours, theirs in {"mae": "mae", "medae": "medae", "r2": "r2", "r2_fitted": "r2_log"}.items():
        number = arms[1]["metrics"][ours]
        assert bootstrap.Interval(**number) == scores[theirs]


def test_registered_names_one_of_the_arms_and_who_is_served():
    found = outcome({0: 0.3, 500: 0.2}, best=500)
    assert answer_file.registered(found, served(False)) == {
        "name": "cars-price",
        "version": "3",
        "arm": "tuned on 500",
        "seed": 0,
        "aliases": ["candidate", "best_pair"],
        "reason": "a reason",
        "best_pair": {"version": "3", "arm": "tuned on 500", "seed": 0},
    }
    aliases = answer_file.registered(found, served(True))["aliases"]
    assert aliases == ["candidate", "champion", "best_pair"]


def test_a_stack_that_is_served_has_the_best_pair_beside_it():
    found = with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.2, 0.15, 0.1)
    told = answer_file.registered(found, served(True, best_pair="2"))
    assert told["arm"] == "words + tuned on 500"
    assert told["aliases"] == ["candidate", "champion"]
    assert told["best_pair"] == {"version": "2", "arm": "tuned on 500", "seed": 0}
    arms = {arm["name"]: arm for arm in answer_file.document(found, {}, None)["arms"]}
    assert arms["words + tuned on 500"]["kind"] == "stack"
    assert arms["words + tuned on 500"]["documents"] == 500
    assert arms["words + factory"]["objective"] == "factory"
    assert arms["words + factory"]["cost"] == {"milliseconds_a_text": 12.3, "megabytes": 98.7}


def test_what_was_registered_is_read_back_from_a_finished_study():
    found = outcome({0: 0.3, 500: 0.2}, best=500)
    registered = answer_file.registered(found, served(True))
    written = answer_file.record(found, {}, registered)
    kept = records.Kept("a", {}, {}, {}, {written.name: written.text})
    assert answer_file.kept_registered(kept, found) == registered
    assert answer_file.kept_registered(records.Kept("a", {}, {}, {}, {}), found) is None
