"""Slow: scikit-learn's own checks of estimators, on numbers that are written as texts."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_array

import bat
from bat.models import search

pytestmark = pytest.mark.slow


class OfNumbers(bat.TextRegressor):
    """The regressor behind a writer of numbers: of texts scikit-learn has no checks."""

    def fit(self, X, y):
        return super().fit(written(X), y)

    def predict(self, X):
        return super().predict(written(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


def written(rows):
    rows = check_array(rows)
    return [" ".join(f"c{at} {value:.3g}" for at, value in enumerate(row)) for row in rows]


FEW = "it learns from 20 texts or more, and says so of fewer before anything else"
COLUMNS = "texts are one column, so that there is no number of features to keep or to compare"
NOT_OF_TEXTS = {
    "check_estimators_nan_inf": FEW,
    "check_regressors_no_decision_function": FEW,
    "check_fit2d_1sample": FEW,
    "check_fit2d_1feature": FEW,
    "check_n_features_in_after_fitting": COLUMNS,
    "check_n_features_in": COLUMNS,
}


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setattr(search, "FINAL_TREES", 5)
    monkeypatch.setattr(search, "SCREEN_TREES", 5)


@parametrize_with_checks(
    [OfNumbers(encoder=None, trials=1)], expected_failed_checks=lambda estimator: NOT_OF_TEXTS
)
def test_it_passes_the_checks_of_scikit_learn(few_trees, estimator, check):
    check(estimator)
