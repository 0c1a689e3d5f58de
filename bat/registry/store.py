"""The tracking store: refused where it cannot be used, waited for while it is away."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shlex
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import mlflow
import requests
import sqlalchemy
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.tracking import fluent
from sqlalchemy.exc import SQLAlchemyError

from bat import cli, locks
from bat.cli import InputError

START_SECONDS = 60  # a command that starts waits for a store that is away (convention)
AWAY_SECONDS = 1200  # one that has work to lose waits so long (convention)
PAUSE_SECONDS, LONGEST_PAUSE = 1.0, 15.0  # between tries; each is twice the one before (convention)
TRIES_OF_MLFLOW = 2  # of a request; its own seven would be minutes without a word
ERRORS = (MlflowException, requests.RequestException, SQLAlchemyError)  # what a store may raise
LOST = "API request to"  # begins what MLflow says of a server that it does not reach
LATER = (408, 425, 429, 500, 502, 503, 504)  # status codes of a server that may answer later
# What databases say that no waiting will mend.
REFUSALS = (
    "authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
    "access denied", "unknown database", "permission denied", "no space left", "disk is full",
)  # fmt: skip
DATABASES = ("postgresql", "mysql", "mssql")
KIND_TAG, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
NO_KIND = ("", "no_inferred_type")  # of an experiment that MLflow's pages ask about
REASON_CHARACTERS = 300
LOCAL_PAGES = "http://127.0.0.1:5000"  # where `mlflow ui` shows them, unless told otherwise

Given = ParamSpec("Given")
Done = TypeVar("Done")


def check() -> None:
    """Refuse a tracking store that cannot take runs, before any work is done for it.

    A store that is away is waited for, ``START_SECONDS`` long. The experiment that runs will go to
    is opened, or made, as one of model training; the kind that somebody gave it stays.

    Raises:
        InputError: the store, the experiment, or the run of ``mlflow run`` cannot be used.
    """
    quiet()
    address = mlflow.get_tracking_uri()
    try:
        # A new SQLite file breaks when two processes migrate it at once.
        with calm(), locks.lock("store"):
            patient(_open, START_SECONDS)(address)
    except InputError:
        raise
    except Exception as error:  # whatever a library says of an address that it cannot use
        if cli.full_disk(error):
            raise
        raise InputError(
            f"the tracking store {_hidden(address)}, which cannot be used ({reason(error)})",
            "a database such as sqlite:////full/path/mlflow.db, or the address of an MLflow server",
            "correct MLFLOW_TRACKING_URI, or unset it for mlflow.db in this folder; "
            "`mlflow migrate-filestore --help` says how a folder's runs come into a database",
        ) from error
    try:
        experiment = patient(_experiment, START_SECONDS)()
    except MlflowException as error:
        raise InputError(
            f"an experiment or a run that cannot be used ({reason(error)})",
            f"one that the tracking store {_hidden(address)} has",
            "correct MLFLOW_EXPERIMENT_NAME, MLFLOW_EXPERIMENT_ID or MLFLOW_RUN_ID, or unset it; "
            "`mlflow experiments search` lists what is there",
        ) from error
    _refuse_experiment(experiment, address)
    if experiment.tags.get(KIND_TAG, "") in NO_KIND:
        set_tag = patient(mlflow.MlflowClient().set_experiment_tag, START_SECONDS)
        set_tag(experiment.experiment_id, KIND_TAG, MODEL_TRAINING)


def _refuse_experiment(experiment: Experiment, address: str) -> None:
    """Refuse an experiment that takes no runs, or whose files cannot be reached from here."""
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise InputError(
            f"the experiment {experiment.name!r}, which is deleted",
            "an experiment that takes runs",
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}, or choose "
            "another one by MLFLOW_EXPERIMENT_NAME",
        )
    behind_server = experiment.artifact_location.startswith("mlflow-artifacts:")
    if behind_server and not address.startswith("http"):
        raise InputError(
            f"the experiment {experiment.name!r}, whose files only its MLflow server hands out",
            "an experiment whose files can be reached from here",
            "set MLFLOW_TRACKING_URI to that server's address, or choose another experiment by "
            "MLFLOW_EXPERIMENT_NAME",
        )


def _open(address: str) -> None:
    """Open the store; a database once by itself: MLflow would try ten times without a word."""
    scheme = address.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        _open_file(sqlalchemy.make_url(address).database)
    elif scheme in DATABASES:
        engine = create_sqlalchemy_engine(address)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    mlflow.MlflowClient().search_experiments(max_results=1)


def _open_file(name: str | None) -> None:
    """Open the file of an SQLite database for writing."""
    if not name or name.startswith((":", "file:")):  # in memory, or with options of its own
        return
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(name)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
        except sqlite3.OperationalError as error:
            if "is locked" in str(error):  # by somebody who is writing: as MLflow says it
                raise sqlalchemy.exc.OperationalError(None, None, error) from error
            raise


def _experiment() -> Experiment:
    """Find the experiment that the next run will be of; one that is named and missing is made."""
    client, run_id = mlflow.MlflowClient(), os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        # MLflow has no public way to ask for what ``start_run`` would choose.
        return client.get_experiment(fluent._get_experiment_id())
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise MlflowException(f"the run {run_id} of MLFLOW_RUN_ID is deleted")
    return client.get_experiment(run.info.experiment_id)


def patient(work: Callable[Given, Done], limit: float | None = None) -> Callable[Given, Done]:
    """Do some work on the store, again and again while the store is away.

    With tenacity this takes more lines: only the first failure is to be shown, and the limit counts
    from there.

    Args:
        work: may be done twice, since its answer may be what was lost.
        limit: seconds to wait; ``AWAY_SECONDS`` when left out.

    Returns:
        What does the work. It raises InputError when the store stays away for so long.
    """

    @functools.wraps(work)
    def tried(*given: Given.args, **named: Given.kwargs) -> Done:
        seconds, pause, began = AWAY_SECONDS if limit is None else limit, PAUSE_SECONDS, None
        while True:
            try:
                done = work(*given, **named)
            except ERRORS as error:
                if not is_away(error):
                    raise
                now = time.monotonic()
                if began is None:
                    began = now
                    _tell(f"is away ({reason(error)}); waiting for it, {seconds:.0f} s at most")
                if now - began >= seconds:
                    raise _absent(error, seconds) from error
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if began is not None:
                    _tell(f"is back after {time.monotonic() - began:.0f} s")
                return done

    return tried


def pages() -> str:
    """Say how to see the runs: the server's address, or the command that shows a database."""
    address = _hidden(mlflow.get_tracking_uri())
    if address.startswith("http"):
        return address.rstrip("/")
    return f"mlflow ui --backend-store-uri {shlex.quote(address)}"


