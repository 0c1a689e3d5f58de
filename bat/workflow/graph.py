"""What a study consists of: all its tasks, what each needs, and how much work it is. Listed once.

For each objective and seed one trunk, in a piece a size; a branch off each piece gives an encoder;
its embedding of all texts, in shards; its evaluation; of some, a stack on the embedding. A size
that is tuned by itself has no trunk. And baselines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bat import escape, units
from bat.cli import InputError
from bat.models import encoder, predictors, regressor, search
from bat.models.encoder import Encoder
from bat.models.predictors import STACK
from bat.tuning import loop, packing
from bat.tuning.objectives import mlm, supervised, table
from bat.workflow import arms, baselines, refit, stacks, stages
from bat.workflow.arms import FACTORY, ArmKey
from bat.workflow.tasks import Context, Task

SHARD_TEXTS = 10_000  # distinct texts that one task embeds: some three minutes of two cores
FORWARD_SHARE = 1 / 3  # of a step, what its forward pass takes (convention: backward costs twice)
# Kinds of work, of each of which the plan knows what it takes.
TUNED_TOKEN, EMBEDDED_TOKEN = "tuned token", "embedded token"
TREE_ROW, FOLD = "tree row", "fold"  # a tree over a row, at most; bins and line of a search's fold
SUPERVISED_TEXT = "supervised text"


class Curve(NamedTuple):
    """What the tunings of all sizes share that are compared with each other."""

    objective: str
    seed: int


@dataclass(frozen=True)
class ArmTasks:
    """The tasks whose results make one arm."""

    encoder: Task | None  # None: the factory's, which is there
    embeddings: tuple[tuple[Task, ...], ...]  # shards of each that the regressor reads, own last
    evaluation: Task

    @property
    def own(self) -> tuple[Task, ...]:
        """Shards of the arm's own embedding."""
        return self.embeddings[-1]

    @property
    def wanted(self) -> list[Task]:
        """What the arm's results are read from."""
        return [self.encoder, self.evaluation] if self.encoder else [self.evaluation]


@dataclass(frozen=True)
class Graph:
    """All of a study."""

    pairs: Mapping[ArmKey, ArmTasks]  # seed by seed, objective by objective, sizes rising
    stacks: Mapping[ArmKey, ArmTasks]  # likewise; each on the embedding of a pair
    baselines: Mapping[ArmKey, Task]

    @property
    def arms(self) -> Mapping[ArmKey, ArmTasks]:
        """Pairs and stacks."""
        return {**self.pairs, **self.stacks}

    @property
    def wanted(self) -> list[Task]:
        """All tasks that something is read from, in the order of the study."""
        arms = [task for arm in self.arms.values() for task in arm.wanted]
        return [*arms, *self.baselines.values()]


def graph(context: Context, visited: Sequence[int] | None = None) -> Graph:
    """List all tasks of a study.

    The keys of tuned encoders hang on the precision that this machine, or the study, has chosen.

    Args:
        context: what all tasks share.
        visited: the sizes that were not left out; all if left out.
    """
    spec, labels = context.spec, len(context.prepared.rows("train"))
    base = escape.printable(context.base.name)
    sizes = spec.sizes if visited is None else visited
    pairs, stacks = {}, {}
    for seed in spec.seeds:
        tuned: dict[tuple[str, int], Task | None] = {(FACTORY, 0): None} if 0 in sizes else {}
        for objective in spec.objectives:
            found = encoders(context, Curve(objective, seed))
            tuned |= {(objective, size): task for size, task in found.items() if size in sizes}
        for (objective, size), task in tuned.items():
            key = ArmKey(base, objective, size, labels, seed)
            pairs[key] = arm(context, key, task)
            if size in arms.stacked_sizes(spec.stack, sizes):
                key = key._replace(predictor=STACK)
                stacks[key] = arm(context, key, task)
    seed = spec.seeds[0]
    names = {arms.baseline(base, labels, seed, name): name for name in spec.baselines}
    return Graph(pairs, stacks, {key: baseline(context, name) for key, name in names.items()})


def encoders(context: Context, curve: Curve) -> dict[int, Task]:
    """List a curve's tunings: the encoder of each size, all off one trunk or each by itself.

    Raises:
        InputError: there is no such objective, or it does not learn from texts alone.
    """
    if table.named(curve.objective).reads_targets:
        raise InputError(
            f"the objective {curve.objective!r}, which learns from targets, for a curve over "
            "documents",
            "an objective that learns from texts alone",
            f"compare with it instead: baselines={curve.objective}",
        )
    sizes = context.spec.tuned_sizes
    if context.spec.schedule == "one_pass" and len(sizes) > 1:
        found, before = {}, None
        for size in sizes:
            before = _trunk(context, curve, size, before)
            found[size] = _branch(context, curve, size, sizes, before)
        return found
    return {size: _branch(context, curve, size, [size], None) for size in sizes}


