"""Find texts that nearly repeat each other, in time that grows with their number and no faster.

Texts are compared by the words they have, whatever their order. Likeness is the weighted Jaccard
index: the weight of the words that both have over the weight of those that either has. A word
weighs the less the more texts have it, so that a template shared by the whole corpus makes no two
texts alike. Words tell a text with every tenth word replaced from a stranger better than runs of
words do (docs/LOG.md).
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bat.data.texts import UNSPACED, normalise

# Share of the words' weight from which on two texts count as nearly the same: the highest that a
# text with every tenth word replaced still reaches (docs/LOG.md).
NEAR = 0.66
# A word that fewer texts than one in so many have weighs no more than that one: weights that go on
# growing with the corpus would let pairs drift below NEAR.
RARE = 100
# Two texts must share words as telling as so many that no third text has. Texts of few facts (make,
# colour, year) that differ in one of them are different things more often than repeats.
LEAST_SHARED = 3.0
# What lies between two blanks, without punctuation at its ends; Han and kana one by one.
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}](?:[^\s{UNSPACED}]*[^\W{UNSPACED}])?")
# Candidates agree in AGREE words drawn from the RAREST of each, in one of PASSES draws at least. Of
# two texts that have half of these words in common 99.4 % are found, of two that have 60 % all but
# two in 100,000.
RAREST = 24
AGREE = 4
PASSES = 80
# If more texts than this agree, each is compared with so many that follow it. Texts that all repeat
# each other are linked through their neighbours; a template costs no square.
NEIGHBOURS = 2
ROUNDING = 1e-9  # of sums of weights
PAIRS_A_BATCH = 100_000  # bounds memory, at some 2 kB a pair
# Of a word's texts, beyond which ``nearest`` leaves it out: it would cost most and tell least.
MOST_HOLDERS = 2_000
TEXTS_A_BATCH = 100  # bounds memory, at some 12 bytes a text and text of the corpus
TEXTS_A_STEP = 1000  # of the bar
STAGES = 2  # of the look for near repeats, each of which goes through all texts once

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Progress = Callable[[int], object]


class Links(NamedTuple):
    """Pairs of texts that nearly repeat each other: indices, the lower left; their likeness."""

    left: Ints
    right: Ints
    likeness: Floats


class _Texts(NamedTuple):
    """The distinct words of n texts, numbered from the rarest, rising within a text.

    Those of text i lie in ``word`` from ``start[i]`` to ``start[i + 1]``; ``owner`` names the text
    of each. ``holders`` and ``hashes`` have one entry a word: how many texts have it, and 64 bits
    that hang on its spelling alone.
    """

    word: Words
    owner: Words
    start: Ints
    holders: Ints
    hashes: Hashes

    def telling(self) -> Floats:
        """Tell of each word how much it tells: the logarithm of one over its share of texts."""
        shares = self.holders / len(self.start)
        return np.asarray(-np.log(shares), np.float64)


def links(texts: Sequence[str], progress: Progress) -> Links:
    """Find the pairs of texts that nearly repeat each other.

    Of many texts that all repeat each other, each is linked with some. The order of the texts
    changes nothing.

    Args:
        texts: n strings, all different.
        progress: called now and then with how many more texts one of ``STAGES`` has done.

    Returns:
        Links between indices of texts, each pair once.
    """
    order = np.array(sorted(range(len(texts)), key=texts.__getitem__), np.int64)
    words = _read([texts[i] for i in order], progress)
    first = _first_of_same_words(words)
    again = np.flatnonzero(first != np.arange(len(first)))
    found = [Links(first[again], again, np.ones(len(again)))]
    compare = _comparison(words)
    for number, (left, right) in enumerate(_candidates(words, np.unique(first))):
        for at in range(0, len(left), PAIRS_A_BATCH):
            found.append(compare(left[at : at + PAIRS_A_BATCH], right[at : at + PAIRS_A_BATCH]))
        progress(len(texts) * (number + 1) // PASSES - len(texts) * number // PASSES)
    left, right, likeness = map(np.concatenate, zip(*found, strict=True))
    low, high = np.sort([order[left], order[right]], axis=0)
    _, once = np.unique(low * len(texts) + high, return_index=True)
    return Links(low[once], high[once], likeness[once])


def nearest(texts: Sequence[str], chosen: Ints, groups: Ints, progress: Progress) -> Ints:
    """Find for each chosen text the nearest one of another group, by the cosine of TF-IDF.

    Args:
        texts: n strings.
        chosen: indices of m of them.
        groups: n numbers, equal for texts of one group.
        progress: called now and then; n for reading the texts and m for comparing them, in all.

    Returns:
        m indices; a text that shares no word with any other group gets one of these.
    """
    words = _read(texts, progress)
    weights = np.where(words.holders > MOST_HOLDERS, 0, words.telling()).astype(np.float32)[
        words.word
    ]
    length = np.sqrt(np.bincount(words.owner, weights=weights**2, minlength=len(texts)))
    weights /= np.maximum(length, ROUNDING)[words.owner]
    shape = (len(texts), len(words.holders))
    rows = sparse.csr_matrix((weights, words.word, words.start), shape)
    rows.eliminate_zeros()
    columns = rows.T.tocsr()
    found = []
    for at in range(0, len(chosen), TEXTS_A_BATCH):
        batch = chosen[at : at + TEXTS_A_BATCH]
        cosines = (rows[batch] @ columns).toarray()
        cosines[groups[batch][:, None] == groups] = -1
        found.append(cosines.argmax(axis=1))
        progress(len(batch))
    return np.concatenate(found)


def _read(texts: Sequence[str], progress: Progress) -> _Texts:
    """Number the words of all texts from the rarest; of equally rare ones the first comes first."""
    vocabulary: dict[str, int] = {}
    found, lengths = array("i"), np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        distinct = dict.fromkeys(WORD.findall(normalise(text)))
        lengths[i] = len(distinct)
        found.extend(vocabulary.setdefault(word, len(vocabulary)) for word in distinct)
        if (i + 1) % TEXTS_A_STEP == 0:
            progress(TEXTS_A_STEP)
    progress(len(texts) % TEXTS_A_STEP)
    words = np.array(found, np.int32)
    holders = np.bincount(words, minlength=len(vocabulary))
    by_rarity = np.argsort(holders, kind="stable")
    number = np.empty(len(holders), np.int64)
    number[by_rarity] = np.arange(len(holders))
    owner = np.repeat(np.arange(len(texts)), lengths)
    rising = np.sort(owner << 32 | number[words])
    hashes = np.array([zlib.crc32(word.encode()) for word in vocabulary], np.uint64)
    return _Texts(
        word=(rising & 0xFFFFFFFF).astype(np.int32),
        owner=owner.astype(np.int32),
        start=np.concatenate([[0], np.cumsum(lengths)]),
        holders=holders[by_rarity],
        hashes=_mixed(hashes[by_rarity]),
    )


def _mixed(values: Hashes) -> Hashes:
    """Spread the bits of numbers over 64 (the finisher of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _first_of_same_words(words: _Texts) -> Ints:
    """Name for each text the first that has the same words."""
    up_to = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words.hashes[words.word])])
    sums = up_to[words.start[1:]] - up_to[words.start[:-1]]  # both wrap round, as they may
    _, first, which = np.unique(sums, return_index=True, return_inverse=True)
    return np.asarray(first[which], np.int64)


