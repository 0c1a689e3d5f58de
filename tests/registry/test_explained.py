"""What moves a price: the same by ``Pricer``, by the endpoint and by ``score``, and by the law."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from pyarrow import parquet

from bat.cli import InputError
from bat.models import explanation, interval, pricer
from bat.registry import score, scored_file, serving
from tests.models import law

ADDED = [*scored_file.ADDED, "why"]
WHY = {"explain": True}


@pytest.fixture(scope="module", params=law.PREDICTORS)
def folder(request, tmp_path_factory):
    """A predictor that has learnt from most of the built-in corpus, saved to be served."""
    texts, prices = law.documents()
    made, folder = law.PREDICTORS[request.param](texts, prices), tmp_path_factory.mktemp("served")
    read = made.read(texts[law.LEARNT :])
    calibrated = interval.calibrate(
        read.features, prices[law.LEARNT :], read.prices, groups=np.arange(law.EXPLAINED), seed=0
    )
    pricer.save(request.param, made, calibrated, folder / "pricer", seen=())
    return folder / "pricer"


@pytest.fixture(scope="module")
def unseen():
    return law.documents()[0][law.LEARNT :]


def opened(folder):
    model = serving.PricerModel()
    model.load_context(SimpleNamespace(artifacts={"pricer": str(folder)}))
    return model


def scored(folder, texts, output, **options):
    data = output.with_name("theirs.jsonl")
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    score.score(folder, str(data), output, **{"explain": True, **options})
    return output


def test_every_way_gives_the_effects_of_the_pricer_and_they_rank_as_the_law(
    folder, unseen, tmp_path, monkeypatch
):
    monkeypatch.setattr(score, "CHUNK", 40 * explanation.MOST_READ)
    made, model = pricer.load(folder), opened(folder)
    wanted = [[each._asdict() for each in effects] for effects in made.explain(unseen)]
    asked = [unseen[at : at + 10] for at in range(0, len(unseen), 10)]
    by_endpoint = pd.concat([model.predict(None, some, WHY) for some in asked])
    assert list(by_endpoint) == [*serving.PRICES, "why"]
    assert by_endpoint["why"].tolist() == wanted
    lines = scored(folder, unseen, tmp_path / "out.jsonl").read_text().splitlines()
    by_score = [json.loads(json.loads(line)["why"]) for line in lines]
    assert by_score == wanted
    found = [[tuple(each.values()) for each in why] for why in by_score]
    assert min(law.ranks(made.predict(unseen).price, found)) > 0.7


# A pair, as a study serves it


def test_a_request_for_more_than_ten_texts_is_refused(saved_pair, texts):
    model = opened(saved_pair)
    with pytest.raises(MlflowException) as refused:
        model.predict(None, list(texts[:11]), WHY)
    assert refused.value.get_http_status_code() == 400
    assert refused.value.message == (
        "got 11 rows to explain; expected at most 10 in a request with explain; send them in parts"
    )
    assert len(model.predict(None, list(texts[:10]), WHY)) == 10
    assert "why" not in model.predict(None, list(texts[:11]), {"explain": False})


def test_equal_texts_get_equal_effects_and_a_lone_word_none(saved_pair, texts):
    model = opened(saved_pair)
    found = model.predict(None, [texts[0], "arrow", texts[1], texts[0]], WHY)
    assert found["why"][0] == found["why"][3] != found["why"][2]
    assert model.predict(None, [texts[0]], WHY)["why"][0] == found["why"][0]
    assert found["why"][1] == []
    for text, why in zip([texts[0], texts[1]], found["why"][[0, 2]], strict=True):
        assert why
        assert all(each["part"] in text and each["kind"] == "clause" for each in why)


def test_a_file_says_what_moves_each_price_in_every_format(saved_pair, texts, tmp_path):
    rows = [f"=1+1; {texts[0]}", "", texts[1], f"@cmd, -2; {texts[2]}"]
    made = pricer.load(saved_pair)
    wanted = [[each._asdict() for each in made.explain([row])[0]] if row else None for row in rows]
    assert any(each["part"].startswith("=") for each in wanted[0])
    for suffix in ("csv", "jsonl", "parquet"):
        output = scored(saved_pair, rows, tmp_path / f"prices.{suffix}")
        found = read(output)
        assert list(found[0]) == ["text", *ADDED]
        whys = [json.loads(row["why"]) if row["why"] else None for row in found]
        assert whys == wanted
        assert not any((row["why"] or "").startswith(("=", "+", "-", "@")) for row in found)


def read(output):
    if output.suffix == ".parquet":
        return parquet.read_table(output).to_pylist()
    with output.open(newline="", encoding="utf-8") as file:
        return (
            list(csv.DictReader(file)) if output.suffix == ".csv" else list(map(json.loads, file))
        )


def test_a_column_why_of_the_source_stays_or_is_refused(saved_pair, texts, tmp_path):
    data = tmp_path / "theirs.csv"
    data.write_text(f'text,why\n"{texts[0]}",mine\n')
    score.score(saved_pair, str(data), tmp_path / "prices.csv")
    assert read(tmp_path / "prices.csv")[0]["why"] == "mine"
    for refused in (
        lambda: score.count(str(data), explain=True),
        lambda: score.score(saved_pair, str(data), tmp_path / "whys.csv", explain=True),
    ):
        with pytest.raises(InputError, match=r"data with a column 'why'\n.*reason, why"):
            refused()


def test_rows_that_are_explained_come_in_small_chunks_and_are_not_done_again(
    saved_pair, texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(score, "CHUNK", 3 * explanation.MOST_READ)
    explained, asked = score._explained, []

    def dies(pair, chunk, priced):
        asked.append(len(chunk))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return explained(pair, chunk, priced)

    monkeypatch.setattr(score, "_explained", dies)
    output, told = tmp_path / "prices.jsonl", []
    with pytest.raises(KeyboardInterrupt):
        scored(saved_pair, texts[:8], output)
    scored(saved_pair, texts[:8], tmp_path / "prices.csv", explain=False)  # not those chunks
    assert ["why" in row for row in read(tmp_path / "prices.csv")] == [False] * 8
    scored(saved_pair, texts[:8], output, progress=told.append)
    assert asked == [3, 3, 3, 2]
    assert told == [3, 3, 2]
