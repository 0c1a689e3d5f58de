"""The folder of caches and unfinished work: where it lies, and what stands in its way.

``BAT_HOME`` names it. What the other modules of the floor put there is in ``locks.py``,
``drafts.py`` and ``units.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bat.cli import InputError

DAMAGED = ".damaged-"  # what the name of something set aside begins with
FULL = (errno.ENOSPC, errno.EDQUOT)  # a full disk: ``cli.main`` has its own sentence for that


def folder() -> Path:
    """Name the folder of caches and unfinished work: ``BAT_HOME``, else the user's cache.

    Raises:
        InputError: it is no full path: `mlflow run` may start in another folder each time.
    """
    chosen = os.environ.get("BAT_HOME", "")
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not chosen:  # its specification says to ignore a relative XDG_CACHE_HOME
        chosen = f"{caches if Path(caches).is_absolute() else '~/.cache'}/bat"
    try:
        path = Path(chosen).expanduser()
    except RuntimeError:  # nobody of that name
        path = Path(chosen)
    if not path.is_absolute():
        raise InputError(
            f"BAT_HOME={shown(path)!r}",
            "a full path, or one that begins with ~/: commands start in different folders",
            "name the folder from the root, for instance BAT_HOME=$HOME/.cache/bat",
        )
    return path


def shown(path: Path) -> str:
    """Spell a path for people; bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def explained() -> Iterator[None]:
    """Say in a sentence what is wrong with ``folder()`` where something cannot be written there."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or isinstance(error, BlockingIOError):
            raise
        place = folder()
        why = f"which cannot be used ({error.strerror}: {shown(Path(error.filename or place))})"
        if isinstance(error, FileExistsError) and error.filename == str(place):
            why = "a link that leads nowhere" if place.is_symlink() else "which is not a folder"
        raise InputError(
            f"the cache folder {shown(place)}, {why}",
            "a folder in which files can be made, renamed and locked",
            "name another with BAT_HOME, or mend this one",
        ) from error


def ensure(path: Path) -> None:
    """Make a folder below ``folder()``; something else in its place is set aside."""
    with explained():
        if path != folder() and os.path.lexists(path) and not path.is_dir():
            set_aside(path, "it is not a folder")
        path.mkdir(parents=True, exist_ok=True)


def top(path: Path) -> Path:
    """Name the folder in which ``path``, anywhere below it, may be hidden: that of its kind."""
    inside = path.relative_to(folder()).parts
    return folder() if len(inside) == 1 else folder() / inside[0]


def set_aside(path: Path, why: str) -> None:
    """Take what is damaged out of the way, and say so."""
    name = f"{DAMAGED}{path.name.lstrip('.')}-{uuid.uuid4().hex[:8]}"
    with explained(), contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(top(path) / name)
        sys.stderr.write(
            f"warning: {shown(path)} in the cache is damaged: {why}. It is set aside as {name}, "
            "and made again.\n"
        )
