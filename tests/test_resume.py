"""Slow: a study whose process is killed, at any moment, ends as if nothing had happened."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from bat import outcome

ROOT = Path(__file__).parent.parent
KILLS = 20
DISK_BYTES = 256 * 2**20
READY = "Plan for"  # what a study says when its imports and checks are done
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def command(sales, tiny_folder):
    """A small study with all stages."""
    asked = {"data": sales, "base_model": tiny_folder, "sizes": "0,256,1.0", "trials": 2}
    asked |= {"baselines": "median,ridge,lengths"}
    words = [f"--{name}={value}" for name, value in asked.items()]
    return [sys.executable, "-m", "entrypoints.scaling_study", *words]


class Place:
    """A store and a cache of their own, in which commands are run."""

    def __init__(self, folder, migrated):
        self.folder, self.heard = folder, folder.parent.parent / f"said-{uuid.uuid4().hex}"
        folder.mkdir()
        shutil.copy(migrated, folder / "mlflow.db")
        with sqlite3.connect(folder / "mlflow.db") as database:
            database.execute("UPDATE experiments SET artifact_location = ?", (f"{folder}/runs",))
        database.close()
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = mlflow.MlflowClient(self.uri)

    def start(self, command):
        """Start a command, and return when it has begun its work."""
        process = self.open(command)
        while READY not in self.said():
            assert process.poll() is None, self.said()
            time.sleep(0.02)
        return process

    def run(self, command):
        """Run a command to its end; its exit status."""
        return self.open(command).wait()

    def open(self, command):
        with self.heard.open("w") as said:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ
                | {"MLFLOW_TRACKING_URI": self.uri, "BAT_HOME": f"{self.folder}/home"}
                | {"PYTHONUNBUFFERED": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return self.heard.read_text()

    def used(self):
        """Bytes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.rglob("*"))

    def runs(self):
        return self.client.search_runs(["0"])

    def result(self):
        """What the newest study found, and the names of its runs."""
        parents = [run for run in self.runs() if run.info.run_name == "scaling_study"]
        run_id = parents[0].info.run_id
        children = self.client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{run_id}'")
        table = pd.read_csv(self.client.download_artifacts(run_id, "results.csv"))
        table = table.drop(columns=[name for name in table if name.endswith("_seconds")]).to_csv()
        predictions = [
            Path(self.client.download_artifacts(each.info.run_id, outcome.PREDICTIONS_FILE))
            for each in children
        ]
        names = sorted(each.info.run_name for each in children)
        return table, names, sorted(path.read_text() for path in predictions)


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory, migrated):
    """How a study ends that nobody kills, how long its work takes, and how many bytes it leaves."""
    place = Place(tmp_path_factory.mktemp("undisturbed") / "place", migrated)
    process = place.start(command)
    began = time.monotonic()
    assert process.wait() == 0, place.said()
    return place.result(), time.monotonic() - began, place.used()


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_study_ends_as_if_nothing_had_happened(
    kill, command, undisturbed, tmp_path, migrated
):
    wanted, seconds, _ = undisturbed
    place = Place(tmp_path / "place", migrated)
    process = place.start(command)
    # Each has its own twentieth of the time, the last ones the end with logging and registration.
    moment = seconds * (kill + random.Random(kill).random()) / KILLS
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    was_done = process.wait() == 0
    assert place.start(command).wait() == 0, place.said()
    assert place.result() == wanted
    statuses = [run.info.status for run in place.runs()]
    assert "RUNNING" not in statuses
    finished = [run.info.run_name for run in place.runs() if run.info.status == "FINISHED"]
    if not was_done:
        assert len(finished) == len(set(finished)), "something finished was logged again"
        assert len(place.client.search_model_versions("name = 'bat-pricer'")) == 1
    champion = place.client.get_model_version_by_alias("bat-pricer", "champion")
    assert str(champion.version) == "1"


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_says_how_to_go_on(asked, command, undisturbed, tmp_path, migrated):
    wanted, seconds, _ = undisturbed
    place = Place(tmp_path / "place", migrated)
    process = place.start(command)
    time.sleep(seconds / 2)
    process.send_signal(asked)
    assert process.wait() == 130, place.said()
    assert "the same command goes on from there" in place.said()
    assert "Traceback" not in place.said()
    ends = {run.info.run_name: run.info.status for run in place.runs()}
    assert ends.pop("scaling_study") == "KILLED"
    assert set(ends.values()) <= {"KILLED", "FINISHED"}
    assert place.start(command).wait() == 0, place.said()
    assert place.result() == wanted


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with little room; ending the block takes it away."""
    top = tmp_path / "disk"
    top.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", top], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk of one's own cannot be mounted here (that needs root)")
    yield top
    subprocess.run(["umount", "--lazy", top], check=True)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_a_full_disk_is_said_and_the_study_goes_on_where_there_is_room(
    share, command, undisturbed, small_disk, migrated, monkeypatch
):
    wanted, _, used = undisturbed
    monkeypatch.setenv("TMPDIR", str(small_disk))
    place = Place(small_disk / "place", migrated)
    rest = small_disk / "rest"
    room = place.used() + share * (used - place.used())
    with rest.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES - int(room))
    assert place.run(command) == 2, place.said()
    assert "Traceback" not in place.said()
    assert "no room left" in place.said()
    rest.unlink()
    assert place.run(command) == 0, place.said()
    assert place.result() == wanted
