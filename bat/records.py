"""What a run may report, as plain values, and the one door through which they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CONFIG = "config."  # begins the names of the parameters that the user set


@dataclass(frozen=True)
class Params:
    """Settings and derived numbers; each name is said once in a run."""

    values: Mapping[str, object]


def config(values: Mapping[str, object]) -> Params:
    """Say what the user asked for."""
    return Params({f"{CONFIG}{name}": value for name, value in values.items()})


@dataclass(frozen=True)
class Metrics:
    """Numbers to compare and draw; ``step`` is their place on the x axis."""

    values: Mapping[str, float]
    step: int = 0


@dataclass(frozen=True)
class Tags:
    """Words to search runs by."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows with named columns; the suffix of ``name`` (.csv or .jsonl) is the format."""

    name: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Text:
    """A text file."""

    name: str
    text: str


@dataclass(frozen=True)
class Figure:
    """A matplotlib figure; the suffix of ``name`` is the format."""

    name: str
    figure: Any


@dataclass(frozen=True)
class Note:
    """Markdown for the run's own page."""

    markdown: str


@dataclass(frozen=True)
class Dataset:
    """The corpus a run has read, by name and digest."""

    name: str
    digest: str
    texts: Sequence[str]
    prices: Sequence[float]
    context: str


@dataclass(frozen=True)
class EncoderModel:
    """A folder that ``SentenceTransformer(folder)`` opens."""

    name: str
    folder: Path


@dataclass(frozen=True)
class RegressorModel:
    """A ``regressor.Regressor``: trees, and the values without which they give no price."""

    name: str
    fitted: Any


Record = (
    Params | Metrics | Tags | Table | Text | Figure | Note | Dataset | EncoderModel | RegressorModel
)


@dataclass(frozen=True)
class Kept:
    """What a run has kept, read back; a child that is not finished is left out."""

    run_id: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    texts: Mapping[str, str]  # of the files that were asked for, by name
    children: Sequence[Kept] = ()


@dataclass(frozen=True)
class Standing:
    """The pair that is served now."""

    version: str
    tags: Mapping[str, str]


class Tracker(Protocol):
    """Keeps records of a run; MLflow's is in ``tracking``, tests have a list."""

    def log(self, record: Record) -> None:
        """Keep one record."""

    def child(self, name: str) -> AbstractContextManager[Tracker]:
        """Open a run inside this one."""

    def adopt(self, name: str) -> bool:
        """Take over a finished child of that name from a run of the same work that died."""

    def register(self, folder: Path, tags: Mapping[str, str], description: str) -> str:
        """Log a saved pricer as a new version, the candidate, and return that version."""

    def champion(self) -> Standing | None:
        """Say which pair is served now, if there is one."""

    def fetch(self, version: str) -> Path:
        """Fetch the folder of a registered pair."""

    def promote(self, version: str, *, instead_of: str | None) -> bool:
        """Serve a version; False where the champion is no longer the one it was compared with."""

    def compared(self, rows: str) -> int:
        """Count one more comparison on the test rows of that digest; return those before."""
