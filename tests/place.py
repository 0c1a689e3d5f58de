"""Where slow tests run commands as processes: a store and a cache of their own."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from bat.tuning import precision
from bat.workflow import outcome

ROOT = Path(__file__).parent.parent
# Tests started in the background ignore Ctrl-C, and so would the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
READY = "Plan for"  # what a study says when its imports and checks are done
PATIENCE_SECONDS = 600


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
        with pytest.MonkeyPatch.context() as patch:  # what is compared is computed alike
            patch.setenv("BAT_HOME", f"{folder}/home")
            patch.setattr(precision, "stepper", lambda: lambda name: 1.0)
            precision.of_machine()

    def start(self, command):
        """Start a command, and return when it has begun its work."""
        process = self.open(command)
        self.wait(process, lambda: READY in self.said())
        return process

    def wait(self, process, until):
        """Wait until something is true while a command is running."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

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
        """Bytes on the disk; a running study may take a file away meanwhile."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_blocks * 512
        return total

    def runs(self):
        return self.client.search_runs(["0"])

    def result(self):
        """What the newest study found, and the names of its runs."""
        parents = [run for run in self.runs() if run.data.tags.get("bat.command")]
        run_id = parents[0].info.run_id
        children = self.client.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{run_id}'")
        table = pd.read_csv(self.client.download_artifacts(run_id, "results.csv"))
        times = [n for n in table if n.endswith("_seconds") or n == outcome.MILLISECONDS]
        table = table.drop(columns=times).to_csv()
        predictions = [
            Path(self.client.download_artifacts(each.info.run_id, outcome.PREDICTIONS_FILE))
            for each in children
        ]
        names = sorted(each.info.run_name for each in children)
        return table, names, sorted(path.read_text() for path in predictions)
