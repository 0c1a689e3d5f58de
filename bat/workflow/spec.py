"""What a study is to do: read from a command's settings in this one place.

Flags are checked with ``recipe_changes`` before anything heavy is imported; ``settle`` needs the
corpus and the encoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bat import cli

if TYPE_CHECKING:
    from bat.data.checks import Finding
    from bat.data.corpus import Corpus
    from bat.models.encoder import Encoder
    from bat.tuning.objectives.mlm import Recipe
    from bat.workflow.preparation import Prepared

RECIPES: dict[str, dict[str, Any]] = {"halfway": {}, "plain": {"tuned_share": 1.0}}
# "Few samples" to fine-tune end to end on; Zhang et al. 2021, arXiv 2006.05987, section 3.
FEW_SUPERVISED_ROWS = 1_000


@dataclass(frozen=True)
class StudySpec:
    """What a study is to do with its corpus and its factory encoder."""

    sizes: Sequence[int]  # rising numbers of tuning documents; 0 is the factory encoder
    seeds: Sequence[int]  # each draws its own order, masks and search
    trials: int  # settings that each search tries
    recipe: Recipe  # of masked words; its seed is replaced
    objectives: Sequence[str] = ("mlm",)  # names of ``OBJECTIVES``, each of which gets a curve
    schedule: str = "one_pass"  # or independent
    finetune_on: str = "train"  # or all
    features: str = cli.TUNED  # of ``cli.FEATURES``: what the regressor of a tuned arm reads
    baselines: Sequence[str] = ()  # names of ``predictors.PREDICTORS``
    worth: float = 0.02  # smallest gain worth paying for, a share of the factory encoder's MAE
    margin: float = 0.1  # share of the gain that one may forgo
    stop_when_enough: bool = False  # leave out sizes that cannot change the answer
    keep: str = "none"  # which encoders to log: all (see ``study.kept``), best or none
    stack: str = "none"  # encoders that words are stacked on: of ``cli.STACKS``
    serve_within: float | None = None  # milliseconds that a served text may take
    unit: str = ""  # of the target, for people

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: ``stop_when_enough`` without the factory encoder to compare with.
        """
        if self.stop_when_enough and 0 not in self.sizes:
            raise cli.InputError(
                "stop_when_enough=true without the size 0",
                "the factory encoder among the sizes: a share of its error decides",
                "add 0 to sizes",
            )

    @property
    def tuned_sizes(self) -> list[int]:
        """The sizes that are tuned on: all but that of the factory encoder."""
        return [size for size in self.sizes if size]

    @property
    def reads_both(self) -> bool:
        """Whether the regressor of a tuned arm reads the factory encoder's embedding too."""
        return self.features == cli.FACTORY_TUNED


@dataclass(frozen=True)
class Changes:
    """What a user changes of the default recipe."""

    tuning: dict[str, Any]  # fields of ``mlm.Recipe``
    schedule: str  # one_pass or independent
    finetune_on: str  # train or all
    features: str  # of ``cli.FEATURES``


def recipe_changes(recipe: str) -> Changes:
    """Read the changes that a user makes to the default recipe.

    Args:
        recipe: one of ``RECIPES``, or changes, or both with a comma between.

    Raises:
        InputError: a name is unknown, or its value cannot be meant.
    """
    kinds = {"learning_rate": float, "mask_share": float, "whole_words": bool, "passes": int}
    kinds |= {"tuned_share": float, "schedule": str, "finetune_on": str, "features": str}
    name, comma, rest = recipe.partition(",")
    known = name.strip() in RECIPES
    if not known and "=" not in name:
        raise cli.InputError(
            f"{name.strip()!r} in recipe={recipe!r}",
            f"{' or '.join(RECIPES)}, then changes as name=value, with commas between",
            f"leave it out for its default, or change one of {', '.join(kinds)}",
        )
    said = rest if known else recipe
    changes = cli.settings("recipe", said, kinds) if comma or not known else {}
    changes = RECIPES.get(name.strip(), {}) | changes
    schedule = changes.pop("schedule", "one_pass")
    cli.check_choice("schedule", schedule, ("one_pass", "independent"))
    finetune_on = changes.pop("finetune_on", "train")
    cli.check_choice("finetune_on", finetune_on, ("train", "all"))
    features = changes.pop("features", cli.TUNED)
    cli.check_choice("features", features, cli.FEATURES)
    cli.check_range("learning_rate", changes.get("learning_rate", 1e-4), 1e-8, 1.0)
    cli.check_range("mask_share", changes.get("mask_share", 0.2), 0.01, 0.9)
    cli.check_range("tuned_share", changes.get("tuned_share", 0.5), 0.01, 1.0)
    passes = changes.get("passes", 1)
    cli.check_range("passes", passes, 1, 100)
    if passes > 1 and schedule == "one_pass":
        raise cli.InputError(
            f"passes={passes} with schedule=one_pass",
            "one pass, or schedule=independent",
            f"write recipe=passes={passes},schedule=independent: each size is then tuned by itself",
        )
    return Changes(changes, schedule, finetune_on, features)


