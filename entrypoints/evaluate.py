"""``mlflow run . -e evaluate``: how well does one encoder predict prices?"""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class EvaluateConfig(cli.DataConfig):
    """Embed a corpus with one encoder, search an XGBoost regressor on it, and score the pair."""

    encoder: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP)
    trials: int = option(30, "settings that Optuna tries")
    seed: int = option(0, "of the search")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        super().__post_init__()
        cli.check_range("trials", self.trials, 1, 1000)
        cli.check_range("seed", self.seed, 0, cli.MAX_SEED)


def run(config: EvaluateConfig) -> None:
    """Evaluate one encoder and log what was found."""
    from bat import encoder, records, report, study, tracking

    loaded = study.load(config)
    opened = encoder.open_encoder(tracking.resolve(config.encoder), name=config.encoder)
    prepared = study.prepare(loaded, opened)
    with tracking.run("evaluate") as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in report.findings_records(prepared):
            tracker.log(record)
        embeddings = study.embed(opened, prepared, "all rows")
        evaluation = study.evaluate(
            embeddings, prepared, trials=config.trials, seed=config.seed, what="settings"
        )
        protocol = study.protocol(opened, prepared)
        tracker.log(records.Tags({"protocol": protocol}))
        for record in [
            *study.evaluation_records(evaluation, prepared),
            *report.evaluation_records(evaluation, prepared, protocol),
        ]:
            tracker.log(record)
    cli.say(report.evaluation_text(evaluation, prepared, protocol))


if __name__ == "__main__":
    cli.main(run, EvaluateConfig)
