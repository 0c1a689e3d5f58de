"""What a study will cost, said before it starts: rows, sizes, tokens, time, disk; from a trial."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bat import cli
from bat.data.corpus import Corpus
from bat.models import embedding, encoder, regressor, search
from bat.models.encoder import Encoder
from bat.tuning.objectives import mlm, supervised
from bat.workflow import graph, study, tasks
from bat.workflow.preparation import Prepared
from bat.workflow.spec import StudySpec
from bat.workflow.tasks import Context

TIMINGS = 5  # of each kind, some of which a busy machine spoils; after one that sets things up
TIMED_TEXTS = 12  # embedded at a time: about one batch
TUNED_TEXTS = 96  # packed into the blocks that are tuned on
TIMED_ROWS, TIMED_TREES = 4_000, 20
# Of the most tree rows that a search may take, what early stopping leaves: least (0.29 was seen in
# four trials on auctions:300), usual, most (as far from the usual one).
TREES_USED = (0.2, 0.5, 0.8)
LONG_SECONDS = 3600.0  # from here on the plan says what a smaller corpus would take
SHORT_SECONDS = 900.0  # what the proposed limit aims at
LIMIT_STEP = 100  # proposed limits are whole hundreds
LOGGING_SECONDS = (6.0, 12.0, 24.0)  # an arm: two models and their tables into MLflow
STAGES = (
    "tuning",
    "embedding",
    "search",
    "supervised",
    "baselines",
    "serving",
)  # in the plan's order


@dataclass(frozen=True)
class Span:
    """Seconds, or seconds for one of something: at the fastest, usually, and at the slowest."""

    low: float
    usual: float
    high: float

    def __add__(self, other: Span) -> Span:
        """Take one after the other."""
        return Span(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def times(self, n: float) -> Span:
        """Take n of them."""
        return Span(n * self.low, n * self.usual, n * self.high)


NOTHING = Span(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """The estimate, stage by stage."""

    rows: int
    tokens: int
    seconds: Mapping[str, Span]
    disk_bytes: Mapping[str, int]

    @property
    def total(self) -> Span:
        """Seconds in all."""
        return sum(self.seconds.values(), NOTHING)


def make(context: Context) -> Plan:
    """Estimate a study from a calibration of some seconds on the corpus's own texts."""
    base, prepared, spec = context.base, context.prepared, context.spec
    listed = graph.graph(context)
    # Whichever are chosen: all take about as long.
    chosen = [next(iter(each)) for each in (listed.pairs, listed.stacks) if each]
    served = [graph.fitted_again(context, listed, key) for key in chosen]
    all_tasks = tasks.in_order([*listed.wanted, *served])
    rates = _rates(context)
    seconds: dict[str, Span] = dict.fromkeys(STAGES, NOTHING)
    disk_bytes = dict.fromkeys(STAGES, 0)
    for task in all_tasks:
        disk_bytes[task.stage] += task.bytes
        for kind, amount in task.work.items():
            seconds[task.stage] += rates[kind].times(amount)
    children = len(listed.arms) + len(listed.baselines)
    seconds["logging"] = Span(*LOGGING_SECONDS).times(children)
    logged = len(study.kept(base, spec)) + (spec.keep == "best") + len(chosen)  # those registered
    disk_bytes["logging"] = graph.weight_bytes(base) * logged
    return Plan(
        rows=len(prepared.corpus.texts),
        tokens=int(prepared.token_counts.sum()),
        seconds={stage: span for stage, span in seconds.items() if span != NOTHING},
        disk_bytes=disk_bytes,
    )


def _rates(context: Context) -> dict[str, Span]:
    """Time a little of each kind of work that a study has, on texts drawn from the corpus.

    Returns:
        Seconds for one of each kind of work.
    """
    base, spec = context.base, context.spec
    texts = context.prepared.corpus.texts
    picked = np.random.default_rng(0).permutation(len(texts))[:TUNED_TEXTS]
    sample = [texts[index] for index in picked]
    kinds = 2 + any(spec.sizes) + ("supervised" in spec.baselines)
    rates = {}
    with cli.bar("timing, for the plan", kinds, "stage") as bar:
        if any(spec.sizes):
            timings = mlm.token_rates(base, sample, spec.recipe, TIMINGS)
            rates[graph.TUNED_TOKEN] = _span(1 / rate for rate in timings)
            bar.update(1)
        if "supervised" in spec.baselines:
            few = sample[: 2 * supervised.BATCH_TEXTS]
            rates[graph.SUPERVISED_TEXT] = _span(supervised.seconds_a_text(base, few))
            bar.update(1)
        few = sample[:TIMED_TEXTS]
        tokens = np.minimum(encoder.token_counts(base, few), base.max_tokens).sum()
        embedded = _repeated(lambda: embedding.encode(base, few))
        rates[graph.EMBEDDED_TOKEN] = embedded.times(1 / tokens)
        bar.update(1)
        tree_row, rates[graph.FOLD] = _time_trees(base, context.prepared)
        low, usual, high = TREES_USED
        rates[graph.TREE_ROW] = Span(
            low * tree_row.low, usual * tree_row.usual, high * tree_row.high
        )
        bar.update(1)
    return rates


def _repeated(work: Callable[[], Any]) -> Span:
    """Time the same work several times, after once that sets up the machine's libraries."""
    timings = []
    for _ in range(1 + TIMINGS):
        began = time.monotonic()
        work()
        timings.append(time.monotonic() - began)
    return _span(timings[1:])


