"""Whole studies with a tiny encoder, held to recorded numbers, digit by digit.

What a study computes shall not change when its code is rearranged. Each case runs a study as its
entry point does and compares everything a user can see in numbers with ``recorded/<case>.json``:
results, trials, predictions, parameters and metrics of every run, the answer, served prices.

After a change that is meant to move numbers, record them anew in the commit that causes it:
``BAT_RECORD=1 pytest -m "" tests/workflow/test_whole_studies.py``.
"""

import csv
import hashlib
import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import save_encoder, sentences

RECORDED = Path(__file__).parents[1] / "recorded"
WORTH = {"arrow": 40_000, "birch": 8_000, "comet": 25_000, "delta": 12_000}
TEXTS_TO_PRICE = (
    "1990 arrow coupe in red, 41k miles, manual.",
    "2010 delta sedan",
    "a birch wagon",
)
TIMES = (
    "seconds",
    "tokens_per_second",
    "milliseconds_a_text",
)  # end the names of what differs from run to run

COMMON = {"sizes": "0,256,1.0", "trials": 2, "baselines": "median,ridge", "stack": "none"}
CASES = {
    "one_seed": {"sizes": "0,256,300,1.0", "baselines": "median,lengths,tfidf,ridge,static"},
    "two_seeds": {"seeds": "0,1"},
    "factory_and_tuned": {"recipe": "plain,features=factory+tuned"},
    "independent": {"recipe": "schedule=independent"},
    "finetune_on_all": {"recipe": "finetune_on=all"},
    "supervised": {"sizes": "0,1.0", "baselines": "ridge,supervised"},
    "groups": {"group_column": "seller"},
    "time": {"time_column": "sold"},
    "stop_early": {"sizes": "0,256,270,285,300,1.0", "stop_when_enough": True, "margin": 0.9},
    "ray": {"executor": "ray"},
    "stacked": {"stack": "auto"},
    "stacked_on_ray": {"stack": "all", "executor": "ray", "recipe": "features=factory+tuned"},
}
FAST = ("one_seed", "groups", "stacked")  # the others are marked slow


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    """600 texts with prices, sellers and dates, the same on every machine."""
    path = tmp_path_factory.mktemp("corpus") / "cars.jsonl"
    draws = random.Random(0)
    rows = [
        {
            "text": text,
            "price": round(WORTH[text.split()[1]] * draws.lognormvariate(0, 0.3)),
            "seller": f"seller {draws.randrange(60)}",
            "sold": f"20{draws.randrange(10, 24)}-{draws.randrange(1, 13):02}-01",
        }
        for text in sentences(600)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("base") / "tiny")


def rounding():
    """Fingerprint how this machine rounds: other processors and libraries sum in another order."""
    import sklearn
    import torch
    import xgboost

    draws = np.random.default_rng(0)
    a, b = draws.normal(size=(64, 384)), draws.normal(size=(384, 96))
    with torch.inference_mode():
        x = torch.from_numpy(a.astype(np.float32)) @ torch.from_numpy(b.astype(np.float32))
        y = torch.nn.functional.gelu(torch.softmax(x / 20, dim=1))
    done = [(a @ b).tobytes(), y.numpy().tobytes(), np.linalg.svd(a, compute_uv=False).tobytes()]
    versions = [torch.__version__.partition("+")[0], xgboost.__version__, sklearn.__version__]
    return hashlib.sha256(b"".join(done) + " ".join(versions).encode()).hexdigest()[:16]


def without_times(values):
    return {name: value for name, value in values.items() if not name.endswith(TIMES)}


def table(text):
    """Sum a table up so that a difference can be read: its columns' sums, first rows, digest."""
    rows = [without_times(row) for row in csv.DictReader(io.StringIO(text))]
    sums = {}
    for name in rows[0]:
        try:
            sums[name] = sum(float(row[name]) for row in rows)
        except ValueError:
            continue
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {"rows": len(rows), "sums": sums, "first": rows[:2], "sha256": digest}


def described(client, run_id):
    """Everything that a study's runs and its registered model say in numbers."""
    import mlflow

    from bat.models import pricer

    def text(run, name):
        return mlflow.artifacts.load_text(f"runs:/{run}/{name}")

    parent = client.get_run(run_id)
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    runs = {}
    for child in sorted(children, key=lambda each: each.info.run_name):
        files = {file.path for file in client.list_artifacts(child.info.run_id)}
        runs[child.info.run_name] = {
            "params": child.data.params,
            "metrics": without_times(child.data.metrics),
            "tables": {
                name: table(text(child.info.run_id, name))
                for name in ("held_out_predictions.csv", "trials.csv")
                if name in files
            },
        }
    results = [
        without_times(row) for row in csv.DictReader(io.StringIO(text(run_id, "results.csv")))
    ]
    registered = {}
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        model = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}")
        (seen,) = Path(model).rglob(pricer.SEEN_FILE)
        prices = pricer.load(seen.parent).predict(list(TEXTS_TO_PRICE))
        registered[version.tags["arm"]] = [column.tolist() for column in prices]
    told = json.loads(text(run_id, "answer.json"))
    said = [*told["verdicts"], *told["doubts"]]
    return {
        "answer": [
            [each[name] for name in ("kind", "verdict", "action", "numbers")] for each in said
        ],
        "results": results,
        "runs": runs,
        "registered": registered,
    }


@pytest.mark.parametrize(
    "case", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_study_gives_the_recorded_numbers(case, corpus_file, base_folder, store, capsys):
    if case == "ray":
        pytest.importorskip("ray")
    from entrypoints import scaling_study

    settings = {"data": str(corpus_file), "base_model": str(base_folder)} | COMMON | CASES[case]
    scaling_study.run(scaling_study.StudyConfig(**settings))
    capsys.readouterr()
    (study,) = store.search_runs(["0"], "tags.registered != ''")
    found = {"rounding": rounding()} | described(store, study.info.run_id)
    found = json.loads(json.dumps(found))
    path = RECORDED / f"{case}.json"
    if os.environ.get("BAT_RECORD"):
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    recorded = json.loads(path.read_text())
    if recorded.pop("rounding") != found.pop("rounding"):
        pytest.skip("these numbers were recorded on a processor, or versions, that round otherwise")
    assert list(differences(found, recorded)) == []


def differences(found, recorded, where=""):
    """List where two nested values differ, so that a failure names the number that moved."""
    kinds = (dict, list)
    if not isinstance(found, kinds) or type(found) is not type(recorded):
        if found != recorded:
            yield f"{where}: {found!r}, recorded {recorded!r}"
        return

    def pairs(values):
        return dict(enumerate(values)) if isinstance(values, list) else values

    ours, theirs = pairs(found), pairs(recorded)
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        yield from differences(ours.get(name), theirs.get(name), f"{where}/{name}")
