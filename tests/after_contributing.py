"""What the diffs of CONTRIBUTING.md add, used: ``test_contributing`` runs this where they apply."""

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bat
from bat import records
from bat.data import corpus
from bat.models import embedding, encoder_opening, predictors
from bat.report import answer_file, runs, tables
from bat.tuning.objectives import mlm
from bat.workflow import preparation, spec, stages, study, tasks


class Folder:
    """A toy tracker: metrics in a dictionary, tables in a folder."""

    def __init__(self, folder):
        self.folder, self.metrics = folder, {}
        folder.mkdir()

    def log(self, record):
        match record:
            case records.Metrics(values):
                self.metrics |= values
            case records.Table(name, rows) if rows:
                pd.DataFrame(rows).to_csv(self.folder / name, index=False)

    @contextlib.contextmanager
    def child(self, name, began=None):
        yield Folder(self.folder / name)

    def adopt(self, name):
        return False


@pytest.fixture(scope="module")
def prepared(tiny, sales):
    return preparation.prepare(corpus.load(str(sales)), tiny)


def test_the_copy_is_what_is_tested():
    assert Path(bat.__file__).parent.parent == Path(__file__).parent.parent


@pytest.fixture(scope="module")
def studied(tiny, prepared, tmp_path_factory):
    """One study with all that the diffs add."""
    objectives, baselines = ("spans",), ("median", "nearest")
    wanted = spec.StudySpec(
        (0, 256), (0,), 1, mlm.Recipe(), objectives=objectives, baselines=baselines
    )
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAT_HOME", str(folder / "home"))
        tracker = Folder(folder / "run")
        outcome, _, (tuned,) = study.run(tasks.Context(tiny, prepared, wanted), tracker)
    for record in runs.parent_records(outcome, {}):
        tracker.log(record)
    return outcome, tuned, tracker


def test_the_baseline_is_a_line_of_the_table_and_beats_the_median(studied):
    outcome, _, _ = studied
    arms = [line[0] for line in tables.table(outcome)[1:]]
    assert arms == ["factory", "tuned on 256 (spans)", "median price", "nearest neighbour"]
    ours, theirs = (outcome.row(name) for name in ("nearest neighbour", "median price"))
    assert ours.scores["mae"].value < theirs.scores["mae"].value
    assert "nearest" in predictors.baselines()


def test_the_objective_has_tuned_the_encoder(studied, tiny, texts):
    _, tuned, _ = studied
    found = encoder_opening.open_encoder(str(tuned / "encoder"))
    assert "| method | masked spans, " in (tuned / "encoder" / "README.md").read_text()
    moved = embedding.encode(found, texts[:9]) - embedding.encode(tiny, texts[:9])
    assert np.isfinite(moved).all()
    assert np.abs(moved).max() > 1e-3
    story = stages.read_tuned(tuned).story
    assert story["held_out"][-1][1] < story["held_out"][0][1]


def test_the_artifact_is_a_file_of_the_run(studied):
    outcome, _, tracker = studied
    times = pd.read_csv(tracker.folder / "times.csv")
    assert times["arm"].tolist() == [row.name for row in outcome.rows]
    assert times["search"][0] > 0


def test_the_metric_is_in_the_table_the_run_and_the_answer(studied):
    outcome, _, tracker = studied
    assert "RMSE" in tables.table(outcome)[0]
    tuned = outcome.row("tuned on 256 (spans)")
    error = np.sqrt(np.mean((tuned.predictions[0] - outcome.prices) ** 2))
    assert tracker.metrics["rmse"] == pytest.approx(error)  # of the last size
    assert tracker.metrics["rmse_low"] < error < tracker.metrics["rmse_high"]
    arm = answer_file.document(outcome, {}, None)["arms"][1]
    assert arm["metrics"]["rmse"]["value"] == pytest.approx(error)
    assert "rmse_minus_factory" in tables.results(outcome)[1]


def test_the_regressor_is_the_same_after_saving(tiny, prepared, tmp_path):
    texts, train = prepared.corpus.texts, prepared.rows("train")
    data = predictors.TrainingData(
        texts, prepared.corpus.prices, prepared.corpus.group_ids, train, tiny, 0, None, None
    )
    made = predictors.named("nearest").fit(data)
    np.testing.assert_array_equal(made.predict(data.train_texts), prepared.corpus.prices[train])
    predictors.save("nearest", made, tmp_path / "saved")
    again = predictors.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.read(texts[:9]).prices, made.read(texts[:9]).prices)
