"""The model card of a tuned encoder: what was done to what, readable whatever its names hold."""

import dataclasses
import json
import re
import shutil

import pytest

from bat import escape
from bat.models import encoder, encoder_opening
from bat.tuning import model_card
from bat.tuning.objectives import mlm
from tests.conftest import context_of, masked_words, tuned_by

NASTY = "cars $5k_to_$9k_ <img src=x> [a](b) `c` | * _d_\n---\nlicense: x\u2028\ud800 é 🚗"


@pytest.fixture(scope="module")
def tuned(tiny, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlm, "MIN_STEPS", 2)
        recipe = mlm.Recipe(blocks_a_step=1, precision="fp32")
        (found,) = masked_words(tiny, texts, [20], recipe, held_out=texts[500:])
    return found, "masked words", recipe


def licensed(tiny, folder, head):
    shutil.copytree(tiny.folder, folder)
    (folder / "README.md").write_text(head, encoding="utf-8")
    return dataclasses.replace(tiny, folder=folder)


def parts(card):
    import yaml

    empty, head, body = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head), body


def test_a_card_says_what_was_done(tiny, tuned, tmp_path):
    found, method, recipe = tuned
    base = licensed(tiny, tmp_path / "e", "---\nlicense: apache-2.0\n---\n")
    head, body = parts(
        model_card.text(dataclasses.replace(base, name="own/tiny"), found, method, recipe, "sales")
    )
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "own/tiny"
    assert head["library_name"] == "sentence-transformers"
    assert "| corpus | sales |" in body
    assert "| documents | 20 (" in body
    for losses in (found.held_out, found.losses):
        assert f"{losses[0][1]:.3f} → {losses[-1][1]:.3f}" in body
    for name, value in (dataclasses.asdict(recipe)).items():
        assert f"`{name}={value}`" in body
    assert "License of the base model: apache" in body


def test_a_base_without_license_is_not_given_one(tiny, tuned, tmp_path):
    head, body = parts(model_card.text(licensed(tiny, tmp_path / "e", "# Hello"), *tuned, "sales"))
    assert "license" not in head
    assert "base_model" not in head  # a folder's name is no address on the hub
    assert "License of the base model: not stated" in body


def test_names_of_users_change_nothing_but_themselves(tiny, tuned, tmp_path):
    """Head and layout are those of a plain name, and a reader sees the nasty one as it is."""
    import html

    head = "---\nlicense: " + json.dumps("a: {b\u2029\n---") + "\n---\n"
    base = licensed(tiny, tmp_path / "e", head)
    plain = model_card.text(dataclasses.replace(base, name="x"), *tuned, "x")
    nasty = model_card.text(dataclasses.replace(base, name=NASTY), *tuned, NASTY)
    assert parts(nasty)[0] == parts(plain)[0]
    assert parts(plain)[0]["license"] == r"a: {b\u2029\n---"
    assert nasty.count("\n") == plain.count("\n")
    (row,) = (line for line in nasty.split("\n") if line.startswith("| corpus | "))
    shown = row.removeprefix("| corpus | ").removesuffix(" |")
    unescaped = re.sub(r"\\.", "", shown)  # CommonMark: a backslash makes what follows literal
    assert not set("<>[]`|*_$") & set(unescaped)
    assert re.sub(r"\\(.)", r"\1", html.unescape(shown)) == escape.printable(NASTY)
    assert nasty.encode("utf-8")


def test_the_card_goes_with_the_encoder_wherever_it_is_saved(tiny, texts, tmp_path, monkeypatch):
    """In the folder that a study keeps, and in what is saved of that again, as MLflow does."""
    monkeypatch.setattr(mlm, "MIN_STEPS", 2)
    recipe = mlm.Recipe(blocks_a_step=1, precision="fp32")
    (made,) = tuned_by(context_of(tiny, texts, [20], recipe, name="sales of 2019"))
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert "| corpus | sales of 2019 |" in card
    opened = encoder_opening.open_encoder(str(made.folder))
    with encoder.quiet():
        opened.model.save(str(tmp_path / "again"))
    assert (tmp_path / "again" / "README.md").read_text(encoding="utf-8") == card
