"""A study's units on a Ray cluster: computed there, and kept in this machine's cache.

Each task runs what the study itself would run, in an empty cache on the machine it comes to, and
sends the finished units back. This process, the driver, puts them into its own cache, where the
study finds them; it alone reads the corpus and writes to MLflow, and no disk is shared. Where a
machine dies its tasks are run again, and a driver that is started again goes on from its cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import os
import shutil
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bat import cli, encoder, mlm, study, units
from bat.encoder import Embeddings, Encoder
from bat.study import Asked, Pass, Prepared

SHARD_TEXTS = 10_000  # distinct texts that one task embeds: some three minutes of two cores
PATIENCE_SECONDS = 60.0  # after which a silent cluster is asked whether it still has the room
ERROR_CHARACTERS = 300  # of Ray's own words
PACKAGES = (
    "torch", "transformers", "tokenizers", "sentence-transformers",
    "xgboost", "scikit-learn", "optuna", "numpy", "scipy",
)  # fmt: skip
Shard = tuple[list[int], Embeddings, float]  # places among the distinct texts, rows, seconds


@dataclass(frozen=True)
class Job:
    """What every task needs; it lies once in the cluster's object store."""

    base: bytes  # the factory encoder's folder, packed
    name: str
    prepared: Prepared
    asked: Asked
    begins: str  # the driver's ``units.APART``
    threads: int
    kind: tuple[str, ...]  # device, precision, versions: other ones would give other digits


@dataclass
class _Ahead:
    """What has been asked of the cluster, and what to do with the answers that are not here yet."""

    base: Encoder
    prepared: Prepared
    asked: Asked
    needs: dict[str, int]  # what one unit takes, in Ray's words
    remote: Callable[..., Any]  # submits a task; gives a reference to what will be its answer
    put: Callable[[Any], Any]  # lays a value into the cluster's object store
    arrivals: dict[Any, Callable[[bytes], None]] = field(default_factory=dict)
    arms: dict[tuple[int, int], list[Any]] = field(default_factory=dict)  # by seed and size
    baselines: list[Any] = field(default_factory=list)
    folders: dict[tuple[int, int], Path] = field(default_factory=dict)  # of encoders, like the arms
    trunks: dict[int, list[Path]] = field(default_factory=dict)  # checkpoints by seed

    def expect(self, reference: Any, arrive: Callable[[bytes], None]) -> Any:
        """Note what is to be done with an answer."""
        self.arrivals[reference] = arrive
        return reference


@contextlib.contextmanager
def tuner(base: Encoder, prepared: Prepared, asked: Asked) -> Iterator[study.Tuner]:
    """Compute the units of a study on the cluster that ``RAY_ADDRESS`` names, or on one made here.

    All that the cache lacks is asked for at once, and each unit starts when what it needs is there.
    A unit takes as many processor cores as this process would, so that its numbers are the same,
    and one GPU if this process has some.

    Yields:
        What ``study.run`` takes as ``tuned_by``.

    Raises:
        InputError: Ray is not installed or not to be reached, its machines have no room for a unit
            or compute in another way than this one, or those of one unit died again and again.
    """
    ray = _connect()
    try:
        ahead = _submit(ray, base, prepared, asked)
        with cli.bar("units on the cluster", len(ahead.arrivals), "unit") as bar:
            yield functools.partial(_tuned, ray, ahead, bar)
    finally:
        ray.shutdown()


def _connect() -> Any:
    """Join the cluster of ``RAY_ADDRESS``, or start one here; its workers get this package."""
    try:
        import ray
    except ImportError:
        raise cli.InputError(
            "executor=ray without Ray",
            "the package ray beside the others",
            "in the project's folder: pip install '.[ray]'",
        ) from None
    address = os.environ.get("RAY_ADDRESS") or "local"
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            runtime_env={
                "py_modules": [str(Path(__file__).parent)],
                "env_vars": {"TQDM_DISABLE": "1"},  # the driver has a bar for all
            },
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise cli.InputError(
            f"RAY_ADDRESS={address} ({' '.join(str(error).split())[:ERROR_CHARACTERS]})",
            "the address of a Ray cluster that runs and that this machine has joined",
            "start the cluster; set RAY_AUTH_MODE=token, with its token here, if it asks for one; "
            "or leave RAY_ADDRESS out to start a cluster on this machine",
        ) from None
    signal.signal(signal.SIGTERM, on_term)  # Ray's own would end the study without a word
    return ray


