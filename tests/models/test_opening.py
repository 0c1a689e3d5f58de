"""What opens embeds as ``SentenceTransformer.encode`` does; the rest is refused at once."""

import copy
import json
import re
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers

from bat import cli
from bat.models import embedding, encoder, encoder_files, encoder_opening
from bat.tuning import masked_model
from bat.tuning.objectives import mlm
from bat.workflow import stages
from tests.conftest import (
    BERT_TOKENS,
    DISTILBERT_SHAPE,
    MAX_TOKENS,
    ROBERTA_TOKENS,
    SHAPE,
    masked_words,
    save_encoder,
    tokenizer,
)

ROWS = MAX_TOKENS + 2  # of the position tables of SHAPE
TEXTS = ["one red coupe", "...?!", "a silver roadster, 12k miles " * 30]


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def saved(folder, model, words):
    with encoder.quiet():
        model.save_pretrained(folder)
        words.save_pretrained(folder)
    return folder


def bert(folder, words, **changes):
    import transformers

    config = transformers.BertConfig(**{"vocab_size": len(words)} | SHAPE | changes)
    torch.manual_seed(0)
    return saved(folder, transformers.BertForMaskedLM(config), words)


def words(special=BERT_TOKENS, **changes):
    found = tokenizer(special, byte_level=special == ROBERTA_TOKENS)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def assert_as_encode(opened):
    expected = opened.model.encode(TEXTS, batch_size=1)
    np.testing.assert_allclose(embedding.encode(opened, TEXTS), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding.embed(opened, TEXTS), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 8, 32, 99])  # of 32
def test_a_stored_truncation_holds_everywhere(tmp_path, texts, monkeypatch, width):
    """In embedding and end-to-end tuning, and in what masked words make of it, saved and opened."""
    from sentence_transformers import SentenceTransformer

    folder = save_encoder(tmp_path / "e")
    edit(folder / "config_sentence_transformers.json", truncate_dim=width)
    opened = encoder_opening.open_encoder(str(folder))
    assert opened.dimension == min(width, 32)
    assert_as_encode(opened)
    monkeypatch.setattr(mlm, "MIN_STEPS", 2)
    recipe = mlm.Recipe(blocks_a_step=1)
    (tuned,) = masked_words(opened, texts, [20], recipe)
    (tmp_path / "tuned").mkdir()
    stages._save_tuned(tuned, ["seen"], TEXTS, "# A card", tmp_path / "tuned")
    again = encoder_opening.open_encoder(str(tmp_path / "tuned" / "encoder"))
    assert again.model.truncate_dim == width
    assert_as_encode(again)
    loaded = SentenceTransformer(str(tmp_path / "tuned" / "encoder"), device="cpu")
    assert loaded.encode(TEXTS).shape == (3, min(width, 32))
    with torch.no_grad():
        assert encoder.pooled(opened, encoder.tokenise(opened, TEXTS)).shape == (
            3,
            opened.dimension,
        )


@pytest.fixture(scope="module")
def slow_folder(tmp_path_factory):
    """An encoder whose tokenizer is written in Python, and loses its merges when it is saved."""
    import transformers

    top = tmp_path_factory.mktemp("slow")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    pieces = [*letters, *(f"{letter}@@" for letter in letters)]
    (top / "vocab.txt").write_text("".join(f"{piece} 1\n" for piece in pieces))
    (top / "bpe.codes").write_text("r e 10\nre d</w> 5\n")
    slow = transformers.BertweetTokenizer(
        str(top / "vocab.txt"), str(top / "bpe.codes"), model_max_length=MAX_TOKENS
    )
    config = transformers.RobertaConfig(vocab_size=len(slow), **SHAPE)
    saved(top / "e", transformers.RobertaForMaskedLM(config), slow)
    shutil.copy(top / "bpe.codes", top / "e")
    return top / "e"


def test_a_tokenizer_without_fast_backend_embeds_and_is_not_tuned(slow_folder):
    opened = encoder_opening.open_encoder(str(slow_folder))
    assert not opened.model.tokenizer.is_fast
    assert_as_encode(opened)
    assert encoder_opening.open_encoder(str(slow_folder)).digest == opened.digest
    for refuse in (encoder_opening.refuse_unsavable, masked_model.refuse_untunable):
        with pytest.raises(cli.InputError, match=r"BertweetTokenizer transformers does not save"):
            refuse(opened)


def test_the_digest_covers_a_tokenizer_without_fast_backend(slow_folder, tmp_path):
    other = shutil.copytree(slow_folder, tmp_path / "other")
    (other / "bpe.codes").write_text("r e 10\n")
    digests = [encoder_opening.open_encoder(str(each)).digest for each in (slow_folder, other)]
    assert digests[0] != digests[1]


