"""Slow: studies on a tracking server with PostgreSQL behind it, through a network that fails."""

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import sqlalchemy

ROOT = Path(__file__).parents[2]
CUT_SECONDS = 30
READY_SECONDS = 300
pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Database:
    """PostgreSQL with an empty database, which can be stopped and started again."""

    def __init__(self, tell, control, start, address):
        self.tell, self.control, self.options, self.address = tell, control, start, address

    def start(self):
        self.tell(*self.control, "-w", *self.options, "start")

    def stop(self):
        self.tell(*self.control, "-m", "fast", "stop")


@pytest.fixture(scope="module")
def postgres():
    """A cluster that is thrown away."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")) or [shutil.which("pg_ctl")]
    if not found[-1]:
        pytest.skip("PostgreSQL is not installed")
    binaries, port = Path(found[-1]).parent, free_port()
    top = Path(tempfile.mkdtemp())
    prefix = []
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        os.chown(top, pwd.getpwnam("postgres").pw_uid, -1)
        prefix = ["runuser", "-u", "postgres", "--"]

    def tell(*command):
        subprocess.run([*prefix, *command], cwd=top, check=True, capture_output=True, text=True)

    tell(binaries / "initdb", "-D", top / "data", "-U", "bat", "--auth=trust")
    options = f"-p {port} -k {top} -c listen_addresses=127.0.0.1"
    running = Database(
        tell,
        (binaries / "pg_ctl", "-D", top / "data"),
        ("-l", top / "log", "-o", options),
        f"postgresql+psycopg2://bat@127.0.0.1:{port}/postgres",
    )
    running.start()
    tell(binaries / "createdb", "-h", top, "-p", str(port), "-U", "bat", "direct")
    try:
        yield running
    finally:
        tell(binaries / "pg_ctl", "-D", top / "data", "-m", "immediate", "stop")
        shutil.rmtree(top)


@pytest.fixture(scope="module")
def database(postgres):
    return postgres.address


class Network:
    """Hands connections on to a server, and can be cut."""

    def __init__(self):
        self.port, self.target, self.is_cut = free_port(), 0, False
        self.open = []
        self.listen()

    def listen(self):
        self.door = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self.accept, args=(self.door,), daemon=True).start()

    def accept(self, door):
        with contextlib.suppress(OSError):
            while True:
                near, _ = door.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    def pump(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self):
        """Break every connection, and take no new one."""
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        for end in self.open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.clear()


class Server:
    """MLflow's tracking server, with the artifacts behind it, reached through a network."""

    def __init__(self, database, folder):
        self.database, self.folder, self.network = database, folder, Network()
        self.address = f"http://127.0.0.1:{self.network.port}"

    def start(self):
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "2"]
        command += ["--backend-store-uri", self.database, "--serve-artifacts"]
        command += ["--artifacts-destination", str(self.folder)]
        with (self.folder / "said").open("w") as heard:
            self.process = subprocess.Popen(
                command, stdout=heard, stderr=heard, cwd=self.folder, start_new_session=True
            )
        self.network.target = port
        for _ in range(READY_SECONDS):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/health").read()
                return
            time.sleep(1)
        pytest.fail(f"no answer from the tracking server: {(self.folder / 'said').read_text()}")

    def stop(self):
        os.killpg(self.process.pid, 15)
        self.process.wait()


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    running = Server(database, tmp_path_factory.mktemp("artifacts"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def study(sales, tiny_folder):
    """Start a small study on a store; what it says and caches goes into a folder."""

    def begin(uri, folder, number=0, home=None):
        asked = {"data": sales, "base_model": tiny_folder, "sizes": "0,256,1.0", "trials": 2}
        asked |= {"baselines": "median,lengths", "stack": "none", "seeds": number}
        asked |= {"model_name": "bat-pricer"}
        home = home or folder / f"home-{number}"
        with (folder / f"said-{number}").open("w") as heard:
            return subprocess.Popen(
                [sys.executable, "-m", "entrypoints.scaling_study"]
                + [f"--{name}={value}" for name, value in asked.items()],
                cwd=ROOT,
                env=os.environ | {"MLFLOW_TRACKING_URI": uri, "BAT_HOME": str(home)},
                stdout=subprocess.DEVNULL,
                stderr=heard,
            )

    return begin


@pytest.fixture(scope="module")
def undisturbed(server, study, tmp_path_factory):
    """How a study ends on the server while nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert study(server.address, folder).wait() == 0, said(folder)
    (table,) = studies(server.address)
    return table


def said(tmp_path, number=0):
    return (tmp_path / f"said-{number}").read_text()[-3000:]


def studies(uri, experiment="0"):
    """The results of all studies of a store, newest first, without their times."""
    client = mlflow.MlflowClient(uri)
    tables = []
    for run in client.search_runs([experiment], "tags.`bat.command` = 'scaling_study'"):
        assert run.info.status == "FINISHED"
        mine = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        assert len(client.search_runs([experiment], mine)) == 5
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            table = pd.read_csv(client.download_artifacts(run.info.run_id, "results.csv"))
        tables.append(table.drop(columns=[n for n in table if n.endswith("_seconds")]).to_csv())
    return tables


def test_the_docs_name_the_address_of_the_installed_driver(database):
    page = (ROOT / "docs" / "environments.md").read_text()
    (form,) = set(re.findall(r"postgresql\+\w+://", page))
    engine = sqlalchemy.create_engine(form + database.partition("://")[2])
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_study_its_registry_and_its_pair_work_on_a_server(server, undisturbed, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    model = mlflow.pyfunc.load_model("models:/bat-pricer@champion")
    priced = model.predict(pd.DataFrame({"text": ["1990 arrow coupe in red"]}))
    assert 0 < priced["price_low"][0] < priced["price"][0] < priced["price_high"][0]
    assert b"MLflow" in urllib.request.urlopen(server.address).read()


def test_a_study_waits_for_a_server_that_is_away(server, study, undisturbed, tmp_path):
    process = study(server.address, tmp_path)
    client = mlflow.MlflowClient(server.address)
    before = len(client.search_runs(["0"]))
    while len(client.search_runs(["0"])) < before + 2:  # the study and its first arm
        assert process.poll() is None, said(tmp_path)
        time.sleep(0.2)
    server.network.cut()
    server.stop()
    time.sleep(CUT_SECONDS)
    assert process.poll() is None, said(tmp_path)
    server.network.listen()
    server.start()
    assert process.wait() == 0, said(tmp_path)
    assert studies(server.address)[0] == undisturbed


@pytest.mark.parametrize("way", ["direct", "behind a server"])
def test_a_study_waits_for_its_database_to_come_back(
    postgres, server, study, undisturbed, tmp_path, monkeypatch, way
):
    address, experiment = server.address, "0"
    if way == "direct":
        address = postgres.address.replace("/postgres", "/direct")
        client = mlflow.MlflowClient(address)
        experiment = client.create_experiment("direct", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    client = mlflow.MlflowClient(address)
    before = len(client.search_runs([experiment]))
    process = study(address, tmp_path)
    while len(client.search_runs([experiment])) < before + 2:  # the study and its first arm
        assert process.poll() is None, said(tmp_path)
        time.sleep(0.2)
    postgres.stop()
    time.sleep(CUT_SECONDS)
    assert process.poll() is None, said(tmp_path)
    postgres.start()
    assert process.wait() == 0, said(tmp_path)
    heard = (tmp_path / "said-0").read_text()
    assert heard.count("is away") == heard.count("is back") >= 1
    assert "Traceback" not in heard
    assert studies(address, experiment)[0] == undisturbed


def test_four_studies_at_once_lose_nothing(server, study, undisturbed, tmp_path):
    before = len(studies(server.address))
    home = tmp_path / "home"  # of one machine: there the registry's lock holds
    four = [study(server.address, tmp_path, number, home) for number in range(1, 5)]
    for number, process in enumerate(four, 1):
        assert process.wait() == 0, said(tmp_path, number)
    assert len(studies(server.address)) == before + 4
    refuse_wrong_champions(server.address)


def test_two_studies_at_once_on_one_new_file(study, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    both = [study(uri, tmp_path, number, tmp_path / "home") for number in (1, 2)]
    for number, process in enumerate(both, 1):
        assert process.wait() == 0, said(tmp_path, number)
    assert len(studies(uri)) == 2
    refuse_wrong_champions(uri)


def refuse_wrong_champions(uri):
    """Each study has a version of its own; the newest that was promoted is the champion."""
    client = mlflow.MlflowClient(uri)
    versions = client.search_model_versions("name = 'bat-pricer'")
    runs = {
        run.info.run_id: run.data.tags
        for run in client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    }
    assert sorted(version.tags["study"] for version in versions) == sorted(runs)
    # A server says versions as text, a database as numbers.
    assert {str(v.version) for v in versions} == {tags["registered"] for tags in runs.values()}
    refused = {tags["registered"] for tags in runs.values() if "must be" in tags["promotion"]}
    champion = client.get_model_version_by_alias("bat-pricer", "champion").version
    assert str(champion) not in refused
    assert sum("there was none before" in tags["promotion"] for tags in runs.values()) == 1
    # Comparisons are counted one by one, though some were made at once.
    told = [re.search(r"compared (\d+) times?", tags["promotion"]) for tags in runs.values()]
    counts = [int(found[1]) for found in told if found]
    assert len(set(counts)) == len(counts) == len(runs) - 1