def _submit(ray: Any, base: Encoder, prepared: Prepared, asked: Asked) -> _Ahead:
    """Ask the cluster for all units that the cache lacks."""
    gpus = int(encoder.device().type == "cuda")
    cores = [
        each.get("CPU", 0) // (each["GPU"] if gpus else 1)
        for each in _machines(ray)
        if each.get("GPU", 0) >= gpus
    ]
    threads = max(1, min(torch.get_num_threads(), int(max(cores, default=1))))
    needs = {"CPU": threads, "GPU": gpus}
    _refuse_small(ray, needs)
    job = ray.put(
        Job(
            base=_packed(base.folder),
            name=base.name,
            prepared=prepared,
            asked=asked,
            begins=units.APART.get(),
            threads=threads,
            kind=_kind(),
        )
    )

    def remote(task: Callable[..., Any], *arguments: Any) -> Any:
        return ray.remote(num_cpus=threads, num_gpus=gpus)(task).remote(job, *arguments)

    ahead = _Ahead(base, prepared, asked, needs, remote, ray.put)
    laid_out = functools.cache(lambda: _shards(ahead))  # only where an embedding lacks
    of_factory = functools.cache(lambda: _parts(ahead, base, None, laid_out))
    for seed in asked.seeds:
        _submit_seed(ahead, seed, laid_out, of_factory)
    for name in asked.baselines:
        at = study.baseline_folder(name, base, prepared, trials=asked.trials, seed=asked.seeds[0])
        if not at.exists():
            ahead.baselines.append(ahead.expect(remote(_baseline, name), _arrive))
    return ahead


