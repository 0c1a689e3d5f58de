"""Statements in words: the one place where the wording of a study's answer is decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bat import escape, formatting
from bat.formatting import interval, number
from bat.report import verdict
from bat.report.tables import TITLES
from bat.report.verdict import Kind, Statement
from bat.stats.bootstrap import Interval
from bat.workflow.outcome import Outcome


def sentence(statement: Statement) -> str:
    """Put a statement into words, without the dash or number of a list; names stay as they are."""
    return SENTENCES[statement.kind](statement)


def answer(statements: Iterable[Statement]) -> list[str]:
    """Put all but the hypotheses and the list of words into words, a sentence or two each."""
    return [sentence(each) for each in statements if each.kind not in ("hypothesis", "words")]


def hypotheses(statements: Iterable[Statement]) -> list[str]:
    """Put the verdicts on the working hypotheses into words."""
    return [sentence(each) for each in statements if each.kind == "hypothesis"]


def listed(sentences: Iterable[str]) -> str:
    """Write sentences as a list, a line each, whatever the names in them hold."""
    return "\n".join(f"- {escape.printable(sentence)}" for sentence in sentences)


def rows(facts: Mapping[str, object]) -> str:
    """Say on how many held-out rows and groups intervals rest (``verdict.row_counts``)."""
    of = f" of {facts['groups']:,} {facts['groups_of']}" if facts["groups"] else ""
    return f"{facts['test_rows']:,} held-out rows{of}"


def tested(outcome: Outcome) -> str:
    """Say on how many held-out rows, of how many groups, a study's intervals rest."""
    return rows(verdict.tested_on(outcome))


def _gain(statement: Statement) -> str:
    unit = statement.unit
    numbers, facts = statement.numbers, statement.facts
    least = percent(facts["worth"])
    how = {
        "worth_it": f"is worth it: it lowers the error by more than {least}",
        "not_worth_it": f"is not worth it: any gain is below {least}",
        "does_harm": "does harm: it raises the error",
        "too_early": f"may or may not be worth it: it is too early to tell a gain of {least} from "
        "none",
    }[statement.verdict]
    share = numbers["share"]
    before = number("mae", numbers["factory_mae"].value, unit=unit)
    return (
        f"Fine-tuning on {facts['documents']:,} documents {how}. The error (MAE) changes by "
        f"{percent(-share.value, sign=True)} [{percent(-share.high, sign=True)}, "
        f"{percent(-share.low, sign=True)}] of {before}, R² of the log price by "
        f"{interval('r2_log', numbers['r2_log'], sign=True)} from "
        f"{number('r2_log', numbers['factory_r2_log'].value)} (95 % intervals of rows, fits and "
        f"seeds, paired on {rows(facts)})."
    ) + (_what_would_tell(facts) if statement.verdict == "too_early" else "")


def _what_would_tell(facts: Mapping[str, Any]) -> str:
    """Say how large a corpus would have to be, and with how many seeds, to tell."""
    if "rows_if_nothing" not in facts:
        return ""
    seeds = ""
    if facts["seeds_needed"] > facts["seeds"]:
        seeds = f" with {formatting.counted(facts['seeds_needed'], 'seed')}"
    nothing, twice = (
        f"{rounded(max(facts[name], facts['corpus_rows']))} rows"
        for name in ("rows_if_nothing", "rows_if_twice")
    )
    return (
        f" A study of some {nothing} like these{seeds} would show a gain of 0 to be not worth it, "
        f"and one of {twice} a gain of {percent(2 * facts['worth'])} to be worth it, each with "
        "80 % power; more rows change the gain too."
    )


