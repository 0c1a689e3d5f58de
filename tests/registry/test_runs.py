"""Runs as people use them: names, times, dead ones, broken stores, and what a failed one says."""

import json
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.name_utils import _generate_random_name

from bat import cli, escape, records
from bat.cli import InputError
from bat.registry import heartbeat, tracking
from bat.registry import store as stores
from entrypoints import evaluate, finetune, promote, scaling_study, score
from entrypoints import report as report_again

ROOT = Path(__file__).parents[2]
KIND, NOTE, PARENT = "mlflow.experimentKind", "mlflow.note.content", "mlflow.parentRunId"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(stores, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(cli, "say", lambda text="": None)


def toy(tiny_folder, data, **changes):
    settings = {"base_model": str(tiny_folder), "data": str(data), "sizes": "0,256"}
    settings |= {"trials": 1, "baselines": "median", "stack": "none"}
    scaling_study.run(scaling_study.StudyConfig(**settings | changes))


# --- names


def test_tags_of_live_runs_keep_their_names():
    """Another version may watch a run: with other names it would never be seen to beat."""
    assert (heartbeat.PROCESS, heartbeat.BEAT) == ("bat.process", "bat.heartbeat")


def test_a_name_that_mlflow_drew_is_told_from_one_that_a_user_gave():
    assert all(tracking._is_drawn(_generate_random_name()) for _ in range(500))
    # so many words that most are longer than MLflow's limit: cut names are known too
    assert all(tracking._is_drawn(_generate_random_name(integer_scale=9)[:20]) for _ in range(200))
    for name in ("nightly", "big run", "bold-c", "model-test-1", "wine-2024", "a-b-3", "bold-cat"):
        assert not tracking._is_drawn(name), name


@pytest.mark.parametrize("named", ["nightly wines", None])
def test_the_name_given_to_mlflow_run_is_kept(store, monkeypatch, named):
    made = store.create_run("0").info.run_id  # as `mlflow run` does before the command starts
    if named:
        store.set_tag(made, "mlflow.runName", named)
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    with tracking.run("evaluate", about=["wines.csv", "tiny"]):
        pass
    run = store.get_run(made)
    assert run.info.run_name == run.data.tags["mlflow.runName"]
    assert run.info.run_name == (named or "evaluate wines.csv tiny")
    assert run.data.tags["bat.command"] == "evaluate"


def test_studies_are_told_apart_by_their_names(store, tiny_folder, sales):
    toy(tiny_folder, sales, sizes="0", baselines="none")
    toy(tiny_folder, sales, sizes="0", baselines="none", recipe="plain")
    toy(tiny_folder, "auctions:300", sizes="0", baselines="none")
    found = store.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    base = tiny_folder.name
    assert {run.info.run_name for run in found} == {
        f"scaling_study sales.jsonl {base} halfway",
        f"scaling_study sales.jsonl {base} plain",
        f"scaling_study auctions:300 {base} halfway",
    }


def test_a_long_name_is_cut_to_what_databases_keep(store):
    with tracking.run("score", about=["x" * 300]) as tracker:
        pass
    assert store.get_run(tracker.run_id).info.run_name == ("score " + "x" * 300)[:250]


# --- times


def test_children_have_their_true_start_and_end(store, tiny_folder, sales):
    toy(tiny_folder, sales)
    runs = store.search_runs(["0"])
    (parent,) = (run for run in runs if "bat.command" in run.data.tags)
    children = [run for run in runs if "arm" in run.data.tags]
    assert len(children) == 3
    for run in children:
        seconds = sum(v for name, v in run.data.metrics.items() if name.endswith("_seconds"))
        assert run.info.end_time - run.info.start_time >= 1000 * seconds - 50, run.info.run_name
        assert parent.info.start_time <= run.info.start_time
        assert run.info.end_time <= parent.info.end_time
        assert run.data.tags["cached"] == "nothing"
        assert run.data.tags["mlflow.user"] == parent.data.tags["mlflow.user"]

    toy(tiny_folder, sales, promote="never")  # other work by name, the same by its parts
    again = [r for r in store.search_runs(["0"], "tags.arm != ''") if r not in children]
    told = {r.info.run_name: r.data.tags["cached"] for r in again[:3]}
    assert told == {
        "documents=0 seed=0": "embedding, search",
        "documents=256 seed=0": "tuning, embedding, search",
        "baseline=median": "all",
    }


# --- the experiment's kind


@pytest.mark.parametrize("before", [None, "genai_development", "no_inferred_type"])
def test_an_experiment_without_a_kind_becomes_model_training(store, before):
    if before:
        store.set_experiment_tag("0", KIND, before)
    stores.check()
    kind = store.get_experiment("0").tags[KIND]
    wanted = before if before == "genai_development" else "custom_model_development"
    assert kind == wanted


# --- runs that died, and orphans


@pytest.mark.parametrize("fate", ["deleted", "collected", "elsewhere", "no id"])
def test_a_nested_run_whose_parent_is_gone_is_left_alone(store, fate):
    other = store.create_experiment("other") if fate == "elsewhere" else "0"
    parent = store.create_run(other, tags={heartbeat.PROCESS: "elsewhere 5 77"}).info.run_id
    name = "no id at all" if fate == "no id" else parent
    orphan = store.create_run("0", tags={PARENT: name}).info.run_id
    store.set_terminated(parent, "KILLED")
    if fate in ("deleted", "collected"):
        store.delete_run(parent)
    if fate == "collected":
        store._tracking_client.store._hard_delete_run(parent)
    with tracking.run("test") as tracker:
        pass
    assert store.get_run(tracker.run_id).info.status == "FINISHED"
    assert store.get_run(orphan).info.status == "RUNNING"


def test_children_of_a_dead_run_of_ours_are_ended(store):
    parent = store.create_run("0", tags={heartbeat.PROCESS: "elsewhere 5 77"}).info.run_id
    child = store.create_run("0", tags={PARENT: parent}).info.run_id
    store.set_terminated(parent, "KILLED")
    with tracking.run("test"):
        pass
    assert store.get_run(child).info.status == "KILLED"


@pytest.fixture
def clock(monkeypatch):
    """This machine's own clock, moved by hand; any other clock may say what it likes."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(heartbeat.time, "time", lambda: pytest.fail("a wall clock was asked"))
    return Clock


def test_a_run_elsewhere_is_dead_when_its_counter_stands_still(tmp_path, clock):
    seen = tmp_path / "watched" / "seen.json"
    still = {heartbeat.PROCESS: "elsewhere 5 77", heartbeat.BEAT: "3 99999999"}
    old = {heartbeat.PROCESS: "elsewhere 6 78", heartbeat.BEAT: "1"}  # hours behind, but moving
    bare = {heartbeat.PROCESS: "elsewhere 7 79"}

    def dead(count):
        moving = old | {heartbeat.BEAT: str(count)}
        return heartbeat.dead_runs({"still": still, "old": moving, "bare": bare}, seen)

    assert dead(1) == set()  # first seen, by nobody's clock dead yet
    clock.now += heartbeat.STILL_SECONDS
    assert dead(2) == set()
    clock.now += 1
    assert dead(3) == {"still", "bare"}
    clock.now += heartbeat.STILL_SECONDS
    assert dead(4) == {"still", "bare"}
    assert dead(4) == {"still", "bare"}


def test_what_was_seen_before_this_machine_was_started_does_not_count(tmp_path, clock):
    seen = tmp_path / "seen.json"
    still = {"run": {heartbeat.PROCESS: "elsewhere 5 77", heartbeat.BEAT: "3"}}
    assert heartbeat.dead_runs(still, seen) == set()
    kept = json.loads(seen.read_text())
    clock.now += heartbeat.STILL_SECONDS + 1
    seen.write_text(json.dumps(kept | {"boot": "another"}))
    assert heartbeat.dead_runs(still, seen) == set()
    for damaged in ("", "{", "[]", '{"boot": 1}', json.dumps(kept | {"seen": {"run": 5}})):
        seen.write_text(damaged)
        assert heartbeat.dead_runs(still, seen) == set(), damaged


def test_a_run_of_another_container_here_is_dead_by_the_clock_of_both(tmp_path, clock):
    host, boot, _ = heartbeat._machine().split("/")
    tags = {heartbeat.PROCESS: f"other-{host}/{boot}/pid:[1] 5 77"}
    for age, dead in ((heartbeat.STILL_SECONDS, set()), (heartbeat.STILL_SECONDS + 1, {"run"})):
        running = {"run": tags | {heartbeat.BEAT: f"8 {clock.now - age:.0f}"}}
        assert heartbeat.dead_runs(running, tmp_path / "seen.json") == dead


def test_a_process_of_this_machine_is_looked_up(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    identity = heartbeat.identity(ended.pid)
    ended.wait()
    running = {
        "own": {heartbeat.PROCESS: heartbeat.identity(os.getpid()), heartbeat.BEAT: "1 0"},
        "ended": {heartbeat.PROCESS: identity, heartbeat.BEAT: "1 99999999999"},
        "plain": {},  # a run of something else
    }
    assert heartbeat.dead_runs(running, tmp_path / "seen.json") == {"ended"}


def test_a_run_counts_while_it_lasts(store, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    counts = set()
    with tracking.run("test") as tracker:
        while len(counts) < 3:
            counts.add(store.get_run(tracker.run_id).data.tags[heartbeat.BEAT].split()[0])
    assert all(count.isdecimal() for count in counts)


# --- what a failed run says


def test_a_failed_run_says_why_on_its_page(store):
    def fail():
        with tracking.run("test") as tracker:
            tracker.log(records.Note("An answer."))
            with tracker.child("arm"):
                raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    said = "**This run failed.**\n\n```\nValueError: boom\n```"
    told = {run.info.run_name: run for run in store.search_runs(["0"])}
    assert {run.info.status for run in told.values()} == {"FAILED"}
    assert told["arm"].data.tags[NOTE] == said
    assert told["test"].data.tags[NOTE] == f"{said}\n\nAn answer."


@pytest.mark.parametrize(
    "flags", [["--data", "/nowhere/sales.csv"], ["--trials", "abc"], ["--typo", "1"]]
)
def test_a_command_that_fails_before_its_run_says_why_on_the_page_of_mlflow_run(
    store, monkeypatch, capsys, flags
):
    made = store.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", made)
    monkeypatch.setattr(sys, "argv", ["scaling_study.py", *flags])
    with pytest.raises(SystemExit) as ended:
        cli.main(scaling_study.run, scaling_study.StudyConfig, log_failure=_log)
    assert ended.value.code == 2
    said = capsys.readouterr().err.removeprefix("error: ").strip()
    assert said in store.get_run(made).data.tags[NOTE]


def _log(error):
    from entrypoints import _failure

    _failure.log(error)


@given(st.text(alphabet="`~<>$*#[]()\n\r\0 aé\ud800", max_size=60))
def test_no_message_leaves_its_fence(message):
    first, *inside, last = escape.fenced(escape.storable(message)).split("\n")
    ticks = last.count("`")
    assert first == last
    assert all(f"`{'`' * (ticks - 1)}" not in line for line in inside)
    assert "\0" not in "".join(inside)
    "".join(inside).encode()  # a database takes it


# --- stores that cannot be used

COMMANDS = {
    "scaling_study": lambda: scaling_study.run(scaling_study.StudyConfig()),
    "finetune": lambda: finetune.run(finetune.FinetuneConfig()),
    "evaluate": lambda: evaluate.run(evaluate.EvaluateConfig()),
    "report": lambda: report_again.run(report_again.ReportConfig(studies="0" * 32)),
    "promote": lambda: promote.run(promote.PromoteConfig()),
    "score": lambda: score.run(score.ScoreConfig()),
}


@pytest.fixture
def no_work(monkeypatch):
    for name in (
        "bat.workflow.preparation.load",
        "bat.registry.score.count",
        "bat.registry.tracking.run",
    ):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("work was begun"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_broken_store_before_work(command, tmp_path, monkeypatch, no_work):
    (tmp_path / "notes.db").write_text("no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/notes.db")
    with pytest.raises(InputError, match=r"notes\.db, which cannot be used \(file is not a data"):
        COMMANDS[command]()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:///{folder}", "unable to open database file"),
        ("sqlite:////proc/none/x.db", "No such file or directory"),
        ("file://{folder}/runs", "in maintenance mode"),
        ("{folder}/runs", "in maintenance mode"),
        ("nonsense://host/x", "unsupported URI"),
        ("oracle+none://user:secret@127.0.0.1/x", "cannot be used"),
        ("postgresql+psycopg2://user:secret@127.0.0.1:{port}/x", "Connection refused"),
        ("http://user:secret@127.0.0.1:{port}", "Connection refused"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path, monkeypatch, capsys, address, said
):
    address = address.format(folder=tmp_path, port=free_port())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(stores, "START_SECONDS", 0.2)
    with pytest.raises(InputError) as refused:
        stores.check()
    told = str(refused.value)
    assert said in told
    assert len(told.splitlines()) == 3
    assert "secret" not in told + capsys.readouterr().err


@pytest.mark.parametrize("by", ["MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"])
def test_a_deleted_experiment_is_refused(store, monkeypatch, by):
    made = store.create_experiment("wines")
    store.delete_experiment(made)
    monkeypatch.setenv(by, made if by.endswith("ID") else "wines")
    with pytest.raises(InputError, match="'wines', which is deleted") as refused:
        stores.check()
    assert f"mlflow experiments restore --experiment-id {made}" in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_EXPERIMENT_ID", "4711"),
        ("MLFLOW_EXPERIMENT_ID", "no number"),
        ("MLFLOW_RUN_ID", "0" * 32),
    ],
)
def test_an_unknown_experiment_or_run_is_refused(store, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match="experiment or a run that cannot be used"):
        stores.check()


def test_an_experiment_whose_files_need_a_server_is_refused_without_it(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", store.create_experiment("far", "mlflow-artifacts:/"))
    with pytest.raises(InputError, match="'far', whose files only its MLflow server hands out"):
        stores.check()


def test_an_experiment_that_is_new_by_name_is_made(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "wines")
    stores.check()
    assert store.get_experiment_by_name("wines").tags[KIND] == "custom_model_development"


# --- stores that are away for a while


def test_a_locked_file_is_waited_for(store, tmp_path, capsys):
    """Another program holds SQLite's lock longer than MLflow itself waits."""
    locked = sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False)

    def let_go():
        time.sleep(25)  # MLflow waits 20 s
        locked.rollback()

    with tracking.run("test") as tracker:
        locked.execute("BEGIN EXCLUSIVE")
        thread = threading.Thread(target=let_go)
        thread.start()
        tracker.log(records.Metrics({"r2": 0.5}))
        thread.join()
    locked.close()
    run = store.get_run(tracker.run_id)
    assert (run.data.metrics, run.info.status) == ({"r2": 0.5}, "FINISHED")
    said = capsys.readouterr().err
    assert "is away (database is locked); waiting" in said
    assert "is back" in said


