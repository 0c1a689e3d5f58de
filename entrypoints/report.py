"""``mlflow run . -e report``: report a study again from its runs, or compare several."""

from __future__ import annotations

from dataclasses import dataclass

from bat import cli
from bat.cli import option
from entrypoints import _failure


@dataclass(frozen=True)
class ReportConfig:
    """Build the report of a finished or half-finished study from what its runs keep."""

    studies: str = option(
        "none", "run id of a study, or of several to compare, with commas between"
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        if not self.run_ids():
            raise cli.InputError(
                "no study",
                "studies=<run id>, or several with commas between",
                "look a scaling_study's run id up with `mlflow ui`",
            )

    def run_ids(self) -> list[str]:
        """List the studies, each once."""
        words = (word.strip() for word in self.studies.split(","))
        return [word for word in dict.fromkeys(words) if word and word != "none"]


def run(config: ReportConfig) -> None:
    """Read the studies back, and log and show what they say."""
    from bat import records
    from bat.registry import reading, store, tracking
    from bat.report import answer_file, page, runs, terminal, verdict
    from bat.workflow import outcome

    store.check()
    files = (*outcome.FILES, answer_file.NAME)
    kept = [reading.read(run_id, files) for run_id in config.run_ids()]
    found = [outcome.rebuild(each) for each in kept]
    settings = [outcome.settings(each) for each in kept]
    if len(found) == 1:
        screen = terminal.screen(found[0], settings[0])
        html = page.page(found[0], settings[0])
        registered = answer_file.kept_registered(kept[0], found[0])
        logged = [*runs.parent_records(found[0], settings[0], registered)]
    else:
        together = dict(zip(outcome.labels(settings, config.run_ids()), found, strict=True))
        differences = verdict.differences(together)
        screen = terminal.comparison(together, differences)
        html = page.comparison(together, differences)
        logged = [*runs.comparison_records(together, differences)]
    with tracking.run("report", about=[run_id[:8] for run_id in config.run_ids()]) as tracker:
        tracker.log(records.config(cli.logged(config)))
        for record in [*logged, records.Text("report.html", html)]:
            tracker.log(record)
    cli.say(screen)


if __name__ == "__main__":
    cli.main(run, ReportConfig, log_failure=_failure.log)
