"""The encoder: what sentence-transformers gives, each text once, and never twice across runs."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bat import cli
from bat.models import embedding, encoder, encoder_opening
from tests.conftest import MAX_TOKENS, save_encoder

FEW = 40


@pytest.fixture
def forwards(monkeypatch):
    """How many texts each forward pass was given."""
    calls = []
    forward = embedding._forward

    def counted(opened, ids):
        calls.append(len(ids))
        return forward(opened, ids)

    monkeypatch.setattr(embedding, "_forward", counted)
    return calls


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(embedding, "BATCH_TOKENS_CPU", 2 * MAX_TOKENS)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("prompt", [None, "2019 delta: "])
def test_embeddings_are_those_of_sentence_transformers(
    tmp_path, texts, small_batches, pooling, normalize, prompt
):
    folder = save_encoder(tmp_path / "e", pooling=pooling, normalize=normalize, prompt=prompt)
    opened = encoder_opening.open_encoder(str(folder))
    some = [*texts[:FEW], "short", " ".join(texts[:4]), "  spaced   out  "]  # the last but one cut
    expected = opened.model.encode(some, show_progress_bar=False)
    assert expected.std(axis=0).max() > 0.01  # texts do differ
    if prompt:
        assert np.abs(expected - opened.model.encode(some, prompt="")).max() > 0.01
    np.testing.assert_allclose(embedding.encode(opened, some), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedding.embed(opened, some), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["roberta", "xlm-r", "distilbert", "mpnet", "modernbert"])
def test_other_architectures_agree_with_sentence_transformers(encoder_of, texts, architecture):
    opened = encoder_of(architecture)
    expected = opened.model.encode(list(texts[:FEW]))
    np.testing.assert_allclose(embedding.encode(opened, texts[:FEW]), expected, rtol=0, atol=1e-5)


def test_one_prompt_can_be_left_out_of_the_pooling(tmp_path, texts):
    folder = save_encoder(tmp_path / "e", prompt="2019 delta: ")
    settings = folder / "1_Pooling" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"include_prompt": False}))
    opened = encoder_opening.open_encoder(str(folder))
    expected = opened.model.encode(list(texts[:FEW]))
    np.testing.assert_allclose(embedding.encode(opened, texts[:FEW]), expected, rtol=0, atol=1e-5)


def test_row_i_belongs_to_text_i_and_equal_texts_are_encoded_once(tiny, texts, forwards):
    rows = embedding.embed(tiny, [*texts[:5], *reversed(texts[:5])])
    assert sum(forwards) == 5
    assert (rows[:5] == rows[5:][::-1]).all()
    assert rows.dtype == np.float32
    assert rows.shape == (10, tiny.dimension)


def test_cores_side_by_side_make_the_same_bits(tiny, texts, monkeypatch, small_batches):
    expected = embedding.encode(tiny, texts)
    chosen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    assert (embedding.embed(tiny, texts) == expected).all()
    assert set(chosen[:-1]) == {1}  # each core works alone,
    assert chosen[-1] == 3  # and afterwards all together again


def test_batches_hold_every_text_once_within_the_budget(monkeypatch):
    monkeypatch.setattr(embedding, "BATCH_TOKENS_CPU", 20)
    lengths = [3, 30, 7, 7, 1, 2, 10]
    groups = list(embedding.batches(lengths))
    assert groups == [[1], [6, 2], [3, 0], [5, 4]]
    assert all(len(group) * lengths[group[0]] <= 20 for group in groups[1:])  # one text is too long


def test_empty_texts_are_refused_by_number(tiny):
    for embed in (embedding.embed, embedding.encode):
        with pytest.raises(ValueError, match="text 1 is empty"):
            embed(tiny, ["one", " \n", "three"])


def test_a_row_that_is_not_finite_is_refused(tiny, texts, monkeypatch):
    broken = encoder.Encoder(copy.deepcopy(tiny.model), "broken", tiny.folder, "broken")
    word = broken.model.tokenizer.convert_tokens_to_ids("comet")
    with torch.no_grad():
        encoder.transformer(broken.model).embeddings.word_embeddings.weight[word] = torch.nan
    fine = [text for text in texts if "comet" not in text][:5]
    with pytest.raises(ValueError, match=r"embedding of 'the comet' is not finite"):
        embedding.embed(broken, [*fine, *fine, "the comet"])


def test_tokens_are_counted_whole(tiny, texts):
    short, long = texts[0], " ".join(texts[:5])
    alone = [len(tiny.model.tokenizer(text)["input_ids"]) - 2 for text in texts[:5]]
    assert encoder.token_counts(tiny, [short, long]).tolist() == [alone[0] + 2, sum(alone) + 2]
    assert sum(alone) + 2 > MAX_TOKENS


def test_reading_tells_of_each_text_whether_it_was_cut(tiny, texts):
    """One that just fits, one that is a token too long, and others, in any order."""
    word = next(
        text for text in texts[0].split() if len(tiny.model.tokenizer(text)["input_ids"]) == 3
    )
    sizes = [MAX_TOKENS - 1, 1, MAX_TOKENS - 2, 2 * MAX_TOKENS, MAX_TOKENS - 3]
    some = [" ".join([word] * size) for size in sizes]
    rows, cut = embedding.read(tiny, some)
    assert cut.tolist() == [size + 2 > MAX_TOKENS for size in sizes]
    np.testing.assert_array_equal(rows, embedding.encode(tiny, some))
    assert embedding.read(tiny, [])[1].shape == (0,)


def test_the_digest_outlives_saving_and_use(tiny, texts, tmp_path):
    tiny.model.encode(list(texts[:3]))  # sets padding and truncation in the tokenizer
    with encoder.quiet():
        tiny.model.save(str(tmp_path / "again"))
    assert encoder_opening.open_encoder(str(tmp_path / "again")).digest == tiny.digest
    assert encoder.digest(tiny.model) == tiny.digest


def test_weights_that_a_file_lacks_do_not_change_the_digest(folder_of):
    missing = "pooler.dense.weight"  # as in every masked-language model
    assert missing not in load_file(folder_of("roberta") / "model.safetensors")
    torch.manual_seed(1)
    first = encoder_opening.open_encoder(str(folder_of("roberta")))
    torch.manual_seed(2)
    again = encoder_opening.open_encoder(str(folder_of("roberta")))
    assert missing in encoder.transformer(first.model).state_dict()
    assert first.digest == again.digest


def test_the_digest_changes_with_any_weight(tiny):
    seen = {tiny.digest}
    for name, tensor in tiny.model.state_dict().items():
        changed = copy.deepcopy(tiny.model)
        changed.state_dict()[name].view(-1)[-1] += 1
        seen.add(encoder.digest(changed))
        assert tensor.isfinite().all(), name
    assert len(seen) == 1 + len(tiny.model.state_dict())


def test_the_digest_changes_with_what_else_decides_an_embedding(tiny, tmp_path):
    others = [
        save_encoder(tmp_path / "cls", pooling="cls"),
        save_encoder(tmp_path / "bare", normalize=False),
        save_encoder(tmp_path / "prompt", prompt="2019 delta: "),
    ]
    short = copy.deepcopy(tiny.model)
    short.max_seq_length = 16
    digests = [encoder_opening.open_encoder(str(folder)).digest for folder in others]
    assert len({tiny.digest, encoder.digest(short), *digests}) == 5


def test_an_encoder_in_half_precision_is_opened_in_single(tiny, tmp_path):
    half = copy.deepcopy(tiny.model).to(torch.bfloat16)
    with encoder.quiet():
        half.save(str(tmp_path / "half"))
    opened = encoder_opening.open_encoder(str(tmp_path / "half"))
    assert {weight.dtype for weight in opened.model.parameters()} == {torch.float32}


def test_reports_show_a_name_and_not_a_path(tiny_folder):
    assert encoder_opening.open_encoder(str(tiny_folder)).name == "tiny"
    assert encoder_opening.open_encoder(str(tiny_folder), name="mine").name == "mine"


def test_rows_seen_are_read_back_and_unknown_where_nobody_noted_them(tmp_path):
    assert encoder.rows_seen(tmp_path) is None
    (tmp_path / encoder.SEEN_FILE).write_text('["a", "b", "a"]')
    assert encoder.rows_seen(tmp_path) == {"a", "b"}


def test_weights_that_could_run_code_are_refused(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(cli.InputError, match=r"without a \.safetensors file"):
        encoder_opening.open_encoder(str(tmp_path / "pickled"))


def test_an_encoder_without_transformer_is_refused(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    static = StaticEmbedding(tiny.model.tokenizer.backend_tokenizer, embedding_dim=8)
    with encoder.quiet():
        SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    with pytest.raises(cli.InputError, match=r"StaticEmbedding.*\n.*its only transformer"):
        encoder_opening.open_encoder(str(tmp_path / "static"))


def test_a_folder_that_is_no_encoder_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(cli.InputError, match="does not open"):
        encoder_opening.open_encoder(str(tmp_path))


def test_a_hub_id_that_cannot_be_had_is_refused():
    with pytest.raises(cli.InputError, match=r"no folder here and not on the hub.*(\n.*)*needs no"):
        encoder_opening.open_encoder("nobody/no-such-encoder")


def test_a_package_with_other_weights_is_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    save_file({"weight": torch.zeros(2)}, tmp_path / "model" / "model.safetensors")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(cli.InputError, match=r"with SHA-256.*(\n.*)*reinstall the package gt-all-"):
        encoder_opening.open_encoder(cli.DEFAULT_ENCODER)


@pytest.mark.slow
def test_the_default_encoder_opens_without_a_network(texts):
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    assert (opened.dimension, opened.max_tokens) == (384, 256)
    weights = load_file(opened.folder / "model.safetensors")
    assert weights["embeddings.word_embeddings.weight"].shape == (30522, 384)
    expected = opened.model.encode(list(texts[:FEW]))
    np.testing.assert_allclose(embedding.encode(opened, texts[:FEW]), expected, rtol=0, atol=1e-5)
