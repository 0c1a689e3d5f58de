"""What in the texts gives the target away: numbers, dates and phrases that know it too well.

A number is read with its *anchors*: the words before it, the words after it, the sign of its
currency. A leak repeats its wording ("sold for 67k", "lot 1234", "listed on 12 Mar 2024"), so that
the numbers at one anchor follow the target from text to text, whatever their scale, currency or
rounding.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bat import cli, formatting
from bat.data import quantities
from bat.data.corpus import HIDDEN, Corpus, rows
from bat.data.findings import EXAMPLES, Finding, shown_rows
from bat.data.quantities import ANCHORS, REACH, Quantity
from bat.data.texts import UNSPACED, normalise

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SMALL_TARGET = 1000.0  # where no target reaches it, 4.125 is no 4,125

PRICE_TOLERANCE = 0.02  # a price said in words is rounded: 68k for 67,911
SHUFFLES = 20  # their mean is then known better than one standard error of the count itself
MIN_EXCESS_ERRORS = 4.0  # standard errors above chance: one false alarm in 30,000 corpora
MIN_EXCESS_SHARE = 0.005  # convention: fewer rows than this move no metric much

# Measured: planted leaks reach 0.99 and more. The largest of any anchor is 0.80 in 10,005 car
# auctions, 0.58 in 60,000 listings of rooms, 0.49 in 5,383 wine reviews, 0.71 in auctions:20000,
# and 0.83 in 360 draws of 1,000 to 4,000 of their rows.
MIN_RANK_CORRELATION = 0.9
MIN_TEXTS = 100  # of 45 texts, one seller's, 0.82 was seen
MIN_DISTINCT = 20  # numbers: the rows of a few sellers, each with a number of its own, prove little

# For phrases V8 is one word, and 1.8 another; an anchor parts letters from digits: LOT 0123.
WORD = re.compile(rf"[{UNSPACED}]|\d+(?:[.,]\d+)+|[^\W_{UNSPACED}]+")
N_PHRASES = 10
PHRASE_TEXTS = 10_000  # enough to see any effect worth a look, and bounds time and memory
MIN_PHRASE_TEXTS = 20
# Standard errors of a correlation with nothing: one false phrase in 20 corpora of 100,000 phrases.
MIN_PHRASE_ERRORS = 5.0
SAME_PHRASE = 0.5  # correlation of two phrases from which on the second tells little news


def find(corpus: Corpus) -> list[Finding]:
    """Look in the texts for the target itself, for what ranks like it, for what says most of it."""
    said = _read(corpus)
    return price_in_text(corpus, said) + ordered_as_target(corpus, said) + telling_phrases(corpus)


# Numbers and dates, with their anchors


class _Said(NamedTuple):
    """The m numbers and dates of all texts, in their order.

    ``anchors`` are hashes, 0 where there is none; the first of each is shared by all of one kind.
    """

    rows: Ints  # (m,)
    values: Floats  # (m,), a date as its day
    anchors: Ints  # (m, ANCHORS)


def _read(corpus: Corpus) -> _Said:
    """Read the numbers and dates of all texts."""
    small = _are_small(corpus)
    owners, values, anchors = array("q"), array("d"), array("q")
    with cli.bar("looking for leaks", len(corpus.texts), "text") as bar:
        for row, text in enumerate(corpus.texts):
            for number in quantities.read(text, small=small):
                owners.append(row)
                values.append(number.value)
                anchors.extend([hash(anchor) if anchor else 0 for anchor in number.anchors])
            bar.update(1)
    hashes = np.array(anchors, np.int64).reshape(-1, ANCHORS)
    return _Said(np.array(owners, np.int64), np.array(values, np.float64), hashes)


def _are_small(corpus: Corpus) -> bool:
    return bool(np.abs(corpus.prices).max() < SMALL_TARGET)


# The target itself


def price_in_text(corpus: Corpus, said: _Said) -> list[Finding]:
    """Warn when texts give away their own price, in figures, more often than chance would.

    Mileages and years come near prices too. So the same count is made with the prices shuffled
    over the rows; a warning needs 4 standard errors, and 0.5 % of the rows, above it.
    """
    plain = said.anchors[:, 0] == hash(("number",))
    owners, numbers = said.rows[plain], said.values[plain]
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
    examples = shown_rows(corpus, np.flatnonzero(hits))
    return [Finding("price in text", "warning", count, message, examples)]


def _near_price(owners: Ints, numbers: Floats, prices: Floats) -> npt.NDArray[np.bool_]:
    """Tell for each row whether one of its numbers comes near its price."""
    near = np.abs(numbers - prices[owners]) <= PRICE_TOLERANCE * np.abs(prices[owners])
    return np.bincount(owners[near], minlength=len(prices)) > 0


# What ranks like the target


class _Ordered(NamedTuple):
    """The numbers at one anchor that rank like the target: one for each of n texts."""

    anchor: int  # its hash
    which: str  # of several numbers of a text: first, last or largest; empty if there is one each
    correlation: float
    rows: Ints  # (n,)
    values: Floats  # (n,)


def ordered_as_target(corpus: Corpus, said: _Said) -> list[Finding]:
    """Warn of numbers, codes and dates that rank like the target, or against it, at one anchor.

    So does a price rounded, in another currency or in cents, a last bid, and the number or date of
    a list that was sorted by the target. An anchor of fewer than 100 texts, or with fewer than 20
    distinct numbers, is not judged. Above these no number that has nothing to do with the target
    reaches 0.9 by luck, however many anchors are tried: over 100 texts it is nine standard errors,
    and where repeats leave 20 different rows of them, one anchor in ten million.
    Where one leak is seen at several anchors, the one that explains most is told.
    """
    found = sorted(_ordered(corpus, said), key=lambda it: -(it.correlation**2) * len(it.rows))
    is_told = np.zeros(len(corpus.texts), np.bool_)
    findings = []
    for each in found:
        if is_told[each.rows].mean() < 0.5:  # convention: most of it is news
            is_told[each.rows] = True
            findings.append(_ordered_finding(corpus, each))
    return findings


def _ordered(corpus: Corpus, said: _Said) -> Iterator[_Ordered]:
    """Yield what ranks like the target, the narrowest anchors first; each text counts once."""
    is_first = np.zeros(len(corpus.texts), np.bool_)
    is_first[np.unique(corpus.text_ids, return_index=True)[1]] = True
    for slot in reversed(range(ANCHORS)):
        anchors = said.anchors[:, slot]
        usable = np.flatnonzero((anchors != 0) & is_first[said.rows])
        hashes, places, counts = np.unique(anchors[usable], return_inverse=True, return_counts=True)
        order = usable[np.argsort(places, kind="stable")]
        ends = np.cumsum(counts)
        starts = ends - counts
        often = np.flatnonzero(counts >= MIN_TEXTS)
        for place in often[np.argsort(order[starts[often]])]:  # hashes differ from run to run
            here = order[starts[place] : ends[place]]
            owners, values = said.rows[here], said.values[here]
            found = _follows(owners, values, corpus.prices)
            if found:
                yield _Ordered(int(hashes[place]), *found)


def _follows(
    owners: Ints, values: Floats, prices: Floats
) -> tuple[str, float, Ints, Floats] | None:
    """Tell which of the numbers of each text follows the target best, if one does."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if len(starts) < MIN_TEXTS:
        return None
    texts = owners[starts]
    readings = {"first": values[starts]}
    if len(starts) < len(owners):
        readings["last"] = values[np.append(starts[1:], len(owners)) - 1]
        readings["largest"] = np.maximum.reduceat(values, starts)
    correlations = {name: _rank_correlation(read, prices[texts]) for name, read in readings.items()}
    best = max(correlations, key=lambda name: abs(correlations[name]))
    if abs(correlations[best]) < MIN_RANK_CORRELATION:
        return None
    return best if len(readings) > 1 else "", correlations[best], texts, readings[best]