def rounded(count: int) -> str:
    """Write a count with two digits: it is an estimate."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / unit) * unit:,}"


def percent(share: float, *, sign: bool = False) -> str:
    """Write a share as a percentage with one decimal, or none where it is whole."""
    text = f"{100 * share:{'+' if sign else ''}z.1f}"
    return f"{text if sign else text.removesuffix('.0')} %"


def change(share: Interval) -> str:
    """Write how an error changes of which a share is taken off, with its plausible range."""
    value, low, high = (percent(-end, sign=True) for end in (share.value, share.high, share.low))
    return f"{value} (plausible: {low.removesuffix(' %')} to {high})"


def _curve(statement: Statement) -> str:
    facts = statement.facts
    if statement.verdict == "too_few_rows":
        return (
            f"No curve: {facts['test_rows']} held-out rows are too few, at least "
            f"{facts['needed']} are needed."
        )
    if statement.verdict == "no_gain":
        return "No recommended size: tuning showed no significant gain."
    return f"No curve: {facts['reason']}."


def _enough(statement: Statement) -> str:
    where = {"on_curve": "on the fitted curve", "among_sizes": "among the sizes tried"}
    documents = statement.numbers["documents"]
    least = f"{documents.low:,.0f}" if documents.low else "fewer than the smallest size"
    return (
        f"Enough: {documents.value:,.0f} documents bring all but {statement.facts['margin']:.0%} "
        f"of that gain in MAE (95 % interval {least} to {documents.high:,.0f}, "
        f"{where[statement.verdict]})."
    )


def _forecast(statement: Statement) -> str:
    unit = statement.unit
    numbers = statement.numbers
    expected = {
        documents: interval("mae", numbers[f"mae_with_{documents}"], unit=unit)
        for documents in statement.facts["documents"]
    }
    told = "; ".join(f"with {size:,} documents {mae}" for size, mae in expected.items())
    return f"Forecast of MAE: {told}."


def _backtest(statement: Statement) -> str:
    unit = statement.unit
    error = interval("mae", statement.numbers["mae"], sign=True, unit=unit)
    return (
        f"Made from the sizes up to {statement.facts['documents']:,} alone, such a forecast of "
        f"the full size is off by {error}."
    )


def _stop(statement: Statement) -> str:
    reason = statement.facts["reason"]
    if statement.verdict == "went_on":
        return f"No size was left out: {reason}."
    sizes = ", ".join(f"{size:,}" for size in statement.facts["documents"])
    return f"Stopped before {sizes} documents: by out-of-fold errors {reason}."


def _choice(statement: Statement) -> str:
    unit = statement.unit
    documents, seed, seeds = (statement.facts[name] for name in ("documents", "seed", "seeds"))
    if statement.verdict == "open":
        so_far = f"the encoder tuned on {documents:,} documents" if documents else "the factory one"
        error = (
            f"error on {rows}" if (rows := statement.facts.get("chosen_on")) else "held-out error"
        )
        return f"So far {so_far} has the least {error}; not all encoders are there yet."
    if statement.verdict == "only_factory":
        return "The factory encoder is the only one here."
    which = f"The encoder tuned on {documents:,} documents (seed {seed})"
    if statement.verdict == "factory":
        which = "The factory encoder"
    mean = "mean " if seeds > 1 else ""
    if rows := statement.facts.get("chosen_on"):
        return f"{which} has the least {mean}error on {rows}, and gets registered."
    return (
        f"{which} has the least {mean}error of all encoders on held-out rows. A choice that is "
        "made on some of these rows and judged on others has an error (MAE) of "
        f"{interval('mae', statement.numbers['mae'], unit=unit)}."
    )


def _addition(statement: Statement) -> str:
    unit = statement.unit
    numbers, facts = statement.numbers, statement.facts
    least = percent(facts["worth"])
    what = f"tuning on {facts['documents']:,} documents"
    if facts["what"] == "embedding":
        what = embedding_and(facts)
    how = {
        "worth_it": f"{what} is worth it: it lowers the error by more than {least}",
        "not_worth_it": f"{what} is not worth it: any gain is below {least}",
        "does_harm": f"{what} does harm: it raises the error",
        "too_early": f"it is too early to tell whether {what} is worth it (a gain of {least})",
    }[statement.verdict]
    share = numbers["share"]
    said = (
        f"Added to {facts['other']}, {how}. The error "
        f"(MAE) of {facts['arm']} differs by {percent(-share.value, sign=True)} "
        f"[{percent(-share.high, sign=True)}, {percent(-share.low, sign=True)}] from the "
        f"{number('mae', numbers['before_mae'].value, unit=unit)} of {facts['other']}."
    )
    if facts["uses"] and not _reads_embedding(facts["uses"]):
        said += f" Cross-validation on the training rows left its embedding out of {facts['arm']}."
    if facts.get("bare_verdict") == "worth_it" and statement.verdict != "worth_it":
        said += (
            " Tuning helps the bare embedding, but it is not shown to add anything beside words."
        )
    return said


def embedding_and(facts: Mapping[str, Any]) -> str:
    """Name all that a stack reads more than what it is compared with."""
    embedding = "the embedding of the factory encoder"
    if not facts["also"]:
        return embedding
    more = [embedding, *facts["also"]] if _reads_embedding(facts["uses"]) else facts["also"]
    return f"what it reads more ({_and(more)})"


def _and(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _reads_embedding(uses: Iterable[str]) -> bool:
    """Tell whether any part of a stack needs an encoder."""
    return any("embedding" in part for part in uses)


def _served(statement: Statement) -> str:
    unit = statement.unit
    numbers, facts = statement.numbers, statement.facts
    within = facts["serve_within"]
    why = {
        "best": "it has the least error of all that may be served",
        "as_good": f"it is as good as {facts['best']} within one standard error, and cheaper",
        "in_time": f"it is the best of what needs at most {within} ms a text",
        "too_slow": f"nothing here is as fast as {within} ms a text, and it is the fastest",
    }[statement.verdict]
    alone = facts["predictor"] == "ridge" or ("uses" in facts and facts["uses"])
    alone = alone and not _reads_embedding(facts.get("uses", ()))
    words = " It needs no encoder." if alone else ""
    if facts.get("uses"):
        words += f" It reads {_and(facts['uses'])}."
    cost = ""
    if "milliseconds_a_text" in facts:
        cost = (
            f" A text takes {facts['milliseconds_a_text']:.3g} ms alone, and the files "
            f"{facts['megabytes']:.3g} MB."
        )
    pair = ""
    if "pair" in facts:
        pair = (
            f" Its MAE minus that of the best encoder and regressor ({facts['pair']}) is "
            f"{interval('mae', numbers['mae_minus_pair'], sign=True, unit=unit)}."
        )
    mae = interval("mae", numbers["mae"], unit=unit)
    return f"Serve {facts['arm']}: {why}. Its error (MAE) is {mae}.{pair}{words}{cost}"


def _baseline(statement: Statement) -> str:
    unit = statement.unit
    facts = statement.facts
    name = "as it came" if facts["arm"] == "factory" else facts["arm"]
    how = {
        "beats": "beats",
        "no_difference": "is not significantly different from",
        "loses": "loses to",
    }
    by = facts.get("chosen_on", "out-of-fold error")
    role = {
        "best_baseline": f"the best baseline by {by}",
        "same_search": "with the same search",
        "end_to_end": "the same encoder fine-tuned end to end on the training prices",
    }[facts["role"]]
    return (
        f"The encoder {name} {how[statement.verdict]} {facts['baseline']} ({role}): MAE differs by "
        f"{interval('mae', statement.numbers['mae'], sign=True, unit=unit)}."
    )


DOUBTS: Mapping[str, str] = {
    "few_seeds": (
        "{counted_seeds}: what another seed of tuning, search and fit would change is taken from a "
        "measurement on other corpora; more seeds measure it on this one."
    ),
    "two_encoders": (
        "Each tuned encoder is read beside the factory's: two encoders run for a price, and a "
        "gain may be owed to the additional columns alone: more than half of it was, on three "
        "corpora of docs/LOG.md."
    ),
    "transductive": (
        "Transductive: the encoder was tuned on the texts of the held-out rows too, so new texts "
        "may fare worse."
    ),
    "base_saw_held_out_texts": (
        "Transductive: the base model {base} was tuned before, on texts of the held-out rows among "
        "others, so new texts may fare worse, with the factory encoder too."
    ),
    "few_groups": (
        "The held-out rows come from {groups} groups ({parts_by}), and the intervals are drawn by "
        "group: below {needed} groups they are too narrow."
    ),
    "unfinished": "Unfinished: {listed_missing} are not there.",
    "seed_not_counted": "Seed {seed} is not counted: it lacks sizes that others have.",
    "data_warning": "{message}.",
}


def _doubt(statement: Statement) -> str:
    facts = dict(statement.facts)
    if statement.verdict == "few_seeds":
        facts["counted_seeds"] = formatting.counted(facts["seeds"], "seed")
    if statement.verdict == "unfinished":
        facts["listed_missing"] = ", ".join(facts["missing"])
    text = DOUBTS[statement.verdict].format_map(facts)
    return f"{facts['study']}: {text}" if "study" in facts else text


def _hypothesis(statement: Statement) -> str:
    facts, numbers = statement.facts, statement.numbers
    by = f"{interval('share', numbers['deciding'])}, " if numbers else ""
    how = statement.verdict.replace("_", " ")
    return f"{facts['name']}, {facts['claim']}: {how} ({by}{facts['reason']})."


def _words(statement: Statement) -> str:
    told = [f"{each['word']!r} (×{each['ratio']:.2f})" for each in statement.facts["words"]]
    return f"Words that move prices by {statement.facts['baseline']}: {', '.join(told)}."


def _difference(statement: Statement) -> str:
    unit = statement.unit
    facts = statement.facts
    changes = "; ".join(
        f"{TITLES[name]} {interval(name, change, sign=True, unit=unit)}"
        for name, change in statement.numbers.items()
    )
    return (
        f"{facts['label']} ({facts['arm']}) minus {facts['other_label']} ({facts['other_arm']}), "
        f"paired: {changes}."
    )


SENTENCES: Mapping[Kind, Callable[[Statement], str]] = {
    "gain": _gain,
    "curve": _curve,
    "enough": _enough,
    "forecast": _forecast,
    "backtest": _backtest,
    "stop": _stop,
    "choice": _choice,
    "baseline": _baseline,
    "addition": _addition,
    "served": _served,
    "doubt": _doubt,
    "hypothesis": _hypothesis,
    "words": _words,
    "difference": _difference,
}
