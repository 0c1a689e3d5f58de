"""A study from its settings to its registered predictor: what the command and Python both run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bat import cli
from bat.cli import option

if TYPE_CHECKING:
    from bat.data.rows import Rejected
    from bat.registry.champion import Registered
    from bat.registry.tracking import MlflowTracker
    from bat.workflow.outcome import Outcome
    from bat.workflow.preparation import Prepared
    from bat.workflow.study import Served
    from bat.workflow.tasks import Context


@dataclass(frozen=True)
class StudyConfig(cli.DataConfig):
    """Fine-tune an encoder on growing parts of a corpus and measure what each is worth."""

    base_model: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP, is_path=True)
    sizes: str = option(
        cli.AUTO,
        "documents to tune on: shares up to 1 and counts, with commas between; 0: factory; auto: "
        "0,0.25,0.5,1.0, or what of it fits a small corpus",
    )
    seeds: str = option(
        "0", "seeds with commas between, of order, masks and search; each repeats the study"
    )
    trials: int = option(30, "settings that Optuna tries for each encoder")
    recipe: str = option(
        "halfway",
        "halfway (an encoder's weights lie between the factory's and the tuned ones) or plain "
        "(they are the tuned ones), and changes to it with commas between: learning_rate=1e-4, "
        "mask_share=0.2, tuned_share=0.5 (of the way), whole_words=false, schedule=one_pass (one "
        "trunk for all sizes; or independent), passes=1 (above 1 needs schedule=independent), "
        "finetune_on=train (or all, held-out texts included: transductive), features=tuned (or "
        "factory+tuned: the regressor reads both embeddings, a served price takes two encoders)",
    )
    baselines: str = option(
        ",".join(cli.DEFAULT_BASELINES),
        "what encoders are compared with: some of these, or none; also supervised, the encoder "
        "fine-tuned end to end on the training prices",
    )
    stack: str = option(
        "auto",
        "encoders whose embedding one regressor reads beside words and numbers: auto (the factory "
        "encoder and that of the largest size), all, or none",
    )
    serve_within: float = option(
        0.0, "milliseconds that a text alone may take to serve, on this machine; 0: any"
    )
    unit: str = option(
        cli.NO_UNIT, "unit of the target, such as USD, written where its numbers are"
    )
    worth: float = option(0.02, "smallest gain worth paying for, as a share of the error")
    margin: float = option(0.1, "share of the gain that you would forgo and still call it enough")
    stop_when_enough: bool = option(
        False, "leave out larger sizes once, by out-of-fold error, they cannot change the answer"
    )
    promote: str = option(
        "if_better",
        "which version is served: if_better than the champion on rows new to both (if_better:0.02 "
        "for an error lower by at least 2 %), always the new one, or never",
    )
    model_name: str = option(
        "auto",
        "registered model that gets the best predictor as a new version, and the best encoder and "
        "regressor (alias best_pair); auto: named after the file and target_column",
    )
    keep: str = option(
        "all",
        "encoders to log: all of the first seed, as far as they fit in 5 GB; the best alone; or "
        "none but that of the registered pair. With best and none the cache drops its copies too",
    )
    executor: str = option(
        "local",
        "where the work is done: local, or ray (the cluster of RAY_ADDRESS, or one started here)",
    )
    resume: bool = option(True, "go on from what is done; false repeats everything")
    plan_only: bool = option(False, "print the plan and stop")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        from bat.registry import lineage
        from bat.workflow import spec

        super().__post_init__()
        if self.sizes != cli.AUTO:
            cli.sizes("sizes", self.sizes)
        cli.whole_numbers("seeds", self.seeds)
        cli.check_range("trials", self.trials, 1, 1000)
        cli.check_range("worth", self.worth, 0.001, 0.5)
        cli.check_range("margin", self.margin, 0.001, 0.999)
        cli.check_unit(self.unit)
        cli.check_choice("stack", self.stack, cli.STACKS)
        cli.check_range("serve_within", self.serve_within, 0.0, 1e6)
        cli.check_choice("keep", self.keep, ("all", "best", "none"))
        cli.check_choice("executor", self.executor, ("local", "ray"))
        if self.executor == "ray" and self.stop_when_enough:
            raise cli.InputError(
                "stop_when_enough=true with executor=ray",
                "one of them: a cluster starts all sizes at once",
                "leave one of them out",
            )
        promotion(self.promote)
        lineage.check_name(self.model_name)
        spec.recipe_changes(self.recipe)
        from bat.models import predictors  # after all that is checked without its libraries

        cli.names("baselines", self.baselines, predictors.baselines())


def promotion(promote: str) -> tuple[str, float]:
    """Read when a new pair is served, and by which share of the error it must be better.

    Raises:
        InputError: the word is none of the three, or the share cannot be meant.
    """
    when, colon, share = promote.partition(":")
    cli.check_choice("promote", when, ("always", "if_better", "never"))
    margin = cli.settings("promote", f"{when}={share}", {"if_better": float}) if colon else {}
    cli.check_range("promote", margin.get("if_better", 0.0), 0.0, 0.99)
    return when, margin.get("if_better", 0.0)


@dataclass(frozen=True)
class Finished:
    """A study that has run to its end."""

    outcome: Outcome
    settings: Mapping[str, object]  # what was asked for, by name
    registered: Registered
    run_id: str
    page: str  # how to see the run
    rejected: Sequence[Rejected] = ()  # rows of the source that were not used


def run(config: StudyConfig) -> Finished | None:
    """Plan and run a study, log and register what it found; None where the plan alone is wanted.

    Raises:
        InputError: something that was asked for cannot be done.
    """
    from bat import cache, units

    cached = contextlib.nullcontext() if config.resume else units.begun_anew()
    with cache.in_use() as remove, cached:
        return _run(config, remove)


def _run(config: StudyConfig, remove: Callable[[Iterable[Path]], bool]) -> Finished | None:
    from bat import records, units
    from bat.registry import store, tracking
    from bat.report import page, runs
    from bat.tuning import precision
    from bat.workflow import cluster, local, study

    store.check()
    if config.executor == "ray":
        cluster.require_ray()
    context = _planned(config)
    if config.plan_only:
        return None
    loaded = context.prepared.corpus
    key = units.key(
        config=asdict(config),
        corpus=loaded.digest,
        groups=loaded.group_ids.tolist(),
        base=context.base.digest,
        code=units.own_code(),
    )
    about = [cli.short_name(config.data), cli.short_name(config.base_model), config.recipe]
    opened = tracking.run("scaling_study", key, about=about, show_texts=config.show_texts)
    with precision.of_study(key), opened as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in runs.findings_records(context.prepared):
            tracker.log(record)
        tracker.log(study.dataset_record(context.prepared, "study"))
        if any(context.spec.sizes):
            tracker.log(records.Tags(precision.facts()))
        execute = cluster.execute if config.executor == "ray" else local.execute
        outcome, chosen, tuned = study.run(context, tracker, execute)
        settings = cli.logged(config)
        for record in runs.parent_records(outcome, settings):
            tracker.log(record)
        tracker.log(records.Text("report.html", page.page(outcome, settings)))
        served = _registered(config, outcome, chosen, context.prepared, tracker)
        for record in runs.registration_records(outcome, settings, served):
            tracker.log(record)
    if config.keep != "all" and not remove(tuned):
        cli.say("The cache keeps its encoders: another study is using it.")
    asked = asdict(config) | {"data": cli.anywhere(config.data)}
    return Finished(outcome, asked, served, tracker.run_id, tracker.page, loaded.rejected)


def _planned(config: StudyConfig) -> Context:
    """Open corpus and encoder, settle what is to be done with them, and print the plan."""
    from bat.models import encoder_opening
    from bat.registry import reading, tracking
    from bat.tuning import masked_model
    from bat.workflow import plan, preparation, spec, stages, tasks

    with tracking.log_refusal("scaling_study"):
        loaded = preparation.load(config)
    base = encoder_opening.open_encoder(reading.resolve(config.base_model), name=config.base_model)
    encoder_opening.refuse_unsavable(base)
    if config.sizes == cli.AUTO or any(cli.sizes("sizes", config.sizes)):
        masked_model.refuse_untunable(base)
    prepared, wanted = spec.settle(
        base,
        preparation.prepare(loaded, base),
        sizes=config.sizes,
        seeds=config.seeds,
        recipe=config.recipe,
        trials=config.trials,
        baselines=config.baselines,
        worth=config.worth,
        margin=config.margin,
        stop_when_enough=config.stop_when_enough,
        keep=config.keep,
        stack=config.stack if config.show_texts else "none",  # its files hold words of the texts
        serve_within=config.serve_within or None,
        unit="" if config.unit == cli.NO_UNIT else config.unit,
    )
    stages.check(base, prepared, tuned=any(wanted.sizes))
    context = tasks.Context(base, prepared, wanted)
    planned = plan.make(context)
    cli.say(plan.text(planned, prepared, wanted))
    if plan.is_long(planned):
        sizes_at = functools.partial(
            spec.sizes_at,
            base,
            loaded,
            sizes=config.sizes,
            seeds=config.seeds,
            recipe=config.recipe,
        )
        cli.say(plan.shorter(planned, loaded, wanted, sizes_at))
    return context


def _registered(
    config: StudyConfig,
    outcome: Outcome,
    chosen: Sequence[Served],
    prepared: Prepared,
    tracker: MlflowTracker,
) -> Registered:
    """Register the study's best predictor, as champion or as candidate, and its best pair."""
    from bat.registry import champion, lineage, versions

    when, margin = promotion(config.promote)
    return champion.register(
        outcome,
        [champion.candidate_of(each) for each in chosen],
        prepared,
        versions.MlflowRegistry(
            lineage.model_name(config.model_name, config.data, config.target_column),
            tracker.left.runs | {tracker.run_id},
        ),
        study=tracker.run_id,
        target_column=config.target_column,
        promote=when,
        margin=margin,
    )
