"""What could make a study's numbers untrue, looked for before it starts."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bat import cli
from bat.cli import InputError
from bat.data import corpus as corpora
from bat.data import groups, leaks, near_duplicates
from bat.data.corpus import Corpus
from bat.data.findings import EXAMPLES, shown_rows
from bat.data.findings import Finding as Finding  # for those who ask for the checks

MANY_NEAR_SHARE = 0.1  # convention: beyond it the corpus repeats itself, and a column knows better
MOST_SAMPLED = 2_000  # texts; a share of them is known to 1 %
SAME_TARGET = 0.05  # an item sold again fetches much the same (convention)
# Of the rows that chance leaves. Clean corpora reach 0.10; with a tenth of the rows told again,
# every fourth word replaced, it is 0.13 to 0.24, with a fifth 0.24 to 0.34 (docs/LOG.md).
MIN_RELISTED = 0.15
MOST_LISTED = 100  # groups of near repeats (convention)
ONE_PRICE_SHARE = 0.5  # convention: beyond it the median price is that one, and errors are zeros
LONG_SHARE = 0.1  # convention: beyond it much of the corpus is read only in part
UNKNOWN_SHARE = 0.05  # convention: beyond it the encoder reads a word in twenty as a blank
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"  # 50 languages


def run(corpus: Corpus) -> tuple[Corpus, list[Finding]]:
    """Look for all that needs no encoder."""
    findings = rejected_rows(corpus) + one_price(corpus) + leaks.find(corpus)
    return corpus, findings + near_repeats(corpus) + cut_groups(corpus) + relisted(corpus)


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
    examples = shown_rows(corpus, np.flatnonzero(corpus.prices == price))
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
    return [Finding("long texts", severity, len(cut), message, shown_rows(corpus, cut))]


def unknown_tokens(corpus: Corpus, unknown: npt.ArrayLike, share: float) -> list[Finding]:
    """Warn when the encoder's vocabulary does not know much of what the texts say.

    Args:
        unknown: how many tokens of each row are unknown.
        share: of the texts' tokens, in all.

    Raises:
        InputError: the encoder knows none of the tokens, and would embed lengths alone.
    """
    if share == 1:
        raise InputError(
            f"{corpus.name}, of whose texts the encoder's vocabulary knows no token",
            "an encoder of the language of the texts",
            f"choose a multilingual base_model, such as {MULTILINGUAL}",
        )
    if share < UNKNOWN_SHARE:
        return []
    counts = np.asarray(unknown)
    message = (
        f"{counts.sum():,} tokens of the texts ({share:.1%}) are unknown to the encoder's "
        "vocabulary, and it reads a blank in their place; a multilingual base_model, such as "
        f"{MULTILINGUAL}, may know them"
    )
    worst = np.argsort(-counts, kind="stable")
    return [
        Finding("unknown tokens", "warning", int(counts.sum()), message, shown_rows(corpus, worst))
    ]


def near_repeats(corpus: Corpus) -> list[Finding]:
    """Say how many rows nearly repeat others, which keeps them in one group."""
    sets = _near_sets(corpus)
    if not sets:
        return []
    count = sum(map(len, sets))
    share = count / len(corpus.texts)
    message = (
        f"{count:,} of {len(corpus.texts):,} rows ({share:.1%}) nearly repeat others, in "
        f"{len(sets):,} groups; each group lies in one part"
    )
    if is_many := share > MANY_NEAR_SHARE:
        message += "; with so many, name a group_column (seller, item) if there is one"
    examples = tuple(
        (
            int(corpus.lines[row]),
            f"like line {corpus.lines[like]}: {corpora.row_excerpt(corpus, row)}",
        )
        for like, row, *_ in sets[:EXAMPLES]
    )
    return [Finding("near repeats", "warning" if is_many else "note", count, message, examples)]


def near_repeat_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """List the largest groups of near repeats for people to look at, a few rows of each."""
    return [
        {
            "group": number,
            "rows": len(members),
            "line": int(corpus.lines[row]),
            "price": float(corpus.prices[row]),
            "text": corpora.row_excerpt(corpus, row),
        }
        for number, members in enumerate(_near_sets(corpus)[:MOST_LISTED], 1)
        for row in members[:EXAMPLES]
    ]


def cut_groups(corpus: Corpus) -> list[Finding]:
    """Warn of near repeats in groups of their own: one group would have held too many rows."""
    cut = np.flatnonzero(corpus.near_cut) if corpus.near_cut is not None else np.empty(0, np.int64)
    if not len(cut):
        return []
    message = (
        f"{len(cut):,} of {len(corpus.texts):,} rows nearly repeat a row of another group: one "
        f"group of all of them would hold over {groups.LARGEST:.0%} of the rows, and was cut where "
        "its texts are least alike. Scores may be too good where such rows lie in different parts; "
        "a group_column (seller, item) says what belongs together"
    )
    return [Finding("cut groups", "warning", len(cut), message, shown_rows(corpus, cut.tolist()))]


def relisted(corpus: Corpus) -> list[Finding]:
    """Warn when texts of different groups go together by their targets too often: one item, twice.

    Texts that say the same in other words are no near repeats, yet where one lies in ``train`` and
    the other in ``held_out``, scores are too good. The nearest other text has much the same target
    for some rows of any corpus; chance is the share with the targets shuffled.
    """
    _, firsts = np.unique(corpus.text_ids, return_index=True)
    draw = np.random.default_rng(0)
    chosen = np.sort(draw.permutation(len(firsts))[:MOST_SAMPLED])
    texts = [corpus.texts[row] for row in firsts]
    with cli.bar("comparing neighbours", len(texts) + len(chosen), "text") as bar:
        near = near_duplicates.nearest(texts, chosen, corpus.group_ids[firsts], bar.update)
    prices = corpus.prices[firsts]
    same = _is_same(prices[chosen], prices[near])
    shuffled = (draw.permutation(prices)[: len(chosen)] for _ in range(leaks.SHUFFLES))
    chance = float(np.mean([_is_same(prices[chosen], other).mean() for other in shuffled]))
    n, share = len(chosen), float(same.mean())
    error = np.sqrt(chance * (1 - chance) / n)
    of = "" if n == len(texts) else " sampled"
    message = (
        f"{share:.1%} of {n:,}{of} texts have a target within {SAME_TARGET:.0%} of that of the "
        f"nearest text of another group; by chance it would be {chance:.1%}"
    )
    excess = share - chance
    if excess < MIN_RELISTED * (1 - chance) or excess < leaks.MIN_EXCESS_ERRORS * error:
        return [Finding("relisted items", "note", int(same.sum()), message)]
    message += (
        ". One item may stand in several rows, told in other words, and scores may be too good: "
        "name a group_column (seller, item) that says what belongs together"
    )
    examples = tuple(
        (
            int(corpus.lines[firsts[one]]),
            f"near line {corpus.lines[firsts[other]]}: {corpora.row_excerpt(corpus, firsts[one])}",
        )
        for one, other in zip(chosen[same][:EXAMPLES], near[same][:EXAMPLES], strict=True)
    )
    return [Finding("relisted items", "warning", int(same.sum()), message, examples)]


def _is_same(
    prices: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    return np.abs(others - prices) <= SAME_TARGET * np.abs(prices)


def _near_sets(corpus: Corpus) -> list[npt.NDArray[np.int64]]:
    """Give the rows of each set of texts that nearly repeat each other, the largest set first."""
    if corpus.near_ids is None:
        return []
    _, firsts = np.unique(corpus.text_ids, return_index=True)
    texts = np.bincount(corpus.near_ids[firsts])
    rows = np.flatnonzero(texts[corpus.near_ids] > 1)
    rows = rows[np.argsort(corpus.near_ids[rows], kind="stable")]
    sets = np.split(rows, np.flatnonzero(np.diff(corpus.near_ids[rows])) + 1)
    return sorted((each for each in sets if len(each)), key=len, reverse=True)
