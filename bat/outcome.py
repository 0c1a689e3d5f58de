"""What a study found, put together from its arms: fresh ones, or those that its runs have kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat import auctions, baselines, checks, cli, metrics, records, scaling
from bat.cli import InputError

ABOUT_FILE, STOP_FILE, PREDICTIONS_FILE = "study.json", "stop.json", "test_predictions.csv"
FILES = (ABOUT_FILE, STOP_FILE, PREDICTIONS_FILE)  # what ``rebuild`` reads
COLUMNS = ("line", "price", "group", "predicted")
SECONDS = "_seconds"  # ends the names of metrics that hold the time of a stage

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class About:
    """What a study was asked to do, and on what: all that its report needs beside the arms."""

    corpus: str
    digest: str
    parts: Mapping[str, int]  # rows of each part, those set aside included
    findings: Sequence[checks.Finding]
    ceiling: auctions.Ceiling | None
    base: str
    finetune_on: str
    sizes: Sequence[int]
    seeds: Sequence[int]
    baselines: Sequence[str]
    margin: float  # share of the gain that one may forgo and still call it enough
    # What follows, studies of older versions do not say.
    features: str = cli.TUNED
    parts_by: str = "unknown"
    base_protocol: str = "unknown"  # whether the base model has seen test texts


@dataclass(frozen=True, eq=False)
class Scored:
    """What one arm, or one baseline, contributes: its predictions, choice and time."""

    documents: int | None  # None for a baseline
    seed: int
    baseline: str  # its name; empty for an encoder
    predictions: Floats  # (t,), of the test rows
    validation_mae: float
    seconds: Mapping[str, float]  # by stage


@dataclass(frozen=True)
class Row:
    """One line of the result: an encoder size or a baseline, over all its seeds."""

    name: str
    documents: int | None  # None for a baseline
    predictions: Floats  # (seeds, t) for the t test rows
    scores: Mapping[str, metrics.Interval]
    validation_mae: float
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that a study has to say, finished or not."""

    about: About
    prices: Floats  # (t,), of the test rows
    rows: Sequence[Row]  # factory first, then rising sizes, then baselines
    seeds: Sequence[int]  # of the encoders' predictions, in their order
    chosen: tuple[int, int]  # documents and seed of the arm that validation prefers
    seconds: Mapping[str, float]
    skipped: Sequence[int] = ()  # sizes left out since they could not change the answer
    stop: scaling.Stop | None = None  # the last look at whether they could
    missing: Sequence[str] = ()  # arms and baselines that are not there, by name
    groups: npt.ArrayLike | None = None  # (t,), rows that are drawn together; None, each alone

    def row(self, name: str) -> Row | None:
        """Find a line by its name."""
        return next((row for row in self.rows if row.name == name), None)


def arm_name(documents: int, seed: int) -> str:
    """Name an arm as its run is named."""
    return f"documents={documents} seed={seed}"


def choose(scored: Sequence[Scored]) -> tuple[int, int]:
    """Choose the arm to serve by validation alone: the best size over its seeds, then the seed.

    Returns:
        Its documents and its seed.
    """
    arms = [(each.documents, each) for each in scored if each.documents is not None]
    sizes = {documents for documents, _ in arms}
    mean = {
        size: np.mean([each.validation_mae for documents, each in arms if documents == size])
        for size in sizes
    }
    size = min(sizes, key=lambda size: (mean[size], size))
    mine = [each for documents, each in arms if documents == size]
    return size, min(mine, key=lambda each: (each.validation_mae, each.seed)).seed


