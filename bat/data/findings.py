"""What a check of the data found, and which rows to look at."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Literal

from bat.data import corpus as corpora
from bat.data.corpus import Corpus

EXAMPLES = 5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that a check found: how much of it, in words, and where to look.

    ``examples`` are pairs of a line of the source and what stands there.
    """

    check: str
    severity: Literal["note", "warning"]
    count: int
    message: str
    examples: tuple[tuple[int, str], ...] = ()


def shown_rows(corpus: Corpus, chosen: Iterable[int]) -> tuple[tuple[int, str], ...]:
    """Give the first few of some rows as the examples of a finding: their lines and beginnings."""
    first = itertools.islice(chosen, EXAMPLES)
    return tuple((int(corpus.lines[i]), corpora.row_excerpt(corpus, i)) for i in first)
