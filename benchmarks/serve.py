"""Requests a second of the served pair, against the same pair as a plain pyfunc, under load.

python -m benchmarks.serve [--toy] [--seconds 10] [--minutes 5]   (Linux; needs Debian's wrk)

Both are served by ``mlflow models serve``, and asked in turn by 1, 8 and 32 clients for single
texts and for batches of 32, twice. The plain one embeds with ``SentenceTransformer.encode`` and
predicts with the same trees, as its author would write it. Printed before and after: what the
encoder alone reaches in texts a second, one and six at a time, and how long the pair takes for one
text without a server; with each load the share of the machine that its host took away (steal time:
a run with much of it says nothing). Then how long a lone text takes at ours while nothing else is
asked for, and behind one and behind three requests of 1,000 texts, in turn. Last: the ratio for
single texts of 32 clients. ``--minutes`` also loads ours with batches from 8 clients, and prints
failures and the server's memory after each minute.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np

from bat.data.auctions import generator
from bat.models import embedding, predictors, pricer
from bat.registry import versions
from benchmarks.score import CHAMPION, champion

ROOT = Path(__file__).parents[1]
STUDY, TOY_STUDY = "auctions:600", "auctions:300"
TEXTS = 640
CLIENTS, BATCHES = (1, 8, 32), (1, 32)
BATCH_TIMES = 3  # a load of batches lasts so many times as long, or none would be answered in it
ROUNDS = 2
LARGE, BEHIND = (
    1_000,
    (1, 3),
)  # texts of a large request, and how many of these go before a lone one
LONE_ROUNDS, LONE_TEXTS = 5, 10  # fifty lone texts each way, ten at a time
READY_SECONDS = 300
REST_SECONDS, IDLE_SHARE = 2.0, 0.05
TICKS = os.sysconf("SC_CLK_TCK")

PLAIN = '''
"""What someone would write who serves the same pair without us."""
import mlflow
import pandas as pd
from pathlib import Path
from sentence_transformers import SentenceTransformer
from bat.models import regressor


class Plain(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        folder = Path(context.artifacts["pricer"])
        self.encoder = SentenceTransformer(str(folder / "encoder"), device="cpu")
        self.regressor = regressor.load(folder / "regressor")

    def predict(self, context, model_input, params=None):
        rows = self.encoder.encode(list(model_input["text"]), show_progress_bar=False)
        return pd.DataFrame({"price": self.regressor.predict(rows)})


mlflow.models.set_model(Plain())
'''

# Each thread of wrk draws its bodies from one file, so that no two requests in a row are equal.
LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local at = math.random(#bodies)
request = function()
  at = at %% #bodies + 1
  return wrk.format("POST", "/invocations", {["Content-Type"] = "application/json"}, bodies[at])
end
"""


def bound(folder: Path, texts: list[str], at_once: int) -> float:
    """Texts a second of the encoder alone, in this process."""
    pair = pricer.load(folder).predictor
    assert isinstance(pair, predictors.Pair)
    embedding.encode(pair.encoder, texts[:8])
    began = time.perf_counter()
    for start in range(0, 120, at_once):
        embedding.encode(pair.encoder, texts[start : start + at_once])
    return 120 / (time.perf_counter() - began)


def bare(folder: Path, texts: list[str]) -> float:
    """Median milliseconds of the pair for one text, in this process."""
    pair, times = pricer.load(folder), []
    for text in texts[:120]:
        began = time.perf_counter()
        pair.predict([text])
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[20:]))


def resident_mb(group: int) -> float:
    """Memory of all processes that a server has started."""
    pages = sum(int(fields[21]) for fields in stats(group))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def stats(group: int) -> Iterator[list[str]]:
    """Read what the system tells of each process of a group (proc(5), from the state on)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                yield fields


def rest(group: int) -> None:
    """Wait until a server has worked off what clients have left behind."""
    before = -1.0
    while (now := processor_seconds(group)) - before > IDLE_SHARE * REST_SECONDS:
        before = now
        time.sleep(REST_SECONDS)


def processor_seconds(group: int) -> float:
    """Processor time of all processes that a server has started."""
    return sum(int(fields[11]) + int(fields[12]) for fields in stats(group)) / TICKS


def steady(address: str, group: int, bodies: Path, minutes: int) -> None:
    """Load a server for minutes after one that warms it up."""
    load(address, bodies, 8, 60)
    first = resident_mb(group)
    for minute in range(1, minutes + 1):
        rate, _, failed = load(address, bodies, 8, 60)
        now = resident_mb(group)
        print(
            f"minute {minute}: {rate:.1f} requests/s, {failed} failed, {now:.0f} MB, "
            f"{now / first - 1:+.2%} since the first",
            flush=True,
        )


@contextlib.contextmanager
def served(model: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a model while the block lasts; its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model]
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "-p", str(port)],
        cwd=folder,
        # MLflow looks for uvicorn on the PATH.
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(READY_SECONDS):
            if process.poll() is not None:
                raise RuntimeError(
                    f"the server of {model} ended at once; mlflow models serve says why"
                )
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/ping").read()
                break
            time.sleep(1)
        else:
            raise TimeoutError(f"{model} did not answer within {READY_SECONDS} s")
        yield address, process.pid
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def load(address: str, bodies: Path, clients: int, seconds: int) -> tuple[float, float, int]:
    """Requests a second, median milliseconds and failed requests of one load."""
    script = bodies.with_suffix(".lua")
    script.write_text(LUA % bodies)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "--latency",
         "-s", str(script), address],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1))
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", done).groups()
    middle = float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    broken = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", done)))
    return rate, middle, broken + int(failed.group(1) if failed else 0)


def seconds_of(address: str, texts: list[str]) -> float:
    """Seconds until a request is answered, whatever the answer."""
    body = json.dumps({"dataframe_records": [{"text": text} for text in texts]}).encode()
    request = urllib.request.Request(
        f"{address}/invocations", body, {"Content-Type": "application/json"}
    )
    began = time.perf_counter()
    with contextlib.suppress(urllib.error.HTTPError):  # 504 for the third large one
        urllib.request.urlopen(request).read()
    return time.perf_counter() - began


def behind(address: str, group: int, texts: list[str], large: int, count: int, rounds: int) -> None:
    """Print how long a lone text takes, alone and behind requests of many texts, in turn."""
    alone_seconds, behind_seconds = [], []
    many = list(itertools.islice(itertools.cycle(texts), large))
    for at in range(rounds):
        lone = [[text] for text in texts[at * LONE_TEXTS : (at + 1) * LONE_TEXTS]]
        rest(group)
        alone_seconds += [seconds_of(address, text) for text in lone]
        others = [threading.Thread(target=seconds_of, args=(address, many)) for _ in range(count)]
        for other in others:
            other.start()
        time.sleep(1)  # until they are read and at work
        behind_seconds += [seconds_of(address, text) for text in lone]
        if not all(other.is_alive() for other in others):
            print("a large request was done before the lone ones were: too few texts")
        for other in others:
            other.join()
    alone_ms, behind_ms = (1e3 * np.array(each) for each in (alone_seconds, behind_seconds))
    print(
        f"a lone text behind {count} of {large:,}: median {np.median(behind_ms):.0f} ms, worst of "
        f"{len(behind_ms)} {behind_ms.max():.0f} ms; alone {np.median(alone_ms):.0f} ms, worst "
        f"{alone_ms.max():.0f} ms; ratio {np.median(behind_ms) / np.median(alone_ms):.2f}",
        flush=True,
    )


def stolen() -> np.ndarray:
    """Ticks of all processors so far that the host took away, and ticks in all."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = np.array([int(field) for field in fields])
    return np.array([ticks[7], ticks.sum()])


