"""What a study found, for people who call it from Python; and tables of theirs as its data."""

from __future__ import annotations

import datetime
import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bat import cli, escape, interrupts, units
from bat.cli import InputError
from bat.data.corpus import TooManyRejectedError
from bat.interface import loaded, settings, studying
from bat.interface.loaded import Loaded
from bat.interface.studying import Finished, StudyConfig
from bat.registry import tracking, versions
from bat.report import figures, page, summary, tables
from bat.report.verdict import Statement, statements
from bat.workflow.outcome import Outcome

DECIDES = "mae"  # the metric by which a study decides


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A finished study; a notebook shows its verdict and its table."""

    finished: Finished
    text: str  # column of the texts
    labels: pd.Index[Any] | None = None  # of the rows of a table that was studied

    @property
    def outcome(self) -> Outcome:
        """All that was found, for programs."""
        return self.finished.outcome

    @property
    def run_id(self) -> str:
        """The study's run in MLflow."""
        return self.finished.run_id

    @functools.cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The answer as data: each with its verdict, its numbers and their intervals."""
        return statements(self.outcome)

    @property
    def verdict(self) -> str:
        """Whether tuning is worth it, and what to serve, in a sentence or two."""
        return summary.headline(self.statements)

    @property
    def summary(self) -> list[str]:
        """What words do, how much is enough, what it costs, what to do next."""
        return summary.lines(self.statements, self.outcome, self.finished.settings)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each arm: metrics with the ends of their 95 % intervals, differences, costs."""
        return pd.DataFrame(tables.results(self.outcome)).set_index("arm")

    def plot(self, metric: str = DECIDES) -> Any:
        """Draw a metric as a matplotlib figure: the curve with its differences, or the arms.

        Args:
            metric: ``mae``, by which a study decides, ``medae`` or ``r2``.

        Raises:
            InputError: there is no such metric.
        """
        if metric not in figures.CURVES:
            raise InputError(
                f"metric={metric!r}", f"one of {', '.join(figures.CURVES)}", "name one of them"
            )
        return figures.drawing(self.outcome, metric)

    @functools.cached_property
    def predictor(self) -> Loaded:
        """The best predictor, fitted to all rows; of a table it reads the column studied."""
        registered = self.finished.registered
        return loaded.load(f"models:/{registered.model_name}/{registered.version}", self.text)

    @property
    def encoder(self) -> str:
        """Where the best pair's encoder lies: ``SentenceTransformer(result.encoder)`` opens it."""
        registered = self.finished.registered
        pair = f"models:/{registered.model_name}/{registered.best_pair}"
        return str(versions.pricer_folder(pair) / "encoder")

    @property
    def rejected(self) -> pd.DataFrame:
        """The rows that were not used, by the table's index, or by their lines in a file; why."""
        rows = self.finished.rejected
        lines = [row.line for row in rows]
        places = [line - 1 for line in lines]
        found = {"reason": [row.reason for row in rows], "excerpt": [row.excerpt for row in rows]}
        return pd.DataFrame(found, index=lines if self.labels is None else self.labels[places])

    @functools.cached_property
    def page(self) -> str:
        """The whole report as one HTML page."""
        return page.page(self.outcome, self.finished.settings)

    def __repr__(self) -> str:
        """Say the verdict."""
        return f"{type(self).__name__}: {self.verdict}"

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape.html(line)}</li>" for line in self.summary)
        shown = tables.table(self.outcome)
        frame = pd.DataFrame(shown[1:], columns=shown[0])
        table = frame.map(escape.html).to_html(index=False, escape=False, border=0)
        return f"<p><b>{escape.html(self.verdict)}</b></p><ul>{lines}</ul>{table}"


