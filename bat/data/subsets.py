"""Which texts are tuned on: subset sizes as a user gives them, and one order for nested subsets."""

from __future__ import annotations

import numpy as np

from bat import cli
from bat.cli import MIN_DOCUMENTS, InputError
from bat.data.corpus import Corpus, rows
from bat.data.texts import draw, text_key

# What a study tunes on by default: each size twice the one before, up to all (convention).
DEFAULT_SHARES = (0.25, 0.5, 1.0)
APART = 1.25  # sizes less far apart, as a factor, tell two points of a curve but one thing


def tuning_texts(corpus: Corpus, *, seed: int, finetune_on: str = "train") -> list[int]:
    """Order the texts to tune on, so that every subset is a prefix of the next larger one.

    The order hangs on seed and text alone: neither the order of the source nor other rows move it.

    Args:
        finetune_on: ``train``, or ``all`` for every text of the corpus, held-out ones included.

    Returns:
        One row index for each distinct text.

    Raises:
        InputError: ``finetune_on`` is neither.
    """
    if finetune_on not in ("train", "all"):
        raise InputError(
            f"finetune_on={finetune_on!r}",
            "train or all",
            "give train, or all to tune on the held-out texts too",
        )
    chosen = rows(corpus, "train") if finetune_on == "train" else np.arange(len(corpus.texts))
    _, firsts = np.unique(corpus.text_ids[chosen], return_index=True)
    purpose = b"tuning order %d" % seed
    draws = {int(i): draw(purpose, text_key(corpus.texts[i])) for i in chosen[firsts]}
    return sorted(draws, key=draws.__getitem__)


def parse_sizes(sizes: str, available: int, parameter: str = "sizes") -> tuple[int, ...]:
    """Read the subset sizes of a study, ascending, each once.

    Args:
        sizes: as for ``cli.sizes``.
        available: documents that may be tuned on.
        parameter: what the user calls them.

    Raises:
        InputError: one of them is no size; the message says which and why.
    """
    read = cli.sizes(parameter, sizes)
    return tuple(sorted({subset_size(size, available, f"{parameter}={sizes}") for size in read}))


def subset_size(size: float, available: int, given: str) -> int:
    """Turn a size that a user gave into a number of documents.

    Args:
        size: 0 for the factory encoder, up to 1 a share of ``available``, above 1 a count.
        available: documents that may be tuned on.
        given: the setting it stands in, for the message.

    Raises:
        InputError: under 256 documents, or more than there are.
    """
    if size == 0:
        return 0
    documents = round(size * available) if size <= 1 else int(size)
    if documents > available:
        raise InputError(
            f"a subset size of {documents:,} documents in {given}",
            f"at most the {available:,} distinct texts that may be tuned on",
            "lower the size, or write 1.0 for all of them",
        )
    if documents < MIN_DOCUMENTS:
        larger = f"write {MIN_DOCUMENTS} or more in its place, or " * (available >= MIN_DOCUMENTS)
        raise InputError(
            f"a subset size of {size:g} in {given}, which is {documents:,} of {available:,} "
            "documents",
            f"0, or at least {MIN_DOCUMENTS} documents",
            f"{larger}give more data",
        )
    return documents


def fitting_sizes(available: int, least: int) -> tuple[int, ...]:
    """Choose the sizes of a study whose user names none: the factory encoder, then what fits.

    Args:
        available: documents that may be tuned on.
        least: documents that the smallest tuning takes.

    Returns:
        0 and the sizes of ``DEFAULT_SHARES``, where those below ``least`` give way to ``least``,
        and of sizes less than ``APART`` apart the larger stays; 0 alone where nothing fits.
    """
    if available < least:
        return (0,)
    wanted = sorted({max(least, round(share * available)) for share in DEFAULT_SHARES})
    kept = [wanted.pop()]
    for size in reversed(wanted):
        if size * APART <= kept[0]:
            kept.insert(0, size)
    return (0, *kept)