def _comparison(words: _Texts) -> Callable[[Ints, Ints], Links]:
    """Return what keeps those of some pairs that are near."""
    telling = words.telling()
    # The root brings out how many words two texts share over which ones.
    weights = np.sqrt(np.minimum(telling, np.log(RARE)))
    shape = (len(words.start) - 1, len(words.holders))
    total = np.bincount(words.owner, weights=weights[words.word], minlength=shape[0])
    ones = np.ones(len(words.word), np.bool_)
    has = sparse.csr_matrix((ones, words.word, words.start), shape)
    least = LEAST_SHARED * np.log(len(words.start)) - ROUNDING

    def compare(left: Ints, right: Ints) -> Links:
        smaller, larger = np.sort([total[left], total[right]], axis=0)
        can_be = smaller >= NEAR * larger - ROUNDING
        left, right = left[can_be], right[can_be]
        both = has[left].multiply(has[right])
        shared = both @ weights
        likeness = shared / (total[left] + total[right] - shared)
        near = (likeness >= NEAR - ROUNDING) & (both @ telling >= least)
        return Links(left[near], right[near], likeness[near])

    return compare


def _rarest(words: _Texts) -> Words:
    """Give the rarest words of each text that others have too.

    Returns:
        Shape (n, ``RAREST``); where a text has fewer, the number of words stands for none.
    """
    entries = np.flatnonzero(words.holders[words.word] > 1)
    owner = words.owner[entries]
    place = np.arange(len(entries)) - np.searchsorted(owner, owner, "left")
    kept = place < RAREST
    table = np.full((len(words.start) - 1, RAREST), len(words.holders), np.int32)
    table[owner[kept], place[kept]] = words.word[entries[kept]]
    return table


def _candidates(words: _Texts, texts: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield, for each pass, pairs of texts that agree in words drawn from the rarest of each.

    A pass puts all words in an order of its own; texts agree that have the same ones in front.

    Source:
        MinHash: Broder 1997; in bands: Indyk and Motwani 1998.
    """
    rarest = _rarest(words)[texts]
    for number in range(1, PASSES + 1):
        order = np.argsort(_mixed(words.hashes * np.uint64(2 * number + 1)))
        place = np.empty(len(order) + 1, np.int32)
        place[order], place[-1] = np.arange(len(order)), len(order)
        front = np.sort(np.partition(place[rarest], AGREE - 1, axis=1)[:, :AGREE], axis=1)
        keys = np.zeros(len(texts), np.uint64)
        for column in front.T:
            keys = _mixed(keys + column.astype(np.uint64))
        by_key = np.argsort(keys, kind="stable")
        keys, by_key = keys[by_key], texts[by_key]
        agree = [np.flatnonzero(keys[step:] == keys[:-step]) for step in range(1, NEIGHBOURS + 1)]
        left = np.concatenate([by_key[same] for same in agree])
        yield left, np.concatenate([by_key[same + step] for step, same in enumerate(agree, 1)])
