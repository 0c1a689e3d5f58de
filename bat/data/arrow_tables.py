"""Sources whose columns are stored apart, as tables of Arrow: Parquet files and hub data sets."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

from bat import cli
from bat.cli import InputError
from bat.data.rows import (
    CAUSE,
    Batch,
    Columns,
    Rejected,
    Row,
    check_columns,
    is_packed,
    reading_bar,
)
from bat.data.texts import excerpt


class _Unreadable(NamedTuple):
    """A value that Python cannot hold: why, and what its library says."""

    reason: str
    error: str


def batches(tables: Iterable[pa.Table], columns: Columns, also: str) -> Iterator[Batch]:
    """Read the values of the named columns, and of one more, out of each table."""
    first = 1
    for table in tables:
        yield Batch(table, _read_values(table, columns, also, first))
        first += len(table)


def _read_values(table: pa.Table, columns: Columns, also: str, first: int) -> list[Row | Rejected]:
    """Convert the named columns, value by value: what Python cannot hold rejects its row alone."""
    names, settings = table.schema.names, columns.named()
    wanted = [name for name in dict.fromkeys((*settings, also)) if name in names]
    values = {name: _python_values(table.column(names.index(name))) for name in wanted}
    rows: list[Row | Rejected] = []
    for place in range(len(table)):
        fields = {name: values[name][place] for name in wanted}
        bad = [name for name in settings if isinstance(fields.get(name), _Unreadable)]
        if bad:
            what = settings[bad[0]].removesuffix("_column")
            reason, error = fields[bad[0]]
            rows.append(Rejected(first + place, f"{what} {reason}", excerpt(error)))
        else:
            rows.append((first + place, fields))
    return rows


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except Exception:  # dates, zones and decoders have each their own kinds
        return [_python_value(scalar) for scalar in column]


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return _Unreadable("is not UTF-8", str(error))
    except Exception as error:
        message = str(error) or type(error).__name__
        return _Unreadable("is no value that Python can hold", f"{scalar.type}: {message}")


def read_parquet(
    path: Path, columns: Columns, size: int, label: str, *, everything: bool = False
) -> Iterator[pa.Table]:
    """Yield the rows of a Parquet file in tables of one size, the last one aside.

    Raises:
        InputError: it is no such file, or lacks a named column.
    """
    line, packed = 0, is_packed(path)  # a Parquet reader jumps about, which gzip cannot
    wanted = None if everything else list(columns.named())
    try:
        with _unpacked(path) if packed else path.open("rb") as stream:
            file = parquet.ParquetFile(stream)
            schema = file.schema_arrow
            check_columns(path.name, columns, schema.names, everything=everything)
            with reading_bar(label, file.metadata.num_rows, "row") as bar:
                read = file.iter_batches(batch_size=size, columns=wanted)
                for table in _even(map(_table_of, read), size):
                    yield table
                    line += len(table)
                    bar.update(len(table))
            if not line:
                yield schema.empty_table()
    except pa.ArrowException as error:
        raise InputError(
            f"{path.name}, unreadable after row {line} ({excerpt(str(error), CAUSE)})",
            "a whole Parquet file, of kinds that Arrow reads",
            "copy or write the file again; where one column is to blame, leave it out",
        ) from None


def _table_of(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _even(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Cut tables anew to one number of rows: a reader ends a batch where a row group ends."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(map(len, held)) >= size:
            together = pa.concat_tables(held)
            yield together.slice(0, size)
            held = [together.slice(size)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)


def _unpacked(path: Path) -> IO[bytes]:
    """Unpack a file onto the disk; it is gone when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with gzip.open(path) as stream:
        shutil.copyfileobj(stream, file)
    file.seek(0)
    return file


def read_hub(
    data: str, columns: Columns, size: int, label: str, *, everything: bool = False
) -> Iterator[pa.Table]:
    """Yield the rows of a data set's train split in tables of one size, the last one aside.

    Raises:
        InputError: the hub does not give it, or it lacks a named column.
    """
    import datasets

    name = data.removeprefix("hf:")
    if name.startswith("~"):
        name = str(cli.local_path(name))
    try:
        found = datasets.load_dataset(name, split="train")
    except Exception as error:  # whatever the hub, its builders and their readers raise
        raise InputError(
            f"data={data!r}, which the hub did not give ({excerpt(_causes(error), CAUSE)})",
            "a data set with a train split, as hf:owner/name",
            "check the name and the network, or download it and give the file",
        ) from None
    check_columns(data, columns, found.column_names, everything=everything)
    chosen = found if everything else found.select_columns(list(columns.named()))
    with reading_bar(label, len(chosen), "row") as bar:
        for table in chosen.with_format("arrow").iter(batch_size=size):
            # The library's own note lists the columns; it would be untrue once some are added.
            yield table.replace_schema_metadata(None)
            bar.update(len(table))


def _causes(error: BaseException | None) -> str:
    """Say what went wrong, the innermost cause first: the outer ones often say nothing."""
    messages: list[str] = []
    while error:
        messages.append(str(error).strip() or type(error).__name__)
        error = error.__cause__
    return "; ".join(dict.fromkeys(reversed(messages)))
