"""Slow: the commands as a user types them, with the real MiniLM, and a served pair over HTTP."""

import base64
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which a small study has run, with MLflow's default store."""
    copy = tmp_path_factory.mktemp("clone")
    for part in ("bat", "entrypoints"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("MLproject", "conda.yaml", "requirements.txt", "constraints.txt"):
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
    assert re.search(r"Registered as bat-pricer version \d, the champion: ", said)


def test_the_example_of_the_docs_runs(tmp_path):
    environment = os.environ | {"BAT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "example.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "No encoder was tuned: there is nothing to compare. Serve " in done.stdout
    assert "words and numbers, cross-validated MAE: " in done.stdout
    assert (tmp_path / "sales.png").stat().st_size > 10_000


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
    csv = f'text\n"{TEXT}"\n'.encode()
    status, said = send(server, csv, **{"Content-Type": "text/csv"})
    assert (status, json.loads(said)) == answers[0]


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


def test_a_request_may_ask_what_moves_each_price(server):
    rows = [{"text": TEXT}, {"text": f"{TEXT} It has a salvage title. The engine was rebuilt."}]
    plain, found = (
        post(server, {"dataframe_records": rows} | asked)[1]["predictions"]
        for asked in ({}, {"params": {"explain": True}})
    )
    whys = [row.pop("why") for row in found]
    assert found == plain
    for row, why in zip(rows, whys, strict=True):
        assert why
        assert all(set(each) == {"part", "kind", "effect"} for each in why)
        assert {each["kind"] for each in why} <= {"clause", "word", "number"}
        assert all(each["part"] in row["text"] for each in why)
    status, refused = post(server, {"dataframe_records": rows * 6, "params": {"explain": True}})
    assert status == 400
    assert "got 12 rows to explain; expected at most 10" in refused["message"]


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


def proxy_commands():
    """The lines of docs/serving.md that set the proxy up and start it, as they stand."""
    page = (ROOT / "docs" / "serving.md").read_text()
    (block,) = re.findall(r"```\n(mkdir [^`]*nginx[^`]*)```", page)
    return block.partition("\ncurl ")[0]


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """Run these commands before a server, in a copy of the project; yields the address."""
    if not (shutil.which("nginx") and shutil.which("openssl")):
        pytest.skip("nginx or openssl is not installed")

    @contextlib.contextmanager
    def before(server):
        folder = tmp_path_factory.mktemp("project")
        text = (ROOT / "docs" / "nginx.conf").read_text()
        assert text.count("http://127.0.0.1:5001") == 2
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        text = text.replace("http://127.0.0.1:5001", server).replace("127.0.0.1:8080", address)
        (folder / "docs").mkdir()
        (folder / "docs" / "nginx.conf").write_text(text)
        with (folder / "said").open("w") as said:
            process = subprocess.Popen(
                ["bash", "-c", proxy_commands()],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                text=True,
                start_new_session=True,  # without a terminal openssl reads the password from here
            )
        process.stdin.write("secret\nsecret\n")
        process.stdin.close()
        try:
            deadline = time.monotonic() + 30
            while not reached(f"http://{address}/ping"):
                assert process.poll() is None, (folder / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"http://{address}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

    return before


def reached(address):
    try:
        urllib.request.urlopen(address).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True


ANN = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
PEN = {"Authorization": "Basic " + base64.b64encode(b"ann:guessed").decode()}


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


class Upstream(http.server.BaseHTTPRequestHandler):
    """A server that answers with the status its request names, and notes the headers."""

    seen: ClassVar[list] = []

    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(self.headers)
        self.answer(body["status"])

    def answer(self, status):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"Traceback: inside")

    def log_message(self, *words):
        pass


@pytest.fixture
def upstream():
    """The address of a server that misbehaves as it is told."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_proxy_gives_a_sentence_for_each_failure_and_keeps_the_password(upstream, proxied):
    with proxied(upstream) as address:
        for status in (422, 429, 500, 501, 502, 503, 504, 505, 507):
            got, said = post(address, {"status": status}, **ANN)
            assert got == status
            assert re.fullmatch("[a-z].{15,90}", said["message"])
            assert said["message"] != "the request failed"
            assert "inside" not in said["message"]
        assert post(address, {"status": 200}, **PEN)[0] == 401
        for asked, status in (
            (b"GET /ping HTTP/3.0\r\n\r\n", 505),
            (b"GET /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        ):
            found = ask_raw(address, asked)
            assert f" {status} ".encode() in found.partition(b"\r\n")[0]
            assert b'{"message": "the request ' in found
            assert b"<html>" not in found
    assert len(Upstream.seen) == 9
    assert not any("Authorization" in headers for headers in Upstream.seen)


def ask_raw(address, request):
    """What a server says to bytes that no client of ours would send."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as end:
        end.sendall(request)
        return b"".join(iter(lambda: end.recv(65536), b""))


def test_the_proxy_slows_one_address_down(upstream, proxied):
    with proxied(upstream) as address:
        answers = [post(address, {"status": 204}, **PEN) for _ in range(60)]
        refused = [said for status, said in answers if status == 429]
        assert 20 <= len(answers) - len(refused) < 60
        assert "send this one again a little later" in refused[0]["message"]
