"""What people are told: numbers with intervals, verdicts that the intervals allow."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bat import metrics, report
from bat import outcome as outcomes
from bat.cli import InputError

ABOUT = outcomes.About(
    corpus="theirs.csv",
    digest="d" * 64,
    parts={"train": 640, "validation": 80, "calibration": 80, "test": 200, "aside": 0},
    findings=(),
    ceiling=None,
    base="base",
    finetune_on="train",
    sizes=(0, 500, 1000, 2000),
    seeds=(0,),
    baselines=("tfidf",),
    margin=0.1,
)


TWO_SEEDS = dataclasses.replace(ABOUT, seeds=(0, 1))


def outcome(errors, *, best=0, seeds=1, **about):
    """A study whose arms miss each price by the given share, some more, some less."""
    random = np.random.default_rng(0)
    prices = random.lognormal(10, 0.5, 400)
    sides = random.choice([-1.0, 1.0], (seeds, 400)) * random.uniform(0.5, 1.5, (seeds, 400))
    rows = []
    for documents, error in errors.items():
        predictions = prices * (1 + error * sides)
        rows.append(
            outcomes.Row(
                name=f"tuned on {documents:,}" if documents else "factory",
                documents=documents,
                predictions=predictions,
                scores=metrics.bootstrap(prices, predictions, draws=200),
                validation_mae=1000.0,
                seconds={"search": 1.0},
            )
        )
    words = dataclasses.replace(rows[0], name="TF-IDF + SVD", documents=None)
    return outcomes.Outcome(
        about=dataclasses.replace(ABOUT, **about),
        prices=prices,
        rows=[*rows, words],
        seeds=tuple(range(seeds)),
        chosen=(best, 0),
        seconds={"search": 2.0},
    )


def test_a_gain_is_called_a_gain_and_enough_is_found():
    said = report.answer(outcome({0: 0.3, 500: 0.11, 1000: 0.101, 2000: 0.1}, best=2000))
    assert "Fine-tuning on 2,000 documents pays" in said
    assert "Enough: 500 documents" in said
    assert "Not said: " in said  # three sizes support no curve
    assert "Validation chooses the encoder tuned on 2,000 documents" in said
    assert "The encoder tuned on 2,000 beats TF-IDF + SVD (the best baseline" in said


def test_no_gain_gives_no_number():
    said = report.answer(outcome({0: 0.2, 500: 0.2, 2000: 0.2}))
    assert "makes no difference that these test rows can show" in said
    assert "no share of it can be found" in said
    assert "no tuned one has a lower MAE" in said


def test_harm_is_called_harm():
    said = report.answer(outcome({0: 0.1, 500: 0.2, 2000: 0.3}))
    assert "does harm on this corpus" in said
    assert "no share of it can be found" in said


def test_doubts_are_said():
    assert "1 seed: the intervals" in report.answer(outcome({0: 0.1, 500: 0.2}))
    assert "2 seeds: the intervals" in report.answer(outcome({0: 0.1, 500: 0.2}, seeds=2))
    assert "Transductive" in report.answer(outcome({0: 0.1, 500: 0.2}, finetune_on="all"))
    assert "Transductive" not in report.answer(outcome({0: 0.1, 500: 0.2}))
    both = report.answer(outcome({0: 0.1, 500: 0.2}, features="factory+tuned"))
    assert "two encoders run for a price" in both
    assert "two encoders" not in report.answer(outcome({0: 0.1, 500: 0.2}))


def test_results_hold_every_number_with_its_ends():
    lines = report.results(outcome({0: 0.3, 500: 0.1}))
    assert [line["arm"] for line in lines] == ["factory", "tuned on 500", "TF-IDF + SVD"]
    assert lines[1]["mae_low"] < lines[1]["mae"] < lines[1]["mae_high"]
    assert lines[1]["mae_minus_factory_high"] < 0
    assert "mae_minus_factory" not in lines[0]
    assert lines[1]["mae_minus_tfidf"] == lines[1]["mae_minus_factory"]  # equal by construction


def test_each_size_is_compared_with_the_one_before():
    lines = report.results(outcome({0: 0.3, 500: 0.2, 1000: 0.1}))
    assert lines[1]["mae_minus_before"] == lines[1]["mae_minus_factory"]
    assert lines[2]["mae_minus_before"] == pytest.approx(lines[2]["mae"] - lines[1]["mae"])
    assert "mae_minus_before" not in lines[0]
    assert "mae_minus_before" not in lines[3]


def test_sizes_left_out_are_named():
    stop = report.scaling.Stop(True, 1.0, 2.0, "the rest can take at most 1 off")
    stopped = dataclasses.replace(outcome({0: 0.3, 500: 0.1}), stop=stop, skipped=(900, 2000))
    assert "Stopped before 900, 2,000 documents: by validation the rest" in report.answer(stopped)
    assert "No size was left out" in report.answer(dataclasses.replace(stopped, skipped=()))


def test_the_margin_is_the_one_asked_for():
    wide = outcome({0: 0.3, 500: 0.15, 1000: 0.101, 2000: 0.1}, margin=0.5)
    assert "Enough: 500 documents bring all but 50% of that gain" in report.answer(wide)


def test_small_prices_keep_their_decimals():
    assert report.number("mae", 15.678) == "15.68"
    assert report.number("mae", 15678.9) == "15,679"
    assert report.number("r2", 0.12345, sign=True) == "+0.123"
    assert report.interval("r2", metrics.Interval(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"


@pytest.mark.parametrize(
    ("ends", "written"),
    [
        ((25.69, -1050.0, 1107.0), "+26 [-1,050, +1,107]"),
        ((-0.208, -0.498, 0.0871), "-0.208 [-0.498, +0.087]"),
        ((0.00421, 0.0038, 0.0047), "+0.00421 [+0.00380, +0.00470]"),
        ((-0.2, -300.4, 0.0), "+0 [-300, +0]"),
        ((0.0, 0.0, 0.0), "+0.00 [+0.00, +0.00]"),
    ],
)
def test_an_interval_has_the_decimals_of_its_largest_number(ends, written):
    assert report.interval("mae", metrics.Interval(*ends), sign=True) == written


def test_a_handful_of_test_rows_has_no_curve():
    found = outcome({0: 0.3, 250: 0.25, 500: 0.2})
    few = dataclasses.replace(
        found,
        prices=found.prices[:14],
        rows=[dataclasses.replace(row, predictions=row.predictions[:, :14]) for row in found.rows],
    )
    assert "Not said: 14 test rows are too few for a curve" in report.answer(few)
    assert report.hypotheses(few) == ""
    assert report.curve(few, "mae").axes


def test_a_gain_is_established_in_words_and_for_the_curve_alike():
    for seed in range(8):  # seed 2 is a close call
        random = np.random.default_rng(seed)
        found = outcome({0: 0.3, 250: 0.3, 500: 0.3, 1000: 0.3})
        noise = random.normal(0, 0.05, (1, 400))
        rows = [
            dataclasses.replace(
                row,
                predictions=found.prices
                + (row.predictions - found.prices) * (1 + noise - 0.005 * bool(row.documents)),
            )
            if row.documents
            else row
            for row in found.rows
        ]
        said = report.answer(dataclasses.replace(found, rows=rows))
        assert ("the error falls" in said) == ("no gain over the factory" not in said), seed


def test_rows_in_groups_are_told_and_few_groups_doubted():
    found = outcome({0: 0.3, 500: 0.2}, parts_by="group_column=seller")
    few = dataclasses.replace(found, groups=np.arange(400) % 20)
    said = report.answer(few)
    assert "paired on 400 test rows of 20 groups)" in said
    assert "come from 20 groups (group_column=seller)" in said
    many = report.answer(dataclasses.replace(found, groups=np.arange(400) % 50))
    assert "of 50 groups)" in many
    assert "come from" not in many


def test_a_base_model_that_has_seen_the_test_texts_is_named():
    assert "Transductive" not in report.answer(outcome({0: 0.3, 500: 0.2}))
    seen = report.answer(outcome({0: 0.3, 500: 0.2}, base_protocol="transductive"))
    assert "Transductive: the base model base was tuned before" in seen


def test_tables_are_aligned_and_marked_down():
    lines = [["arm", "R²"], ["factory", "0.5"]]
    assert report.plain_table(lines) == "arm       R²\nfactory  0.5"
    assert report.markdown_table(lines) == "| arm | R² |\n|---|---|\n| factory | 0.5 |"


@pytest.mark.parametrize("name", ["r2", "mae", "medae"])
def test_a_curve_shows_every_size_and_lines_to_compare(name, tmp_path):
    found = outcome({0: 0.3, 500: 0.2, 2000: 0.1})
    figure = report.curve(found, name)
    axes, beside = figure.axes
    points = axes.containers[0].lines[0].get_xdata()
    assert list(points) == [0, 500, 2000]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"fine-tuned", "factory", "TF-IDF + SVD"} <= set(labels)
    assert len(labels) == len(set(labels))
    ours, factory = (found.row(arm).predictions for arm in ("tuned on 500", "factory"))
    gain = metrics.paired(found.prices, ours, factory)[name]
    (line, _, (bars,)) = beside.containers[0]
    assert line.get_xydata()[0] == pytest.approx((500, gain.value))
    assert bars.get_segments()[0][:, 1] == pytest.approx((gain.low, gain.high))
    assert ("above 0" in beside.get_ylabel()) == (name == "r2")
    figure.savefig(tmp_path / "curve.png")
    assert Path(tmp_path / "curve.png").stat().st_size > 10_000


def test_a_curve_without_the_factory_encoder_has_one_panel():
    assert len(report.curve(outcome({500: 0.2, 2000: 0.1}), "mae").axes) == 1


def test_learning_from_prices_is_compared_and_drawn_where_it_was_asked_for():
    found = outcome({0: 0.3, 500: 0.2})
    better = found.prices * 1.1
    row = dataclasses.replace(
        found.rows[-1],
        name="supervised",
        predictions=better[None],
        scores=metrics.bootstrap(found.prices, better, draws=200),
        validation_mae=1.0,
    )
    found = dataclasses.replace(found, rows=[*found.rows, row])
    said = report.answer(found)
    assert "The encoder tuned on 500 loses to supervised (the same encoder" in said
    assert "TF-IDF + SVD (the best baseline by validation)" in said  # of those that cost little
    labels = [text.get_text() for text in report.curve(found, "mae").legends[0].get_texts()]
    assert "supervised" in labels


def test_what_is_missing_is_named():
    half = dataclasses.replace(outcome({0: 0.1, 500: 0.2}), missing=("documents=1000 seed=0",))
    assert "Unfinished: documents=1000 seed=0 are not there." in report.answer(half)
    assert "So far validation prefers the factory one" in report.answer(half)
    assert "no tuned one has a lower MAE" not in report.answer(half)
    part = dataclasses.replace(outcome({0: 0.1, 500: 0.2}, seeds=1), about=TWO_SEEDS)
    assert "Seed 1 is not counted" in report.answer(part)


def test_studies_are_compared_at_their_largest_size_on_the_same_rows():
    together = {"small": outcome({0: 0.3, 500: 0.2}), "large": outcome({0: 0.3, 500: 0.1})}
    said = report.differences(together)[0]
    ours, theirs = (each.row("tuned on 500") for each in together.values())
    mae = theirs.scores["mae"].value - ours.scores["mae"].value
    assert said.startswith("large (tuned on 500) minus small (tuned on 500), paired: R² +")
    assert f"MAE {mae:,.0f} [" in said
    lines = report.table_together(together)
    assert [line[:2] for line in lines[1:3]] == [["small", "factory"], ["small", "tuned on 500"]]
    figure = report.curves_together(together, "mae")
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["small", "large"]
    assert all(list(c.lines[0].get_xdata()) == [0, 500] for c in axes.containers)


@pytest.mark.parametrize("length", [5, 30, 60, 200])
@pytest.mark.parametrize("count", [2, 5])
def test_a_legend_lies_inside_its_figure(length, count):
    together = {
        f"{number} " + " ".join(["base_model=x"] * (length // 12)): outcome({0: 0.3, 500: 0.2})
        for number in range(count)
    }
    figure = report.curves_together(together, "mae")
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_studies_are_paired_over_the_seeds_that_they_share():
    one, three = outcome({0: 0.3, 500: 0.2}), outcome({0: 0.3, 500: 0.1}, seeds=3)
    last = dataclasses.replace(
        one,
        seeds=(2,),
        rows=[dataclasses.replace(row, predictions=row.predictions[-1:]) for row in three.rows],
    )
    said = report.differences({"one": last, "three": three})[0]
    assert "MAE +0.00 [+0.00, +0.00]" in said  # seed 2 of both is the same
    apart = dataclasses.replace(one, seeds=(7,))
    with pytest.raises(InputError, match="studies that share a seed"):
        report.differences({"one": apart, "three": three})


def test_a_comparison_says_what_is_missing():
    half = dataclasses.replace(outcome({0: 0.3, 500: 0.2}), missing=("documents=1000 seed=0",))
    together = {"whole": outcome({0: 0.3, 500: 0.1}), "half": half}
    said = report.comparison(together, report.differences(together))
    assert "half: Unfinished: documents=1000 seed=0" in said


def test_studies_of_different_rows_are_not_compared():
    one = outcome({0: 0.3, 500: 0.2})
    other = dataclasses.replace(one, prices=one.prices + 1)
    with pytest.raises(InputError, match="studies with the same test rows"):
        report.differences({"one": one, "other": other})
