"""Cells: wrong verdicts are rare at any number of arms, right ones frequent, and plans do."""

from __future__ import annotations

import functools
import math

import numpy as np

from bat.stats import chance, worth
from benchmarks.honesty import material
from benchmarks.honesty.cells import Cell, Measured, rate

WRONG = 0.05
POWER = 0.8
PLANNED = (0.7, 0.92)  # a plan rests on an estimate of the scatter, itself from one study
CORPUS, HELD_OUT = 3000, 1080  # rows of a study of moderate size; 36 %
HALF_WIDTH = 0.011  # of the share saved, in such a study
NOISES = np.array([0.005, 0.01, 0.02, 0.04, 0.08, 0.16])
ARMS = (1, 3)  # one for each way to learn
SIZES, OBJECTIVES = (1, 3, 6, 10), (2, 3)
NOISE = 0.1  # of an arm's predictions, on the logarithm
SHARED = 0.5  # correlation of what the arms of one study differ in from the factory
SLOWER, SLOWEST, MANY = 4, 8, 18  # one study of so many, with several arms and with many
HARMFUL = (worth.WORTH_IT, worth.DOES_HARM)
SMALL = (worth.NOT_WORTH_IT, worth.DOES_HARM)


def cells(corpora: list[str]) -> list[Cell]:
    """List the cells of each corpus."""
    return [
        cell
        for data in corpora
        for cell in [
            *ways_to_learn(data),
            *sizes_and_objectives(data),
            *of_moderate_size(data),
            *plans(data),
        ]
    ]


def ways_to_learn(data: str) -> list[Cell]:
    """Make the cells of wrong verdicts, of one arm and of three, with different held-out rows."""
    made = []
    rows = {"rows": HELD_OUT}
    for arms in ARMS:
        for kind, seeds in [(rows, 1), (rows, 3), ({"rows": 300}, 1), ({"groups": 60}, 1)]:
            told = f"{material.title(data)}: {arms} arms, {material.named(kind)}, {seeds} seeds"
            count = functools.partial(called, data, kind, seeds)
            made += [
                Cell(
                    f"{told}, no gain: worth it or harmful",
                    functools.partial(count, [0.0] * arms, HARMFUL),
                    most=WRONG,
                    one_of=1 if arms == 1 else SLOWER,
                ),
                Cell(
                    f"{told}, gain as `worth`: worth it",
                    functools.partial(count, [worth.WORTH] * arms, HARMFUL[:1]),
                    most=WRONG,
                    one_of=1 if arms == 1 else SLOWER,
                ),
            ]
    return made


def sizes_and_objectives(data: str) -> list[Cell]:
    """Make the cells of null studies with many arms, every one of which is judged.

    A study names the largest size of an objective beforehand, and judges no other: here a reader
    may pick the best arm of all.
    """
    return [
        Cell(
            f"{material.title(data)}: null study, {sizes} sizes of {objectives} objectives, "
            f"{HELD_OUT:,} rows: any arm worth it or harmful",
            functools.partial(
                called,
                data,
                {"rows": HELD_OUT},
                1,
                [0.0] * sizes * objectives,
                HARMFUL,
                shared=SHARED,
            ),
            most=WRONG,
            one_of=SLOWER if sizes * objectives < MANY else SLOWEST,
        )
        for sizes in SIZES
        for objectives in OBJECTIVES
    ]


def of_moderate_size(data: str) -> list[Cell]:
    """Make the cells of right verdicts in a study of moderate size."""
    told = f"{material.title(data)}: {CORPUS:,} corpus rows, half-width {HALF_WIDTH:.1%}"
    return [
        Cell(f"{told}, gain 5 %: worth it", functools.partial(power, data, 0.05), least=POWER),
        Cell(f"{told}, gain 0: not worth it", functools.partial(power, data, 0.0), least=POWER),
    ]


def plans(data: str) -> list[Cell]:
    """Make the cells of studies that have as many rows as a first one planned."""
    return [
        Cell(
            f"{material.title(data)}: a study of the rows planned for a gain of {gain:.0%} finds "
            "it",
            functools.partial(planned, data, gain),
            *PLANNED,
        )
        for gain in (0.0, 2 * worth.WORTH)
    ]


def judged(
    rng: np.random.Generator,
    data: str,
    kind: dict[str, int],
    seeds: int,
    gains: list[float],
    noise: float,
    shared: float = 0.0,
) -> list[worth.Judgement]:
    """Draw a study of arms with true gains, and judge it."""
    arms = [
        material.model(data, gain=gain, noise=noise, shared=shared, number=number + 1)
        for number, gain in enumerate(gains)
    ]
    seen = material.study(rng, data, material.model(data), arms, seeds=seeds, **kind)
    predictions = {str(number): each for number, each in enumerate(seen.arms)}
    found = worth.judge(
        seen.targets, predictions, seen.factory, corpus_rows=CORPUS, groups=seen.groups
    )
    return list(found.values())


def called(
    data: str,
    kind: dict[str, int],
    seeds: int,
    gains: list[float],
    verdicts: tuple[str, ...],
    draws: int,
    *,
    shared: float = 0.0,
) -> Measured:
    """Count studies that give one of the verdicts to any arm."""
    rng, hits = np.random.default_rng(4), 0
    for _ in range(draws):
        found = judged(rng, data, kind, seeds, gains, NOISE, shared)
        hits += any(each.verdict in verdicts for each in found)
    return rate(hits, draws)


def power(data: str, gain: float, draws: int) -> Measured:
    """Count studies of moderate size that find their verdict, where intervals are as said."""
    seeds, noise = as_narrow_as_said(data)
    rng, right = np.random.default_rng(5), HARMFUL[:1] if gain else SMALL
    hits = sum(
        judged(rng, data, {"rows": HELD_OUT}, seeds, [gain], noise)[0].verdict in right
        for _ in range(draws)
    )
    return rate(hits, draws)


def as_narrow_as_said(data: str) -> tuple[int, float]:
    """Find the fewest seeds, and with them the noise, that make the half-width what cells say."""
    wanted = HALF_WIDTH / 1.96
    of_chance = math.sqrt(2) * chance.ONE_SEED.mae
    seeds = math.ceil((of_chance / wanted) ** 2 / 0.75)  # a quarter of the variance for rows
    rows = math.sqrt(wanted**2 - of_chance**2 / seeds)
    return seeds, float(
        np.interp(rows, [material.scatter(data, each, HELD_OUT) for each in NOISES], NOISES)
    )


def planned(data: str, gain: float, draws: int) -> Measured:
    """Count studies that find their verdict, each of as many rows as a first one says."""
    noise, seeds, rng, hits = 0.05, 5, np.random.default_rng(7), 0
    for _ in range(draws):
        (first,) = judged(rng, data, {"rows": HELD_OUT}, seeds, [gain], noise)
        wanted = first.plan.if_twice if gain else first.plan.if_nothing
        rows = round(HELD_OUT * wanted / CORPUS)
        (second,) = judged(rng, data, {"rows": rows}, seeds, [gain], noise)
        hits += second.verdict in (HARMFUL[:1] if gain else SMALL)
    return rate(hits, draws)
