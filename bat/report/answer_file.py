"""``answer.json``: a study's answer for programs. docs/answer.md describes the fields."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from bat import escape, records
from bat.registry.champion import Registered
from bat.report import summary, wording
from bat.report.verdict import Statement, statements
from bat.stats import bootstrap
from bat.stats.bootstrap import Interval
from bat.workflow.choice import Choice
from bat.workflow.outcome import Outcome, Row

NAME = "answer.json"
SCHEMA_VERSION = 1  # rises when a field changes its meaning or goes; new fields may come without
METRICS = {"r2_fitted" if name == "r2_log" else name: name for name in bootstrap.NAMES}
ON_BASE_MODEL = ("static", "supervised")  # baselines that draw on the base model


def record(
    outcome: Outcome, settings: Mapping[str, object], registered: Mapping[str, Any] | None
) -> records.Record:
    """Write the file.

    Args:
        outcome: of the study, finished or not.
        settings: what the user asked for, by name.
        registered: as the function of that name gives it; None before there is a version.
    """
    return records.Text(NAME, escape.strict_json(document(outcome, settings, registered)) + "\n")


def document(
    outcome: Outcome, settings: Mapping[str, object], registered: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Lay out the file's content as plain values."""
    found = statements(outcome)
    return {
        "schema_version": SCHEMA_VERSION,
        "unit": outcome.about.unit or None,
        "summary": {
            "headline": escape.printable(summary.headline(found)),
            "lines": list(map(escape.printable, summary.lines(found, outcome, settings))),
        },
        "verdicts": [_statement(each) for each in found if each.kind != "doubt"],
        "doubts": [_statement(each) for each in found if each.kind == "doubt"],
        "arms": [_arm(row, outcome) for row in outcome.rows],
        "registered": registered,
        "costs": {"seconds": dict(outcome.seconds)},
    }


def registered(outcome: Outcome, served: Registered) -> dict[str, Any]:
    """Say which arm was registered, as which version, and whether and why it is served."""
    aliases = ["candidate", "champion"] if served.verdict.promoted else ["candidate"]
    pair = {"version": served.best_pair, **_who(outcome, outcome.best_pair)}
    return {
        "name": served.model_name,
        "version": served.version,
        **_who(outcome, outcome.served),
        "aliases": aliases + ["best_pair"] * (served.best_pair == served.version),
        "reason": served.verdict.reason,
        "best_pair": pair,
    }


def _who(outcome: Outcome, chosen: Choice) -> dict[str, Any]:
    return {"arm": outcome.line(chosen.key).name, "seed": chosen.key.seed}


def kept_registered(kept: records.Kept, outcome: Outcome) -> dict[str, Any] | None:
    """Read back what a study registered; None if its run does not say, or arms are missing."""
    if NAME not in kept.texts or outcome.missing:
        return None
    found: dict[str, Any] | None = json.loads(kept.texts[NAME])["registered"]
    return found


def _statement(statement: Statement) -> dict[str, Any]:
    return {
        "kind": statement.kind,
        "verdict": statement.verdict,
        "action": statement.action,
        "numbers": {name: _number(number) for name, number in statement.numbers.items()},
        "facts": statement.facts,
        "text": escape.printable(wording.sentence(statement)),
    }


def _number(number: Interval) -> dict[str, float | None]:
    ends = {"value": number.value, "low": number.low, "high": number.high}
    return {name: None if math.isnan(end) else end for name, end in ends.items()}


def _arm(row: Row, outcome: Outcome) -> dict[str, Any]:
    """Describe one line of the result: an encoder size, a stack or a baseline."""
    key, about = row.key, outcome.about
    alone = key.is_baseline
    return {
        "name": row.name,
        "kind": "baseline" if alone else "stack" if row.is_stack else "encoder",
        "base": None if alone and key.predictor not in ON_BASE_MODEL else key.base,
        "objective": key.predictor if alone else key.objective,
        "documents": None if alone else key.documents,
        "labels": key.labels,
        "seeds": list(about.seeds[:1] if alone else outcome.seeds),
        "metrics": {name: _number(row.scores[ours]) for name, ours in METRICS.items()},
        "seconds": dict(row.seconds),
        "cost": row.cost._asdict() if row.cost else None,
    }
