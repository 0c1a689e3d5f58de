"""Whose turn is next: little work first, and nobody waits for ever."""

import itertools
import threading
import time

import pytest

from bat.models import turns


def queue(shared, log, name, needed):
    """Start a thread that does so many turns, and wait until it stands in line."""

    def work():
        for left in range(needed, 0, -1):
            with shared.turn(left):
                log.append(name)

    before = len(shared._waiting)
    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while len(shared._waiting) == before:
        assert time.monotonic() < deadline
    return thread


def test_who_needs_little_goes_before_who_came_first():
    shared, log = turns.Turns(), []
    with shared.turn(1):
        threads = [queue(shared, log, name, needed) for name, needed in (("c", 6), ("b", 3))]
        threads.append(queue(shared, log, "a", 1))
    for thread in threads:
        thread.join()
    # b's keys fall behind those of c, which has waited for longer, only when both need as few.
    assert log[:3] == ["a", "b", "b"]
    assert sorted(log) == ["a"] + ["b"] * 3 + ["c"] * 6


def test_large_ones_take_turns():
    shared, log = turns.Turns(), []
    with shared.turn(1):
        threads = [queue(shared, log, name, 60) for name in "abc"]
    for thread in threads:
        thread.join()
    first = log[:150]  # until then all three have at least MOST_TURNS left
    assert max(map(first.count, "abc")) - min(map(first.count, "abc")) <= 1
    assert all(len(set(first[at : at + 3])) == 3 for at in range(3, 144))


def test_a_stream_of_lone_ones_does_not_starve_a_large_one():
    shared, log, is_done = turns.Turns(), [], threading.Event()

    def lone():
        while not is_done.is_set():
            with shared.turn(1):
                log.append("lone")
                time.sleep(0.001)  # the others come back meanwhile

    threads = [threading.Thread(target=lone) for _ in range(5)]
    for thread in threads:
        thread.start()
    large = queue(shared, log, "large", 20)
    large.join(30)
    is_done.set()
    for thread in threads:
        thread.join()
    assert not large.is_alive()
    ours = [at for at, name in enumerate(log) if name == "large"]
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(ours)]
    assert max(gaps) <= turns.MOST_TURNS + len(threads)


def test_a_turn_that_fails_is_given_back():
    shared = turns.Turns()
    with pytest.raises(MemoryError), shared.turn(1):
        raise MemoryError
    with shared.turn(1):
        pass
    assert not shared._waiting


def test_one_turn_at_a_time():
    shared, inside, most = turns.Turns(), [], []

    def work():
        for left in range(50, 0, -1):
            with shared.turn(left):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 300
    assert max(most) == 1
