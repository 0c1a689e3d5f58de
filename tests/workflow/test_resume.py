"""Slow: a study whose process is killed, at any moment, ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.place import Place

KILLS = 20
DISK_BYTES = 256 * 2**20
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_killed_study_ends_as_if_nothing_had_happened(
    kill, command, undisturbed, tmp_path, migrated
):
    wanted, seconds, _ = undisturbed
    place = Place(tmp_path / "place", migrated)
    process = place.start(command)
    # Each has its own twentieth of the time, the last ones the end with logging and registration.
    moment = seconds * (kill + random.Random(kill).random()) / KILLS
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Its run ends when all is logged and registered: after that only words on the screen are lost.
    was_done = ("scaling_study", "FINISHED") in [
        (run.data.tags.get("bat.command"), run.info.status) for run in place.runs()
    ]
    assert place.start(command).wait() == 0, place.said()
    assert place.result() == wanted
    statuses = [run.info.status for run in place.runs()]
    assert "RUNNING" not in statuses
    finished = [run.info.run_name for run in place.runs() if run.info.status == "FINISHED"]
    if not was_done:
        assert len(finished) == len(set(finished)), "something finished was logged again"
        assert len(place.client.search_model_versions("name = 'bat-pricer'")) == 1
    champion = place.client.get_model_version_by_alias("bat-pricer", "champion")
    assert str(champion.version) == "1"


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_says_how_to_go_on(asked, command, undisturbed, tmp_path, migrated):
    wanted, _, used = undisturbed
    place = Place(tmp_path / "place", migrated)
    half = (place.used() + used) / 2  # by what it has written: machines are fast and slow by turns
    process = place.start(command)
    place.wait(process, lambda: place.used() >= half)
    process.send_signal(asked)
    assert process.wait() == 130, place.said()
    assert "the same command goes on from there" in place.said()
    assert "Traceback" not in place.said()
    ends = {
        run.data.tags.get("bat.command", run.info.run_name): run.info.status for run in place.runs()
    }
    assert ends.pop("scaling_study") == "KILLED"
    assert set(ends.values()) <= {"KILLED", "FINISHED"}
    assert place.start(command).wait() == 0, place.said()
    assert place.result() == wanted


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with little room; ending the block takes it away."""
    top = tmp_path / "disk"
    top.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", top], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk of one's own cannot be mounted here (that needs root)")
    yield top
    subprocess.run(["umount", "--lazy", top], check=True)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_a_full_disk_is_said_and_the_study_goes_on_where_there_is_room(
    share, command, undisturbed, small_disk, migrated, monkeypatch
):
    wanted, _, used = undisturbed
    monkeypatch.setenv("TMPDIR", str(small_disk))
    place = Place(small_disk / "place", migrated)
    rest = small_disk / "rest"
    room = place.used() + share * (used - place.used())
    with rest.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK_BYTES - int(room))
    assert place.run(command) == 2, place.said()
    assert "Traceback" not in place.said()
    assert "no room left" in place.said()
    rest.unlink()
    assert place.run(command) == 0, place.said()
    assert place.result() == wanted
