"""``mlflow run . -e evaluate``: how well does one encoder predict prices?"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class EvaluateConfig:
    """Embed a corpus with one encoder, search an XGBoost regressor on it, and score the pair."""

    encoder: str = option(cli.DEFAULT_ENCODER, cli.ENCODER_HELP)
    data: str = option("auctions:3000", cli.DATA_HELP)
    text_column: str = option("text", "column of the texts")
    price_column: str = option("price", "column of the prices")
    group_column: str = option("none", "rows with the same value here stay in one part")
    time_column: str = option("none", "train on the earliest rows, test on the latest")
    limit: int = option(0, "use this many rows, chosen by hash; 0 for all")
    trials: int = option(30, "settings that Optuna tries")
    seed: int = option(0, "of the search")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        cli.check_range("limit", self.limit, 0)
        cli.check_range("trials", self.trials, 1, 1000)
        cli.check_range("seed", self.seed, 0)


def run(config: EvaluateConfig) -> None:
    """Evaluate one encoder and log what was found."""
    from bat import encoder, records, report, study, tracking

    loaded = study.load(
        config.data,
        text_column=config.text_column,
        price_column=config.price_column,
        group_column=config.group_column,
        time_column=config.time_column,
        limit=config.limit,
    )
    opened = encoder.open_encoder(tracking.resolve(config.encoder), name=config.encoder)
    prepared = study.prepare(loaded, opened)
    with tracking.run("evaluate") as tracker:
        tracker.log(records.Params({f"config.{k}": v for k, v in asdict(config).items()}))
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
