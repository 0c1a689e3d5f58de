"""Units of work: made once, whole or not at all."""

import subprocess
import sys
import time

import pytest

from bat import cli, units


def test_home_is_where_the_environment_says(monkeypatch, tmp_path):
    assert units.home() == tmp_path / "home"
    monkeypatch.delenv("BAT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert units.home() == tmp_path / "cache" / "bat"


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
    units.write(path, b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        units.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]  # no draft stays behind


def test_a_unit_is_filled_once():
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "number").write_text(str(len(calls)))

    first, again = units.build("kind", "unit", fill), units.build("kind", "unit", fill)
    assert first == again == units.folder("kind", "unit")
    assert (first / "number").read_text() == "1"
    assert len(calls) == 1


def test_a_unit_that_fails_leaves_nothing_and_can_be_tried_again():
    def fail(folder):
        (folder / "half").write_text("half")
        assert not units.folder("kind", "unit").exists()  # nobody sees it under its name yet
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        units.build("kind", "unit", fail)
    assert list((units.home() / "kind").iterdir()) == []
    done = units.build("kind", "unit", lambda folder: (folder / "whole").touch())
    assert [path.name for path in done.iterdir()] == ["whole"]


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
units.build("kind", "unit", fill)
"""


def test_work_done_afresh_finds_nothing_and_leaves_nothing():
    def fill(folder):
        (folder / "number").write_text("1")

    kept = units.build("kind", units.key(a=1), fill)
    with units.afresh():
        mine = units.build("kind", units.key(a=1), fill)
        units.write(units.home() / "parts" / f"{units.key(b=1)}.npy", b"rows")
        assert mine != kept
        assert units.key(a=1) == units.key(a=1)
        with units.afresh():
            assert units.folder("kind", units.key(a=1)) not in (mine, kept)
    left = [path.name for path in units.home().glob("*/*")]
    assert sorted(left) == sorted([kept.name, f"kind-{kept.name}"])  # with its lock
    assert units.folder("kind", units.key(a=1)) == kept


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
    code = "import os; from bat import units\nwith units.lock('name'): os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with units.lock("name"):
        pass


def test_the_fingerprint_of_code_follows_the_code():
    assert units.code(units, cli) == units.code(units, cli)
    assert len({units.code(units), units.code(cli), units.code(units, cli)}) == 3


def test_folders_go_only_while_nobody_else_uses_them(tmp_path):
    made = units.build("kind", "unit", lambda folder: (folder / "a").write_text("a"))
    other = "from bat import units\nwith units.in_use(): print('holds', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "holds\n"
        with units.in_use() as remove:
            assert not remove([made])
        assert made.exists()
        process.communicate("\n")
    with units.in_use() as remove:
        assert remove([made])
    assert list(made.parent.iterdir()) == []
