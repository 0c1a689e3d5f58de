"""Cells: paired intervals hold the truth as often as they say, for one arm and for many sizes."""

from __future__ import annotations

import functools

import numpy as np

from bat.stats import bootstrap, chance, worth
from benchmarks.honesty import material
from benchmarks.honesty.cells import Cell, Measured, rate

COVERS = (0.93, 0.97)
FEW = 0.88  # with 12 groups
# The protocol before: a fifth of the rows. Its intervals did not know of an arm's chance, which was
# so many times as large as the rows' standard error.
OLD_ROWS, ROWS, OLD_CHANCE = 0.2, 0.36, (0.75, 0.95)
# On bat-10k, over rows, the standard deviation of the share saved between trees (four a round) on
# two views of the texts: TF-IDF of words, and of pairs of words too, each in 200 columns.
CORPUS, SCATTER = 10_005, 0.507
NARROWER = 0.75
KINDS = ({"rows": 300}, {"rows": 600}, {"rows": 2000}, {"groups": 12}, {"groups": 60})
SIZES = (3, 6, 10)
SHARED = 0.5  # correlation of what sizes of one study differ in from the factory
SLOWER = 2  # one study of so many: each holds several sizes
BOTH = (True, True)


def cells(corpora: list[str]) -> list[Cell]:
    """List the cells of each corpus."""
    return against_old_protocol() + [
        cell
        for data in corpora
        for cell in [
            *one_arm(data),
            *in_price_units(data),
            *several_sizes(data),
        ]
    ]


def one_arm(data: str) -> list[Cell]:
    """Make the cells of the interval that verdicts use: of the share of MAE saved."""
    return [
        Cell(
            f"{material.title(data)}: share of MAE saved, {material.named(kind)}, {seeds} seeds, "
            f"noise {noise}, true gain {gain:.0%}: interval holds it",
            functools.partial(covered, data, kind, seeds, noise, gain),
            *bounds(kind),
        )
        for kind in KINDS
        for seeds, noise, gain in [(1, 0.05, 0.0), (1, 0.15, 0.05), (3, 0.15, 0.0), (5, 0.05, 0.02)]
    ]


def in_price_units(data: str) -> list[Cell]:
    """Make the cells of the difference in MAE itself.

    Without a gain it covers as the share does. A large gain is a share of an error that a few dear
    rows rule, and a sample may hold none of them: it then covers less. Verdicts go by the share.
    """
    return [
        Cell(
            f"{material.title(data)}: difference in MAE, {material.named(kind)}, 1 seed, noise "
            f"0.15, true gain {gain:.0%}: interval holds it",
            functools.partial(covered_in_units, data, kind, 1, 0.15, gain),
            *bounds(kind),
        )
        for kind in KINDS
        for gain in (0.0, 0.05)
    ]


def bounds(kind: dict[str, int]) -> tuple[float, float]:
    """Give the bounds of how often an interval holds the truth."""
    return (FEW, 1.0) if kind == {"groups": 12} else COVERS


def several_sizes(data: str) -> list[Cell]:
    """Make the cells of bands: all sizes of a null study are held at once."""
    return [
        Cell(
            f"{material.title(data)}: bands over {sizes} sizes, {material.named(kind)}, {seeds} "
            "seeds: all hold the truth",
            functools.partial(covered_together, data, kind, seeds, sizes),
            *COVERS,
            one_of=SLOWER,
        )
        for sizes in SIZES
        for kind, seeds in [({"rows": 600}, 1), ({"groups": 60}, 3)]
    ]


def against_old_protocol() -> list[Cell]:
    """Make the cells of how wide intervals are beside those of the old protocol, at equal cost.

    More held-out rows make the rows' part narrower. Of the whole half-width less is claimed: the
    chance of one seed is the same in both, and weighs more where there are many rows.
    """
    whole = "half-width beside the old protocol's, had it known that chance was"
    return [
        Cell(
            "rows' part of the half-width beside the old protocol's",
            functools.partial(narrower, 0.0, 0.0),
            most=NARROWER,
        ),
        *(
            Cell(
                f"{whole} {times} of its rows' standard error",
                functools.partial(narrower, times, chance.ONE_SEED.mae),
                most=NARROWER,
                claimed=False,
            )
            for times in OLD_CHANCE
        ),
    ]


def narrower(old_chance: float, one_seed: float, draws: int) -> Measured:
    """Divide half-widths that hold the truth as often, by arithmetic: no study is drawn."""
    old, new = (SCATTER / np.sqrt(share * CORPUS) for share in (OLD_ROWS, ROWS))
    whole = np.hypot(new, np.sqrt(2) * one_seed) / np.hypot(old, old_chance * old)
    return Measured(float(whole))


def covered(
    data: str, kind: dict[str, int], seeds: int, noise: float, gain: float, draws: int
) -> Measured:
    """Count studies whose interval of the share of MAE saved holds the true one."""
    factory = material.model(data)
    arm = material.model(data, gain=gain, noise=noise, number=1)
    rng, hits = np.random.default_rng(1), 0
    for _ in range(draws):
        seen = material.study(rng, data, factory, [arm], seeds=seeds, **kind)
        (found,) = worth.gains(seen.targets, seen.arms, seen.factory, groups=seen.groups)
        hits += found.share.low <= gain <= found.share.high
    return rate(hits, draws)


def covered_in_units(
    data: str, kind: dict[str, int], seeds: int, noise: float, gain: float, draws: int
) -> Measured:
    """Count studies whose paired interval in MAE holds the true difference."""
    factory = material.model(data)
    arm = material.model(data, gain=gain, noise=noise, number=1)
    true, rng, hits = arm.mean_error - factory.mean_error, np.random.default_rng(2), 0
    for _ in range(draws):
        seen = material.study(rng, data, factory, [arm], seeds=seeds, **kind)
        (found,) = against_factory(seen)
        hits += found.low <= true <= found.high
    return rate(hits, draws)


def covered_together(
    data: str, kind: dict[str, int], seeds: int, sizes: int, draws: int
) -> Measured:
    """Count null studies in which the bands of all sizes hold 0."""
    factory = material.model(data)
    arms = [
        material.model(data, noise=0.1, shared=SHARED, number=number + 1) for number in range(sizes)
    ]
    rng, hits = np.random.default_rng(3), 0
    for _ in range(draws):
        seen = material.study(rng, data, factory, arms, seeds=seeds, **kind)
        hits += all(each.low <= 0 <= each.high for each in against_factory(seen))
    return rate(hits, draws)


def against_factory(seen: material.Study) -> tuple[bootstrap.Interval, ...]:
    """Compare the arms of a study with its factory encoder, in MAE."""
    return bootstrap.bands(
        seen.targets, seen.arms, seen.factory, names=["mae"], groups=seen.groups, chance=BOTH
    )["mae"]