def study(
    data: str | Path | pd.DataFrame,
    *,
    text: str = "text",
    target: str = "price",
    name: str = "frame",
    **others: Any,
) -> StudyResult:
    """Measure whether fine-tuning pays on some texts, and how many are enough; register the best.

    The same work as ``mlflow run . -e scaling_study``, logged to the MLflow store in use; what was
    done before is not repeated.

    Args:
        data: a table, or what the command takes: a file, ``hf:owner/name``, ``auctions:N``.
        text: column of the texts.
        target: column of the numbers, above 0.
        name: what a table is called, in reports and as a registered model.
        others: all other parameters of the command, such as ``sizes=[0, 0.5, 1.0]``, ``trials=10``,
            ``baselines=["ridge", "words"]``, ``group_column="seller"``.

    Raises:
        InputError: something cannot be used, or a setting is unknown.
    """
    cli.refuse_other_systems()
    cli.refuse_launchers()
    text, target = settings.column("text", text), settings.column("target", target)
    if not isinstance(data, pd.DataFrame):
        return StudyResult(_run(settings.config(_source(data), text, target, others)), text)
    settings.config("", text, target, others)  # refused before a file is written
    columns = [
        settings.column(each, others.get(each) or "none")
        for each in ("group_column", "time_column")
    ]
    file = _frame_file(data, [text, target, *(each for each in columns if each != "none")], name)
    try:
        finished = _run(settings.config(file, text, target, others))
    except TooManyRejectedError as error:
        got, expected, remedy = error.sentences
        remedy += "; line n is the table's row n, counted from 1: frame.iloc[n - 1]"
        raise TooManyRejectedError((got, expected, remedy), error.rejected) from None
    return StudyResult(finished, text, data.index)


def _source(data: object) -> str:
    """Take what the command takes as data."""
    if not isinstance(data, str | Path):
        raise InputError(
            f"data of type {type(data).__name__}",
            "a pandas DataFrame, a path, hf:owner/name or auctions:N",
            "make a table of it: pandas.DataFrame({'text': …, 'price': …})",
        )
    return str(data)


def _run(config: StudyConfig) -> Finished:
    """Run a study as a command does, but for its exit: its errors are raised."""
    try:
        with interrupts.raised(), tracking.without_autologging():
            finished = studying.run(config)
    except InputError:
        raise
    except Exception as error:
        if full := cli.full_disk_refusal(error):
            raise full from error
        raise
    assert finished is not None  # ``plan_only`` is refused
    return finished


def _frame_file(frame: pd.DataFrame, columns: list[str], name: str) -> str:
    """Keep the columns of a table that a study reads as a file in the cache.

    Row n of the table, counted from 1, is line n of the file, as reports name it.

    Raises:
        InputError: a column is missing, or there twice.
    """
    columns = list(dict.fromkeys(columns))
    for column in columns:
        if (count := list(frame.columns).count(column)) != 1:
            raise InputError(
                f"a table with {count} columns {column!r}",
                "one",
                f"name the column to use; there are {', '.join(map(str, frame.columns))}",
            )
    if Path(name).name != name or not name.strip("."):
        raise InputError(f"name={name!r}", "a name for a file", "leave out slashes")
    lines = list(_lines(frame[columns]))
    unit = units.unit(units.FRAMES, name=name, lines=units.digest(lines))
    folder = units.build(unit, lambda made: _written(made / f"{name}.jsonl", lines))
    return str(folder / f"{name}.jsonl")


def _written(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(frame: pd.DataFrame) -> Iterator[str]:
    """Write each row as JSON: what pandas calls missing is null, dates are text."""
    names = [str(column) for column in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        yield json.dumps(dict(zip(names, map(_plain, row), strict=True)))


def _plain(value: Any) -> Any:
    """Give what JSON can hold: of what is no text, number or time a list, which rejects its row."""
    value = value.item() if isinstance(value, np.generic) else value
    missing = value is None or value is pd.NA or value is pd.NaT
    if missing or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | bool | int | float):
        return value
    return str(value) if isinstance(value, datetime.date | Decimal) else [repr(value)]
