"""``mlflow run . -e score``: prices for a whole file, with every row and column kept."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class ScoreConfig:
    """Price every row of a file; a killed run goes on where it was when started again."""

    model: str = option("models:/bat-pricer@champion", "models:/ address of a pair, or its folder")
    data: str = option("auctions:3000", "as for a study; the rows need no prices")
    text_column: str = option("text", "column of the texts")
    coverage: float = option(0.0, "share of true prices inside the intervals; 0 for the usual one")
    output: str = option("prices.parquet", "new .parquet, .csv or .jsonl file")

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        cli.check_range("coverage", self.coverage, 0.0, 1.0)


def run(config: ScoreConfig) -> None:
    """Price the rows, and log where the prices came from."""
    from pathlib import Path

    from bat import records, score, tracking

    output = Path(config.output).expanduser()
    score.check_output(output)
    folder = tracking.pricer_folder(config.model)
    rows = score.count(config.data, text_column=config.text_column)
    with tracking.run("score") as tracker:
        tracker.log(records.config(cli.logged(config)))
        with cli.bar("scoring", rows, "row") as bar:
            done = score.score(
                folder,
                config.data,
                output,
                text_column=config.text_column,
                coverage=config.coverage or None,
                progress=bar.update,
            )
        tracker.log(records.Metrics({"rows": done.rows, "rows_without_price": done.without}))
    cli.say(
        f"{done.rows:,} rows in {output}, {done.without:,} of them without a price "
        "(column reason says why)."
    )


if __name__ == "__main__":
    cli.main(run, ScoreConfig)