def assemble(
    about: About,
    prices: Floats,
    scored: Sequence[Scored],
    stop: scaling.Stop | None = None,
    stopped_at: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Outcome:
    """Put the arms and baselines of a study together, whether or not all of them are there.

    Sizes are compared over the same seeds: those that have every size, or, while none has, the
    one that has most.

    Args:
        about: the study.
        prices: of the test rows.
        scored: its arms and baselines, in any order.
        stop: the last look at whether larger sizes can matter, if there was one.
        stopped_at: the size after which that look was taken.
        groups: of the test rows; those of one group are drawn together.

    Raises:
        InputError: no arm is there.
    """
    arms = {(each.documents, each.seed): each for each in scored if each.documents is not None}
    if not arms:
        raise InputError(
            f"a study of {about.corpus} none of whose encoders is evaluated yet",
            "at least one finished arm",
            "wait for the first one, or start the study again: it goes on from where it was",
        )
    last = stopped_at if stop and stop.stop else about.sizes[-1]
    visited = [size for size in about.sizes if size <= last]
    had = {seed: [size for size in visited if (size, seed) in arms] for seed in about.seeds}
    seeds = [seed for seed in about.seeds if had[seed] == visited]
    seeds = seeds or [max(about.seeds, key=lambda seed: len(had[seed]))]
    sizes = had[seeds[0]]
    names = {each.baseline: each for each in scored if each.baseline}
    used = [arms[size, seed] for size in sizes for seed in seeds]
    extra = [names[name] for name in about.baselines if name in names]
    wanted = [(size, seed) for seed in about.seeds for size in visited]
    missing = [arm_name(*each) for each in wanted if each not in arms]
    missing += [f"baseline={name}" for name in about.baselines if name not in names]
    rows = [_row(prices, groups, [arms[size, seed] for seed in seeds]) for size in sizes]
    stages = dict.fromkeys(stage for each in [*used, *extra] for stage in each.seconds)
    return Outcome(
        about=about,
        prices=prices,
        rows=[*rows, *(_row(prices, groups, [each]) for each in extra)],
        seeds=tuple(seeds),
        chosen=choose(used),
        seconds={
            stage: sum(each.seconds.get(stage, 0.0) for each in [*used, *extra]) for stage in stages
        },
        skipped=tuple(size for size in about.sizes if size > last),
        stop=stop,
        missing=tuple(missing),
        groups=groups,
    )


def _row(prices: Floats, groups: npt.ArrayLike | None, mine: Sequence[Scored]) -> Row:
    """Put the seeds of one size, or a baseline, on one line."""
    first = mine[0]
    predictions = np.stack([each.predictions for each in mine])
    if first.documents is None:
        name = baselines.LABELS[first.baseline]
    else:
        name = f"tuned on {first.documents:,}" if first.documents else "factory"
    return Row(
        name=name,
        documents=first.documents,
        predictions=predictions,
        scores=metrics.bootstrap(prices, predictions, groups=groups),
        validation_mae=float(np.mean([each.validation_mae for each in mine])),
        seconds={stage: sum(each.seconds[stage] for each in mine) for stage in first.seconds},
    )


def about_record(about: About) -> records.Record:
    """Say what a study is about, in the form from which ``rebuild`` reads it."""
    return records.Text(ABOUT_FILE, json.dumps(dataclasses.asdict(about), indent=1))


def stop_record(stop: scaling.Stop, stopped_at: int) -> records.Record:
    """Say whether, after a size, larger ones can still change the answer; ``rebuild`` reads it."""
    told = {"stop": dataclasses.asdict(stop), "stopped_at": stopped_at}
    return records.Text(STOP_FILE, json.dumps(told))


def prediction_records(
    lines: npt.NDArray[np.int64],
    prices: Floats,
    groups: npt.NDArray[np.int64],
    predictions: Floats,
    validation_mae: float,
) -> list[records.Record]:
    """Say what was predicted for each test row: scores with intervals, and a table.

    Args:
        lines: of the source, shape (t,).
        prices: the true ones, shape (t,).
        groups: shape (t,), equal for rows that are drawn together.
        predictions: shape (t,).
        validation_mae: what the choice between arms goes by.
    """
    columns = (each.tolist() for each in (lines, prices, groups, predictions))
    table = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    return [
        records.Metrics(metrics.flat(metrics.bootstrap(prices, predictions, groups=groups))),
        records.Metrics({"validation_mae": validation_mae}),
        records.Table(PREDICTIONS_FILE, table),
    ]


def seconds_record(seconds: Mapping[str, float]) -> records.Record:
    """Say how long each stage took."""
    return records.Metrics({f"{stage}{SECONDS}": value for stage, value in seconds.items()})


def rebuild(kept: records.Kept) -> Outcome:
    """Put a study together from what its runs keep, the newest run of each arm.

    Args:
        kept: the study's run, its children from the newest to the oldest.

    Raises:
        InputError: the run is no study, none of its arms is finished, or they have different rows.
    """
    if ABOUT_FILE not in kept.texts:
        raise InputError(
            f"the run {kept.run_id} ({kept.tags.get('mlflow.runName', 'no name')}), in which no "
            f"{ABOUT_FILE} can be read",
            "the run of a scaling_study, with its artifacts in reach",
            "name the study's own run, not that of an arm; a study of an older version has no "
            "such file: start it again, its work is cached",
        )
    told = json.loads(kept.texts[ABOUT_FILE])
    told["findings"] = [
        checks.Finding(**each | {"examples": tuple(map(tuple, each["examples"]))})
        for each in told["findings"]
    ]
    told["ceiling"] = auctions.Ceiling(**told["ceiling"]) if told["ceiling"] else None
    children = [each for each in kept.children[::-1] if PREDICTIONS_FILE in each.texts]
    tables = [_read_table(each.texts[PREDICTIONS_FILE]) for each in children]
    for child, table in zip(children, tables, strict=True):
        if not all(np.array_equal(table[name], tables[-1][name]) for name in ("line", "price")):
            raise InputError(
                f"run {child.run_id} of study {kept.run_id}, whose test rows are not the study's",
                "arms of one corpus: the data changed between them",
                "delete that run, or start the study again as a run of its own",
            )
    look = json.loads(kept.texts[STOP_FILE]) if STOP_FILE in kept.texts else None
    return assemble(
        About(**told),
        tables[-1]["price"] if tables else np.empty(0),
        [_scored(each, table["predicted"]) for each, table in zip(children, tables, strict=True)],
        scaling.Stop(**look["stop"]) if look else None,
        look["stopped_at"] if look else 0,
        tables[-1]["group"] if tables else None,
    )


def settings(kept: records.Kept) -> dict[str, str]:
    """Read back what the user asked for."""
    prefix = records.CONFIG
    return {
        name.removeprefix(prefix): value
        for name, value in kept.params.items()
        if name.startswith(prefix)
    }


def labels(asked: Sequence[Mapping[str, str]], run_ids: Sequence[str]) -> list[str]:
    """Tell studies apart by the settings in which they differ, or by their runs."""
    names = [name for name in sorted(asked[0]) if len({each.get(name) for each in asked}) > 1]
    said = [", ".join(f"{name}={each.get(name)}" for name in names) for each in asked]
    if len(set(said)) < len(said):
        said = [
            ", ".join(filter(None, [a, f"run {b[:8]}"])) for a, b in zip(said, run_ids, strict=True)
        ]
    return said


def _read_table(text: str) -> dict[str, Floats]:
    rows = list(csv.DictReader(io.StringIO(text)))
    for number, row in enumerate(rows):
        row.setdefault("group", str(number))  # tables of older versions have none
    return {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}


def _scored(kept: records.Kept, predictions: Floats) -> Scored:
    return Scored(
        documents=int(kept.params["documents"]) if "documents" in kept.params else None,
        seed=int(kept.params.get("seed", 0)),
        baseline=kept.tags.get("baseline", ""),
        predictions=predictions,
        validation_mae=kept.metrics["validation_mae"],
        seconds={
            name.removesuffix(SECONDS): value
            for name, value in kept.metrics.items()
            if name.endswith(SECONDS)
        },
    )
