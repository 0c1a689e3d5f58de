"""Who is served: what a study chose is registered, and must beat the champion on rows new to both.

A served predictor has learnt from all rows of its corpus. So a version carries what the fit that
its study judged has predicted for its held-out rows, and versions are compared by those.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bat import formatting, records
from bat.data import corpus
from bat.models import interval, predictors, pricer
from bat.models.encoder import Encoder
from bat.models.prediction import Predictor
from bat.registry import descriptions, lineage, versions
from bat.stats import bootstrap
from bat.workflow import arms, outcome
from bat.workflow.outcome import Outcome
from bat.workflow.preparation import Prepared
from bat.workflow.study import Served

ERROR = 0.05  # convention: of promoting a pair that is no better, in all comparisons together

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Whether a new pair becomes the champion, and the sentence that says why or why not."""

    promoted: bool
    reason: str
    gain: bootstrap.Interval | None = None  # new MAE minus the champion's, where it was measured


@dataclass(frozen=True)
class Registered:
    """What became of a study's predictor in the registry."""

    model_name: str
    version: str
    address: str  # by which it can be served now
    verdict: Verdict
    coverage: float  # of the interval that is served unless a request asks for another
    inside: bootstrap.Interval  # share of the held-out prices in it
    best_pair: str  # version of the best encoder and regressor: this one, or beside it


@dataclass(frozen=True)
class Candidate:
    """A fitted predictor that may be served, and what its study found with it."""

    name: str  # of its method in ``predictors.PREDICTORS``
    predictor: Predictor
    calibrated: interval.Calibrated  # the interval around its predictions
    inside: npt.NDArray[np.bool_]  # (h,), held-out targets in it, as if they were new
    # (h,), for the held-out rows, by fits that have not seen them, chosen by other such rows: the
    # best of several on the rows that chose it looks better than it is.
    predictions: Floats
    seen: frozenset[str]  # digests of the texts that its encoder was tuned on
    tags: Mapping[str, str]  # what tells it from the study's other candidates


def candidate_of(served: Served) -> Candidate:
    """Make a candidate of what a study has chosen and fitted to all rows."""
    key = served.choice.key
    return Candidate(
        key.predictor,
        served.predictor,
        served.refit.calibrated,
        served.refit.inside,
        served.choice.predictions,
        served.seen,
        {
            "arm": arms.run_name(key),
            "predictor": predictors.named(key.predictor).label,
            "encoders": _encoders(served.predictor),
            "reads": _reads(key.predictor, served.predictor),
        },
    )


def _encoders(predictor: Predictor) -> str:
    """Say how many encoders read a text."""
    parts = (getattr(predictor, field.name) for field in dataclasses.fields(predictor))  # type: ignore[arg-type]
    count = sum(isinstance(part, Encoder) for part in parts)
    return {0: "none", 1: "one", 2: "factory and tuned"}[count]


def _reads(name: str, predictor: Predictor) -> str:
    """Say what of a text a predictor reads."""
    if isinstance(predictor, predictors.Stack):
        return ", ".join(predictor.reader.uses)
    return "words" if predictors.named(name).holds_words else "embedding"


def register(
    found: Outcome,
    candidates: Sequence[Candidate],
    prepared: Prepared,
    registry: records.Registry,
    *,
    study: str,
    target_column: str,
    promote: str,
    margin: float,
) -> Registered:
    """Register what a study serves, each predictor with an interval around its prices.

    Args:
        found: by the study.
        candidates: the best pair, and last what is to be served, if that is not the pair.
        prepared: the corpus.
        registry: the registered model that gets a new version, or two.
        study: its run id.
        target_column: of the prices.
        promote: ``always``, ``if_better`` or ``never``.
        margin: share of the champion's error by which the new one must be better.
    """
    common = {"study": study, **lineage.describe(target_column, prepared.corpus.prices).tags()}
    told = [_described(found.about, each, prepared) | common for each in candidates]
    known: list[str] = []
    for each, tags in zip(candidates, told, strict=True):
        aliases = [versions.BEST_PAIR] if each is candidates[0] else []
        aliases += [versions.CANDIDATE] if each is candidates[-1] else []
        known.append(_registered(each, found.about, prepared, registry, tags, aliases))
    served, version = candidates[-1], known[-1]
    verdict = _verdict(served, prepared, registry, version, told[-1], promote, margin)
    return Registered(
        registry.name,
        version,
        registry.address(version),
        verdict,
        served.calibrated.usual_coverage,
        _inside(served, prepared),
        known[0],
    )


