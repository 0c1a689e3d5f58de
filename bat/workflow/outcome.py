"""What a study found, put together from its arms: fresh ones, or those that its runs have kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat import cli, records
from bat.cli import InputError
from bat.data import checks, corpus
from bat.data.auctions import generator
from bat.models import predictors
from bat.models.explanation import StrongWord
from bat.models.predictors import PAIR, STACK
from bat.stats import bootstrap, stopping
from bat.workflow import arms, choice
from bat.workflow.arms import FACTORY, ArmKey
from bat.workflow.choice import Choice

ABOUT_FILE, STOP_FILE = "study.json", "stop.json"
PREDICTIONS_FILE, OLD_PREDICTIONS_FILE = "held_out_predictions.csv", "test_predictions.csv"
WORDS_FILE = "strongest_words.csv"
FILES = (
    ABOUT_FILE, STOP_FILE, PREDICTIONS_FILE, OLD_PREDICTIONS_FILE, WORDS_FILE
)  # what ``rebuild`` reads  # fmt: skip
COLUMNS = ("line", "price", "group", "predicted")
SECONDS = "_seconds"  # ends the names of metrics that hold the time of a stage
USES = "stack.uses"  # parameter of what a stack reads
MILLISECONDS, MEGABYTES = predictors.Cost._fields  # metrics of what an arm costs to serve

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class About:
    """What a study was asked to do, and on what: all that its report needs beside the arms."""

    corpus: str
    digest: str
    parts: Mapping[str, int]  # rows of each part, those set aside included
    findings: Sequence[checks.Finding]
    ceiling: generator.Ceiling | None
    base: str
    finetune_on: str
    sizes: Sequence[int]
    seeds: Sequence[int]
    baselines: Sequence[str]
    margin: float  # share of the gain that one may forgo and still call it enough
    # What follows, studies of older versions do not say.
    features: str = cli.TUNED
    parts_by: str = "unknown"
    base_protocol: str = "unknown"  # whether the base model has seen held-out texts
    worth: float = 0.02  # smallest gain worth paying for, a share of the factory encoder's MAE
    protocol: int = 1  # ``corpus.PROTOCOL`` of its time: parts, and what arms are chosen by
    objectives: Sequence[str] = ("mlm",)  # ways to learn, a curve each
    stack: str = "none"  # of ``cli.STACKS``
    serve_within: float | None = None  # milliseconds that a served text may take
    show_texts: bool = True  # else nothing is served whose files hold words of the texts
    unit: str = ""  # of the target, written where its numbers are

    def may_serve(self, predictor: str) -> bool:
        """Tell whether a predictor competes to be served."""
        method = predictors.named(predictor)
        return method.candidate and (self.show_texts or not method.holds_words)

    def key(self, objective: str, documents: int, seed: int, predictor: str = PAIR) -> ArmKey:
        """Name an arm of this study; that of the size 0 is the factory encoder's."""
        way = objective if documents else FACTORY
        return ArmKey(self.base, way, documents, self.parts["train"], seed, predictor)

    def lines(self, sizes: Sequence[int], predictor: str = PAIR) -> list[ArmKey]:
        """List the arms of some sizes without their seeds: factory, then way by way."""
        ways = [(way, size) for way in self.objectives for size in sizes]
        return list(dict.fromkeys(self.key(way, size, 0, predictor) for way, size in ways))


@dataclass(frozen=True, eq=False)
class Scored:
    """What one arm, or one baseline, contributes: its predictions, costs and time."""

    key: ArmKey
    predictions: Floats  # (t,), of the held-out rows
    # Mean absolute out-of-fold error of the training rows, NaN where none was made; in studies of
    # protocol 1 the error of the validation part, which chose the arm.
    train_mae: float
    seconds: Mapping[str, float]  # by stage
    cost: predictors.Cost | None = None  # of serving it; older studies do not say
    uses: tuple[str, ...] = ()  # what a stack reads, on an embedding or without: of ``stack.ALL``
    strongest: Sequence[StrongWord] = ()  # of a baseline that adds up words, if texts may be shown


