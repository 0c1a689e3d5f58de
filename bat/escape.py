"""Text that somebody else wrote, made safe for each medium that shows or keeps it."""

from __future__ import annotations

import html as standard
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

DATASET_LETTERS = 500  # of a data set's name; MLflow's own limit (it cuts longer tags by itself)
JOINERS = "\u200c\u200d"  # Persian and Hindi spelling, and emoji of several people, need them
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL takes no NUL, UTF-8 no lone surrogate
# What CommonMark, and the dialect of MLflow's pages (GitHub's), read as markup within a line.
PUNCTUATION = re.compile(r"[\\`*_\[\]|~]")
LINKS = re.compile(r"[$@]|:(?=//|[\w+-]+:)|(?<=www)\.", re.IGNORECASE)
FORMULA = ("=", "+", "-", "@")  # begins what a spreadsheet would compute (OWASP, CSV injection)


def printable(text: str) -> str:
    """Write on one line, with Python's escapes for what has no sign of its own.

    These are control characters, ends of lines, marks that turn the direction of what follows, and
    lone surrogates. All other letters stay.
    """
    return "".join(letter if _has_sign(letter) else _escaped(letter) for letter in text)


def _has_sign(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def storable(text: str) -> str:
    """Escape what a database or a UTF-8 file refuses; ends of lines stay."""
    return UNSTORABLE.sub(lambda found: _escaped(found[0]), text)


def dataset(name: str) -> str:
    """Write the name of a data set so that MLflow takes it."""
    return printable(name)[:DATASET_LETTERS]


def html(text: str) -> str:
    """Write for HTML, between tags or in a quoted attribute."""
    return standard.escape(printable(text))


def markdown(text: str) -> str:
    """Write for a line or a table's cell of markdown: no emphasis, link, image, tag or code."""
    text = standard.escape(printable(text), quote=False)
    text = PUNCTUATION.sub(r"\\\g<0>", text)
    return LINKS.sub(lambda found: f"&#{ord(found[0])};", text)


def markdown_lines(text: str) -> str:
    """Write several lines for markdown, whose beginnings are ours: dashes of a list stay."""
    return "\n".join(map(markdown, text.split("\n")))


def fenced(text: str) -> str:
    """Write lines as a block of code in markdown, whatever they hold."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def strict_json(value: Any) -> str:
    """Write as JSON that every parser takes: no NaN, NUL or lone surrogate, and ASCII alone.

    A number that is not finite becomes null.
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {storable(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return storable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: object) -> object:
    """Write for a cell of a CSV table: on one line, and never as a formula.

    What a spreadsheet would compute gets an apostrophe before it. Numbers stay as they are.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) else text
