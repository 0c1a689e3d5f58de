"""MLflow's registry: the versions of a registered model, who is served, and who was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from bat import interrupts, locks, records, units
from bat.cli import InputError
from bat.models import pricer
from bat.registry import descriptions, lineage, reading, tracking
from bat.registry.store import patient

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
BEST_PAIR = "best_pair"  # the newest encoder and regressor, whether or not something else is served
ALIASES = CHAMPION, PREVIOUS, CANDIDATE, BEST_PAIR
COMPARED = "compared."  # begins the names of the registry's tags that record comparisons
DESCRIBED = "bat.described"  # the registry's tag that tells our description from one by hand
KIND, PRICER = "bat.kind", "pricer"  # the tag of registered models that hold our pairs
LISTED = 20  # versions that a message names; more would hide what it says (convention)
PAIR_WANTED = (
    f"a pair that a study registered, such as models:/{lineage.BUILT_IN}@{CHAMPION} once a "
    "scaling_study has run"
)


@dataclass(frozen=True)
class MlflowRegistry:
    """One registered model, as a study adds a version to it."""

    name: str
    runs: frozenset[str]  # the study's run, and those that died and whose work it takes over

    @patient
    def register(
        self,
        folder: Path,
        tags: Mapping[str, str],
        description: str,
        aliases: Sequence[str],
        of_all: str,
    ) -> str:
        """Log a predictor as one pyfunc and give its new version some of ``ALIASES``."""
        client = mlflow.MlflowClient()
        with interrupts.deferred():
            version = self._version_left(tags["arm"]) or tracking.log_pricer(
                folder, self.name, tags
            )
            for name, value in tags.items():  # of a version left behind, the study is now this one
                client.set_model_version_tag(self.name, version, name, value)
            called = descriptions.how_to_call(f"models:/{self.name}/{version}")
            client.update_model_version(self.name, version, f"{description}\n\n{called}")
            client.set_registered_model_tag(self.name, KIND, PRICER)
            self._describe(of_all)
            for alias in aliases:
                client.set_registered_model_alias(self.name, alias, version)
        return version

    def _describe(self, description: str) -> None:
        """Write the model's own description, unless somebody has written another by hand."""
        client = mlflow.MlflowClient()
        model = client.get_registered_model(self.name)
        if model.description and model.tags.get(DESCRIBED) != units.digest([model.description]):
            return
        client.update_registered_model(self.name, description)
        client.set_registered_model_tag(self.name, DESCRIBED, units.digest([description]))

    def _version_left(self, arm: str) -> str | None:
        """Find the version that a run of the same work, or a lost try of this one, registered."""
        found = mlflow.MlflowClient().search_model_versions(f"name = '{self.name}'")
        mine = (version for version in found if version.tags.get("study") in self.runs)
        same = (version for version in mine if version.tags.get("arm") == arm)
        return next((str(version.version) for version in same), None)

    @patient
    def champion(self) -> records.Standing | None:
        """Say which pair is served now, if there is one."""
        version = _aliases(self.name).get(CHAMPION)
        if version is None:
            return None
        tags = mlflow.MlflowClient().get_model_version(self.name, version).tags
        return records.Standing(version, tags)

    @patient
    def fetch(self, version: str) -> Path:
        """Fetch the folder of a registered pair."""
        return pricer_folder(f"models:/{self.name}/{version}")

    @patient
    def promote(self, version: str, *, instead_of: str | None) -> bool:
        """Serve a version; False where the champion is no longer the one it was compared with."""
        with interrupts.deferred(), locks.lock("registry"):
            if _aliases(self.name).get(CHAMPION) != instead_of:
                return False
            _set_champion(self.name, version)
            return True

    @patient
    def record_comparison(self, version: str, champion: str) -> int:
        """Record who is compared with whom.

        Returns:
            How many other pairs were compared in this registered model before, on whichever rows:
            a corpus that has grown shares most of them. The same pair, compared again since a
            study was interrupted, counts once.
        """
        client = mlflow.MlflowClient()
        mine = f"{COMPARED}{version}-{champion}"
        with interrupts.deferred(), locks.lock("registry"):
            tags = client.get_registered_model(self.name).tags
            client.set_registered_model_tag(self.name, mine, "once")
        return sum(1 for name in tags if name.startswith(COMPARED) and name != mine)

    @patient
    def address(self, version: str) -> str:
        """Say how to serve a version: by the alias that it has now, else by its number."""
        aliases = _aliases(self.name)
        wanted = (CHAMPION, CANDIDATE, BEST_PAIR)
        held = [alias for alias in wanted if aliases.get(alias) == version]
        return f"models:/{self.name}@{held[0]}" if held else f"models:/{self.name}/{version}"


def _aliases(name: str) -> dict[str, str]:
    """List the aliases of a registered model with their versions; none where there is no model."""
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        return {}
    aliases = client.get_registered_model(name).aliases
    return {alias: str(version) for alias, version in aliases.items()}


