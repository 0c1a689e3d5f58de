"""A study: its tasks run, each arm and baseline logged as soon as it is done, the best one chosen.

What the tasks are stands in ``graph``, what they do in ``stages``, where they run in ``local`` and
``cluster``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import escape, records, units
from bat.data import corpus
from bat.data.auctions import generator
from bat.models import encoder, encoder_opening, predictors
from bat.models.encoder import Encoder
from bat.models.prediction import Predictor
from bat.models.predictors import PAIR, STACK, Cost
from bat.stats import stopping
from bat.workflow import (
    arms,
    baselines,
    graph,
    local,
    outcome,
    preparation,
    refit,
    stacks,
    stages,
    tasks,
)
from bat.workflow.arms import ArmKey
from bat.workflow.choice import Choice
from bat.workflow.graph import ArmTasks, Graph
from bat.workflow.outcome import Outcome, Scored
from bat.workflow.preparation import Prepared
from bat.workflow.spec import StudySpec
from bat.workflow.stages import Evaluation, TunedFolder
from bat.workflow.tasks import Context, Execute, Task

KEPT_BYTES = 5e9  # of encoders that one study leaves in MLflow: 57 of the default one (convention)
DERIVED = (
    "steps",
    "blocks_a_step",
    "head_warmed",
    "masked_only",
    "precision",
)  # told by the tuning itself

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One encoder of a study, with the trees or the stack that read it, evaluated."""

    key: ArmKey
    folder: Path
    beside: Path | None  # of the factory encoder, where its embedding is read too
    story: Mapping[str, Any]  # of the tuning; empty for the factory encoder
    evaluation: Evaluation
    seconds: Mapping[str, float]
    cost: Cost
    facts: Mapping[str, float]  # metrics of the tuning and the embeddings
    uses: Sequence[str]  # what a stack reads; empty for a pair
    began: float  # when this command began it, in seconds since 1970
    cached: Sequence[str]  # stages that were found in the cache


@dataclass(frozen=True)
class Served:
    """A predictor that is to be registered: what was chosen, fitted to all rows."""

    choice: Choice
    predictor: Predictor
    refit: refit.Refit
    seen: frozenset[str]  # digests of the texts that its encoder was tuned on


@dataclass
class Course:
    """How far a study has come."""

    context: Context
    execute: Execute
    tracker: records.Tracker
    ran: dict[units.Unit, float]  # tasks that this command has run, and when each began

    def finish(self, parts: Sequence[Sequence[Task]]) -> Generator[float, None, None]:
        """Run what lacks of the parts of a study, as far as its caller asks.

        Args:
            parts: for each the tasks that it is read from.

        Yields:
            For each part, in order, when this command began it: now, where all was there.
        """
        wanted = [task for part in parts for task in part]
        with contextlib.closing(self.execute(self.context, wanted)) as done:
            for part in parts:
                left, began = {task.unit for task in part}, time.time()
                for task, at in done if left else ():
                    if at is not None:
                        self.ran[task.unit] = at
                        began = min(began, at)
                    left.discard(task.unit)
                    if not left:
                        break
                yield began


def run(
    context: Context, tracker: records.Tracker, execute: Execute = local.execute
) -> tuple[Outcome, list[Served], list[Path]]:
    """Run all arms and baselines of a study, each logged as a child as soon as it is done.

    Args:
        context: the factory encoder, the corpus, and what the study is to do.
        tracker: takes the study's and the children's records.
        execute: runs its tasks.

    Returns:
        What was found; the best pair of encoder and regressor, and what is to be served last,
        where it is not that pair; and where the cache holds all that was tuned.
    """
    prepared, spec = context.prepared, context.spec
    about = _about(context)
    tracker.log(outcome.about_record(about))
    listed = graph.graph(context)
    course = Course(context, execute, tracker, {})
    found, stop = _first_arms(course, listed) if spec.stop_when_enough else ([], None)
    visited = sorted({arm.key.documents for arm in found} or set(spec.sizes))
    listed = graph.graph(context, visited)
    done = {arm.key for arm in found}
    rest = {key: arm for key, arm in listed.arms.items() if key not in done}
    extra = []
    parts = [*(arm.wanted for arm in rest.values()), *([t] for t in listed.baselines.values())]
    with contextlib.closing(course.finish(parts)) as begun:
        found += [_arm(course, key, arm, next(begun)) for key, arm in rest.items()]
        for key, task in listed.baselines.items():
            extra.append(_baseline(course, key, task, next(begun)))
    tasks.discard_temporary(listed.wanted)
    scored = [*(_scored(arm, prepared) for arm in found), *extra]
    held_out = prepared.rows("held_out")
    prices, groups = prepared.corpus.prices[held_out], prepared.corpus.group_ids[held_out]
    told = outcome.assemble(about, prices, scored, stop, visited[-1], groups)
    made = {arm.key: arm for arm in found}
    _log_kept(context, made, told, tracker)
    chosen = {each.key: each for each in (told.best_pair, told.served)}
    again = {key: graph.fitted_again(context, listed, key) for key in chosen}
    for _ in execute(context, list(again.values())):
        pass
    served = [_served(made.get(key), each, again[key]) for key, each in chosen.items()]
    tuned = [arm.folder.parent for arm in found if arm.key.documents]
    return told, served, list(dict.fromkeys(tuned))