def _rank_correlation(numbers: Floats, targets: Floats) -> float:
    """Return Spearman's correlation over distinct pairs: rows that repeat others prove nothing.

    It is 0 where too few of the numbers differ, or no target does.
    """
    order = np.lexsort((targets, numbers))
    numbers, targets = numbers[order], targets[order]
    is_new = np.append(True, (numbers[1:] != numbers[:-1]) | (targets[1:] != targets[:-1]))
    numbers, targets = numbers[is_new], targets[is_new]
    if len(np.unique(numbers)) < MIN_DISTINCT or np.ptp(targets) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(numbers), _ranks(targets))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Rank from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def _ordered_finding(corpus: Corpus, each: _Ordered) -> Finding:
    found = [_found_again(corpus, each, place) for place in range(min(EXAMPLES, len(each.rows)))]
    kind, *where = found[0][1]
    noun = "date" if kind.startswith("date") else "number"
    which = f"{each.which} " if each.which else ""
    message = (
        f"the {which}{noun} {_where(where, shown=corpus.show_texts)} ranks the texts as the target "
        f"does: Spearman correlation {each.correlation:.3f} over {len(each.rows):,} texts. If it "
        "is known only once the target is, take it out of the texts: the encoder would read the "
        "answer"
    )
    examples = tuple(
        (int(corpus.lines[row]), _around(corpus, row, number.span))
        for row, (number, _) in zip(each.rows, found, strict=False)
    )
    return Finding(f"{noun} ranks as target", "warning", len(each.rows), message, examples)


def _found_again(corpus: Corpus, each: _Ordered, place: int) -> tuple[Quantity, tuple[str, ...]]:
    """Read a text once more for the number that stands at an anchor, and the anchor's words."""
    return next(
        (number, anchor)
        for number in quantities.read(corpus.texts[each.rows[place]], small=_are_small(corpus))
        for anchor in number.anchors
        if hash(anchor) == each.anchor and number.value == each.values[place]
    )


