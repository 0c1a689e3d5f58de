"""Who is served: the best pair is registered, and must beat the champion on rows new to both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bat import corpus, encoder, interval, metrics, outcome, pricer, records, study, units
from bat.outcome import Outcome
from bat.study import Arm, Prepared

MIN_ROWS = 100  # fewer than this, and an interval says little (convention)
MIN_GROUPS = 30  # likewise, where rows of one group err together

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Whether a new pair becomes the champion, and the sentence that says why or why not."""

    promoted: bool
    reason: str
    gain: metrics.Interval | None = None  # new MAE minus the champion's, where it was measured


@dataclass(frozen=True)
class Registered:
    """What became of a study's best pair in the registry."""

    version: str
    verdict: Verdict
    coverage: float  # of the interval that is served unless a request asks for another
    inside: metrics.Interval  # share of the test prices in it


def calibrate(arm: Arm, prepared: Prepared) -> tuple[interval.Calibrated, metrics.Interval]:
    """Fit the interval that is served around an arm's prices.

    Returns:
        It, and the share of test prices that lie inside at its usual coverage.
    """
    prices, predictions = prepared.corpus.prices, arm.evaluation.predictions
    train, test, apart = (prepared.rows(part) for part in ("train", "test", "calibration"))
    embeddings = study.features(arm, prepared)
    calibrated = interval.calibrate(
        embeddings[train],
        prices[train],
        arm.evaluation.held_out,
        arm.evaluation.fitted,
        apart=(embeddings[apart], prices[apart]),
        seed=arm.seed,
    )
    low, high = calibrated.bounds(embeddings[test], predictions[test], calibrated.usual_coverage)
    inside = (low <= prices[test]) & (prices[test] <= high)
    return calibrated, metrics.share(inside, groups=prepared.corpus.group_ids[test])


def register(
    found: Outcome,
    arm: Arm,
    prepared: Prepared,
    tracker: records.Tracker,
    *,
    study: str,
    promote: str,
    margin: float,
) -> Registered:
    """Register the best pair with an interval around its prices, and serve it where that is wanted.

    Args:
        found: by the study.
        arm: the one that validation chose.
        prepared: the corpus.
        tracker: of the study's run.
        study: its run id.
        promote: ``always``, ``if_better`` or ``never``.
        margin: share of the champion's error by which the new one must be better.
    """
    about = found.about
    calibrated, inside = calibrate(arm, prepared)
    loaded, test = prepared.corpus, prepared.rows("test")
    scores = metrics.bootstrap(
        loaded.prices[test], arm.evaluation.predictions[test], groups=loaded.group_ids[test]
    )
    others = np.setdiff1d(np.arange(len(loaded.texts)), test)
    seen = frozenset(corpus.row_digests([loaded.texts[row] for row in others]))
    seen |= encoder.rows_seen(arm.folder) or frozenset()
    tags = {
        "study": study,
        "arm": outcome.arm_name(arm.documents, arm.seed),
        "encoders": "factory and tuned" if arm.beside else "one",
        "base_model": about.base,
        "corpus": about.corpus,
        "corpus_digest": about.digest,
        "finetune_on": about.finetune_on,
        "parts_by": about.parts_by,
        "coverage": f"{calibrated.usual_coverage:.4g}",
        **{
            name: f"{s.value:.6g} [{s.low:.6g}, {s.high:.6g}]"
            for name, s in {**scores, "inside_interval": inside}.items()
        },
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in tags.items())
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "pricer"
        fitted = arm.evaluation.fitted
        pricer.save(arm.folder, fitted, calibrated, folder, seen=seen, beside=arm.beside)
        version = tracker.register(
            folder, tags, f"Encoder and regressor chosen by validation.\n\n{lines}"
        )
    verdict = _verdict(arm, prepared, tracker, version, seen, about, promote, margin)
    tracker.log(records.Tags({"registered": version, "promotion": verdict.reason}))
    return Registered(version, verdict, calibrated.usual_coverage, inside)


