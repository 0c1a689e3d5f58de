"""Precision: what saves time by a margin, measured once, kept by a study that has begun."""

import dataclasses
import itertools
import json

import pytest
import torch

from bat import home
from bat.tuning import loop, precision
from bat.tuning.objectives import mlm, supervised
from bat.workflow import graph, study
from tests.conftest import context_of, masked_words

STEPPER = precision.stepper  # which conftest replaces


@pytest.fixture(autouse=True)
def offers_both(monkeypatch):
    monkeypatch.setattr(precision, "offered", lambda: ("fp32", "bf16"))


@pytest.fixture
def timer(monkeypatch):
    """Let a step take the seconds that a test says, by precision; counts the steps."""
    seconds = {"fp32": 1.0, "bf16": 1.0, "steps": 0}

    def step_seconds(name):
        seconds["steps"] += 1
        return seconds[name]

    monkeypatch.setattr(precision, "stepper", lambda: step_seconds)
    return seconds


@pytest.mark.parametrize(
    ("bf16", "expected"),
    [(2.0, "fp32"), (1.0, "fp32"), (0.91, "fp32"), (0.89, "bf16"), (0.1, "bf16")],
)
def test_bfloat16_is_chosen_where_it_saves_more_than_the_margin(timer, bf16, expected):
    timer["bf16"] = bf16
    chosen = precision.of_machine()
    assert chosen.precision == expected
    assert chosen.seconds == {"fp32": 1.0, "bf16": bf16}
    assert timer["steps"] == 2 * (1 + precision.ROUNDS)
    assert loop.precision("auto") == precision.DTYPES[expected]


def test_another_program_that_slows_some_rounds_changes_nothing():
    """Two of five rounds are slow, in one precision or in both; the first steps of all are."""
    first = {"fp32": 50.0, "bf16": 1.0}
    rounds = {"fp32": [1, 9, 1, 1, 9], "bf16": [0.5, 4.5, 0.5, 8, 0.5]}
    steps = {name: itertools.chain([first[name]], rounds[name]) for name in rounds}
    found = precision.measure(lambda name: next(steps[name]))
    assert found == precision.Choice("bf16", {"fp32": 1, "bf16": 0.5})


def test_a_machine_is_timed_once(timer, capsys):
    timer["bf16"] = 0.5
    assert loop.precision("auto") == torch.bfloat16
    assert "0.5 s in bf16, so it is done in bf16" in capsys.readouterr().out
    timer |= {"bf16": 2.0, "steps": 0}
    assert loop.precision("auto") == torch.bfloat16
    assert timer["steps"] == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("other", ["device", "threads", "torch"])
def test_another_machine_number_of_cores_or_version_is_timed_anew(timer, monkeypatch, other):
    timer["bf16"] = 0.5
    assert precision.of_machine().precision == "bf16"
    machine = precision._machine()
    monkeypatch.setattr(precision, "_machine", lambda: machine | {other: "another"})
    timer["bf16"] = 2.0
    assert precision.of_machine().precision == "fp32"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"precision": "int8", "seconds": {}}', "{}"])
def test_a_damaged_note_is_made_again(timer, content):
    precision.of_machine()
    (note,) = (home.folder() / "precision").iterdir()
    note.write_text(content)
    timer["bf16"] = 0.5
    assert precision.of_machine().precision == "bf16"
    assert json.loads(note.read_text())["precision"] == "bf16"


def test_an_explicit_precision_and_a_device_with_one_are_not_timed(timer, monkeypatch):
    assert loop.precision("bf16") == torch.bfloat16
    assert loop.precision("fp32") == torch.float32
    monkeypatch.setattr(precision, "offered", lambda: ("fp32",))
    assert loop.precision("auto") == torch.float32
    assert timer["steps"] == 0
    assert precision.facts() == {"precision": "fp32"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"amx_bf16": True}, ("fp32", "bf16")),
        ({"amx_bf16": False, "avx512_bf16": True}, ("fp32", "bf16")),
        ({"bf16": True}, ("fp32", "bf16")),
        ({"avx512_bf16": False}, ("fp32",)),
        ({}, ("fp32",)),
    ],
)
def test_a_processor_that_emulates_bfloat16_is_not_tried(monkeypatch, flags, expected):
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert precision.offered() == expected


