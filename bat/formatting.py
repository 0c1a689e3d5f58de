"""Numbers as people write them: thousands separators, and as many digits as they deserve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

SMALL_PRICE = 100.0


class Ends(Protocol):
    """A number with the ends of its interval."""

    @property
    def value(self) -> float:
        """The number."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


def number(name: str, value: float, *, sign: bool = False, unit: str = "") -> str:
    """Write a metric as people do: R² with three decimals, errors in units of the target.

    Errors below 100 keep two decimals, those below 1 three digits: a bottle's price is not a car's.
    """
    return _written(value, decimals(name, [value]), sign) + _behind(name, unit)


def titled(name: str, title: str, unit: str) -> str:
    """Head a column or an axis of a metric, with the unit of the target where it has that."""
    return f"{title} ({unit})" if _behind(name, unit) else title


def _behind(name: str, unit: str) -> str:
    """Give what stands behind a number: R² and shares have no unit."""
    return f" {unit}" if unit and not name.startswith(("r2", "share")) else ""


def interval(
    name: str, score: Ends, *, sign: bool = False, least: float = 0.0, unit: str = ""
) -> str:
    """Write a metric with the ends of its 95 % interval, all with the same decimals.

    Args:
        name: of the metric.
        score: the number and its ends.
        sign: also of positive numbers.
        least: smaller numbers get no more decimals than this one; a rounding error of a price is 0.
        unit: of the target.
    """
    written = with_decimals(score, decimals(name, (*ends(score), least)), sign=sign)
    return written + _behind(name, unit)


def with_decimals(score: Ends, decimals: int, *, sign: bool = False) -> str:
    """Write a number with the ends of its interval, if it has one, all with so many decimals."""
    value, *bounds = (_written(end, decimals, sign) for end in ends(score))
    return f"{value} [{', '.join(bounds)}]" if bounds else value


def ends(score: Ends) -> tuple[float, ...]:
    """List a number and the ends of its interval; the number alone where it has none (NaN)."""
    if math.isnan(score.low) or math.isnan(score.high):
        return (score.value,)
    return score.value, score.low, score.high


def decimals(name: str, values: Sequence[float]) -> int:
    """Count the decimals that the largest of some values of a metric deserves."""
    largest = max(map(abs, values))
    if name.startswith("r2"):
        return 3
    if largest >= SMALL_PRICE:
        return 0
    return 2 if largest >= 1 or not largest else 2 - math.floor(math.log10(largest))


def _written(value: float, decimals: int, sign: bool) -> str:
    return f"{value:{'+' if sign else ''}z,.{decimals}f}"


def counted(count: int, noun: str) -> str:
    """Write how many there are of something: 0 rows, 1 row, 1,200 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
