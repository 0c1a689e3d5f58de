"""What one registered model holds: pairs for one target, each of which may replace the last.

An error of 2 dollars a bottle is less than one of 9,000 dollars a car, and says nothing about which
pair is better. So each kind of corpus and target has a registered model of its own, and a version
replaces another by comparison only where both predict the same quantity.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bat.cli import InputError
from bat.formatting import number

AUTO = "auto"  # a model's name that follows from the corpus and its target
BUILT_IN = "bat-pricer"  # of auctions:N; and of every study before models had names of their own
BUILT_IN_CORPUS = re.compile(r"auctions:\d+")
MAX_LETTERS = 256  # of a registered model's name: what MLflow's database holds
HALF_LETTERS = 120  # of the file's part of a name, and of the column's: both fit
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Convention: other currencies and units lie further apart than this, the years of a market less.
MEDIAN_FACTOR = 3.0


def model_name(chosen: str, data: str, target_column: str) -> str:
    """Name the registered model of a study; the same when its corpus has grown.

    Args:
        chosen: what the user chose, or ``auto`` for a name after the corpus and the column.
        data: as for ``corpus.load``.
        target_column: of the numbers to predict.
    """
    if chosen != AUTO:
        return chosen
    if data.startswith("auctions:"):
        return BUILT_IN
    if data.startswith("hf:"):
        stem = data.removeprefix("hf:")
    else:
        stem = Path(re.sub(r"\.gz$", "", Path(data).name, flags=re.IGNORECASE)).stem
    halves = (_accepted(half)[:HALF_LETTERS].strip("-.") for half in (stem, target_column))
    return "-".join(half for half in halves if half) or "pricer"


def check_name(name: str) -> None:
    """Refuse a model's name that the registry, an address or a shell would read otherwise.

    Raises:
        InputError: it holds other characters than letters, digits, dots, dashes and underscores,
            or too many.
    """
    if name != _accepted(name)[:MAX_LETTERS] or not name:
        raise InputError(
            f"model_name={name!r}",
            f"letters and digits, with . _ - inside, {MAX_LETTERS} in all at most",
            f"write for instance model_name={_accepted(name)[:MAX_LETTERS] or BUILT_IN}",
        )


def _accepted(text: str) -> str:
    """Put a dash for what MLflow, an address or a shell would not take as part of a name."""
    kept = "".join(
        letter if letter in "._-" or unicodedata.category(letter)[0] in "LMN" else "-"
        for letter in unicodedata.normalize("NFC", text)
    )
    return re.sub("-{2,}", "-", kept).strip("-.")


@dataclasses.dataclass(frozen=True)
class Target:
    """The numbers that a pair predicts: their column, and how they spread over the corpus."""

    column: str
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    positive: bool  # all of them

    def tags(self) -> dict[str, str]:
        """Write it as tags of a version, exact to 15 digits."""
        values = dataclasses.asdict(self)
        return {
            f"target_{name}": f"{value:.15g}" if isinstance(value, float) else str(value).lower()
            for name, value in values.items()
            if name != "column"
        } | {"target_column": self.column}


def describe(column: str, values: npt.NDArray[np.float64]) -> Target:
    """Describe the numbers of a target column, shape (n,)."""
    p5, p25, median, p75, p95 = map(float, np.quantile(values, QUANTILES))
    return Target(column, p5, p25, median, p75, p95, bool((values > 0).all()))


def _target(tags: Mapping[str, str]) -> Target | None:
    """Read the target from a version's tags; None of a version registered before there were any."""
    names = ("p5", "p25", "median", "p75", "p95")
    try:
        numbers = {name: float(tags[f"target_{name}"]) for name in names}
        is_positive = tags["target_positive"] == "true"
        return Target(tags["target_column"], **numbers, positive=is_positive)
    except (KeyError, ValueError):
        return None


def difference(new: Mapping[str, str], champion: Mapping[str, str]) -> str:
    """Say why a version must not replace the champion of its model by comparison.

    Args:
        new: tags of the version.
        champion: tags of the champion, which may lack those of its target.

    Returns:
        What differs, or nothing where both are of one lineage.
    """
    mine, theirs = _target(new), _target(champion)
    if mine and theirs:
        return _distance(mine, theirs)
    if new["corpus_digest"] == champion.get("corpus_digest"):
        return ""
    corpora = [tags.get("corpus", "unknown") for tags in (new, champion)]
    if all(BUILT_IN_CORPUS.fullmatch(corpus) for corpus in corpora):
        return ""
    return (
        f"it was registered on {corpora[1]!r} without a note of its target, so that nobody knows "
        "whether both predict the same"
    )


def _distance(mine: Target, theirs: Target) -> str:
    """Say how far apart two targets are, if they are too far to be one quantity."""
    if mine.column != theirs.column:
        return f"it predicts the column {theirs.column!r}, this one {mine.column!r}"
    ranges = [f"{_number(each.p5)} to {_number(each.p95)}" for each in (theirs, mine)]
    if max(mine.p5, theirs.p5) > min(mine.p95, theirs.p95):
        return f"90 % of its targets lie from {ranges[0]}, of this one's from {ranges[1]}"
    medians = (
        f"the median of its targets is {_number(theirs.median)}, of this one's "
        f"{_number(mine.median)}"
    )
    if mine.positive and theirs.positive:
        low, high = sorted((mine.median, theirs.median))
        difference = f"{medians}, a factor of {MEDIAN_FACTOR:g} or more apart"
        return difference if high >= MEDIAN_FACTOR * low else ""
    spread = min(each.p75 - each.p25 for each in (mine, theirs))
    apart = abs(mine.median - theirs.median)
    return f"{medians}, an interquartile range or more apart" if apart >= spread and apart else ""


def _number(value: float) -> str:
    return number("target", value)
