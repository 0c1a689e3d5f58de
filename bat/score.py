"""Prices for a file of any length: streamed, in order, every row kept, and restartable."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bat import corpus, encoder, interval, pricer, regressor, units
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
JSON = {b"bat": b"json"}  # marks a column whose values are kept as JSON


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

    A row that cannot be priced keeps its columns, and says why under ``reason``. Nested values, and
    those of a column that holds several kinds, are written to CSV and Parquet as JSON. Finished
    chunks are kept under ``units.home()`` until all is written: the same call goes on from there
    (but not of a hub data set, which may change under its name).

    Args:
        folder: of the pricer.
        data: as for ``corpus.load``; it needs no prices.
        output: a file that does not exist yet, .jsonl, .csv or .parquet; it appears when whole.
        text_column: of the texts.
        coverage: of the intervals; the pricer's usual one if left out.
        progress: called after each chunk with its number of rows.

    Raises:
        InputError: the source cannot be read, changes meanwhile, or has a column named as one that
            is added; or the pricer cannot vouch for the coverage.
    """
    check_output(output)
    pair = pricer.load(folder)
    _check_coverage(pair, coverage)
    source = _source_digest(data)
    unit = _unit(folder, source, text_column, coverage)
    parts = units.home() / "scores" / unit
    paths, rows, without = [], 0, 0
    with units.lock(f"scores-{unit}"):
        for number, chunk in enumerate(_chunks(corpus.stream(data, text_column=text_column))):
            path = parts / f"{number:07}.parquet"
            if not path.exists():
                units.write(path, _packed(_priced(pair, chunk, coverage)))
            paths.append(path)
            rows += len(chunk)
            without += sum(1 for line in chunk if line.reason)
            progress(len(chunk))
        if not data.startswith("hf:") and _source_digest(data) != source:
            raise InputError(
                f"data={data!r}, which changed while it was read",
                "a file that stays as it is",
                "start again when it is complete",
            )
        _join(paths, output)
        for path in paths:
            path.unlink()
    return Scored(rows, without)


def _unit(folder: Path, source: str, text_column: str, coverage: float | None) -> str:
    """Name a scoring by all that its prices depend on."""
    return units.key(
        pricer=[_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()],
        data=source,
        text_column=text_column,
        coverage=coverage,
        chunk=CHUNK,
        device=encoder.device().type,
        code=units.code(sys.modules[__name__], pricer, encoder, regressor, interval),
    )


def _check_coverage(pair: Pricer, coverage: float | None) -> None:
    """Refuse a coverage for which a pricer cannot vouch."""
    most = pair.interval.most_coverage
    if coverage is not None and not 0 < coverage <= most:
        raise InputError(
            f"coverage={coverage}",
            f"a share above 0 and at most {most:.4g}, for which this pricer can vouch",
            "ask for less, or leave it out",
        )


def count(data: str, *, text_column: str = "text") -> int:
    """Count the rows of a source, for a bar, and refuse its columns before any work.

    Raises:
        InputError: the source cannot be read, or has a column named as one that is added.
    """
    rows = 0
    for line in corpus.stream(data, text_column=text_column):
        _refuse_added(line.fields)
        rows += 1
    return rows


def check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises:
        InputError: its kind is unknown, it exists, or its folder cannot take it.
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
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise InputError(
            f"output={str(output)!r}, whose folder does not exist or cannot be written to",
            "a folder that is there",
            "make it, or give the full path, since `mlflow run` starts in another folder",
        )


def _source_digest(data: str) -> str:
    """Name a source by its bytes; a hub data set, whose bytes are not at hand, anew each time."""
    if data.startswith("hf:"):
        return uuid.uuid4().hex
    return data if data.startswith("auctions:") else _digest(Path(data).expanduser())


def _digest(path: Path) -> str:
    if not path.is_file():  # the reader says what is wrong with it
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while chunk := list(itertools.islice(lines, CHUNK)):
        yield chunk


def _refuse_added(names: Iterable[str]) -> None:
    if clash := [name for name in names if name in ADDED]:
        raise InputError(
            f"data with a column {clash[0]!r}",
            f"none of the names that are added: {', '.join(ADDED)}",
            "rename that column",
        )


