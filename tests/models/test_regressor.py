"""Trees: the way from price to target and back, held-out rows, files."""

import dataclasses
import json

import numpy as np
import pytest
import xgboost
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from bat.models import regressor, ridge_column
from bat.models.regressor import Settings

EVERY_AIM = [
    (target, loss)
    for target in ("price", "log_price")
    for loss in ("squared", "absolute", "pseudo_huber")
]


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Small trees on a busy machine wait for threads rather than work."""
    monkeypatch.setattr(regressor, "cores", lambda: 1)


def corpus(n=300, dim=6, seed=0):
    """Log prices that follow the first two coordinates, 20 to 100,000."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dim)).astype(np.float32)
    return embeddings, np.exp(7 + embeddings[:, 0] + 0.5 * embeddings[:, 1])


def fitted(settings=None, *, n_trees=30, seed=0, **more):
    embeddings, prices = corpus()
    chosen = settings or Settings()
    return regressor.fit(embeddings, prices, chosen, n_trees=n_trees, seed=seed, **more)


PART = np.repeat([0, 1, 2], [80, 60, 160])  # folds of unequal size


def folds():
    embeddings, prices = corpus()
    part = PART
    return [
        regressor.fold(embeddings, prices, np.flatnonzero(part != k), np.flatnonzero(part == k))
        for k in range(3)
    ]


def test_a_single_split_learns_the_two_prices_there_are():
    embeddings = np.repeat([[0.0], [1.0]], 50, axis=0)
    prices = np.repeat([100.0, 400.0], 50)
    exact = Settings(
        max_depth=1, learning_rate=1, subsample=1, colsample_bytree=1, reg_lambda=0,
        min_child_weight=0,
    )  # fmt: skip
    for target in regressor.TARGETS:
        settings = dataclasses.replace(exact, target=target)
        found = regressor.fit(embeddings, prices, settings, n_trees=1, seed=0)
        assert found.predict([[0.0], [1.0]]) == pytest.approx([100, 400], rel=1e-5)


def test_trees_start_from_the_median_price():
    embeddings, prices = corpus(299)
    for target in regressor.TARGETS:
        settings = Settings(target=target, learning_rate=1e-6)
        found = regressor.fit(embeddings, prices, settings, n_trees=1, seed=0).predict(embeddings)
        np.testing.assert_allclose(found, np.median(prices), rtol=1e-4)


def test_the_line_finds_the_weights_that_made_the_prices():
    embeddings, prices = corpus()
    line, unseen = ridge_column.fit(embeddings, prices)
    np.testing.assert_allclose(line.weights, [1, 0.5, 0, 0, 0, 0], atol=0.01)
    logs = np.log(prices) - np.log(prices).mean()
    np.testing.assert_allclose(line.append_to(embeddings)[:, -1], logs, atol=0.05)
    np.testing.assert_allclose(unseen, logs, atol=0.1)


def test_what_a_line_says_of_its_own_rows_is_told_by_others():
    rng = np.random.default_rng(3)
    embeddings = rng.normal(2, 3, size=(60, 4)).astype(np.float32)
    prices = np.exp(embeddings[:, 0] + rng.normal(size=60))
    _, unseen = ridge_column.fit(embeddings, prices)
    scaled = StandardScaler().fit_transform(embeddings.astype(np.float64))
    logs = np.log(prices) - np.log(prices).mean()
    fold_of = np.random.default_rng(0).permutation(60) % ridge_column.FOLDS
    by_penalty = []
    for penalty in ridge_column.PENALTIES:
        told = np.empty(60)
        for fold in range(ridge_column.FOLDS):
            ridge = Ridge(penalty, fit_intercept=False)
            ridge.fit(scaled[fold_of != fold], logs[fold_of != fold])
            told[fold_of == fold] = ridge.predict(scaled[fold_of == fold])
        by_penalty.append(told)
    best = min(by_penalty, key=lambda told: np.mean((told - logs) ** 2))
    np.testing.assert_allclose(unseen, best, atol=1e-4)