def _registered(
    each: Candidate,
    about: outcome.About,
    prepared: Prepared,
    registry: records.Registry,
    tags: Mapping[str, str],
    aliases: Sequence[str],
) -> str:
    """Save a predictor and register it; return its version."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "pricer"
        _save(each, prepared, folder)
        cost = predictors.cost(each.predictor, prepared.corpus.texts, folder)
        told = {**tags, **{name: f"{value:.3g}" for name, value in cost._asdict().items()}}
        target = tags["target_column"]
        said = descriptions.of_version(each.name, about, told, target)
        described = descriptions.of_model(registry.name, about, target)
        return registry.register(folder, told, said, aliases, described)


def _inside(each: Candidate, prepared: Prepared) -> bootstrap.Interval:
    """Give the share of held-out prices in the interval, as if these rows were new."""
    groups = prepared.corpus.group_ids[prepared.rows("held_out")]
    return bootstrap.share(each.inside, groups=groups)


def _described(about: outcome.About, each: Candidate, prepared: Prepared) -> dict[str, str]:
    """Say of a version how it was made, from what, and what it and its interval scored."""
    inside = _inside(each, prepared)
    return {
        **_tags(about, each, prepared),
        "coverage": f"{each.calibrated.usual_coverage:.4g}",
        "inside_interval": f"{inside.value:.6g} [{inside.low:.6g}, {inside.high:.6g}]",
    }


def _save(each: Candidate, prepared: Prepared, folder: Path) -> None:
    """Write what is served, and what later versions are compared with."""
    loaded, held_out = prepared.corpus, prepared.rows("held_out")
    read = corpus.row_digests([loaded.texts[row] for row in prepared.rows("train")])
    pricer.save(
        each.name,
        each.predictor,
        each.calibrated,
        folder,
        seen=each.seen | frozenset(read),
        held_out=zip(
            corpus.row_digests([loaded.texts[row] for row in held_out]),
            loaded.prices[held_out],
            each.predictions,
            strict=True,
        ),
    )


def _tags(about: outcome.About, candidate: Candidate, prepared: Prepared) -> dict[str, str]:
    """Say of a version how it was made, from what, and what it scored."""
    loaded, held_out = prepared.corpus, prepared.rows("held_out")
    scores = bootstrap.bootstrap(
        loaded.prices[held_out],
        candidate.predictions,
        groups=loaded.group_ids[held_out],
        chance=predictors.named(candidate.name).by_chance,
    )
    return {
        **candidate.tags,
        "base_model": about.base,
        "corpus": about.corpus,
        "corpus_digest": about.digest,
        "finetune_on": about.finetune_on,
        "parts_by": about.parts_by,
        **{name: formatting.interval(name, score) for name, score in scores.items()},
        **({"unit": about.unit} if about.unit else {}),
    }


def _verdict(
    candidate: Candidate,
    prepared: Prepared,
    registry: records.Registry,
    version: str,
    tags: Mapping[str, str],
    promote: str,
    margin: float,
) -> Verdict:
    """Decide whether a version is served, and see to it; again if the champion changes."""
    while True:
        present = registry.champion()
        if promote == "never":
            return Verdict(False, "promote=never")
        if present is None:
            verdict = Verdict(True, "there was none before")
        elif present.version == version:  # registered and promoted by a run that died afterwards
            return Verdict(True, "it was promoted before the study was interrupted")
        elif promote == "always":
            verdict = Verdict(True, _replaced(tags, present))
        elif refused := _unlike(tags, present):
            return Verdict(False, refused)
        else:
            unit = tags.get("unit", "")
            verdict = _compared(candidate, prepared, registry, version, present, margin, unit)
        if not verdict.promoted:
            return verdict
        if registry.promote(version, instead_of=present.version if present else None):
            return verdict


def _replaced(tags: Mapping[str, str], present: records.Standing) -> str:
    """Say which champion the user's word replaces, and whether it predicts something else."""
    told = f"promote=always; version {present.version} was"
    apart = lineage.difference(tags, present.tags)
    return f"{told}, though of another lineage: {apart}" if apart else told


def _unlike(tags: Mapping[str, str], present: records.Standing) -> str:
    """Say why a version cannot be compared with the champion; empty if it can."""
    if apart := lineage.difference(tags, present.tags):
        return (
            f"the champion, version {present.version}, is of another lineage: {apart}. Another "
            "model_name= gives this corpus a champion of its own; promote=always would replace "
            "that one"
        )
    if present.tags.get("finetune_on") != tags["finetune_on"]:
        told = f"version {present.version} was tuned on {present.tags.get('finetune_on')} texts"
        return f"{told}, this one on {tags['finetune_on']}: no fair comparison"
    if present.tags.get("parts_by") != tags["parts_by"]:
        by = present.tags.get("parts_by", "what nobody noted")
        told = f"version {present.version} had its parts by {by}, this one by {tags['parts_by']}"
        return f"{told}: no fair comparison; promote=always would replace it"
    return ""


