"""What version 0.1.0 has written still opens: served folders, and studies kept by their runs.

``recorded/version_0_1.zip`` holds two pairs as ``pricer.save`` of 0.1.0 wrote them (one encoder;
factory and tuned side by side), ``version_0_1.json`` the prices that 0.1.0 gave with them, what
``reading.read`` returned for a small study of 0.1.0, and what ``outcome.rebuild`` made of it.
"""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from bat import records
from bat.cli import InputError
from bat.data import corpus
from bat.models import pricer
from bat.report import answer_file, page, runs, tables, verdict, wording
from bat.workflow import outcome

RECORDED = Path(__file__).parent / "recorded"
TEXTS = ["1990 arrow coupe in red, 41k miles, manual.", "2010 delta sedan", "a birch wagon"]


@pytest.fixture(scope="module")
def old():
    return json.loads((RECORDED / "version_0_1.json").read_text())


@pytest.mark.parametrize("pair", ["pair", "factory_and_tuned"])
def test_a_served_folder_gives_its_prices(pair, old, tmp_path):
    with zipfile.ZipFile(RECORDED / "version_0_1.zip") as archive:
        archive.extractall(tmp_path)
    found = pricer.load(tmp_path / pair).predict(TEXTS)
    for column, expected in zip(found, old["prices"][pair], strict=True):
        assert column.tolist() == pytest.approx(expected, rel=1e-4)  # processors round otherwise


def kept(values):
    children = [kept(child) for child in values["children"]]
    return records.Kept(**values | {"children": children})


def test_a_study_is_put_together_again_from_its_runs(old):
    found = outcome.rebuild(kept(old["kept"]))
    assert (found.about.protocol, found.about.parts_by) == (1, "text")
    for row, (name, documents, scores, error) in zip(found.rows, old["rows"], strict=True):
        assert (row.name, row.documents, row.train_mae) == (name, documents, error)
        assert {each: score.value for each, score in row.scores.items()} == pytest.approx(
            {each: value for each, (value, _, _) in scores.items()}, rel=1e-12
        )
    gain = verdict.statements(found)[0]
    assert gain.facts["documents"] == 285
    assert "Fine-tuning on 285 documents" in wording.sentence(gain)


def test_its_arm_is_the_one_that_validation_rows_had_chosen(old):
    """Of the errors that its runs keep, those of folds would choose another arm."""
    found = outcome.rebuild(kept(old["kept"]))
    assert found.served.key == found.best_pair.key
    assert [found.served.key.documents, found.served.key.seed] == list(old["chosen"]) == [0, 0]
    folds = {
        int(child["params"]["documents"]): child["metrics"]["cv_mae"]
        for child in old["kept"]["children"]
        if "documents" in child["params"]
    }
    assert min(folds, key=folds.get) == 285
    assert tables.table(found)[0][-1] == "validation MAE"
    assert [line["validation_mae"] for line in tables.results(found)] == [
        error for *_, error in old["rows"]
    ]
    said = "\n".join(wording.answer(verdict.statements(found)))
    assert "The factory encoder has the least error on validation rows, and gets regi" in said
    assert "the best baseline by validation rows" in said
    assert "validation part chose the arm" in page.page(found, {})


def test_its_intervals_count_what_another_seed_would_change(old):
    """Version 0.1 counted rows alone; now intervals are wider where fits hang on a seed."""
    found = outcome.rebuild(kept(old["kept"]))
    for row, (_, _, scores, _) in zip(found.rows, old["rows"], strict=True):
        for name in ("mae", "medae", "r2_log"):
            now, (_, low, high) = row.scores[name], scores[name]
            if row.by_chance:
                assert now.high - now.low > 0.99 * (high - low), (row.name, name)
            assert abs(now.low - low) + abs(now.high - high) < 0.25 * (high - low), row.name
    assert not found.row("median price").by_chance


def test_a_report_says_of_such_a_study_all_that_it_says_of_others(old):
    found = outcome.rebuild(kept(old["kept"]))
    answer = answer_file.document(found, {}, None)
    assert [arm["name"] for arm in answer["arms"]] == [name for name, *_ in old["rows"]]
    assert {arm["labels"] for arm in answer["arms"]} == {285}
    assert "285 train, 48 validation, 32 calibration, 108 test, 27 aside" in page.page(found, {})
    assert any(isinstance(each, records.Note) for each in runs.parent_records(found, {}))


def test_it_is_not_compared_with_a_study_of_today(old):
    before = outcome.rebuild(kept(old["kept"]))
    parts = {"train": 285, "held_out": 108}
    about = dataclasses.replace(before.about, protocol=corpus.PROTOCOL, parts=parts)
    today = dataclasses.replace(before, about=about)
    with pytest.raises(InputError) as refused:
        verdict.differences({"version=0.1": before, "version=0.2": today})
    got, expected, remedy = refused.value.sentences
    assert got == (
        "version=0.1, judged by protocol 1 (parts: train, validation, calibration, test, aside), "
        "and version=0.2, judged by protocol 2 (parts: train, held out)"
    )
    assert "studies of one protocol" in expected
    assert "give each its own report" in remedy
    assert verdict.differences({"a": before, "b": before})[0].verdict == "no_difference"
