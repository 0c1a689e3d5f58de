"""Requests to end a command are heard, and wait for what must be finished."""

import math
import signal
import threading

import pytest

from bat import interrupts


def test_a_request_to_end_waits_for_what_must_be_finished():
    done, interrupts._STOP.last = [], -math.inf

    def work():
        with interrupts.deferred():
            with interrupts.deferred():
                interrupts._stop(signal.SIGTERM, None)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]
    with interrupts.deferred():  # that request is answered
        pass
    interrupts._stop(signal.SIGINT, None)  # and this one is the same, handed on
    interrupts._STOP.last = -math.inf
    with pytest.raises(KeyboardInterrupt):
        interrupts._stop(signal.SIGTERM, None)


def test_who_asks_twice_to_end_does_not_wait():
    def work():
        with interrupts.deferred():
            interrupts._stop(signal.SIGINT, None)
            interrupts._STOP.last = -math.inf
            interrupts._stop(signal.SIGINT, None)

    interrupts._STOP.last = -math.inf
    with pytest.raises(KeyboardInterrupt):
        work()
    assert (interrupts._STOP.depth, interrupts._STOP.waiting) == (0, False)


def test_an_error_is_told_though_the_user_asked_to_end():
    def work():
        with interrupts.deferred():
            interrupts._stop(signal.SIGTERM, None)
            raise ValueError("broken")

    interrupts._STOP.last = -math.inf
    with pytest.raises(ValueError, match="broken"):
        work()
    with interrupts.deferred():
        pass


def test_in_another_thread_signals_are_left_alone():
    seen = []

    def work():
        with interrupts.raised():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)] != [interrupts._stop]
    with interrupts.raised():
        assert signal.getsignal(signal.SIGINT) is interrupts._stop
