"""Who is served under which name: MLflow's registry is real, most versions have no files."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bat.cli import InputError
from bat.registry import champion, versions
from bat.report import terminal
from bat.stats import bootstrap
from entrypoints import promote, scaling_study, score

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lines(monkeypatch):
    """What the command says to a person."""
    said = []
    monkeypatch.setattr("bat.cli.say", said.append)
    return said


@pytest.fixture
def register(store, tmp_path):
    """Register versions that hold nothing under the name of a model, with aliases."""

    def registered(name, count, aliases=(), ours=True):
        store.create_registered_model(name, tags={versions.KIND: versions.PRICER} if ours else {})
        for number in range(1, count + 1):
            store.create_model_version(name, str(tmp_path / f"nothing-{number}"))
        for alias, version in aliases:
            store.set_registered_model_alias(name, alias, version)

    return registered


def test_the_only_model_with_a_champion_is_meant(register):
    with pytest.raises(InputError, match="'1' of model_name='auto', under which no study has"):
        versions.choose_model("auto", "1")
    register("wine-price", 1, [("candidate", "1")])
    assert versions.choose_model("auto", "1") == "wine-price"
    register("bat-pricer", 1, [("champion", "1")], ours=False)  # as before there was the tag
    register("theirs", 1, [("champion", "1")], ours=False)
    assert versions.choose_model("auto", "1") == "bat-pricer"
    assert versions.choose_model("wine-price", "1") == "wine-price"
    assert versions.champion_address("auto") == "models:/bat-pricer@champion"
    with pytest.raises(InputError, match=r"'theirs', under which .*\n.*bat-pricer, wine"):
        versions.choose_model("theirs", "1")


@pytest.mark.parametrize("champions", [[], [("champion", "1")]])
def test_several_models_are_listed_and_none_is_guessed(register, champions, tmp_path, store):
    for name in ("wine-price", "cars-price", "wine-stars"):
        register(name, 1, champions)
    told = "3 registered models have .*\n.*one of cars-price, wine-price, wine-stars"
    with pytest.raises(InputError, match=told):
        promote.run(promote.PromoteConfig())
    with pytest.raises(InputError, match=told):
        score.run(score.ScoreConfig(output=str(tmp_path / "prices.csv")))


@pytest.mark.parametrize("version", ["7", "0", "previous", "newest", "9" * 5000, "-1", "³", ""])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(register, version):
    register("cars-price", 3, [("champion", "2"), ("candidate", "3")])
    with pytest.raises(InputError) as refused:
        versions.serve_version("cars-price", version)
    got, expected, remedy = refused.value.sentences
    assert got == f"version {version!r} of cars-price, which does not exist"
    assert expected == "one of those that do: 1, 2, 3, champion, candidate"
    assert "-e promote --env-manager local -P model_name=cars-price -P version=candidate" in remedy
    assert versions.serve_version("cars-price", "03") == ("2", "3")


def test_a_model_without_a_champion_or_a_version_says_so(register):
    register("cars-price", 30, [("candidate", "30")])
    with pytest.raises(InputError, match=r"version 'champion' .*\n.*: …, 11, .* 30, candidate\n"):
        versions.champion_address("auto")
    register("empty", 0)
    with pytest.raises(InputError, match="run a scaling_study, which registers one"):
        versions.serve_version("empty", "1")


def test_a_version_is_served_by_the_alias_that_it_has(register):
    register("cars-price", 3, [("champion", "1"), ("candidate", "3")])
    ours = versions.MlflowRegistry("cars-price", frozenset())
    addresses = [ours.address(version) for version in "123"]
    assert addresses == [f"models:/cars-price{end}" for end in ("@champion", "/2", "@candidate")]


def test_who_was_compared_with_whom_is_counted_once(register, store):
    register("cars-price", 3)
    ours = versions.MlflowRegistry("cars-price", frozenset())
    assert ours.record_comparison("2", "1") == 0
    assert ours.record_comparison("2", "1") == 0  # again, after it was killed
    assert ours.record_comparison("3", "1") == 1
    assert ours.record_comparison("2", "1") == 1
    assert ours.record_comparison("3", "2") == 2
    # of another model nothing is counted, and of version 0.1 each comparison that it noted
    register("wine-price", 2)
    theirs = versions.MlflowRegistry("wine-price", frozenset())
    assert theirs.record_comparison("2", "1") == 0
    store.set_registered_model_tag("wine-price", "compared.0123456789abcdef.5-4", "once")
    assert theirs.record_comparison("3", "2") == 2


def judged(comparisons=0, scale=1.0, rows=200):
    prices = np.exp(np.random.default_rng(0).normal(9, 1, rows)) * scale
    found = champion.judge(prices, prices * 1.05, prices * 1.4, margin=0.0, comparisons=comparisons)
    return found.reason


@pytest.mark.parametrize(("count", "level"), [(0, "97.50%"), (1, "99.17%"), (2, "99.58%")])
def test_the_number_of_a_comparison_and_its_level_are_told(count, level):
    told = judged(count)
    assert told.endswith(
        f"the upper end holds with {level} in comparison {count + 1} of this model"
    )


def test_few_rows_are_counted_in_good_grammar():
    assert "only 1 held-out row is new to both" in champion.too_few(1, 1).reason
    assert "only 1 group of held-out rows is new to both" in champion.too_few(400, 1).reason


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e9])
def test_no_number_of_a_comparison_has_an_exponent(scale):
    told = judged(scale=scale)
    numbers = re.search(r"is (\S+) \[(\S+), (\S+)\] on", told).groups()
    value, low, high = (float(number.replace(",", "")) for number in numbers)
    assert low < value < high < 0
    assert not re.search(r"\de[+-]\d", told)
    gain = -0.35 * np.exp(np.random.default_rng(0).normal(9, 1, 200)).mean() * scale
    assert value == pytest.approx(gain, rel=0.01)


def test_equal_pairs_differ_by_nothing_rather_than_by_rounding_errors():
    prices = np.exp(np.random.default_rng(0).normal(9, 1, 200))
    same, nearly = (
        champion.judge(prices, prices * 1.2 * factor, prices * 1.2, margin=0.0, comparisons=0)
        for factor in (1, 1 + 1e-13)
    )
    assert "minus the champion's is +0 [+0, +0] on" in same.reason
    # of two fits whose predictions differ at all, each has a chance of its own
    assert re.search(r"is \+0 \[-(\d+), \+\1\] on", nearly.reason)
    assert not same.promoted
    assert not nearly.promoted


def test_make_serve_takes_the_name_of_a_model():
    for words, name in (([], "bat-pricer"), (["MODEL=wine-5k-price"], "wine-5k-price")):
        told = subprocess.run(
            ["make", "-n", "serve", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert f"mlflow models serve -m 'models:/{name}@champion' --env-manager local" in told


def test_score_takes_an_address_or_a_name_and_not_both():
    with pytest.raises(InputError, match="one of them"):
        score.ScoreConfig(model="models:/a@champion", model_name="a")
    for config in (promote.PromoteConfig, score.ScoreConfig, scaling_study.StudyConfig):
        with pytest.raises(InputError, match="model_name='a/b'"):
            config(model_name="a/b")


# Studies: the same cars, another target


@pytest.fixture
def study(store, tiny_folder, lines):
    """Run a quick study and hand back what it said last and what its run keeps."""

    def run(data, **changes):
        settings = {"sizes": "0", "trials": 1, "baselines": "none", "stack": "none"}
        scaling_study.run(
            scaling_study.StudyConfig(
                **{"data": str(data), "base_model": str(tiny_folder)} | settings | changes
            )
        )
        kept = store.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")[0].data.tags
        return SimpleNamespace(said=lines[-1], tags=kept, note=kept["mlflow.note.content"])

    return run


@pytest.fixture
def corpora(sales, tmp_path):
    """Files of the same texts with cars' prices, half as many, prices in yen, and ratings."""
    rows = [json.loads(line) for line in sales.read_text().splitlines()]

    def file(name, lines):
        path = tmp_path / name / "theirs.jsonl"
        path.parent.mkdir()
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    stars = {
        price: 1 + rank * 5 // 500 for rank, price in enumerate(sorted(r["price"] for r in rows))
    }
    return SimpleNamespace(
        cars=file("cars", rows),
        half=file("half", rows[:300]),
        yen=file("yen", [row | {"price": row["price"] * 150} for row in rows]),
        stars=file("stars", [{"text": row["text"], "price": stars[row["price"]]} for row in rows]),
        rating=file("rating", [{"text": r["text"], "rating": r["price"]} for r in rows]),
    )


