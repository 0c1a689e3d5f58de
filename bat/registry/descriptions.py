"""What the registry's pages say of a model and its versions: what it predicts, how well, how."""

from __future__ import annotations

from collections.abc import Mapping

from bat import escape
from bat.models import predictors
from bat.workflow.outcome import About

DIGEST_LETTERS = 16  # of a corpus digest, enough to tell two apart (convention)
REQUEST = '{"dataframe_records": [{"text": "…"}]}'


def of_model(name: str, about: About, target_column: str) -> str:
    """Say what a registered model is for, how to call it, and what its aliases are; markdown."""
    commands = (
        f"mlflow models serve -m models:/{name}@champion --env-manager local -p 5001\n"
        "curl localhost:5001/invocations -H 'Content-Type: application/json' "
        f"-d '{REQUEST}'"
    )
    return (
        f"Predicts **{escape.markdown(target_column)}**{_in_unit(about)} from a text, with an "
        f"interval. Last registered by a study of {escape.markdown(about.corpus)}.\n\n"
        f"Serve and call it:\n\n{escape.fenced(commands)}\n\n"
        "The answer's fields: `price`, `price_low`, `price_high` (the ends of the interval), "
        "`truncated` (the end of the text was not read). From Python: "
        f'`bat.load("models:/{name}@champion").predict(texts)`.\n\n'
        "Aliases: `champion` is served; `candidate` is the newest version; `best_pair` is the "
        "newest encoder with its XGBoost, whether or not something else is served; `previous` was "
        "served before."
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
    facts = "\n".join(f"- {name}: {escape.markdown(value)}" for name, value in tags.items())
    return (
        f"{label[0].upper()}{label[1:]}, chosen by its held-out error; predicts "
        f"**{escape.markdown(target_column)}**{_in_unit(about)}.\n\n"
        f"Error on held-out rows (MAE): {escape.markdown(tags['mae'])}{unit}, 95 % interval. "
        f"Learnt from {sum(about.parts.values()):,} rows of {escape.markdown(about.corpus)} "
        f"(digest {about.digest[:DIGEST_LETTERS]}).\n\n{facts}"
    )


def _in_unit(about: About) -> str:
    return f" (in {escape.markdown(about.unit)})" if about.unit else ""
