"""Read texts and prices, refuse what is unusable aloud, and give every row a part it never leaves.

Two texts are *the same text* when their normal forms agree (``texts.normalise``); this holds for
merging, for parts, for the order of tuning and for ``row_digests`` alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bat import cli, drafts, escape, home
from bat.cli import InputError
from bat.data import groups, near_duplicates, sources
from bat.data.fields import Time, check_fields, read_group, read_price, read_time
from bat.data.rows import Columns, Rejected, Row, check_name
from bat.data.sources import MIN_TEXTS
from bat.data.texts import EXCERPT, UnusableError, draw, text_key, usable_text

PARTS = {"train": 0.64, "held_out": 0.36}
PROTOCOL = 2  # of the parts: results of different protocols are of different rows
SALT = b"bat parts 2"  # fixed for good: another salt would be another split
MIN_PART_ROWS = 3  # of which an interval can be made, and a variance
# Folds of the search and of the ridge baseline; groups below which a bootstrap says nothing.
MIN_GROUPS = {"train": 5, "held_out": 10}
HIDDEN = "(not shown)"  # stands for a part of a row that its user wants in no artifact


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Texts with prices, one row for each text and price; every array has one entry a row.

    Attributes:
        name: what the data are called, without folders, on one line.
        texts: of several spellings of one text the first in code-point order stands for all.
        prices: float64, positive.
        counts: int64, how often the row stood in the source.
        lines: int64, line (or row) of the source where it stood first; the first is 1.
        text_ids: int64, equal for rows of the same text, from 0 without gaps.
        group_ids: int64, from 0, equal for rows that err together: of one text, of texts that
            nearly repeat each other, of one value of ``group_column``. A group lies in one part.
        parts: a name of ``PARTS``.
        parts_by: what the parts hang on: ``text``, ``group_column=...`` or ``time_column=...``,
            and the protocol.
        rejected: the rows that were not used, in order of the source.
        n_read: rows of the source, the rejected ones included.
        digest: sha256 of all rows with their parts, whatever their order.
        medians: float64, the noise-free price by the built-in corpus's law; else None.
        show_texts: whether parts of texts may be shown and logged.
        cut: the times between which the parts change, where a ``time_column`` makes them.
        times: float64, when the row stood there last, where there is a ``time_column``.
        near_ids: int64, equal for rows whose texts nearly repeat each other; or not looked for.
        near_cut: bool, whether the row has a near repeat in another group, since one group of all
            of them would hold too many rows; or not looked for.
    """

    name: str
    texts: list[str]
    prices: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    text_ids: npt.NDArray[np.int64]
    group_ids: npt.NDArray[np.int64]
    parts: npt.NDArray[np.str_]
    parts_by: str
    rejected: tuple[Rejected, ...]
    n_read: int
    digest: str
    medians: npt.NDArray[np.float64] | None
    show_texts: bool = True
    cut: Cut | None = None
    times: npt.NDArray[np.float64] | None = None
    near_ids: npt.NDArray[np.int64] | None = None
    near_cut: npt.NDArray[np.bool_] | None = None


class Cut(NamedTuple):
    """Where parts laid along time end and begin, as dates (UTC) or numbers."""

    train_ends: str
    held_out_begins: str


class _Document(NamedTuple):
    line: int
    text: str
    key: bytes
    price: float
    time: Time | None
    group: bytes  # the text's key where there is no group column