def champion_of(store, name):
    return str(store.get_model_version_by_alias(name, "champion").version)


def test_another_target_never_takes_over_the_champion(study, corpora, store, monkeypatch):
    monkeypatch.setattr(bootstrap, "FEW_ROWS", 10)
    monkeypatch.setattr(bootstrap, "FEW_GROUPS", 10)
    first = study(corpora.cars)
    serve = "mlflow models serve -m models:/theirs-price@{} --env-manager local -p 5001"
    assert "Registered as theirs-price version 1, the champion" in first.said
    for told in (first.said, first.note):
        assert f"Serve it: {serve.format('champion')}\n" in f"{told}\n"
    for number, data in ((2, corpora.yen), (3, corpora.stars)):
        found = study(data)
        assert f"theirs-price version {number}, the candidate, which is not" in found.said
        for told in (found.said, found.note, found.tags["promotion"]):
            assert "the champion, version 1, is of another lineage: 90 % of its targets lie" in told
        assert serve.format("candidate") in found.said
        assert champion_of(store, "theirs-price") == "1"
    # another column has another name, and where the user gives it the same it is still refused
    assert "theirs-rating version 1" in study(corpora.rating, target_column="rating").said
    found = study(corpora.rating, target_column="rating", model_name="theirs-price")
    assert "it predicts the column 'price', this one 'rating'" in found.said
    # the same target in a smaller corpus is compared; what the user's word promotes is told
    assert "its MAE minus the champion's is" in study(corpora.half).said
    found = study(corpora.stars, promote="always", trials=2)
    assert "the champion: promote=always; version 1 was, though of another lineage" in found.said
    assert found.tags["registered_model"] == "theirs-price"