def test_tokens_beyond_the_table_are_refused(tmp_path):
    longer = words()
    folder = bert(tmp_path / "e", longer)
    longer.add_tokens(["pagoda", "targa"])
    longer.save_pretrained(folder)
    with pytest.raises(cli.InputError, match=r"2 tokens beyond the \d+ rows .* such as 'pagoda'"):
        encoder_opening.open_encoder(str(folder))


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    with pytest.raises(cli.InputError, match="no padding token"):
        encoder_opening.open_encoder(str(bert(tmp_path / "e", words(pad_token=None))))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_token": None}, "has no mask token"),
        ({"cls_token": None}, "has no start token"),
        ({"sep_token": None}, "has no separator token"),
        ({"pad_token": "[SEP]"}, "pads with its separator token"),
        ({"mask_token": "[PAD]"}, "pads with its mask token"),
    ],
)
def test_what_blocks_are_made_of_is_needed_for_tuning_alone(tmp_path, changes, said):
    opened = encoder_opening.open_encoder(str(bert(tmp_path / "e", words(**changes))))
    assert_as_encode(opened)
    with pytest.raises(cli.InputError, match=f"base_model='e', whose tokenizer {said}"):
        masked_model.refuse_untunable(opened)


def test_a_block_has_room_for_a_word(tmp_path):
    short = bert(tmp_path / "e", tokenizer(BERT_TOKENS, byte_level=False))
    edit(short / "tokenizer_config.json", model_max_length=3)
    masked_model.refuse_untunable(encoder_opening.open_encoder(str(short)))
    opened = encoder_opening.open_encoder(str(short))
    opened.model.max_seq_length = 2
    with pytest.raises(cli.InputError, match="which reads 2 tokens of a text"):
        masked_model.refuse_untunable(opened)


def test_what_can_be_tuned_is_not_refused(tiny, encoder_of):
    for opened in (tiny, *map(encoder_of, ("bert", "roberta", "distilbert", "mpnet"))):
        before = encoder.digest(opened.model)
        masked_model.refuse_untunable(opened)
        assert encoder.digest(opened.model) == before


def test_a_masked_model_that_does_not_fit_is_refused(tiny, monkeypatch):
    other = masked_model.open_model(tiny)[0]
    del other.bert.encoder.layer[1]
    found = other, {"missing_keys": []}
    monkeypatch.setattr(
        transformers.AutoModelForMaskedLM, "from_pretrained", lambda *_, **__: found
    )
    with pytest.raises(cli.InputError, match=r"does not fit it: .* such as encoder.layer.1"):
        masked_model.refuse_untunable(tiny)
    monkeypatch.undo()
    broken, _ = masked_model.open_model(tiny)
    broken.cls.predictions.bias.data.fill_(torch.nan)
    monkeypatch.setattr(masked_model, "open_model", lambda opened: (broken, []))
    with pytest.raises(cli.InputError, match=r"its loss is no number"):
        masked_model.refuse_untunable(tiny)


CLASSES = {  # architecture: its class, its shape, whether positions start after the padding's
    "bert": ("BertForMaskedLM", SHAPE, False),
    "roberta": ("RobertaForMaskedLM", SHAPE, True),
    "xlm-roberta": ("XLMRobertaForMaskedLM", SHAPE, True),
    "mpnet": ("MPNetForMaskedLM", SHAPE, True),
    "distilbert": ("DistilBertForMaskedLM", DISTILBERT_SHAPE, False),
    "albert": ("AlbertForMaskedLM", SHAPE | {"embedding_size": 16}, False),
    "deberta-v2": ("DebertaV2ForMaskedLM", SHAPE | {"relative_attention": True}, False),
}


@pytest.mark.parametrize("stored", [MAX_TOKENS - 1, ROWS, 10**6, 10**30, 0, -5])
@pytest.mark.parametrize("architecture", CLASSES)
def test_the_length_is_what_the_position_table_holds(tmp_path, architecture, stored):
    import transformers

    kind, shape, offset = CLASSES[architecture]
    inner = words(ROBERTA_TOKENS if offset else BERT_TOKENS)
    config = getattr(transformers, kind.replace("ForMaskedLM", "Config"))(
        vocab_size=len(inner), **shape
    )
    torch.manual_seed(0)
    folder = saved(tmp_path / "e", getattr(transformers, kind)(config), inner)
    edit(folder / "tokenizer_config.json", model_max_length=stored)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = encoder_opening.open_encoder(str(folder))
    table = shape["max_position_embeddings"] - 2 * offset
    assert opened.max_tokens == min(table, stored if stored > 0 else table)
    assert_as_encode(opened)
    assert len(encoder.tokenise(opened, TEXTS)[2]) == opened.max_tokens