def test_a_study_keeps_the_precision_that_it_began_with(timer, monkeypatch):
    timer["bf16"] = 0.5
    with precision.of_study("a"):
        assert loop.precision("auto") == torch.bfloat16
    precision._of_study.cache_clear()  # as in another process,
    machine = precision._machine()  # on more cores, where float32 is faster
    monkeypatch.setattr(precision, "_machine", lambda: machine | {"threads": 99})
    timer["bf16"] = 2.0
    with precision.of_study("a"):
        assert loop.precision("auto") == torch.bfloat16
        assert precision.facts()["precision"] == "bf16"
    with precision.of_study("b"):
        assert loop.precision("auto") == torch.float32
    assert loop.precision("auto") == torch.float32


def test_a_precision_chosen_elsewhere_goes_first(timer):
    with precision.of_study("a"), precision.fixed("bf16"):
        assert loop.precision("auto") == torch.bfloat16
    assert timer["steps"] == 0


def test_processes_that_tune_together_take_what_the_first_one_measured(timer, monkeypatch):
    """Of two, where the second would have chosen otherwise."""
    loop._agreed_precision.cache_clear()
    monkeypatch.setattr(loop, "_processes", lambda: type("Two", (), {"num_processes": 2}))
    monkeypatch.setattr(loop, "is_main", lambda: False)
    monkeypatch.setattr(loop, "agreed", lambda value: "bf16")
    assert loop.precision("auto") == torch.bfloat16
    assert timer["steps"] == 0
    loop._agreed_precision.cache_clear()


def test_units_are_named_by_the_precision_where_they_compute_in_it(timer, tiny, texts):
    context = context_of(tiny, texts, [300], mlm.Recipe())

    def names():
        return graph.encoders(context, graph.Curve("mlm", 0))[300].unit.name

    with precision.fixed("fp32"):
        first = names()
        assert first == names()
    with precision.fixed("bf16"):
        assert names() != first


def test_a_tuning_says_in_which_precision_it_was_done(timer, tiny, texts, monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 2)
    recipe = mlm.Recipe(blocks_a_step=1)
    for wanted in ("fp32", "bf16"):
        with precision.fixed(wanted):
            (tuned,) = masked_words(tiny, texts, [20], recipe)
        assert tuned.precision == wanted
        explicit = dataclasses.replace(recipe, precision=wanted)
        (same,) = masked_words(tiny, texts, [20], explicit)
        assert same.losses == tuned.losses
    assert study._told({"precision": "bf16"}) == {"tuning.precision": "bf16"}


def test_end_to_end_tuning_takes_the_same_precision(timer, tiny, texts):
    prices = [1000.0 + 7 * place for place in range(40)]
    rows = torch.arange(32).numpy()

    def predicted():
        fitted = supervised.fit(tiny, texts[:40], prices, rows, seed=0)
        return fitted.predict(texts[:40]).tolist()

    with precision.fixed("fp32"):
        first = predicted()
        assert predicted() == first
    with precision.fixed("bf16"):
        assert predicted() != first


def test_a_step_of_the_model_that_is_timed_trains_in_each_precision(monkeypatch):
    for name, value in (("LAYERS", 1), ("WIDTH", 24), ("WORDS", 50), ("TOKENS", 8)):
        monkeypatch.setattr(precision, name, value)
    monkeypatch.setattr(precision, "stepper", STEPPER)
    step = precision.stepper()
    state = torch.get_rng_state()
    assert all(step(name) > 0 for name in ("fp32", "bf16", "fp32"))
    precision.stepper()
    assert torch.equal(torch.get_rng_state(), state)
