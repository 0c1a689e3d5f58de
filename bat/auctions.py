"""The built-in corpus: car auctions drawn from a known price law, so that the best score is known.

A document is drawn in three steps: the facts of a car (``Car``), the text that tells most of them,
and a price, which is a law of all the facts times log-normal noise. The text never sees the price.
The law, in logs (``_terms``): value of the model and version, year within the generation, colour,
gearbox, mileage, condition, originality, alterations, equipment, papers, owners, title, service
and flaws. Its interactions are the point: mileage matters most for young and unrestored cars,
original engines and papers for dear ones, alterations help some models and hurt others.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from bat import auction_facts as facts
from bat.auction_facts import Dated, Model, Version

SALT = "auctions-1"  # a new salt is a new corpus
SIGMA = 0.28  # of the log price: two bidders more or fewer move a hammer price by about a quarter
MAX_WORDS = (68, 108)  # each text draws its own
MIN_WORDS = 40

OPEN_BODIES = {"roadster", "convertible", "cabriolet", "spider", "spyder", "Volante"}
RUSTLESS = {"Corvette", "Elise", "DMC-12", "Viper"}  # plastic or stainless steel bodies
UNSAID_BODIES = {"SUV", "van", "wagon"}  # the model's name says them
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
class Auction:
    """One document: its text, its price, and the price that the law gives without noise."""

    text: str
    price: float
    median: float


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
def _of_year(table: str, year: int) -> tuple[Dated, ...]:
    """What a table offers in one year."""
    return tuple(row for row in facts.dated(table) if row.first <= year <= row.last)


@cache
def _palette(name: str, make: str, kind: str, year: int) -> tuple[Dated, ...]:
    """The interiors or wheels of a maker in one year; those of everyone where it has none."""
    table = {"inside": facts.INTERIORS, "wheels": facts.WHEELS}[name]
    own = _of_year(table.get(make, table.get(kind, "")), year)
    return own or _of_year(table["any"], year)


@cache
def _equipment(make: str, kind: str, body: str, year: int) -> tuple[Dated, ...]:
    """Everything that a car of this kind, body and year may carry."""
    keys = ["any", kind, body, make]
    if body in OPEN_BODIES and kind != "exotic":
        keys.append("open")
    return tuple(row for key in keys for row in _of_year(facts.EQUIPMENT.get(key, ""), year))


@cache
def _papers(make: str, year: int) -> tuple[Dated, ...]:
    """The papers that may come with a car of this maker and year."""
    own = facts.PAPERS.get(make) or facts.PAPERS.get(facts.PALETTE_OF.get(make, ""), "")
    return _of_year(own, year) + _of_year(facts.PAPERS["any"], year)


@cache
def _model_weights() -> tuple[float, ...]:
    """Cumulated chances of the models: dear ones are offered less often."""
    return tuple(np.cumsum([model.value**-0.35 for model in facts.models()]).tolist())


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
    known = _of_year(facts.FLAWS["any"], year) + _of_year(facts.FLAWS["manual"] * manual, year)
    rows = [row for row in known if -row.effect <= limit]
    return _some(rng, rows, (3, 3, 2, 2, 1)[condition])


def _engine_history(rng: random.Random, year: int, alterations: int) -> str:
    """Draw what is known of the engine: asked of old cars only, and pointless on wild builds."""
    if year > 1989 or alterations == 2:
        return ""
    return rng.choices(["", "matching", "replaced"], [30, 48, 22])[0]


def draw(rng: random.Random) -> Car:
    """Draw the facts of one car, none contradicting another."""
    model = rng.choices(facts.models(), cum_weights=_model_weights())[0]
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
        colour=rng.choice(_of_year(_colours(model.make), year)),
        inside=rng.choice(_palette("inside", model.make, model.kind, year)),
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


def _colours(make: str) -> str:
    """The table of a maker's colours."""
    return facts.COLOURS[facts.PALETTE_OF.get(make, make)]


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
        return facts.ONES[number]
    tens, ones = divmod(number, 10)
    return facts.TENS[tens - 2] + (f"-{facts.ONES[ones]}" if ones else "")


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
    figure = f"{facts.ONES.index(speed.partition('-')[0])}-speed"
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
    state = rng.choice(_states())
    make = "" if version.name.startswith(model.make) else f"{model.make} "
    said = car.body not in UNSAID_BODIES and car.body.lower() not in version.name.lower()
    return {
        "year": str(car.year),
        "full": f"{make}{version.name}{f' {car.body}' if said else ''}",
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
        "place": rng.choice(_states()),
        "state": state,
        "a_state": _a(state),
    }


