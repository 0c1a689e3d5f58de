"""Slow: the commands as a user types them, with the real MiniLM, and a served pair over HTTP."""

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which a small study has run, with MLflow's default store."""
    copy = tmp_path_factory.mktemp("clone")
    for part in ("bat", "entrypoints"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("MLproject", "conda.yaml", "requirements.txt"):
        shutil.copy(ROOT / part, copy)
    home = tmp_path_factory.mktemp("home")
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"BAT_HOME": str(home), "PATH": paths}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = "mlflow run . -e scaling_study --env-manager local -P data=auctions:450"
    done = subprocess.run(
        [*command.split(), "-P", "sizes=0,1.0", "-P", "trials=3"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return copy, environment, done.stdout + done.stderr


def test_a_study_ends_with_an_answer_and_a_table(project):
    _, _, said = project
    assert "Plan for auctions:450" in said
    assert "Fine-tuning on " in said
    assert "ceiling (all facts known)" in said
    assert "TF-IDF + SVD" in said
    assert "Registered as bat-pricer version 1" in said


@pytest.fixture(scope="module")
def server(project, served):
    """The address of the served champion."""
    copy, environment, _ = project
    command = "mlflow models serve -m models:/bat-pricer@champion --env-manager local -p"
    environment = environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with served(command.split(), "/ping", cwd=copy, env=environment) as address:
        yield address


def send(address, body, **headers):
    request = urllib.request.Request(
        f"{address}/invocations", body, {"Content-Type": "application/json"} | headers
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def post(address, body, **headers):
    status, said = send(address, json.dumps(body).encode(), **headers)
    return status, json.loads(said)


TEXT = "This 1990 Mazda Miata shows 41k miles and has a five-speed manual gearbox."


def test_the_forms_of_a_request_get_one_price(server):
    bodies = [
        {"dataframe_records": [{"text": TEXT}]},
        {"dataframe_split": {"columns": ["text"], "data": [[TEXT]]}},
        {"inputs": [{"text": TEXT}]},
        {"inputs": {"text": [TEXT]}},
    ]
    answers = [post(server, body) for body in bodies]
    assert answers[0][0] == 200
    row = answers[0][1]["predictions"][0]
    assert 0 < row["price_low"] < row["price"] < row["price_high"]
    assert all(answer == answers[0] for answer in answers)


def test_a_request_chooses_the_coverage_of_the_interval(server):
    body = {"dataframe_records": [{"text": TEXT}]}
    usual, half = (
        post(server, body | asked)[1]["predictions"][0]
        for asked in ({}, {"params": {"coverage": 0.5}})
    )
    assert usual["price"] == half["price"]
    assert usual["price_low"] < half["price_low"] < half["price_high"] < usual["price_high"]
    status, refused = post(server, body | {"params": {"coverage": 0.9999}})
    assert status == 400
    assert "got coverage 0.9999; expected a share above 0" in refused["message"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "text is empty"), (None, "text is null"), (5, "text is int"), ([TEXT], "text is list")],
)
def test_a_bad_text_gets_its_row_and_no_stack_trace(server, text, reason):
    status, body = post(server, {"dataframe_records": [{"text": TEXT}, {"text": text}]})
    assert status == 400
    assert f"row 1: {reason}" in body["message"]
    assert "Traceback" not in json.dumps(body)
    assert "stack_trace" not in body


@pytest.fixture(scope="module")
def proxied(tmp_path_factory, served):
    """Run the proxy of docs/nginx.conf before a server; yields its address."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "users").write_text("ann:{PLAIN}secret\n")

    def before(server):
        text = (ROOT / "docs" / "nginx.conf").read_text()
        text = text.replace("http://127.0.0.1:5001", server)
        assert text.count(server) == 2
        (folder / "template").write_text(text)
        # Started by root its workers would be nobody, who cannot read the folder of a test.
        who = "-g 'user root;'" if os.getuid() == 0 else ""
        start = f'sed "s/:8080/:$1/" template > conf && exec nginx -p . -c conf {who}'
        return served(["sh", "-c", start, "start"], "/ping", cwd=folder)

    return before


ANN = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}


def test_behind_the_proxy_a_known_name_gets_a_price_and_an_error_says_little(server, proxied):
    rows = {"dataframe_records": [{"text": TEXT}]}
    with proxied(server) as address:
        assert post(address, rows, **ANN) == post(server, rows)
        assert post(address, rows) == (401, {"message": "a name and a password are needed"})
        empty = post(address, {"dataframe_records": [{"text": ""}]}, **ANN)
        assert empty == post(server, {"dataframe_records": [{"text": ""}]})
        status, said = post(address, "text\nx,y,z\n", **ANN | {"Content-Type": "text/csv"})
        assert (status, list(said)) == (415, ["message"])
        assert post(address, "x" * 27_000_000, **ANN)[0] == 413
        status, said = send(address, b"[" * 100_000, **ANN)
        assert status in (400, 500)
        assert b"Traceback" not in said
        assert post(address, rows, **ANN)[0] == 200
