"""What could make a study's numbers untrue, looked for before it starts."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bat import corpus as corpora
from bat import units
from bat.cli import InputError
from bat.corpus import ASIDE, MIN_PART_ROWS, PARTS, UNSPACED, Corpus

# Distinctive wording shared, from which on a row counts as nearly the same as another. Looked at by
# eye: 0.6 finds the listings that one host wrote for two rooms of a house (1,021 of 48,074 rows of
# 60,000 listings near the test part), and takes 51 of 7,976 of 10,005 car auctions written to one
# template, where the plain Jaccard index takes 359.
NEAR = 0.6
SHINGLE = 3  # words; convention for texts of this length
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
ROUNDING = (
    1e-6  # sums over millions of weights: a filter may let too much through, never too little
)
MANY_NEAR_SHARE = 0.1  # convention: beyond it the corpus repeats itself, and groups serve better
TEXTS_A_CHUNK = 20_000  # bounds memory, at some 10 kB a text
SHARE_BITS = 4  # of a run's: runs are counted one share after the other, to sort little at once
PAIRS_A_CHUNK = 2_000_000  # bounds memory, at some 100 bytes a pair
PAIRS_A_BATCH = 20_000  # the same for the exact comparison, at some 10 kB a pair

# $67,911; 67911; 67.911; 67.9k; 68k; $1.2 million; 1.2m
NUMBER = re.compile(
    r"(?<!\w)(?<!\d[.,])(?P<digits>\d{1,3}(?:[,.'’]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s?(?P<unit>k|thousand|mm?|mil|million)\b)?",
    re.IGNORECASE,
)
PRICE_TOLERANCE = 0.02  # a price said in words is rounded: 68k for 67,911
SHUFFLES = 20  # their mean is then known better than one standard error of the count itself
MIN_EXCESS_ERRORS = 4.0  # standard errors above chance: one false alarm in 30,000 corpora
MIN_EXCESS_SHARE = 0.005  # convention: fewer rows than this move no metric much

ONE_PRICE_SHARE = 0.5  # convention: beyond it the median price is that one, and errors are zeros
LONG_SHARE = 0.1  # convention: beyond it much of the corpus is read only in part
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


def run(corpus: Corpus) -> tuple[Corpus, list[Finding]]:
    """Look for all that needs no encoder, and set near repeats of the test part aside.

    Raises:
        InputError: setting aside leaves a part without rows.
    """
    findings = rejected_rows(corpus) + one_price(corpus) + price_in_text(corpus)
    corpus, near = set_aside_near_repeats(corpus)
    return corpus, findings + near


def rejected_rows(corpus: Corpus) -> list[Finding]:
    """Say how many rows of the source were unusable."""
    if not corpus.rejected:
        return []
    n = len(corpus.rejected)
    examples = tuple((row.line, f"{row.reason}: {row.excerpt}") for row in corpus.rejected)
    message = (
        f"{n:,} of {corpus.n_read:,} rows of {corpus.name} were unusable and left out: "
        f"{corpora.reasons(corpus.rejected)}; the first on line {corpus.rejected[0].line}"
    )
    return [Finding("rejected rows", "note", n, message, examples[:EXAMPLES])]


def one_price(corpus: Corpus) -> list[Finding]:
    """Warn when one price fills most of the corpus: a default value, or a wrong column."""
    values, counts = np.unique(corpus.prices, return_counts=True)
    price, count = values[counts.argmax()], int(counts.max())
    if count <= ONE_PRICE_SHARE * len(corpus.texts):
        return []
    message = (
        f"{count:,} of {len(corpus.texts):,} rows have the price {price:g}: "
        "see whether it stands for an unknown one"
    )
    examples = _examples(corpus, np.flatnonzero(corpus.prices == price))
    return [Finding("one price", "warning", count, message, examples)]


def long_texts(corpus: Corpus, token_counts: npt.ArrayLike, limit: int) -> list[Finding]:
    """Say how many texts the encoder reads only in part.

    Args:
        token_counts: one for each row.
        limit: tokens that the encoder reads of a text.
    """
    cut = np.flatnonzero(np.asarray(token_counts) > limit)
    if not len(cut):
        return []
    share = len(cut) / len(corpus.texts)
    message = (
        f"{len(cut):,} of {len(corpus.texts):,} texts ({share:.1%}) are longer than the "
        f"{limit} tokens that the encoder reads; what follows is lost to it"
    )
    severity: Literal["note", "warning"] = "warning" if share > LONG_SHARE else "note"
    return [Finding("long texts", severity, len(cut), message, _examples(corpus, cut))]


def price_in_text(corpus: Corpus) -> list[Finding]:
    """Warn when texts give away their own price, in figures, more often than chance would.

    Mileages and years come near prices too. So the same count is made with the prices shuffled
    over the rows; a warning needs 4 standard errors, and 0.5 % of the rows, above it.
    """
    owners, numbers = _numbers(corpus.texts)
    hits = _near_price(owners, numbers, corpus.prices)
    shuffle = np.random.default_rng(0)
    chance = np.mean(
        [
            _near_price(owners, numbers, shuffle.permutation(corpus.prices)).sum()
            for _ in range(SHUFFLES)
        ]
    )
    n, count = len(corpus.texts), int(hits.sum())
    excess = count - chance
    is_leak = excess > MIN_EXCESS_ERRORS * np.sqrt(chance + 1) and excess > MIN_EXCESS_SHARE * n
    message = (
        f"{count:,} of {n:,} texts ({count / n:.1%}) hold a number within {PRICE_TOLERANCE:.0%} of "
        f"their price; by chance it would be {chance / n:.1%}"
    )
    if not is_leak:
        return [Finding("price in text", "note", count, message)]
    message += ". Take the price out of the texts: the encoder would read the answer"
    examples = _examples(corpus, np.flatnonzero(hits))
    return [Finding("price in text", "warning", count, message, examples)]


def _numbers(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read the numbers of all texts: for each the index of its text, and its value."""
    owners, values = array("q"), array("d")
    for i, text in enumerate(texts):
        for match in NUMBER.finditer(text):
            owners.append(i)
            values.append(_value(match["digits"], match["unit"]))
    return np.array(owners, np.int64), np.array(values, np.float64)


