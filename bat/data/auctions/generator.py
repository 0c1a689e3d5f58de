"""The built-in corpus: car auctions drawn from a known price law, so that the best score is known.

A document is drawn in three steps: the facts of a car (``cars.py``), the text that tells most of
them, and a price, which is a law of all the facts times log-normal noise. The text never sees the
price.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from bat.data.auctions import facts
from bat.data.auctions.cars import Car, draw, law, of_year
from bat.data.auctions.facts import PHRASES, Dated

SALT = "auctions-1"  # a new salt is a new corpus
SIGMA = 0.28  # of the log price: two bidders more or fewer move a hammer price by about a quarter
MAX_WORDS = (68, 108)  # each text draws its own
MIN_WORDS = 40
UNSAID_BODIES = {"SUV", "van", "wagon"}  # the model's name says them


@dataclass(frozen=True)
class Auction:
    """One document: its text, its price, and the price that the law gives without noise."""

    text: str
    price: float
    median: float


def _a(text: str) -> str:
    """Put a or an before a phrase, by its sound."""
    spoken = re.match(r"[aeio]|8|11|18|[AEFHILMNORSX]([A-Z0-9]|-body)", text)
    vowel = spoken or text[0] in "AEIO"
    return f"{'an' if vowel else 'a'} {text}"


def _worded(rng: random.Random, rows: Sequence[Dated]) -> str:
    """List facts, each in one of its wordings; empty where there are none."""
    items = [rng.choice(row.wordings) for row in rows]
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _spelled(number: int) -> str:
    """Spell a number below 100."""
    if number < 20:
        return str(PHRASES["ones"][number])
    tens, ones = divmod(number, 10)
    return f"{PHRASES['tens'][tens - 2]}-{PHRASES['ones'][ones]}".removesuffix("-zero")


def _distance(rng: random.Random, miles: int, metric: bool) -> str:
    """Write a distance in one of the ways of the trade: 67,432 miles, 67k, sixty-seven thousand."""
    number, unit = (round(miles * 1.609), "kilometers") if metric else (miles, "miles")
    thousands = round(number / 1000)
    style = rng.random()
    if thousands < 3 or style < 0.35:
        text = f"{number:,} {unit}"
    elif style < 0.65:
        text = f"{thousands}k {unit}"
    elif style < 0.85 or thousands > 99:
        text = f"{thousands},000 {unit}"
    else:
        text = f"{_spelled(thousands)} thousand {unit}"
    return (
        f"{text} (~{round(miles / 1000)}k miles)"
        if metric and miles > 3000 and style < 0.5
        else text
    )


def _gearbox(rng: random.Random, car: Car) -> str:
    """Name the gearbox by its maker's name or by the slang for it."""
    name = car.model.manual if car.manual else car.model.automatic
    name, _, overdrive = name.partition(" with ")
    speed = next((word for word in name.split() if word.endswith("-speed")), "")
    tail = f" with {overdrive}" if overdrive else ""
    if not car.manual:
        plain = f"self-shifting {speed or 'transmission'}"
        return _a(
            rng.choice(
                [
                    name + " transmission",
                    name,
                    name,
                    plain,
                    f"two-pedal {speed or 'automatic'} setup",
                ]
            )
        )
    gears = PHRASES["ones"].index(speed.partition("-")[0])
    figure = f"{gears}-speed"
    kinds = [
        f"{name} manual gearbox",
        f"{name} manual transmission",
        f"{name} manual",
        f"{speed} stick",
    ]
    return _a(rng.choice([*kinds, f"{figure} manual", f"three-pedal {speed}"]) + tail)


def _subjects(car: Car) -> tuple[str, ...]:
    """What a sentence may call the lot."""
    noun = "truck" if car.model.kind == "truck" else "car"
    return ("it", f"the {noun}", f"this {noun}", "this example", f"the {car.model.name}")


