"""What is logged arrives, though the way to the store may break."""

import functools

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException

from bat import records
from bat.cli import InputError
from bat.registry import store as stores
from bat.registry import tracking

AWAY = MlflowException(f"{stores.LOST} http://server/log-batch failed with exception Broken")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(stores, "PAUSE_SECONDS", 0)


def fails(times, error, work):
    """Do some work, but lose the answer the first times."""
    left = [error] * times

    @functools.wraps(work)
    def tried(*arguments, **named):
        done = work(*arguments, **named)
        if left:
            raise left.pop()
        return done

    return tried


@pytest.mark.parametrize("error", [AWAY, requests.ConnectionError("cut")])
def test_what_was_lost_on_the_way_is_sent_again(store, monkeypatch, capsys, error):
    monkeypatch.setattr(mlflow, "log_metrics", fails(2, error, mlflow.log_metrics))
    with tracking.run("test") as tracker:
        tracker.log(records.Metrics({"r2": 0.5}))
    (run,) = store.search_runs(["0"])
    assert run.data.metrics == {"r2": 0.5}
    assert run.info.status == "FINISHED"
    said = capsys.readouterr().err
    assert said.count("is away") == said.count("is back") == 1


def test_another_error_is_not_tried_again(store, monkeypatch):
    calls = []

    def refuse(values, step):
        calls.append(values)
        raise MlflowException("a metric has no such name")

    monkeypatch.setattr(mlflow, "log_metrics", refuse)
    with pytest.raises(MlflowException, match="no such name"), tracking.run("test") as tracker:
        tracker.log(records.Metrics({"r2": 0.5}))
    assert len(calls) == 1


def test_patience_ends(store, monkeypatch):
    monkeypatch.setattr(mlflow, "log_metrics", fails(99, AWAY, mlflow.log_metrics))
    monkeypatch.setattr(stores, "AWAY_SECONDS", 0)
    with pytest.raises(InputError, match="Broken"), tracking.run("test") as tracker:
        tracker.log(records.Metrics({"r2": 0.5}))
    (run,) = store.search_runs(["0"])
    assert run.info.status == "FAILED"


def test_a_run_whose_start_or_end_was_lost_is_not_left_open(store, monkeypatch):
    create, end = mlflow.MlflowClient.create_run, mlflow.MlflowClient.set_terminated
    with tracking.run("test") as tracker:
        monkeypatch.setattr(mlflow.MlflowClient, "create_run", fails(1, AWAY, create))
        monkeypatch.setattr(mlflow.MlflowClient, "set_terminated", fails(1, AWAY, end))
        with tracker.child("arm"):
            pass
    told = sorted((run.info.run_name, run.info.status) for run in store.search_runs(["0"]))
    assert told == [("arm", "FINISHED"), ("arm", "KILLED"), ("test", "FINISHED")]


def test_an_installed_package_knows_what_it_needs_without_the_files_of_a_clone(
    monkeypatch, tmp_path
):
    cloned = tracking._requirements()
    assert cloned[-1] == f"-c {tracking.CONSTRAINTS}"
    assert all("==" in line for line in cloned[:-1])
    monkeypatch.setattr(tracking, "REQUIREMENTS", tmp_path / "requirements.txt")
    said = [*cloned[:-1], "ray==2.0; extra == 'ray'", 'ray==2.0; extra == "ray"']
    monkeypatch.setattr(tracking.metadata, "requires", {"bat": said}.get)
    assert tracking._requirements() == cloned[:-1]


def test_a_study_in_an_open_run_is_its_child(store):
    with mlflow.start_run() as outer, tracking.run("test") as tracker:
        assert mlflow.active_run().info.run_id == tracker.run_id
    assert store.get_run(tracker.run_id).data.tags[tracking.PARENT] == outer.info.run_id
    with tracking.run("test") as alone:
        pass
    assert tracking.PARENT not in store.get_run(alone.run_id).data.tags
