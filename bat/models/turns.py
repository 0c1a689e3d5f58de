"""Whose work goes on next, where many threads share what only one of them can use at a time."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator

# The most turns for which later arrivals go first. More than the large requests that a server of
# two cores works on at once (4), so that none of these gets ahead of a lone text while they take
# turns; few enough that a stream of lone texts leaves them about every ninth turn.
MOST_TURNS = 8


class Turns:
    """Lets one thread work at a time: whoever needs few turns goes first, and nobody starves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: set[tuple[int, int]] = set()
        self._arrivals = itertools.count()
        self._begun = 0
        self._is_free = True

    @contextlib.contextmanager
    def turn(self, needed: int) -> Iterator[None]:
        """Wait for a turn, and hold it while the block lasts.

        Args:
            needed: turns that this thread still needs, this one included. For so many turns,
                but at most ``MOST_TURNS``, later arrivals that need fewer go first.
        """
        with self._changed:
            mine = (self._begun + min(needed, MOST_TURNS), next(self._arrivals))
            self._waiting.add(mine)
            try:
                self._changed.wait_for(lambda: self._is_free and min(self._waiting) == mine)
            except (
                BaseException
            ):  # Ctrl-C in the main thread: the next in line must not wait for us
                self._changed.notify_all()
                raise
            finally:
                self._waiting.remove(mine)
            self._is_free, self._begun = False, self._begun + 1
        try:
            yield
        finally:
            with self._changed:
                self._is_free = True
                self._changed.notify_all()
