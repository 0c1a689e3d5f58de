"""What in a text moves its predicted price up or down: its words, its numbers, its clauses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bat.models.numbers import Numbers
from bat.models.ridge_column import Embeddings, Floats
from bat.models.words import Words

MOST_SEGMENTS = 20  # each is one more text to read
MOST_READ = MOST_SEGMENTS + 2  # texts, to explain one: itself, without each segment, and exactly
AT_ONCE = 5  # texts read in one go (docs/LOG.md, 2026-11-27): fewer take longer, more keep others
MOST_OF_A_KIND = 20  # effects of a kind that are listed, the largest (convention)
DIGITS = 5  # of the price to which effects are rounded; float32, in which trees read, has 7
STRONGEST, MIN_TEXTS = 15, 5  # words up and down; texts that a word stands in (convention)
CLAUSE_END = re.compile(r"(?<=[.!?;:,…])\s+|(?<=[。！？；：，、])\s*|\s*\n\s*")


class Effect(NamedTuple):
    """How far a part of a text moves its price, in price units: up above 0, down below."""

    part: str  # as it stands in the text
    kind: Literal["word", "number", "clause"]
    effect: float


class WordLine(NamedTuple):
    """The part of a predictor that adds up words to a log price."""

    words: Words
    weights: Floats  # (v,)


class StrongWord(NamedTuple):
    """A word, or pair of words, that moves prices."""

    word: str
    texts: int  # that it stands in
    ratio: float  # of the price with it to the price without it, in such a text
    amount: float  # that it adds to the median price


# One text


def segments(text: str, *, first: bool = False) -> list[tuple[int, int]]:
    """Cut a text into clauses, or into words where it is a single one, at most ``MOST_SEGMENTS``.

    Args:
        text: any string.
        first: leave the rest as it is where there are more, instead of joining neighbours.

    Returns:
        Where each begins and ends.
    """
    spans = _spans(CLAUSE_END, text)
    if len(spans) == 1:
        spans = _spans(re.compile(r"\s+"), text)
    if first or len(spans) <= MOST_SEGMENTS:
        return spans[:MOST_SEGMENTS]
    middles = np.array([(start + end) / 2 for start, end in spans])
    part = (middles * MOST_SEGMENTS / len(text)).astype(int)
    firsts = np.flatnonzero(np.diff(part, prepend=-1))
    lasts = [*(firsts[1:] - 1), len(spans) - 1]
    return [(spans[a][0], spans[b][1]) for a, b in zip(firsts, lasts, strict=True)]


def _spans(cut: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Find the stretches between cuts that say something."""
    edges = [0, *(edge for found in cut.finditer(text) for edge in found.span()), len(text)]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(start, end) for start, end in pairs if _says_something(text[start:end])]


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def without_each(text: str, *, first: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each of ``segments``, and the text without it; none where nothing would be left."""
    for start, end in segments(text, first=first):
        rest = f"{text[:start].rstrip()} {text[end:].lstrip()}".strip()
        if _says_something(rest):
            yield text[start:end], rest


def of_words(text: str, line: WordLine, price: float) -> list[Effect]:
    """Say what the price would fall by if a word, or pair of words, were worth nothing.

    The logarithms of 1 - effect / price add up to what the words say of the log price, less its
    sign. Where runs of characters take the place of words, none of them has a meaning to tell.
    """
    if line.words.analyzer != "word":
        return []
    weighed, places = line.words.weigh([text]), line.words.places(text)
    effects = price * -np.expm1(-weighed.data * line.weights[weighed.indices])
    spans = [places[line.words.vocabulary[column]] for column in weighed.indices]
    return [
        Effect(text[slice(*span)], "word", float(effect))
        for span, effect in zip(spans, effects, strict=True)
    ]


def of_numbers(
    text: str,
    numbers: Numbers,
    row: Embeddings,
    first: int,
    predict: Callable[[Embeddings], Floats],
) -> list[Effect]:
    """Take away each number: the price less that of a text which lacks the number's columns.

    Args:
        text: any string.
        numbers: that trees read.
        row: what they read of the text, (k,).
        first: where the columns of numbers begin in it.
        predict: the trees: (n, k) -> (n,).
    """
    found = numbers.found(text)
    rows = np.tile(row, (len(found) + 1, 1))
    for lacking, (_, columns) in zip(rows[1:], found, strict=True):
        lacking[first + np.array(columns)] = np.nan
    prices = predict(rows)
    return [
        Effect(text[slice(*number.span)], "number", float(prices[0] - without))
        for (number, _), without in zip(found, prices[1:], strict=True)
    ]


def listed(effects: Sequence[Effect], price: float) -> list[Effect]:
    """List what a person reads: the largest effects first, at most ``MOST_OF_A_KIND`` of a kind.

    They are rounded to ``DIGITS`` digits of the price; what then moves nothing is left out.
    """
    decimals = DIGITS - 1 - math.floor(math.log10(price))
    rounded = [each._replace(effect=round(each.effect, decimals)) for each in effects]
    found: list[Effect] = []
    for each in sorted(rounded, key=lambda each: -abs(each.effect)):
        of_kind = sum(other.kind == each.kind for other in found)
        if each.effect and of_kind < MOST_OF_A_KIND:
            found.append(each)
    return found


# A corpus


def strongest(line: WordLine, texts: Sequence[str], median: float) -> list[StrongWord]:
    """Find the words that move prices most: at most ``STRONGEST`` up, then so many down.

    A word counts with its mean weight in the texts that it stands in, ``MIN_TEXTS`` at least.
    Exact for what the line adds up; numbers that are written in figures are words here.

    Args:
        line: of the predictor.
        texts: of the corpus.
        median: of its prices.

    Returns:
        From the largest ratio to the smallest.
    """
    if line.words.analyzer != "word":
        return []
    weighed = line.words.weigh(texts).tocsc()  # (n, v)
    counts = np.diff(weighed.indptr)
    means = np.asarray(weighed.sum(axis=0)).ravel() / np.maximum(counts, 1)
    logs = np.where(counts >= MIN_TEXTS, line.weights * means, 0.0)
    order = np.argsort(-logs, kind="stable")
    up = [column for column in order[:STRONGEST] if logs[column] > 0]
    down = [column for column in order[-STRONGEST:] if logs[column] < 0]
    return [
        StrongWord(
            line.words.vocabulary[column],
            int(counts[column]),
            math.exp(logs[column]),
            median * math.expm1(logs[column]),
        )
        for column in (*up, *down)
    ]
