"""Settings of a study as Python has them, lists and numbers, as the command line writes them."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from bat import cli
from bat.cli import InputError
from bat.interface.studying import StudyConfig

# Parameters of the command that ``bat.study`` calls otherwise, or leaves to the command.
ELSEWHERE = {
    "data": "give the table or file as the first argument",
    "text_column": "use text",
    "target_column": "use target",
    "plan_only": "use the command: mlflow run . -e scaling_study -P plan_only=true",
}


def config(data: str, text: str, target: str, settings: Mapping[str, Any]) -> StudyConfig:
    """Settle what a study is to do.

    Args:
        data: as for the command.
        text: column of the texts.
        target: column of the numbers.
        settings: the other parameters of the command by their names. A list stands for values with
            commas between, None for ``none``.

    Raises:
        InputError: a setting is unknown, or its value cannot be meant.
    """
    known = [each.name for each in dataclasses.fields(StudyConfig)]
    for name in settings:
        if name not in known or name in ELSEWHERE:
            raise _unknown(name, known)
    words = {name: _word(name, value) for name, value in settings.items()}
    given = {"data": data, "text_column": text, "target_column": target, **words}
    return cli.filled(StudyConfig, given)


def column(setting: str, name: object) -> str:
    """Take the name of a column, which reports and files can write.

    Raises:
        InputError: it is no string.
    """
    if not isinstance(name, str):
        raise InputError(
            f"{setting}={name!r}",
            "the name of a column, a string",
            "name the columns by frame.columns = frame.columns.map(str)",
        )
    return str(name)


def _unknown(name: str, known: list[str]) -> InputError:
    offered = [*(each for each in known if each not in ELSEWHERE), "text", "target", "name"]
    near = difflib.get_close_matches(name, offered, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(offered)}"
    expected = "a parameter of a study"
    return InputError(f"the setting {name!r}", expected, ELSEWHERE.get(name, remedy))


def _word(name: str, value: object) -> str:
    """Write a value as a flag has it."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(_word(name, each) for each in value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, str | Path):
        return os.fspath(value)
    if isinstance(value, Number):
        return str(value)
    raise InputError(
        f"{name}={value!r}, of type {type(value).__name__}",
        "a string, a number, True, False, None, or a list of these",
        f"write {name} as the command takes it, or leave it out for its default",
    )
