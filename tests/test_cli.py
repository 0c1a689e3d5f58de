"""Flags from a dataclass, and what a user is told of a mistake."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bat import cli
from bat.cli import InputError, option
from bat.tuning.objectives import mlm
from bat.workflow import spec
from entrypoints import evaluate, finetune, scaling_study

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


def test_settings_are_pairs_with_types():
    kinds = {"share": float, "passes": int, "loud": bool}
    read = cli.settings("recipe", "share=1e-1, passes=2,loud=true", kinds)
    assert read == {"share": 0.1, "passes": 2, "loud": True}
    for wrong in ("share", "other=1", "passes=1.5", ""):
        with pytest.raises(InputError, match="expected"):
            cli.settings("recipe", wrong, kinds)


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


def test_a_flag_is_not_guessed_from_its_beginning():
    with pytest.raises(InputError, match="--cou"):
        cli.parse(Sample, ["--cou", "4"])


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


MISTAKES = [
    (scaling_study, ["--recipe", "passes=2"], "schedule=independent"),
    (scaling_study, ["--recipe", "mask_share=2"], "mask_share=2.0"),
    (scaling_study, ["--recipe", "plain,tuned_share=0"], "tuned_share=0.0"),
    (scaling_study, ["--recipe", "plain,"], "'' in recipe="),
    (scaling_study, ["--recipe", "mask_share=0.2,plain"], "'plain' in recipe="),
    (scaling_study, ["--recipe", "layers=2"], "'layers=2' in recipe="),
    (scaling_study, ["--data", "missing.jsonl"], "which does not exist"),
    (evaluate, ["--trials", "none"], "trials='none'"),
    (finetune, ["--mask_share", "2"], "mask_share=2.0"),
]


@pytest.mark.parametrize(
    ("recipe", "tuning"),
    [
        ("halfway", {}),
        ("plain", {"tuned_share": 1.0}),
        ("mask_share=0.3", {"mask_share": 0.3}),
        ("plain,mask_share=0.3", {"tuned_share": 1.0, "mask_share": 0.3}),
        ("plain, tuned_share=0.25", {"tuned_share": 0.25}),
    ],
)
def test_a_recipe_is_a_name_and_changes(recipe, tuning):
    assert spec.recipe_changes(recipe).tuning == tuning


def test_one_tuning_and_a_study_have_the_same_defaults():
    recipe, config = mlm.Recipe(), finetune.FinetuneConfig()
    shared = {field.name for field in dataclasses.fields(recipe)} & set(vars(config))
    assert shared >= {"learning_rate", "mask_share", "passes", "tuned_share", "whole_words"}
    for name in shared:
        assert getattr(recipe, name) == getattr(config, name), name


@pytest.mark.parametrize(("command", "argv", "message"), MISTAKES)
def test_a_mistake_ends_with_status_2_and_a_remedy(command, argv, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command.__name__, *argv])
    config = next(kind for name, kind in vars(command).items() if name.endswith("Config"))
    with pytest.raises(SystemExit) as stop:
        cli.main(command.run, config)
    assert stop.value.code == cli.USER_ERROR
    said = capsys.readouterr().err
    assert message in said
    assert "expected:" in said
    assert "remedy:" in said


def test_a_launcher_starts_only_what_shares_its_work(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["sample"])
    ran = []
    with pytest.raises(SystemExit):
        cli.main(ran.append, Sample)
    assert "got 2 processes" in capsys.readouterr().err
    cli.main(ran.append, Sample, several_processes=True)
    assert ran == [Sample()]


def test_a_mistake_in_the_shell_shows_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.scaling_study", "--seeds", "0,x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.USER_ERROR
    assert done.stderr.startswith("error: got 'x' in seeds='0,x'\n")
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_found_in_what_led_to_an_error():
    def fail():
        try:
            raise OSError(28, "No space left on device", "cache/rows.npy")
        except OSError as error:
            raise RuntimeError("the study could not go on\nfor a reason") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert cli.full_disk(caught.value) == ("[Errno 28] No space left on device: 'cache/rows.npy'")
    assert cli.full_disk(ValueError("nothing of the kind")) == ""


def test_a_flag_of_the_release_before_is_read_with_a_warning(capsys):
    @dataclass(frozen=True)
    class Renamed:
        """A sample."""

        target_column: str = option("price", "column of the numbers")

    assert cli.parse(Renamed, ["--target_column", "price", "--price_column", "usd"]) == Renamed(
        "usd"
    )
    assert cli.parse(Renamed, ["--price_column=eur"]) == Renamed("eur")
    assert capsys.readouterr().err.count("warning: price_column is now target_column") == 2
    with pytest.raises(InputError, match="price_column"):
        cli.parse(Sample, ["--price_column", "usd"])  # a command that never had it
