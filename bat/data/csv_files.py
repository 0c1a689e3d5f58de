"""CSV and TSV as rows; a bad row is named with its line, and an open quote is told from long text.

pyarrow's reader fails 19 of our 205 tests of sources (docs/LOG.md): it names no line of a file, and
one broken quote or byte ends it.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bat.cli import InputError
from bat.data import text_lines
from bat.data.rows import PLAIN_NUMBER, Columns, Rejected, Written, check_columns, file_kind
from bat.data.texts import excerpt

MAX_FIELD = 100_000_000  # characters of one CSV field; more is an open quote
# A record whose first line and so large a share of so many inner lines look like rows is no text.
MANY_LINES, ROWS_SHARE = 2, 0.9
DELIMITERS = (",", ";", "\t", "|")  # what spreadsheets and databases write, the usual one first
SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?[\r\n]*', re.IGNORECASE)  # Excel's first line


class _Record(NamedTuple):
    """What stands between two ends of a CSV record."""

    line: int  # on which it begins
    last: int  # on which it ends
    pieces: list[str]  # its lines as they stand there; until the next record is read
    fields: list[str]
    error: str  # why there are no fields; empty where there are


def _records(lines: Iterable[str], delimiter: str) -> Iterator[_Record]:
    pieces: list[str] = []

    def noted() -> Iterator[str]:
        for text in lines:
            pieces.append(text)
            yield text

    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(noted(), strict=True, delimiter=delimiter)
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


def _delimited(path: Path, lines: Iterator[str], columns: Columns) -> tuple[str, Iterator[str]]:
    """Find what stands between the columns: what a first line ``sep=`` says, or the header shows.

    Returns:
        The delimiter, and all lines, that of ``sep=`` left blank.
    """
    usual = "\t" if file_kind(path) == ".tsv" else DELIMITERS[0]
    taken: list[str] = []
    for line in lines:
        taken.append(line)
        if len(taken) == 1 and (separator := SEPARATOR_LINE.fullmatch(line)):
            return separator[1], itertools.chain(["\n"], lines)
        if line.strip():
            break
    for delimiter in (usual, *DELIMITERS):
        header = next(csv.reader(taken[-1:], delimiter=delimiter), [])
        if set(columns.named()) <= set(header):
            return delimiter, itertools.chain(taken, lines)
    return usual, itertools.chain(taken, lines)


def read(
    path: Path, columns: Columns, label: str, *, everything: bool
) -> Iterator[Written | Rejected]:
    """Yield the rows of a file; one that cannot be taken apart is rejected alone.

    Args:
        path: of the file.
        columns: that a command names; the others may stand twice unless ``everything`` is read.
        label: of a bar; none is shown where it is empty.
        everything: all columns are wanted.

    Raises:
        InputError: the header lacks a named column, or a quote was left open.
    """
    header: list[str] = []
    delimiter, lines = _delimited(path, text_lines.lines(path, label), columns)
    for record in _records(lines, delimiter):
        fields = record.fields
        if not record.error and not fields:  # a blank line is no row
            continue
        if not header:
            _check_header(path, record)
            header = fields
            check_columns(path.name, columns, header, everything=everything)
        elif rejected := _fault(path, record, header):
            yield rejected
        elif _run_together(record.pieces, header, columns, delimiter):
            problem = f"ends on line {record.last}, while the lines between look like rows"
            raise _open_quote(path, record.line, problem)
        else:
            row = dict(zip(header, fields, strict=True))
            yield Written(record.line, row, row)


def _check_header(path: Path, record: _Record) -> None:
    if record.error:
        raise _open_quote(path, record.line, f"is broken on line {record.last} ({record.error})")
    if not all(map(text_lines.is_decoded, record.pieces)):
        raise InputError(
            f"{path.name}, not UTF-8 on line {record.line}, which names the columns",
            "UTF-8, or UTF-16",
            "convert it, for instance with `iconv -f CP1252 -t UTF-8` (or -f LATIN1)",
        )


def _fault(path: Path, record: _Record, header: Sequence[str]) -> Rejected | None:
    """Say why a record is no row, or that the file cannot be read on."""
    if record.error:
        if record.last > record.line:
            problem = f"is broken on line {record.last} ({record.error})"
            raise _open_quote(path, record.line, problem)
        reason = "broken CSV quotes (the lines after it may be parts of it)"
        shown = text_lines.spell_out(f"{record.error}: {record.pieces[0]}")
        return Rejected(record.line, reason, excerpt(shown))
    if not all(map(text_lines.is_decoded, record.pieces)):
        return text_lines.undecoded(record.line, "".join(record.pieces))
    if len(record.fields) != len(header):
        found = f"fields: {len(record.fields)}, in the header: {len(header)}: {record.pieces[0]}"
        return Rejected(record.line, "wrong number of fields", excerpt(found))
    return None


def _open_quote(path: Path, line: int, problem: str) -> InputError:
    return InputError(
        f"{path.name}, whose record of line {line} {problem}",
        "every quoted field closed, quotes inside doubled",
        f"repair the quotes from line {line} on: rows may have run together (where the line breaks "
        "are meant, JSON Lines or Parquet can say so)",
    )


def _run_together(
    pieces: Sequence[str], header: Sequence[str], columns: Columns, delimiter: str
) -> bool:
    """Say whether the lines of a record are rows: then a quote was open by mistake."""
    inner = [piece for piece in pieces[1:-1] if piece.strip()]
    if len(inner) < MANY_LINES or not columns.target:
        return False
    price = header.index(columns.target)

    def count_rows(lines: Sequence[str]) -> int:
        return sum(
            len(fields) == len(header) and bool(PLAIN_NUMBER.fullmatch(fields[price].strip()))
            for fields in csv.reader(lines, delimiter=delimiter)  # not strict
        )

    first = pieces[0].replace('"', "")
    return bool(count_rows([first])) and count_rows(inner) >= ROWS_SHARE * len(inner)
