"""Numbers and dates that a text says, each with its *anchors*: the words and signs beside it.

``41,000 miles``, ``41.000 miles`` and ``41k miles`` are one number before one word.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import NamedTuple

from bat.data.texts import UNSPACED

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH = rf"\b(?:{'|'.join(MONTHS)})[a-z]{{0,6}}"
DAY = r"\d{1,2}(?:st|nd|rd|th)?"
# 2024-03-12; 12/03/2024; 12.3.24; 12 Mar 2024; 12th of March, 2024
DATE = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)"
    r"|\d{1,2}(?P<bar>[-/.])\d{1,2}(?P=bar)(?:\d{4}|\d\d)(?!\d)"
    rf"|{DAY}\s(?:of\s)?{MONTH}\.?,?\s\d{{4}}\b"
)
MONTH_FIRST = rf"(?=[jfmasond]){MONTH}\.?\s{DAY},?\s\d{{4}}\b"  # March 12th, 2024; Mar. 12 2024
BLANKS = "\u0020\u00a0\u2007\u2009\u202f"  # between thousands: wide and thin, breaking or not
GROUPS = rf"[1-9]\d{{0,2}}(?P<mark>[,.'’{BLANKS}])\d{{3}}(?:(?P=mark)\d{{3}})*(?!\d)"
# $67,911; 67911; 67 911; 67.911,00; 67.9k; 68k; $1.2 million; 1.2m
NUMBER = (
    rf"(?P<digits>{GROUPS}(?:(?!(?P=mark))[.,]\d+)?|\d+(?:\.\d+|,\d{{1,2}}(?!\d))?)"
    r"(?:\s?(?P<unit>k|thousand|mm?|mil|million)\b)?"
)
# The looks ahead change nothing but the time, by a factor of three.
SAID = re.compile(
    rf"(?=\d)(?<!\d)(?<!\d[.,])(?:(?P<date>{DATE})|{NUMBER})|(?P<month_first>{MONTH_FIRST})",
    re.IGNORECASE,
)
GROUPED = re.compile(rf"(?P<whole>{GROUPS})(?:[.,](?P<rest>\d+))?")

LETTER = re.compile(rf"[^\W\d{UNSPACED}]")  # right before digits it makes them part of a name
TOKEN = re.compile(rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]+|\d+(?:[.,]\d+)*")
REACH = 40  # letters in which two words before or after a number are looked for
NUMBER_WORD = "(number)"  # stands for any
CURRENCY = re.compile("[$\u00a2-\u00a5\u20a0-\u20c0]")  # Unicode's block of them, and the older
ANCHORS = 6  # of one number, at most


class Quantity(NamedTuple):
    """One number or date of a text: where it stands, and what it is anchored to."""

    span: tuple[int, int]
    value: float
    anchors: list[tuple[str, ...]]  # the kind, then after, before or with what it stands


def read(text: str, *, small: bool = False) -> Iterator[Quantity]:
    """Read the numbers and dates of a text, in their order.

    A date in figures may begin with day or month, and is read both ways, as of two kinds.

    Args:
        text: any string.
        small: whether 4.125 is a fraction rather than 4,125.
    """
    for found in SAID.finditer(text):
        start, end = span = found.span()
        if date := found["date"] or found["month_first"]:
            for kind, day in _days(date):
                yield Quantity(span, day, _anchors(kind, text, start, end))
            continue
        kind = "code" if LETTER.match(text, start - 1) else "number"
        value = _value(found["digits"], found["unit"], small=small)
        yield Quantity(span, value, _anchors(kind, text, start, end))


def _anchors(kind: str, text: str, start: int, end: int) -> list[tuple[str, ...]]:
    """List what a number is anchored to, from the widest to the narrowest, () where it lacks it.

    Another number among the words counts as such, whatever it is, and is no anchor by itself.
    """
    before = [_plain(word) for word in TOKEN.findall(text, max(0, start - REACH), start)]
    after = [_plain(word) for word in TOKEN.findall(text, end, end + REACH)]
    sign = CURRENCY.search(text, max(0, start - 2), start) or CURRENCY.search(text, end, end + 2)
    anchors: list[tuple[str, ...]] = [(kind,), (kind, "with", sign[0]) if sign else ()]
    for n in (1, 2):
        for side, words in (("after", before[-n:]), ("before", after[:n])):
            says = len(words) == n and set(words) != {NUMBER_WORD}
            anchors.append((kind, side, *words) if says else ())
    return anchors


def _plain(word: str) -> str:
    return NUMBER_WORD if word[0].isdecimal() else word.lower()


def _value(digits: str, unit: str | None, *, small: bool) -> float:
    """Read 67,911 and 67.911 as thousands, 67.91 as a fraction; k and m scale."""
    scale = {"": 1.0, "k": 1e3, "t": 1e3, "m": 1e6}[(unit or "")[:1].lower()]
    grouped = GROUPED.fullmatch(digits)
    is_fraction = re.fullmatch(r"\d+\.\d+", digits) and (unit or small)
    if grouped and not is_fraction:
        digits = re.sub(r"\D", "", grouped["whole"]) + f".{grouped['rest'] or 0}"
    return float(digits.replace(",", ".")) * scale


def _days(date: str) -> Iterator[tuple[str, float]]:
    """Read a date as the number of its day, once for each order of day and month."""
    parts = re.findall(r"\d+|[a-z]{3,}", date.casefold())
    months = [MONTHS.index(part[:3]) + 1 for part in parts if part.isalpha()]
    first, second, *rest = (int(part) for part in parts if not part.isalpha())
    if months:
        orders = [(second, months[0], first)] * 2
    elif first > 31:
        orders = [(first, second, rest[0])] * 2
    else:
        orders = [(rest[0], second, first), (rest[0], first, second)]
    for kind, (year, month, day) in zip(("date", "date, month first"), orders, strict=True):
        if month > 12:
            month, day = day, month
        year += 0 if year > 99 else 2000 if year < 70 else 1900  # as POSIX reads two digits
        try:
            yield kind, float(datetime.date(year, month, day).toordinal())
        except ValueError:  # no such day
            continue