def page(experiment_id: str, run_id: str) -> str:
    """Say how to see one run, among the pages for model training.

    MLflow 3.17 chooses its pages by the address, or by what the browser was last used for, rather
    than by the experiment's kind.
    """
    place = f"/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    way = pages()
    return f"{way}{place}" if way.startswith("http") else f"{way}\n  and open {LOCAL_PAGES}{place}"


def _tell(news: str) -> None:
    sys.stderr.write(f"\nthe tracking store {_hidden(mlflow.get_tracking_uri())} {news}\n")
    sys.stderr.flush()


def _absent(error: Exception, seconds: float) -> InputError:
    address = _hidden(mlflow.get_tracking_uri())
    return InputError(
        f"the tracking store {address}, which did not answer for {seconds:.0f} s ({reason(error)})",
        "a server that runs, or a database that no other program keeps locked",
        "start it, or correct MLFLOW_TRACKING_URI; the same command then goes on from what is "
        "finished",
    )


def is_away(error: BaseException) -> bool:
    """Tell whether a store that fails now may answer later: it restarts, or its file is locked."""
    text = str(error).partition("[SQL")[0]  # what follows may quote a user
    if isinstance(error, requests.RequestException):
        if error.response is not None:
            return error.response.status_code in LATER
        return not isinstance(error, ValueError)  # an address that is none
    if isinstance(error, MlflowException) and LOST in text:
        status = re.search(r"failed with error code (\d+)", text)
        return status is None or int(status[1]) in LATER
    if "sqlite3." in text:
        return "is locked" in text
    broken = "OperationalError" in text or "InterfaceError" in text or "AdminShutdown" in text
    return broken and not any(words in text.lower() for words in REFUSALS)


def reason(error: BaseException) -> str:
    """Take from an error the line that says why, without passwords."""
    text = str(error)
    # Of many words of a library's, those of the system or of the server.
    system = re.search(r"\[Errno -?\d+\] [^\"'\\):\n]+|too many \d+ error responses", text)
    first = system[0] if system else next(iter(text.strip().splitlines()), type(error).__name__)
    first = re.sub(r"^\(\S+\) ", "", first).split(". ")[0]  # without the error's class
    return _hidden(first)[:REASON_CHARACTERS]


def _hidden(address: str) -> str:
    """Show an address without its user and password."""
    return re.sub(r"//[^/@\s]*@", "//…@", address)


def quiet() -> None:
    """Hold back what MLflow and its libraries write about errors that we explain ourselves."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(TRIES_OF_MLFLOW))
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Hold back MLflow's warnings while the block lasts."""
    # Recorded and forgotten: MLflow shows some of its own whatever the filters say.
    with warnings.catch_warnings(record=True):
        yield
