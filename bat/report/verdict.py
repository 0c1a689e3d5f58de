"""The answer of a study as data: statements that terminal, note, page and ``answer.json`` render.

``wording.sentence`` puts a statement into words; no wording is decided here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bat import cli
from bat.cli import InputError
from bat.data import corpus
from bat.models import predictors, stack
from bat.report import analysis
from bat.report.analysis import Together
from bat.stats import bootstrap, hypotheses, learning_curve, worth
from bat.stats.bootstrap import Interval
from bat.workflow.choice import Choice
from bat.workflow.outcome import Outcome, Row

FEW_SEEDS = 5  # below it, seeds resampled say little (arXiv 2511.19794)

# Each kind with its verdicts; docs/answer.md says what the words mean.
Kind = Literal[
    "gain", "curve", "enough", "forecast", "backtest", "stop", "choice", "baseline", "addition",
    "served", "doubt", "hypothesis", "words", "difference",
]  # fmt: skip
VERDICTS: Mapping[Kind, tuple[str, ...]] = {
    "gain": ("worth_it", "not_worth_it", "does_harm", "too_early"),
    "curve": ("too_few_rows", "no_gain", "no_shape", "not_tested"),
    "enough": ("on_curve", "among_sizes"),
    "forecast": ("expected",),
    "backtest": ("holds", "misses"),
    "stop": ("stopped", "went_on"),
    "choice": ("tuned", "factory", "only_factory", "open"),
    "baseline": ("beats", "no_difference", "loses"),
    "addition": ("worth_it", "not_worth_it", "does_harm", "too_early"),
    "served": ("best", "as_good", "in_time", "too_slow"),
    "doubt": (
        "few_seeds", "two_encoders", "transductive", "base_saw_held_out_texts", "few_groups",
        "unfinished", "seed_not_counted", "data_warning",
    ),
    "hypothesis": ("holds", "does_not_hold", "cannot_tell"),
    "words": ("strongest",),
    "difference": ("better", "no_difference", "worse"),
}  # fmt: skip
Action = Literal[
    "none", "fine_tune", "use_factory", "use_fewer_documents", "use_baseline", "add_rows",
    "add_sizes", "add_seeds", "add_groups", "weigh_cost", "tune_on_train", "change_base_model",
    "finish_study", "check_data", "serve",
]  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One thing that a study says: what it is about, how it came out, and what follows.

    Two statements are equal when they say the same, whatever the words.
    """

    kind: Kind
    verdict: str  # one of ``VERDICTS`` of the kind
    action: Action = "none"  # what a reader may do
    numbers: Mapping[str, Interval] = field(default_factory=dict)  # with 95 % intervals
    facts: Mapping[str, Any] = field(default_factory=dict)  # counts, names and reasons; for JSON
    unit: str = ""  # of the target, if its user has named one

    def __post_init__(self) -> None:
        """Refuse a verdict that no reader of ``answer.json`` was promised.

        Raises:
            ValueError: the kind has no such verdict.
        """
        if self.verdict not in VERDICTS[self.kind]:
            known = ", ".join(VERDICTS[self.kind])
            raise ValueError(f"got the verdict {self.verdict!r} of {self.kind}; expected {known}")


@functools.lru_cache(maxsize=2)
def statements(outcome: Outcome) -> tuple[Statement, ...]:
    """List all that a study says, in the order of reading.

    Whether tuning paid, how many documents are enough, which pair was chosen, how baselines
    compare, what an embedding and tuning add to words, what is served, what a reader must know
    before believing it (``doubt``), the working hypotheses, and the words that move prices most.
    """
    tuned = outcome.tuned
    found: tuple[Statement, ...] = (
        *_tuning(outcome, tuned),
        _choice(outcome),
        *_baselines(outcome, tuned),
        *_additions(outcome),
        *_served(outcome),
        *doubts(outcome),
        *_hypotheses(outcome),
        *_words(outcome),
    )
    return tuple(dataclasses.replace(each, unit=outcome.about.unit) for each in found)


def sign(difference: Interval) -> int:
    """Tell whether a paired difference is shown to be below 0 (-1), above 0 (1), or neither (0)."""
    return int(difference.low > 0) - int(difference.high < 0)


