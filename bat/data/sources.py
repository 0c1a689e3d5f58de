"""Readers: files, hub data sets and the built-in corpus as rows, whatever their format."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa

from bat import cli
from bat.cli import InputError
from bat.data import arrow_tables, csv_files, json_lines, text_lines
from bat.data.auctions import generator
from bat.data.rows import CAUSE, Batch, Columns, Rejected, Row, Written, file_kind, reading_bar
from bat.data.texts import excerpt

MIN_TEXTS = 100  # eight texts expected in each of the two smallest parts
# Measured: 0.26 ms and 0.5 kB a document, so that these take 45 minutes and 5 GB of memory.
MAX_AUCTIONS = 10_000_000
BATCH_ROWS = 2_000  # read at once where columns are stored apart
JSON_LINES, TABLES_OF_TEXT, PARQUET = (".jsonl", ".ndjson"), (".csv", ".tsv"), (".parquet",)
SUFFIXES = (".jsonl", ".csv", ".parquet", ".ndjson", ".tsv")
Item = TypeVar("Item")


class Source(NamedTuple):
    """Rows with the values of the named columns, in the order of the source.

    Attributes:
        name: what the data are called in reports, without folders.
        rows: each is read once.
        medians: noise-free prices of the built-in corpus, complete once the rows are read; else
            None.
    """

    name: str
    rows: Iterator[Row | Rejected]
    medians: list[float] | None


def read(data: str, columns: Columns) -> Source:
    """Read the named columns of a source, showing a bar; other columns cannot spoil anything.

    Args:
        data: ``auctions:N``, ``hf:owner/name``, or a file; see ``SUFFIXES``, also with .gz.
        columns: to read.

    Raises:
        InputError: the source cannot be read, or a table lacks a named column; some of it only
            when rows are drawn.
    """
    medians: list[float] | None = None
    rows: Iterator[Row | Rejected]
    if data.startswith("auctions:"):
        medians = []
        tables = _auction_tables(data, BATCH_ROWS, "making texts", medians)
        name, rows = data, _rows_of(tables, columns)
    elif data.startswith("hf:"):
        tables = arrow_tables.read_hub(data, columns, BATCH_ROWS, "reading")
        name, rows = data, _rows_of(tables, columns)
    else:
        path = _file(data)
        name = path.name
        if file_kind(path) in PARQUET:
            tables = arrow_tables.read_parquet(path, columns, BATCH_ROWS, "reading")
            rows = _rows_of(tables, columns)
        else:
            read = _text_rows(path, columns, "reading", everything=False)
            rows = (row if isinstance(row, Rejected) else row[:2] for row in read)
    return Source(name, _guarded(name, rows, lambda row: 1), medians)


def read_batches(
    data: str, columns: Columns, size: int, *, also: str = "", label: str = ""
) -> Iterator[Batch]:
    """Read all columns of a source, some rows at a time.

    Args:
        data: as for ``read``.
        columns: whose values are wanted.
        size: rows of a batch; the last one may have fewer.
        also: a column whose values are wanted too, where there is one.
        label: of a bar; none is shown where it is empty.

    Raises:
        InputError: as for ``read``, or two columns have one name.
    """
    if is_json_lines(data) or _is_table_of_text(data):
        path = _file(data)
        name, batches = path.name, _text_batches(path, columns, size, label)
    else:
        if data.startswith("auctions:"):
            name, tables = data, _auction_tables(data, size, label, [])
        elif data.startswith("hf:"):
            name, tables = data, arrow_tables.read_hub(data, columns, size, label, everything=True)
        else:
            path = _file(data)
            name = path.name
            tables = arrow_tables.read_parquet(path, columns, size, label, everything=True)
        batches = arrow_tables.batches(tables, columns, also)
    return _guarded(name, batches, lambda batch: len(batch.rows))


def is_json_lines(data: str) -> bool:
    """Say whether a source is a file of JSON Lines, by its name."""
    return not _is_named(data) and file_kind(Path(data)) in JSON_LINES


def _is_table_of_text(data: str) -> bool:
    return not _is_named(data) and file_kind(Path(data)) in TABLES_OF_TEXT


def _is_named(data: str) -> bool:
    return data.startswith(("auctions:", "hf:"))


def _guarded(name: str, items: Iterator[Item], count_rows: Callable[[Item], int]) -> Iterator[Item]:
    """Hand on what a reader yields, or say after how many rows it broke off."""
    n_read = 0
    try:
        for item in items:
            yield item
            n_read += count_rows(item)
    except (OSError, EOFError, zlib.error) as error:  # a bad gzip header is an OSError
        raise InputError(
            f"{name}, unreadable after {n_read:,} rows ({excerpt(str(error), CAUSE)})",
            "a whole file, compressed with gzip where its name ends in .gz",
            "copy or download the file again",
        ) from None


def _file(data: str) -> Path:
    """Find a file of a known kind before anything is read."""
    path = cli.local_path(data)
    try:
        path.stat()
        missing = False
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a null character
        missing = True
    except OSError as error:
        raise InputError(
            f"data={data!r}, which cannot be opened ({error.strerror})",
            "a file that is there and may be read",
            "check its name, the folders above it, and who may read them",
        ) from None
    if path.is_dir():
        raise InputError(f"data={data!r}, a folder", "one file", "name the file inside it")
    if file_kind(path) not in SUFFIXES:
        raise InputError(
            f"data={data!r}",
            f"auctions:N, hf:owner/name, or a file ending in {', '.join(SUFFIXES)} (also with .gz)",
            "convert the file, or rename it if only its ending is wrong",
        )
    if missing or not path.is_file():
        raise InputError(
            f"data={data!r}, which does not exist",
            "a file that is there",
            "check the spelling; give the full path, since `mlflow run` starts in another folder",
        )
    return path


def _text_rows(
    path: Path, columns: Columns, label: str, *, everything: bool
) -> Iterator[Written | Rejected]:
    read = json_lines.read if file_kind(path) in JSON_LINES else csv_files.read
    return read(path, columns, label, everything=everything)


def _text_batches(path: Path, columns: Columns, size: int, label: str) -> Iterator[Batch]:
    rows = _text_rows(path, columns, label, everything=True)
    while batch := list(itertools.islice(rows, size)):
        written = [{} if isinstance(row, Rejected) else row.written for row in batch]
        names = dict.fromkeys(name for each in written for name in each)
        table = pa.table(
            [pa.array([each.get(name) for each in written], pa.string()) for name in names],
            names=list(map(text_lines.spell_out, names)),
        )
        # A table without columns cannot say how many rows it has; the rows can.
        yield Batch(table, [row if isinstance(row, Rejected) else row[:2] for row in batch])


def _rows_of(tables: Iterable[pa.Table], columns: Columns) -> Iterator[Row | Rejected]:
    for batch in arrow_tables.batches(tables, columns, ""):
        yield from batch.rows


def _auction_count(data: str) -> int:
    count = data.partition(":")[2]
    is_number = count.isascii() and count.isdigit() and len(count) <= len(str(MAX_AUCTIONS))
    if not (is_number and MIN_TEXTS <= int(count) <= MAX_AUCTIONS):
        raise InputError(
            f"data={excerpt(data)!r}",
            f"auctions:N with N a whole number from {MIN_TEXTS} to {MAX_AUCTIONS:,} (which take "
            "some 45 minutes to make and 5 GB of memory)",
            "write for instance data=auctions:20000",
        )
    return int(count)


def _auction_tables(data: str, size: int, label: str, medians: list[float]) -> Iterator[pa.Table]:
    """Make the built-in corpus, and add its medians to a list."""
    count = _auction_count(data)

    def make() -> Iterator[pa.Table]:
        made = iter(generator.documents(count))
        with reading_bar(label, count, "row") as bar:
            while batch := list(itertools.islice(made, size)):
                medians.extend(document.median for document in batch)
                columns = {"text": [d.text for d in batch], "price": [d.price for d in batch]}
                yield pa.table(columns)
                bar.update(len(batch))

    return make()
