"""Each benchmark runs in its smallest form and ends with the line that readers look for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cluster

ROOT = Path(__file__).parent.parent
ENDS = r"ours [\d.]+ .*peer [\d.]+ .*ratio [\d.]+$"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("cluster", ENDS),
        ("embed", ENDS),
        ("finetune", ENDS),
        ("gpu", r"gpu: auctions:450, .* minutes$"),
        ("growth", r"time ~ documents\^-?\d+\.\d+$"),
        ("head", r"r2_log .*minus factory"),
        ("honesty", r"honesty: \d+ claims in .* minutes: \d+ hold, .* aims not claimed$"),
        ("interval", ENDS),
        ("one_pass", ENDS),
        ("recipe", r"go on with \["),
        ("score", ENDS),
        ("search", ENDS),
        pytest.param(
            "serve",
            ENDS,
            marks=pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed"),
        ),
        ("stack", r"on \d of 2$"),
        ("study", ENDS),
    ],
)
def test_a_benchmark_ends_with_what_it_shows(name, ending, tmp_path):
    environment = {
        "BAT_HOME": str(tmp_path / "home"),
        "BAT_TRIALS": "3",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--toy"],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(ending, done.stdout.strip().splitlines()[-1])


def test_units_are_laid_out_on_workers_as_by_hand():
    units = {"a": (2.0, ()), "b": (1.0, ("a",)), "c": (4.0, ()), "d": (1.0, ("b", "c"))}
    assert cluster.ways(units) == {"a": 4.0, "b": 2.0, "c": 5.0, "d": 1.0}
    assert cluster.laid_out(units, 1) == 8.0
    assert cluster.laid_out(units, 2) == 5.0  # c, d on one; a, b on the other
    assert cluster.laid_out(units, 9) == max(cluster.ways(units).values())
