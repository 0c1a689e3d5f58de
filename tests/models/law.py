"""The built-in corpus, whose law is known: what explanations of its prices are compared with."""

import random
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from bat.data.auctions import cars, generator
from bat.data.auctions.facts import PHRASES
from bat.models import numbers, predictors, regressor, ridge_column, stack
from bat.models.stack import NUMBERS, WORD_LINE, Chosen, Material
from tests.conftest import fitted

LEARNT, EXPLAINED = 1_500, 120
# The sentences that tell a term of the law, and what of the car decides it.
TOLD = {
    "condition": (PHRASES["condition"], lambda car: car.condition),
    "owners": (PHRASES["owner_lines"].values(), lambda car: car.owners),
    "engine": (PHRASES["engine_lines"].values(), lambda car: car.engine_history),
    "finish": (PHRASES["finish_lines"].values(), lambda car: car.finish),
    "service": (PHRASES["service_lines"].values(), lambda car: car.service),
    "miles": (
        [PHRASES["mileage_lines"]],
        lambda car: round(np.log(car.miles / cars.KINDS[car.model.kind][0])),
    ),
}


def documents():
    """Texts and prices of the built-in corpus."""
    found = list(generator.documents(LEARNT + EXPLAINED))
    return [each.text for each in found], np.array([each.price for each in found])


def a_stack(texts, prices):
    """A stack without an embedding."""
    rows, nothing = np.arange(LEARNT), np.empty((len(texts), 0), np.float32)
    material = Material(texts, nothing, prices, np.arange(len(texts)), seed=0)
    chosen = Chosen((NUMBERS, WORD_LINE), {}, numbers.fit(texts[:LEARNT]))
    unseen, _ = stack.columns(material, chosen)(rows, rows[:0])
    features = ridge_column.append(stack.features(material, chosen)[rows], unseen)
    trees = regressor.fit(
        features, prices[rows], regressor.Settings(), n_trees=100, seed=0, with_line=False
    )
    return predictors.Stack(stack.reader(material, rows, chosen), trees)


def a_ridge(texts, prices):
    return fitted("ridge", texts, prices, np.arange(LEARNT))


PREDICTORS = {"stack": a_stack, "ridge": a_ridge}


def told(number):
    """The car of a document, and its sentences with the term of the law that each tells."""
    rng, sentences, write = random.Random(f"{generator.SALT}:{number}"), [], generator._sentence

    def noted(rng, wordings, said, car):
        text = write(rng, wordings, said, car)
        terms = [term for term, (all_of, _) in TOLD.items() if any(wordings is x for x in all_of)]
        sentences.extend((term, text) for term in terms)
        return text

    car = cars.draw(rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "_sentence", noted)
        text = generator.describe(car, rng)
    return car, [(term, sentence) for term, sentence in sentences if sentence in text]


def ranks(prices, whys):
    """How explanations of the texts after those learnt from rank facts, beside the law.

    Args:
        prices: predicted.
        whys: for each text tuples of part, kind and effect.

    Returns:
        Spearman's correlation by clauses, and by words.
    """
    drawn = [cars.draw(random.Random(f"{generator.SALT}:{n}")) for n in range(LEARNT)]
    usual = {term: np.mean([cars._terms(car)[term] for car in drawn]) for term in TOLD}
    true, by_kind = defaultdict(list), {"clause": defaultdict(list), "word": defaultdict(list)}
    for at, (price, why) in enumerate(zip(prices, whys, strict=True)):
        car, sentences = told(LEARNT + at)
        for term, sentence in sentences:
            fact = term, TOLD[term][1](car)
            true[fact].append(-np.expm1(usual[term] - cars._terms(car)[term]))
            for kind, found in by_kind.items():
                inside = [e for part, k, e in why if k == kind and part.lower() in sentence.lower()]
                found[fact].append(sum(inside) / price)
    facts = [fact for fact, values in true.items() if len(values) >= 3]
    assert len(facts) > 15
    law, *ours = ([np.mean(of[fact]) for fact in facts] for of in (true, *by_kind.values()))
    return [stats.spearmanr(law, effects).statistic for effects in ours]
