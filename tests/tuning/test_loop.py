"""The loop keeps its promises for every objective, the ones of the table and one made here."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bat import units
from bat.models import encoder
from bat.tuning import loop, objective
from bat.tuning.objective import Examples, Schedule
from bat.tuning.objectives import mlm, supervised, table
from tests.tuning import text_length

OBJECTIVES = table.OBJECTIVES | {"length": text_length.OBJECTIVE}
MASKS = mlm.Recipe(learning_rate=2e-3, blocks_a_step=2, precision="fp32")
SIZES = (50, 100)


@pytest.fixture(params=OBJECTIVES)
def work(request, texts, monkeypatch):
    """An objective with something to learn: what ``loop.finetune`` takes behind the encoder."""
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    monkeypatch.setattr(mlm, "HEAD_STEPS", 3)
    monkeypatch.setattr(supervised, "BATCH_TEXTS", 10)
    monkeypatch.setattr(supervised, "LEARNING_RATE", 1e-3)  # the tiny encoder's weights are large
    targets = np.array([len(text) % 7 - 3 for text in texts], np.float32)
    settings = {
        "mlm": (Examples(texts, SIZES), MASKS),
        "supervised": (Examples(texts, SIZES[-1:], targets=targets), supervised.Recipe(0, "fp32")),
        "length": (Examples(texts, SIZES), text_length.Recipe()),
    }
    return OBJECTIVES[request.param], *settings[request.param]


def tune(tiny, work, **options):
    made, examples, recipe = work
    return {t.documents: t for t in loop.finetune(made, tiny, examples, recipe, **options)}


def weights(tuned):
    """All but what is drawn when the checkpoint opens, since it lacks it and no text needs it."""
    state = tuned.model.state_dict()
    return {name: each for name, each in state.items() if "pooler." not in name}


def equal_bits(some, others):
    assert some.keys() == others.keys()
    assert all(some[size].losses == others[size].losses for size in some)
    pairs = [(weights(some[size]), weights(others[size])) for size in some]
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_every_objective_learns_and_says_what_it_did(tiny, work):
    before, done = encoder.digest(tiny.model), []
    found = tune(tiny, work, progress=lambda count, loss: done.append(count))
    made, examples, recipe = work
    laid = made.lay_out(tiny, examples, recipe)
    assert list(found) == list(examples.sizes)
    assert sum(done) == loop.work(laid, examples.sizes, examples.sizes)
    assert sum(done) == sum(tuned.tokens_trained for tuned in found.values())
    for tuned, end, tokens in zip(found.values(), laid.plan.ends, laid.tokens, strict=True):
        assert (tuned.steps, tuned.tokens, tuned.precision) == (end, tokens, "fp32")
        losses = [loss for _, loss in tuned.losses]
        third = len(losses) // 3
        assert np.mean(losses[-third:]) < np.mean(losses[:third])
    assert encoder.digest(tiny.model) == before


def test_every_objective_goes_on_from_where_it_was_killed(tiny, work, monkeypatch):
    steps = []
    wanted = tune(tiny, work, progress=lambda done, loss: steps.append(done))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    checkpoint, taken = units.unit(units.TRUNKS), []

    def killed(done, loss):
        taken.append(done)
        if len(taken) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tiny, work, checkpoint=checkpoint, progress=killed)
    again = []
    found = tune(tiny, work, checkpoint=checkpoint, progress=lambda done, loss: again.append(done))
    assert equal_bits(wanted, found)
    assert again == steps[3:]  # the fourth was not kept


def test_every_objective_gives_a_step_in_parts_the_same_gradient(tiny, work, monkeypatch):
    clip = torch.nn.utils.clip_grad_norm_
    norms = []  # before clipping; Adam would forgive a wrong scale, the clipping would not
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda some, most: norms.append(float(clip(some, most)))
    )
    made, examples, recipe = work
    for at_once in (100, 3, 1):
        run = loop.start(made, tiny, examples, recipe)
        run.laid = dataclasses.replace(run.laid, rows_at_once=at_once)
        loop.take_step(run, 0)
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_an_objective_is_varied_by_replacing_its_parts(tiny, texts):
    given = []

    def groups(model, recipe):
        given.append(recipe)
        return [objective.Group(list(model.parameters()), 0.0)]

    still = dataclasses.replace(text_length.OBJECTIVE, groups=groups)
    recipe = text_length.Recipe()
    (found,) = loop.finetune(still, tiny, Examples(texts, [20]), recipe)
    assert given == [recipe]
    before, after = tiny.model.state_dict(), found.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_group_that_is_not_clipped_does_not_scale_the_others(tiny, texts):
    recipe = supervised.Recipe(0, "fp32")
    targets = np.full(len(texts), 1000.0, np.float32)
    targets[::2] *= -1  # far away: gradients that are clipped
    run = loop.start(supervised.OBJECTIVE, tiny, Examples(texts, [64], targets=targets), recipe)
    seen = {}

    def note(*_):
        seen["encoder"] = torch.stack(
            [p.grad.norm() for p in run.groups[0].parameters if p.grad is not None]
        ).norm()
        seen["head"] = torch.stack([p.grad.norm() for p in run.groups[1].parameters]).norm()

    run.optimizer.register_step_pre_hook(note)
    loop.take_step(run, 0)
    assert float(seen["encoder"]) == pytest.approx(loop.MAX_GRADIENT_NORM, rel=1e-3)
    assert float(seen["head"]) > 10


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (10, 1), (33, 4)])
def test_a_rate_that_rises_and_falls_is_the_lesser_of_two_lines(steps, warmup):
    plan = Schedule([(0, 0, 1)] * steps, (steps,), (steps,), warmup, objective.rise_and_fall)
    rates = [plan.rate(step, 0) for step in range(steps)]
    assert max(rates) == 1.0 == rates[warmup - 1]
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup - 1 :] == sorted(rates[warmup - 1 :], reverse=True)
    assert math.isclose(rates[-1], 1 / (steps - warmup + 1))
