"""A cell of the table: a claim, what was measured of it, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SURE = 2.0  # standard errors by which a measured number must miss its bound to refute it
FEWEST = 2  # studies a cell: one has no standard error
HEADER = "| cell | studies | measured | bound | holds |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Measured:
    """A number; its standard error and studies counted, where it comes from simulation."""

    value: float
    error: float = 0.0
    studies: int = 0


@dataclass(frozen=True)
class Cell:
    """A claim with its bounds; ``measure(draws)`` can be sent to another process."""

    name: str
    measure: Callable[[int], Measured]
    least: float = -math.inf
    most: float = math.inf
    claimed: bool = True  # else an aim that is missed, and that nothing in the program promises
    one_of: int = 1  # so many draws: cells that cost more are drawn less often

    def holds(self, measured: Measured) -> str:
        """Say yes, no, or open: outside the bounds, but by less than the simulation can tell."""
        if self.least <= measured.value <= self.most:
            return "yes"
        missed = max(self.least - measured.value, measured.value - self.most)
        return "no" if not missed <= SURE * measured.error else "open"

    def measured(self, draws: int) -> Measured:
        """Measure with the cell's part of the draws."""
        return self.measure(max(FEWEST, draws // self.one_of))


def rate(hits: int, draws: int) -> Measured:
    """Give a share of studies with its standard error; as if one more of either kind were seen."""
    if not draws:  # no study has what was to be counted
        return Measured(0.5, math.inf)
    smoothed = (hits + 1) / (draws + 2)
    return Measured(hits / draws, math.sqrt(smoothed * (1 - smoothed) / draws), draws)


def mean(shares: Sequence[float]) -> Measured:
    """Average what each study found, a share of its rows."""
    n, value = len(shares), sum(shares) / len(shares)
    squares = sum((each - value) ** 2 for each in shares)
    return Measured(value, math.sqrt(squares / (n - 1) / n), n)


def line(cell: Cell, measured: Measured) -> str:
    """Write a cell as a line of the table."""
    bounds = [
        f"at least {cell.least:.3g}" if cell.most == math.inf else "",
        f"at most {cell.most:.3g}" if cell.least == -math.inf else "",
    ]
    bound = "".join(bounds) or f"{cell.least:.3g} to {cell.most:.3g}"
    value = f"{measured.value:.3f}" + (f" ± {measured.error:.3f}" if measured.error else "")
    held = cell.holds(measured) + ("" if cell.claimed else ", not claimed")
    studies = f"{measured.studies:,}" if measured.studies else "none"
    return f"| {cell.name} | {studies} | {value} | {bound} | {held} |"
