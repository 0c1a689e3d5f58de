"""The encoder trained on prices: it starts as scikit-learn ends, and learns from training rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bat import home, units
from bat.data import corpus
from bat.models import encoder
from bat.stats import bootstrap
from bat.tuning import loop
from bat.tuning.objectives import supervised


@pytest.fixture(scope="module")
def loaded(sales):
    return corpus.load(str(sales))


@pytest.fixture(scope="module")
def train(loaded):
    return corpus.rows(loaded, "train")


def predicted(tiny, loaded, train, prices=None, **options):
    prices = loaded.prices if prices is None else prices
    fitted = supervised.fit(tiny, loaded.texts, prices, train, **{"seed": 0} | options)
    return fitted.predict(loaded.texts)


def test_the_head_starts_as_ridge_regression():
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 5)).astype(np.float32), torch.from_numpy(random.normal(size=60))
    head = supervised._probe(x, y.float().numpy())
    oracle = Ridge(supervised.RIDGE_PENALTY).fit(x, y.float().numpy())
    np.testing.assert_allclose(head.weight.detach().numpy()[0], oracle.coef_, rtol=1e-4)
    assert head.bias.item() == pytest.approx(oracle.intercept_, abs=1e-5)


def test_training_fits_the_training_rows_better_than_the_start(tiny, loaded, train, monkeypatch):
    monkeypatch.setattr(supervised, "LEARNING_RATE", 1e-3)  # the tiny encoder's weights are large
    told = []
    tuned = predicted(tiny, loaded, train, progress=told.append)
    monkeypatch.setattr(supervised, "PASSES", 0)
    start = predicted(tiny, loaded, train)
    ours, theirs = (
        bootstrap.scores(loaded.prices[train], found[train])["r2_log"] for found in (tuned, start)
    )
    assert ours > theirs + 0.02
    assert sum(told) == 3 * len(train)


def test_the_factory_encoder_stays_as_it_is_and_the_same_seed_gives_the_same_bits(
    tiny, loaded, train
):
    before = encoder.digest(tiny.model)
    ours, again, other = (predicted(tiny, loaded, train, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(ours, again)
    assert (ours != other).any()
    assert encoder.digest(tiny.model) == before


def test_no_price_outside_training_is_looked_at(tiny, loaded, train):
    changed = loaded.prices * 7
    changed[train] = loaded.prices[train]
    np.testing.assert_array_equal(
        predicted(tiny, loaded, train), predicted(tiny, loaded, train, changed)
    )


def test_a_pass_holds_every_row_once_in_batches_of_like_length():
    ids = [np.zeros(length, np.int32) for length in range(100)]
    batches = list(supervised._batches(ids, (0, 0)))
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert max(map(len, batches)) == supervised.BATCH_TEXTS
    assert all(np.ptp([len(ids[index]) for index in batch]) < 40 for batch in batches)
    assert batches != list(supervised._batches(ids, (0, 1)))


def test_a_killed_prediction_goes_on_to_the_same_bits(tiny, loaded, train, monkeypatch):
    wanted = predicted(tiny, loaded, train)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    checkpoint, told, again = units.unit(units.BASELINES), [], []

    def killed(done):
        told.append(done)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predicted(tiny, loaded, train, checkpoint=checkpoint, progress=killed)
    found = predicted(tiny, loaded, train, checkpoint=checkpoint, progress=again.append)
    np.testing.assert_array_equal(found, wanted)
    assert sum(told[:4]) + sum(again) == 3 * len(train)


def test_a_killed_baseline_of_a_study_goes_on(tiny, loaded, monkeypatch):
    from bat.tuning.objectives import mlm
    from bat.workflow import baselines, graph, local, preparation, spec, tasks

    counts = np.full(len(loaded.texts), 10)
    prepared = preparation.Prepared(loaded, counts, ())
    wanted = spec.StudySpec((0,), (0,), 1, mlm.Recipe())
    context = tasks.Context(tiny, prepared, wanted)

    def found():
        task = graph.baseline(context, "supervised")
        list(local.execute(context, [task]))
        return baselines.read("supervised", task.unit.folder).predictions

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    steps, take = [], loop.take_step

    def killed(run, size):
        steps.append(run.step)
        if len(steps) == 5:
            raise KeyboardInterrupt
        take(run, size)

    monkeypatch.setattr(loop, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        found()
    ours = found()
    assert steps[:6] == [0, 1, 2, 3, 4, 4]  # not from the start
    assert not list(home.folder().glob("baselines-parts/*"))  # nothing is left when it is done
    np.testing.assert_array_equal(ours, predicted(tiny, loaded, corpus.rows(loaded, "train")))


PROCESSES = """
import json, sys
from pathlib import Path

import numpy as np

from bat.models import encoder_opening
from bat.tuning import loop
from bat.tuning.objectives import supervised

folder, texts, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
prices = [1000.0 + 90 * len(text) for text in texts]
supervised.BATCH_TEXTS = int(sys.argv[4])
fitted = supervised.fit(encoder_opening.open_encoder(folder), texts, prices, np.arange(60), seed=0)
found = fitted.predict(texts)
if loop.is_main():
    np.save(out, found)
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch_texts", [7, 1])  # shared unevenly, and not at all
def test_two_processes_learn_what_one_does(tiny_folder, texts, tmp_path, batch_texts):
    (tmp_path / "run.py").write_text(PROCESSES)
    (tmp_path / "texts.json").write_text(json.dumps(texts[:100]))
    found = []
    for launcher in (
        [],
        ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"],
    ):
        subprocess.run(
            [
                sys.executable, *launcher, tmp_path / "run.py", tiny_folder,
                tmp_path / "texts.json", tmp_path / "out.npy", str(batch_texts),
            ],
            check=True,
            timeout=300,
            env=os.environ | {"PYTHONPATH": str(Path(supervised.__file__).parents[3])},
        )  # fmt: skip
        found.append(np.load(tmp_path / "out.npy"))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
    assert np.ptp(found[0]) > 100  # they tell texts apart
