"""What a study will cost, said before it starts: rows, tokens, time, disk; from a short trial."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bat import baselines, encoder, mlm, regressor, search, study, supervised
from bat.encoder import Encoder
from bat.study import Prepared

TIMED_TEXTS = 96  # embedded, and masked, for the two rates; some seconds each
TIMED_ROWS, TIMED_TREES = 4_000, 20
TREES_USED = 0.5  # of the most that a search may grow, before early stopping
LONG_SECONDS = 3600.0  # from here on the plan says what a smaller corpus would take
SHORT_SECONDS = 900.0  # what the proposed limit aims at
LOGGING_SECONDS = 12.0  # an arm: two models and their tables into MLflow


@dataclass(frozen=True)
class Plan:
    """The estimate, stage by stage."""

    rows: int
    aside: int
    rejected: int
    tokens: int
    seconds: dict[str, float]
    disk_bytes: dict[str, int]

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


def make(base: Encoder, prepared: Prepared, texts: Sequence[str], asked: study.Asked) -> Plan:
    """Estimate a study from a calibration of some seconds on the corpus's own texts.

    Args:
        base: the factory encoder.
        prepared: the corpus.
        texts: to tune on.
        asked: what the study is to do.
    """
    loaded = prepared.corpus
    n = len(loaded.texts)
    picked = np.random.default_rng(0).permutation(n)[:TIMED_TEXTS]
    sample = [loaded.texts[index] for index in picked]
    mean_tokens = float(prepared.token_counts.mean())
    sizes, n_seeds, with_baselines = asked.sizes, len(asked.seeds), asked.baselines
    arms, tuned = len(sizes) * n_seeds, [size for size in sizes if size]
    searches = arms + sum(name in baselines.SEARCHED for name in with_baselines)
    beside = study.beside_tuned(base, asked) is not None
    # The factory encoder embeds once, whatever the number of seeds.
    embedded = len(tuned) * n_seeds + (0 in sizes or beside)
    if beside:  # twice the columns take a search twice as long
        searches += len(tuned) * n_seeds
    seconds = {
        "tuning": _tuning_seconds(base, texts[:TIMED_TEXTS], tuned, asked, mean_tokens) * n_seeds,
        "embedding": n / _texts_per_second(base, sample) * embedded,
        "search": _search_seconds(base, prepared, asked.trials) * searches,
        "logging": LOGGING_SECONDS * arms,
    }
    if "supervised" in with_baselines:
        rows = len(prepared.rows("train")) * supervised.PASSES
        rate = mlm.tokens_per_second(base, sample, asked.recipe)
        seconds["supervised"] = rows * mean_tokens / rate
    logged = len(study.kept(base, asked)) + (asked.keep == "best")
    embeddings = 4 * base.dimension * len(set(loaded.texts))
    return Plan(
        rows=n,
        aside=len(prepared.rows("aside")),
        rejected=len(loaded.rejected),
        tokens=int(prepared.token_counts.sum()),
        seconds=seconds,
        disk_bytes={
            # In the cache, in MLflow, and in the registered pair.
            "encoders": study.weight_bytes(base) * (len(tuned) * n_seeds + logged + 1),
            "embeddings": embeddings * (len(tuned) * n_seeds + 1),
        },
    )


def _tuning_seconds(
    base: Encoder,
    sample: Sequence[str],
    sizes: Sequence[int],
    asked: study.Asked,
    mean_tokens: float,
) -> float:
    if not sizes:
        return 0.0
    rate = mlm.tokens_per_second(base, sample, asked.recipe)
    decay = asked.recipe.decay_share
    if asked.schedule == "one_pass":
        documents = (1 - decay) * sizes[-1] + decay * sum(sizes)
    else:
        documents = float(sum(sizes)) * asked.recipe.passes
    return documents * mean_tokens / rate


def _texts_per_second(base: Encoder, sample: Sequence[str]) -> float:
    encoder.encode(base, sample[:8])  # sets up the machine's libraries
    began = time.monotonic()
    encoder.encode(base, sample[:TIMED_TEXTS])
    return min(TIMED_TEXTS, len(sample)) / (time.monotonic() - began)


def _search_seconds(base: Encoder, prepared: Prepared, trials: int) -> float:
    """Time some trees on random features; what they learn does not change what they cost."""
    train = prepared.rows("train")
    n = min(TIMED_ROWS, len(train))
    features = np.random.default_rng(0).normal(size=(n, base.dimension)).astype(np.float32)
    prices = prepared.corpus.prices[train[:n]]

    def seconds(n_trees: int) -> float:
        began = time.monotonic()
        regressor.fit(features, prices, regressor.Settings(), n_trees=n_trees, seed=0)
        return time.monotonic() - began

    once = seconds(1)  # with the bins and the line, which a search makes only a few times
    per_tree_row = max(0.0, seconds(1 + TIMED_TREES) - once) / (TIMED_TREES * n)
    return per_tree_row * _tree_rows(len(train), trials)


def _tree_rows(n: int, trials: int) -> float:
    """Count trees times rows of a search: what it may take at most, at the share seen in use."""
    a_fold = n * (search.FOLDS - 1) / search.FOLDS
    screen = trials * search.SCREEN_FOLDS * search.SCREEN_TREES * min(a_fold, search.SCREEN_ROWS)
    finals = math.ceil(trials / search.FINAL_SHARE) * search.FOLDS * a_fold
    return TREES_USED * (screen + search.FINAL_TREES * (finals + regressor.FOREST * n))


def text(plan: Plan, prepared: Prepared) -> str:
    """Write the plan for a person, with a way out where it is long."""
    loaded = prepared.corpus
    lines = [
        f"Plan for {loaded.name}: {loaded.n_read:,} rows read, {plan.rows:,} distinct kept, "
        f"{plan.aside:,} set aside as near repeats, {plan.rejected:,} rejected; "
        f"about {plan.tokens:,} tokens.",
        *(f"  {stage:<10} {duration(spent)}" for stage, spent in plan.seconds.items()),
        f"  {'in all':<10} {duration(plan.total)} on this machine, estimated; "
        f"disk {sum(plan.disk_bytes.values()) / 1e9:.1f} GB",
    ]
    lines += [f"  {finding.severity}: {finding.message}" for finding in prepared.findings]
    if plan.total > LONG_SECONDS:
        limit = max(1000, int(plan.rows * SHORT_SECONDS / plan.total) // 100 * 100)
        if limit < plan.rows:
            lines.append(
                f"  This is long. limit={limit} would take about "
                f"{duration(plan.total * limit / plan.rows)}; fewer sizes or trials also help."
            )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write a time in the unit a person would use."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
