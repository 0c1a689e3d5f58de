"""The MLflow side: runs, records, look-ups, the registry."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import pandas as pd
import requests
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, ParamSchema, ParamSpec, Schema

from bat import cli, encoder, pricer, records, regressor, units
from bat.cli import InputError

REGISTERED_MODEL = "bat-pricer"
CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
KEY, PROCESS, BEAT = "bat.key", "bat.process", "bat.heartbeat"  # tags of a run that is at work
PARENT = "mlflow.parentRunId"
DEAD = ("KILLED", "FAILED")  # how runs end that leave something behind
LOST = "API request to"  # begins what MLflow says of a server that it does not reach
STORE_ERRORS = (MlflowException, requests.RequestException)
TRIES, PAUSE_SECONDS = 5, 5.0  # each try waits some minutes itself
BEAT_SECONDS, STALE_SECONDS = 30, 600  # a run silent for so long has died, wherever it ran
COMPARED = "compared."  # begins the names of the registry's tags that count comparisons
DIGEST_LETTERS = 36  # of a dataset input; MLflow's own limit
SERVING_FILE = Path(__file__).with_name("serving.py")
REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
TEXT_TO_PRICE = ModelSignature(
    Schema([ColSpec(AnyType(), "text")]),  # as string MLflow would turn null into the word None
    Schema(
        [
            *(ColSpec("double", name) for name in ("price", "price_low", "price_high")),
            ColSpec("boolean", "truncated"),
        ]
    ),
    ParamSchema([ParamSpec("coverage", "double", None)]),
)


Done = TypeVar("Done")


@dataclasses.dataclass(frozen=True)
class Left:
    """What runs of the same work that died have left: themselves, and their finished children."""

    runs: frozenset[str] = frozenset()
    children: Mapping[str, str] = dataclasses.field(default_factory=dict)  # run ids by name


def _patient(work: Callable[..., Done]) -> Callable[..., Done]:
    """Try again where the tracking server was lost on the way.

    MLflow itself waits for a server that does not answer (some minutes, by
    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES``), but not for the rest of an answer that has begun.
    """

    @functools.wraps(work)
    def tried(*arguments: Any, **named: Any) -> Done:
        for _ in range(TRIES - 1):
            try:
                return work(*arguments, **named)
            except STORE_ERRORS as error:
                lost = isinstance(error, requests.RequestException) or LOST in str(error)
                if not lost:
                    raise
                sys.stderr.write("\nthe tracking server is away; trying again\n")
                time.sleep(PAUSE_SECONDS)
        return work(*arguments, **named)

    return tried


class MlflowTracker:
    """Writes records to one MLflow run, and takes over what a run of the same work left behind."""

    def __init__(self, run_id: str, left: Left | None = None) -> None:
        self.run_id = run_id
        self.left = left or Left()

    def log(self, record: records.Record) -> None:
        """Write one record, each kind in MLflow's own form."""
        with cli.whole():
            self._log(record)

    @_patient
    def _log(self, record: records.Record) -> None:
        match record:
            case records.Params(values):
                mlflow.log_params({name: _short(value) for name, value in values.items()})
            case records.Metrics(values, step):
                mlflow.log_metrics(dict(values), step=step)
            case records.Tags(values):
                mlflow.set_tags(dict(values))
            case records.Note(markdown):
                mlflow.set_tag("mlflow.note.content", markdown)
            case records.Text(name, text):
                mlflow.log_text(text, name)
            case records.Figure(name, figure):
                mlflow.log_figure(figure, name)
            case records.Table(name, rows):
                mlflow.log_text(_written(name, pd.DataFrame(list(rows))), name)
            case records.Dataset():
                _log_dataset(record)
            case _:
                _log_model(record)

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator[MlflowTracker]:
        """Open a run inside this one."""
        with _started(run_name=name, nested=True) as run_id:
            yield MlflowTracker(run_id)

    @_patient
    def adopt(self, name: str) -> bool:
        """Move a finished child of that name here, if a run that died has left one."""
        child, client = self.left.children.get(name), mlflow.MlflowClient()
        if child is None:
            return False
        with cli.whole(), units.lock("adoption"):
            if client.get_run(child).data.tags[PARENT] not in self.left.runs:
                return False  # another run of the same work was faster
            client.set_tag(child, PARENT, self.run_id)
        return True

    @_patient
    def register(self, folder: Path, tags: Mapping[str, str], description: str) -> str:
        """Log the pair as one pyfunc and give its new version the alias ``candidate``."""
        client = mlflow.MlflowClient()
        with cli.whole():
            version = self._version_left() or self._new_version(folder, tags)
            for name, value in tags.items():  # of a version left behind, the study is now this one
                client.set_model_version_tag(REGISTERED_MODEL, version, name, value)
            client.update_model_version(REGISTERED_MODEL, version, description)
            client.set_registered_model_alias(REGISTERED_MODEL, CANDIDATE, version)
        return version

    def _version_left(self) -> str | None:
        """Find the version that a run of the same work, or a lost try of this one, registered."""
        found = mlflow.MlflowClient().search_model_versions(f"name = '{REGISTERED_MODEL}'")
        mine = (v for v in found if v.tags.get("study") in {*self.left.runs, self.run_id})
        return next((str(version.version) for version in mine), None)

    def _new_version(self, folder: Path, tags: Mapping[str, str]) -> str:
        with _calm():
            logged = mlflow.pyfunc.log_model(
                name="pricer",
                python_model=str(SERVING_FILE),
                artifacts={"pricer": str(folder)},
                code_paths=[str(SERVING_FILE.parent)],
                signature=TEXT_TO_PRICE,
                pip_requirements=_requirements(),
            )
            made = mlflow.register_model(logged.model_uri, REGISTERED_MODEL, tags=dict(tags))
        return str(made.version)

    @_patient
    def champion(self) -> records.Standing | None:
        """Say which pair is served now, if there is one."""
        version = _aliased(CHAMPION)
        if version is None:
            return None
        tags = mlflow.MlflowClient().get_model_version(REGISTERED_MODEL, version).tags
        return records.Standing(version, tags)

    @_patient
    def fetch(self, version: str) -> Path:
        """Fetch the folder of a registered pair."""
        return pricer_folder(f"models:/{REGISTERED_MODEL}/{version}")

    @_patient
    def promote(self, version: str, *, instead_of: str | None) -> bool:
        """Serve a version; False where the champion is no longer the one it was compared with."""
        with cli.whole(), units.lock("registry"):
            if _aliased(CHAMPION) != instead_of:
                return False
            _crown(version)
            return True

    @_patient
    def compared(self, rows: str) -> int:
        """Count one more comparison on the test rows of that digest; return those before."""
        client, name = mlflow.MlflowClient(), f"{COMPARED}{rows[:DIGEST_LETTERS]}"
        with cli.whole(), units.lock("registry"):
            before = int(client.get_registered_model(REGISTERED_MODEL).tags.get(name, 0))
            client.set_registered_model_tag(REGISTERED_MODEL, name, str(before + 1))
        return before