def _served(arm: Arm | None, chosen: Choice, task: Task) -> Served:
    """Open what was chosen and fitted again; a baseline is no arm."""
    made = refit.read_refit(task.unit.folder)
    opened = encoder_opening.open_encoder(str(arm.folder)) if arm else None
    beside = encoder_opening.open_encoder(str(arm.beside)) if arm and arm.beside else None
    predictor = refit.read_predictor(chosen.key.predictor, made.folder, opened, beside)
    seen = encoder.rows_seen(arm.folder) if arm else None
    return Served(chosen, predictor, made, seen or frozenset())


def _first_arms(course: Course, listed: Graph) -> tuple[list[Arm], stopping.Stop | None]:
    """Run the first seed's pairs in rising order of size, until larger ones can change nothing.

    Returns:
        The arms, and the last look at whether to stop.
    """
    spec, found, stop = course.context.spec, [], None
    first = {key: arm for key, arm in listed.pairs.items() if key.seed == spec.seeds[0]}
    with contextlib.closing(course.finish([arm.wanted for arm in first.values()])) as begun:
        for key, arm in first.items():
            found.append(_arm(course, key, arm, next(begun)))
            if key.documents not in (0, spec.sizes[-1]):
                stop = _stop(course.context.prepared, found, spec.sizes[-1], spec.margin)
                course.tracker.log(outcome.stop_record(stop, key.documents))
                if stop.stop:
                    break
    return found, stop


def _log_kept(
    context: Context, made: Mapping[ArmKey, Arm], found: Outcome, tracker: records.Tracker
) -> None:
    """Say which encoders the study keeps, and log the best one where it alone is wanted."""
    if context.spec.keep == "best":
        mine = [found.best_pair.key]
        tracker.log(records.EncoderModel("encoder", made[found.best_pair.key].folder))
    else:
        mine = [key for key in made if _is_kept(context, key)]
    names = ", ".join(arms.run_name(key) for key in mine)
    tracker.log(records.Tags({"encoders_kept": names or "in the registered pair alone"}))


def _is_kept(context: Context, key: ArmKey) -> bool:
    """Tell whether an arm logs its encoder."""
    return key.predictor == PAIR and (key.documents, key.seed) in kept(context.base, context.spec)


