import dataclasses
import hashlib
import inspect
import random
import re

import numpy as np
import pytest

from bat.data.auctions import facts, generator
from bat.data.auctions.cars import KINDS, draw, law

# SHA-256 of the first 100 documents: a change of the corpus is a decision.
GOLDEN = "9fb45257e943452eea76b70b32e8ac4b8c75f83c35c995ab88876dc85ca89550"


@pytest.fixture(scope="module")
def first():
    return list(generator.documents(8000))


@pytest.fixture(scope="module")
def cars():
    return [draw(random.Random(number)) for number in range(1500)]


def price_of(car, **changes):
    return law(dataclasses.replace(car, **changes))


def test_a_document_does_not_depend_on_the_size_of_the_corpus(first):
    assert list(generator.documents(5)) == first[:5]
    assert generator.document(7999) == first[7999]
    assert generator.document(3) == generator.document(3)


def test_the_corpus_is_the_one_that_was_measured():
    lines = "\n".join(f"{d.text}\t{d.price}\t{d.median:.6g}" for d in generator.documents(100))
    assert hashlib.sha256(lines.encode()).hexdigest() == GOLDEN


def test_texts_have_40_to_110_words_and_no_loose_ends(first):
    for document in first[:2000]:
        assert 40 <= len(document.text.split()) <= 110
        assert not re.search(r"[{}@]|~ |  |\.\.|\ba [AEIaei]|\ban [bcdfgjkpqtvz]", document.text)
        assert document.text[0].isupper() or document.text[0].isdigit()
        assert document.text.endswith(".")


def test_texts_repeat_almost_never(first):
    assert len({document.text for document in first}) == len(first)


def test_models_are_many_and_their_tables_agree():
    models = facts.MODELS
    assert len({(m.make, m.name, m.code) for m in models}) == len(models) >= 60
    assert len({model.make for model in models}) >= 25
    for model in models:
        assert model.kind in KINDS
        for version in model.versions:
            assert model.first <= version.first <= version.last <= model.last
            assert model.manual if "m" in version.limits else True
            assert model.automatic if "a" in version.limits else True


def test_facts_of_a_car_do_not_contradict(cars):
    for car in cars:
        assert car.version.first <= car.year <= car.version.last
        for fact in (car.colour, car.inside, car.wheels, *car.equipment, *car.papers, *car.flaws):
            assert fact.first <= car.year <= fact.last
        assert car.model.manual if car.manual else car.model.automatic
        assert not (car.finish == "restored" and (car.condition < 3 or car.year > 1985))
        assert not (car.model.imported and car.owners == 1)


def test_more_miles_cost_less_when_they_are_known(cars):
    for car in cars:
        more = price_of(car, miles=2 * car.miles)
        assert more < law(car) if car.miles_known else more == law(car)


def test_miles_cost_most_on_young_cars_and_least_on_restored_ones(cars):
    car = next(c for c in cars if c.model.kind == "modern" and c.miles_known and not c.finish)
    old, young = (
        price_of(car, miles=10**5, year=y) / price_of(car, miles=10**4, year=y)
        for y in (1978, 2000)
    )
    done = [price_of(car, miles=m, finish="restored") for m in (10**5, 10**4)]
    assert young < old < 1
    assert price_of(car, miles=10**5) / price_of(car, miles=10**4) < done[0] / done[1]


def test_the_law_rises_and_falls_as_documented(cars):
    for car in cars:
        by_condition = [price_of(car, condition=grade) for grade in range(5)]
        assert by_condition == sorted(by_condition)
        by_owners = [price_of(car, owners=owners) for owners in (5, 3, 2, 1)]
        assert by_owners == sorted(by_owners)
        assert price_of(car, title="rebuilt") < price_of(car, title="clean")
        assert price_of(car, service="due") < price_of(car, service="done")
        assert price_of(car, flaws=()) >= law(car)
        assert price_of(car, equipment=()) <= price_of(car, equipment=car.equipment[:1]) * 1.001
        if car.tribute:
            assert law(car) < price_of(car, tribute=False)


def test_gearbox_and_alterations_help_some_models_and_hurt_others():
    rng = random.Random(0)
    cars = {(c.model.name, c.model.code): c for c in (draw(rng) for _ in range(5000))}
    ferrari, datsun = cars["360", "F131"], cars["510", "PL510"]
    assert price_of(ferrari, manual=True) > 1.4 * price_of(ferrari, manual=False)
    assert price_of(datsun, alterations=1, papers=()) > price_of(datsun, alterations=0, papers=())
    assert price_of(ferrari, alterations=1, papers=()) < price_of(ferrari, alterations=0, papers=())


def test_an_original_engine_matters_more_on_a_dearer_car(cars):
    def gain(car):
        return price_of(car, engine_history="matching") / price_of(car, engine_history="")

    cheap = min(cars, key=lambda c: c.model.value * c.version.factor)
    dear = max(cars, key=lambda c: c.model.value * c.version.factor)
    assert gain(cheap) == pytest.approx(1)
    assert gain(dear) == pytest.approx(np.exp(0.16))


def test_the_text_carries_no_price(first, monkeypatch):
    assert "price" not in inspect.signature(generator.describe).parameters
    for document in first[:2000]:
        assert not re.search(r"\$|USD|dollar|sold for|bid to|reserve", document.text)
    monkeypatch.setattr(generator, "SIGMA", 0.0)
    quiet = list(generator.documents(300))
    assert [d.text for d in quiet] == [d.text for d in first[:300]]
    np.testing.assert_allclose([d.price for d in quiet], [d.median for d in quiet], rtol=0.03)


def test_noise_has_the_size_it_claims(first):
    noise = np.log([d.price / d.median for d in first])
    assert noise.std() == pytest.approx(generator.SIGMA, rel=0.03)
    assert abs(noise.mean()) < 0.01


def test_prices_are_believable(first):
    prices = np.array([document.price for document in first])
    low, middle, high = np.percentile(prices, [5, 50, 95])
    assert 4_000 < low < 9_000
    assert 20_000 < middle < 32_000
    assert 110_000 < high < 190_000
    assert prices.max() < 1_600_000
    assert np.all(prices % 50 == 0)


def test_ceiling_is_what_the_law_scores_over_many_draws_of_the_noise(first):
    medians = np.array([document.median for document in first[:3000]])
    draws = np.exp(generator.SIGMA * np.random.default_rng(0).standard_normal((400, 3000)))
    prices = medians * draws
    mean = medians * np.exp(generator.SIGMA**2 / 2)
    ceiling = generator.ceiling(medians)
    assert ceiling.r2 == pytest.approx(1 - np.mean((prices - mean) ** 2) / prices.var(), abs=2e-3)
    errors = np.abs(prices - medians)
    assert ceiling.mae == pytest.approx(errors.mean(), rel=3e-3)
    assert ceiling.medae == pytest.approx(np.median(errors), rel=3e-3)
    logs = np.log(prices)
    assert ceiling.r2_log == pytest.approx(1 - generator.SIGMA**2 / logs.var(), abs=2e-3)


def test_ceiling_of_equal_cars_is_arithmetic():
    ceiling = generator.ceiling([1000.0, 1000.0])
    assert ceiling.r2 == pytest.approx(0)
    assert ceiling.r2_log == 0


@pytest.mark.parametrize("n", [2000, 8000])
def test_ceiling_leaves_room_and_noise(first, n):
    assert 0.80 < generator.ceiling([document.median for document in first[:n]]).r2 < 0.92