def _words(car: Car, rng: random.Random) -> dict[str, str]:
    """Everything that a sentence may name, worded once for the whole text."""
    model, version = car.model, car.version
    position = (car.year - model.first) / max(1, model.last - model.first)
    state = rng.choice(PHRASES["states"])
    make = "" if version.name.startswith(model.make) else f"{model.make} "
    named = car.body not in UNSAID_BODIES and car.body.lower() not in version.name.lower()
    return {
        "year": str(car.year),
        "full": f"{make}{version.name}{f' {car.body}' if named else ''}",
        "code": model.code,
        "a_code": _a(model.code),
        "when": "early" if position < 0.34 else "mid-run" if position < 0.67 else "late",
        "colour": rng.choice(car.colour.wordings),
        "inside": rng.choice(car.inside.wordings),
        "engine": _a(version.engine),
        "box": _gearbox(rng, car),
        "wheels": rng.choice(car.wheels.wordings),
        "job": model.job,
        "miles": _distance(rng, car.miles, model.imported or rng.random() < 0.05),
        "imported": str(rng.randint(max(2012, car.year + 25), max(2019, car.year + 29))),
        "place": rng.choice(PHRASES["states"]),
        "state": state,
        "a_state": _a(state),
    }


# A sentence to be: its wordings, what it lists, and how often it is told.
Line = tuple[tuple[str, ...], str, float]


def _about_car(car: Car, rng: random.Random) -> list[Line]:
    """The sentences on what the car is."""
    lines: list[Line] = [(PHRASES["wheel_lines"], "", 0.4)]
    if car.equipment:
        lines.append((PHRASES["equipment_lines"], _worded(rng, car.equipment), 0.95))
    if car.alterations:
        table = facts.TABLES["mild"] if car.alterations == 1 else facts.TABLES["wild"]
        wordings = PHRASES["mild_lines"] if car.alterations == 1 else PHRASES["wild_lines"]
        mods = rng.choice(of_year(table[car.model.kind], car.year))
        lines.append((wordings, _worded(rng, [mods]), 0.95))
    else:
        lines.append((PHRASES["stock_lines"], "", 0.2))
    if car.engine_history:
        lines.append((PHRASES["engine_lines"][car.engine_history], "", 0.85))
    if car.tribute:
        lines.append((PHRASES["tribute_lines"], "", 1.0))
    return lines


def _about_life(car: Car) -> list[Line]:
    """The sentences on what became of it."""
    lines: list[Line] = [
        (PHRASES["mileage_lines"] if car.miles_known else PHRASES["tmu_lines"], "", 0.97),
        (PHRASES["condition"][car.condition], "", 0.85),
        (PHRASES["owner_lines"][str(car.owners)], "", 0.75),
        (PHRASES["service_lines"][car.service], "", 0.65 if car.service else 0.2),
    ]
    if car.finish:
        lines.append((PHRASES["finish_lines"][car.finish], "", 0.85))
    if car.model.imported:
        lines.append((PHRASES["import_lines"], "", 0.8))
    return lines


def _about_sale(car: Car, rng: random.Random) -> list[Line]:
    """The sentences on flaws, papers and title."""
    papers = _worded(rng, car.papers)
    lines: list[Line] = [(PHRASES["closing"] if papers else PHRASES["bare_closing"], papers, 1.0)]
    if car.flaws:
        lines.append((PHRASES["flaw_lines"], _worded(rng, car.flaws), 0.9))
    return lines


def _sentence(rng: random.Random, wordings: Sequence[str], words: dict[str, str], car: Car) -> str:
    """Fill one wording; years and subject are drawn anew for each sentence."""
    text = rng.choice(wordings).format_map(
        words
        | {
            "it": rng.choice(_subjects(car)),
            "recent": str(2015 + int(10 * rng.random())),
            "ago": f"{PHRASES['ones'][2 + int(12 * rng.random())]} months",
        }
    )
    return re.sub(r"(^|\. )([a-z])", lambda found: found[1] + found[2].upper(), text) + "."