def _tuning_inputs(context: Context, curve: Curve, sizes: Sequence[int]) -> dict[str, Any]:
    """Name all that decides how a tuning goes."""
    recipe = stages.recipe_of(context, *curve)
    return {
        "base": context.base.digest,
        "objective": [curve.objective, table.named(curve.objective).version],
        "texts": units.digest(context.order(curve.seed)[: max(*sizes, _batch_of(context))]),
        "held_out": units.digest(context.held_out),
        "sizes": list(sizes),
        "batch_of": _batch_of(context),
        "recipe": dataclasses.asdict(recipe),
        "precision": str(loop.precision(recipe.precision)),
        "device": encoder.device().type,
    }


def _batch_of(context: Context) -> int:
    """Name the size whose batch all take where each is tuned by itself; 0 on a trunk."""
    return context.spec.tuned_sizes[0] if context.spec.schedule != "one_pass" else 0


def _trunk(context: Context, curve: Curve, size: int, before: Task | None) -> Task:
    """List the piece of a trunk that ends where a size leaves it."""
    sizes, recipe = context.spec.tuned_sizes, stages.recipe_of(context, *curve)
    unit = units.unit(units.TRUNKS, size=size, **_tuning_inputs(context, curve, sizes))
    done = before.arguments["size"] if before else 0
    looks = loop.HELD_OUT_CHECKS * (size - done) / sizes[-1] + (before is None)
    return Task(
        unit,
        stages.trunk,
        _tuning_arguments(context, curve, size, sizes, unit),
        needs=(before,) if before else (),
        stage="tuning",
        work={
            TUNED_TOKEN: (1 - recipe.decay_share) * (size - done) * _mean_tokens(context)
            + _looked_at(context, looks, warms=before is None)
        },
        temporary=True,
    )


def _branch(
    context: Context, curve: Curve, size: int, sizes: Sequence[int], piece: Task | None
) -> Task:
    """List the tuning that ends with an encoder: off a piece of a trunk, or from the beginning."""
    base, recipe = context.base, stages.recipe_of(context, *curve)
    unit = units.unit(
        units.ENCODERS,
        size=size,
        seen=units.digest(sorted(encoder.rows_seen(base.folder) or ())),
        card={"base": base.name, "corpus": context.prepared.corpus.name},
        **_tuning_inputs(context, curve, sizes),
    )
    documents = size * (recipe.decay_share if piece else recipe.passes)
    looks = 1 if piece else 2 + loop.HELD_OUT_CHECKS
    return Task(
        unit,
        stages.branch,
        _tuning_arguments(context, curve, size, sizes, unit),
        needs=(piece,) if piece else (),
        stage="tuning",
        work={
            TUNED_TOKEN: documents * _mean_tokens(context)
            + _looked_at(context, looks, warms=piece is None)
        },
        bytes=weight_bytes(base),
    )


def _tuning_arguments(
    context: Context, curve: Curve, size: int, sizes: Sequence[int], unit: units.Unit
) -> dict[str, Any]:
    return {
        "objective": curve.objective,
        "seed": curve.seed,
        "size": size,
        "sizes": list(sizes),
        "batch_of": _batch_of(context),
        "checkpoint": unit,
    }


def _mean_tokens(context: Context) -> float:
    return float(context.prepared.token_counts.mean())


def _looked_at(context: Context, looks: float, *, warms: bool) -> float:
    """Count, in tokens trained on, passes without a backward one: unseen texts, and a new head."""
    blocks = float(mlm.HEAD_STEPS * mlm.HEAD_BLOCKS_A_STEP if warms else 0)
    if context.spec.finetune_on == "train":
        blocks += mlm.HELD_OUT_BLOCKS * looks
    return FORWARD_SHARE * blocks * packing.block_tokens(context.base)


def arm(context: Context, key: ArmKey, tuned: Task | None) -> ArmTasks:
    """List what evaluates one encoder by a pair or a stack; None is the factory's."""
    read = [_shards(context, tuned)]
    if tuned and context.spec.reads_both:
        read.insert(0, _shards(context, None))
    needs = tuple(shard for shards in read for shard in shards)
    shared = {
        "embeddings": [shard.unit.key for shard in needs],
        "rows": context.rows_digest,
        "trials": context.spec.trials,
        "seed": key.seed,
    }
    if key.predictor == STACK:
        unit, run = units.unit(units.STACKS, **shared), stacks.evaluation
    else:
        unit, run = units.unit(units.EVALUATIONS, **shared), stages.evaluation
    evaluation = Task(
        unit,
        run,
        {"seed": key.seed, "shards": len(read[0]), "what": _what(tuned)},
        needs,
        stage="search",
        work=_search_work(context, len(read)),  # twice the columns take a search twice as long
    )
    return ArmTasks(tuned, tuple(read), evaluation)