class TooManyRejectedError(InputError):
    """Too many rows of a source cannot be used: which, and why."""

    def __init__(self, sentences: tuple[str, str, str], rejected: Sequence[Rejected]) -> None:
        """Keep the rows for those who log them."""
        super().__init__(*sentences)
        self.rejected = tuple(rejected)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process raise it again."""
        return TooManyRejectedError, (self.sentences, self.rejected)


def load(
    data: str,
    *,
    text_column: str = "text",
    target_column: str = "price",
    group_column: str = "",
    time_column: str = "",
    limit: int = 0,
    max_rejected: float = cli.MAX_REJECTED,
    show_texts: bool = True,
) -> Corpus:
    """Read a corpus, with repeats merged, bad rows listed, and each row in a part of its own.

    Rows whose texts are the same or nearly repeat each other are one group, joined with rows of one
    value where ``group_column`` names one (see ``groups.join``). A group lies in one part, which
    rows added later change only where they join groups.
    Where ``time_column`` names one, ``train`` has the earliest rows and ``held_out`` the latest,
    and a group across the cut lies in ``held_out``; adding rows may then move others.

    Args:
        data: ``auctions:N``, ``hf:owner/name``, or a file; see ``sources.SUFFIXES``, also .gz.
        limit: keep this many rows, those with the smallest hashes of their texts; 0 keeps all.
            Groups and parts are made of the rows that are kept.
        max_rejected: share of the rows that may be unusable.
        show_texts: whether lists of rejected rows, and what checks find, may show parts of rows.

    Raises:
        TooManyRejectedError: more of them are; a file lists them.
        InputError: the source cannot be read, lacks a column, has fewer than 100 distinct texts,
            one price only, or a part with too few rows or groups.
    """
    columns = Columns(text_column, target_column, group_column, time_column)
    _check_settings(columns, limit)
    name, rows, medians = sources.read(data, columns)
    name = escape.printable(name)
    documents, rejected, n_read = _gather(rows, columns)
    if not show_texts:
        rejected = [row._replace(excerpt=HIDDEN) for row in rejected]
    _check_rejected(name, rejected, n_read, columns, max_rejected)
    merged = limited(_merged(name, documents, rejected, n_read), limit)
    corpus = _grouped(merged, documents, columns)
    if time_column:
        corpus = _parted_by_time(corpus, documents)
    check_enough(corpus)
    noiseless = None if medians is None else np.array(medians)[corpus.lines - 1]
    return dataclasses.replace(corpus, medians=noiseless, show_texts=show_texts)


def rows(corpus: Corpus, part: str) -> npt.NDArray[np.int64]:
    """Return the indices of one part's rows, ascending.

    Raises:
        ValueError: there is no such part.
    """
    if part not in PARTS:
        raise ValueError(f"got part {part!r}, expected one of {', '.join(PARTS)}")
    return np.flatnonzero(corpus.parts == part)


def row_excerpt(corpus: Corpus, row: int) -> str:
    """Show the beginning of a row's text, where that is allowed."""
    return corpus.texts[row][:EXCERPT] if corpus.show_texts else HIDDEN


def with_parts(corpus: Corpus, parts: npt.NDArray[np.str_]) -> Corpus:
    """Return the corpus with other parts and the digest that belongs to them."""
    digest = _fingerprint(corpus.texts, corpus.prices, corpus.counts, parts)
    return dataclasses.replace(corpus, parts=parts, digest=digest)


def row_digests(texts: Iterable[str]) -> list[str]:
    """Fingerprint each text, equal for the same text, so that an encoder can say what it saw.

    Returns:
        16 hexadecimal characters for each text.
    """
    return [text_key(text).hex()[:16] for text in texts]


def part_of(key: bytes) -> str:
    """Tell the part of a group by its key (``text_key``): nothing else has a say."""
    return "train" if draw(SALT, key) / 2**64 < PARTS["train"] else "held_out"


def _check_settings(columns: Columns, limit: int) -> None:
    check_name("text_column", columns.text)
    check_name("target_column", columns.target)
    if columns.text == columns.target:
        raise InputError(
            f"text_column and target_column both {columns.text!r}",
            "two columns",
            "name the column of the texts and that of the prices",
        )
    if limit != 0 and limit < MIN_TEXTS:
        raise InputError(
            f"limit={limit}",
            f"0 for all rows, or at least {MIN_TEXTS}",
            "raise the limit: each part needs some rows",
        )


# Rows: checked one by one, then merged


def _gather(
    rows: Iterator[Row | Rejected], columns: Columns
) -> tuple[list[_Document], list[Rejected], int]:
    """Check every row of a source: those to keep, those rejected, and how many there were."""
    documents: list[_Document] = []
    rejected: list[Rejected] = []
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        try:
            documents.append(_document(*row, columns))
        except UnusableError as problem:
            rejected.append(Rejected(row[0], *problem.args))
    return documents, rejected, len(documents) + len(rejected)


def _document(line: int, fields: dict[str, Any], columns: Columns) -> _Document:
    check_fields(fields, columns)
    text = usable_text(fields[columns.text])
    price = read_price(fields[columns.target])
    key = text_key(text)
    time = read_time(fields[columns.time]) if columns.time else None
    group = read_group(fields[columns.group]) if columns.group else key
    return _Document(line, text, key, price, time, group)


def _parted_by_time(corpus: Corpus, documents: Sequence[_Document]) -> Corpus:
    """Give the earliest rows to ``train``; a group with a later row goes to ``held_out``.

    Rows of one time lie on one side of the cut.
    """
    times = [document.time for document in documents if document.time]
    if len({time.is_date for time in times}) > 1:
        lines = [
            next(d.line for d in documents if d.time and d.time.is_date is kind)
            for kind in (True, False)
        ]
        raise InputError(
            f"{corpus.name} with a date as time on line {lines[0]} and a number on line {lines[1]}",
            "dates or numbers throughout",
            "write all times in one way, for instance as 2024-05-31",
        )
    ids = dict(zip(map(text_key, corpus.texts), corpus.group_ids.tolist(), strict=True))
    kept = [document for document in documents if document.key in ids and document.time]
    times = [document.time for document in kept if document.time]
    members = np.array([ids[document.key] for document in kept], np.int64)
    values = np.array([time.value for time in times])
    corpus = dataclasses.replace(corpus, times=_latest(corpus, kept, values))
    earlier = np.searchsorted(np.sort(values), values) / max(1, len(values))
    is_late = np.isin(members, members[earlier >= PARTS["train"]])
    if not is_late.any() or is_late.all():
        return with_parts(corpus, np.full(len(corpus.texts), "held_out"))
    parts = np.where(np.isin(corpus.group_ids, members[is_late]), "held_out", "train")
    train = max(time for time, late in zip(times, is_late, strict=True) if not late)
    held_out = min(
        time for time, late in zip(times, earlier >= PARTS["train"], strict=True) if late
    )
    cut = Cut(_shown_time(train), _shown_time(held_out))
    return dataclasses.replace(with_parts(corpus, parts), cut=cut)


