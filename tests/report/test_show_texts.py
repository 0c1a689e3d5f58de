"""With ``show_texts=false`` nothing that a user wrote in a row leaves by an artifact."""

import json
import sqlite3
from pathlib import Path

import pytest

from bat.cli import InputError
from bat.data import corpus
from entrypoints import evaluate, finetune, report, scaling_study

MARKER = "zyzzyva"  # stands in every text and in every cell that is refused


@pytest.fixture
def marked(texts, tmp_path):
    """Rows that each check has something to say of, all with the marker in them."""
    makes = {"arrow": 40_000, "birch": 8_000, "comet": 25_000, "delta": 12_000}
    rows = [
        {"text": f"{MARKER} {text}", "price": makes[text.split()[1]] + i}
        for i, text in enumerate(texts[:500])
    ]
    for i in range(0, 500, 4):  # prices in texts
        rows[i]["text"] += f" Sold for ${rows[i]['price']}."
    rows += [{"text": f"{row['text']} {MARKER} again", "price": 7} for row in rows[:40]]  # near
    rows += [{"text": f"{MARKER} {i}", "price": MARKER} for i in range(5)]
    rows += [{"text": [MARKER], "price": 1}, {MARKER: 1}]
    long = f"{MARKER} " + " ".join(["red"] * 60)
    rows += [{"text": f"{long} {i} {'x' * i}", "price": 9_000} for i in range(5)]
    path = tmp_path / "marked.jsonl"
    lines = [*map(json.dumps, rows), f"not JSON {MARKER}"]
    path.write_text("\n".join(lines))
    return path


def where_it_is(folder):
    """The files, and the cells of the database, that hold the marker in any spelling."""
    found = [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and MARKER.encode() in path.read_bytes().lower()
    ]
    return sorted(found)


def database_text(path):
    with sqlite3.connect(path) as database:
        return "\n".join(database.iterdump()).lower()


def run_all(client, tiny_folder, data):
    common = {"data": str(data), "show_texts": False}
    study = {"base_model": str(tiny_folder), "sizes": "0,256", "trials": 1}
    scaling_study.run(
        scaling_study.StudyConfig(**common, **study, baselines="ridge,lengths,supervised")
    )
    (parent,) = client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    report.run(report.ReportConfig(studies=parent.info.run_id))
    evaluate.run(evaluate.EvaluateConfig(**common, encoder=str(tiny_folder), trials=1))
    finetune.run(finetune.FinetuneConfig(**common, base_model=str(tiny_folder), documents="256"))
    return parent


def test_no_artifact_holds_a_text(store, tiny_folder, marked, tmp_path, capsys):
    parent = run_all(store, tiny_folder, marked)
    assert where_it_is(tmp_path / "mlruns") == []
    assert MARKER not in database_text(tmp_path / "mlflow.db")
    assert MARKER not in capsys.readouterr().out.lower()
    (path,) = (tmp_path / "mlruns").rglob(f"{parent.info.run_id}/artifacts/rejected.jsonl")
    rejected = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["line"] for row in rejected] == [*range(541, 548), 553]
    examples = path.with_name("checks.csv").read_text()
    assert "line 541: price is not a plain number" in examples
    assert "like line" in examples
    assert "doubts" in json.loads(path.with_name("answer.json").read_text())
    for check in ("price in text", "near repeats", "long texts", "rejected rows"):
        assert check in examples


def test_texts_are_shown_unless_refused(store, tiny_folder, marked, tmp_path):
    """The other test sees something: the same commands show the marker by default."""
    evaluate.run(evaluate.EvaluateConfig(data=str(marked), encoder=str(tiny_folder), trials=1))
    names = {Path(path).name for path in where_it_is(tmp_path / "mlruns")}
    assert {"rejected.jsonl", "checks.csv"} <= names


def test_a_refusal_names_lines_alone(tmp_path):
    path = tmp_path / "bad.jsonl"
    rows = [{"text": f"{MARKER} {i}", "price": MARKER} for i in range(200)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="line 1: price is not a plain number") as refused:
        corpus.load(str(path), show_texts=False)
    assert MARKER not in str(refused.value)


@pytest.mark.parametrize("shown", [True, False])
def test_words_that_move_prices_are_listed_only_where_texts_may_be_shown(
    shown, store, tiny_folder, sales, tmp_path
):
    settings = {"data": str(sales), "base_model": str(tiny_folder), "show_texts": shown}
    study = {"sizes": "0", "trials": 1, "baselines": "median,ridge"}
    scaling_study.run(scaling_study.StudyConfig(**settings, **study))
    (parent,) = store.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    report.run(report.ReportConfig(studies=parent.info.run_id))
    pages = [path.read_text() for path in (tmp_path / "mlruns").rglob("report.html")]
    answers = [json.loads(path.read_text()) for path in (tmp_path / "mlruns").rglob("answer.json")]
    assert len(pages) == len(answers) == 2
    for page in pages:
        assert ("What words move prices most" in page) == shown
    words = [[each for each in answer["verdicts"] if each["kind"] == "words"] for answer in answers]
    assert words[0] == words[1]
    files = list((tmp_path / "mlruns").rglob("strongest_words.csv"))
    assert len(files) == len(words[0]) == shown
    if shown:
        (said,) = words[0]
        assert said["facts"]["baseline"] == "TF-IDF + ridge"
        ratios = {each["word"]: each["ratio"] for each in said["facts"]["words"]}
        assert ratios["arrow"] > 1 > ratios["birch"]
        assert "<td>arrow</td>" in pages[0]


@pytest.mark.parametrize("shown", [True, False])
def test_the_page_of_a_failed_run_quotes_texts_only_where_they_may_be_shown(
    shown, store, tiny_folder, marked, monkeypatch
):
    def fail(*arguments, **named):
        raise ValueError(f"the embedding of {MARKER!r} is not finite")

    monkeypatch.setattr("bat.workflow.stages.evaluation", fail)
    config = {"data": str(marked), "encoder": str(tiny_folder), "trials": 1, "show_texts": shown}
    with pytest.raises(ValueError, match="not finite"):
        evaluate.run(evaluate.EvaluateConfig(**config))
    (run,) = store.search_runs(["0"], "attributes.status = 'FAILED'")
    note = run.data.tags["mlflow.note.content"]
    assert "**This run failed.**" in note
    assert (MARKER in note) == shown
