"""Flags from a dataclass, and what a user is told of a mistake."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bat import cli
from bat.cli import InputError, option

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Sample:
    """A sample."""

    words: str = option("some", "words to say")
    count: int = option(3, "how many, in % of nothing")
    share: float = option(0.5, "a share")
    loud: bool = option(False, "shout")


def test_defaults_are_the_dataclass_defaults():
    assert cli.parse(Sample, []) == Sample("some", 3, 0.5, False)


def test_values_arrive_with_their_types():
    argv = ["--words", "a b", "--count", "4", "--share", "1e-1", "--loud", "true"]
    assert cli.parse(Sample, argv) == Sample("a b", 4, 0.1, True)


def test_false_is_false():
    assert cli.parse(Sample, ["--loud", "False"]).loud is False


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--count", "four"], "count='four'\n.*a whole number"),
        (["--count", "4.5"], "count='4.5'\n.*a whole number"),
        (["--share", "half"], "share='half'\n.*a number"),
        (["--loud", "maybe"], "loud='maybe'\n.*true or false"),
    ],
)
def test_a_wrong_type_names_flag_value_and_type(argv, message):
    with pytest.raises(InputError, match=message):
        cli.parse(Sample, argv)


def test_a_flag_is_not_guessed_from_its_beginning(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Sample, ["--cou", "4"])
    assert stop.value.code == cli.USER_ERROR
    assert "--cou" in capsys.readouterr().err


def test_range_choice_and_names_say_what_was_expected():
    cli.check_range("n", 2, 1, 3)
    with pytest.raises(InputError, match=r"n=4\n.*from 1 to 3"):
        cli.check_range("n", 4, 1, 3)
    with pytest.raises(InputError, match=r"n=nan\n.*at least 1"):
        cli.check_range("n", float("nan"), 1)
    with pytest.raises(InputError, match=r"k='c'\n.*a or b"):
        cli.check_choice("k", "c", ("a", "b"))
    assert cli.names("k", "a, b", ("a", "b")) == ("a", "b")
    assert cli.names("k", "none", ("a", "b")) == ()
    with pytest.raises(InputError, match="'c' in k='a,c'"):
        cli.names("k", "a,c", ("a", "b"))


@pytest.mark.parametrize(
    ("module", "argv", "message"),
    [
        ("scaling_study", ["--seeds", "0"], "seeds=0"),
        ("scaling_study", ["--passes", "2"], "schedule=independent"),
        ("scaling_study", ["--data", "missing.jsonl"], "which does not exist"),
        ("evaluate", ["--trials", "none"], "trials='none'"),
        ("finetune", ["--mask_share", "2"], "mask_share=2.0"),
    ],
)
def test_a_mistake_ends_with_status_2_and_no_traceback(module, argv, message):
    done = subprocess.run(
        [sys.executable, "-m", f"entrypoints.{module}", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.USER_ERROR
    assert message in done.stderr
    assert "expected:" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr
