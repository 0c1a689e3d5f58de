"""Read texts and prices, refuse what is unusable aloud, and give every row a part it never leaves.

Two texts are *the same text* when their normal forms agree (``normalise``); this holds for merging,
for parts, for the order of tuning and for ``row_digests`` alike.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import datetime
import gzip
import hashlib
import itertools
import json
import math
import re
import shutil
import tempfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bat import auctions
from bat.cli import InputError

PARTS = {"train": 0.64, "validation": 0.08, "calibration": 0.08, "test": 0.20}
ASIDE = "aside"  # rows that would leak another part's text; used by nothing
STRICTEST_FIRST = ("test", "calibration", "validation", "train")
SALT = b"bat parts 1"  # fixed for good: another salt would be another split
MAX_REJECTED_SHARE = 0.05  # convention: above it the file is misread rather than dirty
MAX_PRICE = 1e15  # convention: no price is this high, and squares of it still add up in float64
MIN_TEXTS = 100  # eight texts expected in each of the two smallest parts
PARQUET_ROWS = 2_000  # read at once
MIN_PART_ROWS = 3  # of which an interval can be made, and a variance
# Folds of the search and of the ridge baseline; groups below which a bootstrap says nothing.
MIN_GROUPS = {"train": 4, "test": 10}
MIN_DOCUMENTS = 256  # the smallest subset: the documents on which a missing head is warmed up
EXCERPT = 80  # characters of a bad row that a message shows
MAX_FIELD = 100_000_000  # characters of one CSV field; more is an open quote
# A record whose first line and so large a share of so many inner lines look like rows is no text.
MANY_LINES, ROWS_SHARE = 2, 0.9
LINE = re.compile(r"[^\r]*\r\n?|[^\r]+")
SUFFIXES = (".jsonl", ".csv", ".parquet")
# A class of characters: Han and kana, written without spaces, where each counts as a word.
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff"
PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

Row = tuple[int, dict[str, Any]]  # line, fields


class Rejected(NamedTuple):
    """A row that was not used: where it stands, why, and its beginning."""

    line: int
    reason: str
    excerpt: str


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Texts with prices, one row for each text and price; every array has one entry a row.

    Attributes:
        name: what the data are called, without folders.
        texts: of several spellings of one text the first in code-point order stands for all.
        prices: float64, positive.
        counts: int64, how often the row stood in the source.
        lines: int64, line (or row) of the source where it stood first; the first is 1.
        text_ids: int64, equal for rows of the same text, from 0 without gaps.
        group_ids: int64, equal for rows that err together: of one value of ``group_column``, or,
            where none is named, of one text.
        parts: a name of ``PARTS``, or ``ASIDE``.
        parts_by: what the parts hang on: ``text``, ``group_column=...`` or ``time_column=...``.
        rejected: the rows that were not used, in order of the source.
        n_read: rows of the source, the rejected ones included.
        digest: sha256 of all rows with their parts, whatever their order.
        medians: float64, the noise-free price by the built-in corpus's law; else None.
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


class _Columns(NamedTuple):
    text: str
    price: str
    group: str = ""
    time: str = ""

    def named(self) -> dict[str, str]:
        """Return the columns in use, each with the setting that names it."""
        return {
            column: f"{field}_column"
            for field, column in zip(self._fields, self, strict=True)
            if column
        }


class _Time(NamedTuple):
    is_date: bool
    value: float  # seconds since 1970 of a date, else the number itself


class _Document(NamedTuple):
    line: int
    text: str
    key: bytes
    price: float
    part: str  # empty until all times are known, where a time column makes the parts
    time: _Time | None
    group: bytes  # the text's key where there is no group column


class _UnusableError(Exception):
    """Why one row cannot be used: a reason to count by, and what stood there."""


def load(
    data: str,
    *,
    text_column: str = "text",
    price_column: str = "price",
    group_column: str = "",
    time_column: str = "",
    limit: int = 0,
) -> Corpus:
    """Read a corpus, with repeats merged, bad rows listed, and each row in a part of its own.

    Rows of one text share a part, and so do rows of one group where ``group_column`` names one.
    Where ``time_column`` names one, the parts follow each other in time, ``train`` first and
    ``test`` last, and rows of one time share a part; adding rows may then move others.
    A text that stands in several parts by its groups or times stays in the strictest of them
    (``test`` before ``calibration``, ``validation``, ``train``); its rows elsewhere are set aside.

    Args:
        data: ``auctions:N``; a .jsonl, .csv or .parquet file, also with .gz; or ``hf:owner/name``.
        limit: keep this many rows, those with the smallest hashes of their texts; 0 keeps all.

    Raises:
        InputError: the source cannot be read, lacks a column, has over 5 % of unusable rows, fewer
            than 100 distinct texts, one price only, or a part with too few rows or groups.
    """
    columns = _Columns(text_column, price_column, group_column, time_column)
    _check_settings(columns, limit)
    name, source, medians = _source(data, columns)
    documents, rejected, n_read = _gather(name, source, columns)
    _check_rejected(name, rejected, n_read, columns)
    if time_column:
        documents = _parted_by_time(name, documents)
    by = f"group_column={group_column}" if group_column else "text"
    by = f"time_column={time_column}" if time_column else by
    corpus = _limited(_merged(name, documents, rejected, n_read, by), limit)
    _check_enough(corpus)
    if medians is None:
        return corpus
    return dataclasses.replace(corpus, medians=medians[corpus.lines - 1])


class Line(NamedTuple):
    """One row of a source as it stands there."""

    number: int
    fields: dict[str, Any]  # all columns; none where the row itself cannot be read
    text: str
    reason: str  # why the text cannot be used; empty where it can


def stream(data: str, *, text_column: str = "text") -> Iterator[Line]:
    """Read the rows of a source one by one, all columns kept, nothing merged or left out.

    Args:
        data: as for ``load``.
        text_column: of the texts; there need be no prices.

    Raises:
        InputError: the source cannot be read, or a file of columns lacks that of the texts.
    """
    _check_name("text_column", text_column)
    columns = _Columns(text_column, "")
    name, source, _ = _source(data, columns, everything=True)
    for row in _whole(name, source):
        if isinstance(row, Rejected):
            yield Line(row.line, {}, "", f"line {row.line}: {row.reason}: {row.excerpt}")
            continue
        number, fields = row
        try:
            _check_fields(fields, columns)
            yield Line(number, fields, _text(fields[text_column]), "")
        except _UnusableError as problem:
            yield Line(number, fields, "", f"line {number}: {': '.join(problem.args)}")


def rows(corpus: Corpus, part: str) -> npt.NDArray[np.int64]:
    """Return the indices of one part's rows, ascending.

    Raises:
        ValueError: there is no such part.
    """
    if part not in (*PARTS, ASIDE):
        raise ValueError(f"got part {part!r}, expected one of {', '.join((*PARTS, ASIDE))}")
    return np.flatnonzero(corpus.parts == part)


def with_parts(corpus: Corpus, parts: npt.NDArray[np.str_]) -> Corpus:
    """Return the corpus with other parts and the digest that belongs to them."""
    digest = _fingerprint(corpus.texts, corpus.prices, corpus.counts, parts)
    return dataclasses.replace(corpus, parts=parts, digest=digest)


def tuning_texts(corpus: Corpus, *, seed: int, finetune_on: str = "train") -> list[int]:
    """Order the texts to tune on, so that every subset is a prefix of the next larger one.

    The order hangs on seed and text alone: neither the order of the source nor other rows move it.

    Args:
        finetune_on: ``train``, or ``all`` for every text of the corpus, test included.

    Returns:
        One row index for each distinct text.

    Raises:
        InputError: ``finetune_on`` is neither.
    """
    if finetune_on not in ("train", "all"):
        raise InputError(
            f"finetune_on={finetune_on!r}",
            "train or all",
            "give train, or all to tune on the texts of the test part too",
        )
    chosen = rows(corpus, "train") if finetune_on == "train" else np.arange(len(corpus.texts))
    _, firsts = np.unique(corpus.text_ids[chosen], return_index=True)
    purpose = b"tuning order %d" % seed
    draws = {int(i): _draw(purpose, text_key(corpus.texts[i])) for i in chosen[firsts]}
    return sorted(draws, key=draws.__getitem__)


def parse_sizes(sizes: str, available: int, parameter: str = "sizes") -> tuple[int, ...]:
    """Read the subset sizes of a study, ascending, each once.

    Args:
        sizes: numbers with commas between, each as in ``subset_size``.
        available: documents that may be tuned on.
        parameter: what the user calls them.

    Raises:
        InputError: one of them is no size; the message says which and why.
    """
    found = set()
    for word in sizes.split(","):
        try:
            size = float(word)
        except ValueError:
            raise InputError(
                f"{word.strip()!r} in {parameter}={sizes!r}",
                "numbers: shares up to 1, or counts",
                f"write for instance {parameter}=0.5, or 1.0 for all",
            ) from None
        found.add(subset_size(size, available, f"{parameter}={sizes}"))
    return tuple(sorted(found))


def subset_size(size: float, available: int, given: str) -> int:
    """Turn a size that a user gave into a number of documents.

    Args:
        size: 0 for the factory encoder, up to 1 a share of ``available``, above 1 a count.
        available: documents that may be tuned on.
        given: the setting it stands in, for the message.

    Raises:
        InputError: negative, not whole, under 256 documents, or more than there are.
    """
    if size == 0:
        return 0
    is_share = 0 < size <= 1
    if not is_share and not (1 < size < math.inf and size == math.floor(size)):
        raise InputError(
            f"a subset size of {size:g} in {given}",
            "0, a share up to 1, or a whole number of documents",
            "give shares as 0.25 and counts as 5000",
        )
    documents = round(size * available) if is_share else int(size)
    if documents < MIN_DOCUMENTS:
        raise InputError(
            f"a subset size of {size:g} in {given}, which is {documents:,} of {available:,} "
            "documents",
            f"0, or at least {MIN_DOCUMENTS} documents",
            f"write {MIN_DOCUMENTS} or more in its place, or give more data",
        )
    if documents > available:
        raise InputError(
            f"a subset size of {documents:,} documents in {given}",
            f"at most the {available:,} distinct texts that may be tuned on",
            "lower the size, or write 1.0 for all of them",
        )
    return documents


def row_digests(texts: Iterable[str]) -> list[str]:
    """Fingerprint each text, equal for the same text, so that an encoder can say what it saw.

    Returns:
        16 hexadecimal characters for each text.
    """
    return [text_key(text).hex()[:16] for text in texts]


def normalise(text: str) -> str:
    """Return the form in which two spellings of the same text agree: NFKC, casefold, one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> bytes:
    """Identify a text by 16 bytes that are equal exactly for the same text."""
    return hashlib.sha256(normalise(text).encode(errors="surrogatepass")).digest()[:16]


def part_of(value: str) -> str:
    """Tell the part of a text, or of a group's value; nothing else has a say in it."""
    return _part(text_key(value))


def _part(key: bytes) -> str:
    """Cut the unit interval at the cumulative shares and see where the key falls."""
    share = _draw(SALT, key) / 2**64
    for part, end in zip(PARTS, itertools.accumulate(PARTS.values()), strict=True):
        if share < end:
            return part
    return part  # the shares add up to a hair less than 1 in floating point


def _draw(purpose: bytes, key: bytes) -> int:
    """Draw 64 bits that are a function of purpose and key; purposes are independent."""
    return int.from_bytes(hashlib.sha256(purpose + b"\0" + key).digest()[:8], "big")


def _check_name(setting: str, column: str) -> None:
    if not column:
        raise InputError(f"{setting}={column!r}", "the name of a column", f"give {setting} one")


def _check_settings(columns: _Columns, limit: int) -> None:
    _check_name("text_column", columns.text)
    _check_name("price_column", columns.price)
    if columns.text == columns.price:
        raise InputError(
            f"text_column and price_column both {columns.text!r}",
            "two columns",
            "name the column of the texts and that of the prices",
        )
    if columns.group and columns.time:
        raise InputError(
            f"group_column={columns.group!r} and time_column={columns.time!r}",
            "at most one of them: each decides the parts by itself",
            "leave one out",
        )
    if limit != 0 and limit < MIN_TEXTS:
        raise InputError(
            f"limit={limit}",
            f"0 for all rows, or at least {MIN_TEXTS}",
            "raise the limit: each part needs some rows",
        )


# Sources: each yields (line, fields) or a Rejected, one for every row


def _source(
    data: str, columns: _Columns, *, everything: bool = False
) -> tuple[str, Iterator[Row | Rejected], npt.NDArray[np.float64] | None]:
    """Choose the reader of a source; also its name in reports, and the medians where it has any.

    Where columns are stored apart, only the named ones are read, unless ``everything`` is asked.
    """
    if data.startswith("auctions:"):
        count = _auction_count(data)
        if everything:
            made = ({"text": d.text, "price": d.price} for d in auctions.documents(count))
            return data, enumerate(made, 1), None
        documents = list(auctions.documents(count))
        fields = ({"text": document.text, "price": document.price} for document in documents)
        return data, enumerate(fields, 1), np.array([document.median for document in documents])
    if data.startswith("hf:"):
        return data, _hub_rows(data, columns, everything=everything), None
    path = _path(data)
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return path.name, _json_rows(path), None
    if path.name.removesuffix(".gz").endswith(".csv"):
        return path.name, _csv_rows(path, columns, everything=everything), None
    return path.name, _parquet_rows(path, columns, everything=everything), None


def _auction_count(data: str) -> int:
    count = data.partition(":")[2]
    if not (count.isascii() and count.isdigit() and int(count) >= MIN_TEXTS):
        raise InputError(
            f"data={data!r}",
            f"auctions:N with N a whole number from {MIN_TEXTS}",
            "write for instance data=auctions:20000",
        )
    return int(count)


def _path(data: str) -> Path:
    """Find a file of a known kind before anything is read."""
    path = Path(data)
    with contextlib.suppress(RuntimeError):  # ~name of nobody
        path = path.expanduser()
    if path.is_dir():
        raise InputError(f"data={data!r}, a folder", "one file", "name the file inside it")
    if not path.name.removesuffix(".gz").endswith(SUFFIXES):
        raise InputError(
            f"data={data!r}",
            f"auctions:N, hf:owner/name, or a file ending in {', '.join(SUFFIXES)} (also with .gz)",
            "convert the file, or rename it if only its ending is wrong",
        )
    if not path.is_file():
        raise InputError(
            f"data={data!r}, which does not exist",
            "a file that is there",
            "check the spelling; give the full path, since `mlflow run` starts in another folder",
        )
    return path


def _lines(path: Path) -> Iterator[str]:
    """Yield the decoded lines of a file, each with its line end, which a CSV field may hold."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if number == 1:
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise _not_utf8(path, "UTF-16, by its first two bytes")
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise _not_utf8(path, f"not UTF-8 on line {number}") from None


def _not_utf8(path: Path, what: str) -> InputError:
    return InputError(
        f"{path.name}, {what}",
        "UTF-8",
        "convert it, for instance with `iconv -f UTF-16 -t UTF-8` (or -f LATIN1, -f CP1252)",
    )


def _json_rows(path: Path) -> Iterator[Row | Rejected]:
    is_first = True
    for line, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        if is_first and (text.lstrip().startswith("[") or text.strip() == "{"):
            raise InputError(
                f"{path.name}, one JSON value over the whole file",
                "JSON Lines: one object on each line",
                "convert it with `jq -c '.[]' old.json > new.jsonl`",
            )
        is_first = False
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):  # the latter for thousands of nested brackets
            yield Rejected(line, "not valid JSON", _excerpt(text))
            continue
        if isinstance(fields, dict):
            yield line, fields
        else:
            yield Rejected(line, "not a JSON object", _excerpt(text))


class _Record(NamedTuple):
    """What stands between two ends of a CSV record."""

    line: int  # on which it begins
    last: int  # on which it ends
    pieces: list[str]  # its lines as they stand there; until the next record is read
    fields: list[str]
    error: str  # why there are no fields; empty where there are


def _csv_records(path: Path) -> Iterator[_Record]:
    pieces: list[str] = []

    def noted() -> Iterator[str]:
        for text in _lines(path):
            # A carriage return by itself ends a line too: csv would call it a broken quote.
            for piece in LINE.findall(text) if "\r" in text else (text,):
                pieces.append(piece)
                yield piece

    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(noted(), strict=True)
    while True:
        line = reader.line_num + 1
        pieces.clear()
        try:
            fields, why = next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            fields, why = [], str(error)
        yield _Record(line, reader.line_num, pieces, fields, why)


def _csv_rows(path: Path, columns: _Columns, *, everything: bool) -> Iterator[Row | Rejected]:
    header: list[str] = []
    for record in _csv_records(path):
        fields = record.fields
        if record.error:
            if record.last > record.line or not header:
                told = f"is broken on line {record.last} ({record.error})"
                raise _open_quote(path, record.line, told)
            reason = "broken CSV quotes (the lines after it may be parts of it)"
            yield Rejected(record.line, reason, _excerpt(f"{record.error}: {record.pieces[0]}"))
        elif not fields:  # a blank line is no row
            continue
        elif not header:
            header = fields
            _check_columns(path.name, columns, header, everything=everything)
        elif len(fields) != len(header):
            found = f"fields: {len(fields)}, in the header: {len(header)}: {record.pieces[0]}"
            yield Rejected(record.line, "wrong number of fields", _excerpt(found))
        elif _run_together(record.pieces, header, columns):
            told = f"ends on line {record.last}, while the lines between look like rows"
            raise _open_quote(path, record.line, told)
        else:
            yield record.line, dict(zip(header, fields, strict=True))


def _open_quote(path: Path, line: int, told: str) -> InputError:
    return InputError(
        f"{path.name}, whose record of line {line} {told}",
        "every quoted field closed, quotes inside doubled",
        f"repair the quotes from line {line} on: rows may have run together (where the line breaks "
        "are meant, JSON Lines or Parquet can say so)",
    )


def _run_together(pieces: Sequence[str], header: Sequence[str], columns: _Columns) -> bool:
    """Say whether the lines of a record are rows: then a quote was open by mistake."""
    inner = [piece for piece in pieces[1:-1] if piece.strip()]
    if len(inner) < MANY_LINES or not columns.price:
        return False
    price = header.index(columns.price)

    def count_rows(lines: Sequence[str]) -> int:
        return sum(
            len(fields) == len(header) and bool(PLAIN_NUMBER.fullmatch(fields[price].strip()))
            for fields in csv.reader(lines)  # not strict
        )

    first = pieces[0].replace('"', "")
    return bool(count_rows([first])) and count_rows(inner) >= ROWS_SHARE * len(inner)


def _parquet_rows(path: Path, columns: _Columns, *, everything: bool) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    line, packed = 0, path.suffix == ".gz"  # a Parquet reader jumps about, which gzip cannot
    wanted = None if everything else list(columns.named())
    try:
        with _unpacked(path) if packed else path.open("rb") as stream:
            file = parquet.ParquetFile(stream)
            _check_columns(path.name, columns, file.schema_arrow.names, everything=everything)
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=wanted):
                for fields in batch.to_pylist():
                    line += 1
                    yield line, fields
    except pa.ArrowException as error:
        raise InputError(
            f"{path.name}, unreadable after row {line} ({_excerpt(str(error))})",
            "a whole Parquet file",
            "copy or write the file again",
        ) from None


def _unpacked(path: Path) -> IO[bytes]:
    """Unpack a file onto the disk; it is gone when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with gzip.open(path) as stream:
        shutil.copyfileobj(stream, file)
    file.seek(0)
    return file


def _hub_rows(data: str, columns: _Columns, *, everything: bool) -> Iterator[Row]:
    import datasets

    name = data.removeprefix("hf:")
    try:
        table = datasets.load_dataset(name, split="train")
    except (OSError, ValueError, LookupError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"data={data!r}, which the hub did not give ({_excerpt(str(error))})",
            "a data set with a train split, as hf:owner/name",
            "check the name and the network, or download it and give the file",
        ) from None
    _check_columns(data, columns, table.column_names, everything=everything)
    yield from enumerate(table if everything else table.select_columns(list(columns.named())), 1)


def _check_columns(name: str, columns: _Columns, found: Sequence[str], *, everything: bool) -> None:
    read = found if everything else [column for column in found if column in columns.named()]
    if twice := [column for column, count in Counter(read).items() if count > 1]:
        why = "since all are kept" if everything else "to know which one is meant"
        raise InputError(
            f"{name} with more than one column {twice[0]!r}",
            f"columns with names of their own, {why}",
            "rename one of them",
        )
    for column, setting in columns.named().items():
        if column not in found:
            raise InputError(
                f"{name} without the column {column!r}",
                f"one of the columns found: {', '.join(map(repr, found))}",
                f"name it with {setting}=... (CSV columns have commas between them)",
            )


# Rows: checked one by one, then merged


def _gather(
    name: str, source: Iterator[Row | Rejected], columns: _Columns
) -> tuple[list[_Document], list[Rejected], int]:
    """Check every row of a source: those to keep, those rejected, and how many there were."""
    documents: list[_Document] = []
    rejected: list[Rejected] = []
    for row in _whole(name, source):
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        try:
            documents.append(_document(*row, columns))
        except _UnusableError as problem:
            rejected.append(Rejected(row[0], *problem.args))
    return documents, rejected, len(documents) + len(rejected)


def _whole(name: str, source: Iterator[Row | Rejected]) -> Iterator[Row | Rejected]:
    """Hand on the rows of a source, or say after how many of them it broke off."""
    n_read = 0
    try:
        for row in source:
            yield row
            n_read += 1
    except (OSError, EOFError, zlib.error) as error:  # a bad gzip header is an OSError
        raise InputError(
            f"{name}, unreadable after {n_read:,} rows ({error})",
            "a whole file, compressed with gzip where its name ends in .gz",
            "copy or download the file again",
        ) from None


def _check_fields(fields: Mapping[str, Any], columns: _Columns) -> None:
    for column, setting in columns.named().items():
        if column not in fields:
            reason = f"no field {column!r} (name another with {setting}=...)"
            raise _UnusableError(reason, _excerpt(f"fields: {', '.join(map(repr, fields))}"))


def _document(line: int, fields: dict[str, Any], columns: _Columns) -> _Document:
    _check_fields(fields, columns)
    text = _text(fields[columns.text])
    price = _price(fields[columns.price])
    key = text_key(text)
    if columns.time:
        return _Document(line, text, key, price, "", _time(fields[columns.time]), key)
    group = _group(fields[columns.group]) if columns.group else key
    return _Document(line, text, key, price, _part(group), None, group)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _UnusableError("text is not a string", _excerpt(repr(value)))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _UnusableError("text is not valid Unicode", _excerpt(ascii(value))) from None
    if not any(map(str.isalnum, value)):
        raise _UnusableError("text is empty: no letter or digit", _excerpt(repr(value)))
    return value.strip()


def _price(value: Any) -> float:
    """Read a number, or a string that is nothing but a number (all that CSV has)."""
    shown = _excerpt(repr(value))
    if value is None or (isinstance(value, str) and not value.strip()):
        raise _UnusableError("price is missing", shown)
    if isinstance(value, str):
        if not PLAIN_NUMBER.fullmatch(value.strip()):
            reason = "price is not a plain number (write 12000.50: no currency, no separators)"
            raise _UnusableError(reason, shown)
        value = float(value)
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number or value != value:  # the latter is NaN
        raise _UnusableError("price is not a number", shown)
    if value <= 0:
        raise _UnusableError("price is not above zero", shown)
    if value > MAX_PRICE:
        raise _UnusableError(f"price is infinite or above {MAX_PRICE:g}", shown)
    return float(value)


def _group(value: object) -> bytes:
    if value is None or value != value or not str(value).strip():  # the second is NaN
        raise _UnusableError("group is missing", _excerpt(repr(value)))
    return text_key(str(value))


def _time(value: Any) -> _Time:
    """Read a number, or a date in ISO 8601; a date without a zone is taken as UTC."""
    if isinstance(value, str):
        value = value.strip()
        if PLAIN_NUMBER.fullmatch(value):
            return _Time(is_date=False, value=_finite(float(value)))
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            reason = "time is neither a number nor an ISO date (2024-05-31, 2024-05-31T12:00:00Z)"
            raise _UnusableError(reason, _excerpt(repr(value))) from None
    if isinstance(value, datetime.date):
        if not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day)
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return _Time(is_date=True, value=zoned.timestamp())
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise _UnusableError("time is missing or no time", _excerpt(repr(value)))
    return _Time(is_date=False, value=_finite(value))


def _finite(value: float | Decimal) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _UnusableError("time is missing or not finite", _excerpt(repr(value)))
    return number


def _parted_by_time(name: str, documents: list[_Document]) -> list[_Document]:
    """Give the earliest rows to ``train`` and the latest to ``test``, rows of one time together."""
    times = [document.time for document in documents if document.time]
    if len({time.is_date for time in times}) > 1:
        lines = [
            next(d.line for d in documents if d.time and d.time.is_date is kind)
            for kind in (True, False)
        ]
        raise InputError(
            f"{name} with a date as time on line {lines[0]} and a number on line {lines[1]}",
            "dates or numbers throughout",
            "write all times in one way, for instance as 2024-05-31",
        )
    values = np.array([time.value for time in times])
    earlier = np.searchsorted(np.sort(values), values) / max(1, len(values))
    ends = np.array(list(itertools.accumulate(PARTS.values())))[:-1]
    names = list(PARTS)
    which = np.searchsorted(ends, earlier, side="right")
    return [
        document._replace(part=names[index])
        for document, index in zip(documents, which, strict=True)
    ]


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def _merged(
    name: str,
    documents: list[_Document],
    rejected: list[Rejected],
    n_read: int,
    parts_by: str,
) -> Corpus:
    """Make one row of all documents with the same text, price and part."""
    ids: dict[bytes, int] = {}
    spellings: list[str] = []
    counts: dict[tuple[int, float, str], int] = {}
    lines: list[int] = []
    groups: dict[bytes, int] = {}
    group_ids: list[int] = []
    for document in documents:
        text_id = ids.setdefault(document.key, len(ids))
        if text_id == len(spellings):
            spellings.append(document.text)
        spellings[text_id] = min(spellings[text_id], document.text)
        row = (text_id, document.price, document.part)
        if row not in counts:
            counts[row] = 0
            lines.append(document.line)
            group_ids.append(groups.setdefault(document.group, len(groups)))
        counts[row] += 1
    text_ids = np.array([text_id for text_id, _, _ in counts], np.int64)
    corpus = Corpus(
        name=name,
        texts=[spellings[text_id] for text_id in text_ids],
        prices=np.array([price for _, price, _ in counts], np.float64),
        counts=np.array(list(counts.values()), np.int64),
        lines=np.array(lines, np.int64),
        text_ids=text_ids,
        group_ids=np.array(group_ids, np.int64),
        parts=np.array([part for _, _, part in counts], np.str_),
        parts_by=parts_by,
        rejected=tuple(rejected),
        n_read=n_read,
        digest="",
        medians=None,
    )
    return _one_group_a_text(with_parts(corpus, _one_part_a_text(corpus)))


