"""All ways to learn, by the names of their modules."""

from __future__ import annotations

from bat.cli import InputError
from bat.tuning.objective import Objective
from bat.tuning.objectives import mlm, supervised

OBJECTIVES: dict[str, Objective] = {
    "mlm": mlm.OBJECTIVE,
    "supervised": supervised.OBJECTIVE,
}


def named(name: str) -> Objective:
    """Look a way to learn up.

    Raises:
        InputError: there is none of this name.
    """
    if name not in OBJECTIVES:
        raise InputError(
            f"an objective called {name!r}", f"one of {', '.join(OBJECTIVES)}", "correct the name"
        )
    return OBJECTIVES[name]