def settle(
    base: Encoder,
    prepared: Prepared,
    *,
    sizes: str,
    seeds: str,
    recipe: str,
    baselines: str,
    **as_they_are: Any,
) -> tuple[Prepared, StudySpec]:
    """Settle what a study is to do on its corpus, and note what is too small to say much.

    Args:
        base: the factory encoder.
        prepared: the corpus.
        sizes: documents to tune on, as users write them.
        seeds: likewise, as the next two.
        recipe: of the tuning.
        baselines: names.
        as_they_are: the other fields of ``StudySpec``, which users write as they are meant.

    Returns:
        The corpus with what else was found about it, and the study.

    Raises:
        InputError: a size cannot be tuned, or settings contradict each other.
    """
    from bat.models import predictors
    from bat.tuning.objectives import mlm

    changes = recipe_changes(recipe)
    spec = StudySpec(
        sizes=settle_sizes(base, prepared.corpus, sizes=sizes, seeds=seeds, recipe=recipe),
        seeds=cli.whole_numbers("seeds", seeds),
        recipe=mlm.Recipe(**changes.tuning),
        schedule=changes.schedule,
        finetune_on=changes.finetune_on,
        features=changes.features,
        baselines=cli.names("baselines", baselines, predictors.baselines()),
        **as_they_are,
    )
    found = _findings(base, prepared, spec, chosen=sizes == cli.AUTO)
    return dataclasses.replace(prepared, findings=(*prepared.findings, *found)), spec


def settle_sizes(
    base: Encoder, loaded: Corpus, *, sizes: str, seeds: str, recipe: str
) -> tuple[int, ...]:
    """Settle which sizes a study visits on a corpus; why none is tuned, ``settle`` finds."""
    from bat.tuning.objectives import mlm
    from bat.workflow import feasible

    changes = recipe_changes(recipe)
    orders = feasible.orders(loaded, cli.whole_numbers("seeds", seeds), changes.finetune_on)
    return feasible.sizes(base, orders, mlm.Recipe(**changes.tuning), sizes)


def sizes_at(
    base: Encoder, loaded: Corpus, limit: int, *, sizes: str, seeds: str, recipe: str
) -> tuple[int, ...] | None:
    """Tell which sizes the settings come to with a limit; None where they are refused."""
    from bat.data import corpus

    try:
        kept = corpus.limited(loaded, limit)
        corpus.check_enough(kept)
        return settle_sizes(base, kept, sizes=sizes, seeds=seeds, recipe=recipe)
    except cli.InputError:
        return None


def _findings(base: Encoder, prepared: Prepared, spec: StudySpec, *, chosen: bool) -> list[Finding]:
    """Say why nothing is tuned, and which numbers say little since what they rest on is small.

    Args:
        base: the factory encoder.
        prepared: the corpus.
        spec: what the study is to do.
        chosen: whether the program has chosen the sizes (``auto``).
    """
    from bat.data import corpus
    from bat.data.checks import Finding
    from bat.stats import bootstrap, learning_curve, stopping
    from bat.workflow import feasible

    rows = {part: len(prepared.rows(part)) for part in corpus.PARTS}
    tuned = len(spec.tuned_sizes)
    said = []
    if rows["held_out"] < bootstrap.FEW_ROWS:
        curve = f"; below {learning_curve.FEWEST_ROWS} no curve is studied"
        said.append(
            f"the held-out part has {rows['held_out']} rows: below {bootstrap.FEW_ROWS} its "
            "intervals are wide, and no champion is replaced by comparison"
            + curve
            * (tuned > 1 and rows["held_out"] < learning_curve.FEWEST_ROWS)
        )
    if "supervised" in spec.baselines and rows["train"] < FEW_SUPERVISED_ROWS:
        said.append(
            f"the baseline supervised learns from {rows['train']} rows: below "
            f"{FEW_SUPERVISED_ROWS:,} such training is known to vary from seed to seed"
        )
    if spec.stop_when_enough and 0 < tuned <= stopping.STOP_SIZES:
        said.append(
            f"stop_when_enough leaves nothing out of {tuned} tuned sizes: it judges from "
            f"{stopping.STOP_SIZES} sizes on"
        )
    found = [Finding("small study", "note", rows["train"], message) for message in said]
    if chosen and not tuned:
        texts = feasible.orders(prepared.corpus, spec.seeds, spec.finetune_on)
        found.insert(0, feasible.untuned(base, texts, spec.recipe))
    return found