def _value(digits: str, unit: str | None) -> float:
    """Read 67,911 and 67.911 as thousands, 67.91 as a fraction; k and m scale."""
    whole = re.fullmatch(r"(\d{1,3}(?:[,.'’]\d{3})+)(\.\d+)?", digits)
    if whole and not unit:
        digits = re.sub(r"\D", "", whole[1]) + (whole[2] or "")
    scale = {"": 1.0, "k": 1e3, "t": 1e3, "m": 1e6}[(unit or "")[:1].lower()]
    return float(re.sub(r"[,'’]", "", digits)) * scale


def _near_price(
    owners: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64], prices: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Tell for each row whether one of its numbers comes near its price."""
    near = np.abs(numbers - prices[owners]) <= PRICE_TOLERANCE * prices[owners]
    return np.bincount(owners[near], minlength=len(prices)) > 0


def set_aside_near_repeats(corpus: Corpus) -> tuple[Corpus, list[Finding]]:
    """Take the rows that nearly repeat a test row out of the other parts; test keeps all its rows.

    Texts are compared by their runs of three words. Likeness is the weighted Jaccard index: the
    weight of the runs that both have over the weight of those that either has, a run that few texts
    have weighing more (inverse document frequency), so that a template shared by the whole corpus
    makes no two texts alike. No pair from 0.6 upwards is missed.

    Returns:
        The corpus with such rows in the part ``aside``, and what was found.

    Raises:
        InputError: a part loses all its rows.
    """
    used = np.flatnonzero(corpus.parts != ASIDE)
    text_ids, firsts = np.unique(corpus.text_ids[used], return_index=True)
    firsts = used[firsts]  # one row for each text
    is_test = corpus.parts[firsts] == "test"
    twins = _nearest_tests([corpus.texts[i] for i in firsts], is_test)
    twin_rows = np.full(int(corpus.text_ids.max()) + 1, -1)
    twin_rows[text_ids] = np.where(twins >= 0, firsts[twins], -1)
    twin_rows = twin_rows[corpus.text_ids]  # one entry a row
    aside = np.flatnonzero((twin_rows >= 0) & (corpus.parts != ASIDE))
    if not len(aside):
        return corpus, []
    parts = corpus.parts.copy()
    parts[aside] = ASIDE
    _check_parts(corpus.name, parts)
    return corpora.with_parts(corpus, parts), [_near_finding(corpus, aside, twin_rows)]


def _check_parts(name: str, parts: npt.NDArray[np.str_]) -> None:
    for part in PARTS:
        left = int(np.count_nonzero(parts == part))
        if left < MIN_PART_ROWS:
            raise InputError(
                f"{name}, of whose {part} rows all but {left} nearly repeat a test row",
                f"texts that differ, so that {MIN_PART_ROWS} are left",
                "remove the near repeats from the data, or name a group_column",
            )


def _near_finding(
    corpus: Corpus, aside: npt.NDArray[np.int64], twin_rows: npt.NDArray[np.int64]
) -> Finding:
    n_others = int((corpus.parts != "test").sum())
    share = len(aside) / n_others
    message = (
        f"{len(aside):,} of {n_others:,} rows outside the test part ({share:.1%}) nearly repeat "
        "a test row and were set aside"
    )
    if share > MANY_NEAR_SHARE:
        message += "; with so many, a group_column (seller, item) makes a better split"
    examples = tuple(
        (int(corpus.lines[i]), f"like line {corpus.lines[twin_rows[i]]}: {corpus.texts[i][:80]}")
        for i in aside[:EXAMPLES]
    )
    severity: Literal["note", "warning"] = "warning" if share > MANY_NEAR_SHARE else "note"
    return Finding("near repeats", severity, len(aside), message, examples)


def _read(
    path: Path, start: npt.NDArray[np.int64], first: int, last: int
) -> npt.NDArray[np.uint64]:
    """Read the runs of some texts in a row; not through a map, whose pages would stay."""
    low, high = start[first], start[last]
    return np.fromfile(path, np.uint64, count=high - low, offset=8 * low)


class _Runs(NamedTuple):
    """The distinct runs of words of all texts, 64 bits each, in a file text by text.

    ``start`` has n + 1 entries: those of text i lie from ``start[i]`` to ``start[i + 1]``.
    ``common`` are, rising, the runs of more than one text, ``holders`` the number of their texts,
    ``shared`` whether a test text and another are among these.
    """

    path: Path
    start: npt.NDArray[np.int64]
    common: npt.NDArray[np.uint64]
    holders: npt.NDArray[np.int32]
    shared: npt.NDArray[np.bool_]

    @property
    def places(self) -> Path:
        """A file beside that of the runs: what ``look_up`` says of their places."""
        return self.path.with_suffix(".places")

    def look_up(
        self, runs: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Give for each run its place in ``common``, or -1 if it is not shared, and its holders."""
        at = np.minimum(np.searchsorted(self.common, runs), len(self.common) - 1)
        known = self.common[at] == runs
        place = np.where(known & self.shared[at], at, -1).astype(np.int32)
        return place, np.where(known, self.holders[at], 1)

    def weights(self, holders: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Inverse document frequency, from which a run in few texts weighs more."""
        return np.log(len(self.start) / holders)


class _Prefixes(NamedTuple):
    """Of each text the rarest runs, so far as a test text and another share them.

    One entry for each pair (text, run); ``total`` has one for each text, over all of its runs, and
    ``tail`` one over those that are not among the rarest but shared.
    """

    text: npt.NDArray[np.int32]
    run: npt.NDArray[np.int32]  # place among the common ones
    total: npt.NDArray[np.float64]
    tail: npt.NDArray[np.float64]


def _write_runs(texts: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    """Hash the distinct runs of all texts to a file; return where those of each text begin."""
    vocabulary: dict[str, int] = {}
    counts = [np.zeros(1, np.int64)]
    with path.open("wb") as file:
        for first, last in _chunks(len(texts)):
            owners, runs = _hashed(texts[first:last], vocabulary)
            order = np.lexsort((runs, owners))
            owners, runs = owners[order], runs[order]
            is_new = np.ones(len(runs), np.bool_)
            is_new[1:] = (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1])
            runs[is_new].tofile(file)
            counts.append(np.bincount(owners[is_new], minlength=last - first))
    return np.cumsum(np.concatenate(counts))


def _count(path: Path, start: npt.NDArray[np.int64], is_test: npt.NDArray[np.bool_]) -> _Runs:
    """Count the texts that have each run, one share of all runs after the other."""
    common, holders, shared = [], [], []
    for share in range(1 << SHARE_BITS):
        kept, of_test = [], []
        for first, last in _chunks(len(is_test)):
            runs = _read(path, start, first, last)
            here = runs >> np.uint64(64 - SHARE_BITS) == share
            kept.append(runs[here])
            of_test.append(np.repeat(is_test[first:last], np.diff(start[first : last + 1]))[here])
        found, which, n = np.unique(np.concatenate(kept), return_inverse=True, return_counts=True)
        n_test = np.bincount(which, weights=np.concatenate(of_test), minlength=len(found))
        several = n > 1
        common.append(found[several])
        holders.append(n[several].astype(np.int32))
        shared.append(((n_test > 0) & (n_test < n))[several])
    return _Runs(path, start, *map(np.concatenate, (common, holders, shared)))


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    for first in range(0, n, TEXTS_A_CHUNK):
        yield first, min(n, first + TEXTS_A_CHUNK)


def _prefixes(runs: _Runs) -> _Prefixes:
    """Order the runs of each text by how rare they are, and keep the shared ones up front.

    The places of all runs are written down on the way, for whoever compares texts whole.

    Two near texts share a run there: were all that they share in the rest, its weight would stay
    under ``NEAR`` of the text's.
    """
    n = len(runs.start) - 1
    kept: list[tuple[npt.NDArray[Any], ...]] = []
    total, tail = np.empty(n), np.empty(n)
    with runs.places.open("wb") as file:
        for first, last in _chunks(n):
            start = runs.start[first : last + 1] - runs.start[first]
            text = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(start))
            here = _read(runs.path, runs.start, first, last)
            place, holders = runs.look_up(here)
            place.tofile(file)
            order = np.lexsort((here, holders, text))  # one order for all texts
            place, weights = place[order], runs.weights(holders[order])
            total[first:last] = np.add.reduceat(weights, start[:-1])
            up_to = np.concatenate([[0.0], np.cumsum(weights)])
            ends = up_to[start[1:]]
            rest = ends[text - first] - up_to[:-1]
            shared, is_front = place >= 0, rest >= (NEAR - ROUNDING) * total[text]
            in_tail = np.where(shared & ~is_front, weights, 0.0)
            tail[first:last] = np.add.reduceat(in_tail, start[:-1])
            kept.append((text[shared & is_front], place[shared & is_front]))
    texts, places = (np.concatenate(each) for each in zip(*kept, strict=True))
    return _Prefixes(texts, places, total, tail)


def _hashed(
    texts: Sequence[str], vocabulary: dict[str, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Hash every run of words: for each the index of its text and 64 bits."""
    words, lengths = array("q"), np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        found = WORD.findall(corpora.normalise(text))
        found += [""] * (SHINGLE - len(found))  # a shorter text is one run
        lengths[i] = len(found)
        words.extend(vocabulary.setdefault(word, len(vocabulary)) for word in found)
    ids = np.array(words, np.int64).astype(np.uint64)
    n_runs = lengths - SHINGLE + 1
    owners = np.repeat(np.arange(len(texts)), n_runs)
    firsts = np.repeat(np.cumsum(lengths) - lengths - (np.cumsum(n_runs) - n_runs), n_runs)
    firsts += np.arange(len(owners))  # position of each run's first word
    runs = np.zeros(len(owners), np.uint64)
    for step in range(SHINGLE):  # a polynomial mod 2^64, by Knuth's multiplicative constant
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + ids[firsts + step]
    return owners, runs


def _nearest_tests(texts: Sequence[str], is_test: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Find for each other text a test text that is near to it, the nearest if there are several.

    Returns:
        Indices of test texts; -1 where there is none, and for the test texts themselves.
    """
    nearest, likeness = np.full(len(texts), -1), np.zeros(len(texts))
    units.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=units.home()) as folder:
        path = Path(folder) / "runs"
        runs = _count(path, _write_runs(texts, path), is_test)
        if not runs.shared.any():
            return nearest
        prefixes = _prefixes(runs)
        for tests, others in _candidates(runs, prefixes, is_test):
            shared = _shared_weights(runs, tests, others)
            found = shared / (prefixes.total[tests] + prefixes.total[others] - shared)
            order = np.argsort(found, kind="stable")  # of several, the last and largest stays
            tests, others, found = tests[order], others[order], found[order]
            better = found > np.maximum(likeness[others], NEAR - 1e-9)
            nearest[others[better]], likeness[others[better]] = tests[better], found[better]
    return nearest


def _shared_weights(
    runs: _Runs, tests: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Add up for each pair of texts the weights of the runs that both have."""
    texts, rows = np.unique(np.concatenate([tests, others]), return_inverse=True)
    lengths = (runs.start[1:] - runs.start[:-1])[texts]
    ends = np.cumsum(lengths)
    where = np.arange(ends[-1]) + np.repeat(runs.start[texts] - (ends - lengths), lengths)
    place = np.memmap(runs.places, np.int32, "r")[where]
    shared = place >= 0
    column = place[shared]  # rising within a text, as its runs do
    start = np.concatenate([[0], np.cumsum(shared)])[np.concatenate([[0], ends])]
    shape = (len(texts), len(runs.common))
    weights = sparse.csr_matrix((runs.weights(runs.holders[column]), column, start), shape)
    ones = weights.astype(np.bool_)
    both = weights[rows[: len(tests)]].multiply(ones[rows[len(tests) :]])
    return np.asarray(both.sum(axis=1)).ravel()


def _candidates(
    runs: _Runs, prefixes: _Prefixes, is_test: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield all pairs (test text, other text) that can be near, in chunks.

    Source:
        Prefix filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007. The bound
        on what stands after the prefixes: Xiao, Wang, Lin and Yu 2008.
    """
    of_test = is_test[prefixes.text]
    tests, others = np.flatnonzero(of_test), np.flatnonzero(~of_test)
    others = others[np.argsort(prefixes.run[others], kind="stable")]
    run = prefixes.run[others]
    lows = np.searchsorted(run, prefixes.run[tests], "left")
    counts = np.searchsorted(run, prefixes.run[tests], "right") - lows
    # A test text's pairs stay together, so that what they share up front can be added up.
    chunks = (np.cumsum(counts) // PAIRS_A_CHUNK)[
        np.searchsorted(prefixes.text[tests], prefixes.text[tests], "left")
    ]
    bounds = np.flatnonzero(np.diff(chunks, prepend=-1, append=-1))
    for low, high in itertools.pairwise(bounds):
        n = counts[low:high]
        offsets = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        left = np.repeat(tests[low:high], n)
        right = others[np.repeat(lows[low:high], n) + offsets]
        pairs = (prefixes.text[left].astype(np.int64) << 32) | prefixes.text[right]
        order = np.argsort(pairs, kind="stable")
        pairs, firsts = np.unique(pairs[order], return_index=True)
        if not len(pairs):
            continue
        weights = runs.weights(runs.holders[prefixes.run[left[order]]])
        up_front = np.add.reduceat(weights, firsts)
        left, right = pairs >> 32, pairs & 0xFFFFFFFF
        # What two near texts share is at least NEAR / (1 + NEAR) of their sum. All of it that is
        # not in both prefixes stands after the one that ends first.
        least = (NEAR - ROUNDING) / (1 + NEAR) * (prefixes.total[left] + prefixes.total[right])
        fits = up_front + np.maximum(prefixes.tail[left], prefixes.tail[right]) >= least
        left, right = left[fits], right[fits]
        for at in range(0, len(left), PAIRS_A_BATCH):
            yield left[at : at + PAIRS_A_BATCH], right[at : at + PAIRS_A_BATCH]


def _examples(corpus: Corpus, chosen: npt.NDArray[np.int64]) -> tuple[tuple[int, str], ...]:
    return tuple((int(corpus.lines[i]), corpus.texts[i][:80]) for i in chosen[:EXAMPLES])
