"""Prices for a file of any length: streamed, in order, every row kept, and restartable."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bat import cli, locks, units
from bat.cli import InputError
from bat.data import chunks, sources, text_lines
from bat.data.chunks import Chunk
from bat.models import encoder, explanation, pricer
from bat.models.pricer import Pricer
from bat.registry import scored_file
from bat.registry.scored_errors import Sample
from bat.registry.scored_file import Columns

CHUNK = 2_000  # texts read at once, and what a killed run repeats at most


@dataclass(frozen=True)
class Scored:
    """What was done.

    Attributes:
        rows: in all.
        without: those that got no price.
        errors: against true prices, where the data hold any: ``bootstrap.flat`` of the scores and
            of ``coverage`` (the share of true prices inside their intervals), ``rows_with_price``,
            and ``rows_evaluated``, at most ``MAX_EVALUATED`` of them drawn at random. No R², and no
            ends of intervals, where all true prices are equal.
    """

    rows: int
    without: int
    errors: Mapping[str, float] | None = None


def score(
    folder: Path,
    data: str,
    output: Path,
    *,
    text_column: str = "text",
    target_column: str = "",
    coverage: float | None = None,
    explain: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """Price every row of a source, and write its columns and the prices, in order.

    A row that cannot be priced keeps its columns, and says why under ``reason``; how columns pass
    through stands in ``scored_file.py``. Finished chunks are kept under ``home.folder()`` until all
    is written: the same call goes on from there (but not of a hub data set, which may change under
    its name).

    Args:
        data: as for ``corpus.load``; it needs no prices.
        output: a file that does not exist yet, .jsonl, .csv or .parquet; it appears when it
            is complete, and replaces nothing that has appeared meanwhile.
        target_column: of true prices, to compare with; there need be none.
        coverage: of the intervals; the pricer's usual one if left out.
        explain: also say in a column ``why`` what moves each price, as ``Pricer.explain`` does: a
            JSON list of objects with ``part``, ``kind`` and ``effect``.
        progress: called after each chunk with its number of rows.

    Raises:
        InputError: the source cannot be read, changes meanwhile, or has a column named as one that
            is added; the output has appeared meanwhile; or the pricer cannot vouch for the
            coverage.
    """
    scored_file.check_output(output)
    pair = pricer.load(folder)
    _check_coverage(pair, coverage)
    source = _source_digest(data)
    scoring = _unit(folder, source, text_column, coverage, explain)
    paths, rows, without, sample = [], 0, 0, Sample()
    size = max(1, CHUNK // explanation.MOST_READ) if explain else CHUNK
    found = chunks.stream(data, text_column=text_column, target_column=target_column, size=size)
    with locks.lock(scoring.name):
        for number, chunk in enumerate(found):
            part = units.part(scoring, f"{number:07}")
            path = _kept(part, pair, chunk, coverage, explain)
            sample.add(chunk, path)
            paths.append(path)
            rows += len(chunk)
            without += sum(map(bool, chunk.reasons))
            progress(len(chunk))
        _refuse_changed(data, source)
        added = scored_file.columns_added(explain=explain)
        scored_file.join(paths, output, added, as_json=sources.is_json_lines(data))
        units.drop(scoring)
    return Scored(rows, without, sample.errors())


def _refuse_changed(data: str, source: str) -> None:
    """Refuse a file that is no longer what it was; a hub data set may change under its name."""
    if not data.startswith("hf:") and _source_digest(data) != source:
        raise InputError(
            f"data={data!r}, which changed while it was read",
            "a file that stays as it is",
            "start again when it is complete",
        )


def _unit(
    folder: Path, source: str, text_column: str, coverage: float | None, explain: bool
) -> units.Unit:
    """Name a scoring by all that its prices depend on; its chunks are its parts."""
    return units.unit(
        units.SCORES,
        pricer=[_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()],
        data=source,
        text_column=text_column,
        coverage=coverage,
        explain=explain,
        chunk=CHUNK,
        device=encoder.device().type,
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


def count(data: str, *, text_column: str = "text", explain: bool = False) -> int:
    """Count the rows of a source, for a bar, and refuse its columns before any work.

    Args:
        data: as for ``score``.
        text_column: as for ``score``.
        explain: whether a column ``why`` will be added too.

    Raises:
        InputError: the source cannot be read, or has a column named as one that is added.
    """
    rows = 0
    for chunk in chunks.stream(data, text_column=text_column, size=CHUNK, label="counting rows"):
        _refuse_added(chunk.table.schema.names, scored_file.columns_added(explain=explain))
        rows += len(chunk)
    return rows


def _source_digest(data: str) -> str:
    """Name a source by its bytes; a hub data set, whose bytes are not at hand, anew each time."""
    if data.startswith("hf:"):
        return uuid.uuid4().hex
    return data if data.startswith("auctions:") else _digest(cli.local_path(data))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # the reader says what is wrong with it
        return ""


def _refuse_added(names: Iterable[str], added: Columns) -> None:
    if clash := [name for name in names if name in added]:
        raise InputError(
            f"data with a column {clash[0]!r}",
            f"none of the names that are added: {', '.join(added)}",
            "rename that column",
        )


def _priced(pair: Pricer, chunk: Chunk, coverage: float | None) -> pa.Table:
    """Add the prices of a chunk to its columns."""
    good = [place for place, reason in enumerate(chunk.reasons) if not reason]
    texts = [chunk.texts[place] for place in good]
    found: Iterable[Any] = pair.predict(texts, coverage) if good else ((),) * 4
    columns: list[Any] = list(chunk.table.columns)
    for (_, kind), values in zip(list(scored_file.ADDED.items())[:-1], found, strict=True):
        column: list[Any] = [None] * len(chunk)
        for place, value in zip(good, values, strict=True):
            column[place] = value.item()
        columns.append(pa.array(column, kind))
    columns.append(pa.array([text_lines.spell_out(r) or None for r in chunk.reasons], pa.string()))
    added = [pa.field(name, kind) for name, kind in scored_file.ADDED.items()]
    schema = pa.schema([*chunk.table.schema, *added], chunk.table.schema.metadata)
    return pa.table(columns, schema=schema)


def _explained(pair: Pricer, chunk: Chunk, priced: pa.Table) -> pa.Table:
    """Add what moves each price, as JSON; null where there is none."""
    good = [place for place, reason in enumerate(chunk.reasons) if not reason]
    column: list[str | None] = [None] * len(chunk)
    for place, effects in zip(good, pair.explain([chunk.texts[p] for p in good]), strict=True):
        values = [effect._asdict() for effect in effects]
        column[place] = json.dumps(values, ensure_ascii=False)
    ((name, kind),) = scored_file.WHY.items()
    return priced.append_column(pa.field(name, kind), pa.array(column, kind))


def _kept(
    part: units.Unit, pair: Pricer, chunk: Chunk, coverage: float | None, explain: bool
) -> Path:
    """Price a chunk, unless that was done before, and return the file that holds it."""
    _refuse_added(chunk.table.schema.names, scored_file.columns_added(explain=explain))
    done = units.build(part, functools.partial(_fill, pair, chunk, coverage, explain))
    return done / scored_file.CHUNK_FILE


def _fill(pair: Pricer, chunk: Chunk, coverage: float | None, explain: bool, folder: Path) -> None:
    """Write the rows of a chunk as Arrow's own stream, the one format that changes nothing."""
    table = _priced(pair, chunk, coverage)
    if explain:
        table = _explained(pair, chunk, table)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(
        folder / scored_file.CHUNK_FILE, table.schema, options=options
    ) as writer:
        writer.write_table(table)
