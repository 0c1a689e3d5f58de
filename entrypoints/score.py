"""``mlflow run . -e score``: prices for a file, with every row and column kept."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option
from entrypoints import _failure


@dataclass(frozen=True)
class ScoreConfig:
    """Price every row of a file; a killed run goes on where it was when started again."""

    model: str = option(
        "auto",
        "models:/ address of a pair, or its folder; auto for the champion of model_name",
        is_path=True,
    )
    model_name: str = option("auto", cli.MODEL_NAME_HELP)
    data: str = option("auctions:3000", "as for a study; the rows need no prices", is_path=True)
    text_column: str = option("text", "column of the texts")
    target_column: str = option(
        "price", "column of true prices: where there is one, errors are reported"
    )
    coverage: float = option(0.0, "share of true prices inside the intervals; 0 for the usual one")
    explain: bool = option(
        False,
        "also say in a column why, as JSON, which words, numbers and clauses move each price; for "
        "each row some 10 more texts are read, at most 22, which takes as much longer",
    )
    output: str = option("prices.parquet", "new .parquet, .csv or .jsonl file", is_path=True)

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        from bat.registry import lineage

        lineage.check_name(self.model_name)
        if "auto" not in (self.model, self.model_name):
            raise cli.InputError(
                f"model={self.model!r} and model_name={self.model_name!r}",
                "one of them: an address, or the registered model whose champion is meant",
                "leave one of them out",
            )
        cli.check_range("coverage", self.coverage, 0.0, 1.0)


def run(config: ScoreConfig) -> None:
    """Price the rows, and log where the prices came from and, if that is known, how far off."""
    from bat import cache

    with cache.in_use():
        _run(config)


def _run(config: ScoreConfig) -> None:
    from pathlib import Path

    from bat import records
    from bat.registry import score, scored_errors, scored_file, store, tracking, versions
    from bat.report import terminal

    output = Path(config.output)
    scored_file.check_output(output)
    store.check()
    model = config.model
    if model == "auto":
        model = versions.champion_address(config.model_name)
    folder = versions.pricer_folder(model)
    rows = score.count(config.data, text_column=config.text_column, explain=config.explain)
    with tracking.run("score", about=[cli.short_name(config.data), output.name]) as tracker:
        tracker.log(records.config(cli.logged(config)))
        tracker.log(records.Tags({"model": cli.tail(model)}))
        with cli.bar("scoring", rows, "row") as bar:
            done = score.score(
                folder,
                config.data,
                output,
                text_column=config.text_column,
                target_column="" if config.target_column == "none" else config.target_column,
                coverage=config.coverage or None,
                explain=config.explain,
                progress=bar.update,
            )
        tracker.log(records.Metrics({"rows": done.rows, "rows_without_price": done.without}))
        if done.errors:
            tracker.log(records.Metrics(done.errors))
    cli.say(
        f"{done.rows:,} rows in {output}, {done.without:,} of them without a price "
        f"(column reason says why); priced by {model}."
    )
    if done.errors:
        cli.say(terminal.errors_text(done.errors))
        cli.say(f"These numbers are in {scored_errors.write_errors(output, done.errors)}.")
    elif config.target_column not in ("price", "none"):
        cli.say(f"No true prices to compare with in a column {config.target_column!r}.")


if __name__ == "__main__":
    cli.main(run, ScoreConfig, log_failure=_failure.log)