def _aliased(alias: str) -> str | None:
    """Find the version that has an alias now."""
    client = mlflow.MlflowClient()
    found = client.search_registered_models(f"name = '{REGISTERED_MODEL}'")
    aliases = client.get_registered_model(REGISTERED_MODEL).aliases if found else {}
    return str(aliases[alias]) if alias in aliases else None


def _crown(version: str) -> None:
    """Give a version the alias ``champion``, and the one that had it ``previous``."""
    client, before = mlflow.MlflowClient(), _aliased(CHAMPION)
    if before == version:
        return
    if before:
        client.set_registered_model_alias(REGISTERED_MODEL, PREVIOUS, before)
    client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, version)


def serve_version(asked: str) -> tuple[str | None, str]:
    """Make a version the champion, whatever any comparison says: roll back, or forward.

    Args:
        asked: a version's number, or an alias: ``previous``, ``candidate``.

    Returns:
        The champion before, and the one now.

    Raises:
        InputError: the registry has no such version.
    """
    with units.lock("registry"):
        before = _aliased(CHAMPION)
        version = str(int(asked)) if asked.isdecimal() else _aliased(asked)
        try:
            if version is None:
                raise MlflowException(f"no version has the alias {asked!r}")
            mlflow.MlflowClient().get_model_version(REGISTERED_MODEL, version)
        except MlflowException as error:
            raise _not_there(
                f"version {asked!r} of {REGISTERED_MODEL}",
                error,
                "a version's number, previous or candidate",
            ) from error
        _crown(version)
    return before, version


