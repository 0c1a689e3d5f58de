"""Prices for a file of any length: streamed, in order, every row kept, and restartable."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bat import corpus, pricer, units
from bat.cli import InputError
from bat.corpus import Line
from bat.pricer import Pricer

CHUNK = 2_000  # rows in memory at once, and what a killed run repeats at most
ADDED = {
    "predicted": pa.float64(),
    "predicted_low": pa.float64(),
    "predicted_high": pa.float64(),
    "truncated": pa.bool_(),
    "reason": pa.string(),
}
SUFFIXES = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Scored:
    """What was done: rows in all, and those that got no price."""

    rows: int
    without: int


def score(
    folder: Path,
    data: str,
    output: Path,
    *,
    text_column: str = "text",
    coverage: float | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """Price every row of a source, and write its columns with the prices beside them, in order.

    A row that cannot be priced keeps its columns, and says why under ``reason``. Finished chunks
    are kept under ``units.home()`` until all is written: the same call goes on from there.

    Args:
        folder: of the pricer.
        data: as for ``corpus.load``; it needs no prices.
        output: a file that does not exist yet, .jsonl, .csv or .parquet; it appears when whole.
        text_column: of the texts.
        coverage: of the intervals; the pricer's usual one if left out.
        progress: called after each chunk with its number of rows.

    Raises:
        InputError: the source cannot be read, has a column named as one that is added, or the
            pricer cannot vouch for the coverage.
    """
    check_output(output)
    pair = pricer.load(folder)
    most = pair.interval.most_coverage
    if coverage is not None and not 0 < coverage <= most:
        raise InputError(
            f"coverage={coverage}",
            f"a share above 0 and at most {most:.4g}, for which this pricer can vouch",
            "ask for less, or leave it out",
        )
    parts = units.home() / "scores" / _unit(folder, data, text_column, coverage)
    paths, rows, without = [], 0, 0
    for number, chunk in enumerate(_chunks(corpus.stream(data, text_column=text_column))):
        path = parts / f"{number:07}.parquet"
        if not path.exists():
            units.write(path, _packed(_priced(pair, chunk, coverage)))
        paths.append(path)
        rows += len(chunk)
        without += sum(1 for line in chunk if line.reason)
        progress(len(chunk))
    _join(paths, output)
    for path in paths:
        path.unlink()
    return Scored(rows, without)


def count(data: str, *, text_column: str = "text") -> int:
    """Count the rows of a source, for a bar."""
    return sum(1 for _ in corpus.stream(data, text_column=text_column))


def check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises:
        InputError: its kind is unknown, it exists, or its folder does not.
    """
    if output.suffix not in SUFFIXES:
        raise InputError(
            f"output={str(output)!r}",
            f"a file ending in {', '.join(SUFFIXES)}",
            "name one, for instance output=prices.parquet",
        )
    if output.exists():
        raise InputError(
            f"output={str(output)!r}, which exists",
            "the name of a new file",
            "choose another name, or move that file away",
        )
    if not output.parent.is_dir():
        raise InputError(
            f"output={str(output)!r}, whose folder does not exist",
            "a folder that is there",
            "make it, or give the full path, since `mlflow run` starts in another folder",
        )


def _unit(folder: Path, data: str, text_column: str, coverage: float | None) -> str:
    """Name a job by the bytes that go into it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    is_file = not data.startswith(("auctions:", "hf:"))
    return units.key(
        pricer=[_digest(path) for path in files],
        data=_digest(Path(data).expanduser()) if is_file else data,
        text_column=text_column,
        coverage=coverage,
        chunk=CHUNK,
    )


def _digest(path: Path) -> str:
    if not path.is_file():  # the reader says what is wrong with it
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while chunk := list(itertools.islice(lines, CHUNK)):
        yield chunk


def _priced(pair: Pricer, chunk: Sequence[Line], coverage: float | None) -> pa.Table:
    """Put the prices of a chunk beside its columns."""
    names = dict.fromkeys(name for line in chunk for name in line.fields)
    if clash := [name for name in ADDED if name in names]:
        raise InputError(
            f"data with a column {clash[0]!r}",
            f"none of the names that are added: {', '.join(ADDED)}",
            "rename that column",
        )
    good = [line for line in chunk if not line.reason]
    found = pair.predict([line.text for line in good], coverage) if good else ((),) * 4
    added = dict(zip((line.number for line in good), zip(*found, strict=True), strict=True))
    columns = {name: _column([line.fields.get(name) for line in chunk]) for name in names}
    for place, (name, kind) in enumerate(list(ADDED.items())[:-1]):
        values = [added[line.number][place] if not line.reason else None for line in chunk]
        columns[name] = pa.array([None if v is None else v.item() for v in values], kind)
    columns["reason"] = pa.array([line.reason or None for line in chunk], ADDED["reason"])
    return pa.table(columns)


def _column(values: Sequence[Any]) -> pa.Array:
    """Store values as what they are, or, where they are of several kinds, as JSON."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError):
        return pa.array([_json(value) for value in values], pa.string())


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _packed(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _join(paths: Sequence[Path], output: Path) -> None:
    """Write the chunks into one file, which gets its name when it is whole."""
    kinds: dict[str, list[pa.DataType]] = {}
    for path in paths:
        for each in parquet.read_schema(path):
            kinds.setdefault(each.name, []).append(each.type)
    own = {name: _shared(found) for name, found in kinds.items() if name not in ADDED}
    schema = pa.schema([*own.items(), *ADDED.items()])
    tables = (_conformed(parquet.read_table(path), schema) for path in paths)
    draft = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}")
    try:
        if output.suffix == ".parquet":
            with parquet.ParquetWriter(draft, schema) as writer:
                for table in tables:
                    writer.write_table(table)
        else:
            _write_text(draft, (row for table in tables for row in table.to_pylist()), schema)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(output)
    finally:
        draft.unlink(missing_ok=True)


def _shared(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """Find the type that holds the values of all chunks; text where there is none."""
    try:
        schemas = [pa.schema([("x", kind)]) for kind in kinds]
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowException:
        return pa.string()


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a chunk the columns and types of the whole file."""
    columns = []
    for each in schema:
        if each.name not in table.column_names:
            columns.append(pa.nulls(len(table), each.type))
            continue
        column = table[each.name]
        if column.type != each.type and pa.types.is_string(each.type):
            column = pa.array([_json(value) for value in column.to_pylist()], pa.string())
        columns.append(column.cast(each.type))
    return pa.table(columns, schema=schema)


def _write_text(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write JSON Lines or CSV, by the kind that the path's name has before its random end."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if ".csv." in path.name:
            writer = csv.writer(file)
            writer.writerow(schema.names)
            writer.writerows([_json(row[name]) for name in schema.names] for row in rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
