"""JSON Lines as rows: each object's values, and how they are written there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bat.cli import InputError
from bat.data import text_lines
from bat.data.rows import Columns, Rejected, Written
from bat.data.texts import excerpt


def _whole_number(digits: str) -> int | float:
    """Read an integer; of more digits than Python converts, as infinite."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


JSON = json.JSONDecoder(parse_int=_whole_number)
SPACE = re.compile(r"[ \t\r\n]*")


def read(
    path: Path, columns: Columns, label: str, *, everything: bool
) -> Iterator[Written | Rejected]:
    """Yield the rows of a file, by the arguments of ``csv_files.read``; reject bad lines alone.

    Raises:
        InputError: the file is one JSON value.
    """
    is_first = True
    for line, text in enumerate(text_lines.lines(path, label), 1):
        if not text.strip():
            continue
        if is_first and (text.lstrip().startswith("[") or text.strip() == "{"):
            raise InputError(
                f"{path.name}, one JSON value over the whole file",
                "JSON Lines: one object on each line",
                "convert it with `jq -c '.[]' old.json > new.jsonl`",
            )
        is_first = False
        if not text_lines.is_decoded(text):
            yield text_lines.undecoded(line, text)
            continue
        try:
            members = _members(text.strip())
        except (ValueError, RecursionError):  # the latter for thousands of nested brackets
            yield Rejected(line, "not valid JSON", excerpt(text))
            continue
        if members is None:
            yield Rejected(line, "not a JSON object", excerpt(text))
            continue
        counts = Counter(key for key, _, _ in members)
        kept = counts if everything else columns.named()
        if twice := [key for key in kept if counts[key] > 1]:
            yield Rejected(line, f"more than one field {twice[0]!r}", excerpt(text))
            continue
        fields = {key: value for key, value, _ in members}
        yield Written(line, fields, {key: written for key, _, written in members})


def _members(text: str) -> list[tuple[str, Any, str]] | None:
    """Take a JSON object apart: key, value, and the value as it is written; None for no object.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: it is nested too deep.
    """
    if not text.startswith("{"):
        JSON.decode(text)
        return None
    members: list[tuple[str, Any, str]] = []
    at = _after_space(text, 1)
    if text[at:] == "}":
        return members
    while True:
        key, at = JSON.raw_decode(text, at)
        at = _after_space(text, at)
        if not isinstance(key, str) or not text.startswith(":", at):
            raise ValueError("no key")
        begin = _after_space(text, at + 1)
        value, at = JSON.raw_decode(text, begin)
        members.append((key, value, text[begin:at]))
        at = _after_space(text, at)
        if text.startswith("}", at) and at == len(text) - 1:
            return members
        if not text.startswith(",", at):
            raise ValueError("no comma")
        at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at
