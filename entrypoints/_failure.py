"""What becomes of a command that fails before it has opened its run."""

from __future__ import annotations


def log(error: BaseException) -> None:
    """Put the reason on the page of the run that ``mlflow run`` has made for the command."""
    from bat.registry import tracking

    tracking.log_early_failure(error)
