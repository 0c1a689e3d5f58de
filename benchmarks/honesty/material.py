"""Populations of real targets and errors, arms with a known true gain, and studies drawn of them.

A population is a whole corpus with the out-of-fold predictions of TF-IDF + ridge: its rows' errors
are those of the factory encoder's stand-in. An arm has other errors (noise on the logarithm) whose
mean over the whole population is set to the gain that is wanted, exactly. Studies draw rows, or
clusters of similar texts, with replacement; every seed of every model has luck of its own.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from bat import drafts, home
from bat.data import corpus
from bat.stats import chance

FILES = ("bat-10k", "wine-5k", "airbnb-60k")
LIMIT = 10_000  # rows of a population
BUILT_IN = "auctions:2000"
FOLDS = 5
CLUSTER_ROWS = 25  # in the mean
COMPONENTS = 50  # of the texts, to find clusters in
SEEDS = 5  # versions of an arm, of which a study's seeds are drawn
SEED_NOISE = 0.02  # of a seed on the logarithm of each prediction
EXPONENTS = np.linspace(0.7, 1.3, 61)  # of errors; the mean error is read off between them


@dataclass(frozen=True, eq=False)
class Population:
    """Rows to draw studies from."""

    targets: np.ndarray  # (n,), positive
    log_errors: np.ndarray  # (n,): log target less log prediction, of the factory's stand-in
    clusters: tuple[np.ndarray, ...]  # rows of each cluster of similar texts


@dataclass(frozen=True, eq=False)
class Model:
    """Versions of one model, one for each seed, with equal mean errors over the population."""

    log_errors: np.ndarray  # (SEEDS, n)
    mean_errors: np.ndarray  # (SEEDS, exponents): mean absolute error by exponent
    mean_error: float  # that it is to have


@dataclass(frozen=True, eq=False)
class Study:
    """What a study sees: held-out rows, and predictions of each seed."""

    targets: np.ndarray  # (n,)
    factory: np.ndarray  # (seeds, n)
    arms: tuple[np.ndarray, ...]  # (seeds, n) each
    groups: np.ndarray | None  # (n,)


def corpora(*, toy: bool) -> list[str]:
    """Name the corpora at hand."""
    folder = Path(os.environ.get("BAT_CORPORA", ""))
    found = [str(folder / f"{name}.jsonl.gz") for name in FILES]
    return [path for path in found if not toy and Path(path).is_file()] or [BUILT_IN]


@functools.lru_cache
def population(data: str) -> Population:
    """Make a population, or open the one that was kept."""
    made = kept(title(data), functools.partial(prepared, data))
    rows = [np.flatnonzero(made["clusters"] == each) for each in np.unique(made["clusters"])]
    return Population(made["targets"], made["log_errors"], tuple(rows))


def prepared(data: str) -> dict[str, np.ndarray]:
    """Work out what ``population`` keeps."""
    loaded = corpus.load(data, limit=LIMIT)
    return {
        "targets": loaded.prices,
        "log_errors": out_of_fold_errors(loaded.texts, np.log(loaded.prices)),
        "clusters": clustered(loaded.texts),
    }


def kept(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Open what was kept under a name, or make and keep it."""
    path = home.folder() / "honesty" / f"{name}.npz"
    if not path.exists():
        written = io.BytesIO()
        np.savez(written, **make())
        drafts.write(path, written.getvalue())  # another process sees all of it or none
    with np.load(path) as made:
        return dict(made)


def named(kind: dict[str, int]) -> str:
    """Name the held-out rows of a study: ``{"rows": 600}`` or ``{"groups": 60}``."""
    ((what, count),) = kind.items()
    return f"{count:,} {what}"


def title(data: str) -> str:
    """Name a corpus without folder and endings."""
    return Path(data).name.split(".")[0].replace(":", "-")


def out_of_fold_errors(texts: list[str], logs: np.ndarray) -> np.ndarray:
    """Predict each log target from the words of other rows, and give what is missed, (n,)."""
    folds = np.random.default_rng(0).integers(0, FOLDS, logs.size)
    errors = np.empty(logs.size)
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        words = TfidfVectorizer(min_df=2, sublinear_tf=True)
        counted = words.fit_transform([texts[i] for i in learn])
        ridge = Ridge(alpha=1.0, solver="sparse_cg").fit(counted, logs[learn] - logs[learn].mean())
        predicted = ridge.predict(words.transform([texts[i] for i in judge]))
        errors[judge] = logs[judge] - logs[learn].mean() - predicted
    return errors