def _compared(
    candidate: Candidate,
    prepared: Prepared,
    registry: records.Registry,
    version: str,
    present: records.Standing,
    margin: float,
    unit: str,
) -> Verdict:
    """Compare what both predicted for the rows that each held out while its study judged it."""
    loaded, held_out = prepared.corpus, prepared.rows("held_out")
    try:  # the study is done and kept: a champion that is lost or damaged must not undo that
        folder = registry.fetch(present.version)
        theirs, read = pricer.held_out(folder), pricer.rows_seen(folder)
    except Exception as error:  # whatever the artifact store may raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        told = f"version {present.version} does not open ({why})"
        return Verdict(False, f"{told}; promote=always would replace it")
    digests = corpus.row_digests(loaded.texts)
    keys = [pricer.row_key(digests[row], loaded.prices[row]) for row in held_out]
    new = new_rows(digests, loaded.group_ids, read | candidate.seen)[held_out]
    mine = [place for place, key in enumerate(keys) if key in theirs and new[place]]
    rows, groups = held_out[mine], loaded.group_ids[held_out[mine]]
    count = len(np.unique(groups))
    if len(rows) < bootstrap.FEW_ROWS or count < bootstrap.FEW_GROUPS:
        return too_few(len(rows), count)
    before = registry.record_comparison(version, present.version)
    return judge(
        loaded.prices[rows],
        candidate.predictions[mine],
        np.array([theirs[keys[place]] for place in mine]),
        groups=groups,
        margin=margin,
        comparisons=before,
        unit=unit,
    )


def new_rows(
    digests: Sequence[str], groups: npt.NDArray[np.int64], read: frozenset[str]
) -> npt.NDArray[np.bool_]:
    """Tell which rows (n,) share a group, so a near repeat, with no text that was learnt from.

    Args:
        digests: of the rows' texts, n.
        groups: of the rows, n.
        read: digests of the texts that fits, and the encoders that they draw on, have read.
    """
    known = np.array([each in read for each in digests])
    return ~np.isin(groups, groups[known])


def too_few(rows: int, groups: int) -> Verdict:
    """Refuse to compare on so few rows, or groups of rows."""
    few = rows < bootstrap.FEW_ROWS
    count, needed = (rows, bootstrap.FEW_ROWS) if few else (groups, bootstrap.FEW_GROUPS)
    lacking = formatting.counted(count, "held-out row" if few else "group")
    return Verdict(
        False,
        f"only {lacking}{'' if few else ' of held-out rows'} {'is' if count == 1 else 'are'} new "
        f"to both it and the champion, of the {needed} needed to compare them",
    )


def level(comparisons: int) -> float:
    """Give the probability with which the next comparison of a model may err.

    It is ``ERROR`` / (k (k + 1)) for the k-th: over any number of them the sum is below ``ERROR``.

    Args:
        comparisons: how many came before.

    Source:
        Alpha spending: Foster and Stine 2008, "Alpha-investing", section 2.
    """
    look = comparisons + 1
    return ERROR / (look * (look + 1))


def judge(
    prices: Floats,
    new: Floats,
    present: Floats,
    *,
    groups: npt.ArrayLike | None = None,
    margin: float,
    comparisons: int,
    unit: str = "",
) -> Verdict:
    """Compare a new pair with the champion on the same rows, paired, by their absolute errors.

    All comparisons together, of however many candidates that are no better, promote one with
    probability ``ERROR`` at most: see ``level``.

    Args:
        prices: of the rows that neither has learnt from, shape (k,).
        new: what the new pair predicts for them.
        present: what the champion predicts for them.
        groups: of the rows, shape (k,); those of one group are drawn together.
        margin: share of the champion's error by which the new one must be better for certain.
        comparisons: how many came before in this registered model.
        unit: of the target, for the sentence.
    """
    may_err = level(comparisons)
    gain = bootstrap.paired(
        prices,
        new,
        present,
        names=["mae"],
        groups=groups,
        chance=(True, True),
        coverage=1 - 2 * may_err,
    )["mae"]
    error = bootstrap.scores(prices, present)["mae"]
    bound = -margin * error
    # No finer digits than a tenth of the error has: two equal pairs differ by rounding errors.
    difference = formatting.interval("mae", gain, sign=True, least=error / 10, unit=unit)
    told = (
        f"its MAE minus the champion's is {difference} on "
        f"{formatting.counted(len(prices), 'held-out row')} that neither has learnt from; the "
        f"upper end holds with {1 - may_err:.2%} in comparison {comparisons + 1} of this model"
    )
    if gain.high < bound:
        return Verdict(True, told, gain)
    wanted = (
        f"below {formatting.number('mae', bound, sign=True, unit=unit)}" if margin else "below 0"
    )
    return Verdict(False, f"{told}; that end must be {wanted}", gain)
