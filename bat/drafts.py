"""Files and folders that appear finished or not at all, and the removal of what was left half done.

A draft's name says which process makes it, so that a later command can tell a draft at work from
one whose process was killed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bat import home, locks

DRAFT = ".draft-"  # what the names of such files and folders begin with


def _hidden(top: Path) -> Path:
    """Name something in a folder that is not good yet, or no longer: no two are ever alike."""
    return top / f"{DRAFT}{locks.token()}-{uuid.uuid4().hex[:8]}"


@contextmanager
def draft(top: Path | None = None) -> Iterator[Path]:
    """Give an empty folder below ``home.folder()``; it is removed, also if this process is killed.

    Args:
        top: the folder in which to make it; ``home.folder()`` when left out.
    """
    top = home.folder() if top is None else top
    home.ensure(top)
    folder = _hidden(top)
    with home.explained():
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or folder at once, or a killed process would leave half of it."""
    gone = _hidden(home.top(path))
    with home.explained():
        path.rename(gone)
    delete(gone)


def delete(path: Path) -> None:
    """Remove a file, a link, or as much of a folder as may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a machine that loses power, sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _hidden(path.parent)
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)