def _tuning(outcome: Outcome, tuned: Sequence[Row]) -> Iterator[Statement]:
    """Compare the largest tuned encoder with the factory's, and follow the curve up to it."""
    factory = outcome.row("factory")
    if not tuned or not factory:
        return
    full = tuned[-1]
    change = analysis.paired(outcome, full, factory)
    actions: dict[str, Action] = {
        worth.WORTH_IT: "fine_tune",
        worth.NOT_WORTH_IT: "use_factory",
        worth.DOES_HARM: "use_factory",
        worth.TOO_EARLY: "add_rows",
    }
    found = analysis.verdicts(outcome)[full.name]
    numbers = {"share": found.gain.share, "mae": change["mae"], "r2_log": change["r2_log"]}
    numbers |= {f"factory_{name}": factory.scores[name] for name in ("mae", "r2_log")}
    facts = {"documents": full.documents, "worth": outcome.about.worth, **tested_on(outcome)}
    if plan := found.plan:
        facts |= {"rows_if_nothing": plan.if_nothing, "rows_if_twice": plan.if_twice}
        facts |= {"seeds": found.gain.seeds, "seeds_needed": plan.seeds}
        facts |= {"corpus_rows": sum(outcome.about.parts.values())}
    yield Statement("gain", found.verdict, actions[found.verdict], numbers, facts)
    if analysis.has_curve(outcome):
        yield from _along_the_curve(analysis.learned(outcome)[0]["mae"], outcome.about.margin)
    elif len(tuned) > 1:
        facts = {"test_rows": len(outcome.prices), "needed": learning_curve.FEWEST_ROWS}
        yield Statement("curve", "too_few_rows", "add_rows", facts=facts)
    yield from _stop(outcome)


def tested_on(outcome: Outcome) -> dict[str, Any]:
    """Count the held-out rows on which a study's intervals rest, and their groups."""
    return row_counts(len(outcome.prices), outcome.groups, outcome.about.parts_by)


def row_counts(test_rows: int, groups: npt.ArrayLike | None, parts_by: str) -> dict[str, Any]:
    """Count held-out rows and their groups (0: each row is alone), and say what a group is."""
    grouped_by = "groups" if parts_by.startswith("group_column") else "texts"
    count = analysis.group_count(groups)
    return {"test_rows": test_rows, "groups": count, "groups_of": grouped_by}


def _along_the_curve(found: learning_curve.Curve, margin: float) -> Iterator[Statement]:
    """Say how many documents are enough and what more would bring, or that neither can be said."""
    if enough := found.enough:
        number = Interval(float(enough.documents), float(enough.low), float(enough.high))
        verdict = "on_curve" if enough.on_curve else "among_sizes"
        yield Statement(
            "enough", verdict, "use_fewer_documents", {"documents": number}, {"margin": margin}
        )
    if found.forecasts:
        numbers = {f"mae_with_{each.documents}": each.score for each in found.forecasts}
        sizes = [each.documents for each in found.forecasts]
        yield Statement("forecast", "expected", numbers=numbers, facts={"documents": sizes})
    if found.backtest:
        error = found.backtest.error
        verdict = "misses" if sign(error) else "holds"
        facts = {"documents": found.backtest.fitted[-1]}
        yield Statement("backtest", verdict, numbers={"mae": error}, facts=facts)
    words: dict[str, tuple[str, Action]] = {
        learning_curve.NO_GAIN: ("no_gain", "none"),
        learning_curve.NO_TEST: ("not_tested", "add_sizes"),
    }
    for reason in found.refusals:
        verdict, action = words.get(reason, ("no_shape", "add_sizes"))
        yield Statement("curve", verdict, action, facts={"reason": reason})


def _stop(outcome: Outcome) -> Iterator[Statement]:
    """Say which sizes were left out and why, or why none was."""
    if not outcome.stop or (outcome.missing and not outcome.skipped):
        return
    verdict = "stopped" if outcome.skipped else "went_on"
    facts = {"documents": list(outcome.skipped), "reason": outcome.stop.reason}
    yield Statement("stop", verdict, facts=facts)


def _choice(outcome: Outcome) -> Statement:
    """Say which encoder has the least held-out error; of an old study, which was chosen."""
    pair = outcome.best_pair
    facts: dict[str, Any] = {"documents": pair.key.documents, "seed": pair.key.seed}
    facts |= {"seeds": len(outcome.seeds)} | _chosen_on(outcome)
    if _arms_missing(outcome):
        return Statement("choice", "open", "finish_study", facts=facts)
    if not outcome.tuned:
        return Statement("choice", "only_factory", facts=facts)
    verdict = "tuned" if pair.key.documents else "factory"
    if "chosen_on" in facts:
        return Statement("choice", verdict, facts=facts)
    mae = _scored(outcome, pair, by_chance=True)
    return Statement("choice", verdict, numbers={"mae": mae}, facts=facts)


def _arms_missing(outcome: Outcome) -> bool:
    return any("documents=" in name for name in outcome.missing)


def _scored(outcome: Outcome, chosen: Choice, *, by_chance: bool) -> Interval:
    """Give the MAE of choices like one, on rows that had no say in them."""
    return bootstrap.bootstrap(
        outcome.prices, chosen.predictions, groups=outcome.groups, chance=by_chance
    )["mae"]


