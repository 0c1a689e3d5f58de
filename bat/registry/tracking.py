"""The MLflow side of a run: opened, kept alive, ended; its records written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking.context.registry import resolve_tags
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.utils import name_utils
from mlflow.utils.autologging_utils import disable_autologging

from bat import cli, escape, home, interrupts, locks, records, units
from bat.cli import InputError
from bat.data import corpus
from bat.data.corpus import TooManyRejectedError
from bat.models import encoder, encoder_opening, regressor
from bat.registry import heartbeat, store

COMMAND, KEY = "bat.command", "bat.key"  # tags: which entry point a run is of, and of what work
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
NAME_CHARACTERS = 250  # that a database keeps of a run's name
DRAWN_CHARACTERS = 20  # of the longest name that MLflow draws
MESSAGE_CHARACTERS = 4000  # of an error on a run's page; MLflow keeps 8,000 of a note
DEAD = ("KILLED", "FAILED")  # how runs end that leave something behind
BEATS_A_WATCH = 10  # beats of one's own after which other runs are looked at again (convention)
DIGEST_LETTERS = 36  # of a dataset input; MLflow's own limit
SERVING_FILE = Path(__file__).with_name("serving.py")
PACKAGE = Path(__file__).parents[1]
REQUIREMENTS = PACKAGE.parent / "requirements.txt"
CONSTRAINTS = REQUIREMENTS.with_name("constraints.txt")  # all that they bring; MLflow copies it
# No schema for the input: with a column of type string MLflow 3.17 turns null into the word None,
# with any other its server reads no CSV, and with either a list that is the text of one row cannot
# be told from a column. What a request may hold is documented and checked in serving.py.
# The output does not list ``why``: it comes on request alone, and Spark takes each column listed
# for one that is there.
TEXT_TO_PRICE = ModelSignature(
    inputs=None,
    outputs=Schema(
        [
            *(ColSpec("double", name) for name in ("price", "price_low", "price_high")),
            ColSpec("boolean", "truncated"),
        ]
    ),
    params=ParamSchema(
        [ParamSpec("coverage", "double", None), ParamSpec("explain", "boolean", False)]
    ),
)


@dataclasses.dataclass(frozen=True)
class Left:
    """What runs of the same work that died have left: themselves, and their finished children."""

    runs: frozenset[str] = frozenset()
    children: Mapping[str, str] = dataclasses.field(default_factory=dict)  # run ids by name


class MlflowTracker:
    """Writes records to one MLflow run, and takes over what a run of the same work left behind."""

    def __init__(self, run_id: str, left: Left | None = None, page: str = "") -> None:
        self.run_id, self.page = run_id, page  # the latter: how to see the run
        self.left = left or Left()

    def log(self, record: records.Record) -> None:
        """Write one record, each kind in MLflow's own form."""
        with interrupts.deferred():
            self._log(record)

    @store.patient
    def _log(self, record: records.Record) -> None:
        match record:
            case records.Params(values):
                mlflow.log_params({name: _short(value) for name, value in values.items()})
            case records.Metrics(values, step):
                mlflow.log_metrics(dict(values), step=step)
            case records.Tags(values):
                mlflow.set_tags(dict(values))
            case records.Note(markdown):
                mlflow.set_tag(NOTE, markdown)
            case records.Text(name, text):
                mlflow.log_text(text, name)
            case records.Figure(name, figure):
                mlflow.log_figure(figure, name)
            case records.Table(name, rows):
                # As objects: a whole number stays one in a column that not all rows fill.
                mlflow.log_text(_written(name, pd.DataFrame(list(rows), dtype=object)), name)
            case records.Dataset():
                _log_dataset(record)
            case _:
                _log_model(record)

    @contextlib.contextmanager
    def child(self, name: str, began: float | None = None) -> Iterator[MlflowTracker]:
        """Open a run inside this one; its work began at that time (seconds since 1970), or now."""
        start = time.time() if began is None else began
        with _started(functools.partial(_start_child, self.run_id, name, start)) as run_id:
            yield MlflowTracker(run_id)

    @store.patient
    def adopt(self, name: str) -> bool:
        """Move a finished child of that name here, if a run that died has left one."""
        child, client = self.left.children.get(name), mlflow.MlflowClient()
        if child is None:
            return False
        with interrupts.deferred(), locks.lock("adoption"):
            try:
                found = client.get_run(child)
            except MlflowException as error:
                if store.is_away(error):
                    raise
                return False  # somebody has deleted it, and collected it
            deleted = found.info.lifecycle_stage == LifecycleStage.DELETED
            if deleted or found.data.tags[PARENT] not in self.left.runs:
                return False  # the latter: another run of the same work was faster
            client.set_tag(child, PARENT, self.run_id)
        return True


