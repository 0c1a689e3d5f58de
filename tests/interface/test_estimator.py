"""The stack as scikit-learn takes it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

import bat
from bat import cli
from bat.interface import estimator
from tests.conftest import sentences

TEXTS = list(sentences(80))
WORTH = {"arrow": 40.0, "birch": 8.0, "comet": 25.0, "delta": 12.0}
PRICES = np.array([WORTH[text.split()[1]] for text in TEXTS])


def words(**settings):
    return bat.TextRegressor(encoder=None, **{"trials": 1} | settings)


def test_words_that_make_the_price_are_learnt():
    model = words().fit(TEXTS[:60], PRICES[:60])
    found = model.predict(TEXTS[60:])
    errors = np.abs(found - PRICES[60:]).mean()
    assert errors < 0.25 * np.abs(np.median(PRICES[:60]) - PRICES[60:]).mean()
    assert "ridge on words" in model.uses_ or "ridge on pieces of words" in model.uses_
    assert model.score(TEXTS[60:], PRICES[60:]) > 0.8
    np.testing.assert_array_equal(words().fit(TEXTS[:60], PRICES[:60]).predict(TEXTS[60:]), found)


def test_an_encoder_is_read_where_one_is_named(tiny_folder):
    model = bat.TextRegressor(encoder=tiny_folder, trials=1).fit(TEXTS[:60], PRICES[:60])
    found = model.predict(TEXTS[60:])
    assert found.shape == (20,)
    again = pickle.loads(pickle.dumps(model))  # as another process gets it
    np.testing.assert_array_equal(again.predict(TEXTS[60:]), found)
    assert (model.predictor_.encoder is not None) == model.predictor_.reader.embeds


def test_scikit_learn_can_search_cross_validate_and_chain_it():
    frame = pd.DataFrame({"text": TEXTS})
    assert cross_val_score(words(), frame["text"], PRICES, cv=2).min() > 0.5
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    chain = make_pipeline(lower, words()).fit(TEXTS, PRICES)
    assert chain.predict(TEXTS[:3]).shape == (3,)
    found = GridSearchCV(words(), {"trials": [1, 2]}, cv=2).fit(TEXTS, PRICES)
    assert found.best_params_["trials"] in (1, 2)
    assert clone(words(seed=3)).get_params() == {"encoder": None, "trials": 1, "seed": 3}


def test_near_repeats_stay_in_one_fold():
    texts = [
        f"{text} Number {copy} of the lot, sold as it stands" for text in TEXTS for copy in (1, 2)
    ]
    together = estimator._groups([*texts, texts[0].upper()])
    assert together[-1] == together[0]  # another spelling of one text
    pairs = together[:-1].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


def test_it_passes_what_scikit_learn_checks_of_estimators_of_texts():
    with pytest.warns(UserWarning, match="Can't test estimator TextRegressor which requires input"):
        checks = list(estimator_checks_generator(words()))
    for each, check in checks:  # the others draw numbers, which are no texts
        check(each)
    assert checks


def test_a_table_of_one_column_is_its_column():
    frame = pd.DataFrame({"anything": TEXTS})
    model = words().fit(frame, PRICES)
    np.testing.assert_array_equal(model.predict(frame), model.predict(TEXTS))
    assert model.predict([]).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "prices", "said"),
    [
        ("one text", [1.0], "one string"),
        (TEXTS, PRICES[1:], "80 texts and 79 targets"),
        (TEXTS[:5], PRICES[:5], "5 texts"),
        (TEXTS, PRICES - 8, "the target 0 in place"),
        ([*TEXTS[1:], None], PRICES, "text 79"),
        (np.array([TEXTS, TEXTS]).T, PRICES, "a table of 2 columns"),
        ([TEXTS[0]] * 80, PRICES, "80 texts in 1 groups of texts that nearly repeat"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(texts, prices, said):
    with pytest.raises(cli.InputError, match=said):
        words().fit(texts, prices)


def test_before_it_is_fitted_it_says_so():
    with pytest.raises(NotFittedError):
        words().predict(TEXTS)