@pytest.mark.parametrize(
    ("message", "away"),
    [
        ("(sqlite3.OperationalError) database is locked", True),
        ("(sqlite3.OperationalError) database or disk is full", False),
        ("(sqlite3.OperationalError) attempt to write a readonly database", False),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed", False),
        ("(psycopg2.OperationalError) server closed the connection unexpectedly", True),
        ("(psycopg2.OperationalError) FATAL:  the database system is starting up", True),
        ("(psycopg2.errors.AdminShutdown) terminating connection", True),
        ("(psycopg2.InterfaceError) connection already closed", True),
        ('(psycopg2.OperationalError) FATAL:  database "x" does not exist', False),
        ("(psycopg2.OperationalError) FATAL:  password authentication failed for u", False),
        ("API request to endpoint /api/x failed with error code 503 != 200.", True),
        ("API request to endpoint /api/x failed with error code 404 != 200.", False),
        ("a metric has no such name", False),
        ("no such run\n[SQL: x]\n[parameters: ('OperationalError',)]", False),
    ],
)
def test_only_what_may_pass_is_waited_for(message, away):
    assert stores.is_away(mlflow.exceptions.MlflowException(message)) is away


# --- commands to be pasted


def test_the_command_that_evaluates_a_tuned_encoder_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my 'old' $5 sales.csv").write_text("x")
    config = finetune.FinetuneConfig(data="my 'old' $5 sales.csv", text_column="a b", limit=900)
    words = shlex.split(cli.command("evaluate", config, encoder="runs:/12ab/encoder"))
    start, pairs = words[:7], words[7:]
    assert start == ["mlflow", "run", ".", "-e", "evaluate", "--env-manager", "local"]
    assert set(pairs[::2]) == {"-P"}
    given = dict(pair.split("=", 1) for pair in pairs[1::2])
    flags = [f"--{name}={value}" for name, value in given.items()]
    read = cli.parse(evaluate.EvaluateConfig, flags)
    assert read.data == str(tmp_path / "my 'old' $5 sales.csv")
    assert (read.text_column, read.limit, read.encoder) == ("a b", 900, "runs:/12ab/encoder")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:////a b/m.db", "mlflow ui --backend-store-uri 'sqlite:////a b/m.db'"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql://u:secret@host/x", "mlflow ui --backend-store-uri 'postgresql://…@host/x'"),
    ],
)
def test_the_way_to_the_pages_names_the_store(monkeypatch, address, said):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert stores.pages() == said
    assert stores.page("7", "12ab").endswith(
        ":5000/#/experiments/7/runs/12ab?workflowType=machine_learning"
    )


# --- systems


@pytest.mark.parametrize("system", ["darwin", "win32", "freebsd14"])
def test_other_systems_are_refused_in_a_sentence(monkeypatch, capsys, system):
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(SystemExit) as ended:
        cli.main(lambda config: pytest.fail("it ran"), promote.PromoteConfig)
    assert ended.value.code == 2
    assert f"got the system {system}" in capsys.readouterr().err