@dataclass(frozen=True)
class Row:
    """One line of the result: an encoder size, a stack or a baseline, over all its seeds."""

    key: ArmKey  # without its seed
    name: str
    predictions: Floats  # (seeds, t) for the t held-out rows
    scores: Mapping[str, bootstrap.Interval]
    train_mae: float
    seconds: Mapping[str, float]
    by_chance: bool = True  # another seed would give other scores
    cost: predictors.Cost | None = None
    uses: tuple[str, ...] = ()  # what a stack of some seed reads
    strongest: Sequence[StrongWord] = ()  # as of ``Scored``

    @property
    def documents(self) -> int | None:
        """Texts that an encoder of a curve has learnt from; None for stacks and baselines."""
        return self.key.documents if self.key.predictor == PAIR else None

    @property
    def is_stack(self) -> bool:
        """Whether it reads words beside an embedding."""
        return self.key.predictor == STACK


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that a study has to say, finished or not."""

    about: About
    prices: Floats  # (t,), of the held-out rows
    rows: Sequence[Row]  # factory first, then rising sizes, then stacks, then baselines
    seeds: Sequence[int]  # of the encoders' predictions, in their order
    best_pair: Choice  # the encoder and regressor with the least error
    served: Choice  # the arm or baseline to serve
    seconds: Mapping[str, float]
    skipped: Sequence[int] = ()  # sizes left out since they could not change the answer
    stop: stopping.Stop | None = None  # the last look at whether they could
    missing: Sequence[str] = ()  # arms and baselines that are not there, by name
    groups: npt.ArrayLike | None = None  # (t,), rows that are drawn together; None, each alone

    def row(self, name: str) -> Row | None:
        """Find a line by its name."""
        return next((row for row in self.rows if row.name == name), None)

    def line(self, key: ArmKey) -> Row:
        """Find the line of an arm."""
        return next(row for row in self.rows if row.key == key.line)

    @property
    def tuned(self) -> list[Row]:
        """The tuned encoders of the first way to learn, sizes rising: those of the curve."""
        first = self.about.objectives[0]
        return [row for row in self.rows if row.documents and row.key.objective == first]

    @property
    def curve(self) -> list[Row]:
        """The factory encoder, if it is there, and those of the first way to learn."""
        return [row for row in self.rows if row.documents == 0] + self.tuned

    @property
    def stacks(self) -> list[Row]:
        """What reads words beside an embedding: the factory's first, sizes rising."""
        return [row for row in self.rows if row.is_stack]


def _choices(
    about: About, prices: Floats, used: Sequence[Scored], groups: npt.NDArray[np.intp]
) -> tuple[Choice, Choice]:
    """Choose the best pair and what to serve, and say what such choices predict for new rows."""
    guesses = {each.key: each.predictions for each in used}
    pairs = {key: each for key, each in guesses.items() if key.predictor == PAIR}
    if about.protocol != corpus.PROTOCOL:
        validated = {each.key: np.array([each.train_mae]) for each in used if each.key in pairs}
        key = choice.best(validated)
        return (found := Choice(key, pairs[key])), found
    took = {
        each.key: each.cost.milliseconds_a_text if each.cost else math.nan
        for each in used
        if about.may_serve(each.key.predictor)
    }
    rivals = {key: guesses[key] for key in choice.fast_enough(took, about.serve_within)}
    return (
        choice.rotated(choice.best, pairs, prices, groups),
        choice.rotated(choice.served, rivals, prices, groups),
    )