def _additions(outcome: Outcome) -> Iterator[Statement]:
    """Say what the factory embedding adds to words, and what tuning adds to both."""
    actions: dict[str, Action] = {worth.TOO_EARLY: "add_rows", worth.WORTH_IT: "serve"}
    for what, ours, theirs, found in analysis.beside_words(outcome):
        change = analysis.paired(outcome, ours, theirs)
        numbers = {"share": found.gain.share, "mae": change["mae"], "r2_log": change["r2_log"]}
        numbers["before_mae"] = theirs.scores["mae"]
        facts: dict[str, Any] = {"what": what, "arm": ours.name, "other": theirs.name}
        facts |= {"worth": outcome.about.worth, "documents": ours.key.documents}
        facts |= {"uses": list(ours.uses), "also": _also(ours, theirs)}
        if what == analysis.TUNING:
            bare = analysis.verdicts(outcome).get(analysis.largest(outcome).name)
            facts["bare_verdict"] = bare.verdict if bare else None
        yield Statement(
            "addition", found.verdict, actions.get(found.verdict, "none"), numbers, facts
        )


def _also(ours: Row, theirs: Row) -> list[str]:
    """List what one line reads and another does not, beside words and the embedding."""
    known = (stack.EMBEDDING, stack.LINE, *(theirs.uses or (stack.WORD_LINE,)))
    return [part for part in ours.uses if part not in known]


def _served(outcome: Outcome) -> Iterator[Statement]:
    """Say what is served, and why that and nothing else; old studies served their pair."""
    if outcome.about.protocol != corpus.PROTOCOL or outcome.missing:
        return
    row = outcome.line(outcome.served.key)
    rivals = [each for each in outcome.rows if outcome.about.may_serve(each.key.predictor)]
    best = min(rivals, key=lambda each: each.scores["mae"].value)
    method = predictors.named(row.key.predictor)
    within, verdict = outcome.about.serve_within, "best" if row is best else "as_good"
    if within is not None:
        took = row.cost.milliseconds_a_text if row.cost else math.inf
        verdict = "in_time" if took <= within else "too_slow"
    facts: dict[str, Any] = {"arm": row.name, "predictor": row.key.predictor, "best": best.name}
    facts |= {"serve_within": within, "reads_words": method.holds_words}
    facts |= row.cost._asdict() if row.cost else {}
    facts |= {"uses": list(row.uses)} if row.uses else {}
    numbers = {"mae": _scored(outcome, outcome.served, by_chance=row.by_chance)}
    if (pair := outcome.line(outcome.best_pair.key)) is not row:
        facts["pair"] = pair.name
        numbers["pair_mae"] = pair.scores["mae"]
        numbers["mae_minus_pair"] = analysis.paired(outcome, row, pair)["mae"]
    yield Statement("served", verdict, "serve", numbers, facts)


def _chosen_on(outcome: Outcome) -> dict[str, str]:
    """Name the rows that chose arms and the best baseline, where they were a part of their own."""
    return {} if outcome.about.protocol == corpus.PROTOCOL else {"chosen_on": "validation rows"}


def _baselines(outcome: Outcome, tuned: Sequence[Row]) -> Iterator[Statement]:
    """Compare the largest arm with what costs nearly nothing, and with learning from prices."""
    last = tuned[-1] if tuned else outcome.row("factory")
    if not last:
        return
    best = analysis.best_baseline(outcome)
    roles = {analysis.WORDS: "same_search", analysis.SUPERVISED: "end_to_end"}
    outcomes: dict[int, tuple[str, Action]] = {
        -1: ("beats", "none"),
        0: ("no_difference", "use_baseline"),
        1: ("loses", "use_baseline"),
    }
    for row in outcome.rows:
        if row is best or row.name in roles:
            mae = analysis.paired(outcome, last, row)["mae"]
            verdict, action = outcomes[sign(mae)]
            role = "best_baseline" if row is best else roles[row.name]
            if verdict == "no_difference" and role == "end_to_end":
                action = "none"  # neither is better, and this one is not the cheaper one
            facts = {"arm": last.name, "baseline": row.name, "role": role} | _chosen_on(outcome)
            yield Statement("baseline", verdict, action, {"mae": mae}, facts)


