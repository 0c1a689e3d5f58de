"""MLproject says what the dataclasses say, and its commands hand everything on."""

import dataclasses
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
CONFIGS = {
    "main": ("scaling_study", "StudyConfig"),
    "scaling_study": ("scaling_study", "StudyConfig"),
    "finetune": ("finetune", "FinetuneConfig"),
    "evaluate": ("evaluate", "EvaluateConfig"),
    "report": ("report", "ReportConfig"),
    "promote": ("promote", "PromoteConfig"),
    "score": ("score", "ScoreConfig"),
}
KINDS = {str: "string", int: "float", float: "float", bool: "string"}  # MLflow knows no others


def config(name):
    module, kind = CONFIGS[name]
    return getattr(importlib.import_module(f"entrypoints.{module}"), kind)


def test_all_entry_points_are_compared():
    assert set(PROJECT["entry_points"]) == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_the_fields(name):
    parameters = PROJECT["entry_points"][name]["parameters"]
    fields = dataclasses.fields(config(name))
    kinds = typing.get_type_hints(config(name))
    assert list(parameters) == [field.name for field in fields]
    for field in fields:
        said = parameters[field.name]
        assert said["type"] == KINDS[kinds[field.name]], field.name
        default = str(field.default).lower() if kinds[field.name] is bool else field.default
        assert said["default"] == default, field.name


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_hands_on_every_parameter(name):
    entry = PROJECT["entry_points"][name]
    flags = [f"--{parameter} {{{parameter}}}" for parameter in entry["parameters"]]
    module = CONFIGS[name][0]
    assert entry["command"] == f"python -m entrypoints.{module} " + " ".join(flags)


def test_a_study_has_at_most_21_parameters_that_change_what_it_finds():
    others = {"executor", "max_rejected", "model_name", "show_texts", "unit"}
    assert len(set(PROJECT["entry_points"]["scaling_study"]["parameters"]) - others) <= 21


@pytest.mark.parametrize("module", sorted({module for module, _ in CONFIGS.values()}))
def test_help_names_every_parameter_with_its_default(module):
    shown = subprocess.run(
        [sys.executable, "-m", f"entrypoints.{module}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    name = next(name for name, (found, _) in CONFIGS.items() if found == module)
    for field in dataclasses.fields(config(name)):
        assert f"--{field.name} " in shown
        assert field.metadata["help"][:20] in " ".join(shown.split())


def test_the_environment_is_the_requirements_file():
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": ["-r requirements.txt", "-c constraints.txt"]}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in lines if line and line[0] != "#")