def assemble(
    about: About,
    prices: Floats,
    scored: Sequence[Scored],
    stop: stopping.Stop | None = None,
    stopped_at: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Outcome:
    """Put the arms and baselines of a study together, whether or not all of them are there.

    Sizes are compared over the same seeds: those that have every size, or, while none has, the
    one that has most.

    Args:
        about: the study.
        prices: of the held-out rows.
        scored: its arms and baselines, in any order.
        stop: the last look at whether larger sizes can matter, if there was one.
        stopped_at: the size after which that look was taken.
        groups: of the held-out rows; those of one group are drawn together.

    Raises:
        InputError: no arm is there.
    """
    there = {each.key: each for each in scored}
    if not any(key.predictor == PAIR for key in there):
        raise InputError(
            f"a study of {about.corpus} none of whose encoders is evaluated yet",
            "at least one finished arm",
            "wait for the first one, or start the study again: it goes on from where it was",
        )
    last = stopped_at if stop and stop.stop else about.sizes[-1]
    visited = [size for size in about.sizes if size <= last]
    lines, seeds, missing = _lines(about, visited, there)
    extra = [there[key] for key in _baselines(about) if key in there]
    mine = [[there[line._replace(seed=seed)] for seed in seeds] for line in lines]
    used = [*(each for row in mine for each in row), *extra]
    stages = dict.fromkeys(stage for each in used for stage in each.seconds)
    alone = np.arange(len(prices)) if groups is None else np.asarray(groups)
    pair, served = _choices(about, prices, used, alone)
    return Outcome(
        about=about,
        prices=prices,
        rows=[_row(prices, groups, each) for each in [*mine, *([each] for each in extra)]],
        seeds=tuple(seeds),
        best_pair=pair,
        served=served,
        seconds={stage: sum(each.seconds.get(stage, 0.0) for each in used) for stage in stages},
        skipped=tuple(size for size in about.sizes if size > last),
        stop=stop,
        missing=tuple(missing),
        groups=groups,
    )


def _lines(
    about: About, visited: Sequence[int], there: Container[ArmKey]
) -> tuple[list[ArmKey], list[int], list[str]]:
    """Find which arms are compared, over which seeds, and the names of what is not there."""
    pairs = about.lines(visited)
    stacks = about.lines(arms.stacked_sizes(about.stack, visited), STACK)
    lines, seeds = _complete(about.seeds, pairs, there)
    lines += [each for each in stacks if all(each._replace(seed=seed) in there for seed in seeds)]
    wanted = [line._replace(seed=seed) for seed in about.seeds for line in [*pairs, *stacks]]
    missing = [key for key in [*wanted, *_baselines(about)] if key not in there]
    return lines, seeds, [arms.run_name(key) for key in missing]


def _baselines(about: About) -> Iterator[ArmKey]:
    for name in about.baselines:
        yield arms.baseline(about.base, about.parts["train"], about.seeds[0], name)


def _complete(
    seeds: Sequence[int], lines: Sequence[ArmKey], there: Container[ArmKey]
) -> tuple[list[ArmKey], list[int]]:
    """Find the seeds that have all sizes; while none has, the one that has most, and its sizes."""
    had = {seed: [line for line in lines if line._replace(seed=seed) in there] for seed in seeds}
    whole = [seed for seed in seeds if had[seed] == list(lines)]
    whole = whole or [max(seeds, key=lambda seed: len(had[seed]))]
    return had[whole[0]], whole


def _row(prices: Floats, groups: npt.ArrayLike | None, mine: Sequence[Scored]) -> Row:
    """Put the seeds of one arm, or a baseline, on one line."""
    first = mine[0]
    by_chance = predictors.named(first.key.predictor).by_chance
    guesses = np.stack([each.predictions for each in mine])
    return Row(
        key=first.key.line,
        name=arms.label(first.key),
        predictions=guesses,
        scores=bootstrap.bootstrap(prices, guesses, groups=groups, chance=by_chance),
        train_mae=float(np.mean([each.train_mae for each in mine])),
        seconds={stage: sum(each.seconds[stage] for each in mine) for stage in first.seconds},
        by_chance=by_chance,
        cost=first.cost,
        uses=tuple(dict.fromkeys(part for each in mine for part in each.uses)),
        strongest=first.strongest,
    )


def about_record(about: About) -> records.Record:
    """Say what a study is about, in the form from which ``rebuild`` reads it."""
    return records.Text(ABOUT_FILE, json.dumps(dataclasses.asdict(about), indent=1))


def stop_record(stop: stopping.Stop, stopped_at: int) -> records.Record:
    """Say whether, after a size, larger ones can still change the answer; ``rebuild`` reads it."""
    told = {"stop": dataclasses.asdict(stop), "stopped_at": stopped_at}
    return records.Text(STOP_FILE, json.dumps(told))


def prediction_records(
    lines: npt.NDArray[np.int64],
    prices: Floats,
    groups: npt.NDArray[np.int64],
    predictions: Floats,
    train_mae: float,
    *,
    by_chance: bool = True,
) -> list[records.Record]:
    """Say what was predicted for each held-out row: scores with intervals, and a table.

    Args:
        lines: of the source, shape (t,).
        prices: the true ones, shape (t,).
        groups: shape (t,), equal for rows that are drawn together.
        predictions: shape (t,).
        train_mae: mean absolute out-of-fold error of the training rows, or NaN.
        by_chance: another seed would give other predictions.
    """
    columns = (each.tolist() for each in (lines, prices, groups, predictions))
    table = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    scores = bootstrap.bootstrap(prices, predictions, groups=groups, chance=by_chance)
    return [
        records.Metrics(bootstrap.flat(scores)),
        records.Metrics({} if math.isnan(train_mae) else {"cv_mae": train_mae}),
        records.Table(PREDICTIONS_FILE, table),
    ]


def cost_records(
    seconds: Mapping[str, float], cost: predictors.Cost | None
) -> Iterator[records.Record]:
    """Say how long each stage took, and what serving an arm costs."""
    yield records.Metrics({f"{stage}{SECONDS}": value for stage, value in seconds.items()})
    if cost:
        yield records.Metrics(cost._asdict())


def key_record(key: ArmKey) -> records.Record:
    """Say which arm a run is, in the form from which ``rebuild`` reads it."""
    told = {"base": key.base, "objective": key.objective, "labels": key.labels}
    return records.Tags({f"arm.{name}": str(value) for name, value in told.items()})


def words_records(strongest: Sequence[StrongWord]) -> list[records.Record]:
    """Say which words move a baseline's prices most; ``rebuild`` reads it."""
    table = [each._asdict() for each in strongest]
    return [records.Table(WORDS_FILE, table)] if table else []


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
    told["ceiling"] = generator.Ceiling(**told["ceiling"]) if told["ceiling"] else None
    name = PREDICTIONS_FILE if told.get("protocol") == corpus.PROTOCOL else OLD_PREDICTIONS_FILE
    children = [each for each in kept.children[::-1] if name in each.texts]
    tables = [_read_table(each.texts[name]) for each in children]
    for child, table in zip(children, tables, strict=True):
        if not all(np.array_equal(table[name], tables[-1][name]) for name in ("line", "price")):
            raise InputError(
                f"run {child.run_id} of study {kept.run_id}, whose held-out rows are not its",
                "arms of one corpus: the data changed between them",
                "delete that run, or start the study again as a run of its own",
            )
    look = json.loads(kept.texts[STOP_FILE]) if STOP_FILE in kept.texts else None
    about = About(**told)
    return assemble(
        about,
        tables[-1]["price"] if tables else np.empty(0),
        [
            _scored(about, each, table["predicted"])
            for each, table in zip(children, tables, strict=True)
        ],
        stopping.Stop(**look["stop"]) if look else None,
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


def _read_words(text: str) -> tuple[StrongWord, ...]:
    return tuple(
        StrongWord(row["word"], int(row["texts"]), float(row["ratio"]), float(row["amount"]))
        for row in csv.DictReader(io.StringIO(text))
    )


def _scored(about: About, kept: records.Kept, predictions: Floats) -> Scored:
    found = kept.metrics
    cost = [found[name] for name in (MILLISECONDS, MEGABYTES) if name in found]
    return Scored(
        key=_key(about, kept),
        predictions=predictions,
        train_mae=found.get("validation_mae", found.get("cv_mae", math.nan)),
        seconds={
            name.removesuffix(SECONDS): value
            for name, value in found.items()
            if name.endswith(SECONDS)
        },
        cost=predictors.Cost(*cost) if cost else None,
        uses=tuple(filter(None, kept.params.get(USES, "").split(", "))),
        strongest=_read_words(kept.texts.get(WORDS_FILE, "")),
    )


def _key(about: About, kept: records.Kept) -> ArmKey:
    """Tell which arm a run is; those of older versions leave out what all of theirs share."""
    labels = int(kept.tags.get("arm.labels", about.parts["train"]))
    base = kept.tags.get("arm.base", about.base)
    if name := kept.tags.get("baseline"):
        return arms.baseline(base, labels, about.seeds[0], name)
    documents = int(kept.params["documents"])
    objective = kept.tags.get("arm.objective", about.objectives[0] if documents else FACTORY)
    predictor = STACK if kept.tags.get("arm") == STACK else PAIR
    return ArmKey(base, objective, documents, labels, int(kept.params.get("seed", 0)), predictor)
