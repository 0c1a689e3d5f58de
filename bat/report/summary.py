"""The answer in a few lines: a verdict that says what to do, and what it rests on.

All that a study says stands in its statements; here is what a reader needs first.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bat import cli
from bat.formatting import number
from bat.report import analysis, wording
from bat.report.verdict import Statement
from bat.workflow import plan
from bat.workflow.outcome import Outcome

SEEDS = "0,1,2"  # what a study with fewer is advised to take (convention)


def headline(found: Sequence[Statement]) -> str:
    """Say in a sentence or two whether tuning is worth it, and what to serve.

    Args:
        found: all statements of a study.
    """
    gain, served = _first(found, "gain"), _first(found, "served")
    parts = [_tuning(gain) if gain else "No encoder was tuned: there is nothing to compare."]
    if _first(found, "doubt", "unfinished"):
        parts.insert(0, "Unfinished.")
    if served:
        parts.append(_serve(served))
    return " ".join(parts)


def lines(
    found: Sequence[Statement], outcome: Outcome, settings: Mapping[str, object]
) -> list[str]:
    """Say in at most five lines what words do, how much is enough, what it costs, what to do next.

    Args:
        found: all statements of the study.
        outcome: of the study.
        settings: what the user asked for, by name.
    """
    said = [*_words(found), *_enough(found), _cost(outcome, _first(found, "served"))]
    doubts = [each for each in found if each.kind == "doubt"]
    if doubts:
        few = "1 thing" if len(doubts) == 1 else f"{len(doubts)} things"
        said.append(f"Before you rely on it: {few} to know, under Details.")
    return [*said, f"Next: {_next(found, settings)}"]


def _first(found: Sequence[Statement], kind: str, *verdicts: str) -> Statement | None:
    """Find the first statement of a kind, with one of some verdicts where they are named."""
    fitting = (each for each in found if each.kind == kind)
    return next((each for each in fitting if not verdicts or each.verdict in verdicts), None)


def _tuning(gain: Statement) -> str:
    begun = {
        "worth_it": "Worth it",
        "not_worth_it": "Not worth it",
        "does_harm": "Not worth it",
        "too_early": "Too early to tell",
    }[gain.verdict]
    told = (
        f"{begun}: tuning on {gain.facts['documents']:,} bare texts changed the error by "
        f"{wording.change(gain.numbers['share'])}"
    )
    least = wording.percent(gain.facts["worth"])
    if gain.verdict == "not_worth_it":
        told += f"; a gain of {least} would pay"
    if gain.verdict == "too_early" and "rows_if_nothing" in gain.facts:
        names = ("rows_if_nothing", "rows_if_twice", "corpus_rows")
        rows = max(gain.facts[name] for name in names)
        told += f"; a corpus of about {wording.rounded(rows)} rows would tell"
    return f"{told}."


def _serve(served: Statement) -> str:
    error = f"its error is {number('mae', served.numbers['mae'].value, unit=served.unit)}"
    lower = ""
    if "mae_minus_pair" in served.numbers:
        share = served.numbers["mae_minus_pair"].value / served.numbers["pair_mae"].value
        lower = f", {wording.percent(abs(share))} {'lower' if share < 0 else 'higher'} than that "
        lower += "of the best encoder alone"
    return f"Serve {served.facts['arm']}: {error}{lower}."


def _words(found: Sequence[Statement]) -> Iterator[str]:
    """Say what the embedding adds to words, and what tuning adds to both."""
    calls = {
        "worth_it": "worth it",
        "not_worth_it": "not worth it",
        "does_harm": "harmful",
        "too_early": "too early to tell",
    }
    added = {each.facts["what"]: each for each in found if each.kind == "addition"}
    parts = []
    if each := added.get(analysis.EMBEDDING):
        parts.append(
            f"{wording.embedding_and(each.facts)} changes the error of {each.facts['other']} "
            f"({number('mae', each.numbers['before_mae'].value, unit=each.unit)}) by "
            f"{wording.change(each.numbers['share'])}: {calls[each.verdict]}"
        )
    if each := added.get(analysis.TUNING):
        parts.append(
            f"tuning changes that of {each.facts['other']} by "
            f"{wording.change(each.numbers['share'])}: {calls[each.verdict]}"
        )
    if parts:
        yield f"Beside words: {'; '.join(parts)}."


def _enough(found: Sequence[Statement]) -> Iterator[str]:
    """Say how many documents are enough, or why that has no answer."""
    if each := _first(found, "enough") or _first(found, "curve"):
        yield wording.sentence(each)


def _cost(outcome: Outcome, served: Statement | None) -> str:
    spent = {stage: seconds for stage, seconds in outcome.seconds.items() if seconds >= 1}
    stages = ", ".join(f"{stage} {plan.duration(seconds)}" for stage, seconds in spent.items())
    told = f"Cost: {plan.duration(sum(outcome.seconds.values()))} of computing"
    told += f" ({stages})" if stages else ""
    if served and "milliseconds_a_text" in served.facts:
        told += (
            f"; a served text takes {served.facts['milliseconds_a_text']:.3g} ms, the files "
            f"{served.facts['megabytes']:.3g} MB"
        )
    return f"{told}."


def _next(found: Sequence[Statement], settings: Mapping[str, object]) -> str:
    """Name what to do, with a command that can be pasted where there is one."""
    gain, warned = _first(found, "gain"), _first(found, "doubt", "data_warning")
    if _first(found, "doubt", "unfinished"):
        return "start the same command again: it goes on from where it was."
    if warned:
        return f"look at checks.csv, since {warned.facts['message']}."
    if gain and gain.verdict == "too_early":
        if str(settings.get("limit", 0)) not in ("0", ""):
            return f"take all rows: {_again(settings, limit='0')}"
        if gain.facts.get("seeds", 1) < len(SEEDS.split(",")):
            return f"measure with more seeds: {_again(settings, seeds=SEEDS)}"
        return "collect more rows of this kind, and start the same command again."
    if gain and gain.verdict != "worth_it" and "supervised" not in str(settings.get("baselines")):
        names = ",".join((*cli.DEFAULT_BASELINES, "supervised"))
        return f"see what learning from the targets brings: {_again(settings, baselines=names)}"
    return "serve it, with the command below." if _first(found, "served") else "nothing more here."


def _again(settings: Mapping[str, object], **changes: str) -> str:
    """Write the command of a study with some settings changed."""
    usual = {each.name: each.default for each in dataclasses.fields(cli.DataConfig)}
    usual["base_model"] = cli.DEFAULT_ENCODER
    kept: dict[str, Any] = {"data": settings.get("data", usual["data"])}
    for name, default in usual.items():
        if name in settings and str(settings[name]).lower() != str(default).lower():
            kept[name] = settings[name]
    words = (f"-P {shlex.quote(f'{name}={value}')}" for name, value in (kept | changes).items())
    return f"mlflow run . -e scaling_study --env-manager local {' '.join(words)}"
