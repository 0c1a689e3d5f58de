"""Locks between the processes of one machine, and whether the process that left something lives.

Source:
    flock(2): a lock ends with its process, however that ends. The package filelock was looked at
    (4.3): it polls, shares by an SQLite file that cannot turn exclusive, and keeps its files.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import os
import platform
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bat import home
from bat.cli import InputError

LOCKS = "locks"  # the folder of locks


def _open(name: str, how: int) -> int:
    """Lock a file below ``home.folder()``; links are not followed, its content is not touched.

    Raises:
        BlockingIOError: ``how`` says not to wait, and another process has it.
        InputError: there is no plain file, or the folder cannot be used.
    """
    path = home.folder() / LOCKS / name
    while True:
        home.ensure(path.parent)
        if path.is_symlink():
            raise InputError(
                f"the link {home.shown(path)} in the place of a lock",
                "a plain file, or none: locks do not follow links",
                "remove the link",
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with home.explained():
            handle = os.open(path, flags, 0o666)
        try:
            with home.explained():
                fcntl.flock(handle, how)
            if _is_still(handle, path):  # else it was swept while we waited: take the new one
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """Tell whether an open file is the one that has a name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def lock(name: str, how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Let one process at a time do the work called ``name``; the others wait, then find it done.

    Args:
        name: of the work.
        how: ``fcntl.LOCK_SH`` for what several may do together.

    Yields:
        The handle of the file that is locked.

    Raises:
        InputError: a link stands in its place, or ``home.folder()`` cannot be used.
    """
    handle = _open(name, how)
    try:
        yield handle
    finally:
        os.close(handle)


@dataclass
class _Alive:
    """What tells others that this process lives: a lock that ends with it."""

    place: Path
    token: str
    handle: int
    process: int


_ALIVE: list[_Alive] = []  # one at most
_GUARD = threading.Lock()


@functools.cache
def machine() -> str:
    """Name this machine since it was started: what ran on it before is as foreign as another's."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = boot.read_text() if boot.exists() else platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def token() -> str:
    """Name this process in what it has not finished, and hold the lock that says it lives."""
    with _GUARD:
        for each in _ALIVE:
            at = home.folder() / LOCKS / alive(each.token)
            if each.place == home.folder() and _is_still(each.handle, at):
                return each.token
            _release()
        name = f"{machine()}-{uuid.uuid4().hex[:8]}"
        handle = _open(alive(name), fcntl.LOCK_EX)
        _ALIVE.append(_Alive(home.folder(), name, handle, os.getpid()))
        return name


def alive(name: str) -> str:
    """Name the lock that a process holds while it lives, by the name that ``token`` gave it."""
    return f"alive-{name}"


@atexit.register
def _release() -> None:
    """Let go of the lock that says that this process lives."""
    while _ALIVE:
        each = _ALIVE.pop()
        if each.process == os.getpid():  # a forked process shares its parent's
            (each.place / LOCKS / alive(each.token)).unlink(missing_ok=True)
        os.close(each.handle)


def is_free(name: str) -> bool:
    """Tell whether nobody holds a lock, and remove its file if so."""
    try:
        handle = _open(name, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, InputError):
        return False
    (home.folder() / LOCKS / name).unlink(missing_ok=True)  # who waits for it sees that it has gone
    os.close(handle)
    return True