def _machines(ray: Any) -> list[dict[str, float]]:
    """List what each machine that lives has, in Ray's words."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _refuse_small(ray: Any, needs: dict[str, int]) -> None:
    """Refuse a cluster none of whose machines has room for one unit: Ray would wait for ever.

    Raises:
        InputError: the machine that had the room is gone, or none ever had it.
    """
    if not any(all(has.get(name, 0) >= n for name, n in needs.items()) for has in _machines(ray)):
        raise cli.InputError(
            f"a cluster without a machine of {needs['CPU']} cores and {needs['GPU']} GPUs",
            "one at least, as where the study was started",
            "add one, or start the study with a smaller OMP_NUM_THREADS; what is finished is kept",
        )


def _shards(ahead: _Ahead) -> list[Any]:
    """Share the batches of all texts out, each share in the object store."""
    laid_out = encoder.lay_out(ahead.base, ahead.prepared.corpus.texts)
    count = min(len(laid_out), math.ceil(sum(map(len, laid_out)) / SHARD_TEXTS))
    return [ahead.put(laid_out[number::count]) for number in range(count)]  # long texts to each


def _submit_seed(
    ahead: _Ahead, seed: int, laid_out: Callable[[], list[Any]], of_factory: Callable[[], list[Any]]
) -> None:
    """Ask for what the arms of a seed lack.

    Args:
        ahead: takes the notes.
        seed: of the arms.
        laid_out: gives the shares of the texts.
        of_factory: gives the shards of the factory's embeddings.
    """
    if 0 in ahead.asked.sizes:
        _submit_evaluation(ahead, seed, 0, ahead.base, None, of_factory())
    others = of_factory() if study.beside_tuned(ahead.base, ahead.asked) else []
    for one in study.passes(ahead.base, ahead.prepared, ahead.asked, seed):
        for size, source in _submit_pass(ahead, one).items():
            ahead.arms[seed, size] = [source]
            opened, folder = None, ahead.folders[seed, size]
            if folder.exists():
                opened = encoder.open_encoder(str(study.read_tuned(folder).folder))
            parts = _parts(ahead, opened, source, laid_out)
            _submit_evaluation(ahead, seed, size, opened, source, parts, others)


def _submit_pass(ahead: _Ahead, one: Pass) -> dict[int, Any]:
    """Ask for the encoders that a pass lacks: its trunk piece by piece, a branch off each piece.

    Where its trunk and its encoders come to lie is noted.

    Returns:
        For each size the reference to its encoder, packed.
    """
    checkpoint, folders = study.places(ahead.base, one)
    ahead.trunks.setdefault(one.recipe.seed, []).append(checkpoint)
    ahead.folders |= {(one.recipe.seed, size): folder for size, folder in folders.items()}
    missing = [size for size in one.sizes if not folders[size].exists()]
    texts = ahead.put(one)
    states: dict[int, list[Any]] = {}
    before: list[Any] = []
    files = {size: checkpoint.with_stem(f"{checkpoint.stem}-{size}") for size in one.sizes}
    for size, at in files.items() if missing and len(one.sizes) > 1 else ():
        if at.exists():  # also that of a size whose encoder is here: the next piece starts there
            before = [at]
        if size in missing:
            before = [ahead.put(b.read_bytes()) if isinstance(b, Path) else b for b in before]
            if not at.exists():
                asked_for = ahead.remote(_trunk, texts, size, *before)
                before = [ahead.expect(asked_for, functools.partial(units.write, at))]
            states[size] = before
    sources = {}
    for size in one.sizes:
        if size in missing:
            asked_for = ahead.remote(_branch, texts, size, *states.get(size, ()))
            sources[size] = ahead.expect(asked_for, _arrive)
        else:
            sources[size] = ahead.put(_packed(units.home(), f"encoders/{folders[size].name}"))
    return sources


def _parts(
    ahead: _Ahead, opened: Encoder | None, source: Any, laid_out: Callable[[], list[Any]]
) -> list[Any]:
    """Refer to the shards of one embedding: as this machine has it, or asked of the cluster."""
    here = _rows_here(ahead, opened)
    return here or [ahead.remote(_embedding, source, share) for share in laid_out()]


def _rows_here(ahead: _Ahead, opened: Encoder | None) -> list[Any]:
    """Lay embeddings that this machine has into the object store: one shard, or none."""
    texts = ahead.prepared.corpus.texts
    if opened is None or not encoder.is_kept(opened, texts):
        return []
    rows = np.asarray(encoder.embed(opened, list(dict.fromkeys(texts))))
    shard: Shard = (list(range(len(rows))), rows, encoder.embedding_seconds(opened, texts))
    return [ahead.put(shard)]


def _submit_evaluation(
    ahead: _Ahead,
    seed: int,
    size: int,
    opened: Encoder | None,
    source: Any,
    parts: Sequence[Any],
    others: Sequence[Any] = (),
) -> None:
    """Ask for one arm's regressor, unless this machine has it; ``others``: the factory's shards."""
    prepared, trials = ahead.prepared, ahead.asked.trials
    beside = ahead.base if others else None
    read = [each for each in (opened, beside) if each]
    if opened is not None and all(encoder.is_kept(e, prepared.corpus.texts) for e in read):
        rows = encoder.features(opened, beside, prepared.corpus.texts)
        if study.evaluation_folder(rows, prepared, trials=trials, seed=seed).exists():
            return
    asked_for = ahead.remote(_evaluation, source, seed, len(others), *others, *parts)
    ahead.arms.setdefault((seed, size), []).append(ahead.expect(asked_for, _arrive))


def _tuned(ray: Any, ahead: _Ahead, bar: Any, seed: int) -> Iterator[study.TunedFolder | None]:
    """Wait for one size after the other; with the last of all, for the baselines too."""
    for size in ahead.asked.sizes:
        waiting = list(ahead.arms.pop((seed, size), ()))  # their room in the cluster is then free
        if (seed, size) == (ahead.asked.seeds[-1], ahead.asked.sizes[-1]):
            waiting += ahead.baselines
        while any(each in ahead.arrivals for each in waiting):
            done, _ = ray.wait(list(ahead.arrivals), num_returns=1, timeout=PATIENCE_SECONDS)
            for each in done:
                ahead.arrivals.pop(each)(_answer(ray, each))
                bar.update(1)
            if not done:
                _refuse_small(ray, ahead.needs)
        if size == ahead.asked.sizes[-1]:
            for checkpoint in ahead.trunks.get(seed, ()):
                study.forget_trunk(checkpoint)
        yield study.read_tuned(ahead.folders[seed, size]) if size else None


def _answer(ray: Any, reference: Any) -> bytes:
    """Fetch an answer; what a task has raised is raised here."""
    try:
        answer: bytes = ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)  # of what a task has raised
        if isinstance(cause, cli.InputError):
            raise cause from None
        if cause is not None and not isinstance(cause, ray.exceptions.RayError):
            raise RuntimeError(f"a unit failed on the cluster:\n{error}") from None
        raise cli.InputError(
            f"a unit that the cluster gave up ({str(cause or error).splitlines()[0]})",
            "machines that live, with memory for the unit",
            "look at the cluster (ray status); the same command goes on from what is finished",
        ) from None
    return answer


def _kind() -> tuple[str, ...]:
    """Name all of a machine that decides about digits, but its make and its threads."""
    versions = (f"{name} {metadata.version(name)}" for name in PACKAGES)
    return encoder.device().type, str(mlm.precision("auto")), *versions


def _packed(top: Path, below: str = "") -> bytes:
    """Put a folder's files, or those of one folder below it, into a zip, as they are."""
    buffer = io.BytesIO()
    # No tar: Python 3.11 before 3.11.4 cannot unpack one with its paths held inside the folder.
    with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
        for path in sorted((top / below).rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(top))
    return buffer.getvalue()


def _unpack(packed: bytes, top: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(top)


def _arrive(packed: bytes) -> None:
    """Put units that were finished elsewhere into this machine's cache."""
    units.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=units.home(), prefix=".arrived-") as top:
        _unpack(packed, Path(top))
        # Backwards, since an embedding's seconds must be there before its rows.
        for each in sorted(Path(top).glob("*/*"), reverse=True):
            kind = each.parent.name
            if each.is_file():
                units.write(units.home() / kind / each.name, each.read_bytes())
            else:
                units.build(kind, each.name, functools.partial(_move, each))


