"""``mlflow run . -e scaling_study``: how many documents are enough, and does tuning pay at all?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bat import cli
from bat.cli import option

if TYPE_CHECKING:
    from bat import study


@dataclass(frozen=True)
class StudyConfig(cli.DataConfig):
    """Fine-tune an encoder on growing parts of a corpus and measure what each is worth."""

    base_model: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP)
    sizes: str = option(
        "0,0.25,0.5,1.0", "documents to tune on: shares up to 1, counts; 0: factory"
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
        "finetune_on=train (or all, test texts included: transductive), features=tuned (or "
        "factory+tuned: the regressor reads both embeddings, a served price takes two encoders)",
    )
    baselines: str = option(
        ",".join(cli.DEFAULT_BASELINES),
        "baselines beside the encoders: some of these, or none; also supervised, the encoder "
        "fine-tuned end to end on the training prices",
    )
    margin: float = option(0.1, "share of the gain that you would forgo and still call it enough")
    stop_when_enough: bool = option(
        False, "leave out larger sizes once, by validation, they cannot change the answer"
    )
    promote: str = option(
        "if_better",
        "which pair is served: if_better than the champion on rows new to both (if_better:0.02 "
        "for an error lower by at least 2 %), always the new one, or never",
    )
    keep: str = option(
        "all",
        "encoders to log: all of the first seed, as far as they fit in 5 GB; the best alone; or "
        "none beside the registered pair. With best and none the cache drops its copies too",
    )
    executor: str = option(
        "local",
        "where the work is done: local, or ray (the cluster of RAY_ADDRESS, or one started here)",
    )
    resume: bool = option(True, "go on from what is done; false repeats everything")
    plan_only: bool = option(False, "print the plan and stop")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        super().__post_init__()
        cli.whole_numbers("seeds", self.seeds)
        cli.check_range("trials", self.trials, 1, 1000)
        cli.check_range("margin", self.margin, 0.001, 0.999)
        cli.check_choice("keep", self.keep, ("all", "best", "none"))
        cli.check_choice("executor", self.executor, ("local", "ray"))
        if self.executor == "ray" and self.stop_when_enough:
            raise cli.InputError(
                "stop_when_enough=true with executor=ray",
                "one of them: a cluster is asked for all sizes at once",
                "leave one of them out",
            )
        cli.names("baselines", self.baselines, cli.BASELINES)
        promotion(self.promote)
        recipe_changes(self.recipe)


RECIPES: dict[str, dict[str, Any]] = {"halfway": {}, "plain": {"tuned_share": 1.0}}


@dataclass(frozen=True)
class Changes:
    """What a user changes of the default recipe."""

    tuning: dict[str, Any]  # fields of ``mlm.Recipe``
    schedule: str  # one_pass or independent
    finetune_on: str  # train or all
    features: str  # of ``cli.FEATURES``


def recipe_changes(recipe: str) -> Changes:
    """Read the changes that a user makes to the default recipe.

    Args:
        recipe: one of ``RECIPES``, or changes, or both with a comma between.

    Raises:
        InputError: a name is unknown, or its value cannot be meant.
    """
    kinds = {"learning_rate": float, "mask_share": float, "whole_words": bool, "passes": int}
    kinds |= {"tuned_share": float, "schedule": str, "finetune_on": str, "features": str}
    name, comma, rest = recipe.partition(",")
    known = name.strip() in RECIPES
    if not known and "=" not in name:
        raise cli.InputError(
            f"{name.strip()!r} in recipe={recipe!r}",
            f"{' or '.join(RECIPES)}, then changes as name=value, with commas between",
            f"leave it out for its default, or change one of {', '.join(kinds)}",
        )
    said = rest if known else recipe
    changes = cli.settings("recipe", said, kinds) if comma or not known else {}
    changes = RECIPES.get(name.strip(), {}) | changes
    schedule = changes.pop("schedule", "one_pass")
    cli.check_choice("schedule", schedule, ("one_pass", "independent"))
    finetune_on = changes.pop("finetune_on", "train")
    cli.check_choice("finetune_on", finetune_on, ("train", "all"))
    features = changes.pop("features", cli.TUNED)
    cli.check_choice("features", features, cli.FEATURES)
    cli.check_range("learning_rate", changes.get("learning_rate", 1e-4), 1e-8, 1.0)
    cli.check_range("mask_share", changes.get("mask_share", 0.2), 0.01, 0.9)
    cli.check_range("tuned_share", changes.get("tuned_share", 0.5), 0.01, 1.0)
    passes = changes.get("passes", 1)
    cli.check_range("passes", passes, 1, 100)
    if passes > 1 and schedule == "one_pass":
        raise cli.InputError(
            f"passes={passes} with schedule=one_pass",
            "one pass, or schedule=independent",
            f"write recipe=passes={passes},schedule=independent: each size is then tuned by itself",
        )
    return Changes(changes, schedule, finetune_on, features)


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


def run(config: StudyConfig) -> None:
    """Plan, run and report a study."""
    from bat import units

    afresh = contextlib.nullcontext() if config.resume else units.afresh()
    with afresh, units.in_use() as remove:
        _run(config, remove)


def _asked(config: StudyConfig, seeds: tuple[int, ...], available: int) -> study.Asked:
    """Read what a study is to do, with so many documents that may be tuned on."""
    from bat import corpus, mlm, study

    changes = recipe_changes(config.recipe)
    return study.Asked(
        sizes=corpus.parse_sizes(config.sizes, available),
        seeds=seeds,
        trials=config.trials,
        recipe=mlm.Recipe(**changes.tuning),
        schedule=changes.schedule,
        finetune_on=changes.finetune_on,
        features=changes.features,
        baselines=cli.names("baselines", config.baselines, cli.BASELINES),
        margin=config.margin,
        stop_when_enough=config.stop_when_enough,
        keep=config.keep,
    )


def _run(config: StudyConfig, remove: Callable[[Iterable[Path]], bool]) -> None:
    from bat import (
        champion,
        cluster,
        encoder,
        page,
        plan,
        records,
        report,
        study,
        tracking,
        units,
    )

    loaded = study.load(config)
    base = encoder.open_encoder(tracking.resolve(config.base_model), name=config.base_model)
    prepared = study.prepare(loaded, base)
    seeds = cli.whole_numbers("seeds", config.seeds)
    finetune_on = recipe_changes(config.recipe).finetune_on
    texts = study.tuning_texts(prepared, seed=seeds[0], finetune_on=finetune_on)
    asked = _asked(config, seeds, len(texts))
    planned = plan.make(base, prepared, texts, asked)
    cli.say(plan.text(planned, prepared))
    if config.plan_only:
        return
    key = units.key(
        config=asdict(config),
        corpus=loaded.digest,
        groups=loaded.group_ids.tolist(),
        base=base.digest,
        code=units.own_code(),
    )
    with tracking.run("scaling_study", key) as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in report.findings_records(prepared):
            tracker.log(record)
        tracker.log(study.dataset_record(prepared, "study"))
        elsewhere = config.executor == "ray"
        with cluster.tuner(base, prepared, asked) if elsewhere else contextlib.nullcontext() as by:
            outcome, best, tuned = study.run(base, prepared, asked, tracker, by)
        for record in report.parent_records(outcome):
            tracker.log(record)
        tracker.log(records.Text("report.html", page.page(outcome, cli.logged(config))))
        when, margin = promotion(config.promote)
        served = champion.register(
            outcome, best, prepared, tracker, study=tracker.run_id, promote=when, margin=margin
        )
    cli.say(f"{report.screen(outcome)}\n{report.registered(served)}")
    if config.keep != "all" and not remove(tuned):
        cli.say("The cache keeps its encoders: another study is using it.")


if __name__ == "__main__":
    cli.main(run, StudyConfig)
