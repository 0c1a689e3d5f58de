"""Ctrl-C and SIGTERM: a command ends by closing what it has open, and never in mid-transaction."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

TOGETHER_SECONDS = 2  # `mlflow run` hands a Ctrl-C on that has reached the command already


@dataclass
class _Stop:
    """A request to end that waits until something short is finished."""

    depth: int = 0  # of the blocks that are not to be broken off
    waiting: bool = False  # a request came meanwhile
    last: float = -math.inf  # when the last request came


_STOP = _Stop()


def _stop(number: int, frame: object) -> None:
    """Take a request to end as Ctrl-C is taken: runs are closed, and a message is shown."""
    before, _STOP.last = _STOP.last, time.monotonic()
    if _STOP.last - before < TOGETHER_SECONDS:
        return
    if _STOP.depth and not _STOP.waiting:  # who asks twice is in a hurry
        _STOP.waiting = True
        sys.stderr.write("\nstopping when this is logged; ask again to break off\n")
        return
    _STOP.waiting = False
    raise KeyboardInterrupt


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let a request to end wait for the end of the block.

    A database that is broken off in a transaction stays locked, and its run could not be closed.

    Raises:
        KeyboardInterrupt: at the end of the outermost block, if the user wanted it meanwhile.
    """
    _STOP.depth += 1
    try:
        yield
    except BaseException:
        _STOP.waiting = False  # the block has broken off for another reason, which is to be heard
        raise
    finally:
        _STOP.depth -= 1
    if _STOP.waiting and not _STOP.depth:
        _STOP.waiting = False
        raise KeyboardInterrupt


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt while the block lasts.

    In a thread beside the main one, which hears no signal, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # A job in the background does not hear Ctrl-C; None is a handler that is not Python's.
    before = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