def _move(source: Path, folder: Path) -> None:
    for each in source.iterdir():
        each.rename(folder / each.name)


@contextlib.contextmanager
def _workplace(job: Job) -> Iterator[tuple[Path, Encoder]]:
    """Give a task an empty cache, and the factory encoder, on the machine it has come to.

    Raises:
        InputError: the machine computes in another way than the driver.
    """
    if (found := _kind()) != job.kind:
        raise cli.InputError(
            f"a machine of the cluster with {', '.join(a for a in found if a not in job.kind)}",
            f"{', '.join(b for b in job.kind if b not in found)}, as where the study was started: "
            "the numbers would differ",
            "start the study on a machine like those that shall work for it",
        )
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    torch.set_num_threads(job.threads)
    name = hashlib.sha256(job.base).hexdigest()
    received = units.build("received", name, functools.partial(_unpack, job.base))
    base = _open_once(str(received), job.name)
    before = os.environ.get("BAT_HOME")
    with tempfile.TemporaryDirectory() as top, units.apart(job.begins):
        os.environ["BAT_HOME"] = top
        try:
            yield Path(top), base
        finally:
            del os.environ["BAT_HOME"]
            os.environ |= {} if before is None else {"BAT_HOME": before}


@functools.lru_cache(maxsize=1)
def _open_once(folder: str, name: str) -> Encoder:
    """Open the factory encoder, which no task changes, once in a process."""
    return encoder.open_encoder(folder, name=name)


def _trunk(job: Job, one: Pass, size: int, *before: bytes) -> bytes:
    """Task: run a trunk on, from where an earlier size leaves it to where this one does."""
    with _workplace(job) as (_, base):
        checkpoint, _ = study.places(base, one)
        for state in before:
            units.write(checkpoint, state)
        return mlm.trunk_state(
            base, one.texts, one.sizes, one.recipe, size,
            held_out=one.held_out, checkpoint=checkpoint,
        )  # fmt: skip


def _branch(job: Job, one: Pass, size: int, *state: bytes) -> bytes:
    """Task: finish one encoder, from where its branch leaves the trunk."""
    with _workplace(job) as (home, base):
        checkpoint, _ = study.places(base, one)
        for each in state:
            units.write(checkpoint, each)
        list(study.tune(base, one, [size]))
        return _packed(home, "encoders")


def _opened(home: Path, base: Encoder, source: bytes | None) -> Encoder:
    """Open the encoder that ``_branch`` has packed, or else the factory's."""
    if source is None:
        return base
    _unpack(source, home)
    (folder,) = home.glob("encoders/*/encoder")
    return encoder.open_encoder(str(folder))


def _embedding(job: Job, source: bytes | None, share: list[list[tuple[int, encoder.Ids]]]) -> Shard:
    """Task: embed a share of the texts."""
    with _workplace(job) as (home, base):
        opened = _opened(home, base, source)
        began = time.monotonic()
        rows = encoder.encode_batches(opened, share)
        places = [index for batch in share for index, _ in batch]
        return places, rows, time.monotonic() - began


def _evaluation(job: Job, source: bytes | None, seed: int, n_others: int, *parts: Shard) -> bytes:
    """Task: put the shards of an embedding together, and find the regressor for it.

    The first ``n_others`` shards are the factory's, whose embedding then stands beside.
    """
    with _workplace(job) as (home, base):
        opened, texts = _opened(home, base, source), job.prepared.corpus.texts
        _keep(opened, texts, parts[n_others:])
        if n_others:
            _keep(base, texts, parts[:n_others])
        rows = encoder.features(opened, base if n_others else None, texts)
        study.evaluate(rows, job.prepared, trials=job.asked.trials, seed=seed, what="")
        shutil.rmtree(home / "encoders", ignore_errors=True)  # the driver has it already
        shutil.rmtree(home / "locks", ignore_errors=True)
        return _packed(home)


def _keep(opened: Encoder, texts: Sequence[str], parts: Sequence[Shard]) -> None:
    """Put the shards of one embedding where ``encoder.embed`` looks for it."""
    places = np.concatenate([places for places, _, _ in parts])
    rows = np.empty((len(places), opened.dimension), np.float32)
    rows[places] = np.concatenate([rows for _, rows, _ in parts])
    encoder.keep(opened, texts, rows, sum(seconds for _, _, seconds in parts))


def _baseline(job: Job, name: str) -> bytes:
    """Task: evaluate one baseline."""
    with _workplace(job) as (home, base):
        trials, seed = job.asked.trials, job.asked.seeds[0]
        study.baseline(name, base, job.prepared, trials=trials, seed=seed)
        return _packed(home, "baselines")
