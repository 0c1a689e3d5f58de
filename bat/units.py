"""Work units keyed by their inputs: run once, kept whole or not at all, shared between runs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import TextIO

APART: ContextVar[str] = ContextVar("apart", default="")  # what the names of units begin with


def home() -> Path:
    """Name the folder of caches and unfinished work: ``BAT_HOME``, else the user's cache."""
    if chosen := os.environ.get("BAT_HOME"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bat"


def key(**inputs: object) -> str:
    """Name a unit by everything its result depends on: 32 hex digits, the same on every machine."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return APART.get() + hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def apart(begins: str) -> Iterator[None]:
    """Begin the names of units with some letters, or with more, while the block lasts."""
    token = APART.set(APART.get() + begins)
    try:
        yield
    finally:
        APART.reset(token)


@contextmanager
def afresh() -> Iterator[None]:
    """Find nothing that was done before, and leave nothing to be found, while the block lasts."""
    begins = f"apart-{uuid.uuid4().hex[:8]}-"
    try:
        with apart(begins):
            yield
    finally:
        for path in home().glob(f"*/*{begins}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest(texts: Iterable[str]) -> str:
    """Fingerprint texts as they are spelt and in their order: 64 hexadecimal digits."""
    total = hashlib.sha256()
    for text in texts:
        total.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return total.hexdigest()


def _hidden(path: Path) -> Path:
    """Name what is not good yet, or no longer, beside a path: no two are ever alike."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def write(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a machine that loses power, sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _hidden(path)
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def lock(name: str, how: int = fcntl.LOCK_EX) -> Iterator[TextIO]:
    """Let one process at a time do the work called ``name``; the others wait, then find it done.

    Args:
        name: of the work.
        how: ``fcntl.LOCK_SH`` for what several may do together.

    Yields:
        The file that is locked.
    """
    path = home() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield file


@contextmanager
def in_use() -> Iterator[Callable[[Iterable[Path]], bool]]:
    """Let no other process remove a finished folder while the block lasts.

    Yields:
        What removes folders itself; it returns False, and removes none, while others use them.
    """
    with lock("in-use", fcntl.LOCK_SH) as file:

        def remove(folders: Iterable[Path]) -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            for each in folders:
                gone = _hidden(each)
                each.rename(gone)  # at once, or a killed process would leave half of it
                shutil.rmtree(gone)
            return True

        yield remove


def folder(kind: str, unit: str) -> Path:
    """Say where the finished folder of a unit is, or would be; it exists only when complete."""
    return home() / kind / unit


def build(kind: str, unit: str, fill: Callable[[Path], None]) -> Path:
    """Fill the folder of a unit once; a folder half filled is never seen under its name.

    Args:
        kind: the sub-folder of ``home()``: one for each stage.
        unit: what ``key`` returned.
        fill: writes the files into the empty folder it is given.

    Returns:
        The finished folder.
    """
    done = folder(kind, unit)
    with lock(f"{kind}-{unit}"):
        if not done.exists():
            draft = _hidden(done)
            draft.mkdir(parents=True)
            try:
                fill(draft)
                _sync(draft)
                draft.rename(done)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return done


def _sync(top: Path) -> None:
    """Flush every file below a folder to the disk before its name is made good."""
    for path in [*top.rglob("*"), top]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def own_code() -> str:
    """Fingerprint the whole package."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return digest(path.read_text() for path in sources)[:16]


def code(*modules: ModuleType) -> str:
    """Fingerprint modules, so that a unit made by older code is never taken for today's."""
    sources = [Path(str(module.__file__)).read_bytes() for module in modules]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