def test_versions_registered_before_stay_served_and_are_replaced_by_their_like(
    study, corpora, store, monkeypatch, lines, sales, tmp_path
):
    monkeypatch.setattr(bootstrap, "FEW_ROWS", 10)
    study("auctions:400")
    for tag in store.get_model_version("bat-pricer", "1").tags:
        if tag.startswith("target_"):
            store.delete_model_version_tag("bat-pricer", "1", tag)
    store.delete_registered_model_tag("bat-pricer", versions.KIND)
    output = tmp_path / "prices.csv"
    score.run(score.ScoreConfig(data=str(sales), output=str(output)))
    assert any("priced by models:/bat-pricer@champion" in line for line in lines)
    assert "its MAE minus the champion's is" in study("auctions:500").said
    told = study(corpora.cars, model_name="bat-pricer").said
    assert "it was registered on 'auctions:400' without a note of its target" in told
    assert champion_of(store, "bat-pricer") in "12"


def test_a_comparison_that_was_killed_before_its_verdict_counts_once(
    study, corpora, store, monkeypatch
):
    monkeypatch.setattr(bootstrap, "FEW_ROWS", 10)
    monkeypatch.setattr(bootstrap, "FEW_GROUPS", 10)
    study(corpora.cars)
    judge = champion.judge

    def killed(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(champion, "judge", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            study(corpora.half)
    monkeypatch.setattr(champion, "judge", judge)
    assert "in comparison 1 of this model" in study(corpora.half).said
    assert len(store.search_model_versions("name = 'theirs-price'")) == 2


def test_promote_names_the_model_and_how_to_serve_it(register, lines, store):
    register("cars-price", 2, [("champion", "1")])
    promote.run(promote.PromoteConfig(version="2"))
    assert lines[-1].startswith("Champion of cars-price is version 2 (version 1 was).")
    command = "mlflow models serve -m models:/cars-price@champion --env-manager local -p 5001"
    assert lines[-1].endswith(f"Serve it: {command}")
    run = store.search_runs(["0"], "tags.`bat.command` = 'promote'")[0]
    assert run.data.tags["registered_model"] == "cars-price"
    assert terminal.promotion_text("a", None, "1", versions.standings("cars-price"))
