"""The cache's folder: refused in a sentence where it cannot be used, shown and emptied."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bat import cache, cli, home, units
from bat.cli import InputError
from bat.interface import studying
from entrypoints import cache as command
from entrypoints import evaluate, finetune, scaling_study, score

ROOT = Path(__file__).parent.parent
CONFIGS = {
    evaluate: evaluate.EvaluateConfig,
    finetune: finetune.FinetuneConfig,
    scaling_study: scaling_study.StudyConfig,
    score: score.ScoreConfig,
}
WORKS = {scaling_study: studying}  # where the work of a command stands, if not in its own module
KEY = "0123456789abcdef" * 2


@pytest.fixture
def read_only(tmp_path):
    """A folder on a disk that is mounted read-only: what root may not write to either."""
    top = tmp_path / "disk"
    top.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", top], capture_output=True
    )
    if done.returncode:
        pytest.skip("a disk of one's own cannot be mounted here (that needs root)")
    yield top
    subprocess.run(["umount", "--lazy", top], check=True)


def places(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    return {
        "a file": (tmp_path / "file", "which is not a folder"),
        "in a file": (tmp_path / "file" / "bat", "Not a directory"),
        "a dangling link": (tmp_path / "dangling", "a link that leads nowhere"),
        "relative": ("cache", "a full path"),
        "of nobody": ("~nobody-of-that-name/cache", "a full path"),
        "too long": (tmp_path / ("x" * 300), "File name too long"),
        "in /proc": ("/proc/bat", "cannot be used"),
    }


@pytest.mark.parametrize(
    "name",
    ["a file", "in a file", "a dangling link", "relative", "of nobody", "too long", "in /proc"],
)
@pytest.mark.parametrize("entry", CONFIGS, ids=lambda module: module.__name__.split(".")[1])
def test_a_home_that_cannot_be_used_is_refused_before_any_work(entry, name, tmp_path, monkeypatch):
    place, why = places(tmp_path)[name]
    monkeypatch.setenv("BAT_HOME", str(place))
    monkeypatch.setattr(
        WORKS.get(entry, entry), "_run", lambda *arguments: pytest.fail("work has begun")
    )
    with pytest.raises(InputError, match=re.escape(why)):
        entry.run(CONFIGS[entry]())
    assert (tmp_path / "file").read_text() == "precious"


def test_a_read_only_home_is_refused_before_any_work(read_only, monkeypatch):
    monkeypatch.setenv("BAT_HOME", str(read_only))
    monkeypatch.setattr(evaluate, "_run", lambda config: pytest.fail("work has begun"))
    with pytest.raises(InputError, match="Read-only file system"):
        evaluate.run(evaluate.EvaluateConfig())


@pytest.mark.parametrize("entry", ["evaluate", "cache", "promote"])
def test_a_command_says_it_in_a_sentence_with_exit_2(entry, tmp_path):
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    given = {"promote": ["--version=1"], "cache": ["--remove=all"]}.get(entry, [])
    done = subprocess.run(
        [sys.executable, "-m", f"entrypoints.{entry}", *given],
        cwd=ROOT,
        env=os.environ | {"BAT_HOME": str(tmp_path / "file"), "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "error: got the cache folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_numpy_says_that_a_disk_is_full_in_words_of_its_own():
    with Path("/dev/full").open("wb") as full, pytest.raises(OSError, match="written") as caught:
        np.arange(100_000).tofile(full)
    assert cli.full_disk(caught.value)


def test_a_home_that_begins_with_a_tilde_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BAT_HOME", "~/cache")
    assert home.folder() == tmp_path / "cache"
    monkeypatch.delenv("BAT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert home.folder() == tmp_path / ".cache" / "bat"


@pytest.mark.parametrize("entry", CONFIGS, ids=lambda module: module.__name__.split(".")[1])
def test_what_a_command_uses_is_not_removed_meanwhile(entry, monkeypatch):
    other = "from bat import cache\nwith cache.in_use() as remove: print(remove([]))"

    def work(*arguments):
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
        assert done.stdout == "False\n"

    monkeypatch.setattr(WORKS.get(entry, entry), "_run", work)
    entry.run(CONFIGS[entry]())


# The command.


@pytest.fixture
def filled():
    """A cache with an old and a new encoder, an embedding's part, leftovers, and others' files."""
    for key, size, days in (("a" * 32, 5000, 9), ("b" * 32, 70_000, 1)):
        made = units.build(
            units.Unit(units.ENCODERS, key),
            lambda folder, size=size: (folder / "x").write_bytes(b"x" * size),
        )
        os.utime(made, (0, time.time() - days * 86400))
    units.build(
        units.part(units.Unit(units.EMBEDDINGS, KEY), "0"), lambda folder: (folder / "x").touch()
    )
    (home.folder() / "embeddings").mkdir()
    (home.folder() / "embeddings" / f"{KEY}.npy").write_bytes(b"of an earlier version")
    (home.folder() / "encoders" / f"{home.DAMAGED}{KEY}-0").mkdir()
    (home.folder() / "encoders" / "my-own-encoder").mkdir()
    (home.folder() / "notes.txt").write_text("precious")
    return home.folder()


def kinds():
    return sorted(each.kind for each in cache.entries())


ALL = ["damaged", "embeddings", "embeddings-parts", "encoders", "encoders", "other", "other"]


def test_the_cache_is_shown_by_kind_size_and_age(filled, monkeypatch):
    said = []
    monkeypatch.setattr("bat.cli.say", said.append)
    command.run(command.CacheConfig())
    (table,) = said
    lines = {line[:20].strip(): line.split() for line in table.splitlines()}
    assert lines["encoders"][1:] == ["2", "0.1", "MB", "1.0", "to", "9.0"]
    assert lines["in all"][2] == "7"
    assert kinds() == ALL


@pytest.mark.parametrize(
    ("asked", "days", "gone"),
    [
        ("none", 0, []),
        ("damaged", 0, ["damaged"]),
        ("encoders", 0, ["encoders", "encoders"]),
        ("encoders", 5, ["encoders"]),
        ("evaluations", 0, []),
        ("drafts", 0, []),
        ("all", 5, ["encoders"]),
        ("all", 0, ALL[:5]),
    ],
)
def test_what_is_asked_goes_and_what_is_not_ours_never(asked, days, gone, filled, monkeypatch):
    monkeypatch.setattr("bat.cli.say", lambda text: None)
    command.run(command.CacheConfig(remove=asked, older_than_days=days))
    left = list(ALL)
    for each in gone:
        left.remove(each)
    assert kinds() == left
    if gone == ["encoders"]:
        assert not (filled / "encoders" / ("a" * 32)).exists()
    assert (filled / "encoders" / "my-own-encoder").is_dir()
    assert (filled / "notes.txt").read_text() == "precious"


def test_an_unknown_kind_is_refused(filled):
    with pytest.raises(InputError, match="remove='everything'"):
        command.run(command.CacheConfig(remove="everything"))
    with pytest.raises(InputError, match="older_than_days"):
        command.CacheConfig(older_than_days=-1)


def test_nothing_goes_while_another_command_uses_the_cache(filled, monkeypatch):
    monkeypatch.setattr("bat.cli.say", lambda text: None)
    other = "from bat import cache\nwith cache.in_use(): print('holds', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "holds\n"
        with pytest.raises(InputError, match="another command is using"):
            command.run(command.CacheConfig(remove="all"))
        assert kinds() == ALL
        process.communicate("\n")
    command.run(command.CacheConfig(remove="all"))
    assert kinds() == ["other", "other"]


def test_a_cache_that_is_not_there_yet_is_empty(monkeypatch):
    shutil.rmtree(home.folder(), ignore_errors=True)
    assert cache.entries() == []
    assert "in all" in cache.text([])
    assert not home.folder().exists()
