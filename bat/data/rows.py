"""What a reader yields: rows with the values of the columns that a command names, or why not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from bat import cli
from bat.cli import InputError

CAUSE = 300  # characters of what a library says: its sentence, without the trace behind it
PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
BAR_SECONDS = 1.0  # what is read sooner needs no bar

Row = tuple[int, dict[str, Any]]  # line, fields


class Rejected(NamedTuple):
    """A row that was not used: where it stands, why, and its beginning."""

    line: int
    reason: str
    excerpt: str


class Columns(NamedTuple):
    """The columns that a command names; an empty name is no column."""

    text: str
    target: str
    group: str = ""
    time: str = ""

    def named(self) -> dict[str, str]:
        """Return the columns in use, each with the setting that names it."""
        return {
            column: f"{field}_column"
            for field, column in zip(self._fields, self, strict=True)
            if column
        }


@dataclass(frozen=True)
class Batch:
    """Some rows of a source that follow each other, as they stand there.

    Attributes:
        table: all columns. Where columns have types, they are those of the source; values of CSV
            are strings, and those of JSON Lines (``is_json_lines``) strings of JSON as it was
            written. A row that could not be taken apart is null throughout.
        rows: the values of the named columns, or why there are none.
    """

    table: pa.Table
    rows: list[Row | Rejected]


class Written(NamedTuple):
    """A row of a text file: its values, and how they are written there."""

    line: int
    fields: dict[str, Any]
    written: dict[str, str]


# Files


def file_kind(path: Path) -> str:
    """Tell the ending of a file's name without .gz, in small letters."""
    name = path.name.lower().removesuffix(".gz")
    return "." + name.rpartition(".")[2] if "." in name else ""


def is_packed(path: Path) -> bool:
    """Tell whether a file is compressed, by its name."""
    return path.suffix.lower() == ".gz"


def reading_bar(label: str, total: float, unit: str) -> AbstractContextManager[Any]:
    """Show how far reading has come, where there is a label and it takes long."""
    return cli.bar(label, total, unit, shown=bool(label), delay=BAR_SECONDS)


def check_columns(name: str, columns: Columns, found: Sequence[str], *, everything: bool) -> None:
    """Refuse a table that lacks a named column, or has two of one name among those that are read.

    Args:
        name: of the source.
        columns: that a command names.
        found: those of the table.
        everything: all columns are read.

    Raises:
        InputError: it lacks one, or has one twice.
    """
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
                f"name it with {setting}=... (a CSV header has one of , ; tab | between its names, "
                "or a line sep= before it)",
            )


def check_name(setting: str, column: str) -> None:
    """Refuse an empty name for a column that is needed."""
    if not column:
        raise InputError(f"{setting}={column!r}", "the name of a column", f"give {setting} one")
