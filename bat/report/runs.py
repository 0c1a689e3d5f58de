"""What the run of each command keeps of its results, as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bat import escape, records
from bat.data import checks, corpus
from bat.registry.champion import Registered
from bat.report import answer_file, figures, summary, tables, terminal, wording
from bat.report.analysis import Together
from bat.report.verdict import Statement, statements
from bat.stats import bootstrap
from bat.workflow import preparation, stages
from bat.workflow.outcome import Outcome


def parent_records(
    outcome: Outcome,
    settings: Mapping[str, object],
    registered: Mapping[str, Any] | None = None,
) -> Iterable[records.Record]:
    """Say what a study found, in the form its own run keeps.

    Args:
        outcome: of the study.
        settings: what the user asked for, by name.
        registered: what ``answer_file.registered`` says of its pair, once there is a version.
    """
    for row in outcome.curve:
        values = bootstrap.flat(row.scores) | {tables.train_column(outcome): row.train_mae}
        yield records.Metrics(values, step=row.key.documents)
    if outcome.about.ceiling:
        law = asdict(outcome.about.ceiling)
        yield records.Metrics({f"ceiling_{name}": value for name, value in law.items()})
    yield records.Table("results.csv", tables.results(outcome))
    kind = "curve" if figures.is_curve([outcome]) else "arms"
    for name in figures.CURVES:
        drawn = figures.drawing(outcome, name)
        yield records.Figure(f"{kind}_{name}.png", drawn)
        yield records.Figure(f"{kind}_{name}.svg", drawn)
    yield records.Text("answer.md", f"{_summary(outcome, settings)}\n\n{_details(outcome)}\n")
    yield answer_file.record(outcome, settings, registered)
    yield records.Note(note(outcome, settings))


def note(outcome: Outcome, settings: Mapping[str, object]) -> str:
    """Write the answer, the table and the details for the run's page, the verdict first."""
    return (
        f"{_summary(outcome, settings)}\n\n"
        f"{tables.markdown_table(tables.table(outcome))}\n\n"
        f"### Details\n\n{_details(outcome)}\n\n"
        f"Corpus {escape.markdown(outcome.about.corpus)}, "
        f"encoder {escape.markdown(outcome.about.base)}; "
        f"corpus digest `{outcome.about.digest[:16]}`."
    )


def _summary(outcome: Outcome, settings: Mapping[str, object]) -> str:
    """Write in markdown what a reader needs first."""
    found = statements(outcome)
    said = wording.listed(summary.lines(found, outcome, settings))
    return f"**{escape.markdown(summary.headline(found))}**\n\n{escape.markdown_lines(said)}"


def _details(outcome: Outcome) -> str:
    """Write all statements in markdown."""
    found = statements(outcome)
    parts = wording.answer(found), wording.hypotheses(found)
    return "\n\n".join(escape.markdown_lines(wording.listed(part)) for part in parts if part)


def registration_records(
    outcome: Outcome, settings: Mapping[str, object], served: Registered
) -> Iterable[records.Record]:
    """Keep what was registered, why it is served or not, and how to serve it."""
    yield records.Tags(
        {
            "registered": served.version,
            "registered_model": served.model_name,
            "promotion": served.verdict.reason,
        }
    )
    yield answer_file.record(outcome, settings, answer_file.registered(outcome, served))
    yield records.Note(f"{note(outcome, settings)}\n\n{escape.fenced(terminal.registered(served))}")


def comparison_records(
    together: Together, differences: Sequence[Statement]
) -> Iterable[records.Record]:
    """Say how studies compare, in the form that a run keeps."""
    yield records.Table(
        "results.csv",
        [
            {"study": label, **line}
            for label, each in together.items()
            for line in tables.results(each)
        ],
    )
    for name in figures.CURVES:
        drawn = figures.curves_together(together, name)
        yield records.Figure(f"curves_{name}.png", drawn)
        yield records.Figure(f"curves_{name}.svg", drawn)
    lines = escape.markdown_lines(wording.listed(wording.answer(differences)))
    arms = tables.markdown_table(tables.table_together(together))
    yield records.Note(f"{lines}\n\n{arms}")


def findings_records(prepared: preparation.Prepared) -> Iterable[records.Record]:
    """List what the checks found, and every row of the source that was not used."""
    yield records.Table("rejected.jsonl", corpus.rejected_rows(prepared.corpus.rejected))
    lines = [
        {
            "check": finding.check,
            "severity": finding.severity,
            "count": finding.count,
            "message": finding.message,
            "examples": " | ".join(f"line {line}: {text}" for line, text in finding.examples),
        }
        for finding in prepared.findings
    ]
    yield records.Table("checks.csv", lines)
    if repeats := checks.near_repeat_rows(prepared.corpus):
        yield records.Table("near_repeats.csv", repeats)


def promotion_records(
    model_name: str, before: str | None, now: str, standings: Sequence[Mapping[str, str]]
) -> Iterable[records.Record]:
    """Keep the move on record, and who is what after it."""
    yield records.Tags(
        {"registered_model": model_name, "champion": now, "champion_before": before or "none"}
    )
    yield records.Table("registry.csv", list(standings))
    text = terminal.promotion_text(model_name, before, now, standings)
    yield records.Note(escape.fenced(text))


def evaluation_records(
    evaluation: stages.Evaluation, prepared: preparation.Prepared, protocol: str
) -> Iterable[records.Record]:
    """Add a figure and a note to what an evaluation keeps."""
    held_out = prepared.rows("held_out")
    drawn = figures.actual(prepared.corpus.prices[held_out], evaluation.predictions[held_out])
    yield records.Figure("predicted_actual.png", drawn)
    yield records.Note(escape.fenced(terminal.evaluation_text(evaluation, prepared, protocol)))
