"""Who may import whom, and through which module each library enters."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"cli", "records", "metrics", "units", "auction_facts"},
    {"auctions", "encoder", "regressor", "scaling"},
    {"corpus", "interval"},
    {"checks", "mlm", "search", "baselines", "pricer"},
    {"outcome", "supervised", "score"},
    {"study"},
    {"champion", "cluster"},
    {"plan", "report", "tracking", "serving"},
    {"page"},
]
DOORS = {
    "mlflow": {"tracking", "serving"},
    "optuna": {"search"},
    "xgboost": {"regressor"},
    "sentence_transformers": {"encoder"},
    "huggingface_hub": {"encoder"},
    "transformers": {"mlm", "encoder"},
    "accelerate": {"mlm"},
    "datasets": {"corpus"},
    "sklearn": {"baselines", "metrics"},
    "matplotlib": {"report", "page"},
    "argparse": {"cli"},
    "tqdm": {"cli"},
    "ray": {"cluster"},
}
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path for path in (ROOT / "bat").glob("*.py") if path.stem != "__init__")
ENTRYPOINTS = sorted(path for path in (ROOT / "entrypoints").glob("*.py") if path.stem[0] != "_")


def imported(path):
    """Dotted names imported anywhere in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_down_and_libraries_have_doors(path):
    assert path.stem in LEVEL, f"{path.stem} has no place in LAYERS"
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package == "bat":
            inner = rest.split(".")[0]
            assert LEVEL[inner] < LEVEL[path.stem], f"{path.stem} imports {inner}"
        elif package in DOORS:
            assert path.stem in DOORS[package], f"{package} enters only by {DOORS[package]}"


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: path.stem)
def test_entry_points_go_through_bat(path):
    assert not {name.partition(".")[0] for name in imported(path)} & set(DOORS)


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: path.stem)
def test_entry_points_check_the_command_line_before_heavy_imports(path):
    top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
    from_bat = {alias.name for n in top if n.module == "bat" for alias in n.names}
    assert from_bat <= {"cli"}


@pytest.mark.parametrize("package", ["bat", "entrypoints"])
def test_packages_do_nothing_when_imported(package):
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    assert [type(node) for node in tree.body] == [ast.Expr]


def test_every_module_is_in_the_list_of_rooms():
    rooms = (ROOT / "CONTRIBUTING.md").read_text()
    assert [path.name for path in MODULES if f"`{path.name}`" not in rooms] == []
