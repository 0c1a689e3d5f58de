"""What a command says to the person at the terminal when its work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bat import escape
from bat.formatting import interval, number
from bat.registry import versions
from bat.registry.champion import Registered
from bat.report import summary, tables, wording
from bat.report.analysis import Together
from bat.report.tables import TITLES, plain_table
from bat.report.verdict import Statement, row_counts, statements
from bat.stats import bootstrap
from bat.workflow import preparation, stages, study
from bat.workflow.outcome import Outcome

PROTOCOLS = {
    "inductive": "the encoder was not tuned on any held-out text",
    "transductive": "the encoder was tuned on held-out texts: new texts may fare worse",
    "unknown": "nobody noted what the encoder was tuned on",
}


def screen(outcome: Outcome, settings: Mapping[str, object]) -> str:
    """Write for a terminal the answer, the table, and the details.

    Args:
        outcome: of the study.
        settings: what the user asked for, by name.
    """
    found = statements(outcome)
    return (
        f"\n{escape.printable(summary.headline(found))}\n"
        f"{wording.listed(summary.lines(found, outcome, settings))}\n\n"
        f"{plain_table(tables.table(outcome))}\n"
        f"(95 % bootstrap intervals over {wording.tested(outcome)})\n\n"
        f"Details\n{wording.listed(wording.answer(found))}\n\n"
        f"{wording.listed(wording.hypotheses(found))}"
    )


def registered(served: Registered) -> str:
    """Say what a study registered, whether it is served, how far to trust it, and what to do."""
    inside, verdict = served.inside, served.verdict
    share, low, high = (f"{100 * value:.1f} %" for value in (inside.value, inside.low, inside.high))
    role = "the champion" if verdict.promoted else "the candidate, which is not served"
    return (
        f"Registered as {served.model_name} version {served.version}, {role}: {verdict.reason}. "
        f"{share} [{low}, {high}] of the held-out prices lie in its {served.coverage:.0%} "
        f"interval.{_pair_beside(served)}\n"
        f"Serve it: {_serve_command(served.address)}"
    )


def _pair_beside(served: Registered) -> str:
    """Say where the best encoder and regressor are, if something else was registered to serve."""
    if served.best_pair == served.version:
        return ""
    return (
        f"\nThe best encoder and regressor by themselves are version {served.best_pair} (alias "
        f"{versions.BEST_PAIR}): models:/{served.model_name}@{versions.BEST_PAIR}."
    )


def _serve_command(address: str) -> str:
    """Write the command that serves a registered pair."""
    return f"mlflow models serve -m {address} --env-manager local -p 5001"


def comparison(together: Together, differences: Sequence[Statement]) -> str:
    """Write for a terminal how studies differ (from ``verdict.differences``), and all arms."""
    first = next(iter(together.values()))
    return (
        f"\n{wording.listed(wording.answer(differences))}\n\n{plain_table(tables.table_together(together))}\n"
        f"(95 % bootstrap intervals over {wording.tested(first)})"
    )


def promotion_text(
    model_name: str, before: str | None, now: str, standings: Sequence[Mapping[str, str]]
) -> str:
    """Say which version is served now, which was, and who is what in the registry."""
    lines = [list(standings[0]), *(list(each.values()) for each in standings)]
    was = f"version {before} was" if before else "there was none"
    return (
        f"Champion of {model_name} is version {now} ({was}).\n\n{plain_table(lines)}\n\n"
        f"Serve it: {_serve_command(f'models:/{model_name}@champion')}"
    )


def evaluation_text(
    evaluation: stages.Evaluation, prepared: preparation.Prepared, protocol: str
) -> str:
    """Write the scores of one pair for a person."""
    loaded, held_out = prepared.corpus, prepared.rows("held_out")
    groups = loaded.group_ids[held_out]
    targets, guesses = loaded.prices[held_out], evaluation.predictions[held_out]
    scores = bootstrap.bootstrap(targets, guesses, groups=groups, chance=True)
    lines = [[TITLES[name], interval(name, scores[name])] for name in bootstrap.NAMES]
    return (
        f"{plain_table(lines)}\n(95 % bootstrap intervals over "
        f"{wording.rows(row_counts(len(held_out), groups, loaded.parts_by))}; "
        f"{protocol}: {PROTOCOLS[protocol]})"
    )


def tuning_text(tuned: stages.TunedFolder, base: str, evaluate: str) -> str:
    """Write for a person how one tuning went, and the command that evaluates its encoder."""
    story = tuned.story
    losses = [loss for _, loss in story["held_out"] or story["losses"]]
    kind = "Held-out" if story["held_out"] else "Training"
    return (
        f"{base} tuned on {story['documents']:,} documents ({story['tokens']:,} tokens, "
        f"{story['steps']:,} steps, {study.tokens_per_second(story):,.0f} tokens/s).\n"
        f"{kind} loss a masked token {losses[0]:.3f} → {losses[-1]:.3f}, of the weights as tuned. "
        f"Reloaded, its embeddings differ by at most {story['reload_difference']:.1g}.\n"
        f"Evaluate it: {evaluate}"
    )


def errors_text(errors: Mapping[str, float]) -> str:
    """Say how far the prices of a scored file are off, and how often the interval holds the truth.

    Args:
        errors: as ``score.Scored`` has them.
    """
    labels = {"mae": "MAE", "medae": "MedAE", "r2": "R²", "r2_log": "R² of log price"}
    parts = [
        f"{label} {_with_ends(name, errors)}" for name, label in labels.items() if name in errors
    ]
    rows, used = int(errors["rows_with_price"]), int(errors["rows_evaluated"])
    drawn = f" (of {used:,} of them, drawn at random)" if used < rows else ""
    return (
        f"On {rows:,} rows with a true price{drawn}: {', '.join(parts)}; "
        f"{_with_ends('coverage', errors)} of the true prices lie inside their intervals."
    )


def _with_ends(name: str, errors: Mapping[str, float]) -> str:
    """Write a metric with the ends of its interval, where it has any."""
    ends = [errors[f"{name}{end}"] for end in ("", "_low", "_high") if f"{name}{end}" in errors]
    if name == "coverage":
        value, low, high = (f"{end:.1%}" for end in ends)
        return f"{value} [{low}, {high}]"
    return interval(name, bootstrap.Interval(*ends)) if len(ends) > 1 else number(name, ends[0])
