"""Draw a car from the tables of the built-in corpus, and say what it is worth by the price law.

The law, in logs (``_terms``): value of the model and version, year within the generation, colour,
gearbox, mileage, condition, originality, alterations, equipment, papers, owners, title, service
and flaws. Its interactions are the point: mileage matters most for young and unrestored cars,
original engines and papers for dear ones, alterations help some models and hurt others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from bat.data.auctions import facts
from bat.data.auctions.facts import Dated, Model, Version

OPEN_BODIES = {"roadster", "convertible", "cabriolet", "spider", "spyder", "Volante"}
RUSTLESS = {"Corvette", "Elise", "DMC-12", "Viper"}  # plastic or stainless steel bodies
# By kind of car: usual miles, elasticity of price to miles (young cars get more, see ``_miles``),
# gain in log price from the first to the last year of a generation, share of automatic gearboxes,
# weight of the service that buyers ask about. Set by judgement of the trade, not estimated.
KINDS = {
    "classic": (58_000, 0.06, -0.16, 0.15, 0.06),
    "modern": (74_000, 0.16, 0.14, 0.25, 0.12),
    "exotic": (24_000, 0.16, 0.10, 0.40, 0.16),
    "muscle": (52_000, 0.05, -0.18, 0.45, 0.04),
    "truck": (82_000, 0.08, 0.12, 0.40, 0.05),
    "luxury": (78_000, 0.16, 0.10, 0.80, 0.08),
    "small": (84_000, 0.14, -0.04, 0.20, 0.07),
}
CONDITION = (-0.85, -0.34, -0.05, 0.20, 0.48)  # project, rough driver, tidy, excellent, show
FINISH = {"": 0.0, "original": 0.04, "repaint": -0.05, "restored": 0.16, "old": 0.02}
TITLE = {"clean": 0.0, "history": 0.02, "accident": -0.10, "rebuilt": -0.30, "none": -0.16}
OWNERS = {1: 0.07, 2: 0.03, 3: 0.0, 5: -0.05}
MATCHING = {"": 0.0, "matching": 0.16, "replaced": -0.22}
TRIBUTE_KEEPS = 0.35  # of what the badge is worth over the plainest version


@dataclass(frozen=True)
class Car:
    """All the facts of one lot; the law reads them, the text tells most of them."""

    model: Model
    version: Version
    year: int
    body: str
    colour: Dated
    inside: Dated
    wheels: Dated
    manual: bool
    miles: int
    miles_known: bool
    condition: int  # index into CONDITION
    engine_history: str  # key of MATCHING
    finish: str  # key of FINISH
    alterations: int  # 0 none, 1 mild, 2 wild
    equipment: tuple[Dated, ...]
    papers: tuple[Dated, ...]
    owners: int  # key of OWNERS
    title: str  # key of TITLE
    service: str  # "done", "due" or "" where nothing is known
    flaws: tuple[Dated, ...]
    tribute: bool


@cache
def of_year(rows: tuple[Dated, ...], year: int) -> tuple[Dated, ...]:
    """What there is in one year of the rows of a table."""
    return tuple(row for row in rows if row.first <= year <= row.last)


@cache
def _palette(name: str, make: str, kind: str, year: int) -> tuple[Dated, ...]:
    """The interiors or wheels of a maker in one year; those of everyone where it has none."""
    table = facts.TABLES[name]
    own = of_year(table.get(make, table.get(kind, ())), year)
    return own or of_year(table["any"], year)


@cache
def _equipment(make: str, kind: str, body: str, year: int) -> tuple[Dated, ...]:
    """Everything that a car of this kind, body and year may carry."""
    keys = ["any", kind, body, make]
    if body in OPEN_BODIES and kind != "exotic":
        keys.append("open")
    return tuple(
        row for key in keys for row in of_year(facts.TABLES["equipment"].get(key, ()), year)
    )


@cache
def _papers(make: str, year: int) -> tuple[Dated, ...]:
    """The papers that may come with a car of this maker and year."""
    table = facts.TABLES["papers"]
    own = table.get(make) or table.get(facts.PALETTE_OF.get(make, ""), ())
    return of_year(own, year) + of_year(table["any"], year)


@cache
def _model_weights() -> tuple[float, ...]:
    """Cumulated chances of the models: dear ones are offered less often."""
    return tuple(np.cumsum([model.value**-0.35 for model in facts.MODELS]).tolist())


def _some(rng: random.Random, rows: Sequence[Dated], most: int) -> tuple[Dated, ...]:
    """Draw up to ``most`` different rows."""
    return tuple(rng.sample(rows, min(len(rows), rng.randint(0, most))))


def _finish(rng: random.Random, make: str, year: int, condition: int, alterations: int) -> str:
    """Draw the history of the paint: nobody restores young cars, or leaves a restored one rough."""
    if make == "DeLorean":  # bare steel
        return ""
    choices = ["", "", "", "repaint", "repaint" if alterations == 2 else "original"]
    if year <= 1985 and condition >= 3:
        choices += ["restored"] * 4
    if year <= 1975 and condition <= 3:
        choices += ["old", "old"]
    return rng.choice(choices)


def _title(rng: random.Random, year: int) -> str:
    """Draw the title; vehicle-history reports begin with the cars of the eighties."""
    if year < 1985:
        return rng.choices(["clean", "none", "rebuilt"], [88, 7, 5])[0]
    return rng.choices(["clean", "history", "accident", "rebuilt"], [40, 34, 16, 10])[0]


def _flaws(
    rng: random.Random, car: str, manual: bool, year: int, condition: int
) -> tuple[Dated, ...]:
    """Draw the flaws: the better the car, the fewer and the smaller."""
    limit = min((1.0, 1.0, 0.08, 0.03, 0.02)[condition], 0.07 if car in RUSTLESS else 1.0)
    table = facts.TABLES["flaws"]
    known = of_year(table["any"] + table["manual"] * manual, year)
    rows = [row for row in known if -row.effect <= limit]
    return _some(rng, rows, (3, 3, 2, 2, 1)[condition])


def _engine_history(rng: random.Random, year: int, alterations: int) -> str:
    """Draw what is known of the engine: asked of old cars only, and pointless on wild builds."""
    if year > 1989 or alterations == 2:
        return ""
    return rng.choices(["", "matching", "replaced"], [30, 48, 22])[0]


def draw(rng: random.Random) -> Car:
    """Draw the facts of one car, none contradicting another."""
    model = rng.choices(facts.MODELS, cum_weights=_model_weights())[0]
    version = rng.choices(model.versions, [v.weight for v in model.versions])[0]
    year = rng.randint(version.first, version.last)
    body = rng.choice(model.bodies[:1] if "c" in version.limits else model.bodies)[0]
    usual, _, _, automatic_share, _ = KINDS[model.kind]
    manual = "a" not in version.limits and bool(model.manual)
    if manual and model.automatic and "m" not in version.limits:
        manual = rng.random() > automatic_share
    alterations = rng.choices([0, 1, 2], [68, 25, 7])[0]
    condition = rng.choices(range(5), [8, 24, 36, 25, 7])[0]
    condition = min(condition, 3 if alterations == 2 else 4)
    miles = int(usual * math.exp(rng.gauss(0.25 * (2 - condition), 0.7)))
    miles = min(290_000, max(300, miles))
    miles_known = year > 1989 or rng.random() > 0.22
    return Car(
        model=model,
        version=version,
        year=year,
        body=body,
        colour=rng.choice(of_year(_colours(model.make), year)),
        inside=rng.choice(_palette("interiors", model.make, model.kind, year)),
        wheels=rng.choice(_palette("wheels", model.make, model.kind, year)),
        manual=manual,
        miles=miles if miles_known else 300 + miles % 99_000,  # a five-digit odometer
        miles_known=miles_known,
        condition=condition,
        engine_history=_engine_history(rng, year, alterations),
        finish=_finish(rng, model.make, year, condition, alterations),
        alterations=alterations,
        equipment=_some(rng, _equipment(model.make, model.kind, body, year), 4),
        papers=_some(rng, _papers(model.make, year), 2),
        owners=rng.choices([1, 2, 3, 5], [0 if model.imported else 14, 16, 55, 15])[0],
        title=_title(rng, year),
        service=rng.choices(["done", "due", ""], [45, 20, 35])[0],
        flaws=_flaws(rng, model.name, manual, year, condition),
        tribute=model.kind == "muscle" and version.factor > 1.2 and rng.random() < 0.15,
    )


def _colours(make: str) -> tuple[Dated, ...]:
    """The colours of a maker."""
    return facts.TABLES["colours"][facts.PALETTE_OF.get(make, make)]


def _rarity(car: Car) -> float:
    """How much a collector's car it is: 0 at 12,000 dollars and below, 1 at 150,000 and above."""
    value = car.model.value * car.version.factor
    return min(1.0, max(0.0, math.log(value / 12_000) / math.log(150_000 / 12_000)))