def _span(timings: Any) -> Span:
    """Take the fastest, the median and the slowest."""
    found = sorted(timings)
    return Span(found[0], statistics.median(found), found[-1])


def _time_trees(base: Encoder, prepared: Prepared) -> tuple[Span, Span]:
    """Time some trees on random features; what they learn does not change what they cost.

    Returns:
        For one tree over one row, and for the bins and the line of one fold.
    """
    train = prepared.rows("train")
    n = min(TIMED_ROWS, len(train))
    features = np.random.default_rng(0).normal(size=(n, base.dimension)).astype(np.float32)
    prices = prepared.corpus.prices[train[:n]]
    parts = search.assign_folds(n, folds=search.FOLDS, seed=0)
    rows = [(np.flatnonzero(parts != k), np.flatnonzero(parts == k)) for k in range(search.FOLDS)]

    def fold(number: int) -> regressor.Fold:
        return regressor.fold(features, prices, *rows[number])

    folds = [fold(number) for number in range(search.SCREEN_FOLDS)]

    def grow() -> None:
        regressor.cross_validate(
            folds, regressor.Settings(), seed=0, most_trees=TIMED_TREES, patience=10 * TIMED_TREES
        )

    tree_rows = TIMED_TREES * sum(len(learn) for learn, _ in rows[: search.SCREEN_FOLDS])
    return _repeated(grow).times(1 / tree_rows), _repeated(lambda: fold(0))


def text(plan: Plan, prepared: Prepared, spec: StudySpec) -> str:
    """Write the plan for a person."""
    loaded = prepared.corpus
    lines = [
        f"Plan for {loaded.name}: {loaded.n_read:,} rows read, {plan.rows:,} distinct kept, "
        f"{len(loaded.rejected):,} rejected; about {plan.tokens:,} tokens, "
        f"{prepared.unknown_share:.1%} of them unknown to the encoder.",
        *_cut_line(prepared),
        f"  Documents tuned on: {_sizes(spec.sizes)}; each with {_count(len(spec.seeds), 'seed')}"
        f" and {_count(spec.trials, 'trial')}.",
        *(f"  {stage:<10} {between(span)}" for stage, span in plan.seconds.items()),
        f"  {'in all':<10} {between(plan.total)} on this machine, by the fastest and the slowest "
        f"of {TIMINGS} short timings of each stage; disk {sum(plan.disk_bytes.values()) / 1e9:.1f} "
        "GB",
    ]
    lines += [f"  {finding.severity}: {finding.message}" for finding in prepared.findings]
    return "\n".join(lines)


def _cut_line(prepared: Prepared) -> list[str]:
    """Say where a time column has cut the rows, if it has."""
    cut = prepared.corpus.cut
    if cut is None:
        return []
    before, after = len(prepared.rows("train")), len(prepared.rows("held_out"))
    return [
        f"  Parts by {prepared.corpus.parts_by}: train ends with {cut.train_ends} "
        f"({before:,} rows), held out begins with {cut.held_out_begins} ({after:,} rows)."
    ]


def _sizes(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" if size else "0 (the factory encoder)" for size in sizes)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def is_long(plan: Plan) -> bool:
    """Say whether a way out is to be looked for."""
    return plan.total.usual > LONG_SECONDS


def shorter(
    plan: Plan, loaded: Corpus, spec: StudySpec, sizes_at: Callable[[int], Sequence[int] | None]
) -> str:
    """Propose the smallest limit near a quarter of an hour that the study's settings accept.

    Args:
        plan: of the whole study.
        loaded: the corpus as it was read.
        spec: what the study is to do.
        sizes_at: gives the sizes that the settings come to with a limit, None if it is refused.
    """
    aim = int(plan.rows * SHORT_SECONDS / plan.total.usual) // LIMIT_STEP * LIMIT_STEP
    limits = range(max(LIMIT_STEP, aim), len(loaded.texts), LIMIT_STEP)
    low, high = 0, len(limits)
    while low < high:  # more rows are accepted wherever fewer are, or nearly so
        middle = (low + high) // 2
        low, high = (low, middle) if sizes_at(limits[middle]) else (middle + 1, high)
    sizes = sizes_at(limits[low]) if low < len(limits) else None
    if not sizes:
        return "  This is long; fewer sizes, seeds or trials make it shorter."
    limit = limits[low]
    scale = dict.fromkeys(plan.seconds, limit / plan.rows)
    scale["logging"] = 1.0
    scale["tuning"] = sum(sizes) / max(1, sum(spec.sizes))
    spans = (span.times(scale[stage]) for stage, span in plan.seconds.items())
    return (
        f"  This is long. limit={limit} would take about "
        f"{between(sum(spans, NOTHING))} (documents tuned on: {_sizes(sizes)}); fewer "
        "sizes, seeds or trials also help."
    )


UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def between(span: Span) -> str:
    """Write a range of time in the unit a person would use for its end."""
    unit, length = next((u, s) for u, s in UNITS if span.high >= 1.5 * s or s == 1.0)
    low, high = (
        f"{value:.1f}" if value < 3 and length > 1 else f"{value:.0f}"
        for value in (span.low / length, math.ceil(span.high) / length)
    )
    return f"{low} to {high} {unit}" if low != high else f"{high} {unit}"


def duration(seconds: float) -> str:
    """Write a time in the unit a person would use."""
    for unit, length in UNITS[:-1]:
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
