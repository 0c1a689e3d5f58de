"""Units of work: made once, whole or not at all."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from bat import cache, drafts, home, locks, units
from bat.cli import InputError

KIND = units.Kind("kind", 1, (), (), ())
UNIT = units.Unit(KIND, "unit")


def test_home_is_where_the_environment_says(monkeypatch, tmp_path):
    assert home.folder() == tmp_path / "home"
    monkeypatch.delenv("BAT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home.folder() == tmp_path / "cache" / "bat"


def test_a_key_is_the_same_on_every_machine_and_for_every_order_of_its_inputs():
    # printf '{"a": 1, "b": "x"}' | sha256sum
    assert units.key(a=1, b="x") == units.key(b="x", a=1) == "ce5c626fb40307427cf323b5c307a3ea"
    assert len({units.key(a=1), units.key(a="1"), units.key(b=1), units.key(a=[1])}) == 4


def test_a_digest_of_texts_knows_their_borders_and_order():
    assert units.digest(["ab", "c"]) != units.digest(["a", "bc"])
    assert units.digest(["a", "b"]) != units.digest(["b", "a"])
    assert len(units.digest([])) == 64


def test_a_file_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    path = tmp_path / "deep" / "note"
    drafts.write(path, b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        drafts.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]  # no draft stays behind


def test_a_unit_is_filled_once():
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "number").write_text(str(len(calls)))

    first, again = units.build(UNIT, fill), units.build(UNIT, fill)
    assert first == again == UNIT.folder == units.find(UNIT)
    assert (first / "number").read_text() == "1"
    assert len(calls) == 1


def test_a_unit_that_fails_leaves_nothing_and_can_be_tried_again():
    def fail(folder):
        (folder / "half").write_text("half")
        assert units.find(UNIT) is None  # nobody sees it under its name yet
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        units.build(UNIT, fail)
    assert list((home.folder() / "kind").iterdir()) == []
    done = units.build(UNIT, lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in done.iterdir()) == sorted(["whole", units.SEAL])


SLOW = """
import sys, time
from pathlib import Path
from bat import units

def fill(folder):
    with Path(sys.argv[1], "log").open("a") as file:
        file.write("filled\\n")
    while not Path(sys.argv[1], "go").exists():
        time.sleep(0.01)
    (folder / "whole").touch()

Path(sys.argv[1], sys.argv[2]).touch()
units.build(units.Unit(units.Kind("kind", 1, (), (), ()), "unit"), fill)
"""


def test_work_begun_anew_finds_nothing_and_leaves_nothing():
    def fill(folder):
        (folder / "number").write_text("1")

    kept = units.build(units.unit(KIND, a=1), fill)
    with units.begun_anew():
        mine = units.build(units.unit(KIND, a=1), fill)
        units.build(units.part(units.unit(KIND, b=1), "first"), fill)
        assert mine != kept
        assert units.unit(KIND, a=1) == units.unit(KIND, a=1)
        with units.begun_anew():
            assert units.unit(KIND, a=1).folder not in (mine, kept)
    left = [path.name for path in home.folder().glob("*/*") if "alive" not in path.name]
    assert sorted(left) == sorted([kept.name, f"kind-{kept.name}"])  # with its lock
    assert units.unit(KIND, a=1).folder == kept


def test_processes_that_want_one_unit_at_once_fill_it_once(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path), name]) for name in ("a", "b")
    ]
    while not all((tmp_path / name).exists() for name in ("a", "b", "log")):
        time.sleep(0.01)
    time.sleep(0.1)  # one fills, the other has had the time to begin as well, and must not
    (tmp_path / "go").touch()
    assert [worker.wait() for worker in workers] == [0, 0]
    assert (tmp_path / "log").read_text() == "filled\n"


def test_a_lock_is_free_again_when_its_holder_dies():
    code = "import os; from bat import locks\nwith locks.lock('name'): os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with locks.lock("name"):
        pass


def test_folders_go_only_while_nobody_else_uses_them(tmp_path):
    made = units.build(UNIT, lambda folder: (folder / "a").write_text("a"))
    other = "from bat import cache\nwith cache.in_use(): print('holds', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "holds\n"
        with cache.in_use() as remove:
            assert not remove([made])
        assert made.exists()
        process.communicate("\n")
    with cache.in_use() as remove:
        assert remove([made])
    assert list(made.parent.iterdir()) == []


HOLDS = """
import sys
from bat import drafts, home, units
with drafts.draft() as one, drafts.draft(home.folder() / "kind") as two, units.begun_anew():
    unit = units.unit(units.Kind("kind", 1, (), (), ()), a=1)
    units.build(unit, lambda folder: (folder / "x").touch())
    (one / "x").touch()
    print("holds", flush=True)
    input()
