"""``mlflow run . -e promote``: serve another version, back or forward, on the record."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option


@dataclass(frozen=True)
class PromoteConfig:
    """Make a registered version the champion, whatever a comparison said; the former is kept."""

    version: str = option("previous", "a version's number, or an alias: previous or candidate")


def run(config: PromoteConfig) -> None:
    """Move the alias, and log who is what."""
    from bat import records, report, tracking

    with tracking.run("promote") as tracker:
        tracker.log(records.config(cli.logged(config)))
        before, now = tracking.serve_version(config.version)
        standings = tracking.standings()
        for record in report.promotion_records(before, now, standings):
            tracker.log(record)
    cli.say(report.promotion_text(before, now, standings))


if __name__ == "__main__":
    cli.main(run, PromoteConfig)
