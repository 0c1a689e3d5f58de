"""What lies in the cache, by kind, size and age; its use, and the removal of what is not wanted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bat import drafts, home, locks, units
from bat.cli import InputError

DRAFTS, DAMAGED, OTHER = "drafts", "damaged", "other"
OURS = re.compile(r"\.?(apart-[-0-9a-f]*-)?[0-9a-f]{32}\b")  # how the name of a unit begins
DAY = 86400.0
IN_USE = "in-use"  # the lock of commands that use the cache
# Whether a process lives cannot be seen from another machine; no unit takes a week (convention).
OTHER_MACHINE_SECONDS = 7 * DAY


@dataclass(frozen=True)
class Entry:
    """Something that lies in the cache."""

    kind: str  # of a unit the folder of its kind; else drafts, damaged, or other
    path: Path
    size: int  # bytes on the disk
    made: float  # seconds since 1970


def entries() -> list[Entry]:
    """List what lies in the cache, its locks left out.

    Raises:
        InputError: there is no folder that can be read.
    """
    place = home.folder()
    found = []
    for path in _listed(place) if os.path.lexists(place) else ():
        if path.name == locks.LOCKS:
            continue
        if path.is_dir() and not path.name.startswith("."):
            found += [_entry(path.name, each) for each in _listed(path)]
        else:
            found.append(_entry("", path))
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"the cache folder {home.shown(folder)}, which cannot be read ({error.strerror})",
            "a folder",
            "name another with BAT_HOME, or mend this one",
        ) from error


def _entry(folder: str, path: Path) -> Entry:
    """Say what something is, by its own name and that of its folder."""
    kind = OTHER  # not ours, or not of this kind: shown, and never removed
    if path.name.startswith(drafts.DRAFT):
        kind = DRAFTS
    elif path.name.startswith(home.DAMAGED):
        kind = DAMAGED
    elif folder and OURS.match(path.name):
        kind = folder
    inside = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return Entry(kind, path, sum(map(_size, inside)), _made(path))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512  # the unit of st_blocks, see stat(2)
    except FileNotFoundError:  # of a draft that has gone meanwhile
        return 0


def _made(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


def text(found: Sequence[Entry]) -> str:
    """Write a table with a line for each kind."""
    lines = [f"Cache {home.shown(home.folder())}"]
    lines.append(f"{'kind':<20} {'number':>7} {'size':>10}  age in days")
    for kind in sorted({each.kind for each in found}):
        lines.append(_line(kind, [each for each in found if each.kind == kind]))
    lines.append(_line("in all", found))
    return "\n".join(lines)


def _line(name: str, found: Sequence[Entry]) -> str:
    ages = sorted((time.time() - each.made) / DAY for each in found)
    age = f"{ages[0]:.1f} to {ages[-1]:.1f}" if ages else ""
    return f"{name:<20} {len(found):>7,} {_bytes(sum(e.size for e in found)):>10}  {age}".rstrip()


def _bytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def chosen(found: Iterable[Entry], kind: str, older_than_days: float) -> list[Entry]:
    """Choose what is to be removed; what is not ours is never chosen.

    Args:
        found: what lies in the cache.
        kind: one of theirs, ``all``, or ``none``.
        older_than_days: younger entries stay.

    Raises:
        InputError: there is no such kind.
    """
    found = [each for each in found if each.kind != OTHER]
    known = {"none", "all", DRAFTS, DAMAGED}
    known |= {each.kind for each in found} | {each.name for each in units.KINDS}
    if kind not in known:
        raise InputError(f"remove={kind!r}", " or ".join(sorted(known)), "choose one for remove")
    before = time.time() - older_than_days * DAY
    return [each for each in found if kind in (each.kind, "all") and each.made <= before]


def remove(unwanted: Sequence[Entry]) -> None:
    """Remove entries of the cache, and idle locks.

    Raises:
        InputError: another command is using the cache.
    """
    with in_use() as removed:
        if not removed(each.path for each in unwanted):
            raise InputError(
                "a cache that another command is using",
                "one that nobody uses while its files are removed",
                "wait until that command has ended; nothing was removed",
            )


@contextmanager
def in_use() -> Iterator[Callable[[Iterable[Path]], bool]]:
    """Use the cache for a command: others remove no finished folder while the block lasts.

    What killed processes have left half done is removed first.

    Yields:
        What removes folders itself; it returns False, and removes none, while others use them.

    Raises:
        InputError: nothing can be written to ``home.folder()``.
    """
    with drafts.draft():  # seen before any work
        pass
    with locks.lock(IN_USE, fcntl.LOCK_SH) as handle:
        _sweep()

        def remove(folders: Iterable[Path]) -> bool:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(handle, fcntl.LOCK_SH)  # which asking for more has given up
                return False
            for each in folders:
                if os.path.lexists(each):
                    drafts.remove(each)
            fcntl.flock(handle, fcntl.LOCK_SH)
            return True

        yield remove


def _sweep() -> None:
    """Remove the drafts of processes that have died, what ``begun_anew`` left, and idle locks."""
    place = home.folder()
    patterns = (f"{drafts.DRAFT}*", f"*/{drafts.DRAFT}*", "*/apart-*")
    left = [path for pattern in patterns for path in place.glob(pattern)]
    for path in left:
        if path.parent.name != locks.LOCKS and _is_dead(path):
            with contextlib.suppress(OSError):  # of another user
                drafts.delete(path)
    for path in (place / locks.LOCKS).glob("*"):
        if path.name != IN_USE:  # which changes hands without being free in between
            locks.is_free(path.name)


def _is_dead(path: Path) -> bool:
    """Tell whether the process that left something half done is gone."""
    words = path.name.removeprefix(".").split("-")
    if len(words) < 4:  # not ours
        return False
    machine, run = words[1:3]
    try:
        age = time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return False
    known = machine == locks.machine() or age > OTHER_MACHINE_SECONDS
    return known and locks.is_free(locks.alive(f"{machine}-{run}"))
