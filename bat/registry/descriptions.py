"""What the registry's pages say of a model and its versions: what it predicts, how well, how."""

from __future__ import annotations

from collections.abc import Mapping

from bat import escape
from bat.models import predictors
from bat.workflow.outcome import About

DIGEST_LETTERS = 16  # of a corpus digest, enough to tell two apart (convention)
NAME_LETTERS = 200  # of a name that others chose: MLflow's database keeps 5,000 of a page
REQUEST = '{"dataframe_records": [{"text": "…"}]}'
BEST_PAIR = (
    "`best_pair` is the newest best encoder with the XGBoost regressor on its embedding, whether "
    "or not something else is served"
)


def of_model(name: str, about: About, target_column: str) -> str:
    """Say what a registered model is for, how to call it, and what its aliases are; markdown."""
    return (
        f"Predicts **{_name(target_column)}**{_in_unit(about)} from a text, with an interval. Last "
        f"registered by a study of {_corpus(about)}; each version says what it is and how well it "
        f"predicts.\n\n{how_to_call(f'models:/{name}@champion')}\n\n"
        f"Aliases: `champion` is served; `candidate` is the newest version; {BEST_PAIR}; "
        "`previous` was served before."
    )


def of_version(method: str, about: About, tags: Mapping[str, str], target_column: str) -> str:
    """Say what a version is, what it was learnt from, and how well it predicts; markdown.

    Args:
        method: name of its predictor in ``predictors.PREDICTORS``.
        about: the study that made it.
        tags: of the version, among them its scores.
        target_column: of the numbers that it predicts.
    """
    label = predictors.named(method).label
    unit = f" {escape.markdown(about.unit)}" if about.unit else ""
    facts = {
        "error on held-out rows (MAE)": f"{escape.markdown(tags['mae'])}{unit}, 95 % interval",
        "R² of its logarithm there": escape.markdown(tags.get("r2_log", "")),
        "reads": escape.markdown(tags.get("reads", "")),
        "encoder": _name(about.base),
        "arm of the study": _name(tags.get("arm", "")),
        "learnt from": _corpus(about),
    }
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items() if fact)
    return (
        f"{label[0].upper()}{label[1:]}, chosen by its held-out error; predicts "
        f"**{_name(target_column)}**{_in_unit(about)} from a text, with an interval.\n\n{lines}\n\n"
        f"{BEST_PAIR[0].upper()}{BEST_PAIR[1:]}."
    )


def how_to_call(address: str) -> str:
    """Say how to serve what has an address, how to ask it, and what it answers; markdown."""
    commands = (
        f"mlflow models serve -m {address} --env-manager local -p 5001\n"
        "curl localhost:5001/invocations -H 'Content-Type: application/json' "
        f"-d '{REQUEST}'"
    )
    return (
        f"Serve and call it:\n\n{escape.fenced(commands)}\n\n"
        "The answer's fields: `price`, `price_low`, `price_high` (the ends of the interval), "
        "`truncated` (the end of the text was not read). From Python: "
        f'`bat.load("{address}").predict(texts)`.'
    )


def _corpus(about: About) -> str:
    """Name a corpus with its rows and its digest."""
    rows = f"{sum(about.parts.values()):,} rows"
    return f"{_name(about.corpus)} ({rows}, digest `{about.digest[:DIGEST_LETTERS]}`)"


def _name(text: str) -> str:
    return escape.markdown(text[:NAME_LETTERS])


def _in_unit(about: About) -> str:
    return f" (in {escape.markdown(about.unit)})" if about.unit else ""