def _priced(pair: Pricer, chunk: Sequence[Line], coverage: float | None) -> pa.Table:
    """Put the prices of a chunk beside its columns."""
    names = list(dict.fromkeys(name for line in chunk for name in line.fields))
    _refuse_added(names)
    good = [line for line in chunk if not line.reason]
    found = pair.predict([line.text for line in good], coverage) if good else ((),) * 4
    added = dict(zip((line.number for line in good), zip(*found, strict=True), strict=True))
    columns, fields = [], []
    for name in names:
        column, is_json = _column([line.fields.get(name) for line in chunk])
        columns.append(column)
        fields.append(pa.field(_spelt(name), column.type, metadata=JSON if is_json else None))
    for place, (name, kind) in enumerate(list(ADDED.items())[:-1]):
        values = [added[line.number][place].item() if not line.reason else None for line in chunk]
        columns.append(pa.array(values, kind))
        fields.append(pa.field(name, kind))
    columns.append(pa.array([_spelt(line.reason) or None for line in chunk], ADDED["reason"]))
    fields.append(pa.field("reason", ADDED["reason"]))
    return pa.table(columns, schema=pa.schema(fields))


def _spelt(text: str) -> str:
    """Write what UTF-8 cannot hold (half of a surrogate pair) as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _column(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Store values as what they are, or, where no one type holds them, as JSON; and say which."""
    if not any(isinstance(value, dict | list) for value in values):
        try:
            return pa.array([_spelt(v) if isinstance(v, str) else v for v in values]), False
        except (pa.ArrowException, OverflowError, TypeError):
            pass
    return pa.array([None if v is None else json.dumps(v, default=str) for v in values]), True


def _packed(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _join(paths: Sequence[Path], output: Path) -> None:
    """Write the chunks into one file, which gets its name when it is whole."""
    names = dict.fromkeys(name for path in paths for name in parquet.read_schema(path).names)
    kinds = {name: _shared(name, paths) for name in names if name not in ADDED}
    draft = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}")
    try:
        if output.suffix == ".parquet":
            _write_parquet(draft, paths, kinds)
        else:
            _write_text(draft, paths, kinds, as_csv=output.suffix == ".csv")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(output)
    finally:
        draft.unlink(missing_ok=True)


def _shared(name: str, paths: Sequence[Path]) -> pa.DataType | None:
    """Find the type that holds a column in all chunks; None where that is JSON."""
    schemas = [parquet.read_schema(path) for path in paths]
    fields = [schema.field(name) for schema in schemas if name in schema.names]
    if any(field.metadata for field in fields):
        return None
    try:
        plain = [pa.schema([pa.field("x", field.type)]) for field in fields]
        kind = pa.unify_schemas(plain, promote_options="permissive").field("x").type
        if len({field.type for field in fields}) > 1:  # a long number may not fit into a fraction
            for path, schema in zip(paths, schemas, strict=True):
                if name in schema.names:
                    parquet.read_table(path, columns=[name])[name].cast(kind)
    except pa.ArrowException:
        return None
    return kind


def _write_parquet(
    draft: Path, paths: Sequence[Path], kinds: Mapping[str, pa.DataType | None]
) -> None:
    own = {name: kind or pa.string() for name, kind in kinds.items()}
    schema = pa.schema([*own.items(), *ADDED.items()])
    with parquet.ParquetWriter(draft, schema) as writer:
        for path in paths:
            table = parquet.read_table(path)
            columns = []
            for each in schema:
                if each.name not in table.column_names:
                    columns.append(pa.nulls(len(table), each.type))
                elif each.name in kinds and kinds[each.name] is None:
                    columns.append(pa.array(map(_cell, _values(table, each.name)), pa.string()))
                else:
                    columns.append(table[each.name].cast(each.type))
            writer.write_table(pa.table(columns, schema=schema))


def _write_text(
    draft: Path, paths: Sequence[Path], kinds: Mapping[str, Any], *, as_csv: bool
) -> None:
    names = [*kinds, *ADDED]
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if as_csv:
            writer.writerow(names)
        for path in paths:
            table = parquet.read_table(path)
            columns = [_values(table, name) for name in names]
            for row in zip(*columns, strict=True):
                if as_csv:
                    writer.writerow([_cell(value) for value in row])
                else:
                    file.write(json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n")


def _values(table: pa.Table, name: str) -> list[Any]:
    """Read a column back as Python's values; numbers that JSON lacks as none."""
    if name not in table.column_names:
        return [None] * len(table)
    values = table[name].to_pylist()
    if table.schema.field(name).metadata:
        return [None if value is None else json.loads(value) for value in values]
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]


def _cell(value: Any) -> str | None:
    """Write a value as the text of one cell."""
    if value is None:
        return None
    if isinstance(value, dict | list | bool):
        return _spelt(json.dumps(value, ensure_ascii=False, default=str))
    return _spelt(str(value))