def fitted_again(context: Context, listed: Graph, key: ArmKey) -> Task:
    """List what fits the predictor of one arm, or a baseline, to all rows, to be served."""
    shards: tuple[Task, ...] = ()
    if key.is_baseline:
        made, count = listed.baselines[key], 0
    else:
        chosen = listed.arms[key]
        made, count = chosen.evaluation, len(chosen.own)
        shards = tuple(shard for each in chosen.embeddings for shard in each)
    rows, trees = len(context.prepared.corpus.texts), search.FINAL_TREES * regressor.FOREST
    # Each row is learnt from by all folds but its own, and at the end.
    grown = trees * rows * search.FOLDS * (len(shards) // count if count else 0)
    return Task(
        units.unit(
            units.REFITS,
            predictor=key.predictor,
            evaluation=made.unit.key,
            rows=context.rows_digest,
            seed=key.seed,
        ),
        refit.refit,
        {"predictor": key.predictor, "seed": key.seed, "shards": count},
        (made, *shards),
        stage="serving",
        work={TREE_ROW: float(grown), FOLD: float(search.FOLDS + 1)},
    )


def _what(tuned: Task | None) -> str:
    return f"{tuned.arguments['size']:,}" if tuned else "factory"


def _shards(context: Context, tuned: Task | None) -> tuple[Task, ...]:
    """List the shards of an embedding of all texts."""
    count = count_shards(len(context.distinct), len(context.batches))
    made_by = {"tuned": tuned.unit.key} if tuned else {"factory": context.base.digest}
    return tuple(
        Task(
            units.unit(
                units.EMBEDDINGS,
                encoder=made_by,
                texts=context.texts_digest,
                shard=[number, count, len(context.batches)],
                device=encoder.device().type,
            ),
            stages.embedding,
            {"shard": (number, count), "what": _what(tuned)},
            needs=(tuned,) if tuned else (),
            stage="embedding",
            work={EMBEDDED_TOKEN: sum(context.lengths[place] for place in places)},
            bytes=4 * context.base.dimension * len(places),
        )
        for number in range(count)
        for places in [[place for batch in context.batches[number::count] for place in batch]]
    )


def count_shards(texts: int, batches: int) -> int:
    """Tell into how many shards, none of them empty, the batches of some texts are dealt."""
    return min(batches, math.ceil(texts / SHARD_TEXTS))


def baseline(context: Context, name: str) -> Task:
    """List one baseline, with the first of the seeds."""
    seed = context.spec.seeds[0]
    n_train = len(context.prepared.rows("train"))
    stage, work = "baselines", {}
    if predictors.named(name).searched:
        stage, work = "search", _search_work(context, 1)
    elif predictors.named(name).tunes:
        stage, work = name, {SUPERVISED_TEXT: float(supervised.PASSES * n_train)}
        work[EMBEDDED_TOKEN] = float(sum(context.lengths))
    unit = units.unit(
        units.BASELINES,
        name=name,
        base=context.base.digest,
        rows=context.rows_digest,
        trials=context.spec.trials,
        seed=seed,
        device=encoder.device().type,
        # The others compute in no precision of their own.
        precision=str(loop.precision("auto")) if name == "supervised" else "",
    )
    return Task(
        unit,
        baselines.predict,
        {"name": name, "seed": seed, "checkpoint": unit},
        stage=stage,
        work=work,
    )


def _search_work(context: Context, times: int) -> dict[str, float]:
    """Count trees times rows of a search, what it may take at most, and its folds."""
    n, trials = len(context.prepared.rows("train")), context.spec.trials
    a_fold = n * (search.FOLDS - 1) / search.FOLDS
    screen = trials * search.SCREEN_FOLDS * search.SCREEN_TREES * min(a_fold, search.SCREEN_ROWS)
    finals = search.count_finalists(trials) * search.FOLDS * a_fold
    rows = screen + search.FINAL_TREES * (finals + regressor.FOREST * n)
    return {TREE_ROW: times * rows, FOLD: float(times * search.FOLDS)}


def weight_bytes(opened: Encoder) -> int:
    """Tell how much room the weights of an encoder take."""
    return sum(path.stat().st_size for path in opened.folder.rglob("*.safetensors"))