def test_rows_of_one_text_do_not_tell_each_other_their_prices():
    embeddings, prices = corpus(100)
    twice, apart = np.repeat(embeddings, 2, axis=0), np.repeat(prices, 2) * np.tile([0.5, 2], 100)
    _, unseen = ridge_column.fit(twice, apart)
    np.testing.assert_allclose(unseen[0::2], unseen[1::2], atol=1e-6)


def test_a_line_through_noise_tells_nothing():
    embeddings, prices = corpus(2_000)
    line, unseen = ridge_column.fit(embeddings, np.random.default_rng(1).permutation(prices))
    assert max(np.abs(unseen).max(), np.abs(line.append_to(embeddings)[:, -1]).max()) < 0.1


def test_features_that_never_change_and_single_rows_have_a_line():
    for rows in (1, 3, 50):
        line, unseen = ridge_column.fit(np.ones((rows, 3), np.float32), np.arange(1.0, rows + 1))
        assert not line.weights.any()
        assert not unseen.any()


def test_trees_with_a_line_read_what_is_spread_over_all_numbers(monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(900, 40)).astype(np.float32)
    prices = np.exp(embeddings.sum(axis=1) / 6)

    def error():
        found = regressor.fit(embeddings[:600], prices[:600], Settings(), n_trees=200, seed=0)
        return np.mean(np.abs(found.predict(embeddings[600:]) - prices[600:]))

    with_line = error()
    nothing = ridge_column.Line(np.zeros(40), 0.0), np.zeros(600)
    monkeypatch.setattr(ridge_column, "fit", lambda *rows: nothing)
    assert with_line < 0.7 * error()


def test_a_forest_that_samples_nothing_steps_as_one_tree_does_and_one_that_samples_steadies():
    whole = Settings(subsample=1.0, colsample_bytree=1.0)
    embeddings, prices = corpus()
    one = regressor.fit(embeddings, prices, whole, n_trees=20, seed=0).predict(embeddings)
    four = regressor.fit(embeddings, prices, whole, n_trees=20, seed=0, forest=4)
    np.testing.assert_allclose(four.predict(embeddings), one, rtol=1e-4)

    def apart(forest):
        first, second = (
            regressor.fit(embeddings, prices, Settings(), n_trees=20, seed=seed, forest=forest)
            for seed in (0, 1)
        )
        return np.abs(np.log(first.predict(embeddings) / second.predict(embeddings))).mean()

    assert apart(4) < 0.7 * apart(1)


def test_trees_do_without_a_line_where_told():
    found = fitted(with_line=False)
    assert found.line is None
    assert found.booster.num_features() == found.dim == 6


def test_a_price_does_not_depend_on_the_rows_beside_it():
    embeddings, _ = corpus()
    found = fitted()
    one_by_one = [found.predict(row[None])[0] for row in embeddings]
    np.testing.assert_array_equal(one_by_one, found.predict(embeddings))


@pytest.mark.parametrize(("target", "loss"), EVERY_AIM)
def test_every_target_and_loss_learns_the_order_of_prices(target, loss):
    embeddings, prices = corpus(200, seed=1)
    found = fitted(Settings(target=target, loss=loss, reg_lambda=1), n_trees=60).predict(embeddings)
    assert found.dtype == np.float64
    assert np.corrcoef(np.argsort(np.argsort(found)), np.argsort(np.argsort(prices)))[0, 1] > 0.7
    assert np.unique(found).size > 100  # an unscaled pseudo-Huber predicts one value


def test_predictions_scale_with_the_currency():
    embeddings, prices = corpus()
    for target, loss in EVERY_AIM:
        settings = Settings(target=target, loss=loss)
        cents = regressor.fit(embeddings, prices * 128, settings, n_trees=10, seed=0)
        units = regressor.fit(embeddings, prices, settings, n_trees=10, seed=0)
        np.testing.assert_allclose(
            cents.predict(embeddings), units.predict(embeddings) * 128, rtol=1e-4
        )


