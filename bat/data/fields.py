"""One value of a row: its price, its group, its time, or why it cannot be used."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from bat.data.rows import PLAIN_NUMBER, Columns
from bat.data.texts import UnusableError, excerpt, text_key

MAX_PRICE = 1e15  # convention: no price is this high, and squares of it still add up in float64


class Time(NamedTuple):
    """When a row was; dates and numbers do not compare."""

    is_date: bool
    value: float  # seconds since 1970 of a date, else the number itself


def check_fields(fields: Mapping[str, Any], columns: Columns) -> None:
    """Refuse a row without one of the named columns."""
    for column, setting in columns.named().items():
        if column not in fields:
            reason = f"no field {column!r} (name another with {setting}=...)"
            raise UnusableError(reason, excerpt(f"fields: {', '.join(map(repr, fields))}"))


def read_price(value: Any) -> float:
    """Read a number, or a string that is nothing but a number (all that CSV has)."""
    shown = excerpt(repr(value))
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UnusableError("price is missing", shown)
    if isinstance(value, str):
        if not PLAIN_NUMBER.fullmatch(value.strip()):
            reason = "price is not a plain number (write 12000.50: no currency, no separators)"
            raise UnusableError(reason, shown)
        value = float(value)
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number or value != value:  # the latter is NaN
        raise UnusableError("price is not a number", shown)
    if value <= 0:
        raise UnusableError("price is not above zero", shown)
    if value > MAX_PRICE:
        raise UnusableError(f"price is infinite or above {MAX_PRICE:g}", shown)
    return float(value)


def read_group(value: Any) -> bytes:
    """Name a group so that equal numbers are one (7 and 7.0), and strings as they are spelt."""
    if value is None or value != value or not str(value).strip():  # the second is NaN
        raise UnusableError("group is missing", excerpt(repr(value)))
    if isinstance(value, Decimal) and value == float(value):
        value = float(value)
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        value = int(value)
    return text_key(str(value))


def read_time(value: Any) -> Time:
    """Read a number, or a date in ISO 8601; a date without a zone is taken as UTC."""
    if isinstance(value, str):
        value = value.strip()
        if PLAIN_NUMBER.fullmatch(value):
            return Time(is_date=False, value=_finite(float(value)))
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            reason = "time is neither a number nor an ISO date (2024-05-31, 2024-05-31T12:00:00Z)"
            raise UnusableError(reason, excerpt(repr(value))) from None
    if isinstance(value, datetime.date):
        if not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day)
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return Time(is_date=True, value=zoned.timestamp())
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise UnusableError("time is missing or no time", excerpt(repr(value)))
    return Time(is_date=False, value=_finite(value))


def _finite(value: float | Decimal) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise UnusableError("time is missing or not finite", excerpt(repr(value)))
    return number
