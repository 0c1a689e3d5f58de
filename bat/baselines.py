"""What a sceptic would try before fine-tuning anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import corpus, encoder
from bat.encoder import Encoder

SVD_DIMENSION = 256  # near the width of small encoders, so that the regressor has as much to read
MIN_TEXTS_WITH_WORD = 2  # a word of one text can predict nothing about another
# As scikit-learn's own pattern, but for scripts that leave no spaces: a pair of their characters is
# then what a word is elsewhere.
WORD = rf"[{corpus.UNSPACED}]|[^\W{corpus.UNSPACED}]{{2,}}"
RIDGE_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)  # around 1, since the weights of a text have norm 1
RIDGE_FOLDS = 4  # as the search of the trees
NUMBER = re.compile(r"\d+")

# What reports call each baseline.
LABELS = {
    "median": "median price",
    "lengths": "length and digits",
    "tfidf": "TF-IDF + SVD",
    "ridge": "TF-IDF + ridge",
    "static": "static embeddings",
    "supervised": "supervised",
}
SEARCHED = ("lengths", "tfidf", "static")  # features for the same search as the encoders


def median(prices: npt.ArrayLike, train: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Predict the median training price for every row, shape (n,)."""
    values = np.asarray(prices, np.float64)
    return np.full(len(values), np.median(values[train]))


def tfidf_svd(
    texts: Sequence[str], train: npt.NDArray[np.int64], *, seed: int
) -> npt.NDArray[np.float32]:
    """Turn texts into weighted word and word-pair counts, compressed like an embedding.

    Vocabulary, weights and directions come from the training rows alone.

    Args:
        texts: n strings.
        train: indices of the training rows.
        seed: of the randomised decomposition.

    Returns:
        float32, shape (n, d) with d at most ``SVD_DIMENSION``.

    Source:
        Deerwester et al. 1990, "Indexing by latent semantic analysis".
    """
    from sklearn.decomposition import TruncatedSVD

    weights = _word_weights(texts, train)
    width = min(SVD_DIMENSION, min(len(train), weights.shape[1]) - 1)
    compress = TruncatedSVD(width, random_state=seed).fit(weights[train])
    return np.asarray(compress.transform(weights), np.float32)


def tfidf_ridge(
    texts: Sequence[str],
    prices: npt.ArrayLike,
    train: npt.NDArray[np.int64],
    *,
    groups: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Predict prices by ridge regression of log price on weighted words and word pairs.

    The penalty is the one with the least cross-validated mean absolute error in price units.

    Args:
        texts: n strings.
        prices: n positive prices; those outside ``train`` are not looked at.
        train: indices of the training rows.
        groups: shape (n,); rows of one group stay in one fold.

    Returns:
        shape (n,); medians, as the exponential of a predicted mean log price is.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold

    weights, truth = _word_weights(texts, train), np.asarray(prices, np.float64)
    folds = list(GroupKFold(RIDGE_FOLDS).split(train, groups=groups[train]))

    def predicted(alpha: float, learn: Any, ask: Any) -> npt.NDArray[np.float64]:
        fitted = Ridge(alpha).fit(weights[learn], np.log(truth[learn]))
        return np.asarray(np.exp(fitted.predict(weights[ask])), np.float64)

    def error(alpha: float) -> float:
        errors = [
            np.abs(predicted(alpha, train[learn], train[ask]) - truth[train[ask]])
            for learn, ask in folds
        ]
        return float(np.concatenate(errors).mean())

    return predicted(min(RIDGE_PENALTIES, key=error), train, slice(None))


def lengths(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Count characters, words, digits and numbers of each text: what needs no reading.

    Returns:
        float32, shape (n, 4).
    """
    return np.array(
        [
            (len(text), len(text.split()), sum(map(str.isdigit, text)), len(NUMBER.findall(text)))
            for text in texts
        ],
        np.float32,
    )


def static(opened: Encoder, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Average the vectors that an encoder has for the tokens of a text before any context.

    Args:
        opened: the factory encoder.
        texts: n strings; tokens beyond what the encoder reads are left out here too.

    Returns:
        float32, shape (n, d) with d the width of the token vectors.
    """
    table = encoder.transformer(opened.model).get_input_embeddings().weight.detach().cpu().numpy()
    ids = encoder.token_ids(opened, texts, special=False, max_tokens=opened.max_tokens)
    rows = [table[row].mean(axis=0) if row else np.zeros(table.shape[1]) for row in ids]
    return np.asarray(rows, np.float32)


def _word_weights(texts: Sequence[str], train: npt.NDArray[np.int64]) -> Any:
    """Weigh words and word pairs (sparse, n rows); vocabulary and weights come from ``train``.

    Where no word stands in two texts, one to three characters in a row take the place of words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    learn = [texts[index] for index in train]
    words = TfidfVectorizer(
        sublinear_tf=True, token_pattern=WORD, ngram_range=(1, 2), min_df=MIN_TEXTS_WITH_WORD
    )
    try:
        fitted = words.fit(learn)
    except ValueError:  # an empty vocabulary
        characters = TfidfVectorizer(sublinear_tf=True, analyzer="char", ngram_range=(1, 3))
        fitted = characters.fit(learn)
    return fitted.transform(texts)
