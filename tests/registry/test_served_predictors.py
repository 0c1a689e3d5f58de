"""Not the pair alone: what else predicts is registered, served without pickle, and scored."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from bat.data import corpus
from bat.models import interval, predictors, pricer, search
from bat.registry import champion, score, tracking, versions
from bat.workflow import preparation
from tests.conftest import fitted

ABOUT = SimpleNamespace(
    base="tiny", corpus="sales", digest="d", finetune_on="train", parts_by="t", unit="",
    parts={"train": 1},
)  # fmt: skip
SERVE = """
import json, sys, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
assert type(model.unwrap_python_model()).__name__ == "PricerModel"
found = model.predict(pandas.DataFrame({"text": json.load(sys.stdin)}))
print(json.dumps(found.to_dict("list")))
"""


@pytest.fixture
def prepared(sales, tiny):
    return preparation.prepare(corpus.load(str(sales)), tiny)


def unseen(name, loaded, rows):
    """What a baseline predicts for rows of groups that it has not learnt from, (rows,)."""
    divided = search.splits(loaded.group_ids[rows], folds=4, seed=0)
    guesses = [
        fitted(name, loaded.texts, loaded.prices, rows[learn], groups=loaded.group_ids).predict(
            [loaded.texts[row] for row in rows[apart]]
        )
        for learn, apart in divided
    ]
    return search.in_order(divided, guesses, len(rows))


def candidate(name, prepared):
    """A baseline that is judged by a fit to the training rows, and served by one to all."""
    loaded, every = prepared.corpus, np.arange(len(prepared.corpus.texts))
    train, held_out = prepared.rows("train"), prepared.rows("held_out")
    judged, served = (fitted(name, loaded.texts, loaded.prices, each) for each in (train, every))

    def calibrated(made, rows):
        features = made.read([loaded.texts[row] for row in rows]).features
        return interval.calibrate(
            features,
            loaded.prices[rows],
            unseen(name, loaded, rows),
            groups=loaded.group_ids[rows],
            seed=0,
        )

    read = judged.read([loaded.texts[row] for row in held_out])
    low, high = calibrated(judged, train).bounds(read.features, read.prices, 0.9)
    inside = (low <= loaded.prices[held_out]) & (loaded.prices[held_out] <= high)
    tags = {"arm": predictors.named(name).label}
    made = calibrated(served, every)
    return champion.Candidate(name, served, made, inside, read.prices, frozenset(), tags)


def register(each, prepared, number):
    with mlflow.start_run() as run, tracking._calm():
        return champion.register(
            SimpleNamespace(about=ABOUT),
            each if isinstance(each, list) else [each],
            prepared,
            versions.MlflowRegistry("sales-price", frozenset({run.info.run_id})),
            study=f"{run.info.run_id}{number}",
            target_column="price",
            promote="if_better",
            margin=0.0,
        )


def test_baselines_are_registered_served_in_a_fresh_process_and_scored(
    prepared, store, sales, tmp_path
):
    held_out = prepared.rows("held_out")
    texts = [prepared.corpus.texts[row] for row in held_out]
    digests = corpus.row_digests(texts)
    for number, name in enumerate(("median", "ridge")):
        each = candidate(name, prepared)
        made = register(each, prepared, number)
        assert made.verdict.promoted, made.verdict.reason  # the second beats the first
        assert made.inside.value == each.inside.mean() > 0.7

        served = subprocess.run(
            [sys.executable, "-c", SERVE, made.address],
            input=json.dumps(texts),
            env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert served.returncode == 0, served.stderr
        priced = pd.DataFrame(json.loads(served.stdout.splitlines()[-1]))
        wanted = each.predictor.predict(texts)
        np.testing.assert_array_equal(priced["price"], wanted)
        assert (priced["price_low"] < priced["price"]).all()
        assert (priced["price"] < priced["price_high"]).all()
        assert not priced["truncated"].any()

        folder = versions.pricer_folder("models:/sales-price@champion")
        output = tmp_path / f"{name}.jsonl"
        score.score(folder, str(sales), output)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        scored = {row["text"]: row["predicted"] for row in rows}
        np.testing.assert_array_equal([scored[text] for text in texts], wanted)
        assert type(pricer.load(folder).predictor) is predictors.named(name).kind
        # what is compared comes from the fit that was judged; what is served knows these rows
        carried = pricer.held_out(folder)
        keys = map(pricer.row_key, digests, prepared.corpus.prices[held_out])
        assert [carried[key] for key in keys] == each.predictions.tolist()
        assert (each.predictions != wanted).any()
        train = [prepared.corpus.texts[row] for row in prepared.rows("train")]
        assert pricer.rows_seen(folder) == set(corpus.row_digests(train))
        tags = store.get_model_version("sales-price", made.version).tags
        assert tags["arm"] == predictors.named(name).label
        assert float(tags["milliseconds_a_text"]) > 0
        assert float(tags["megabytes"]) > 0

        # MLflow's pages: what a version is, and how to call it
        described = store.get_model_version("sales-price", made.version).description
        assert predictors.named(name).label[1:] in described
        assert f"mlflow models serve -m models:/sales-price/{made.version} " in described
        logged = mlflow.models.get_model_info(made.address)
        assert logged.signature.outputs.input_names()[0] == "price"
        described = store.get_registered_model("sales-price").description
        assert "models:/sales-price@champion" in described


def test_a_description_by_hand_is_kept(store, sales, prepared):
    register(candidate("median", prepared), prepared, 0)
    ours = store.get_registered_model("sales-price").description
    assert ours.startswith("Predicts **price**")
    store.update_registered_model("sales-price", "Ours. Ask Ann.")
    register(candidate("median", prepared), prepared, 1)
    assert store.get_registered_model("sales-price").description == "Ours. Ask Ann."
    store.update_registered_model("sales-price", "")
    register(candidate("median", prepared), prepared, 2)
    assert store.get_registered_model("sales-price").description == ours


def test_a_folder_without_anything_served_is_refused(tmp_path):
    with pytest.raises(ValueError, match="which holds no encoder and regressor"):
        versions.pricer_folder(str(tmp_path))