def kept(base: Encoder, spec: StudySpec) -> frozenset[tuple[int, int]]:
    """Choose the encoders that arms log: the first seed's, the largest sizes that have room.

    Returns:
        Documents and seed of each; none where not all are wanted.
    """
    room = int(KEPT_BYTES // graph.weight_bytes(base)) if spec.keep == "all" else 0
    return frozenset((size, spec.seeds[0]) for size in spec.sizes[::-1][:room])


def _about(context: Context) -> outcome.About:
    base, prepared, spec = context.base, context.prepared, context.spec
    loaded = prepared.corpus
    medians = loaded.medians
    return outcome.About(
        corpus=loaded.name,
        digest=loaded.digest,
        parts={part: len(prepared.rows(part)) for part in corpus.PARTS},
        findings=prepared.findings,
        ceiling=None if medians is None else generator.ceiling(medians[prepared.rows("held_out")]),
        base=escape.printable(base.name),
        finetune_on=spec.finetune_on,
        sizes=list(spec.sizes),
        seeds=list(spec.seeds),
        baselines=list(spec.baselines),
        margin=spec.margin,
        worth=spec.worth,
        features=spec.features,
        parts_by=loaded.parts_by,
        base_protocol=preparation.protocol(base, prepared),
        protocol=corpus.PROTOCOL,
        objectives=list(spec.objectives),
        stack=spec.stack,
        serve_within=spec.serve_within,
        show_texts=loaded.show_texts,
        unit=spec.unit,
    )


def _scored(arm: Arm, prepared: Prepared) -> Scored:
    return Scored(
        key=arm.key,
        predictions=arm.evaluation.predictions[prepared.rows("held_out")],
        train_mae=arm.evaluation.train_mae,
        seconds=arm.seconds,
        cost=arm.cost,
        uses=tuple(arm.uses),
    )


def _stop(prepared: Prepared, found: Sequence[Arm], full: int, margin: float) -> stopping.Stop:
    """Ask, by out-of-fold errors alone, whether larger sizes can still change the answer."""
    train = prepared.rows("train")
    guesses = np.stack([arm.evaluation.out_of_fold for arm in found])
    known = np.isfinite(guesses).all(axis=0)
    errors = np.abs(guesses - prepared.corpus.prices[train])[:, known]
    documents = [arm.key.documents for arm in found if arm.key.documents]
    groups = prepared.corpus.group_ids[train][known]
    return stopping.can_stop(
        documents, errors[1:], errors[0], full=full, margin=margin, groups=groups
    )


def _arm(course: Course, key: ArmKey, listed: ArmTasks, began: float) -> Arm:
    """Read one arm from what its tasks have left, and log it."""
    context, folder = course.context, listed.evaluation.unit.folder
    found = stages.read_evaluation(folder)
    tuned = stages.read_tuned(listed.encoder.unit.folder) if listed.encoder else None
    facts: dict[str, float] = {}
    seconds: dict[str, float] = {"search": found.found["seconds"]}
    made_by = {"search": [listed.evaluation]}
    if key.predictor == PAIR:
        embedded, facts = stages.about_embedding(folder)
        facts |= _tuning_facts(key, tuned.story) if tuned else {}
        seconds = {
            "embedding": embedded,
            **seconds,
            "tuning": tuned.story["seconds"] if tuned else 0.0,
        }
        made_by = {
            "tuning": [listed.encoder] if listed.encoder else [],
            "embedding": [*listed.own],
            **made_by,
        }
    made = Arm(
        key=key,
        folder=tuned.folder if tuned else context.base.folder,
        beside=context.base.folder if tuned and context.spec.reads_both else None,
        story=tuned.story if tuned else {},
        evaluation=found,
        seconds=seconds,
        cost=stages.read_cost(folder),
        facts=facts,
        uses=stacks.read_reader(folder).uses if key.predictor == STACK else (),
        began=began,
        cached=[
            stage
            for stage, done in made_by.items()
            if done and not any(task.unit in course.ran for task in done)
        ],
    )
    _log_arm(made, context, course.tracker)
    return made


def _tuning_facts(key: ArmKey, story: Mapping[str, Any]) -> dict[str, float]:
    """Name the numbers of a tuning that its arm logs."""
    facts = {
        "tokens": story["tokens"],
        "tokens_per_second": tokens_per_second(story),
        "reload_difference": story["reload_difference"],
    }
    if story["held_out"]:
        facts[f"{key.objective}_loss_held_out"] = story["held_out"][-1][1]
    return facts


def _log_arm(arm: Arm, context: Context, tracker: records.Tracker) -> None:
    """Log one arm as a child: the pair as models, its numbers, settings, and corpus."""
    key, keep = arm.key, _is_kept(context, arm.key)
    if tracker.adopt(arms.run_name(key)):
        return
    with tracker.child(arms.run_name(key), arm.began) as child:
        params: dict[str, object] = {"documents": key.documents, "seed": key.seed}
        if arm.uses:
            params[outcome.USES] = ", ".join(arm.uses)
        child.log(records.Params(params | (_told(arm.story) if key.predictor == PAIR else {})))
        word = "kept" if keep else "not kept"
        kind = "encoder" if key.predictor == PAIR else key.predictor
        tags = {"arm": kind, "finetune_on": context.spec.finetune_on, "encoder": word}
        child.log(records.Tags(tags))
        child.log(outcome.key_record(key))
        child.log(_cached_record(arm.cached))
        child.log(records.Metrics({"documents": key.documents, **arm.facts}))
        for record in evaluation_records(arm.evaluation, context.prepared):
            child.log(record)
        if keep:
            child.log(records.EncoderModel("encoder", arm.folder))
        for record in outcome.cost_records(arm.seconds, arm.cost):
            child.log(record)


def _cached_record(stages: Sequence[str]) -> records.Record:
    """Say which stages are not in the time from a run's start to its end: they were done before."""
    return records.Tags({"cached": ", ".join(stages) or "nothing"})


def _told(story: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a tuning says of itself so that it stands after what tells the arms apart."""
    return {f"tuning.{name}": story[name] for name in DERIVED if name in story}


def dataset_record(prepared: Prepared, context: str) -> records.Record:
    """Say which corpus a run has read, and what for."""
    loaded = prepared.corpus
    return records.Dataset(
        loaded.name, loaded.digest, loaded.texts, loaded.prices.tolist(), context
    )


def _predicted(
    prepared: Prepared, predictions: Floats, train_mae: float, *, by_chance: bool = True
) -> Iterable[records.Record]:
    """Say what was predicted for the held-out rows, of predictions (n,) for all."""
    loaded, held_out = prepared.corpus, prepared.rows("held_out")
    return outcome.prediction_records(
        loaded.lines[held_out],
        loaded.prices[held_out],
        loaded.group_ids[held_out],
        predictions[held_out],
        train_mae,
        by_chance=by_chance,
    )


def evaluation_records(evaluation: Evaluation, prepared: Prepared) -> Iterable[records.Record]:
    """Say what an evaluation found, in the form a run keeps."""
    yield from _predicted(prepared, evaluation.predictions, evaluation.train_mae)
    settings = {f"regressor.{name}": value for name, value in evaluation.found["settings"].items()}
    extra = {f"regressor.{name}": evaluation.found[name] for name in ("n_trees", "smear")}
    yield records.Params(settings | extra)
    yield records.Table("trials.csv", list(evaluation.trials))
    yield dataset_record(prepared, "study")
    yield records.RegressorModel("regressor", evaluation.fitted)


def _baseline(course: Course, key: ArmKey, task: Task, began: float) -> Scored:
    """Read one baseline from what its task has left, and log it as a child."""
    prepared, tracker, name = course.context.prepared, course.tracker, key.predictor
    found, method = baselines.read(name, task.unit.folder), predictors.named(name)
    scored = Scored(
        key=key,
        predictions=found.predictions[prepared.rows("held_out")],
        train_mae=found.train_mae,
        seconds={name if method.tunes else "baselines": found.seconds},
        cost=stages.read_cost(task.unit.folder),
        uses=tuple(found.uses),
        strongest=found.strongest if prepared.corpus.show_texts else (),
    )
    if tracker.adopt(arms.run_name(key)):
        return scored
    with tracker.child(arms.run_name(key), began) as child:
        child.log(records.Tags({"arm": "baseline", "baseline": name}))
        child.log(records.Params({outcome.USES: ", ".join(found.uses)} if found.uses else {}))
        child.log(outcome.key_record(key))
        child.log(_cached_record([] if task.unit in course.ran else ["all"]))
        logged = (
            evaluation_records(found.searched, prepared)
            if found.searched
            else _predicted(
                prepared, found.predictions, found.train_mae, by_chance=method.by_chance
            )
        )
        last = outcome.cost_records(scored.seconds, scored.cost)
        for record in [*logged, *outcome.words_records(scored.strongest), *last]:
            child.log(record)
    return scored


def tuning_records(tuned: TunedFolder, prepared: Prepared) -> Iterable[records.Record]:
    """Say how one tuning went, in the form a run keeps, and hand over its encoder."""
    story = tuned.story
    for name, points in (("mlm_loss", story["losses"]), ("mlm_loss_held_out", story["held_out"])):
        for step, loss in points:
            yield records.Metrics({name: loss}, step=step)
    yield records.Metrics(
        {
            "documents": story["documents"],
            "tokens": story["tokens"],
            "tokens_per_second": tokens_per_second(story),
            "reload_difference": story["reload_difference"],
        }
    )
    # Not "documents": `mlflow run` has logged what the user wrote under that name ("all", "0.5").
    yield records.Params({"tuning.documents": story["documents"]} | _told(story))
    yield dataset_record(prepared, "tune")
    yield records.EncoderModel("encoder", tuned.folder)


def tokens_per_second(story: Mapping[str, Any]) -> float:
    """Tokens, padding included, that a tuning took in a second of its own time."""
    return float(story["tokens_trained"] / max(story["seconds"], 1e-9))
