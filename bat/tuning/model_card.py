"""The README of a tuned encoder: what it was made of, how, and what that says of its use."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bat import escape
from bat.models.encoder import SEEN_FILE, Encoder
from bat.models.encoder_files import license_of
from bat.tuning import loop

CARD_FILE = "README.md"  # where sentence-transformers and the hub look for a model card
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def text(base: Encoder, tuned: loop.Tuned, method: str, recipe: Any, corpus: str) -> str:
    """Write the model card of a tuned encoder, with the license of its base.

    Args:
        base: the encoder that was tuned.
        tuned: what came of it.
        method: the label of its objective.
        recipe: how it was tuned.
        corpus: name of the texts; a user chose it, so that it may hold anything.

    Returns:
        Markdown with a YAML head, as the Hugging Face hub reads it.
    """
    license_found = license_of(base.folder)
    name = escape.markdown(base.name)
    lines = [
        *_head(base.name, license_found),
        f"# {name}, tuned on {tuned.documents:,} documents",
        "",
        f"A sentence encoder: it reads the first {base.max_tokens:,} tokens of a text, and gives "
        f"{base.dimension:,} numbers.",
        "",
        "| | |",
        "|---|---|",
        *(
            f"| {fact} | {value} |"
            for fact, value in _facts(name, tuned, method, recipe, corpus)
            if value
        ),
        "",
        "The losses are those of the weights as tuned; `tuned_share` says how far the weights in "
        "this folder lie on the way there from those of the base model.",
        "",
        "## Use",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'model = SentenceTransformer("path/of/this/folder")',
        'embeddings = model.encode(["a text"])',
        "```",
        "",
        "## Limits",
        "- It was tuned on the texts of one corpus. The base model may do better, on texts of "
        "another kind and on this kind too: compare both on your task.",
        f"- `{SEEN_FILE}` lists the digests of the texts it has seen; a test on them flatters.",
        "- What the base model's card says of bias and of languages holds here too.",
        *_license_line(license_found),
        "",
    ]
    return "\n".join(lines)


def _facts(
    base: str, tuned: loop.Tuned, method: str, recipe: Any, corpus: str
) -> Iterator[tuple[str, str]]:
    """List what was done; an empty text where something was not measured."""
    yield "base model", base
    yield "corpus", escape.markdown(corpus)
    yield "documents", f"{tuned.documents:,} ({tuned.tokens:,} tokens), without their prices"
    yield "method", f"{method}, {tuned.steps:,} steps"
    yield "held-out loss", _course(tuned.held_out)
    yield "training loss", _course(tuned.losses)
    # What the recipe left open was chosen by the tuning.
    settings = dataclasses.asdict(recipe) | dict(tuned.facts) | {"precision": tuned.precision}
    yield "recipe", ", ".join(f"`{name}={value}`" for name, value in settings.items())


def _head(base: str, license_found: Mapping[str, str]) -> Iterator[str]:
    """Write the YAML head; a JSON string is a YAML one."""
    yield "---"
    if HUB_ID.fullmatch(base):
        yield f"base_model: {json.dumps(base)}"
    for key, value in license_found.items():
        yield f"{key}: {json.dumps(escape.printable(value), ensure_ascii=False)}"
    yield "library_name: sentence-transformers"
    yield "pipeline_tag: sentence-similarity"
    yield "tags: [sentence-transformers, feature-extraction]"
    yield "---"


def _license_line(license_found: Mapping[str, str]) -> Iterator[str]:
    stated = ", ".join(map(escape.markdown, license_found.values()))
    yield f"- License of the base model: {stated or 'not stated by its files; ask its authors'}."


def _course(losses: Sequence[tuple[int, float]]) -> str:
    return f"{losses[0][1]:.3f} → {losses[-1][1]:.3f}" if losses else ""
