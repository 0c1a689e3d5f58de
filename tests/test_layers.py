"""Who may import whom, and through which module each library enters."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [
    "floor", "stats", "data", "models", "tuning", "workflow", "registry", "report", "interface",
]  # fmt: skip
# Within a package a module imports from modules before it.
ORDER = {
    "floor": [
        "escape", "interrupts", "cli", "formatting", "records", "home", "locks", "drafts", "units",
        "cache",
    ],
    "stats": [
        "chance", "jackknife", "resampling", "bootstrap", "families", "learning_curve",
        "hypotheses", "stopping", "worth",
    ],
    "data": [
        "texts", "auctions.facts", "auctions.cars", "auctions.generator", "rows", "text_lines",
        "json_lines", "csv_files", "arrow_tables", "sources", "fields", "chunks",
        "near_duplicates", "groups", "corpus", "subsets", "findings", "quantities",
        "leaks", "checks",
    ],
    "models": [
        "encoder_files", "encoder", "encoder_opening", "embedding", "ridge_column", "regressor",
        "search", "words", "numbers", "stack", "explanation", "prediction", "predictors",
        "interval", "turns", "pricer",
    ],
    "tuning": [
        "precision", "objective", "packing", "loop", "masked_model", "objectives.mlm",
        "objectives.*", "objectives.table", "model_card",
    ],
    "workflow": [
        "arms", "choice", "outcome", "preparation", "feasible", "spec", "tasks", "stages",
        "baselines", "stacks", "refit", "graph", "local", "cluster", "study", "plan",
    ],
    "registry": [
        "store", "heartbeat", "tracking", "reading", "lineage", "descriptions", "versions",
        "champion", "serving",
        "cells", "scored_file", "scored_errors", "score",
    ],
    "report": [
        "analysis", "verdict", "tables", "wording", "summary", "answer_file", "figures",
        "terminal", "page",
        "runs",
    ],
    "interface": ["loaded", "estimator", "studying", "settings", "results"],
}  # fmt: skip
# Names of version 0.1 that go on working for one release; nothing of ours imports them.
ALIASES = {"floor.pricer"}
DOORS = {
    "mlflow": {"tracking", "reading", "versions", "serving", "store"},
    "sqlalchemy": {"store"},
    "optuna": {"search"},
    "xgboost": {"regressor"},
    "sentence_transformers": {"encoder_opening"},
    "huggingface_hub": {"encoder_files"},
    "transformers": {"masked_model", "encoder", "encoder_opening", "precision"},
    "accelerate": {"loop"},
    "datasets": {"arrow_tables"},
    "sklearn": {"words", "bootstrap", "estimator"},
    "matplotlib": {"figures"},
    "jinja2": {"page"},
    "markupsafe": {"page"},
    "argparse": {"cli"},
    "tqdm": {"cli"},
    "ray": {"cluster"},
}


def dotted(path):
    """Name a module by package and name, those at the top as of the floor."""
    parts = path.relative_to(ROOT / "bat").with_suffix("").parts
    return ".".join(parts if len(parts) > 1 else ("floor", *parts))


MODULES = sorted(path for path in (ROOT / "bat").rglob("[!_]*.py") if dotted(path) not in ALIASES)
LEVEL = {
    f"{package}.{name}": (PACKAGES.index(package), place)
    for package, names in ORDER.items()
    for place, name in enumerate(names)
}
# A way to learn needs no place of its own.
LEARN = {path for path in MODULES if path.parent.name == "objectives"}
LEVEL = {dotted(path): LEVEL["tuning.objectives.*"] for path in LEARN} | LEVEL
ENTRYPOINTS = sorted(path for path in (ROOT / "entrypoints").glob("*.py") if path.stem[0] != "_")


def imported(path):
    """Dotted names imported anywhere in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner(name):
    """Name the module of ours that an import brings something from; None for another's."""
    first, *rest = name.split(".")
    while first == "bat" and rest:
        known = ".".join(rest if len(rest) > 1 else ("floor", *rest))
        if known in LEVEL:
            return known
        rest.pop()
    return None


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_down_and_libraries_have_doors(path):
    assert dotted(path) in LEVEL, f"{dotted(path)} has no place in ORDER"
    for name in imported(path):
        package = name.partition(".")[0]
        if package == "bat":
            assert inner(name), f"{dotted(path)} imports {name}, which has no place in ORDER"
            assert LEVEL[inner(name)] < LEVEL[dotted(path)], f"{dotted(path)} imports {name}"
        elif package in DOORS:
            assert path.stem in DOORS[package], f"{package} enters only by {DOORS[package]}"


def test_no_two_modules_share_a_name():
    stems = [path.stem for path in MODULES]
    assert len(set(stems)) == len(stems)


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: path.stem)
def test_entry_points_go_through_bat(path):
    assert not {name.partition(".")[0] for name in imported(path)} & set(DOORS)


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: path.stem)
def test_entry_points_check_the_command_line_before_heavy_imports(path):
    top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
    from_bat = {alias.name for n in top if n.module == "bat" for alias in n.names}
    assert from_bat <= {"cli"}


INITS = sorted([*(ROOT / "bat").glob("*/**/__init__.py"), ROOT / "entrypoints" / "__init__.py"])


def test_the_names_for_python_users_are_imported_when_they_are_used():
    code = "import bat, sys; print(dir(bat), [m for m in ('torch', 'mlflow') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'TextRegressor'" in said.stdout
    assert said.stdout.endswith("[]\n")


@pytest.mark.parametrize("path", INITS, ids=lambda path: path.parent.name)
def test_packages_do_nothing_when_imported(path):
    assert [type(node) for node in ast.parse(path.read_text()).body] == [ast.Expr]


def test_every_module_is_in_the_list_of_rooms():
    rooms = (ROOT / "CONTRIBUTING.md").read_text()
    listed = [path for path in MODULES if path not in LEARN]
    assert [path.name for path in listed if f"{path.name}`" not in rooms] == []