def test_a_length_that_is_lowered_or_made_up_is_said(tmp_path):
    import transformers

    inner = words(ROBERTA_TOKENS)
    config = transformers.RobertaConfig(vocab_size=len(inner), **SHAPE)
    folder = saved(tmp_path / "e", transformers.RobertaForMaskedLM(config), inner)
    edit(folder / "tokenizer_config.json", model_max_length=MAX_TOKENS + 1)
    with pytest.warns(
        UserWarning, match=rf"reads {MAX_TOKENS} tokens .* files say {MAX_TOKENS + 1}"
    ):
        encoder_opening.open_encoder(str(folder))
    config = transformers.T5Config(
        vocab_size=len(inner), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2
    )
    endless = saved(tmp_path / "t5", transformers.T5EncoderModel(config), inner)
    for stored in (10**30, 10**9):
        edit(endless / "tokenizer_config.json", model_max_length=stored)
        with pytest.warns(UserWarning, match=r"reads 512 tokens of a text; its files state no"):
            opened = encoder_opening.open_encoder(str(endless))
        assert len(encoder.tokenise(opened, ["red " * 999])[0]) == 512


def test_positions_without_a_table_are_not_tried(encoder_of, monkeypatch):
    monkeypatch.setattr(
        encoder_opening, "_has_positions", lambda model, count: pytest.fail("tried")
    )
    assert encoder_opening._readable(encoder_of("modernbert").model, 40_960) == 40_960


def test_finding_the_length_changes_nothing(tiny):
    before, modules = encoder.digest(tiny.model), list(tiny.model.modules())
    assert encoder_opening._readable(tiny.model, ROWS + 1) == ROWS
    assert not any(module._forward_pre_hooks for module in modules)
    assert encoder.digest(tiny.model) == before


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def change(name, **changes):
    return lambda folder: edit(folder / name, **changes)


def change_module(place, **changes):
    def break_it(folder):
        modules = json.loads((folder / "modules.json").read_text())
        modules[place] |= changes
        (folder / "modules.json").write_text(json.dumps(modules))

    return break_it


def shorten(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


STATED = "config_sentence_transformers.json"
DAMAGES = {
    "modules.json is not valid JSON": write("modules.json", "[{"),
    "modules.json is no list of modules": write("modules.json", "{}"),
    "modules.json is no list of modules,": write("modules.json", '["Pooling"]'),
    "modules.json names '../other'": change_module(1, path="../other"),
    'does not define a "Nope"': change_module(1, type="sentence_transformers.models.Nope"),
    "config.json is not valid JSON": write("config.json", "{"),
    "config.json is not valid JSON (Expecting value": write("config.json", ""),
    "config.json is no JSON object": write("config.json", "[]"),
    "it lacks config.json": lambda folder: (folder / "config.json").unlink(),
    "tokenizer.json is not valid JSON": write("tokenizer.json", "{"),
    "model.safetensors is damaged or cut": shorten,
    "model.safetensors is damaged or cut (": write("model.safetensors", ""),
    "it lacks 1_Pooling/config.json": lambda folder: shutil.rmtree(folder / "1_Pooling"),
    "1_Pooling/config.json is not valid JSON": write("1_Pooling/config.json", "{"),
    "columns, its files say 16": change("1_Pooling/config.json", embedding_dimension=16),
    "Invalid pooling mode": change("1_Pooling/config.json", pooling_mode="best"),
    "sentence_bert_config.json is not": write("sentence_bert_config.json", "{"),
    "its truncate_dim is 0": change(STATED, truncate_dim=0),
    "its truncate_dim is -8": change(STATED, truncate_dim=-8),
    "its truncate_dim is '8'": change(STATED, truncate_dim="8"),
    "its truncate_dim is True": change(STATED, truncate_dim=True),
    "weights have other shapes": change("config.json", hidden_size=16, num_attention_heads=2),
    "'no-such-function'": change("config.json", hidden_act="no-such-function"),
    "it reads 0 tokens": change("tokenizer_config.json", model_max_length=2),
    "differ by": change("sentence_bert_config.json", processing_kwargs={"text": {"max_length": 9}}),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damaged_files_are_refused_by_name(tiny_folder, tmp_path, said):
    folder = shutil.copytree(tiny_folder, tmp_path / "e")
    DAMAGES[said](folder)
    with pytest.raises(cli.InputError, match=rf"which does not open: .*{re.escape(said)}"):
        encoder_opening.open_encoder(str(folder))


CODE = {
    "modules.json names the class modeling_own.Best": change_module(0, type="modeling_own.Best"),
    "modules.json names the class os.system": change_module(1, type="os.system"),
    "auto_map of config.json names modeling_own.Own": change(
        "config.json", model_type="own", auto_map={"AutoModel": "modeling_own.Own"}
    ),
}


@pytest.mark.parametrize("said", CODE)
def test_code_that_comes_with_a_model_is_refused_and_not_run(tiny_folder, tmp_path, said):
    folder = shutil.copytree(tiny_folder, tmp_path / "e")
    CODE[said](folder)
    (folder / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(cli.InputError, match=rf"needs code of its own: {re.escape(said)}"):
        encoder_opening.open_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


def test_code_that_nothing_needs_is_mentioned(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "e")
    edit(folder / "config.json", auto_map={"AutoModel": "modeling_own.Own"})
    with pytest.warns(UserWarning, match="not run; BertModel reads it"):
        assert_as_encode(encoder_opening.open_encoder(str(folder)))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"layer_norm_eps": 1e-3}),
        ("config.json", {"num_attention_heads": 4}),
        (STATED, {"truncate_dim": 8}),
        (STATED, {"prompts": {"sell": "2019 delta: "}, "default_prompt_name": "sell"}),
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("tokenizer_config.json", {"model_max_length": 9}),
    ],
)
def test_the_digest_changes_with_what_changes_an_embedding(
    tiny, tmp_path, tiny_folder, file, changes
):
    folder = shutil.copytree(tiny_folder, tmp_path / "e")
    edit(folder / file, **changes)
    other = encoder_opening.open_encoder(str(folder))
    before, after = embedding.encode(tiny, TEXTS), embedding.encode(other, TEXTS)
    assert before.shape != after.shape or np.abs(before - after).max() > 1e-5
    assert other.digest != tiny.digest
    again = tmp_path / "again"
    with encoder.quiet():
        other.model.save(str(again))
    assert encoder_opening.open_encoder(str(again)).digest == other.digest


