"""Simulate every cell and print the table; the exit status is 1 where a claim does not hold.

A toy run shows that it runs, and no more: its status is 0.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.honesty import cells, curves, intervals, material, served, verdicts
from benchmarks.honesty.cells import Cell

MODULES = (intervals, verdicts, curves, served)
DRAWS, TOY_DRAWS, PROCESSES = 2000, 10, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of the cells at hand."""
    parser = argparse.ArgumentParser(prog="benchmarks.honesty")
    parser.add_argument("--toy", action="store_true", help="few draws of the built-in corpus")
    parser.add_argument("--draws", type=int, default=DRAWS, help="studies a cell")
    parser.add_argument("--only", default="", help="cells whose name holds these words")
    told = parser.parse_args(arguments)
    corpora = material.corpora(toy=told.toy)
    chosen = [
        cell for module in MODULES for cell in module.cells(corpora) if told.only in cell.name
    ]
    for data in corpora:
        material.population(data)  # made once, before the processes ask for it
    refuted = table(chosen, TOY_DRAWS if told.toy else told.draws)
    return 1 if refuted and not told.toy else 0


def table(chosen: Sequence[Cell], draws: int) -> int:
    """Measure cells, print them as they come, and count the claims that do not hold."""
    print(f"{draws:,} studies a cell, fewer where it costs more\n\n{cells.HEADER}", flush=True)
    began, found = time.monotonic(), []
    with ProcessPoolExecutor(PROCESSES) as pool:
        each = pool.map(Cell.measured, chosen, [draws] * len(chosen))
        for cell, measured in zip(chosen, each, strict=True):
            print(cells.line(cell, measured), flush=True)
            if cell.claimed:
                found.append(cell.holds(measured))
    minutes = (time.monotonic() - began) / 60
    missed = len(chosen) - len(found)
    print(
        f"\nhonesty: {len(found)} claims in {minutes:.1f} minutes: {found.count('yes')} hold, "
        f"{found.count('open')} open, {found.count('no')} do not hold; {missed} aims not claimed"
    )
    return found.count("no")


if __name__ == "__main__":
    sys.exit(main())
