"""What a sceptic would try before fine-tuning anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SVD_DIMENSION = 256  # near the width of small encoders, so that the regressor has as much to read
MIN_TEXTS_WITH_WORD = 2  # a word of one text can predict nothing about another


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
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=MIN_TEXTS_WITH_WORD)
    fitted = words.fit_transform([texts[index] for index in train])
    width = min(SVD_DIMENSION, min(fitted.shape) - 1)
    compress = TruncatedSVD(width, random_state=seed).fit(fitted)
    return np.asarray(compress.transform(words.transform(texts)), np.float32)