@contextlib.contextmanager
def run(
    command: str, key: str = "", *, about: Sequence[str] = (), show_texts: bool = True
) -> Iterator[MlflowTracker]:
    """Open the run of an entry point: the project's own under ``mlflow run``, else a new one.

    Runs whose process has died are marked as killed first. While it lasts the run counts up, by a
    tag, to show that it is alive. A run that fails says why on its page.

    Args:
        command: the entry point.
        key: names the work by all its inputs; what runs of the same key left is taken over.
        about: what tells this run from others of the command; the run is named by both, unless its
            user has named it.
        show_texts: whether the message of a failure, which may quote texts, is kept.
    """
    shown = cli.TEXTS_SHOWN.set(show_texts)
    try:
        with _opened(command, key, about) as tracker:
            yield tracker
    finally:
        cli.TEXTS_SHOWN.reset(shown)


@contextlib.contextmanager
def _opened(command: str, key: str, about: Sequence[str]) -> Iterator[MlflowTracker]:
    """Open the run, show that it is alive while it lasts, and end what it has lost."""
    store.quiet()
    adopted = os.environ.get("MLFLOW_RUN_ID")
    name = " ".join([command, *about])[:NAME_CHARACTERS]
    tags = {COMMAND: command, heartbeat.PROCESS: heartbeat.identity(os.getpid())}
    tags |= {heartbeat.BEAT: heartbeat.beat(0)} | ({KEY: key} if key else {})
    # Inside a run that a notebook has open ours is its child.
    inside = {"nested": mlflow.active_run() is not None}
    options = {} if adopted else {"run_name": name, "tags": tags, **inside}
    with _started(functools.partial(mlflow.start_run, **options)) as own:
        experiment = mlflow.active_run().info.experiment_id
        with interrupts.deferred():
            if adopted:
                store.patient(_take_over)(name, tags)
            store.patient(_end_dead)(experiment, own)
            left = store.patient(_left)(experiment, key, own) if key else Left()
        with _beating(experiment, own):
            yield MlflowTracker(own, left, store.page(experiment, own))
        with interrupts.deferred():
            store.patient(_end_lost)(experiment, own)


def _take_over(name: str, tags: Mapping[str, str]) -> None:
    """Tag the run of ``mlflow run``, and name it unless its user has."""
    before = mlflow.active_run().data.tags.get(NAME, "")
    mlflow.set_tags(dict(tags) | ({NAME: name} if _is_drawn(before) else {}))


def _is_drawn(name: str) -> bool:
    """Tell whether MLflow has drawn a run's name, such as bold-cat-12 (cut at 20 letters)."""
    predicate, _, rest = name.partition("-")
    noun, _, number = rest.partition("-")
    is_cut = len(name) == DRAWN_CHARACTERS
    nouns = name_utils._GENERATOR_NOUNS  # MLflow notes nowhere that it was not the user
    known = noun in nouns or (is_cut and any(each.startswith(noun) for each in nouns))
    ends = number.isdecimal() or is_cut
    return not name or (predicate in name_utils._GENERATOR_PREDICATES and known and ends)


def _end_lost(experiment: str, own: str) -> None:
    """End children that were started, but whose start was lost on the way back."""
    mine = f"attributes.status = 'RUNNING' and tags.`{PARENT}` = '{own}'"
    for child in _search(experiment, mine):
        _kill(child.info.run_id)


def _start_child(parent: str, name: str, began: float) -> mlflow.ActiveRun:
    """Start a run inside the active one, with the time at which its work began."""
    experiment_id = mlflow.active_run().info.experiment_id
    made = mlflow.MlflowClient().create_run(
        experiment_id,
        start_time=round(1000 * began),
        tags=resolve_tags({PARENT: parent, NAME: name}),
        run_name=name,
    )
    return mlflow.start_run(run_id=made.info.run_id, nested=True)