def test_embeddings_of_another_configuration_are_not_taken_from_the_cache(
    tiny, tiny_folder, tmp_path
):
    folder = shutil.copytree(tiny_folder, tmp_path / "e")
    edit(folder / "config.json", num_attention_heads=4)
    embedding.embed(tiny, TEXTS)
    assert_as_encode(encoder_opening.open_encoder(str(folder)))


def test_the_comparison_is_made_once(tiny_folder, tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(encoder_opening, "_COMPARED", set())
    monkeypatch.setattr(
        encoder_opening, "_refuse_unlike_encode", lambda *given: compared.append(given)
    )
    for _ in range(2):
        encoder_opening.open_encoder(str(tiny_folder))
    assert len(compared) == 1
    ours = shutil.copytree(tiny_folder, tmp_path / "ours")
    (ours / encoder.SEEN_FILE).write_text("[]")
    monkeypatch.setattr(encoder_opening, "_COMPARED", set())
    encoder_opening.open_encoder(str(ours))
    assert len(compared) == 1


def test_an_embedding_that_is_no_number_is_refused(tiny, tmp_path):
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        encoder.transformer(broken).encoder.layer[0].output.dense.bias.fill_(torch.nan)
    with encoder.quiet():
        broken.save(str(tmp_path / "e"))
    with pytest.raises(cli.InputError, match="differ by nan"):
        encoder_opening.open_encoder(str(tmp_path / "e"))


def test_very_long_texts_are_compared_by_their_tokens(tiny, monkeypatch):
    monkeypatch.setattr(encoder_opening, "PROBE_TOKENS", 8)
    encoder_opening._refuse_unlike_encode("e", tiny)
    monkeypatch.setattr(
        encoder_opening, "tokenise", lambda opened, texts: [np.zeros(3, np.int32)] * len(texts)
    )
    with pytest.raises(cli.InputError, match="differ by"):
        encoder_opening._refuse_unlike_encode("e", tiny)


def test_a_license_is_read_where_a_card_states_it(tmp_path):
    assert encoder_files.license_of(tmp_path) == {}
    for head, found in (
        ("---\nlicense: mit\n---\n# A model", {"license": "mit"}),
        ("---\nlicense: [mit]\nlicense_name: own\n---\n", {"license_name": "own"}),
        ("---\nlicense: {\n---\n", {}),
        ("no head", {}),
    ):
        (tmp_path / "README.md").write_text(head)
        assert encoder_files.license_of(tmp_path) == found