def write_bodies(path: Path, texts: list[str], batch: int) -> Path:
    """Write requests of a batch of texts, one a line."""
    starts = range(0, len(texts) - batch + 1, batch)
    rows = [[{"text": text} for text in texts[start : start + batch]] for start in starts]
    path.write_text("\n".join(json.dumps({"dataframe_records": each}) for each in rows) + "\n")
    return path


def alone(pair: Path, texts: list[str]) -> None:
    """Print what the parts of the pair reach without a server."""
    for at_once in (1, 6):
        print(f"encoder alone, {at_once} at a time: {bound(pair, texts, at_once):.1f} texts/s")
    print(f"the pair without a server: median {bare(pair, texts):.1f} ms a text", flush=True)


def main() -> None:
    """Serve both, load them in turn, and print rates, median times and errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--seconds", type=int, default=10, help="of each load of single texts")
    parser.add_argument("--minutes", type=int, default=0, help="of steady load at the end")
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        print("serve: skipped, install wrk")
        return
    seconds, rounds = (1, 1) if asked.toy else (asked.seconds, ROUNDS)
    texts = [document.text for document in generator.documents(TEXTS)]
    rates: dict[tuple[str, int, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as top, contextlib.ExitStack() as servers:
        folder = Path(top)
        os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{top}/mlflow.db", "BAT_HOME": f"{top}/h"}
        os.chdir(folder)
        champion(TOY_STUDY if asked.toy else STUDY)
        pair = versions.pricer_folder(CHAMPION)
        (folder / "plain.py").write_text(PLAIN)
        plain = mlflow.pyfunc.log_model(
            name="plain",
            python_model="plain.py",
            artifacts={"pricer": str(pair)},
            pip_requirements=[],
        ).model_uri
        both = {
            name: servers.enter_context(served(model, folder))
            for name, model in (("ours", CHAMPION), ("peer", plain))
        }
        bodies = {each: write_bodies(folder / f"bodies-{each}", texts, each) for each in BATCHES}
        for address, _ in both.values():
            load(address, bodies[1], 1, 1)  # warms the server up
        alone(pair, texts)
        for batch, clients, _, name in itertools.product(BATCHES, CLIENTS, range(rounds), both):
            before = stolen()
            lasts = seconds * (BATCH_TIMES if batch > 1 else 1)
            rate, middle, failed = load(both[name][0], bodies[batch], clients, lasts)
            lost, ticks = stolen() - before
            rest(both[name][1])
            rates.setdefault((name, clients, batch), []).append(rate)
            print(
                f"{name}, {clients} clients, {batch} texts a request: {rate:.1f} requests/s, "
                f"median {middle:.0f} ms, {failed} failed; {lost / ticks:.0%} of the machine away",
                flush=True,
            )
        alone(pair, texts)
        for count in BEHIND:
            large, rounds = (60, 1) if asked.toy else (LARGE, LONE_ROUNDS)
            behind(*both["ours"], texts, large, count, rounds)
        if asked.minutes:
            steady(*both["ours"], bodies[BATCHES[-1]], asked.minutes)
        os.chdir("/")
    for clients, batch in itertools.product(CLIENTS, BATCHES):
        mine, theirs = (np.median(rates[name, clients, batch]) for name in ("ours", "peer"))
        print(f"{clients} clients, {batch} texts a request: ratio {mine / theirs:.3f}")
    mine, theirs = (np.median(rates[name, 32, 1]) for name in ("ours", "peer"))
    print(
        f"serve: ours {mine:.1f} requests/s peer {theirs:.1f} requests/s ratio {mine / theirs:.3f}"
    )


if __name__ == "__main__":
    main()
