"""``mlflow run . -e scaling_study``: how many documents are enough, and does tuning pay at all?"""

from __future__ import annotations

from bat import cli
from bat.interface import studying
from bat.interface.studying import StudyConfig
from entrypoints import _failure


def run(config: StudyConfig) -> None:
    """Plan, run and report a study."""
    from bat.report import terminal

    if done := studying.run(config):
        screen = terminal.screen(done.outcome, done.settings)
        registered = terminal.registered(done.registered)
        cli.say(f"{screen}\n\n{registered}\nSee the run: {done.page}")


if __name__ == "__main__":
    cli.main(run, StudyConfig, log_failure=_failure.log)
