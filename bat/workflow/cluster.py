"""Tasks run on a Ray cluster, and what they make kept in this machine's cache. Transport alone.

Each task runs as it would here, in an empty cache on the machine that it comes to, and sends its
finished unit back. This process, the driver, puts it into its own cache; it alone reads the corpus
and writes to MLflow, and no disk is shared. Where a machine dies its tasks are run again, and a
driver that is started again goes on from its cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import signal
import tempfile
import time
import uuid
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from bat import cli, drafts, units
from bat.models import encoder, encoder_opening
from bat.tuning import loop, precision
from bat.workflow import tasks
from bat.workflow.preparation import Prepared
from bat.workflow.spec import StudySpec
from bat.workflow.tasks import Context, Done, Task

PATIENCE_SECONDS = 60.0  # after which a silent cluster is asked whether it still has the room
RECEIVED = "encoder"  # folder of what came with a job, in its unit
ERROR_CHARACTERS = 300  # of Ray's own words
LIBRARIES = sorted({name for kind in units.KINDS for name in kind.libraries})


@dataclass(frozen=True)
class Job:
    """What every task needs; it lies once in the cluster's object store."""

    base: bytes  # the factory encoder's folder, packed
    name: str
    prepared: Prepared
    spec: StudySpec
    token: str  # by which a machine knows the job again
    threads: int
    kind: tuple[str, ...]  # device and versions: other ones would give other digits
    precision: str  # of all units; each machine by itself might measure another one as faster


def execute(context: Context, wanted: Sequence[Task]) -> Generator[Done, None, None]:
    """Run what some tasks lack on the cluster that ``RAY_ADDRESS`` names, or on one made here.

    All that the cache lacks is sent at once, and each task starts when what it needs is there. A
    task takes as many processor cores as this process would, so that its numbers are the same, and
    one GPU if this process has some.

    Args:
        context: what all tasks share.
        wanted: tasks; what they need is run before them.

    Yields:
        Each task that was run, and each that was wanted and found finished; those wanted come in
        their order.

    Raises:
        InputError: Ray is not installed or not to be reached, its machines have no room for a task
            or compute in another way than this one, or those of one task died again and again.
    """
    todo, began = tasks.missing(wanted), time.time()
    ray = _connect()
    try:
        needs = _room(ray)
        arrivals = _submit(ray, context, todo, needs)
        with cli.bar("units on the cluster", len(todo), "unit") as bar:
            own, sent = {task.unit for task in wanted}, {task.unit for task in todo}
            for task in wanted:
                if task.unit not in sent:
                    tasks.leave(task, arrivals.values())  # a killed command may not have come to it
                while any(each.unit == task.unit for each in arrivals.values()):
                    arrived = _wait(ray, arrivals, needs)
                    bar.update(len(arrived))
                    yield from (Done(each, began) for each in arrived if each.unit not in own)
                yield Done(task, began if task.unit in sent else None)
    finally:
        ray.shutdown()


