"""Whether the process of a run is alive, judged without comparing the clocks of two machines.

A run says by tags which process it is, and counts up while it works. On its own machine the process
is looked up. From elsewhere a run is dead when its counter has stood still for long by the clock of
the one who watches it; what a command has seen is kept for the next one in a file.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from bat import drafts

PROCESS, BEAT = "bat.process", "bat.heartbeat"  # tags of a run that is at work
BEAT_SECONDS = 30  # between two counts (convention)
STILL_SECONDS = 600  # a counter still for twenty beats belongs to a dead run (convention)


def identity(number: int) -> str:
    """Name a process so that no other is ever taken for it: machine, number, time of its start.

    The time is in ticks since the machine was started. psutil's ``create_time`` adds the clock, and
    moves when that is set: a live run would be taken for dead.
    """
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        started = "-" if fields[0] == "Z" else fields[19]  # a zombie has ended
    except OSError:  # it is gone
        started = "-"
    return f"{_machine()} {number} {started}"


def beat(count: int) -> str:
    """Write one count, with the time since this machine was started: others there can use it."""
    return f"{count} {time.monotonic():.0f}"


def dead_runs(running: Mapping[str, Mapping[str, str]], seen_file: Path) -> set[str]:
    """Find the runs whose process is gone.

    Args:
        running: the tags of each run that is said to be running, by run id.
        seen_file: keeps which counters were seen, and when by this machine's clock; it is read and
            written.

    Returns:
        Ids of runs that are known to be dead. A run of another machine is never among them when it
        is first seen.
    """
    now, before = time.monotonic(), _read(seen_file)
    dead, seen = set(), {}
    for run_id, tags in running.items():
        gone = _is_gone_here(tags, now)
        if gone is None:
            counter = tags.get(BEAT, "")
            same = before.get(run_id, ("", now))
            since = same[1] if same[0] == counter else now
            seen[run_id] = (counter, since)
            gone = now - since > STILL_SECONDS
        if gone:
            dead.add(run_id)
    if seen or before:
        drafts.write(seen_file, json.dumps({"boot": _boot(_machine()), "seen": seen}).encode())
    return dead


def _is_gone_here(tags: Mapping[str, str], now: float) -> bool | None:
    """Tell whether a run of this machine has ended; None for one whose process is elsewhere."""
    words, count = tags.get(PROCESS, "").split(), tags.get(BEAT, "").split()
    if len(words) != 3:
        return False  # none of ours
    machine, number, started = words
    if machine == _machine() and started != "-":
        return identity(int(number)) != tags[PROCESS]
    boot = _boot(_machine())
    if boot and _boot(machine) == boot and len(count) == 2:  # another container of this machine
        return now - float(count[1]) > STILL_SECONDS
    return None


def _read(seen_file: Path) -> dict[str, tuple[str, float]]:
    """Read what was seen before; nothing from before this machine was started, or if damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(seen_file.read_text())
        if kept["boot"] == _boot(_machine()):
            return {name: (str(seen), float(since)) for name, (seen, since) in kept["seen"].items()}
    return {}


def _machine() -> str:
    """Name the machine as processes see it: hosts and containers may share a host name."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "/".join([socket.gethostname(), boot_id, str(Path("/proc/self/ns/pid").readlink())])


def _boot(machine: str) -> str:
    """Take from a machine's name what it was given when it was started."""
    return machine.split("/")[1] if machine.count("/") == 2 else ""
