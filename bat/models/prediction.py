"""What every predictor can do: predict, be read by an interval, and say what moves its prices."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bat.models import explanation
from bat.models.explanation import Effect, WordLine
from bat.models.ridge_column import Embeddings, Floats

NUMBER = re.compile(r"\d+")
Turn = Callable[[], AbstractContextManager[object]]


class Reading(NamedTuple):
    """What a predictor makes of a few texts."""

    prices: Floats  # (n,)
    features: Embeddings  # (n, d), what the interval's trees read
    truncated: npt.NDArray[np.bool_]  # (n,), the end of the text was not read


class Predictor(Protocol):
    """Predicts prices; a frozen dataclass whose fields are of ``PARTS``. Threads take turns."""

    def predict(self, texts: Sequence[str]) -> Floats:
        """Predict the prices of many texts, (n,)."""
        ...

    def read(self, texts: Sequence[str]) -> Reading:
        """Predict the prices of a few texts in memory, with features for the interval.

        A predictor without dense features of its own gives ``plain_features``.
        """
        prices = self.predict(texts)
        return Reading(prices, plain_features(texts, prices), np.zeros(len(texts), bool))

    @property
    def word_line(self) -> WordLine | None:
        """What adds up words to a log price, where it has such a part; by default it has none."""
        return None

    def exact_effects(self, text: str, price: float) -> list[Effect]:
        """Say what single words and numbers move, where that need not be tried out.

        Args:
            text: one that can be priced.
            price: that is predicted for it.
        """
        return explanation.of_words(text, self.word_line, price) if self.word_line else []

    def explain(self, text: str, turn: Turn = contextlib.nullcontext) -> list[Effect]:
        """Say what moves the price of a text, the largest effects first.

        Those of clauses are found by leaving each out, those of words and numbers are the exact
        ones. Where the end of a text is not read, its first clauses are tried.

        Args:
            text: one that can be priced.
            turn: entered whenever a few texts are read; others may have theirs in between.
        """

        def read(texts: Sequence[str]) -> Reading:
            with turn():
                return self.read(texts)

        whole = read([text])
        price, clauses = float(whole.prices[0]), []
        tried = list(explanation.without_each(text, first=bool(whole.truncated[0])))
        for at in range(0, len(tried), explanation.AT_ONCE):
            some = tried[at : at + explanation.AT_ONCE]
            prices = read([rest for _, rest in some]).prices
            for (clause, _), without in zip(some, prices, strict=True):
                clauses.append(Effect(clause, "clause", price - float(without)))
        with turn():
            exact = self.exact_effects(text, price)
        return explanation.listed([*exact, *clauses], price)


def lengths(texts: Sequence[str]) -> Embeddings:
    """Count characters, words, digits and numbers of each text.

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


def plain_features(texts: Sequence[str], prices: Floats) -> Embeddings:
    """Give what an interval reads of a predictor without dense features of its own.

    Args:
        texts: n strings.
        prices: that it predicts for them, (n,).

    Returns:
        float32, shape (n, 5): ``lengths``, and the log of the price.
    """
    return np.column_stack([lengths(texts), np.log(prices)]).astype(np.float32)