def _latest(
    corpus: Corpus, documents: Sequence[_Document], times: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Find for each row the latest time of the documents (n,) that it was merged from."""
    keys = zip(map(text_key, corpus.texts), corpus.prices.tolist(), strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    latest = np.full(len(row_of), -np.inf)
    known = [(each.key, each.price) in row_of for each in documents]
    rows = [
        row_of[each.key, each.price]
        for each, is_known in zip(documents, known, strict=True)
        if is_known
    ]
    np.maximum.at(latest, rows, times[known])
    return latest


def _shown_time(time: Time) -> str:
    """Write a time as people do: a date, with the time of day where it has one; or a number."""
    if not time.is_date:
        return f"{time.value:.15g}"
    moment = str(np.datetime64(math.floor(time.value), "s"))  # knows years before 1 and after 9999
    return moment.replace("T", " ").removesuffix(" 00:00:00")


def _merged(name: str, documents: list[_Document], rejected: list[Rejected], n_read: int) -> Corpus:
    """Make one row of all documents with the same text and price; groups and parts come later."""
    ids: dict[bytes, int] = {}
    spellings: list[str] = []
    counts: dict[tuple[int, float], int] = {}
    lines: list[int] = []
    for document in documents:
        text_id = ids.setdefault(document.key, len(ids))
        if text_id == len(spellings):
            spellings.append(document.text)
        spellings[text_id] = min(spellings[text_id], document.text)
        row = (text_id, document.price)
        if row not in counts:
            counts[row] = 0
            lines.append(document.line)
        counts[row] += 1
    text_ids = np.array([text_id for text_id, _ in counts], np.int64)
    return Corpus(
        name=name,
        texts=[spellings[text_id] for text_id in text_ids],
        prices=np.array([price for _, price in counts], np.float64),
        counts=np.array(list(counts.values()), np.int64),
        lines=np.array(lines, np.int64),
        text_ids=text_ids,
        group_ids=text_ids,
        parts=np.full(len(text_ids), "train"),
        parts_by="",
        rejected=tuple(rejected),
        n_read=n_read,
        digest="",
        medians=None,
    )


def _grouped(corpus: Corpus, documents: Sequence[_Document], columns: Columns) -> Corpus:
    """Find the groups of a corpus, and give each its part."""
    _, firsts = np.unique(corpus.text_ids, return_index=True)
    texts = [corpus.texts[row] for row in firsts]
    keys = [text_key(text) for text in texts]
    with cli.bar("looking for repeats", near_duplicates.STAGES * len(texts), "text") as bar:
        links = near_duplicates.links(texts, bar.update)
    ids = {key: text_id for text_id, key in enumerate(keys)}
    values = [(ids[each.key], each.group) for each in documents if each.key in ids]
    found = groups.join(np.bincount(corpus.text_ids), values, links, keys)
    parts = np.array([part_of(key) for key in found.keys], np.str_)
    by = [f"group_column={columns.group}"] * bool(columns.group)
    by += [f"time_column={columns.time}"] * bool(columns.time)
    return dataclasses.replace(
        with_parts(corpus, parts[found.of][corpus.text_ids]),
        group_ids=found.of[corpus.text_ids],
        parts_by=escape.printable(", ".join([*(by or ["text"]), f"protocol {PROTOCOL}"])),
        near_ids=found.near[corpus.text_ids],
        near_cut=found.cut[corpus.text_ids],
    )


def limited(corpus: Corpus, limit: int) -> Corpus:
    """Keep the rows whose texts have the smallest hashes, in the order of the source; 0: all."""
    if limit == 0 or limit >= len(corpus.texts):
        return corpus
    draws = [draw(b"limit", text_key(text)) for text in corpus.texts]
    order = sorted(range(len(draws)), key=lambda i: (draws[i], corpus.prices[i]))
    kept = np.sort(order[:limit])
    _, text_ids = np.unique(corpus.text_ids[kept], return_inverse=True)
    parts = corpus.parts[kept]
    return with_parts(
        dataclasses.replace(
            corpus,
            texts=[corpus.texts[i] for i in kept],
            prices=corpus.prices[kept],
            counts=corpus.counts[kept],
            lines=corpus.lines[kept],
            text_ids=text_ids,
            group_ids=corpus.group_ids[kept],
            medians=None if corpus.medians is None else corpus.medians[kept],
            times=None if corpus.times is None else corpus.times[kept],
            near_ids=None if corpus.near_ids is None else corpus.near_ids[kept],
            near_cut=None if corpus.near_cut is None else corpus.near_cut[kept],
        ),
        parts,
    )


def _fingerprint(
    texts: Sequence[str],
    prices: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    parts: npt.NDArray[np.str_],
) -> str:
    """Digest the rows as a set: each row first, then all of them sorted."""
    digests = [
        hashlib.sha256(f"{part} {count} {price!r} {text}".encode()).digest()
        for text, price, count, part in zip(
            texts, prices.tolist(), counts.tolist(), parts.tolist(), strict=True
        )
    ]
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def reasons(rejected: Sequence[Rejected]) -> str:
    """Count the rejected rows by their reasons, the most frequent first."""
    counted = Counter(row.reason for row in rejected).most_common()
    return "; ".join(f"{count:,} × {reason}" for reason, count in counted)


def rejected_rows(rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """List rejected rows as the records of ``rejected.jsonl``."""
    return [row._asdict() for row in rejected]


def _check_rejected(
    name: str, rejected: Sequence[Rejected], n_read: int, columns: Columns, max_rejected: float
) -> None:
    if not n_read:
        raise InputError(f"{name}, which holds no rows", "texts with prices", "fill the file")
    if len(rejected) <= max_rejected * n_read:
        return
    shown = [f"\n    line {row.line}: {row.reason}: {row.excerpt}" for row in rejected[:3]]
    settings = ", ".join(f"{setting}=..." for setting in columns.named().values())
    sentences = (
        f"{name} with {len(rejected):,} of {n_read:,} rows unusable: "
        + reasons(rejected)
        + "".join(shown)
        + f"\n    all of them: {_write_rejected(name, rejected)}",
        f"at most {max_rejected:.3g} of the rows unusable (max_rejected)",
        f"repair the lines, name the right columns with {settings}, or raise max_rejected",
    )
    raise TooManyRejectedError(sentences, rejected)


def _write_rejected(name: str, rejected: Sequence[Rejected]) -> str:
    """List the rejected rows of a source in a file that its next refusal replaces; say where."""
    stem = re.sub(r"[^\w.-]+", "_", name)[-100:]  # shorter than any limit on names
    path = home.folder() / "rejected" / f"{stem}.rejected.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rejected_rows(rejected)]
    try:
        drafts.write(path, "".join(lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        return f"could not be written to {path} ({error.strerror})"
    return str(path.resolve())


def check_enough(corpus: Corpus) -> None:
    """Refuse a corpus on which no study can stand: too few texts, rows, groups, or prices.

    Raises:
        InputError: something is too few, in all or in one part.
    """
    n_texts = len(set(corpus.text_ids.tolist()))
    if n_texts < MIN_TEXTS:
        raise InputError(
            f"{corpus.name} with {n_texts} distinct texts",
            f"at least {MIN_TEXTS}, so that each part has some",
            "give more data",
        )
    if corpus.prices.min() == corpus.prices.max():
        raise InputError(
            f"{corpus.name} with the one price {corpus.prices[0]:g} in all rows",
            "prices that differ",
            "name the column of the prices with target_column=...",
        )
    for part in PARTS:
        count = int(np.count_nonzero(corpus.parts == part))
        if count < MIN_PART_ROWS:
            raise InputError(
                f"{corpus.name} with {count} rows in the {part} part",
                f"at least {MIN_PART_ROWS} rows in each part",
                "give more data, or a group_column (time_column) with more and smaller groups",
            )
    for part, least in MIN_GROUPS.items():
        members = rows(corpus, part)
        if (count := len(np.unique(corpus.group_ids[members]))) < least:
            raise InputError(
                f"{corpus.name} with {count} groups of rows in the {part} part",
                f"at least {least}: folds and intervals are made of whole groups",
                "give more data, or a group_column with more and smaller groups",
            )
        if np.ptp(corpus.prices[members]) == 0:
            raise InputError(
                f"{corpus.name} with one price, {corpus.prices[members[0]]:g}, in the {part} part",
                "prices that differ, in the train part and in the held_out part",
                "give more data, or name the column of the prices with target_column=...",
            )