def standings() -> list[dict[str, str]]:
    """List who is who in the registry, a line for each version, the newest first."""
    client = mlflow.MlflowClient()
    aliases: dict[str, list[str]] = {}
    for alias, version in client.get_registered_model(REGISTERED_MODEL).aliases.items():
        aliases.setdefault(str(version), []).append(alias)
    found = client.search_model_versions(f"name = '{REGISTERED_MODEL}'")
    return [
        {
            "version": str(each.version),
            "aliases": ", ".join(sorted(aliases.get(str(each.version), []))),
            **{name: each.tags.get(name, "") for name in ("arm", "corpus", "mae", "study")},
        }
        for each in sorted(found, key=lambda each: -int(each.version))
    ]


@contextlib.contextmanager
def run(name: str, key: str = "") -> Iterator[MlflowTracker]:
    """Open the run of an entry point: the project's own under ``mlflow run``, else a new one.

    Runs whose process has died are marked as killed first. While it lasts the run says, by a tag,
    that it is alive.

    Args:
        name: of the run.
        key: names the work by all its inputs; what runs of the same key left is taken over.
    """
    _quietly()
    adopted = os.environ.get("MLFLOW_RUN_ID")
    tags = {PROCESS: _process(os.getpid()), BEAT: str(int(time.time()))}
    tags |= {KEY: key} if key else {}
    with _started(**({} if adopted else {"run_name": name, "tags": tags})) as own:
        with cli.whole():
            if adopted:
                mlflow.set_tags(tags | {"mlflow.runName": name})
            _end_dead(own)
            left = _left(key, own) if key else Left()
        with _beating(own):
            yield MlflowTracker(own, left)
        with cli.whole():  # a run that was started, but whose start was lost on the way back
            for child in _search(f"attributes.status = 'RUNNING' and tags.`{PARENT}` = '{own}'"):
                mlflow.MlflowClient().set_terminated(child.info.run_id, "KILLED")


@contextlib.contextmanager
def _started(**options: Any) -> Iterator[str]:
    """Start a run, and end it as finished, failed, or killed by its user."""
    status, started = "FAILED", None
    try:
        # A new SQLite file breaks when two processes migrate it at once.
        with cli.whole(), _calm(), units.lock("store"):
            started = _patient(mlflow.start_run)(**options)
        yield started.info.run_id
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if started:
            with cli.whole(), _calm():
                _end(started.info.run_id, status)


def _end(run_id: str, status: str) -> None:
    """End the innermost run; a finished one patiently, others at the first try or not at all."""
    try:
        mlflow.end_run(status)
    except STORE_ERRORS:
        # What else went wrong is to be heard, rather than that the store is away too.
        if status == "FINISHED":  # MLflow has forgotten the run before it told the store
            _patient(mlflow.MlflowClient().set_terminated)(run_id, status)


@contextlib.contextmanager
def _beating(run_id: str) -> Iterator[None]:
    """Say every half minute that a run is alive."""
    client, done = mlflow.MlflowClient(), threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(MlflowException, OSError):  # the store may be away for a while
                client.set_tag(run_id, BEAT, str(int(time.time())))
            if done.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=BEAT_SECONDS)  # it may be waiting for a store that is away


