"""The file that takes scored rows: refused early, written from chunks, named when it is complete.

Columns pass through as they are: from Parquet to Parquet bit for bit, with types and metadata;
from CSV as strings; from JSON Lines as they are written there, but NaN and Infinity, which JSON
lacks, as null. Parquet gets a column of JSON Lines as what all its values are, or else as text, and
text files get typed values as text that says all of them.
"""

from __future__ import annotations

import csv
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from bat.cli import InputError
from bat.registry import cells

CHUNK_FILE = "rows.arrow"
ADDED = {
    "predicted": pa.float64(),
    "predicted_low": pa.float64(),
    "predicted_high": pa.float64(),
    "truncated": pa.bool_(),
    "reason": pa.string(),
}
WHY = {"why": pa.string()}  # JSON, whose first character no spreadsheet takes for a formula
Columns = Mapping[str, pa.DataType]
SUFFIXES = (".jsonl", ".csv", ".parquet")


def columns_added(*, explain: bool) -> Columns:
    """List the columns that a scoring adds."""
    return ADDED | WHY if explain else ADDED


def check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises:
        InputError: its kind is unknown, it exists, or its folder cannot take it.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"output={str(output)!r}",
            f"a file ending in {', '.join(SUFFIXES)}",
            "name one, for instance output=prices.parquet",
        )
    for path in (output, metrics_path(output)):
        if _is_taken(path):
            raise InputError(
                f"output={str(output)!r}, but {path.name!r}, which exists",
                "the name of a new file, also with .metrics.json behind it",
                "choose another name, or move that file away",
            )
    probe = _draft(output)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"output={str(output)!r}, whose folder does not exist or cannot be written to "
            f"({error.strerror})",
            "a folder that is there",
            "make it, or give the full path, since `mlflow run` starts in another folder",
        ) from None


def metrics_path(output: Path) -> Path:
    """Name the file of an output's errors, beside it."""
    return output.with_name(f"{output.name}.metrics.json")


def _is_taken(path: Path) -> bool:
    """Say whether something has a name, be it a link that leads nowhere.

    Raises:
        InputError: nothing can have that name.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise InputError(
            f"output={str(path)!r}, which cannot be written ({getattr(error, 'strerror', error)})",
            "a name that the system takes: at most 255 bytes, without null characters",
            "give another name",
        ) from None
    return True


def read_chunk(path: Path) -> pa.Table:
    """Read the rows of one chunk, as ``score`` has kept them."""
    return pa.ipc.open_stream(path.read_bytes()).read_all()


def _schema(path: Path) -> pa.Schema:
    with path.open("rb") as file:
        return pa.ipc.open_stream(file).schema


def _draft(output: Path) -> Path:
    """Name a file in the output's folder, short even where the output's name is not."""
    return output.with_name(f".scored-{uuid.uuid4().hex[:8]}{output.suffix}")


def join(paths: Sequence[Path], output: Path, added: Columns, *, as_json: bool) -> None:
    """Write the chunks into one file, which gets its name when it is complete.

    Args:
        paths: of the chunks.
        output: the file.
        added: columns of the chunks that the source does not have.
        as_json: whether those that it has are written as JSON.
    """
    draft = _draft(output)
    try:
        if output.suffix.lower() == ".parquet":
            _write_parquet(draft, paths, added, as_json=as_json)
        else:
            write = _write_csv if output.suffix.lower() == ".csv" else _write_json_lines
            write(draft, paths, added, as_json=as_json)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _publish(draft, output)


def _publish(draft: Path, output: Path) -> None:
    """Give a finished draft its name, unless something has got that name meanwhile."""
    try:
        try:
            output.hardlink_to(draft)  # unlike renaming, this replaces nothing
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            output.touch(exist_ok=False)
            draft.replace(output)
    except OSError as error:
        raise InputError(
            f"output={str(output)!r}, which cannot be made any more ({error.strerror})",
            "a name that nobody takes while the rows are priced",
            f"the finished prices are kept: move them from {draft.resolve()}",
        ) from None
    draft.unlink(missing_ok=True)


def _names(paths: Sequence[Path], added: Columns) -> list[str]:
    """List the columns of the source in all chunks, in order."""
    found = dict.fromkeys(name for path in paths for name in _schema(path).names)
    return [name for name in found if name not in added]


def _write_parquet(draft: Path, paths: Sequence[Path], added: Columns, *, as_json: bool) -> None:
    schema = (_json_schema if as_json else _common_schema)(paths, added)
    with parquet.ParquetWriter(draft, schema) as writer:
        for path in paths:
            table = read_chunk(path)
            columns = []
            for each in schema:
                if each.name not in table.column_names:
                    columns.append(pa.nulls(len(table), each.type))
                elif as_json and each.name not in added:
                    columns.append(cells.typed(table[each.name].to_pylist(), each.type))
                else:
                    columns.append(table[each.name])
            writer.write_table(pa.table(columns, schema=schema))


def _common_schema(paths: Sequence[Path], added: Columns) -> pa.Schema:
    """Give the schema of the chunks; one without a readable row may lack the columns of CSV."""
    schemas = [_schema(path) for path in paths]
    fields = {each.name: each for schema in schemas for each in schema if each.name not in added}
    metadata = schemas[0].metadata if schemas else None
    ours = [pa.field(name, kind) for name, kind in added.items()]
    return pa.schema([*fields.values(), *ours], metadata)


def _write_csv(draft: Path, paths: Sequence[Path], added: Columns, *, as_json: bool) -> None:
    names = [*_names(paths, added), *added]
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for path in paths:
            table = read_chunk(path)
            columns = [_cells(table, name, as_json=as_json and name not in added) for name in names]
            writer.writerows(zip(*columns, strict=True))


def _write_json_lines(draft: Path, paths: Sequence[Path], added: Columns, *, as_json: bool) -> None:
    names = [*_names(paths, added), *added]
    keys = [json.dumps(name) for name in names]
    with draft.open("w", encoding="utf-8", newline="") as file:
        for path in paths:
            table = read_chunk(path)
            columns = [
                _json_texts(table, name, as_json=as_json and name not in added) for name in names
            ]
            for row in zip(*columns, strict=True):
                pairs = (f"{key}: {value}" for key, value in zip(keys, row, strict=True))
                file.write("{" + ", ".join(pairs) + "}\n")


def _cells(table: pa.Table, name: str, *, as_json: bool) -> list[str | None]:
    """Write a column as the cells of a CSV file."""
    if name not in table.column_names:
        return [None] * len(table)
    if as_json:
        return [cells.text(written) for written in table[name].to_pylist()]
    return [cells.cell(value) for value in cells.plain(table[name].combine_chunks())]


def _json_texts(table: pa.Table, name: str, *, as_json: bool) -> list[str]:
    """Write a column as JSON values."""
    if name not in table.column_names:
        return ["null"] * len(table)
    if as_json:
        return [cells.strict_json(written) for written in table[name].to_pylist()]
    return [json.dumps(cells.finite(value)) for value in cells.plain(table[name].combine_chunks())]


def _json_schema(paths: Sequence[Path], added: Columns) -> pa.Schema:
    """Find for each column the type that holds all its values exactly; text where none does."""
    kinds: dict[str, set[str]] = {name: set() for name in _names(paths, added)}
    for path in paths:
        table = read_chunk(path)
        for name, found in kinds.items():
            if name in table.column_names:
                found.update(*map(cells.kinds_of, table[name].to_pylist()))
    fields = [pa.field(name, cells.type_of(found)) for name, found in kinds.items()]
    return pa.schema([*fields, *(pa.field(name, kind) for name, kind in added.items())])
