"""The MLflow side: runs, records, look-ups, the registry."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

from bat import encoder, records
from bat.cli import InputError

REGISTERED_MODEL = "bat-pricer"
CHAMPION = "champion"
DIGEST_LETTERS = 36  # of a dataset input; MLflow's own limit
SERVING_FILE = Path(__file__).with_name("serving.py")
REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
TEXT_TO_PRICE = ModelSignature(
    Schema([ColSpec("string", "text")]),
    Schema([ColSpec("double", name) for name in ("price", "price_low", "price_high")]),
    ParamSchema([ParamSpec("coverage", "double", None)]),
)


class MlflowTracker:
    """Writes records to one MLflow run."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def log(self, record: records.Record) -> None:
        """Write one record, each kind in MLflow's own form."""
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
        with mlflow.start_run(run_name=name, nested=True) as run:
            yield MlflowTracker(run.info.run_id)

    def register(self, pricer: Path, tags: Mapping[str, str], description: str) -> str:
        """Log the pair as one pyfunc and give its new version the alias ``champion``."""
        with _calm():
            logged = mlflow.pyfunc.log_model(
                name="pricer",
                python_model=str(SERVING_FILE),
                artifacts={"pricer": str(pricer)},
                code_paths=[str(SERVING_FILE.parent)],
                signature=TEXT_TO_PRICE,
                pip_requirements=_requirements(),
            )
            version = mlflow.register_model(logged.model_uri, REGISTERED_MODEL, tags=dict(tags))
        client = mlflow.MlflowClient()
        client.update_model_version(REGISTERED_MODEL, version.version, description)
        client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, version.version)
        return str(version.version)


@contextlib.contextmanager
def run(name: str) -> Iterator[MlflowTracker]:
    """Open the run of an entry point: the project's own under ``mlflow run``, else a new one."""
    _without_bars()
    with _calm():
        adopted = os.environ.get("MLFLOW_RUN_ID")
        opened = mlflow.start_run() if adopted else mlflow.start_run(run_name=name)
    with opened as active:
        if adopted:
            mlflow.set_tag("mlflow.runName", name)
        yield MlflowTracker(active.info.run_id)


def read(run_id: str, files: Sequence[str]) -> records.Kept:
    """Read back a run and its finished children, the newest child first.

    Args:
        run_id: of the run.
        files: names of the text files wanted; those that a run lacks are left out.

    Raises:
        InputError: the tracking store has no such run.
    """
    _without_bars()
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


def _without_bars() -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file


def _kept(run: Run, files: Sequence[str]) -> records.Kept:
    there = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    texts = {
        name: mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{name}")
        for name in files
        if name in there
    }
    data = run.data
    return records.Kept(run.info.run_id, data.params, data.metrics, data.tags, texts)


def resolve(uri: str) -> str:
    """Turn ``runs:/`` and ``models:/`` addresses into a folder; anything else stays as it is.

    Raises:
        InputError: nothing is found there.
    """
    if not uri.startswith(("runs:/", "models:/")):
        return uri
    try:
        top = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        expected = "the address of a logged encoder, such as runs:/<run id>/encoder"
        raise _not_there(repr(uri), error, expected) from error
    inner = [*top.rglob("model.sentence_transformer"), *top.rglob("pricer/encoder")]
    seen = next(top.rglob(encoder.SEEN_FILE), None)
    folder = inner[0] if inner else top
    if seen and seen.parent != folder:  # logged beside the encoder, as MLflow wants it
        shutil.copy(seen, folder)
    return str(folder)


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
            mlflow.xgboost.log_model(
                record.booster,
                name=record.name,
                model_format="ubj",
                pip_requirements=_requirements(),
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