def _process(number: int) -> str:
    """Name a process so that no other is ever taken for it: machine, number, time of its start."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        started = "-" if fields[0] == "Z" else fields[19]  # a zombie has ended
    except OSError:  # it is gone, or this is no Linux
        started = "-"
    return f"{_machine()} {number} {started}"


def _machine() -> str:
    """Name the machine as processes see it: hosts and containers may share a host name."""
    inside = []
    with contextlib.suppress(OSError):  # no Linux
        inside.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        inside.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join([socket.gethostname(), *inside])


def _is_dead(tags: Mapping[str, str]) -> bool:
    """Tell whether the process of a run is gone, or has not been heard of for long."""
    machine, number, started = tags[PROCESS].split()
    if machine == _machine() and started != "-":
        return _process(int(number)) != tags[PROCESS]
    return time.time() - float(tags.get(BEAT, 0)) > STALE_SECONDS


def _end_dead(own: str) -> None:
    """Mark runs of this experiment as killed whose process has died, and their children."""
    client = mlflow.MlflowClient()
    for found in _search(f"attributes.status = 'RUNNING' and tags.`{PROCESS}` != ''"):
        if found.info.run_id != own and _is_dead(found.data.tags):
            client.set_terminated(found.info.run_id, "KILLED")
    for child in _search(f"attributes.status = 'RUNNING' and tags.`{PARENT}` != ''"):
        parent = client.get_run(child.data.tags[PARENT])
        if PROCESS in parent.data.tags and parent.info.status in DEAD:
            client.set_terminated(child.info.run_id, "KILLED")


def _left(key: str, own: str) -> Left:
    """Find what runs of the same work have left that were killed or failed."""
    dead = [run for run in _search(f"tags.`{KEY}` = '{key}'") if run.info.status in DEAD]
    runs = frozenset(run.info.run_id for run in dead) - {own}
    children = {
        child.info.run_name: child.info.run_id
        for each in runs
        for child in _search(f"attributes.status = 'FINISHED' and tags.`{PARENT}` = '{each}'")
    }
    return Left(runs, children)


@_patient
def _search(asked: str) -> list[Run]:
    """Search the runs of the experiment that is in use."""
    found: list[Run] = mlflow.search_runs(filter_string=asked, output_format="list")
    return found


def read(run_id: str, files: Sequence[str]) -> records.Kept:
    """Read back a run and its finished children, the newest child first.

    Args:
        run_id: of the run.
        files: names of the text files wanted; those that a run lacks are left out.

    Raises:
        InputError: the tracking store has no such run.
    """
    _quietly()
    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
        # The parent's files first: what they say of its arms is then true of those found after.
        parent = _kept(run, files)
        children: list[records.Kept] = []
        inside = f"tags.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'FINISHED'"
        token = None
        while token != "":
            found = client.search_runs([run.info.experiment_id], inside, page_token=token)
            children += [_kept(child, files) for child in found]
            token = found.token or ""
    except (MlflowException, OSError) as error:
        raise _not_there(f"run {run_id!r}", error, "the id of a scaling_study's run") from error
    return dataclasses.replace(parent, children=children)


def _not_there(what: str, error: Exception, expected: str) -> InputError:
    return InputError(
        f"{what}, which the tracking store does not have ({str(error).splitlines()[0]})",
        expected,
        "look the run up with `mlflow ui`; is MLFLOW_TRACKING_URI the one it was logged to?",
    )


def _quietly() -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file
    # It writes the trace of every error that it then raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _kept(run: Run, files: Sequence[str]) -> records.Kept:
    there = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    texts = {
        name: mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{name}")
        for name in files
        if name in there
    }
    data = run.data
    return records.Kept(run.info.run_id, data.params, data.metrics, data.tags, texts)


ENCODER_WANTED = "the address of a logged encoder, such as runs:/<run id>/encoder"
PAIR_WANTED = (
    f"a pair that a study registered, such as models:/{REGISTERED_MODEL}@{CHAMPION} once a "
    "scaling_study has run"
)


def resolve(uri: str, wanted: str = ENCODER_WANTED) -> str:
    """Turn ``runs:/`` and ``models:/`` addresses into a folder; anything else stays as it is.

    Args:
        uri: an address, a folder, or a name on the hub.
        wanted: what should be there, for the message.

    Raises:
        InputError: nothing is found there.
    """
    if not uri.startswith(("runs:/", "models:/")):
        return uri
    try:
        top = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        raise _not_there(repr(uri), error, wanted) from error
    inner = [*top.rglob("model.sentence_transformer"), *top.rglob("pricer/encoder")]
    seen = next(top.rglob(encoder.SEEN_FILE), None)
    folder = inner[0] if inner else top
    if seen and seen.parent != folder:  # logged beside the encoder, as MLflow wants it
        shutil.copy(seen, folder)
    return str(folder)


def pricer_folder(model: str) -> Path:
    """Find the folder of a pair by its ``models:/`` address; a folder stays as it is.

    Raises:
        InputError: no pair is there.
    """
    top = Path(resolve(model, PAIR_WANTED))
    folder = top if (top / pricer.REGRESSOR_FOLDER).is_dir() else top.parent
    if not (folder / pricer.REGRESSOR_FOLDER).is_dir():
        raise InputError(
            f"model={model!r}, which holds no encoder and regressor",
            PAIR_WANTED,
            "run a scaling_study first, or look the model up with `mlflow ui`",
        )
    return folder


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
                encoder.open_encoder(str(record.folder)).model,
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


def _requirements() -> list[str]:
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    return [line for line in lines if line]


def _short(value: object) -> str:
    return str(value)[:500]


def _written(name: str, frame: pd.DataFrame) -> str:
    if name.endswith(".jsonl"):
        return str(frame.to_json(orient="records", lines=True, force_ascii=False))
    return str(frame.to_csv(index=False))


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Hold back the libraries' hints: about types, table versions, and bars of saved shards."""
    # Recorded and forgotten: MLflow shows some of its own whatever the filters say.
    with warnings.catch_warnings(record=True), encoder.quiet():
        yield