def doubts(outcome: Outcome) -> Iterator[Statement]:
    """State what a reader must know before believing the numbers."""
    about = outcome.about
    seeds = max(len(row.predictions) for row in outcome.rows)
    if seeds < FEW_SEEDS:
        yield _doubt("few_seeds", "add_seeds", seeds=seeds)
    if about.features == cli.FACTORY_TUNED:
        yield _doubt("two_encoders", "weigh_cost")
    if about.finetune_on == "all":
        yield _doubt("transductive", "tune_on_train")
    if about.base_protocol == "transductive":
        yield _doubt("base_saw_held_out_texts", "change_base_model", base=about.base)
    groups, needed = analysis.group_count(outcome.groups), bootstrap.FEW_GROUPS
    if groups and groups < needed:
        facts = {"groups": groups, "needed": needed, "parts_by": about.parts_by}
        yield _doubt("few_groups", "add_groups", **facts)
    yield from _what_is_missing(outcome)
    for each in about.findings:
        if each.severity == "warning":
            facts = {"check": each.check, "count": each.count, "message": each.message}
            yield _doubt("data_warning", "check_data", **facts)


def _what_is_missing(outcome: Outcome) -> Iterator[Statement]:
    if outcome.missing:
        yield _doubt("unfinished", "finish_study", missing=list(outcome.missing))
    for seed in outcome.about.seeds:
        if seed not in outcome.seeds:
            yield _doubt("seed_not_counted", "finish_study", seed=seed)


def _doubt(verdict: str, action: Action, **facts: Any) -> Statement:
    return Statement("doubt", verdict, action, facts=facts)


def _hypotheses(outcome: Outcome) -> Iterator[Statement]:
    """Give the verdicts on the working hypotheses, each with the number that decides."""
    if not analysis.has_curve(outcome):
        return
    words = {
        hypotheses.HOLDS: "holds",
        hypotheses.FAILS: "does_not_hold",
        hypotheses.OPEN: "cannot_tell",
    }
    for each in analysis.learned(outcome)[1]:
        numbers = {"deciding": each.number} if each.number else {}
        facts = {"name": each.name, "claim": each.claim, "reason": each.reason}
        yield Statement("hypothesis", words[each.verdict], numbers=numbers, facts=facts)


def _words(outcome: Outcome) -> Iterator[Statement]:
    """List the words that move prices most, by the first baseline that adds up words."""
    for row in outcome.rows:
        if row.strongest:
            words = [each._asdict() for each in row.strongest]
            yield Statement("words", "strongest", facts={"baseline": row.name, "words": words})
            return


def differences(together: Together) -> list[Statement]:
    """Compare each study's largest encoder with that of the first, on the same held-out rows.

    The doubts of each study follow, labelled with its name (``study``).

    Raises:
        InputError: the studies have different held-out rows, or share no seed.
    """
    _check_comparable(together)
    (name, first), *others = together.items()
    return [_difference(name, first, label, outcome) for label, outcome in others] + [
        dataclasses.replace(doubt, facts={**doubt.facts, "study": label})
        for label, each in together.items()
        for doubt in doubts(each)
    ]


def _difference(name: str, first: Outcome, label: str, outcome: Outcome) -> Statement:
    """Compare a study's largest encoder with that of the first, over the seeds that they share."""
    mine, best = analysis.largest(outcome), analysis.largest(first)
    seeds = [seed for seed in first.seeds if seed in outcome.seeds]
    if not seeds:
        raise InputError(
            f"{name} with the seeds {list(first.seeds)}, {label} with {list(outcome.seeds)}",
            "studies that share a seed: the same order of documents and the same folds",
            "run one of them again with the other's seed",
        )
    ours, theirs = (
        row.predictions[[list(each.seeds).index(seed) for seed in seeds]]
        for row, each in ((mine, outcome), (best, first))
    )
    found = bootstrap.paired(
        outcome.prices, ours, theirs, groups=outcome.groups, chance=(True, True)
    )
    return Statement(
        "difference",
        {-1: "better", 0: "no_difference", 1: "worse"}[sign(found["mae"])],
        numbers={metric: found[metric] for metric in ("r2", "medae", "mae")},
        facts={"label": label, "arm": mine.name, "other_label": name, "other_arm": best.name},
        unit=first.about.unit,
    )


def _check_comparable(together: Together) -> None:
    """Refuse to compare studies whose held-out rows differ, or which judge by other rules.

    Raises:
        InputError: they do.
    """
    (name, first), *others = together.items()
    for label, outcome in others:
        if outcome.about.protocol != first.about.protocol:
            raise InputError(
                f"{name}, {_judged_by(first)}, and {label}, {_judged_by(outcome)}",
                "studies of one protocol: rows that one has held out, another may have learnt from",
                "give each its own report, or run the older study again with this version of bat",
            )
        if not np.array_equal(outcome.prices, first.prices):
            raise InputError(
                f"{name} on {first.about.corpus}, {label} on {outcome.about.corpus}",
                "studies with the same held-out rows: same data, limit, group_column, time_column",
                "give each its own report",
            )


def _judged_by(outcome: Outcome) -> str:
    """Say by which protocol a study judges."""
    parts = ", ".join(outcome.about.parts).replace("_", " ")
    return f"judged by protocol {outcome.about.protocol} (parts: {parts})"
