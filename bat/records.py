"""What a run may report, as plain values, and the one door through which they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bat import escape

CONFIG = "config."  # begins the names of the parameters that the user set


def _clean(record: object, field: str, value: object) -> None:
    """Set a field of a record anew, with text that every store and file takes."""
    object.__setattr__(record, field, value)


def _storable(value: Any) -> Any:
    return escape.storable(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Params:
    """Settings and derived numbers; each name stands once in a run."""

    values: Mapping[str, object]

    def __post_init__(self) -> None:
        """Keep text that every store takes."""
        _clean(self, "values", {name: _storable(value) for name, value in self.values.items()})


def config(values: Mapping[str, object]) -> Params:
    """Keep what the user set."""
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

    def __post_init__(self) -> None:
        """Keep text that every store takes."""
        _clean(self, "values", {name: _storable(value) for name, value in self.values.items()})


@dataclass(frozen=True)
class Table:
    """Rows with named columns; the suffix of ``name`` (.csv or .jsonl) is the format."""

    name: str
    rows: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Keep cells that the format holds, and that no spreadsheet would compute."""
        clean = escape.cell if self.name.endswith(".csv") else _storable
        rows = [{name: clean(value) for name, value in row.items()} for row in self.rows]
        _clean(self, "rows", rows)


@dataclass(frozen=True)
class Text:
    """A text file."""

    name: str
    text: str

    def __post_init__(self) -> None:
        """Keep text that a file takes."""
        _clean(self, "text", escape.storable(self.text))


@dataclass(frozen=True)
class Figure:
    """A matplotlib figure; the suffix of ``name`` is the format."""

    name: str
    figure: Any


@dataclass(frozen=True)
class Note:
    """Markdown for the run's own page."""

    markdown: str

    def __post_init__(self) -> None:
        """Keep text that every store takes."""
        _clean(self, "markdown", escape.storable(self.markdown))


@dataclass(frozen=True)
class Dataset:
    """The corpus a run has read, by name and digest."""

    name: str
    digest: str
    texts: Sequence[str]
    prices: Sequence[float]
    context: str

    def __post_init__(self) -> None:
        """Keep a name that every store takes."""
        _clean(self, "name", escape.dataset(self.name))


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
    texts: Mapping[str, str]  # of the files wanted, by name
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

    def child(self, name: str, began: float | None = None) -> AbstractContextManager[Tracker]:
        """Open a run inside this one; its work began at that time (seconds since 1970), or now."""

    def adopt(self, name: str) -> bool:
        """Take over a finished child of that name from a run of the same work that died."""


class Registry(Protocol):
    """A registered model to which a study adds a version; MLflow's is in ``registry``."""

    @property
    def name(self) -> str:
        """What the registered model is called."""

    def register(
        self,
        folder: Path,
        tags: Mapping[str, str],
        description: str,
        aliases: Sequence[str],
        of_all: str,
    ) -> str:
        """Log a saved pricer as a new version with some aliases, and return that version.

        The descriptions are markdown: of the version, and of the registered model.
        """

    def champion(self) -> Standing | None:
        """Say which pair is served now, if there is one."""

    def fetch(self, version: str) -> Path:
        """Fetch the folder of a registered pair."""

    def promote(self, version: str, *, instead_of: str | None) -> bool:
        """Serve a version; False where the champion is no longer the one it was compared with."""

    def record_comparison(self, version: str, champion: str) -> int:
        """Record a comparison; count those of other pairs before."""

    def address(self, version: str) -> str:
        """Say how to serve a version: by the alias that it has now, else by its number."""
