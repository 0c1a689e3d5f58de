"""Numbers that texts say, as columns: one for each word or two that often stand beside a number.

A tree can ask whether a car has run less than 41,000 miles; word counts know "41" and "000", and an
embedding next to nothing of how large a number is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bat.data import quantities
from bat.data.quantities import Quantity
from bat.models.ridge_column import Embeddings

# On bat-10k 128 columns, two words among them, are ahead of 64 for one word, and of 256
# (docs/LOG.md).
MOST_COLUMNS = 128
LARGEST = float(np.finfo(np.float32).max)
MIN_TEXTS = 20  # with a number at an anchor, for a column: fewer say little (convention)
OTHER_READING = "date, month first"  # of dates in figures, which count once
Anchor = tuple[str, ...]  # the kind, then after, before or with which words or sign it stands


@dataclass(frozen=True)
class Numbers:
    """Which numbers of a text become columns; ``fit`` or ``load`` makes one."""

    anchors: tuple[Anchor, ...]  # k of them, in the order of the columns

    def read(self, texts: Sequence[str]) -> Embeddings:
        """Read the first number at each anchor.

        Args:
            texts: n strings.

        Returns:
            float32, shape (n, k); NaN where a text has no number there.
        """
        rows = np.full((len(texts), len(self.anchors)), np.nan, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for found, columns in self.found(text):
                row[columns] = min(found.value, LARGEST)
        return rows

    def found(self, text: str) -> list[tuple[Quantity, list[int]]]:
        """List the numbers of a text that columns read, each with the columns that it fills."""
        place = {anchor: column for column, anchor in enumerate(self.anchors)}
        numbers = []
        for quantity in quantities.read(text):
            columns = [place.pop(anchor) for anchor in _anchors(quantity) if anchor in place]
            if columns:
                numbers.append((quantity, columns))
        return numbers


def fit(texts: Sequence[str]) -> Numbers:
    """Take the anchors that stand in most of the training texts.

    Args:
        texts: n strings; their targets have no say.
    """
    counts: Counter[Anchor] = Counter()
    for text in texts:
        counts.update({each for found in quantities.read(text) for each in _anchors(found)})
    often = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MOST_COLUMNS]
    return Numbers(tuple(anchor for anchor, count in often if count >= MIN_TEXTS))


def _anchors(quantity: Quantity) -> Iterator[Anchor]:
    """Yield the kind of a number alone, and with one and two neighbours on each side."""
    for anchor in quantity.anchors:
        if anchor and anchor[0] != OTHER_READING:
            yield anchor


def save(numbers: Numbers, place: Path) -> None:
    """Write a JSON file; ``load`` gives the same columns."""
    place.with_suffix(".json").write_text(json.dumps(numbers.anchors) + "\n", encoding="utf-8")


def load(place: Path) -> Numbers:
    """Read what ``save`` wrote.

    Raises:
        ValueError: the file is missing or damaged.
    """
    file = place.with_suffix(".json")
    try:
        anchors = json.loads(file.read_text(encoding="utf-8"))
        return Numbers(tuple(tuple(map(str, anchor)) for anchor in anchors))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"got no numbers in {file}: {error}; expected a JSON list, as save() writes it"
        ) from None