def _set_champion(name: str, version: str) -> None:
    """Give a version the alias ``champion``, and the one that had it ``previous``."""
    client, before = mlflow.MlflowClient(), _aliases(name).get(CHAMPION)
    if before == version:
        return
    if before:
        client.set_registered_model_alias(name, PREVIOUS, before)
    client.set_registered_model_alias(name, CHAMPION, version)


def _model_names() -> list[str]:
    """List the registered models that hold our pairs."""
    found = [
        model.name
        for wanted in (f"tags.`{KIND}` = '{PRICER}'", f"name = '{lineage.BUILT_IN}'")
        for model in mlflow.search_registered_models(filter_string=wanted)
    ]
    return sorted(set(found))


def choose_model(model_name: str, version: str) -> str:
    """Choose the registered model that a command is about.

    Args:
        model_name: its name; ``auto`` for the only one with a champion, or, where none has one,
            for the only one there is.
        version: that the user wants of it, for the message.

    Raises:
        InputError: there is none, or more than one.
    """
    try:
        names = _model_names()
        served = [name for name in names if CHAMPION in _aliases(name)]
    except MlflowException as error:
        raise InputError(
            f"no answer from the model registry ({str(error).splitlines()[0]})",
            "a tracking store that can be read",
            "is MLFLOW_TRACKING_URI the store that the study was logged to?",
        ) from error
    fitting = [model_name] if model_name != lineage.AUTO else served or names
    if len(fitting) == 1 and fitting[0] in names:
        return fitting[0]
    if len(fitting) > 1:
        having = "a champion" if served else "versions, and none a champion"
        raise InputError(
            f"version {version!r} without model_name, where {len(fitting)} registered models have "
            f"{having}",
            f"one of {', '.join(fitting)}",
            f"say which, for instance model_name={fitting[0]}",
        )
    raise InputError(
        f"version {version!r} of model_name={model_name!r}, under which no study has registered a "
        "pair",
        f"one of {', '.join(names)}" if names else "a model that a study has registered",
        "choose one of those; " * bool(names) + "run a scaling_study first, or set "
        "MLFLOW_TRACKING_URI to the store that it was logged to",
    )


def find_version(name: str, version: str) -> str:
    """Find a version of a registered model by its number or by an alias.

    Raises:
        InputError: there is no such version; the message lists those there are.
    """
    aliases = _aliases(name)
    listed = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    numbers = [str(number) for number in sorted(int(each.version) for each in listed)]
    found = aliases.get(version, version.strip().lstrip("0"))
    if found in numbers:
        return found
    held = [alias for alias in ALIASES if alias in aliases]
    there = ["…"] * (len(numbers) > LISTED) + numbers[-LISTED:] + held
    raise InputError(
        f"version {version!r} of {name}, which does not exist",
        f"one of those that do: {', '.join(there)}" if there else "a model that has versions",
        f"choose one: mlflow run . -e promote --env-manager local -P model_name={name} "
        f"-P version={there[-1]}"
        if there
        else "run a scaling_study, which registers one",
    )


def serve_version(name: str, version: str) -> tuple[str | None, str]:
    """Make a version the champion, whatever any comparison says: roll back, or forward.

    Args:
        name: of the registered model.
        version: its number, or an alias: ``previous``, ``candidate``.

    Returns:
        The champion before, and the one now.

    Raises:
        InputError: the registry has no such version.
    """
    with locks.lock("registry"):
        before, now = _aliases(name).get(CHAMPION), find_version(name, version)
        _set_champion(name, now)
    return before, now


def standings(name: str) -> list[dict[str, str]]:
    """List who is who in a registered model, a line for each version, the newest first."""
    aliases: dict[str, list[str]] = {}
    for alias, version in _aliases(name).items():
        aliases.setdefault(version, []).append(alias)
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    shown = ("arm", "corpus", "target_column", "mae", "study")
    return [
        {
            "version": str(each.version),
            "aliases": ", ".join(sorted(aliases.get(str(each.version), []))),
            **{tag: each.tags.get(tag, "") for tag in shown},
        }
        for each in sorted(found, key=lambda each: -int(each.version))
    ]


def champion_address(model_name: str) -> str:
    """Find the address of the pair that is served.

    Args:
        model_name: as for ``choose_model``.

    Raises:
        InputError: no registered model fits, several do, or it has no champion.
    """
    name = choose_model(model_name, CHAMPION)
    find_version(name, CHAMPION)
    return f"models:/{name}@{CHAMPION}"


def pricer_folder(model: str) -> Path:
    """Find the folder of a pair by its ``models:/`` address; a folder stays as it is.

    Raises:
        InputError: no pair is there.
    """
    top = Path(reading.resolve(model, PAIR_WANTED))
    for folder in (top, top.parent, top / "artifacts" / PRICER):  # where MLflow puts it
        if pricer.is_served(folder):
            return folder
    raise InputError(
        f"model={model!r}, which holds no encoder and regressor",
        PAIR_WANTED,
        "run a scaling_study first, or look the model up with `mlflow ui`",
    )