@cache
def _states() -> tuple[str, ...]:
    """The places of the corpus."""
    return facts.wordings(facts.STATES)


# A sentence to be: its wordings, what it lists, and how often it is told.
Line = tuple[tuple[str, ...], str, float]


def _about_car(car: Car, rng: random.Random) -> list[Line]:
    """The sentences on what the car is."""
    lines: list[Line] = [(facts.WHEEL_LINES, "", 0.4)]
    if car.equipment:
        lines.append((facts.EQUIPMENT_LINES, _worded(rng, car.equipment), 0.95))
    if car.alterations:
        table = facts.MILD if car.alterations == 1 else facts.WILD
        wordings = facts.MILD_LINES if car.alterations == 1 else facts.WILD_LINES
        mods = rng.choice(_of_year(table[car.model.kind], car.year))
        lines.append((wordings, _worded(rng, [mods]), 0.95))
    else:
        lines.append((facts.STOCK_LINES, "", 0.2))
    if car.engine_history:
        lines.append((facts.ENGINE_LINES[car.engine_history], "", 0.85))
    if car.tribute:
        lines.append((facts.TRIBUTE_LINES, "", 1.0))
    return lines


def _about_life(car: Car) -> list[Line]:
    """The sentences on what became of it."""
    lines: list[Line] = [
        (facts.MILEAGE_LINES if car.miles_known else facts.TMU_LINES, "", 0.97),
        (facts.CONDITION[car.condition], "", 0.85),
        (facts.OWNER_LINES[car.owners], "", 0.75),
        (facts.SERVICE_LINES[car.service], "", 0.65 if car.service else 0.2),
    ]
    if car.finish:
        lines.append((facts.FINISH_LINES[car.finish], "", 0.85))
    if car.model.imported:
        lines.append((facts.IMPORT_LINES, "", 0.8))
    return lines


def _about_sale(car: Car, rng: random.Random) -> list[Line]:
    """The sentences on flaws, papers and title."""
    papers = _worded(rng, car.papers)
    lines: list[Line] = [(facts.CLOSING if papers else facts.BARE_CLOSING, papers, 1.0)]
    if car.flaws:
        lines.append((facts.FLAW_LINES, _worded(rng, car.flaws), 0.9))
    return lines


def _sentence(rng: random.Random, wordings: Sequence[str], words: dict[str, str], car: Car) -> str:
    """Fill one wording; years and subject are drawn anew for each sentence."""
    text = rng.choice(wordings).format_map(
        words
        | {
            "it": rng.choice(_subjects(car)),
            "recent": str(2015 + int(10 * rng.random())),
            "ago": f"{facts.ONES[2 + int(12 * rng.random())]} months",
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
    words["title"] = rng.choice(facts.TITLES[car.title]).format_map(words)
    sentences = [_sentence(rng, facts.OPENINGS, words, car)]
    parts = [_about_car(car, rng), _about_life(car)]
    rng.shuffle(parts)
    for lines in (*parts, _about_sale(car, rng)):
        sentences += _told(rng, lines, words, car)
    most = rng.randint(*MAX_WORDS)
    while len(" ".join(sentences).split()) > most:
        sentences.pop(rng.randrange(1, len(sentences)))
    while len(" ".join(sentences).split()) < MIN_WORDS:
        sentences.append(_sentence(rng, facts.FILLERS, words, car))
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
