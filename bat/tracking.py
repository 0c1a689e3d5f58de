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
from mlflow.types.schema import AnyType, ColSpec, ParamSchema, ParamSpec, Schema

from bat import encoder, pricer, records, units
from bat.cli import InputError

REGISTERED_MODEL = "bat-pricer"
CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
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

    def register(self, folder: Path, tags: Mapping[str, str], description: str) -> str:
        """Log the pair as one pyfunc and give its new version the alias ``candidate``."""
        with _calm():
            logged = mlflow.pyfunc.log_model(
                name="pricer",
                python_model=str(SERVING_FILE),
                artifacts={"pricer": str(folder)},
                code_paths=[str(SERVING_FILE.parent)],
                signature=TEXT_TO_PRICE,
                pip_requirements=_requirements(),
            )
            version = mlflow.register_model(logged.model_uri, REGISTERED_MODEL, tags=dict(tags))
        client = mlflow.MlflowClient()
        client.update_model_version(REGISTERED_MODEL, version.version, description)
        client.set_registered_model_alias(REGISTERED_MODEL, CANDIDATE, version.version)
        return str(version.version)

    def champion(self) -> records.Standing | None:
        """Say which pair is served now, if there is one."""
        version = _aliased(CHAMPION)
        if version is None:
            return None
        tags = mlflow.MlflowClient().get_model_version(REGISTERED_MODEL, version).tags
        return records.Standing(version, tags)

    def fetch(self, version: str) -> Path:
        """Fetch the folder of a registered pair."""
        return pricer_folder(f"models:/{REGISTERED_MODEL}/{version}")

    def promote(self, version: str, *, instead_of: str | None) -> bool:
        """Serve a version; False where the champion is no longer the one it was compared with."""
        with units.lock("registry"):
            if _aliased(CHAMPION) != instead_of:
                return False
            _crown(version)
            return True

    def compared(self, rows: str) -> int:
        """Count one more comparison on the test rows of that digest; return those before."""
        client, name = mlflow.MlflowClient(), f"{COMPARED}{rows[:DIGEST_LETTERS]}"
        with units.lock("registry"):
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
        version = asked if asked.isdigit() else _aliased(asked)
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


def pricer_folder(model: str) -> Path:
    """Find the folder of a pair by its ``models:/`` address; a folder stays as it is.

    Raises:
        InputError: no pair is there.
    """
    top = Path(resolve(model))
    folder = top if (top / pricer.REGRESSOR_FOLDER).is_dir() else top.parent
    if not (folder / pricer.REGRESSOR_FOLDER).is_dir():
        raise InputError(
            f"model={model!r}, which holds no encoder and regressor",
            f"a pair that a study registered, such as models:/{REGISTERED_MODEL}@{CHAMPION}",
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
