"""Weighted counts of words, of word pairs, or of pieces of words: what needs no encoder."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat.data.texts import UNSPACED
from bat.models.ridge_column import Line

SVD_DIMENSION = 256  # near the width of small encoders, so that the regressor has as much to read
MIN_TEXTS_WITH_WORD = 2  # a word of one text can predict nothing about another
# As scikit-learn's own pattern, but for scripts that leave no spaces: a pair of their characters is
# then what a word is elsewhere.
WORD = rf"[{UNSPACED}]|[^\W{UNSPACED}]{{2,}}"
# Pieces of words: 3 to 5 characters in a row, which a word shares with others that are spelt alike.
WHOLE, PIECES, CHARACTERS = "word", "char_wb", "char"  # scikit-learn's analyzers
PIECE_LENGTHS = (3, 5)
MIN_TEXTS_WITH_PIECE, MOST_PIECES = 5, 50_000
RIDGE_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)  # around 1, since the weights of a text have norm 1
RIDGE_FOLDS = 4  # as the search of the trees
WORDS_FILE, IDF_FILE = "words.json", "idf.npy"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Words:
    """The words that count, and how much each one weighs; ``fit`` or ``load`` makes one."""

    analyzer: str  # WHOLE or PIECES; CHARACTERS where no word stands in two texts
    vocabulary: tuple[str, ...]  # v words, in the order of the columns
    idf: Floats  # (v,), inverse document frequencies

    @functools.cached_property
    def _vectorizer(self) -> Any:
        places = {word: place for place, word in enumerate(self.vocabulary)}
        vectorizer = _new_vectorizer(self.analyzer, vocabulary=places)
        vectorizer.idf_ = self.idf
        return vectorizer

    def weigh(self, texts: Sequence[str]) -> Any:
        """Weigh the words of n texts: a sparse matrix (n, v) of float64, rows of norm 1 or 0."""
        # scikit-learn refuses to transform nothing.
        return self._vectorizer.transform(list(texts) or [""])[: len(texts)]

    def places(self, text: str) -> dict[str, tuple[int, int]]:
        """Tell where each word, and pair of words in a row, first stands in a text.

        Returns:
            Beginning and end by word, in lower case as in ``vocabulary``, known or not.
        """
        lower = text.lower()
        origin = [place for place, letter in enumerate(text) for _ in letter.lower()]
        found: dict[str, tuple[int, int]] = {}
        words = [(word[0], word.span()) for word in re.finditer(WORD, lower)]
        pairs = [(f"{a} {b}", (s, e)) for (a, (s, _)), (b, (_, e)) in itertools.pairwise(words)]
        for word, (start, end) in (*words, *pairs):
            found.setdefault(word, (origin[start], origin[end - 1] + 1))
        return found


@dataclass(frozen=True)
class Counts:
    """What stands in each of n texts, counted once for all folds; ``count`` makes one.

    Rows of it give, to the bit, what ``fit`` and ``Words.weigh`` give of their texts.
    """

    analyzer: str  # WHOLE or PIECES
    texts: Sequence[str]  # n
    terms: npt.NDArray[np.object_]  # (m,), sorted
    counts: Any  # sparse (n, m)

    def fit(self, rows: npt.NDArray[np.intp]) -> tuple[Words, npt.NDArray[np.intp]]:
        """Learn words from some of the texts, by number; and tell which terms they are."""
        among = self.counts[rows]
        held = np.bincount(among.indices, minlength=len(self.terms))  # texts with each term
        pieces = self.analyzer == PIECES
        kept = np.flatnonzero(held >= (MIN_TEXTS_WITH_PIECE if pieces else MIN_TEXTS_WITH_WORD))
        if pieces:  # the most frequent; of equals the first
            kept = np.sort(kept[np.argsort(-held[kept], kind="stable")[:MOST_PIECES]])
        if not kept.size:
            return fit([self.texts[row] for row in rows]), kept
        idf = np.log((1 + len(rows)) / (1 + held[kept])) + 1  # as scikit-learn smooths it
        return Words(self.analyzer, tuple(map(str, self.terms[kept])), idf), kept

    def weigh(self, words: Words, kept: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]) -> Any:
        """Weigh the words of some of the texts, as ``words.weigh`` does."""
        from sklearn.preprocessing import normalize

        if not kept.size:
            return words.weigh([self.texts[row] for row in rows])
        weights = self.counts[rows][:, kept].astype(np.float64)
        weights.data = (np.log(weights.data) + 1) * words.idf[weights.indices]
        return normalize(weights, copy=False) if len(rows) else weights  # which it refuses


def count(texts: Sequence[str], analyzer: str) -> Counts:
    """Count words and word pairs (``WHOLE``), or ``PIECES`` of words, in n texts."""
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        vectorizer = CountVectorizer(dtype=np.float32, **_settings(analyzer))
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # no text has any
        none = CountVectorizer(analyzer="char").fit_transform(texts)[:, :0]
        return Counts(analyzer, texts, np.empty(0, object), none)
    terms = np.array(vectorizer.get_feature_names_out(), object)
    return Counts(analyzer, texts, terms, counts)


def _settings(analyzer: str) -> dict[str, Any]:
    """Name what an analyzer counts in scikit-learn's words."""
    if analyzer == WHOLE:
        return {"token_pattern": WORD, "ngram_range": (1, 2)}
    return {"analyzer": analyzer, "ngram_range": PIECE_LENGTHS if analyzer == PIECES else (1, 3)}


def _new_vectorizer(analyzer: str, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, **_settings(analyzer), **settings)