def _version_factor(car: Car) -> float:
    """What the version multiplies; a tribute keeps only part of it."""
    if not car.tribute:
        return car.version.factor
    plainest = min(version.factor for version in car.model.versions)
    return plainest + TRIBUTE_KEEPS * (car.version.factor - plainest)


def _miles(car: Car) -> float:
    """Miles against the usual: steep for young collectibles, nearly flat once a car is restored."""
    usual, elasticity, *_ = KINDS[car.model.kind]
    if not car.miles_known:
        return -0.06 - 0.08 * _rarity(car)
    young = min(1.0, max(0.0, (car.year - 1978) / 22))
    steepness = (elasticity + 0.20 * young) * (0.3 if car.finish == "restored" else 1.0)
    return -steepness * math.log(car.miles / usual)


def _terms(car: Car) -> dict[str, float]:
    """The law, term by term, in logs."""
    model, rarity = car.model, _rarity(car)
    _, _, by_year, _, service = KINDS[model.kind]
    position = (car.year - model.first) / max(1, model.last - model.first)
    stock = 1.0 if car.alterations == 0 else 0.4
    return {
        "model": math.log(model.value * dict(model.bodies)[car.body] * _version_factor(car)),
        "year": by_year * (position - 0.5),
        "looks": car.colour.effect * (0.5 + rarity) + car.inside.effect + car.wheels.effect,
        "gearbox": model.stick * (0.5 if car.manual else -0.5) if model.automatic else 0.0,
        "miles": _miles(car),
        "condition": CONDITION[car.condition] * (1.1 - 0.4 * rarity * (car.condition == 0)),
        "engine": MATCHING[car.engine_history] * rarity,
        "finish": FINISH[car.finish] * (1 + rarity * (car.finish in ("original", "repaint"))),
        "alterations": (0.0, model.mods, 2.2 * model.mods - 0.12)[car.alterations],
        "equipment": sum(row.effect for row in car.equipment),
        "papers": sum(row.effect for row in car.papers) * (0.4 + rarity) * stock,
        "owners": OWNERS[car.owners] * (1.3 if car.year >= 1985 else 0.7),
        "title": TITLE[car.title] * (1.2 if car.year >= 1985 else 0.8),
        "service": service * {"done": 0.5, "due": -1.0, "": 0.0}[car.service],
        "flaws": sum(row.effect for row in car.flaws) * (1.3 - 0.5 * rarity),
    }


def law(car: Car) -> float:
    """Give the noise-free price in dollars: half of such cars would sell for more."""
    return math.exp(sum(_terms(car).values()))
