"""Results as tables: the lines of results.csv, and the same rounded for a person to read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bat import escape, formatting
from bat.data import corpus
from bat.report import analysis
from bat.report.analysis import Together
from bat.stats import bootstrap
from bat.workflow.outcome import Outcome, Row

TRAIN = "cv_mae"  # column of the out-of-fold error on training rows
TITLES = {"r2": "R²", "mae": "MAE", "medae": "MedAE", "r2_log": "R² of log price"}


def results(outcome: Outcome) -> list[dict[str, Any]]:
    """List the lines of results.csv: metrics, and paired differences, all with intervals.

    Each line is compared with the factory encoder, with TF-IDF, and with the size before it.
    """
    lines = []
    before: Row | None = None
    for row in outcome.rows:
        documents = None if row.key.is_baseline else row.key.documents
        line: dict[str, Any] = {"arm": row.name, "documents": documents}
        line |= {"seeds": len(row.predictions), train_column(outcome): row.train_mae}
        line |= bootstrap.flat(row.scores)
        others = {"factory": outcome.row("factory"), "tfidf": outcome.row(analysis.WORDS)}
        others["before"] = before if row.documents else None
        for what, other in others.items():
            if other and other is not row:
                known = analysis.over_factory(outcome) if what == "factory" else {}
                against = known.get(row.key) or analysis.paired(outcome, row, other)
                line |= bootstrap.flat({f"{name}_minus_{what}": v for name, v in against.items()})
        line |= {f"{stage}_seconds": s for stage, s in row.seconds.items()}
        lines.append(line | (row.cost._asdict() if row.cost else {}))
        before = row
    return lines


def table(outcome: Outcome, others: Sequence[Outcome] = ()) -> list[list[str]]:
    """Lay out the result for reading: one line an arm or baseline, the first names the columns.

    Args:
        outcome: of the study.
        others: of studies whose tables stand below it: a column has the same decimals in all.
    """
    columns = [*bootstrap.NAMES, TRAIN]
    decimals = {name: _column_decimals(name, [outcome, *others]) for name in columns}
    costs = ["seconds", "ms a text", "MB"] if _has_costs(outcome) else []
    titles = [title(name, outcome.about.unit) for name in bootstrap.NAMES]
    titles += [formatting.titled(TRAIN, train_title(outcome), outcome.about.unit), *costs]
    lines = [["arm", *titles]]
    for row in outcome.rows:
        cells = [
            formatting.with_decimals(row.scores[name], decimals[name]) for name in bootstrap.NAMES
        ]
        error = "" if math.isnan(row.train_mae) else f"{row.train_mae:z,.{decimals[TRAIN]}f}"
        lines.append([row.name, *cells, error, *(_costs(row) if costs else [])])
    if law := outcome.about.ceiling:
        known = asdict(law)  # of most metrics; the others' cells stay empty
        cells = [f"{known[n]:z,.{decimals[n]}f}" if n in known else "" for n in bootstrap.NAMES]
        lines.append(["ceiling (all facts known)", *cells, "", *("" for _ in costs)])
    return lines


def title(name: str, unit: str) -> str:
    """Name a metric for a person, with the unit of the target where it has one."""
    return formatting.titled(name, TITLES[name], unit)


def _has_costs(outcome: Outcome) -> bool:
    """Tell whether a study has measured what its arms cost; older ones have not."""
    return any(row.cost for row in outcome.rows)


def _costs(row: Row) -> list[str]:
    """Write the seconds that a line took to make, milliseconds a text, and megabytes to serve."""
    cost = [f"{each:,.3g}" for each in row.cost] if row.cost else ["", ""]
    return [f"{sum(row.seconds.values()):,.0f}", *cost]


def train_column(outcome: Outcome) -> str:
    """Name the column, or metric, of the error that is not of held-out rows."""
    return TRAIN if outcome.about.protocol == corpus.PROTOCOL else "validation_mae"


def train_title(outcome: Outcome) -> str:
    """Name that error for a person."""
    return "out-of-fold MAE" if outcome.about.protocol == corpus.PROTOCOL else "validation MAE"


def _column_decimals(name: str, outcomes: Sequence[Outcome]) -> int:
    """Count the decimals of a table's column: those that the largest of its numbers deserves."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    if name == TRAIN:
        errors = [row.train_mae for row in rows if not math.isnan(row.train_mae)]
        return formatting.decimals(name, errors)
    laws = [outcome.about.ceiling for outcome in outcomes if outcome.about.ceiling]
    ends = [end for row in rows for end in formatting.ends(row.scores[name])]
    known = [getattr(law, name) for law in laws if hasattr(law, name)]
    return formatting.decimals(name, ends + known)


def plain_table(lines: Sequence[Sequence[str]]) -> str:
    """Align a table for a terminal: words left, numbers right."""
    lines = [[escape.printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Write a table in markdown."""
    rows = ["| " + " | ".join(map(escape.markdown, line)) + " |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])


def strongest_words(words: Sequence[Mapping[str, Any]], unit: str = "") -> list[list[str]]:
    """Lay out the words of a statement ``words``, the first line names the columns."""
    lines = [["word or pair of words", "price", "at the median price", "training texts"]]
    for each in words:
        amount = formatting.number("mae", each["amount"], sign=True, unit=unit)
        lines.append([each["word"], f"×{each['ratio']:.2f}", amount, f"{each['texts']:,}"])
    return lines


def table_together(together: Together) -> list[list[str]]:
    """Lay out the arms of several studies, the study's label first."""
    outcomes = list(together.values())
    tables = [(label, table(outcome, outcomes)) for label, outcome in together.items()]
    return [
        ["study", *tables[0][1][0]],
        *([label, *line] for label, lines in tables for line in lines[1:]),
    ]