def require_ray() -> Any:
    """Import Ray, which is an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise cli.InputError(
            "executor=ray without Ray",
            "the package ray beside the others",
            "in the project's folder: pip install '.[ray]'",
        ) from None
    return ray


def _connect() -> Any:
    """Join the cluster of ``RAY_ADDRESS``, or start one here; its workers get this package."""
    ray = require_ray()
    address = os.environ.get("RAY_ADDRESS") or "local"
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            runtime_env={
                "py_modules": [str(Path(__file__).parents[1])],
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


def _room(ray: Any) -> dict[str, int]:
    """Tell what a task takes, in Ray's words.

    Raises:
        InputError: no machine of the cluster has that.
    """
    gpus = int(encoder.device().type == "cuda")
    cores = [
        each.get("CPU", 0) // (each["GPU"] if gpus else 1)
        for each in _machines(ray)
        if each.get("GPU", 0) >= gpus
    ]
    threads = max(1, min(torch.get_num_threads(), int(max(cores, default=1))))
    needs = {"CPU": threads, "GPU": gpus}
    _refuse_small(ray, needs)
    return needs


def _submit(
    ray: Any, context: Context, todo: Sequence[Task], needs: dict[str, int]
) -> dict[Any, Task]:
    """Send tasks to the cluster, each with references to what it needs.

    Returns:
        The tasks, by the references to what will be their units, packed.
    """
    base = context.base
    job = ray.put(
        Job(
            base=_packed(base.folder),
            name=base.name,
            prepared=context.prepared,
            spec=context.spec,
            token=uuid.uuid4().hex,
            threads=needs["CPU"],
            kind=_kind(),
            precision=precision.name_of(loop.precision("auto")),
        )
    )
    sent: dict[units.Unit, Any] = {}
    arrivals = {}
    for task in todo:
        for need in task.needs:
            if need.unit not in sent:  # finished before: it is in this machine's cache
                sent[need.unit] = ray.put(_packed(need.unit.folder))
        remote = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"])(_run)
        named = remote.options(name=task.run.__name__)
        near = tuple(dataclasses.replace(need, needs=()) for need in task.needs)
        alone = dataclasses.replace(task, needs=near)
        sent[task.unit] = named.remote(job, alone, *(sent[need.unit] for need in task.needs))
        arrivals[sent[task.unit]] = task
    return arrivals


def _wait(ray: Any, arrivals: dict[Any, Task], needs: dict[str, int]) -> list[Task]:
    """Wait until a task is done, or for a while, and keep what it has made.

    Returns:
        What has arrived; its references are no longer among ``arrivals``, so that its room in the
        cluster is free when no other task needs it.
    """
    done, _ = ray.wait(list(arrivals), num_returns=1, timeout=PATIENCE_SECONDS)
    arrived = []
    for reference in done:
        packed = _answer(ray, reference)
        task = arrivals.pop(reference)
        _arrive(task.unit, packed)
        tasks.leave(task, arrivals.values())
        arrived.append(task)
    if not done:
        _refuse_small(ray, needs)
    return arrived


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
    versions = (f"{name} {metadata.version(name)}" for name in LIBRARIES)
    return encoder.device().type, *versions


def _packed(folder: Path) -> bytes:
    """Put all of a folder into a zip, as it is."""
    buffer = io.BytesIO()
    # No tar: Python 3.11 before 3.11.4 cannot unpack one with its paths held inside the folder.
    with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def _unpack(packed: bytes, top: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(top)


def _arrive(unit: units.Unit, packed: bytes) -> None:
    """Put a unit that was finished elsewhere into this machine's cache.

    Raises:
        RuntimeError: it was damaged on its way.
    """
    with drafts.draft() as top:
        _unpack(packed, top)
        units.adopt(unit, top)


@contextlib.contextmanager
def _workplace(job: Job) -> Iterator[Context]:
    """Give a task an empty cache, and what all tasks share, on the machine it has come to.

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
    unit = units.unit(units.RECEIVED, packed=hashlib.sha256(job.base).hexdigest())
    # In a folder of its own: copies of the encoder shall not hold what seals the unit.
    received = units.build(unit, lambda folder: _unpack(job.base, folder / RECEIVED))
    context = _unpacked_once(job, received / RECEIVED)
    before = os.environ.get("BAT_HOME")
    taken = precision.fixed(job.precision)
    with tempfile.TemporaryDirectory() as top, taken:
        os.environ["BAT_HOME"] = top
        try:
            yield context
        finally:
            del os.environ["BAT_HOME"]
            os.environ |= {} if before is None else {"BAT_HOME": before}


_CONTEXTS: dict[str, Context] = {}  # by the token of their job; one at most


def _unpacked_once(job: Job, received: Path) -> Context:
    """Open the factory encoder, which no task changes, once in a process."""
    if job.token not in _CONTEXTS:
        _CONTEXTS.clear()
        base = encoder_opening.open_encoder(str(received), name=job.name)
        _CONTEXTS[job.token] = Context(base, job.prepared, job.spec)
    return _CONTEXTS[job.token]


def _run(job: Job, task: Task, *needs: bytes) -> bytes:
    """Run a task on the machine it has come to; its unit, packed."""
    with _workplace(job) as context:
        for need, packed in zip(task.needs, needs, strict=True):
            _arrive(need.unit, packed)
        folders = [need.unit.folder for need in task.needs]
        fill = functools.partial(task.run, context, task.arguments, folders)
        return _packed(units.build(task.unit, fill))
