"""``mlflow run . -e promote``: serve another version, back or forward, on the record."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option
from entrypoints import _failure


@dataclass(frozen=True)
class PromoteConfig:
    """Make a registered version the champion, whatever a comparison showed; the former is kept."""

    version: str = option("previous", "a version's number, or an alias: previous or candidate")
    model_name: str = option("auto", cli.MODEL_NAME_HELP)

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        from bat.registry import lineage

        lineage.check_name(self.model_name)


def run(config: PromoteConfig) -> None:
    """Move the alias, and log who is what."""
    from bat import records
    from bat.registry import store, tracking, versions
    from bat.report import runs, terminal

    store.check()
    with tracking.run("promote", about=[config.version]) as tracker:
        tracker.log(records.config(cli.logged(config)))
        name = versions.choose_model(config.model_name, config.version)
        before, now = versions.serve_version(name, config.version)
        standings = versions.standings(name)
        for record in runs.promotion_records(name, before, now, standings):
            tracker.log(record)
    cli.say(terminal.promotion_text(name, before, now, standings))


if __name__ == "__main__":
    cli.main(run, PromoteConfig, log_failure=_failure.log)
