"""What the built-in auctions are made of, read from the tables in ``auction_data``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent


class Version(NamedTuple):
    """One trim of a model: its full name, its engine, how common it is, what it multiplies."""

    name: str
    engine: str
    weight: float
    factor: float
    first: int
    last: int
    limits: str  # "m" manual only, "a" automatic only, "c" the first of the bodies only


class Model(NamedTuple):
    """One generation of one model; ``value`` is the price of a typical car of factor 1."""

    make: str
    name: str
    code: str
    first: int
    last: int
    value: float
    kind: str
    bodies: tuple[tuple[str, float], ...]  # body and what it multiplies
    imported: bool  # a right-hand-drive car from Japan
    manual: str
    automatic: str
    stick: float  # log premium of the manual gearbox
    mods: float  # log premium of tasteful modifications; negative where buyers want stock
    job: str  # the service that buyers of this model ask about
    versions: tuple[Version, ...]


class Dated(NamedTuple):
    """A fact that exists only in some years: its wordings and its effect on the log price."""

    wordings: tuple[str, ...]
    first: int
    last: int
    effect: float


Table = dict[str, tuple[Dated, ...]]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _version(row: dict[str, Any]) -> Version:
    first, last = row.pop("years")
    return Version(**{"limits": ""} | row, first=first, last=last)


def _model(row: dict[str, Any]) -> Model:
    first, last = row.pop("years")
    bodies, versions = tuple(row.pop("bodies").items()), tuple(map(_version, row.pop("versions")))
    values = {"imported": False} | row
    return Model(**values, first=first, last=last, bodies=bodies, versions=versions)


def _fact(wordings: list[str], years: tuple[int, int], effect: float = 0.0) -> Dated:
    return Dated(tuple(wordings), years[0], years[1], effect)


def _dated(table: dict[str, list[dict[str, Any]]]) -> Table:
    return {key: tuple(_fact(**row) for row in rows) for key, rows in table.items()}


MODELS = tuple(map(_model, _read("models.toml")["models"]))
_facts = _read("facts.toml")
PALETTE_OF: dict[str, str] = _facts.pop("palette_of")  # maker: whose colours and papers it has
TABLES = {name: _dated(table) for name, table in _facts.items()}
PHRASES = _read("phrases.toml")  # ways to say one thing, by what is said
