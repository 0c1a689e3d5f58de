"""Slow: MLflow's pages after a study, as a person sees them in a real browser.

Screenshots are left in the folder that BAT_SCREENSHOTS names, if it does.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from entrypoints import scaling_study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 180_000
WINDOW, TALL = {"width": 1400, "height": 1000}, {"width": 1400, "height": 3600}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM, reason="no chromium on the PATH (Debian: apt install chromium)"
    ),
]

DRAWN = """[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.data.map(line => ({
    type: line.type, x: [...line.x || []], y: [...line.y || []],
    title: (plot.closest('[data-testid]') || plot).innerText,
    axes: (line.dimensions || []).map(axis => [axis.label, [...axis.values]])
}))).flat()"""


@pytest.fixture
def studied(store, tiny_folder, monkeypatch, served):
    """A study of three sizes, and a server that shows it."""
    monkeypatch.setattr("bat.cli.say", lambda text: None)
    scaling_study.run(
        scaling_study.StudyConfig(
            base_model=str(tiny_folder),
            data="auctions:500",
            sizes="0,256,1.0",
            trials=1,
            baselines="median",
            stack="none",
        )
    )
    runs = store.search_runs(["0"])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    arms = [run for run in runs if "documents" in run.data.params]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port"]
    environment = os.environ | {"MLFLOW_BACKEND_STORE_URI": os.environ["MLFLOW_TRACKING_URI"]}
    with served(command, "/health", env=environment) as address:
        yield SimpleNamespace(client=store, parent=parent, arms=arms, address=address)


@pytest.fixture
def page():
    """A window of the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport=WINDOW)
        opened.set_default_timeout(PATIENCE_MS)
        yield opened
        browser.close()


def shoot(page, name):
    if folder := os.environ.get("BAT_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def drawn(page, ready):
    """What the charts on the page show, once they show what is awaited."""
    page.wait_for_selector(".js-plotly-plot", state="attached")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not (found := [line for line in page.evaluate(DRAWN) if ready(line)]):
        assert time.monotonic() < deadline, page.evaluate(DRAWN)
        page.wait_for_timeout(300)
    return found


def test_a_study_is_readable_in_the_mlflow_ui(studied, page):
    parent = studied.parent.info.run_id
    run = f"{studied.address}/#/experiments/0/runs/{parent}"
    table = pd.read_csv(studied.client.download_artifacts(parent, "results.csv"))
    table = table[table["documents"].notna()]

    # the run's own page says the answer
    page.goto(run)
    page.get_by_text(f"tuning on {table['documents'].max():,.0f} bare texts").first.wait_for()
    shoot(page, "run")

    # the charts of the metrics are the learning curve
    page.set_viewport_size(TALL)  # charts out of sight are not drawn
    page.goto(f"{run}/model-metrics")
    for name in ("r2", "mae", "medae"):
        line = drawn(page, lambda line, name=name: f"({name})" in line["title"])[0]
        assert line["x"] == table["documents"].tolist(), name
        assert line["y"] == pytest.approx(table[name].tolist(), rel=1e-12), name
    shoot(page, "curves")
    page.set_viewport_size(WINDOW)

    # the children, compared: documents against the metrics
    ids = json.dumps([arm.info.run_id for arm in studied.arms])
    page.goto(f'{studied.address}/#/compare-runs?runs={ids}&experiments=["0"]')
    (parallel,) = drawn(page, lambda line: line["type"] == "parcoords")
    axes = dict(parallel["axes"])
    assert sorted(axes["documents"]) == table["documents"].tolist()
    page.get_by_role("tab", name="Scatter Plot").click()
    for metric in ("r2", "medae"):
        for axis, choice in (("x", "documents"), ("y", metric)):
            page.locator(f"#{axis}-axis-selector").click()
            page.get_by_role("option", name=choice, exact=True).last.click()
        wanted = {(arm.data.metrics["documents"], arm.data.metrics[metric]) for arm in studied.arms}
        (points,) = drawn(
            page,
            lambda line: set(zip(map(float, line["x"]), line["y"], strict=True)) == wanted,  # noqa: B023
        )
        assert len(points["x"]) == len(studied.arms)
    shoot(page, "compare")

    # the registered version leads back to its study
    page.goto(f"{studied.address}/#/models/bat-pricer/versions/1")
    page.get_by_text(parent).first.wait_for()
    shoot(page, "version")
