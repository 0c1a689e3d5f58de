"""Figures of a study: what is drawn, and where it lies."""

from pathlib import Path

import pytest

from bat.report import figures
from bat.stats import bootstrap
from tests.report.made_up import of_rows, outcome, with_supervised


@pytest.mark.parametrize("name", ["r2", "mae", "medae"])
def test_a_curve_shows_every_size_and_lines_to_compare(name, tmp_path):
    found = outcome({0: 0.3, 500: 0.2, 2000: 0.1})
    figure = figures.curve(found, name)
    axes, changes = figure.axes
    points = axes.containers[0].lines[0].get_xdata()
    assert list(points) == [0, 500, 2000]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"fine-tuned", "factory", "TF-IDF + SVD"} <= set(labels)
    assert len(labels) == len(set(labels))
    *tuned, factory = (
        found.row(arm).predictions for arm in ("tuned on 500", "tuned on 2,000", "factory")
    )
    gain = bootstrap.bands(found.prices, tuned, factory, chance=(True, True))[name][0]
    (line, _, (bars,)) = changes.containers[0]
    assert line.get_xydata()[0] == pytest.approx((500, gain.value))
    assert bars.get_segments()[0][:, 1] == pytest.approx((gain.low, gain.high))
    assert ("above 0" in changes.get_ylabel()) == (name == "r2")
    figure.savefig(tmp_path / "curve.png")
    assert Path(tmp_path / "curve.png").stat().st_size > 10_000


def test_a_curve_without_the_factory_encoder_has_one_panel():
    assert len(figures.curve(outcome({500: 0.2, 2000: 0.1}), "mae").axes) == 1


@pytest.mark.parametrize("length", [5, 30, 60, 200])
@pytest.mark.parametrize("count", [2, 5])
def test_a_legend_lies_inside_its_figure(length, count):
    together = {
        f"{number} " + " ".join(["base_model=x"] * (length // 12)): outcome({0: 0.3, 500: 0.2})
        for number in range(count)
    }
    figure = figures.curves_together(together, "mae")
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_a_curve_needs_no_more_than_a_handful_of_rows():
    few = of_rows(outcome({0: 0.3, 250: 0.25, 500: 0.2}), 14)
    assert figures.curve(few, "mae").axes


def test_learning_from_prices_is_drawn_where_it_was_asked_for():
    found = with_supervised(outcome({0: 0.3, 500: 0.2}), 0.1)
    labels = [text.get_text() for text in figures.curve(found, "mae").legends[0].get_texts()]
    assert "supervised" in labels


def test_studies_are_drawn_together():
    together = {"small": outcome({0: 0.3, 500: 0.2}), "large": outcome({0: 0.3, 500: 0.1})}
    figure = figures.curves_together(together, "mae")
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["small", "large"]
    assert all(list(c.lines[0].get_xdata()) == [0, 500] for c in axes.containers)
