"""The commands from end to end on a tiny encoder; MLflow, registry and pyfunc are real."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from bat.cli import InputError
from bat.data import corpus
from bat.models import (
    embedding,
    encoder_opening,
    predictors,
    pricer,
    regressor,
    search,
    words,
)
from bat.registry import heartbeat, reading, tracking, versions
from bat.stats import bootstrap, learning_curve, stopping
from bat.tuning import loop
from bat.workflow import graph, outcome, study
from entrypoints import evaluate, finetune, promote, scaling_study, score
from entrypoints import report as report_again

ROOT = Path(__file__).parent.parent
ALL = len(corpus.rows(corpus.load("auctions:500"), "train"))  # documents of its training part


@pytest.fixture
def lines(monkeypatch):
    """What the command says to a person."""
    said = []
    monkeypatch.setattr("bat.cli.say", said.append)
    return said


def toy_study(tiny_folder, data, **changes):
    settings = {"base_model": str(tiny_folder), "data": str(data), "sizes": "0,256,1.0"}
    settings |= {"trials": 1, "baselines": "median", "stack": "none"}
    settings |= {"model_name": "bat-pricer"}
    scaling_study.run(scaling_study.StudyConfig(**settings | changes))


def test_groups_reach_folds_baselines_and_intervals(
    tiny_folder, sales, store, tmp_path, monkeypatch
):
    lines = [json.loads(line) for line in sales.read_text().splitlines()]
    path = tmp_path / "sold.jsonl"
    path.write_text("\n".join(json.dumps(row | {"seller": i % 125}) for i, row in enumerate(lines)))
    asked = []

    def noted(plain):
        def call(*arguments, groups, **options):
            asked.append(len(groups) - len(np.unique(groups)))
            return plain(*arguments, groups=groups, **options)

        return call

    for module, name in (
        (search, "search"), (words, "ridge"), (bootstrap, "bootstrap"),
        (bootstrap, "paired"), (bootstrap, "share"), (learning_curve, "resample"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    toy_study(tiny_folder, path, sizes="0,256,264", baselines="ridge", group_column="seller")
    assert min(asked) > 0  # each has been told of rows that belong together
    (run,) = store.search_runs(["0"], "tags.baseline = 'ridge'")
    table = store.download_artifacts(run.info.run_id, outcome.PREDICTIONS_FILE, str(tmp_path))
    groups = pd.read_csv(table)["group"]
    assert groups.nunique() < len(groups)


def files(client, run_id, folder=""):
    return {item.path for item in client.list_artifacts(run_id, folder)}


def holds_pickle(path):
    """Whether a file is a pickle by its first bytes, or an archive of torch or numpy with one."""
    start = path.read_bytes()[:2]
    if start == b"PK":
        with zipfile.ZipFile(path) as archive:
            return any(archive.read(name)[:1] == b"\x80" for name in archive.namelist())
    return start[:1] == b"\x80" and start[1:] in (b"\2", b"\3", b"\4", b"\5")


def test_a_pickle_is_found_wherever_it_hides(tmp_path):
    import pickle

    import joblib
    import torch

    (tmp_path / "plain.txt").write_bytes(pickle.dumps({"a": 1}))
    joblib.dump({"a": 1}, tmp_path / "joblib.bin")
    torch.save({"a": torch.ones(2)}, tmp_path / "torch.bin")
    assert all(holds_pickle(path) for path in tmp_path.iterdir())


@pytest.fixture(params=["median,lengths,tfidf,ridge,words,static,supervised"])
def studied(request, store, tiny_folder, lines):
    stack = "auto" if "ridge" in request.param else "none"
    toy_study(tiny_folder, "auctions:500", baselines=request.param, stack=stack)
    runs = store.search_runs(["0"])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = {run.info.run_name: run for run in runs if run is not parent}
    return SimpleNamespace(client=store, parent=parent, children=children, lines=lines)


def test_a_study_leaves_all_it_promises(studied, tmp_path, tiny_folder, monkeypatch):
    client, parent, children = studied.client, studied.parent, studied.children
    arms = [f"documents={n} seed=0" for n in (0, 256, ALL)]
    stacks = [f"stack documents={n} seed=0" for n in (0, ALL)]
    extra = [f"baseline={name}" for name in predictors.baselines()]
    assert set(children) == {*arms, *stacks, *extra}
    assert all(run.info.status == "FINISHED" for run in [parent, *children.values()])

    # the parent: the curve, the answer, the table
    steps = [m.step for m in client.get_metric_history(parent.info.run_id, "r2")]
    assert sorted(steps) == [0, 256, ALL]
    wanted = {f"{name}{end}" for name in ("r2", "mae", "medae") for end in ("", "_low", "_high")}
    assert wanted <= set(parent.data.metrics)
    assert 0.5 < parent.data.metrics["ceiling_r2"] < 1
    kinds = ("png", "svg")
    pictures = {f"curve_{name}.{kind}" for name in ("r2", "mae", "medae") for kind in kinds}
    assert pictures | {
        "results.csv",
        "answer.md",
        "answer.json",
        "rejected.jsonl",
        "checks.csv",
    } <= files(client, parent.info.run_id)
    page = Path(client.download_artifacts(parent.info.run_id, "report.html")).read_text()
    assert page.count("<svg") == 4
    assert f"Fine-tuning on {ALL} documents" in page
    assert "<td>TF-IDF + ridge</td>" in page
    assert not re.search(r"<script|<link|<img|src=", page)  # all that it needs is inside
    table = pd.read_csv(client.download_artifacts(parent.info.run_id, "results.csv"))
    assert table["arm"].tolist()[:3] == ["factory", "tuned on 256", f"tuned on {ALL}"]
    note = parent.data.tags["mlflow.note.content"]
    assert re.match(r"\*\*(Too early to tell|Not worth it|Worth it): tuning on ", note)
    assert "Corpus auctions:500, encoder" in note
    assert parent.data.params["config.data"] == "auctions:500"
    assert parent.inputs.dataset_inputs[0].dataset.name == "auctions:500"

    # a child: its pair as models, its numbers and settings
    child = children[f"documents={ALL} seed=0"]
    assert child.data.params["documents"] == str(ALL)
    assert child.data.metrics["documents"] == ALL
    assert {"r2", "mae", "mae_low", "medae", "r2_log", "cv_mae"} <= set(child.data.metrics)
    assert {"trials.csv", "held_out_predictions.csv"} <= files(client, child.info.run_id)
    models = mlflow.search_logged_models(["0"], output_format="list")
    names = sorted((m.name, m.source_run_id) for m in models if m.name != "pricer")
    encoders = [children[name].info.run_id for name in arms]
    searched = [name for name in predictors.baselines() if predictors.named(name).searched]
    trees = [
        *encoders,
        *(children[name].info.run_id for name in stacks),
        *(children[f"baseline={name}"].info.run_id for name in searched),
    ]
    assert names == sorted(
        [("encoder", run) for run in encoders] + [("regressor", run) for run in trees]
    )
    assert child.inputs.dataset_inputs[0].dataset.digest == (
        parent.inputs.dataset_inputs[0].dataset.digest
    )

    # a regressor's model holds all that its predictions take
    (kept,) = (m for m in models if (m.name, m.source_run_id) == ("regressor", child.info.run_id))
    folder = Path(mlflow.artifacts.download_artifacts(kept.model_uri))
    shutil.copy(folder / "extra_files" / regressor.VALUES_FILE, tmp_path)
    shutil.copy(folder / "model.ubj", tmp_path / regressor.TREES_FILE)
    (tuned,) = (m for m in models if (m.name, m.source_run_id) == ("encoder", child.info.run_id))
    opened = encoder_opening.open_encoder(reading.resolve(tuned.model_uri))
    loaded = corpus.load("auctions:500")
    held_out = corpus.rows(loaded, "held_out")
    texts = [loaded.texts[row] for row in held_out]
    judged = regressor.load(tmp_path)
    logged = pd.read_csv(client.download_artifacts(child.info.run_id, outcome.PREDICTIONS_FILE))
    predicted = judged.predict(embedding.encode(opened, texts))
    np.testing.assert_allclose(predicted, logged["predicted"], rtol=1e-4)

    # the registry: the pair with the least held-out error, and what is served
    champion = client.get_model_version_by_alias("bat-pricer", "champion")
    told = answer(client, parent.info.run_id)["registered"]
    assert str(champion.version) == told["version"] == parent.data.tags["registered"]
    assert champion.tags["arm"] in children
    version = client.get_model_version_by_alias("bat-pricer", "best_pair")
    assert str(version.version) == told["best_pair"]["version"]
    errors = {name: children[name].data.metrics["mae"] for name in arms}
    assert version.tags["arm"] == min(errors, key=errors.get)
    assert version.tags["study"] == parent.info.run_id
    assert len(version.tags["corpus_digest"]) == 64
    assert version.tags["parts_by"].endswith("protocol 2")
    assert version.tags["arm"] in version.description

    # the pair: pyfunc and pricer agree, without pickle, from another folder
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for alias in ("champion", "best_pair"):
        served = mlflow.pyfunc.load_model(f"models:/bat-pricer@{alias}")
        answered = served.predict(pd.DataFrame({"text": texts}))
        prices = answered["price"].to_numpy()
        top = mlflow.artifacts.download_artifacts(f"models:/bat-pricer@{alias}")
        folder = next(Path(top).rglob("pricer"))
        np.testing.assert_array_equal(pricer.load(folder).predict(texts).price, prices)
        assert (answered["price_low"] < prices).all()
        assert (prices < answered["price_high"]).all()
    assert (Path(reading.resolve("models:/bat-pricer@best_pair")) / "modules.json").is_file()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and holds_pickle(path)]

    # it has learnt from all rows, with the settings of its arm
    best = children[version.tags["arm"]]
    logged = pd.read_csv(client.download_artifacts(best.info.run_id, outcome.PREDICTIONS_FILE))
    truth = logged["price"].to_numpy()
    assert np.abs(prices - truth).mean() < np.abs(logged["predicted"] - truth).mean()
    fitted = pricer.load(folder).predictor.regressor
    assert str(fitted.n_trees) == best.data.params["regressor.n_trees"]
    settings = {f"regressor.{name}": str(value) for name, value in asdict(fitted.settings).items()}
    assert settings.items() <= best.data.params.items()

    # and carries what arms had predicted that were chosen by other rows
    carried = pricer.held_out(folder)
    keys = map(pricer.row_key, corpus.row_digests(texts), loaded.prices[held_out])
    of_arms = [
        pd.read_csv(
            client.download_artifacts(children[name].info.run_id, outcome.PREDICTIONS_FILE)
        )["predicted"]
        for name in arms
    ]
    apart = np.abs(np.array(of_arms) - [carried[key] for key in keys]).min(axis=0)
    assert (apart < 1e-6 * truth).all()
    inside = float(champion.tags["inside_interval"].split()[0])
    assert 0.75 < inside <= 1
    assert f"{100 * inside:.1f} %" in studied.lines[-1]

    # what the person at the terminal is told
    assert any("Plan for auctions:500" in line for line in studied.lines)
    assert f"Fine-tuning on {ALL} documents" in studied.lines[-1]
    assert f"bat-pricer version {champion.version}, the champion" in studied.lines[-1]


FEW = pytest.mark.parametrize("studied", ["median,lengths"], indirect=True)


def answer(client, run_id):
    return json.loads(Path(client.download_artifacts(run_id, "answer.json")).read_text())


@FEW
def test_a_report_is_built_again_from_the_runs_alone(studied, monkeypatch, tmp_path):
    client, parent = studied.client, studied.parent.info.run_id
    monkeypatch.setenv("BAT_HOME", str(tmp_path / "empty"))
    report_again.run(report_again.ReportConfig(studies=parent))
    run = client.search_runs(["0"])[0]
    assert run.data.tags["mlflow.runName"] == f"report {parent[:8]}"
    for name in ("results.csv", "answer.md", "answer.json", "report.html"):
        ours, theirs = (
            Path(client.download_artifacts(each, name)).read_text()
            for each in (run.info.run_id, parent)
        )
        assert ours == theirs, name
    registered = answer(client, parent)["registered"]
    assert (registered["name"], registered["version"]) == ("bat-pricer", "1")
    assert registered["aliases"] == ["candidate", "champion", "best_pair"]
    first, again = studied.lines[-2:]
    assert first.startswith(again)  # and then names what was registered

    # half a study is reported as far as it got, and says so
    client.set_terminated(studied.children[f"documents={ALL} seed=0"].info.run_id, "FAILED")
    report_again.run(report_again.ReportConfig(studies=parent))
    assert "Fine-tuning on 256 documents" in studied.lines[-1]
    assert f"Unfinished: documents={ALL} seed=0 are not there." in studied.lines[-1]
    assert "So far" in studied.lines[-1]
    assert "registered" not in studied.lines[-1]
    assert answer(client, client.search_runs(["0"])[0].info.run_id)["registered"] is None


@FEW
def test_two_studies_are_compared(studied, tiny_folder):
    client, first = studied.client, studied.parent.info.run_id
    toy_study(tiny_folder, "auctions:500", trials=2, baselines="none")
    second = client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")[0].info.run_id
    report_again.run(report_again.ReportConfig(studies=f"{first},{second}"))
    run = client.search_runs(["0"])[0].info.run_id
    pictures = {
        f"curves_{name}.{kind}" for name in ("r2", "mae", "medae") for kind in ("png", "svg")
    }
    assert pictures | {"results.csv", "report.html"} <= files(client, run)
    said = studied.lines[-1]
    assert f"baselines=none, trials=2 (tuned on {ALL}) minus baselines=median,lengths" in said
    page = Path(client.download_artifacts(run, "report.html")).read_text()
    assert page.count("<svg") == 3
    assert "studies compared" in page


def test_a_report_of_nothing_is_a_message(store):
    with pytest.raises(InputError, match="no study"):
        report_again.ReportConfig()
    with pytest.raises(InputError, match="which the tracking store does not have"):
        report_again.run(report_again.ReportConfig(studies="0123456789abcdef0123456789abcdef"))


def test_a_second_study_repeats_no_work(store, tiny_folder, sales, lines, monkeypatch):
    toy_study(tiny_folder, sales)

    def never(*args, **kwargs):
        raise AssertionError("work was done again")

    monkeypatch.setattr(loop, "start", never)
    monkeypatch.setattr(search, "search", never)
    monkeypatch.setattr(regressor, "fit", never)
    toy_study(tiny_folder, sales)
    runs = store.search_runs(["0"], "run_name LIKE 'documents=256%'")
    assert len(runs) == 2
    assert runs[0].data.metrics["mae"] == runs[1].data.metrics["mae"]
    # the same pair again is no better: it is the candidate, and the first one stays
    version = {
        alias: str(store.get_model_version_by_alias("bat-pricer", alias).version)
        for alias in ("champion", "candidate")
    }
    assert version == {"champion": "1", "candidate": "2"}
    assert (
        "version 2, the candidate, which is not served: its MAE minus the champion's is +0 ["
        in (lines[-1])
    )
    shutil.rmtree(Path(reading.resolve("models:/bat-pricer@champion")).parent)
    toy_study(tiny_folder, sales)
    assert "version 3, the candidate, which is not served: version 1 does not open" in lines[-1]
    toy_study(tiny_folder, sales, promote="always")
    assert "version 4, the champion: promote=always; version 1 was" in lines[-1]
    tags = store.get_registered_model("bat-pricer").tags
    assert [name[-4:] for name in tags if name.startswith("compared.")] == [".2-1"]
    with pytest.raises(AssertionError, match="work was done again"):
        toy_study(tiny_folder, sales, resume=False)


@pytest.mark.parametrize("dead", [True, False])
def test_what_a_dead_study_has_left_is_taken_over(store, tiny_folder, sales, lines, dead):
    toy_study(tiny_folder, sales, sizes="0")
    first = store.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")[0].info.run_id
    store.update_run(first, status="RUNNING")
    here = heartbeat.identity(os.getpid())
    host, number, _ = here.split()
    store.set_tag(first, heartbeat.PROCESS, f"{host} {number} 1" if dead else here)
    started = store.create_run("0", tags={tracking.PARENT: first}).info.run_id
    toy_study(tiny_folder, sales, sizes="0")
    second = store.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")[0].info.run_id
    assert second != first
    children = store.search_runs(["0"], "tags.arm != ''")
    parents = [run.data.tags[tracking.PARENT] for run in children]
    versions = store.search_model_versions("name = 'bat-pricer'")
    if dead:
        assert store.get_run(first).info.status == "KILLED"
        assert store.get_run(started).info.status == "KILLED"
        assert "the champion: it was promoted before" in lines[-1]
        assert parents == [second] * 2
        assert [version.tags["study"] for version in versions] == [second]
    else:
        assert store.get_run(first).info.status == "RUNNING"
        assert store.get_run(started).info.status == "RUNNING"
        assert sorted(parents) == sorted([first, second] * 2)
        assert len(versions) == 2


def test_a_better_pair_is_promoted_by_rows_that_both_held_out(
    store, tiny_folder, sales, lines, tmp_path
):
    rows = [json.loads(line) for line in sales.read_text().splitlines()]
    loaded = corpus.load(str(sales))
    train = loaded.lines[corpus.rows(loaded, "train")] - 1
    held_out = corpus.rows(loaded, "held_out")
    prices = [rows[row]["price"] for row in train]
    mixed = [dict(row) for row in rows]  # prices of other training texts: nothing to learn
    for row, price in zip(train, [*prices[7:], *prices[:7]], strict=True):
        mixed[row]["price"] = price
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, mixed)))
    toy_study(tiny_folder, path, sizes="0", baselines="none")
    toy_study(tiny_folder, sales, sizes="0", baselines="none")
    assert "version 2, the champion: its MAE minus the champion's is -" in lines[-1]
    assert f"on {len(held_out)} held-out rows that neither has learnt from" in lines[-1]
    assert "in comparison 1 of this model" in lines[-1]
    former = store.get_model_version_by_alias("bat-pricer", "previous")
    assert str(former.version) == "1"

    # of a champion that has learnt from the held-out rows too, nobody knows whether it is worse
    seen = Path(reading.resolve("models:/bat-pricer@champion")).parent / pricer.SEEN_FILE
    seen.write_text(json.dumps(corpus.row_digests(row["text"] for row in rows)))
    toy_study(tiny_folder, sales, sizes="0", baselines="none", trials=2)
    assert (
        "version 3, the candidate, which is not served: only 0 held-out rows are new" in lines[-1]
    )


def test_a_champion_of_the_protocol_before_is_replaced_by_word_alone(
    store, tiny_folder, sales, lines
):
    settings = {"sizes": "0", "baselines": "none"}
    toy_study(tiny_folder, sales, **settings)
    store.set_model_version_tag("bat-pricer", "1", "parts_by", "text")  # as 0.1 wrote it
    (Path(versions.pricer_folder("models:/bat-pricer@champion")) / pricer.HELD_OUT_FILE).unlink()
    toy_study(tiny_folder, sales, trials=2, **settings)
    assert (
        "version 2, the candidate, which is not served: version 1 had its parts by text, this one "
        "by text, protocol 2: no fair comparison; promote=always would replace it"
    ) in lines[-1]
    toy_study(tiny_folder, sales, trials=2, promote="always", **settings)
    assert "version 3, the champion: promote=always; version 1 was" in lines[-1]


def test_a_champion_is_rolled_back_and_the_move_is_on_record(store, tiny_folder, sales, lines):
    with pytest.raises(InputError, match="model_name='auto', under which no study has registered"):
        promote.run(promote.PromoteConfig())
    for when in ("if_better", "always", "never"):
        toy_study(tiny_folder, sales, sizes="0", baselines="none", promote=when)
    promote.run(promote.PromoteConfig())
    assert lines[-1].startswith("Champion of bat-pricer is version 1 (version 2 was).")
    run = store.search_runs(["0"], "tags.`bat.command` = 'promote'")[0]
    assert (run.data.tags["champion_before"], run.data.tags["champion"]) == ("2", "1")
    table = Path(store.download_artifacts(run.info.run_id, "registry.csv")).read_text()
    assert [line.split(",")[0] for line in table.splitlines()[1:]] == ["3", "2", "1"]
    promote.run(promote.PromoteConfig(version="candidate"))
    assert lines[-1].startswith("Champion of bat-pricer is version 3 (version 1 was).")
    with pytest.raises(InputError, match="version '9' of bat-pricer"):
        promote.run(promote.PromoteConfig(version="9"))


def test_a_file_is_priced_by_the_champion(store, tiny_folder, sales, lines, tmp_path):
    output = tmp_path / "prices.csv"
    with pytest.raises(InputError, match="model_name='auto', under which no study has registered"):
        score.run(score.ScoreConfig(data=str(sales), output=str(output)))
    with pytest.raises(InputError, match="which holds no encoder and regressor"):
        score.run(score.ScoreConfig(model=str(tmp_path), data=str(sales), output=str(output)))
    toy_study(tiny_folder, sales, sizes="0", baselines="none")
    score.run(score.ScoreConfig(data=str(sales), output=str(output)))
    priced, errors, where = lines[-3:]
    assert priced.startswith(f"500 rows in {output}, 0 of them without a price")
    assert errors.startswith("On 500 rows with a true price: MAE ")
    assert where == f"These numbers are in {output}.metrics.json."
    found = pd.read_csv(output)
    served = mlflow.pyfunc.load_model("models:/bat-pricer@champion").predict(found[["text"]])
    np.testing.assert_allclose(found["predicted_high"], served["price_high"], rtol=1e-4)
    run = store.search_runs(["0"], "tags.`bat.command` = 'score'")[0]
    counts = {"rows": 500.0, "rows_without_price": 0.0, "rows_with_price": 500.0}
    assert counts.items() <= run.data.metrics.items()
    assert (
        json.loads(Path(f"{output}.metrics.json").read_text()).items() <= run.data.metrics.items()
    )


def test_plan_only_leaves_nothing(store, tiny_folder, sales, lines):
    toy_study(tiny_folder, sales, plan_only=True)
    assert any("in all" in line for line in lines)
    assert store.search_runs(["0"]) == []


def logged_encoders():
    """Names of the runs that hold an encoder, sorted."""
    models = mlflow.search_logged_models(["0"], output_format="list")
    sources = [model.source_run_id for model in models if model.name == "encoder"]
    return sorted(mlflow.get_run(source).info.run_name for source in sources)


def cached_encoders(tmp_path):
    return len([path for path in (tmp_path / "home" / "encoders").glob("*") if path.is_dir()])


def encoders_kept(client):
    (parent,) = client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    return parent.data.tags["encoders_kept"]


def test_encoders_of_the_first_seed_are_kept_as_far_as_they_fit(
    store, tiny_folder, sales, lines, tmp_path, monkeypatch
):
    one = graph.weight_bytes(encoder_opening.open_encoder(str(tiny_folder)))
    monkeypatch.setattr(study, "KEPT_BYTES", 2.5 * one)
    toy_study(tiny_folder, sales, seeds="0,1", baselines="none")
    full = max(int(run.data.params.get("documents", 0)) for run in store.search_runs(["0"]))
    names = ["documents=256 seed=0", f"documents={full} seed=0"]
    assert logged_encoders() == names
    assert encoders_kept(store) == ", ".join(names)
    children = [run for run in store.search_runs(["0"]) if "seed" in run.data.params]
    told = {run.info.run_name: run.data.tags["encoder"] for run in children}
    assert len(told) == 6
    assert sorted(name for name, word in told.items() if word == "kept") == names
    assert cached_encoders(tmp_path) == 4


@pytest.mark.parametrize("keep", ["best", "none"])
def test_encoders_that_are_not_wanted_go(store, tiny_folder, sales, lines, tmp_path, keep):
    sizes = {"sizes": "0,256", "baselines": "none"}
    toy_study(tiny_folder, sales, keep=keep, promote="always", **sizes)
    version = store.get_model_version_by_alias("bat-pricer", "champion")
    assert logged_encoders() == (
        [f"scaling_study sales.jsonl {tiny_folder.name} halfway"] if keep == "best" else []
    )
    told = {"best": version.tags["arm"], "none": "in the registered pair alone"}
    assert encoders_kept(store) == told[keep]
    assert cached_encoders(tmp_path) == 0
    priced = mlflow.pyfunc.load_model("models:/bat-pricer@champion").predict(
        pd.DataFrame({"text": ["1990 arrow coupe in red"]})
    )
    assert priced["price"][0] > 0


def test_several_seeds_and_independent_tunings(store, tiny_folder, sales, lines):
    sizes = {"sizes": "0,256", "baselines": "none"}
    toy_study(tiny_folder, sales, seeds="0,1", recipe="schedule=independent", **sizes)
    names = {run.info.run_name for run in store.search_runs(["0"], "tags.arm != ''")}
    assert names == {f"documents={n} seed={s}" for n in (0, 256) for s in (0, 1)}
    assert "2 seeds: what another seed of tuning, search and fit would change" in lines[-1]


def test_a_tuned_encoder_is_read_beside_the_factory_one(store, tiny_folder, sales, lines):
    toy_study(tiny_folder, sales, sizes="256", baselines="none", recipe="features=factory+tuned")
    assert "two encoders run for a price" in lines[-1]
    folder = versions.pricer_folder("models:/bat-pricer@champion")
    served, base = pricer.load(folder), encoder_opening.open_encoder(str(tiny_folder))
    pair = served.predictor
    assert pair.factory.digest == base.digest != pair.encoder.digest
    assert pair.regressor.dim == base.dimension + pair.encoder.dimension

    # what is served reads both embeddings in the order in which it has learnt from them
    loaded = corpus.load(str(sales))
    texts = [loaded.texts[row] for row in corpus.rows(loaded, "held_out")]
    rows = np.hstack([embedding.encode(base, texts), embedding.encode(pair.encoder, texts)])
    found = served.predict(texts).price
    np.testing.assert_allclose(found, pair.regressor.predict(rows), rtol=1e-4)
    (run,) = (run for run in store.search_runs(["0"]) if "seed" in run.data.params)
    logged = pd.read_csv(store.download_artifacts(run.info.run_id, outcome.PREDICTIONS_FILE))
    truth = logged["price"].to_numpy()
    assert np.abs(found - truth).mean() < np.abs(logged["predicted"] - truth).mean()

    # the next pair is compared with it
    toy_study(tiny_folder, sales, sizes="0", baselines="none")
    assert "the champion's is" in lines[-1]
    version = store.get_model_version("bat-pricer", "1")
    assert version.tags["encoders"] == "factory and tuned"


def test_a_study_stops_when_larger_sizes_cannot_matter(
    store, tiny_folder, sales, lines, monkeypatch
):
    asked = []

    def enough(documents, errors, factory, *, full, margin, groups):
        asked.append((list(documents), np.shape(errors), np.shape(factory), full, margin))
        assert np.shape(groups) == np.shape(factory)
        return stopping.Stop(len(documents) == 2, 1.0, 2.0, "nothing more to gain")

    monkeypatch.setattr(stopping, "can_stop", enough)
    sizes = {"sizes": "0,256,264,272,280", "baselines": "none", "margin": 0.2}
    toy_study(tiny_folder, sales, stop_when_enough=True, **sizes)
    names = {run.info.run_name for run in store.search_runs(["0"], "tags.arm != ''")}
    assert names == {f"documents={n} seed=0" for n in (0, 256, 264)}
    rows = asked[0][2][0]
    assert asked == [
        ([256], (1, rows), (rows,), 280, 0.2),
        ([256, 264], (2, rows), (rows,), 280, 0.2),
    ]
    assert rows == len(corpus.rows(corpus.load(str(sales)), "train"))  # held-out rows have no say
    assert "Stopped before 272, 280 documents: by out-of-fold errors nothing more to" in lines[-1]
    with pytest.raises(InputError, match="add 0 to sizes"):
        toy_study(tiny_folder, sales, stop_when_enough=True, sizes="256,280")


def test_finetune_goes_with_the_parameters_that_mlflow_run_has_logged(
    store, tiny_folder, sales, monkeypatch
):
    run_id = store.create_run("0").info.run_id
    flags = {"data": str(sales), "base_model": str(tiny_folder), "documents": "all"}
    for name, value in flags.items():
        store.log_param(run_id, name, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    finetune.run(finetune.FinetuneConfig(**flags))
    run = store.get_run(run_id)
    assert run.data.params["documents"] == "all"
    assert int(run.data.params["tuning.documents"]) == run.data.metrics["documents"] > 256
    assert run.data.tags["precision"] == run.data.params["tuning.precision"] == "fp32"
    card = Path(reading.resolve(f"runs:/{run_id}/encoder")) / "README.md"
    assert "| corpus | sales" in card.read_text()


def test_finetune_then_evaluate(store, tiny_folder, sales, lines):
    finetune.run(
        finetune.FinetuneConfig(data=str(sales), base_model=str(tiny_folder), documents="260")
    )
    run = store.search_runs(["0"])[0]
    assert run.data.params["tuning.documents"] == "260"
    assert run.data.metrics["reload_difference"] < 1e-5
    losses = [m.value for m in store.get_metric_history(run.info.run_id, "mlm_loss_held_out")]
    assert losses[-1] < losses[0]
    address = f"runs:/{run.info.run_id}/encoder"
    assert address in lines[-1]

    evaluate.run(evaluate.EvaluateConfig(encoder=address, data=str(sales), trials=1))
    run = store.search_runs(["0"])[0]
    assert run.data.tags["protocol"] == "inductive"
    assert "predicted_actual.png" in files(store, run.info.run_id)
    assert "R²" in lines[-1]


ACCELERATE = ["accelerate.commands.launch", "--cpu", "--num_processes=2"]
AGENT = ["torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d"]


@pytest.mark.slow
@pytest.mark.parametrize("agents", [1, 2])
def test_two_launched_processes_log_one_run(store, tiny_folder, sales, lines, tmp_path, agents):
    """Two processes on one machine; and two agents, each with a cache that the other cannot see."""
    flags = {"data": str(sales), "base_model": str(tiny_folder), "documents": "260"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ACCELERATE if agents == 1 else [*AGENT, f"--rdzv_endpoint=127.0.0.1:{port}"]
    words = ["-m", "entrypoints.finetune", *(f"--{name}={value}" for name, value in flags.items())]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *launcher, *words],
            env=os.environ | {"PYTHONPATH": str(ROOT), "BAT_HOME": str(tmp_path / f"home-{agent}")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for agent in range(agents)
    ]
    ends = [each.communicate() for each in started]
    assert [each.returncode for each in started] == [0] * agents, ends
    assert sum(out.count("tuned on 260 documents") for out, _ in ends) == 1
    (together,) = store.search_runs(["0"])
    finetune.run(finetune.FinetuneConfig(**flags))
    alone = store.search_runs(["0"])[0]
    ours, theirs = (
        [m.value for m in store.get_metric_history(run.info.run_id, "mlm_loss")]
        for run in (alone, together)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)  # bfloat16, where the CPU has it
    assert Path(reading.resolve(f"runs:/{together.info.run_id}/encoder"), "modules.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "modernbert", "xlm-r"])
def test_a_study_takes_any_encoder_with_a_masked_language_model(
    store, folder_of, sales, lines, architecture
):
    toy_study(folder_of(architecture), sales)
    runs = {run.info.run_name: run for run in store.search_runs(["0"])}
    tuned = [
        run for name, run in runs.items() if name.startswith("documents=") and "=0 " not in name
    ]
    assert len(tuned) == 2
    assert all(run.data.params["tuning.masked_only"] == "True" for run in tuned)
    assert all(run.data.metrics["reload_difference"] < 1e-5 for run in tuned)
    assert store.get_model_version_by_alias("bat-pricer", "champion")


def test_an_encoder_that_saw_held_out_texts_is_labelled(store, tiny_folder, sales, lines):
    finetune.run(
        finetune.FinetuneConfig(data=str(sales), base_model=str(tiny_folder), finetune_on="all")
    )
    tuned = store.search_runs(["0"])[0].info.run_id
    settings = {"data": str(sales), "trials": 1}
    evaluate.run(evaluate.EvaluateConfig(encoder=f"runs:/{tuned}/encoder", **settings))
    assert store.search_runs(["0"])[0].data.tags["protocol"] == "transductive"
    evaluate.run(evaluate.EvaluateConfig(encoder=str(tiny_folder), **settings))
    assert store.search_runs(["0"])[0].data.tags["protocol"] == "unknown"


def test_an_unknown_address_is_a_message(store):
    with pytest.raises(InputError, match="which the tracking store does not have"):
        reading.resolve("runs:/0123456789abcdef0123456789abcdef/encoder")
    with pytest.raises(InputError, match="which the tracking store does not have"):
        reading.resolve("models:/none@champion")


def test_bad_rows_are_listed_with_their_lines(store, tiny_folder, sales, tmp_path, lines):
    rows = sales.read_text().splitlines()
    rows[4] = '{"text": "no price"}'
    rows[9] = "{broken"
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join(rows))
    evaluate.run(evaluate.EvaluateConfig(encoder=str(tiny_folder), data=str(path), trials=1))
    run = store.search_runs(["0"])[0]
    logged = store.download_artifacts(run.info.run_id, "rejected.jsonl")
    rejected = [json.loads(line) for line in Path(logged).read_text().splitlines()]
    assert [(row["line"], row["reason"][:14]) for row in rejected] == [
        (5, "no field 'pric"),
        (10, "not valid JSON"),
    ]


def test_what_is_logged_holds_no_secret_and_no_path_of_this_machine(
    store, tiny_folder, sales, lines, tmp_path, monkeypatch
):
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "hush-4711")
    toy_study(tiny_folder, sales, sizes="0,256")
    finetune.run(finetune.FinetuneConfig(data=str(sales), base_model=str(tiny_folder)))
    parts = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert len(parts) > 50
    places = [str(place).encode() for place in (sales.parent, tiny_folder, tmp_path, Path.home())]
    for path in parts:
        held = path.read_bytes()
        assert b"hush-4711" not in held, path
        if path.name != "MLmodel":  # in which MLflow notes where it found things
            assert not [place for place in places if place in held], path
    for run in store.search_runs(["0"]):
        said = json.dumps([run.data.params, run.data.tags])
        assert "hush-4711" not in said
        ours = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
        own = json.dumps([run.data.params, ours]).encode()
        assert not [place for place in places if place in own], run.info.run_name