def clustered(texts: list[str]) -> np.ndarray:
    """Number clusters of similar texts, (n,)."""
    counted = TfidfVectorizer(min_df=2, sublinear_tf=True).fit_transform(texts)
    reduced = TruncatedSVD(COMPONENTS, random_state=0).fit_transform(counted)
    count = max(2, len(texts) // CLUSTER_ROWS)
    return MiniBatchKMeans(count, random_state=0, n_init=1).fit_predict(reduced)


@functools.lru_cache(maxsize=32)
def model(
    data: str, *, gain: float = 0.0, noise: float = 0.0, shared: float = 0.0, number: int = 0
) -> Model:
    """Make a model whose mean error over the population falls short of the factory's by ``gain``.

    Args:
        data: the corpus.
        gain: share of the factory's mean absolute error that it saves.
        noise: standard deviation of how its log predictions differ from the factory's.
        shared: correlation of that between models of different numbers.
        number: 0 for the factory encoder.
    """
    of = population(data)
    n = of.targets.size
    together, own = (np.random.default_rng([7, each]).normal(0, 1, n) for each in (10**6, number))
    apart = noise * (np.sqrt(shared) * together + np.sqrt(1 - shared) * own)
    seeds = np.random.default_rng([8, number]).normal(0, SEED_NOISE, (SEEDS, n))
    log_errors = of.log_errors + apart + seeds
    mean_errors = np.array(
        [[mean_error(of.targets, power * each) for power in EXPONENTS] for each in log_errors]
    )
    return Model(log_errors, mean_errors, (1 - gain) * mean_error(of.targets, of.log_errors))


def mean_error(targets: np.ndarray, log_errors: np.ndarray) -> float:
    """Give the mean absolute error of predictions that miss by so much on the logarithm."""
    return float(np.abs(targets * -np.expm1(-log_errors)).mean())


def drawn_model(
    rng: np.random.Generator, of: Model, targets: np.ndarray, rows: np.ndarray, luck: np.ndarray
) -> np.ndarray:
    """Predict the rows of a study by as many seeds as there is luck, (seeds, n)."""
    versions = rng.permutation(SEEDS)[: luck.size]
    return np.array(
        [
            targets * np.exp(-power * of.log_errors[version, rows])
            for version, power in zip(versions, exponents(of, versions, luck), strict=True)
        ]
    )


def exponents(of: Model, versions: np.ndarray, luck: np.ndarray) -> list[float]:
    """Find the exponents with which seeds have the mean error of their model times 1 + luck."""
    wanted = of.mean_error * (1 + luck)
    return [
        float(np.interp(each, of.mean_errors[version], EXPONENTS))
        for version, each in zip(versions, wanted, strict=True)
    ]


def study(
    rng: np.random.Generator,
    data: str,
    factory: Model,
    arms: list[Model],
    *,
    rows: int = 0,
    groups: int = 0,
    seeds: int = 1,
) -> Study:
    """Draw a study: rows alone or in clusters, and the luck of every seed of every model.

    One seed scatters with the standard deviation that the program takes for it, known as well as
    it says: the corpus has its own, drawn anew for each study.
    """
    of = population(data)
    if groups:
        picked = [of.clusters[i] for i in rng.integers(0, len(of.clusters), groups)]
        taken = np.concatenate(picked)
        labels = np.repeat(np.arange(groups), [each.size for each in picked])
    else:
        taken, labels = rng.integers(0, of.targets.size, rows), None
    targets = of.targets[taken]
    sd = chance.ONE_SEED.mae * np.sqrt(chance.FREEDOM / rng.chisquare(chance.FREEDOM))
    luck = rng.normal(0, sd, (len(arms) + 1, seeds))
    predicted = [
        drawn_model(rng, each, targets, taken, of_model)
        for each, of_model in zip([factory, *arms], luck, strict=True)
    ]
    return Study(targets, predicted[0], tuple(predicted[1:]), labels)


@functools.lru_cache
def scatter(data: str, noise: float, rows: int) -> float:
    """Give the standard deviation that so many rows bring to the share of an arm without gain."""
    targets, rng = population(data).targets, np.random.default_rng(6)
    theirs, ours = (
        np.abs(targets - drawn_model(rng, each, targets, np.arange(targets.size), np.zeros(1))[0])
        for each in (model(data), model(data, noise=noise, number=1))
    )
    return float((theirs - ours).std() / theirs.mean() / np.sqrt(rows))
