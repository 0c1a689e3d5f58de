"""Which texts belong together: one group lies in one part, one fold, one bootstrap draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from bat.data.near_duplicates import Floats, Ints, Links

LARGEST = 0.02  # convention: a group with more of the rows would decide a score by itself
FEW = 10  # convention: rows that may be one group however few there are in all


class Groups(NamedTuple):
    """The groups of n texts.

    ``of`` has the group of each text, from 0; ``keys`` has one entry a group, which hangs on its
    members alone. ``near`` is equal for texts linked as near repeats, whatever else joins them;
    ``cut`` tells whose links to a near repeat were cut, since a group would have grown too large.
    """

    of: Ints
    keys: list[bytes]
    near: Ints
    cut: npt.NDArray[np.bool_]


def join(
    sizes: Ints, values: Sequence[tuple[int, bytes]], links: Links, text_keys: Sequence[bytes]
) -> Groups:
    """Join texts that share a value or nearly repeat each other, as far as groups stay small.

    The links that would make a group too large are left out, the least alike first; two values that
    a link joins stay joined. What values alone join is never cut.

    Args:
        sizes: rows of each of n texts.
        values: pairs of a text and a value of its (the key of a seller, or of the text itself).
        links: between texts that nearly repeat each other.
        text_keys: n keys, by which links that are equally alike are put in order.
    """
    uncut, value_keys = _by_value(len(sizes), values)
    base = np.bincount(uncut, weights=sizes, minlength=len(value_keys)).astype(np.float64)
    most = max(LARGEST * sizes.sum(), FEW, 2 * base.max(initial=0))
    kept = _kept(links, uncut, base, most, text_keys)
    n = len(value_keys)
    joined = _components(n, uncut[links.left[kept]], uncut[links.right[kept]])
    keys = [b""] * (joined.max(initial=-1) + 1)
    for group, key in zip(joined.tolist(), value_keys, strict=True):
        keys[group] = min(keys[group] or key, key)
    cut = np.zeros(len(sizes), np.bool_)
    cut[links.left[~kept]] = cut[links.right[~kept]] = True
    near = _components(len(sizes), links.left[kept], links.right[kept])
    return Groups(joined[uncut], keys, near, cut)


def _components(n: int, left: Ints, right: Ints) -> Ints:
    """Number what is connected, from 0 in the order of the first member."""
    matrix = sparse.coo_matrix((np.ones(len(left), np.bool_), (left, right)), (n, n))
    labels = csgraph.connected_components(matrix, directed=False)[1]
    return np.asarray(labels, np.int64)


def _by_value(n: int, values: Sequence[tuple[int, bytes]]) -> tuple[Ints, list[bytes]]:
    """Join texts of one value, and values of one text; the key of each set is its least value."""
    numbers: dict[bytes, int] = {}
    pairs = [(text, numbers.setdefault(value, len(numbers))) for text, value in values]
    texts, at = np.array(pairs, np.int64).reshape(-1, 2).T
    labels = _components(n + len(numbers), texts, n + at)
    keys = [b""] * (labels.max(initial=-1) + 1)
    for value, label in zip(numbers, labels[n:].tolist(), strict=True):
        keys[label] = min(keys[label] or value, value)
    return labels[:n], keys


def _kept(
    links: Links, uncut: Ints, base: Floats, most: float, keys: Sequence[bytes]
) -> npt.NDArray[np.bool_]:
    """Tell which links stay: all but the weakest of those whose group would pass ``most`` rows."""
    left, right = uncut[links.left], uncut[links.right]
    whole = _components(len(base), left, right)
    too_large = np.bincount(whole, weights=base) > most
    kept = np.ones(len(left), np.bool_)
    doubtful = np.flatnonzero(too_large[whole[left]])
    if not len(doubtful):
        return kept
    parent, rows = list(range(len(base))), base.tolist()

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = member = parent[parent[member]]
        return member

    ranks = np.empty(len(keys), np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    ends = np.sort([ranks[links.left[doubtful]], ranks[links.right[doubtful]]], axis=0)
    order = np.lexsort((ends[1], ends[0], -np.round(links.likeness[doubtful], 9)))
    for link in doubtful[order].tolist():
        one, other = root(int(left[link])), root(int(right[link]))
        if one != other and rows[one] + rows[other] > most:
            kept[link] = False
        elif one != other:
            parent[other] = one
            rows[one] += rows[other]
    return kept