@contextlib.contextmanager
def log_refusal(command: str) -> Iterator[None]:
    """Log the rows of a corpus that is refused for them, in a failed run, while the block lasts.

    Args:
        command: the entry point.

    Raises:
        TooManyRejectedError: as the block raised it, also where the store cannot be written to.
    """
    try:
        yield
    except TooManyRejectedError as error:
        with contextlib.suppress(Exception), run(command) as tracker:
            tracker.log(records.Table("rejected.jsonl", corpus.rejected_rows(error.rejected)))
            raise  # so that the run ends as failed, with this error on its page
        raise


@contextlib.contextmanager
def _started(start: Callable[[], mlflow.ActiveRun]) -> Iterator[str]:
    """Start a run, and end it as finished, failed with its message, or killed by its user."""
    status, started = "FAILED", None
    try:
        # A new SQLite file breaks when two processes migrate it at once.
        with interrupts.deferred(), _calm(), locks.lock("store"):
            started = store.patient(start)()
        yield started.info.run_id
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Exception as error:
        if started:
            log_failure(started.info.run_id, error)
        raise
    finally:
        if started:
            with interrupts.deferred(), _calm():
                _end(started.info.run_id, status)


def _end(run_id: str, status: str) -> None:
    """End the innermost run; a finished one patiently, others at the first try or not at all."""
    try:
        mlflow.end_run(status)
    except store.ERRORS:
        # What else went wrong is to be heard, rather than that the store is away too.
        if status == "FINISHED":  # MLflow has forgotten the run before it told the store
            store.patient(mlflow.MlflowClient().set_terminated)(run_id, status)


def log_failure(run_id: str, error: BaseException) -> None:
    """Put on a run's page why it failed, before what is there; at the first try or not at all."""
    client = mlflow.MlflowClient()
    message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    if not cli.TEXTS_SHOWN.get():
        message = f"{type(error).__name__}; its message, which may quote texts, is in the terminal"
    with interrupts.deferred(), _calm(), contextlib.suppress(*store.ERRORS, OSError):
        before = client.get_run(run_id).data.tags.get(NOTE, "")
        shown = escape.fenced(escape.storable(message[:MESSAGE_CHARACTERS]))
        note = f"**This run failed.**\n\n{shown}\n\n{before}"
        client.set_tag(run_id, NOTE, note.strip())


def without_autologging() -> AbstractContextManager[None]:
    """Let a notebook's ``mlflow.autolog`` be idle: it would log each fit of a search."""
    found: AbstractContextManager[None] = disable_autologging()
    return found


def log_early_failure(error: BaseException) -> None:
    """Put on the page of the run that ``mlflow run`` has made why the command failed before it."""
    store.quiet()
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        log_failure(run_id, error)


@contextlib.contextmanager
def _beating(experiment: str, run_id: str) -> Iterator[None]:
    """Count up every half minute to show that a run is alive; look after others now and then."""
    client, done = mlflow.MlflowClient(), threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            with contextlib.suppress(*store.ERRORS, OSError):  # the store may be away for a while
                client.set_tag(run_id, heartbeat.BEAT, heartbeat.beat(count))
                if count % BEATS_A_WATCH == 0:
                    _end_dead(experiment, run_id)
            if done.wait(heartbeat.BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=heartbeat.BEAT_SECONDS)  # it may be waiting for a store that is away


def _end_dead(experiment: str, own: str) -> None:
    """Mark runs of an experiment as killed whose process has died, and their children."""
    at_work = f"attributes.status = 'RUNNING' and tags.`{heartbeat.PROCESS}` != ''"
    found = {run.info.run_id: run.data.tags for run in _search(experiment, at_work)}
    others = {run_id: tags for run_id, tags in found.items() if run_id != own}
    place = units.digest([mlflow.get_tracking_uri(), experiment])[:32]
    for run_id in heartbeat.dead_runs(others, home.folder() / "watched" / f"{place}.json"):
        _kill(run_id)
    nested = f"attributes.status = 'RUNNING' and tags.`{PARENT}` != ''"
    for child in _search(experiment, nested):
        if _is_orphan_of_ours(child):
            _kill(child.info.run_id)