def test_no_prediction_is_below_the_smallest_training_price():
    embeddings, prices = corpus()
    settings = Settings(target="price", loss="squared", learning_rate=1, reg_lambda=0)
    found = regressor.fit(embeddings, prices, settings, n_trees=50, seed=0)
    far = found.predict(np.full((5, 6), -1e30, dtype=np.float32))
    assert np.isfinite(far).all()
    assert far.min() >= prices.min()
    assert fitted(smear=1e-12).predict(embeddings).min() == prices.min()


def test_prices_that_are_mostly_or_all_equal_are_learnt():
    embeddings, _ = corpus()
    for prices in (np.full(300, 5.0), np.r_[np.full(200, 5.0), np.full(100, 50.0)]):
        found = regressor.fit(embeddings, prices, Settings(), n_trees=5, seed=0)
        predictions = found.predict(embeddings)
        assert np.isfinite(predictions).all()
        assert predictions.min() >= 5


def test_smearing_is_a_factor_that_the_caller_gives():
    embeddings, _ = corpus()
    plain, smeared = fitted().predict(embeddings), fitted(smear=1.5).predict(embeddings)
    np.testing.assert_allclose(smeared, plain * 1.5)


def test_duans_factor_is_the_mean_ratio():
    assert regressor.duan([2, 6], [2, 2]) == 2  # ratios 1 and 3


def test_same_seed_same_bits_other_seed_others():
    embeddings, _ = corpus()
    first, again, other = (fitted(seed=seed).predict(embeddings) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_folds_that_take_turns_on_threads_grow_the_same_trees(monkeypatch):
    one = regressor.cross_validate(folds(), Settings(), seed=0, most_trees=40, patience=40)
    monkeypatch.setattr(regressor, "cores", lambda: 3)
    for _ in range(5):
        many = regressor.cross_validate(folds(), Settings(), seed=0, most_trees=40, patience=40)
        assert many.mae == one.mae


def test_no_rows_no_prices():
    assert fitted().predict(np.empty((0, 6))).shape == (0,)


@pytest.mark.parametrize(("target", "loss"), EVERY_AIM)
def test_a_saved_regressor_predicts_the_same_bits(tmp_path, target, loss):
    embeddings, _ = corpus(50, seed=2)
    found = fitted(Settings(target=target, loss=loss), smear=1.1)
    regressor.save(found, tmp_path / "new")
    loaded = regressor.load(tmp_path / "new")
    assert (loaded.predict(embeddings) == found.predict(embeddings)).all()
    assert (loaded.settings, loaded.scaling) == (found.settings, found.scaling)
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".ubj", ".json"}


def test_trees_of_older_versions_without_a_line_are_loaded(tmp_path):
    embeddings, prices = corpus()
    new = fitted()
    targets = regressor._targets(prices, new.scaling)
    bare = xgboost.train({"max_depth": 2}, xgboost.DMatrix(embeddings, targets), 30)
    regressor.save(dataclasses.replace(new, booster=bare, line=None), tmp_path)
    assert "line" not in json.loads((tmp_path / regressor.VALUES_FILE).read_text())
    old = regressor.load(tmp_path)
    expected = regressor._prices(
        bare.predict(xgboost.DMatrix(embeddings), output_margin=True), new.scaling
    )
    np.testing.assert_array_equal(old.predict(embeddings), expected)


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no regressor in .*; expected regressor\.ubj"):
        regressor.load(tmp_path)
    regressor.save(fitted(), tmp_path)
    values = tmp_path / regressor.VALUES_FILE
    good = values.read_text()
    values.write_text(good.replace('"n_trees": 30', '"n_trees": 29'))
    with pytest.raises(ValueError, match=r"got \(30, 7\) trees and features"):
        regressor.load(tmp_path)
    whole = json.loads(good)
    values.write_text(json.dumps(whole | {"line": whole["line"][1:]}))
    with pytest.raises(ValueError, match=r"got a line of 5 weights in .*; expected 6"):
        regressor.load(tmp_path)
    values.write_text(good.replace("log_price", "logprice"))
    with pytest.raises(ValueError, match="target='logprice'"):
        regressor.load(tmp_path)
    values.write_text(json.dumps([]))
    with pytest.raises(ValueError, match="no regressor in"):
        regressor.load(tmp_path)
    values.write_text(good)
    (tmp_path / regressor.TREES_FILE).write_bytes(b"{")
    with pytest.raises(ValueError, match="no regressor in"):
        regressor.load(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "dollars"}, {"loss": "huber"}, {"learning_rate": 0}, {"subsample": 1.5},
        {"colsample_bytree": -1}, {"reg_lambda": -1}, {"min_child_weight": -1}, {"max_depth": 0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))!r}"):
        Settings(**wrong)


