"""What the tracking store keeps, read back: runs with their children, and logged encoders."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from bat import records
from bat.cli import InputError
from bat.models import encoder
from bat.registry import store
from bat.registry.tracking import PARENT

ENCODER_WANTED = "the address of a logged encoder, such as runs:/<run id>/encoder"


def read(run_id: str, files: Sequence[str]) -> records.Kept:
    """Read back a run and its finished children, the newest child first.

    Args:
        run_id: of the run.
        files: names of the text files wanted; those that a run lacks are left out.

    Raises:
        InputError: the tracking store has no such run.
    """
    store.quiet()
    try:
        return store.patient(_read)(run_id, files)
    except (MlflowException, OSError) as error:
        raise _not_there(f"run {run_id!r}", error, "the id of a scaling_study's run") from error


def _read(run_id: str, files: Sequence[str]) -> records.Kept:
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    # The parent's files first: what they say of its arms is then true of those found after.
    parent = _kept(run, files)
    children: list[records.Kept] = []
    inside = f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'FINISHED'"
    token = None
    while token != "":
        found = client.search_runs([run.info.experiment_id], inside, page_token=token)
        children += [_kept(child, files) for child in found]
        token = found.token or ""
    return dataclasses.replace(parent, children=children)


def _not_there(what: str, error: Exception, expected: str) -> InputError:
    return InputError(
        f"{what}, which the tracking store does not have ({str(error).splitlines()[0]})",
        expected,
        f"look it up with `{store.pages()}`; is MLFLOW_TRACKING_URI where it was logged?",
    )


def _kept(run: Run, files: Sequence[str]) -> records.Kept:
    there = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    texts = {
        name: mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{name}")
        for name in files
        if name in there
    }
    data = run.data
    return records.Kept(run.info.run_id, data.params, data.metrics, data.tags, texts)


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
        top = Path(store.patient(mlflow.artifacts.download_artifacts)(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        raise _not_there(repr(uri), error, wanted) from error
    inner = [*top.rglob("model.sentence_transformer"), *top.rglob("pricer/encoder")]
    seen = next(top.rglob(encoder.SEEN_FILE), None)
    folder = inner[0] if inner else top
    if seen and seen.parent != folder:  # logged beside the encoder, as MLflow wants it
        shutil.copy(seen, folder)
    return str(folder)