def fit(texts: Sequence[str]) -> Words:
    """Learn words, word pairs and their weights from the training texts.

    Where no word stands in two texts, one to three characters in a row take the place of words.
    """
    analyzer = WHOLE
    try:
        fitted = _new_vectorizer(analyzer, min_df=MIN_TEXTS_WITH_WORD).fit(texts)
    except ValueError:  # an empty vocabulary
        analyzer = CHARACTERS
        fitted = _new_vectorizer(analyzer).fit(texts)
    return Words(analyzer, tuple(map(str, fitted.get_feature_names_out())), fitted.idf_)


def directions(weights: Any, *, seed: int) -> Floats:
    """Find the directions that keep most of some texts' weights; ``compress`` uses them.

    Args:
        weights: of the training texts, sparse (n, v).
        seed: of the randomised decomposition.

    Returns:
        Shape (d, v), d at most ``SVD_DIMENSION``.

    Source:
        Deerwester et al. 1990, "Indexing by latent semantic analysis".
    """
    from sklearn.decomposition import TruncatedSVD

    if weights.shape[1] == 1:  # which TruncatedSVD refuses, and there is nothing to compress
        return np.ones((1, 1))
    width = min(SVD_DIMENSION, min(weights.shape) - 1)
    return np.asarray(TruncatedSVD(width, random_state=seed).fit(weights).components_, np.float64)


def compress(weights: Any, onto: Floats) -> npt.NDArray[np.float32]:
    """Turn weights, sparse (n, v), into float32 (n, d), like an embedding."""
    return np.asarray(weights @ onto.T, np.float32)


def ridge(weights: Any, prices: Floats, *, groups: npt.NDArray[np.int64]) -> tuple[Floats, float]:
    """Fit ridge regression of log price on weighted words and word pairs.

    The penalty is the one with the least cross-validated mean absolute error in price units; the
    largest where all rows are one group, so that there is nothing to judge others by.

    Args:
        weights: of the training texts, sparse (n, v).
        prices: theirs, (n,), positive.
        groups: (n,); rows of one group stay in one fold.

    Returns:
        The weight of each column (v,), and the offset.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold

    logs = np.log(prices)
    count = min(RIDGE_FOLDS, np.unique(groups).size)
    folds = list(GroupKFold(count).split(prices, groups=groups)) if count > 1 else []

    def error(alpha: float) -> float:
        errors = []
        for learn, valid in folds:
            fitted = Ridge(alpha).fit(weights[learn], logs[learn])
            errors.append(np.abs(np.exp(fitted.predict(weights[valid])) - prices[valid]))
        return float(np.concatenate(errors).mean())

    penalty = min(RIDGE_PENALTIES, key=error) if folds else RIDGE_PENALTIES[-1]
    best = Ridge(penalty).fit(weights, logs)
    return np.asarray(best.coef_, np.float64), float(best.intercept_)


def line(weights: Any, prices: Floats, *, fold_of: npt.NDArray[np.intp]) -> tuple[Line, Floats]:
    """Fit ridge regression of log price as ``ridge_column.fit`` does, on words in place of numbers.

    Args:
        weights: of the texts, sparse (n, v).
        prices: theirs, (n,), positive.
        fold_of: (n,), the fold from 0 that has not seen a row.

    Returns:
        The line through all rows, and for each row (n,) the number of one that has not seen it.
    """
    from sklearn.linear_model import Ridge

    if not weights.shape[1]:
        return Line(np.zeros(0), 0.0), np.zeros(len(prices))
    logs = np.log(prices)
    logs -= logs.mean()
    centre = np.asarray(weights.mean(axis=0)).ravel()
    unseen = np.empty((len(prices), len(RIDGE_PENALTIES)))
    for number in np.unique(fold_of):
        apart = fold_of == number
        learn = weights[~apart], logs[~apart]
        fitted = np.column_stack([Ridge(alpha).fit(*learn).coef_ for alpha in RIDGE_PENALTIES])
        unseen[apart] = weights[apart] @ fitted - centre @ fitted
    best = int(np.argmin(((unseen - logs[:, None]) ** 2).mean(axis=0)))
    chosen = np.asarray(Ridge(RIDGE_PENALTIES[best]).fit(weights, logs).coef_, np.float64)
    return Line(chosen, float(centre @ chosen)), unseen[:, best]


def logs(weights: Any, fitted: Line) -> Floats:
    """Add up what words say of each log price, less the mean: sparse (n, v) -> (n,)."""
    return np.asarray(weights @ fitted.weights - fitted.offset, np.float64)


def save(words: Words, folder: Path) -> None:
    """Write the words as JSON and their weights as an array; ``load`` gives the same bits."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"analyzer": words.analyzer, "vocabulary": words.vocabulary}
    (folder / WORDS_FILE).write_text(json.dumps(values), encoding="utf-8")
    np.save(folder / IDF_FILE, words.idf)


def load(folder: Path) -> Words:
    """Read what ``save`` wrote.

    Raises:
        ValueError: a file is missing, damaged, or does not belong to the other.
    """
    try:
        values = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
        found = Words(values["analyzer"], tuple(values["vocabulary"]), np.load(folder / IDF_FILE))
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"got no words in {folder}: {error}; expected {WORDS_FILE} and {IDF_FILE}, as save() "
            "writes them"
        ) from None
    if found.idf.shape != (len(found.vocabulary),):
        raise ValueError(
            f"got weights of shape {found.idf.shape} in {folder / IDF_FILE}; expected one for each "
            f"of the {len(found.vocabulary)} words"
        )
    return found