def _told(rng: random.Random, lines: Sequence[Line], words: dict[str, str], car: Car) -> list[str]:
    """Write the sentences that are told, in an order of their own."""
    chosen = [line for line in lines if rng.random() < line[2]]
    rng.shuffle(chosen)
    return [
        _sentence(rng, wordings, words | {"items": items}, car) for wordings, items, _ in chosen
    ]


def describe(car: Car, rng: random.Random) -> str:
    """Tell most facts of a car in 40 to 108 words; the price is not among what it is given."""
    words = _words(car, rng)
    words["title"] = rng.choice(PHRASES["titles"][car.title]).format_map(words)
    sentences = [_sentence(rng, PHRASES["openings"], words, car)]
    parts = [_about_car(car, rng), _about_life(car)]
    rng.shuffle(parts)
    for lines in (*parts, _about_sale(car, rng)):
        sentences += _told(rng, lines, words, car)
    most = rng.randint(*MAX_WORDS)
    while len(" ".join(sentences).split()) > most:
        sentences.pop(rng.randrange(1, len(sentences)))
    while len(" ".join(sentences).split()) < MIN_WORDS:
        sentences.append(_sentence(rng, PHRASES["fillers"], words, car))
    return " ".join(sentences)


def _hammer(price: float) -> float:
    """Round to bidding steps: at most 1.3 % off, some 2000th of the noise variance."""
    step = 50 if price < 10_000 else 250 if price < 100_000 else 1_000
    return float(max(step, step * round(price / step)))


def document(number: int) -> Auction:
    """Give document ``number`` (from 0), the same in every corpus size and on every machine."""
    rng = random.Random(f"{SALT}:{number}")  # seeds by SHA-512 of the string
    car = draw(rng)
    text = describe(car, rng)
    median = law(car)
    return Auction(text, _hammer(median * math.exp(SIGMA * rng.gauss(0, 1))), median)


def documents(n: int) -> Iterator[Auction]:
    """Yield the first ``n`` documents; a smaller corpus is a prefix of a larger one."""
    return map(document, range(n))


@dataclass(frozen=True)
class Ceiling:
    """The best scores in expectation for one who knows every fact; money in dollars."""

    r2: float
    mae: float
    medae: float
    r2_log: float


def ceiling(medians: Sequence[float] | npt.NDArray[np.float64]) -> Ceiling:
    """Give the scores of the law itself: what knowing *all* the facts would allow.

    The texts leave facts out, so what a reader of them can reach is lower still. R² is that of
    the conditional mean; MAE and MedAE are those of the conditional median (which is the best
    possible for MAE; for MedAE a prediction a little lower can win, by the noise's skew).

    Args:
        medians: the law's noise-free prices of the documents that are scored, shape (n,).

    Source:
        Moments of the log-normal. MedAE is the median of the mixture of ``|price - median|``,
        whose distribution function is averaged over the documents and solved for one half.
    """
    m = np.asarray(medians, dtype=np.float64)
    mean = m * math.exp(SIGMA**2 / 2)
    within = float(np.mean(mean**2)) * math.expm1(SIGMA**2)
    log_variance = float(np.var(np.log(m)))

    def share_within(error: float) -> float:
        below = np.log(np.maximum(1 - error / m, np.finfo(float).tiny))
        inside = special.ndtr(np.log1p(error / m) / SIGMA) - special.ndtr(below / SIGMA)
        return float(inside.mean()) - 0.5

    return Ceiling(
        r2=1 - within / (within + float(np.var(mean))),
        mae=float(np.mean(mean)) * (2 * float(special.ndtr(SIGMA)) - 1),
        medae=float(optimize.brentq(share_within, 0, 10 * m.max())),
        r2_log=log_variance / (log_variance + SIGMA**2),
    )
