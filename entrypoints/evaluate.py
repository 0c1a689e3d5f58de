"""``mlflow run . -e evaluate``: how well does one encoder predict prices?"""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option
from entrypoints import _failure


@dataclass(frozen=True)
class EvaluateConfig(cli.DataConfig):
    """Embed a corpus with one encoder, search an XGBoost regressor on it, and score the pair."""

    encoder: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP, is_path=True)
    trials: int = option(30, "settings that Optuna tries")
    seed: int = option(0, "of the search")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        super().__post_init__()
        cli.check_range("trials", self.trials, 1, 1000)
        cli.check_range("seed", self.seed, 0, cli.MAX_SEED)


def run(config: EvaluateConfig) -> None:
    """Evaluate one encoder and log what was found."""
    from bat import cache

    with cache.in_use():
        _run(config)


def _run(config: EvaluateConfig) -> None:
    from bat import records
    from bat.models import encoder_opening
    from bat.registry import reading, store, tracking
    from bat.report import runs, terminal
    from bat.tuning.objectives import mlm
    from bat.workflow import graph, local, preparation, stages, study, tasks
    from bat.workflow.spec import StudySpec

    store.check()
    with tracking.log_refusal("evaluate"):
        loaded = preparation.load(config)
    opened = encoder_opening.open_encoder(reading.resolve(config.encoder), name=config.encoder)
    prepared = preparation.prepare(loaded, opened)
    about = [cli.short_name(config.data), cli.short_name(config.encoder)]
    with tracking.run("evaluate", about=about, show_texts=config.show_texts) as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in runs.findings_records(prepared):
            tracker.log(record)
        context = tasks.Context(
            opened, prepared, StudySpec((0,), (config.seed,), config.trials, mlm.Recipe())
        )
        (listed,) = graph.graph(context).pairs.values()
        task = listed.evaluation
        list(local.execute(context, [task]))
        evaluation = stages.read_evaluation(task.unit.folder)
        protocol = preparation.protocol(opened, prepared)
        tracker.log(records.Tags({"protocol": protocol}))
        for record in [
            *study.evaluation_records(evaluation, prepared),
            *runs.evaluation_records(evaluation, prepared, protocol),
        ]:
            tracker.log(record)
    cli.say(terminal.evaluation_text(evaluation, prepared, protocol))


if __name__ == "__main__":
    cli.main(run, EvaluateConfig, log_failure=_failure.log)