def _where(place: Sequence[str], *, shown: bool) -> str:
    """Say where a number stands, by the words beside it if they may be shown."""
    if not place:
        return "of a text, whatever stands beside it,"
    side, *words = place
    told = f'"{" ".join(words)}"' if shown else "the same words"
    return f"{side} {told}"


def _around(corpus: Corpus, row: int, span: tuple[int, int]) -> str:
    """Show a number with what stands around it, where that is allowed."""
    if not corpus.show_texts:
        return HIDDEN
    start, end = span
    return " ".join(corpus.texts[row][max(0, start - REACH) : end + REACH].split())


# What words and tiers say


def telling_phrases(corpus: Corpus) -> list[Finding]:
    """List the ten words and word pairs that say most about the target, for a person to judge.

    A phrase says as much as it explains of the variance of the target's ranks, over texts of the
    train part, by standing in a text or not. Ranks, so that a few high targets do not decide. Left
    out is what mostly stands together with a phrase listed before, or in its stead, and what
    chance may explain.
    """
    train = rows(corpus, "train")
    if len(train) > PHRASE_TEXTS:
        train = np.sort(np.random.default_rng(0).choice(train, PHRASE_TEXTS, replace=False))
    if len(train) < 2 * MIN_PHRASE_TEXTS:
        return []
    targets = corpus.prices[train]
    names, holds = _phrases([corpus.texts[row] for row in train])
    found = _most_telling(holds, _ranks(targets))
    if not found:
        return []
    if corpus.show_texts:
        effects = [_effect(names[phrase], has, targets) for phrase, has in found.items()]
        listed = ". Median target of the texts " + "; ".join(effects)
    else:
        listed = "; they are not listed (show_texts=false)"
    message = (
        f"phrases that say most about the target ({len(found)}), for a person to judge: one that "
        f"comes only when the target is known gives it away{listed}"
    )
    firsts = [int(train[has.argmax()]) for has in found.values()]
    return [Finding("telling phrases", "note", len(found), message, shown_rows(corpus, firsts))]


def _phrases(texts: Sequence[str]) -> tuple[list[str], Any]:
    """Find the words and pairs of words that stand in the texts often enough to be judged.

    Returns:
        p phrases, and which of the n texts hold them: sparse (n, p), 1 or 0.
    """
    vocabulary: dict[str, int] = {}
    ids, lengths = array("q"), []
    for text in texts:
        words = WORD.findall(normalise(text))
        ids.extend(vocabulary.setdefault(word, len(vocabulary)) for word in words)
        lengths.append(len(words))
    first, owners = np.array(ids, np.int64), np.repeat(np.arange(len(texts)), lengths)
    alone = len(vocabulary)  # stands for the second word where there is none
    is_pair = owners[1:] == owners[:-1]
    keys = np.concatenate([first, first[:-1][is_pair]]) * (alone + 1)
    keys += np.concatenate([np.full(len(first), alone), first[1:][is_pair]])
    owners = np.concatenate([owners, owners[1:][is_pair]])
    found, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    often = counts >= MIN_PHRASE_TEXTS
    kept = often[places]
    columns = (np.cumsum(often) - 1)[places[kept]]
    entries = (np.ones(len(columns)), (owners[kept], columns))
    holds = sparse.csc_matrix(entries, (len(texts), int(often.sum())))  # adds up repeats
    holds.data[:] = 1
    spelt = [*vocabulary, ""]
    pairs = (divmod(key, alone + 1) for key in found[often].tolist())
    return [f"{spelt[one]} {spelt[two]}".strip() for one, two in pairs], holds


def _most_telling(holds: Any, ranks: Floats) -> dict[int, npt.NDArray[np.bool_]]:
    """Choose the phrases most correlated with the ranks: their columns, and who holds them."""
    n = len(ranks)
    counts = np.asarray(holds.sum(axis=0)).ravel()
    usable = np.flatnonzero((counts >= MIN_PHRASE_TEXTS) & (n - counts >= MIN_PHRASE_TEXTS))
    sums = holds.T @ ((ranks - ranks.mean()) / ranks.std())
    correlations = np.abs(sums[usable]) / np.sqrt(counts[usable] * (n - counts[usable]))
    chosen: dict[int, npt.NDArray[np.bool_]] = {}
    for place in np.argsort(-correlations, kind="stable"):
        if len(chosen) == N_PHRASES or correlations[place] * np.sqrt(n) < MIN_PHRASE_ERRORS:
            break
        phrase = int(usable[place])
        has = holds[:, [phrase]].toarray().ravel() > 0
        likeness = [abs(np.corrcoef(has, other)[0, 1]) for other in chosen.values()]
        if max(likeness, default=0) < SAME_PHRASE:
            chosen[phrase] = has
    return chosen


def _effect(name: str, has: npt.NDArray[np.bool_], targets: Floats) -> str:
    held, other = (formatting.number("target", np.median(targets[of])) for of in (has, ~has))
    return f'with "{name}" ({has.sum():,}): {held}, others {other}'
