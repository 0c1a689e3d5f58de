"""A stack in a study: what its task leaves predicts as the predictor that is served does."""

from types import SimpleNamespace

import numpy as np
import pytest

from bat.data import corpus
from bat.models import embedding, predictors, regressor
from bat.tuning.objectives import mlm
from bat.workflow import baselines, graph, preparation, refit, spec, stacks, stages, tasks

SEED = 1


@pytest.fixture(scope="module")
def done(sales, tiny, tmp_path_factory):
    """A study's stack on the factory encoder: its task, and its refit to all rows."""
    top = tmp_path_factory.mktemp("stack")
    prepared = preparation.prepare(corpus.load(str(sales)), tiny)
    context = tasks.Context(tiny, prepared, spec.StudySpec((0,), (SEED,), 2, mlm.Recipe()))
    shard, judged, served = (top / name for name in ("shard", "judged", "served"))
    for folder in (shard, judged, served):
        folder.mkdir()
    distinct = context.distinct
    np.save(shard / stages.ROWS, embedding.embed(tiny, distinct))
    np.save(shard / stages.PLACES, np.arange(len(distinct)))
    arguments = {"seed": SEED, "shards": 1, "what": "factory", "predictor": "stack"}
    stacks.evaluation(context, arguments, [shard], judged)
    refit.refit(context, arguments, [judged, shard], served)
    return SimpleNamespace(prepared=prepared, judged=judged, served=served)


def test_what_a_study_predicts_is_what_the_predictor_itself_would(done, tiny):
    made = stages.read_evaluation(done.judged)
    reader = stacks.read_reader(done.judged)
    opened = tiny if reader.embeds else None
    predictor = predictors.Stack(reader, regressor.load(done.judged), opened)
    rows = done.prepared.rows("held_out")
    texts = [done.prepared.corpus.texts[row] for row in rows]
    np.testing.assert_allclose(predictor.predict(texts), made.predictions[rows], rtol=1e-5)
    cost = stages.read_cost(done.judged)
    assert cost.milliseconds_a_text > 0
    assert cost.megabytes > 0


def test_what_is_served_keeps_the_parts_and_has_learnt_from_all_rows(done, tiny):
    judged, again = stacks.read_reader(done.judged), stacks.read_reader(done.served)
    assert again.uses == judged.uses
    assert again.numbers == judged.numbers
    found = refit.read_refit(done.served)
    served = refit.read_predictor("stack", done.served, tiny, None)
    assert (served.encoder is tiny) == judged.embeds
    loaded, held_out = done.prepared.corpus, done.prepared.rows("held_out")
    texts = [loaded.texts[row] for row in held_out]
    guesses, prices = served.predict(texts), loaded.prices[held_out]
    before = stages.read_evaluation(done.judged).predictions[held_out]
    assert np.abs(guesses - prices).mean() < np.abs(before - prices).mean()
    assert found.calibrated.scores.size == len(loaded.texts)
    assert found.inside.shape == held_out.shape
    assert abs(found.inside.mean() - 0.9) < 0.1
    read = served.read(texts[:3])
    low, high = found.calibrated.bounds(read.features, read.prices, 0.9)
    assert (low < read.prices).all()
    assert (read.prices < high).all()


def test_a_stack_without_an_encoder_is_a_baseline_that_may_be_served(sales, tiny, tmp_path):
    prepared = preparation.prepare(corpus.load(str(sales)), tiny)
    context = tasks.Context(tiny, prepared, spec.StudySpec((0,), (SEED,), 2, mlm.Recipe()))
    task = graph.baseline(context, "words")
    judged, again = tmp_path / "judged", tmp_path / "again"
    for folder in (judged, again):
        folder.mkdir()
    task.run(context, task.arguments, [], judged)
    refit.refit(context, {"predictor": "words", "seed": SEED, "shards": 0}, [judged], again)
    found, made = baselines.read("words", judged), baselines.read_predictor(judged)
    assert set(found.uses) <= {"numbers", "ridge on words", "ridge on pieces of words"}
    assert found.uses == made.reader.uses
    assert found.train_mae == stages.read_evaluation(judged).train_mae
    texts, rows = prepared.corpus.texts, prepared.rows("held_out")
    np.testing.assert_allclose(
        made.predict([texts[row] for row in rows]), found.predictions[rows], rtol=1e-5
    )
    served = refit.read_predictor("words", again, None, None)
    assert served.encoder is None
    assert served.reader.uses == found.uses
    few = [texts[row] for row in rows]
    errors = [np.abs(each.predict(few) - prepared.corpus.prices[rows]) for each in (made, served)]
    assert errors[1].mean() < errors[0].mean()  # which has learnt from these rows
    assert abs(refit.read_refit(again).inside.mean() - 0.9) < 0.1


@pytest.mark.parametrize("part", ["pair", "stack", "words"])
def test_out_of_fold_errors_of_a_refit_know_nothing_of_their_rows(part, sales, tiny, tmp_path):
    """Prices that follow from nothing but a number that each text has alone are not foretold."""
    loaded = corpus.load(str(sales))
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(9, 1, len(loaded.texts)))
    noise = rng.normal(size=(len(loaded.texts), 4)).astype(np.float32)
    changed = SimpleNamespace(
        texts=[f"{number:05d}x" for number in rng.permutation(len(prices))],
        prices=prices,
        group_ids=np.arange(len(prices)),
    )
    prepared = SimpleNamespace(
        corpus=changed,
        rows=lambda name: np.arange(len(prices))[
            {"train": slice(320), "held_out": slice(320, None)}[name]
        ],
        times=lambda rows: None,
    )
    judged, served = tmp_path / "judged", tmp_path / "served"
    judged.mkdir()
    served.mkdir()
    if part == "stack":
        data = baselines.training_data("noise", tiny, prepared, 2, SEED, judged, None)
        stacks._fill(data, noise, None, judged)
    elif part == "words":
        noise = noise[:, :0]
        baselines._fill("words", tiny, prepared, 2, SEED, None, judged)
    else:
        stages.evaluate(noise, prepared, 2, SEED, "noise", judged)
    refit._fill(part, noise, judged, prepared, SEED, served)
    found = refit.read_refit(served)
    spread = np.quantile(np.abs(found.calibrated.scores), 0.9) * 1.0
    assert spread > 0
    assert abs(found.inside.mean() - 0.9) < 0.12  # an interval of rows it knew would hold fewer