def test_rows_that_cannot_be_learnt_from_are_refused():
    embeddings, prices = corpus()
    for rows, truth, message in [
        (embeddings, prices[:-1], "one price a row"),
        (embeddings[:0], prices[:0], "at least one row"),
        (embeddings[0], prices[:6], r"expected shape \(n, dim\)"),
        (np.where(embeddings > 1, np.nan, embeddings), prices, "all finite"),
        (embeddings, -prices, "finite prices above 0"),
        (embeddings, prices * np.inf, "finite prices above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            regressor.fit(rows, truth, Settings(), n_trees=1, seed=0)
    for more in ({"n_trees": 0}, {"forest": 0}, {"smear": True}, {"smear": 0.0}, {"smear": np.nan}):
        with pytest.raises(ValueError, match="positive factor"):
            fitted(**more)
    with pytest.raises(ValueError, match="got embeddings of width 5; expected 6"):
        fitted().predict(np.zeros((2, 5)))


@pytest.mark.parametrize("target", regressor.TARGETS)
def test_cross_validation_equals_fitting_each_fold(target):
    """Oracle: a regressor fitted to the training rows of the fold, and scored on the others."""
    embeddings, prices = corpus()
    settings = Settings(target=target)
    found = regressor.cross_validate(folds(), settings, seed=0, most_trees=50, patience=20)
    part, errors = PART, []
    for k in range(3):
        train, valid = part != k, part == k
        alone = regressor.fit(
            embeddings[train], prices[train], settings, n_trees=found.n_trees, seed=0
        ).predict(embeddings[valid])
        np.testing.assert_allclose(found.predictions[k], alone, rtol=1e-4)
        errors.append(np.abs(alone - prices[valid]))
    assert found.mae == pytest.approx(np.concatenate(errors).mean(), rel=1e-4)


def test_cross_validation_stops_when_the_error_no_longer_falls():
    embeddings, prices = corpus(120)
    noise = np.random.default_rng(0).permutation(prices)
    train, valid = np.arange(90), np.arange(90, 120)
    fold = regressor.fold(embeddings, noise, train, valid)
    found = regressor.cross_validate(
        [fold], Settings(learning_rate=0.5), seed=0, most_trees=2000, patience=40
    )
    assert found.grown - found.n_trees >= 40
    assert found.grown < 400


def test_cross_validation_can_be_told_to_stop_and_trials_share_folds():
    shared, seen = folds(), []
    first = regressor.cross_validate(shared, Settings(), seed=0, most_trees=45, patience=99)
    assert (first.grown, first.n_trees) == (45, 45)  # still falling, and no whole chunk

    def stop(trees, mae):
        seen.append((trees, mae))
        return trees < 40

    other = Settings(target="price", loss="pseudo_huber")
    stopped = regressor.cross_validate(
        shared, other, seed=0, most_trees=99, patience=99, go_on=stop
    )
    assert (stopped.grown, [trees for trees, _ in seen]) == (40, [20, 40])
    assert seen[-1][1] == stopped.mae
    fresh = regressor.cross_validate(folds(), other, seed=0, most_trees=40, patience=99)
    assert fresh.mae == stopped.mae
    again = regressor.cross_validate(shared, Settings(), seed=0, most_trees=45, patience=99)
    assert again.mae == first.mae
    assert all((a == b).all() for a, b in zip(again.predictions, first.predictions, strict=True))


def test_the_device_is_one_that_xgboost_has():
    assert regressor.device() in ("cpu", "cuda")
    assert regressor.device() == "cpu" or xgboost.build_info()["USE_CUDA"]