def _one_group_a_text(corpus: Corpus) -> Corpus:
    """Give all rows of a text the group of its first that is used, or folds would share a text."""
    if not len(corpus.texts):
        return corpus
    used = np.flatnonzero(corpus.parts != ASIDE)
    texts, first = np.unique(corpus.text_ids[used], return_index=True)
    group_of = np.empty(corpus.text_ids.max() + 1, np.int64)
    group_of[texts] = corpus.group_ids[used[first]]
    return dataclasses.replace(corpus, group_ids=group_of[corpus.text_ids])


def _one_part_a_text(corpus: Corpus) -> npt.NDArray[np.str_]:
    """Set aside the rows of a text outside the strictest of its parts (by groups or times)."""
    wide = corpus.parts.astype(f"<U{max(map(len, (*PARTS, ASIDE)))}")  # room for every name
    if not len(wide):
        return wide
    ranks = np.select([wide == part for part in STRICTEST_FIRST], list(range(len(PARTS))))
    strictest = np.full(corpus.text_ids.max() + 1, len(PARTS))
    np.minimum.at(strictest, corpus.text_ids, ranks)
    wide[ranks > strictest[corpus.text_ids]] = ASIDE
    return wide


def _limited(corpus: Corpus, limit: int) -> Corpus:
    """Keep the rows whose texts have the smallest hashes, in the order of the source."""
    if limit == 0 or limit >= len(corpus.texts):
        return corpus
    draws = [_draw(b"limit", text_key(text)) for text in corpus.texts]
    order = sorted(range(len(draws)), key=lambda i: (draws[i], corpus.prices[i], corpus.parts[i]))
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


def _check_rejected(
    name: str, rejected: Sequence[Rejected], n_read: int, columns: _Columns
) -> None:
    if not n_read:
        raise InputError(f"{name}, which holds no rows", "texts with prices", "fill the file")
    if len(rejected) <= MAX_REJECTED_SHARE * n_read:
        return
    shown = [f"\n    line {row.line}: {row.reason}: {row.excerpt}" for row in rejected[:3]]
    settings = ", ".join(f"{setting}=..." for setting in columns.named().values())
    raise InputError(
        f"{name} with {len(rejected):,} of {n_read:,} rows unusable: "
        + reasons(rejected)
        + "".join(shown),
        f"at most {MAX_REJECTED_SHARE:.0%} of the rows unusable",
        f"repair the lines, or name the right columns with {settings}",
    )


def _check_enough(corpus: Corpus) -> None:
    """Refuse a corpus on which no study can stand."""
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
            "name the column of the prices with price_column=...",
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
        if (groups := len(np.unique(corpus.group_ids[members]))) < least:
            raise InputError(
                f"{corpus.name} with {groups} groups of rows in the {part} part",
                f"at least {least}: folds and intervals are made of whole groups",
                "give more data, or a group_column with more and smaller groups",
            )
        if np.ptp(corpus.prices[members]) == 0:
            raise InputError(
                f"{corpus.name} with one price, {corpus.prices[members[0]]:g}, in the {part} part",
                "prices that differ, in the train part and in the test part",
                "give more data, or name the column of the prices with price_column=...",
            )