def _verdict(
    arm: Arm,
    prepared: Prepared,
    tracker: records.Tracker,
    version: str,
    seen: frozenset[str],
    about: outcome.About,
    promote: str,
    margin: float,
) -> Verdict:
    """Decide whether a version is served, and see to it; again if the champion changes."""
    while True:
        present = tracker.champion()
        if promote == "never":
            return Verdict(False, "promote=never")
        if present is None:
            verdict = Verdict(True, "there was none before")
        elif present.version == version:  # registered and promoted by a run that died afterwards
            return Verdict(True, "it was promoted before the study was interrupted")
        elif promote == "always":
            verdict = Verdict(True, f"promote=always; version {present.version} was")
        elif present.tags.get("finetune_on") != about.finetune_on:
            told = f"version {present.version} was tuned on {present.tags.get('finetune_on')} texts"
            return Verdict(False, f"{told}, this one on {about.finetune_on}: no fair comparison")
        elif present.tags.get("parts_by") != about.parts_by:
            by = present.tags.get("parts_by", "what nobody noted")
            told = f"version {present.version} had its parts by {by}, this one by {about.parts_by}"
            return Verdict(False, f"{told}: no fair comparison; promote=always would replace it")
        else:
            verdict = _compared(arm, prepared, tracker, present, seen, margin)
        if not verdict.promoted:
            return verdict
        if tracker.promote(version, instead_of=present.version if present else None):
            return verdict


def _compared(
    arm: Arm,
    prepared: Prepared,
    tracker: records.Tracker,
    present: records.Standing,
    seen: frozenset[str],
    margin: float,
) -> Verdict:
    """Compare with the champion on the test rows that are new to both."""
    loaded, test = prepared.corpus, prepared.rows("test")
    digests = corpus.row_digests([loaded.texts[row] for row in test])
    try:  # the study is done and kept: a champion that is lost or damaged must not undo that
        folder = tracker.fetch(present.version)
        rows = test[common_rows(digests, seen, pricer.rows_seen(folder))]
        pair = pricer.load(folder)
    except Exception as error:  # whatever the artifact store may raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        told = f"version {present.version} does not open ({why})"
        return Verdict(False, f"{told}; promote=always would replace it")
    groups = loaded.group_ids[rows]
    count = len(np.unique(groups))
    if len(rows) < MIN_ROWS or count < MIN_GROUPS:
        return too_few(len(rows), count)
    texts = [loaded.texts[row] for row in rows]
    predictions = pair.regressor.predict(encoder.features(pair.encoder, pair.beside, texts))
    before = tracker.compared(units.digest(sorted(digests)))
    return judge(
        loaded.prices[rows],
        arm.evaluation.predictions[rows],
        predictions,
        groups=groups,
        margin=margin,
        comparisons=before,
    )


def common_rows(digests: Sequence[str], *seen: frozenset[str]) -> npt.NDArray[np.int64]:
    """Number the test rows whose text no pair's training or tuning has seen, shape (k,).

    Args:
        digests: of the test rows' texts.
        seen: of the texts that each pair has seen.
    """
    known = frozenset().union(*seen)
    return np.array([row for row, each in enumerate(digests) if each not in known], np.int64)


def too_few(rows: int, groups: int) -> Verdict:
    """Refuse to compare on so few rows, or groups of rows."""
    lacking, needed = f"{groups} groups of test rows", MIN_GROUPS
    if rows < MIN_ROWS:
        lacking, needed = f"{rows} test rows", MIN_ROWS
    return Verdict(
        False,
        f"only {lacking} are new to both it and the champion, of the {needed} needed to compare "
        "them",
    )


def judge(
    prices: Floats,
    new: Floats,
    present: Floats,
    *,
    groups: npt.ArrayLike | None = None,
    margin: float,
    comparisons: int,
) -> Verdict:
    """Compare a new pair with the champion on the same rows, paired, by their absolute errors.

    Args:
        prices: of the rows that neither has seen, shape (k,).
        new: what the new pair predicts for them.
        present: what the champion predicts for them.
        groups: of the rows, shape (k,); those of one group are drawn together.
        margin: share of the champion's error by which the new one must be better for certain.
        comparisons: how often these rows were asked before: each time makes luck more likely.
    """
    gain = metrics.paired(prices, new, present, groups=groups)["mae"]
    bound = -margin * metrics.scores(prices, present)["mae"]
    told = (
        f"its MAE minus the champion's is {gain.value:+,.4g} [{gain.low:+,.4g}, "
        f"{gain.high:+,.4g}] on {len(prices):,} test rows that neither has seen, which were "
        f"compared {comparisons} times before"
    )
    if gain.high < bound:
        return Verdict(True, told, gain)
    wanted = f"below {bound:+,.4g}" if margin else "below 0"
    return Verdict(False, f"{told}; the upper end must be {wanted}", gain)