"""


def started(code, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stdout.readline() == "holds\n"
    return process


def left_over():
    found = [*home.folder().glob(".draft-*"), *home.folder().glob("*/.draft-*")]
    return [*found, *home.folder().glob("kind/apart-*")]


def test_what_a_killed_process_left_goes_with_the_next_command_and_a_live_ones_stays():
    lives, killed = started(HOLDS), started(HOLDS)
    with locks.lock("kind-idle"):
        pass
    assert len(left_over()) == 6
    killed.kill()
    killed.communicate()
    with cache.in_use():
        assert len(left_over()) == 3
        assert not list((home.folder() / locks.LOCKS).glob("kind-*"))
    lives.communicate("\n")
    assert lives.returncode == 0
    with cache.in_use():
        assert left_over() == []
        assert len(list((home.folder() / locks.LOCKS).iterdir())) == 2  # in use, and alive


def test_what_another_machine_left_stays_for_some_days(monkeypatch):
    left = started(HOLDS)
    left.kill()
    left.communicate()
    monkeypatch.setattr(locks, "machine", lambda: "another1")
    with cache.in_use():
        assert len(left_over()) == 3
    for path in left_over():
        os.utime(path, (0, time.time() - 8 * 86400))
    with cache.in_use():
        assert left_over() == []


def test_a_lock_that_was_swept_while_somebody_waited_is_not_taken_by_two(tmp_path):
    """Who waited for the file that is gone must not go on beside who holds the new one."""
    waits = """
from bat import home, locks
print("holds", flush=True)
with locks.lock("name") as handle:
    print(locks._is_still(handle, home.folder() / "locks" / "name"))
"""
    with locks.lock("name"):
        waiting = started(waits)
        time.sleep(0.3)
        (home.folder() / locks.LOCKS / "name").unlink()
        with locks.lock("name"):  # a new file of that name
            time.sleep(0.3)
            assert waiting.poll() is None
    assert waiting.communicate()[0] == "True\n"


@pytest.mark.parametrize("target", ["file", "nothing"])
def test_a_lock_does_not_follow_a_link(target, tmp_path):
    theirs = tmp_path / "theirs"
    if target == "file":
        theirs.write_text("precious")
    (home.folder() / locks.LOCKS).mkdir(parents=True)
    (home.folder() / locks.LOCKS / "name").symlink_to(theirs)
    with pytest.raises(InputError, match="locks do not follow links"), locks.lock("name"):
        pass
    assert theirs.read_text() == "precious" if target == "file" else not theirs.exists()


def test_a_lock_leaves_the_content_of_its_file_alone():
    path = home.folder() / locks.LOCKS / "name"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with locks.lock("name"):
        assert path.read_text() == "precious"


def test_a_unit_whose_home_was_deleted_meanwhile_is_made_where_it_was():
    units.build(UNIT, lambda folder: (folder / "a").write_text("a"))
    shutil.rmtree(home.folder())
    again = units.build(UNIT, lambda folder: (folder / "a").write_text("b"))
    assert (again / "a").read_text() == "b"


def test_a_finished_unit_is_read_once_unless_it_is_touched(monkeypatch):
    made = units.build(UNIT, lambda folder: (folder / "a").write_text("a"))
    read = []
    plain = units._described
    monkeypatch.setattr(units, "_described", lambda *a: read.append(a) or plain(*a))
    assert units.find(UNIT) == units.find(UNIT) == made
    assert read == []  # written by this process
    units._SOUND.clear()
    assert units.find(UNIT) == units.find(UNIT) == made
    assert len(read) == 1
    (made / "a").write_text("a")
    assert units.find(UNIT) == made
    assert len(read) == 2


def test_inputs_that_json_does_not_know_have_no_key():
    with pytest.raises(TypeError, match="not JSON serializable"):
        units.unit(KIND, rows=np.arange(3000))  # str() would leave most of it out
