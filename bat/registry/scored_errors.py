"""Errors of scored rows against true prices, of a sample that fits into memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bat.cli import InputError
from bat.data.chunks import Chunk
from bat.data.texts import text_key
from bat.registry import scored_file
from bat.stats import bootstrap

MAX_EVALUATED = 100_000  # rows whose errors are kept: 20 MB, and seconds of bootstrap draws


# Errors against true prices


@dataclass
class Sample:
    """Rows with a true price and a predicted one: all, or so many of them drawn at random."""

    seen: int = 0
    values: list[tuple[float, ...]] = field(default_factory=list)  # true, predicted, low, high
    texts: list[int] = field(default_factory=list)  # equal for rows of one text
    draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, chunk: Chunk, path: Path) -> None:
        """Take the rows of a chunk, priced in a file, each with the same chance as all before.

        Source:
            Algorithm R: Vitter 1985, "Random sampling with a reservoir".
        """
        places = [
            place
            for place in np.flatnonzero(np.isfinite(chunk.prices)).tolist()
            if not chunk.reasons[place]
        ]
        if not places:
            return
        table = scored_file.read_chunk(path)
        found = [table[name].to_pylist() for name in list(scored_file.ADDED)[:3]]
        for place in places:
            row = (float(chunk.prices[place]), *(column[place] for column in found))
            text = int.from_bytes(text_key(chunk.texts[place])[:8], signed=True)
            self.seen += 1
            if len(self.values) < MAX_EVALUATED:
                self.values.append(row)
                self.texts.append(text)
            elif (drawn := int(self.draws.integers(self.seen))) < MAX_EVALUATED:
                self.values[drawn], self.texts[drawn] = row, text

    def errors(self) -> dict[str, float] | None:
        """Score the predictions of these rows; None where there are none."""
        if not self.values:
            return None
        true, predicted, low, high = np.array(self.values).T
        inside = bootstrap.share((low <= true) & (true <= high), groups=self.texts)
        return {
            **_errors(true, predicted, self.texts),
            **bootstrap.flat({"coverage": inside}),
            "rows_with_price": self.seen,
            "rows_evaluated": len(self.values),
        }


def _errors(
    true: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], texts: Sequence[int]
) -> dict[str, float]:
    if true.min() < true.max():
        return bootstrap.flat(bootstrap.bootstrap(true, predicted, groups=texts))
    off = np.abs(true - predicted)
    return {"mae": float(off.mean()), "medae": float(np.median(off))}


def write_errors(output: Path, errors: Mapping[str, float]) -> Path:
    """Write the errors of an output beside it, and return where.

    Raises:
        InputError: a file of that name has appeared.
    """
    path = scored_file.metrics_path(output)
    strict = {name: value if math.isfinite(value) else None for name, value in errors.items()}
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(strict, indent=1) + "\n")
    except FileExistsError:
        raise InputError(
            f"output={str(output)!r}, but {path.name!r} has appeared beside it",
            "the name of a new file, also with .metrics.json behind it",
            "the prices are complete; the run in MLflow has their errors",
        ) from None
    return path
