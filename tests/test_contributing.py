"""The ways in that CONTRIBUTING.md shows: each diff applies, and what it adds works in a study."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# To predict, to learn, to keep, to measure.
DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
FILES = ("bat", "entrypoints", "pyproject.toml", "CONTRIBUTING.md")
TESTS = ("after_contributing.py", "conftest.py", "test_layers.py")


def apply(diff, folder):
    """Change the files of a folder as a diff says."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}  # no repository
    done = subprocess.run(
        ["git", "apply", "-"], cwd=folder, env=environment, input=diff, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def copied(tmp_path):
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests").mkdir()
    for name in TESTS:
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests" / name)
    return tmp_path


def test_each_way_in_is_one_diff_to_few_files():
    changed = [re.findall(r"^\+\+\+ b/(.*)", diff, re.MULTILINE) for diff in DIFFS]
    assert [len(files) for files in changed] == [1, 2, 1, 3]
    removed = [len(re.findall(r"^-[^-]", diff, re.MULTILINE)) for diff in DIFFS]
    assert removed == [0, 1, 0, 3]  # a line of imports; and lists of a metric that become longer


@pytest.mark.parametrize("number", range(4))
def test_a_diff_applies_by_itself(number, copied):
    apply(DIFFS[number], copied)


def test_what_all_of_them_add_works(copied):
    for diff in DIFFS:
        apply(diff, copied)
    command = [sys.executable, "-m", "pytest", "-q"]
    done = subprocess.run(
        [*command, *(f"tests/{name}" for name in TESTS if name != "conftest.py")],
        cwd=copied,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