def _is_orphan_of_ours(child: Run) -> bool:
    """Tell whether a nested run's parent is one of ours that died; one that is gone is not ours."""
    try:
        parent = mlflow.MlflowClient().get_run(child.data.tags[PARENT])
    except MlflowException as error:
        if store.is_away(error):
            raise
        return False
    here = parent.info.experiment_id == child.info.experiment_id
    there = here and parent.info.lifecycle_stage == LifecycleStage.ACTIVE
    return there and heartbeat.PROCESS in parent.data.tags and parent.info.status in DEAD


def _kill(run_id: str) -> None:
    """Mark a run as killed; one that somebody deletes meanwhile is left alone."""
    try:
        mlflow.MlflowClient().set_terminated(run_id, "KILLED")
    except MlflowException as error:
        if store.is_away(error):
            raise


def _left(experiment: str, key: str, own: str) -> Left:
    """Find what runs of the same work have left that were killed or failed."""
    same = _search(experiment, f"tags.`{KEY}` = '{key}'")
    dead = [run for run in same if run.info.status in DEAD]
    runs = frozenset(run.info.run_id for run in dead) - {own}
    children = {
        child.info.run_name: child.info.run_id
        for each in runs
        for child in _search(
            experiment, f"attributes.status = 'FINISHED' and tags.`{PARENT}` = '{each}'"
        )
    }
    return Left(runs, children)


def _search(experiment: str, wanted: str) -> list[Run]:
    """Search the runs of an experiment."""
    found: list[Run] = mlflow.search_runs([experiment], wanted, output_format="list")
    return found


def _log_dataset(record: records.Dataset) -> None:
    frame = pd.DataFrame({"text": record.texts, "price": record.prices})
    with _calm():
        dataset = mlflow.data.from_pandas(
            frame, name=record.name, digest=record.digest[:DIGEST_LETTERS], targets="price"
        )
        mlflow.log_input(dataset, context=record.context)


def _log_model(record: records.Record) -> None:
    with _calm():
        if isinstance(record, records.EncoderModel):
            seen = record.folder / encoder.SEEN_FILE
            mlflow.sentence_transformers.log_model(
                encoder_opening.open_encoder(str(record.folder)).model,
                name=record.name,
                pip_requirements=_requirements(),
                extra_files=[str(seen)] if seen.exists() else None,
            )
        elif isinstance(record, records.RegressorModel):
            with tempfile.TemporaryDirectory() as folder:
                regressor.save(record.fitted, Path(folder))
                mlflow.xgboost.log_model(
                    record.fitted.booster,
                    name=record.name,
                    model_format="ubj",
                    pip_requirements=_requirements(),
                    extra_files=[str(Path(folder) / regressor.VALUES_FILE)],
                )


def log_pricer(folder: Path, name: str, tags: Mapping[str, str]) -> str:
    """Log a pair as one pyfunc to the run that is open, register it, and return its version.

    Args:
        folder: of the saved pair.
        name: of the registered model.
        tags: of the version.
    """
    with _calm():
        logged = mlflow.pyfunc.log_model(
            name="pricer",
            python_model=str(SERVING_FILE),
            artifacts={"pricer": str(folder)},
            code_paths=[str(PACKAGE)],
            signature=TEXT_TO_PRICE,
            pip_requirements=_requirements(),
        )
        made = mlflow.register_model(logged.model_uri, name, tags=dict(tags))
    return str(made.version)


def _requirements() -> list[str]:
    """List what a logged model needs: as a clone pins it, or as an installed package says."""
    if not REQUIREMENTS.exists():  # `pip install` copies the package alone
        needed = metadata.requires("bat") or []
        return [line for line in needed if "extra ==" not in line]
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    return [*(line for line in lines if line), f"-c {CONSTRAINTS}"]


def _short(value: object) -> str:
    return str(value)[:500]


def _written(name: str, frame: pd.DataFrame) -> str:
    if name.endswith(".jsonl"):
        return str(frame.to_json(orient="records", lines=True, force_ascii=False))
    return str(frame.to_csv(index=False))


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Hold back the libraries' hints: about types, table versions, and bars of saved shards."""
    with store.calm(), encoder.quiet():
        yield
