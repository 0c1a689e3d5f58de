"""Ridge regression on an embedding, as one more column of what trees see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Embeddings = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
# Columns that are learnt from prices. Given the numbers of t rows to learn from and of v others,
# they hold for the former (t, k) what fits say that have not seen them, and for the others (v, k)
# what one says that has seen all of the former.
Columns = Callable[[Rows, Rows], tuple[Floats, Floats]]

FOLDS = 5  # convention
ROUNDING = 1e-6  # of a feature's mean: what float32 leaves of one that is always the same
PENALTIES = np.logspace(0, 6, 13)  # on features of variance 1: from next to none to flat


@dataclass(frozen=True)
class Line:
    """Ridge regression of the log price on an embedding: what trees see as one more column.

    A tree asks for one number of an embedding at a time, while what words add to a price is spread
    over all of them.

    Source:
        Wolpert 1992, "Stacked generalization": rows to learn from get the number that a line
        gives which has not seen them.
    """

    weights: Floats  # (dim,)
    offset: float  # subtracted, so that the mean over the training rows is 0

    def numbers(self, embeddings: Embeddings) -> Floats:
        """Give the line's number for each row: (n, dim) -> (n,)."""
        # Not a product of matrices: its last bits would hang on how many rows there are.
        return np.asarray(np.einsum("nd,d->n", embeddings, self.weights) - self.offset)

    def append_to(self, embeddings: Embeddings) -> Embeddings:
        """Put the line's number behind each row: (n, dim) -> (n, dim + 1)."""
        return append(embeddings, self.numbers(embeddings))


def columns(embeddings: Embeddings, prices: Floats) -> Columns:
    """Make the line the one column that is learnt from prices, (n, dim) and (n,)."""

    def of(learn: Rows, others: Rows) -> tuple[Floats, Floats]:
        line, unseen = fit(embeddings[learn], prices[learn])
        return unseen[:, None], line.numbers(embeddings[others])[:, None]

    return of


def fit(
    embeddings: Embeddings, prices: Floats, *, fold_of: Rows | None = None
) -> tuple[Line, Floats]:
    """Fit ridge regression to log prices, with the penalty that is best for rows held out.

    scikit-learn's cross_val_predict gives the same numbers to 1e-7 on the same folds in 8 to 21
    times the time, since it solves anew for every penalty (docs/LOG.md).

    Everything is centred on the means of all rows, so that with a penalty that flattens the line
    the numbers of all folds are 0: a fold's own mean would tell its rows' prices backwards.

    Args:
        embeddings: (n, dim).
        prices: (n,), positive.
        fold_of: (n,), the fold from 0 that has not seen a row; if left out, one of five, and equal
            rows share it.

    Returns:
        The line through all rows, and for each row (n,) the number of one that has not seen it.
    """
    logs = np.log(prices)
    logs -= logs.mean()
    centre = embeddings.mean(axis=0, dtype=np.float64)
    rows = embeddings - centre.astype(np.float32)
    spread = np.sqrt(np.einsum("nd,nd->d", rows, rows, dtype=np.float64) / len(rows))
    spread[spread <= ROUNDING * np.abs(centre)] = np.inf  # it never changes, and gets no weight
    rows /= spread.astype(np.float32)
    products, shares = _products(rows, logs)
    fold_of = _folds(embeddings) if fold_of is None else fold_of
    unseen = np.empty((len(rows), len(PENALTIES)))
    for number in np.unique(fold_of):
        held_out = fold_of == number
        without = _products(rows[held_out], logs[held_out])
        weights = _ridges(products - without[0], shares - without[1])
        unseen[held_out] = rows[held_out] @ weights
    best = int(np.argmin(((unseen - logs[:, None]) ** 2).mean(axis=0)))
    chosen = _ridges(products, shares)[:, best] / spread
    return Line(chosen, float(centre @ chosen)), unseen[:, best]


def _folds(embeddings: Embeddings) -> npt.NDArray[np.intp]:
    """Deal rows out, (n,); equal ones share a fold, or one would tell the other's price."""
    hashes = np.fromiter((hash(row.tobytes()) for row in embeddings), np.int64, len(embeddings))
    _, first, same = np.unique(hashes, return_index=True, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(embeddings)) % FOLDS
    return np.asarray(dealt[first[same]])


def _products(rows: Embeddings, logs: Floats) -> tuple[Floats, Floats]:
    """Multiply features with each other and with the log prices: (dim, dim), (dim,)."""
    return (rows.T @ rows).astype(np.float64), np.einsum("nd,n->d", rows, logs)


def _ridges(products: Floats, shares: Floats) -> Floats:
    """Solve ridge regression for each of the penalties: (dim, penalties)."""
    values, vectors = np.linalg.eigh(products)
    bent = (vectors.T @ shares)[:, None] / (np.maximum(values, 0)[:, None] + PENALTIES)
    return np.asarray(vectors @ bent)


def append(embeddings: Embeddings, numbers: Floats) -> Embeddings:
    """Put numbers behind each row: (n, dim), and (n,) or (n, k) -> (n, dim + k)."""
    most = np.finfo(np.float32).max
    return np.column_stack([embeddings, np.clip(numbers, -most, most).astype(np.float32)])
