"""The masked-language model: the stock loss from masked rows alone; opened, and put back."""

import math
from types import SimpleNamespace

import pytest
import torch

from bat import cli
from bat.models import encoder, encoder_opening
from bat.tuning import masked_model, packing
from bat.tuning import precision as precisions
from bat.tuning.objectives import mlm
from tests.conftest import ARCHITECTURES, MAX_TOKENS, masked_words

RECIPE = mlm.Recipe()


def batch_of(opened, texts, recipe=RECIPE, rows=3):
    blocks = packing.pack(opened, texts, [len(texts)], whole_words=recipe.whole_words)
    words = opened.model.tokenizer
    made = [mlm.masked(blocks, row, 0, recipe, words) for row in range(len(blocks.tokens))[-rows:]]
    return masked_model.stacked(made, words)


def stock_loss(model, batch):
    labels = torch.full_like(batch["input_ids"], -100)
    labels.view(-1)[batch["rows"]] = batch["labels"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return model(**inputs, labels=labels).loss


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # of the second, its way to attend alone
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_of_masked_rows_are_the_stock_ones(
    encoder_of, texts, architecture, precision
):
    opened = encoder_of(architecture)
    model, lacking = masked_model.open_model(opened)
    assert lacking == []
    batch = batch_of(opened, texts[:23])
    assert (batch["attention_mask"] == 0).any()  # the last block is padded
    stock = stock_loss(model, batch)
    expected = gradients(model, stock)
    precisions.attend_plainly(model, precisions.DTYPES[precision])
    for masked_only in (True, False):
        ours = masked_model.summed_loss(model, batch, masked_only=masked_only) / len(
            batch["labels"]
        )
        assert float(ours.detach()) == pytest.approx(float(stock.detach()), rel=1e-5)
        found = gradients(model, ours)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * max(scale, 1))


def test_the_head_sees_masked_rows_alone(tiny, texts):
    model, _ = masked_model.open_model(tiny)
    batch = batch_of(tiny, texts[:23])
    seen = []
    handle = model.cls.register_forward_hook(lambda module, inputs, output: seen.append(output))
    masked_model.summed_loss(model, batch, masked_only=True)
    handle.remove()
    assert seen[0].shape == (1, len(batch["labels"]), len(tiny.model.tokenizer))
    full = model(input_ids=batch["input_ids"]).logits  # and the model is as before
    assert full.shape == (3, MAX_TOKENS, len(tiny.model.tokenizer))


def test_a_uniform_model_loses_the_logarithm_of_the_vocabulary(tiny, texts):
    model, _ = masked_model.open_model(tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    batch = batch_of(tiny, texts[:23])
    loss = float(masked_model.summed_loss(model, batch, masked_only=True).detach()) / len(
        batch["labels"]
    )
    assert loss == pytest.approx(math.log(len(tiny.model.tokenizer)), rel=1e-6)


def test_there_is_no_dropout_while_tuning(tiny, texts):
    model, _ = masked_model.open_model(tiny)
    assert model.config.hidden_dropout_prob > 0  # the checkpoint would have some
    batch = batch_of(tiny, texts[:23])
    first, again = (masked_model.summed_loss(model, batch, masked_only=True) for _ in range(2))
    assert torch.equal(first, again)


def needs_all_rows(monkeypatch):
    """Make a head that takes the mean of all rows away, and so is wrong on masked rows alone."""
    opens = masked_model.open_model

    def with_other_head(opened):
        model, lacking = opens(opened)
        model.cls.register_forward_pre_hook(lambda _, x: (x[0] - x[0].mean(1, keepdim=True),))
        return model, lacking

    monkeypatch.setattr(masked_model, "open_model", with_other_head)


def test_a_head_that_needs_all_rows_gets_them_with_a_warning(encoder_of, texts, monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    recipe = mlm.Recipe(learning_rate=2e-3, blocks_a_step=4, precision="fp32")
    needs_all_rows(monkeypatch)
    opened = encoder_of("bert")
    model, _ = masked_model.open_model(opened)
    batch = batch_of(opened, texts[:23])
    with torch.no_grad():
        stock = float(stock_loss(model, batch))
        ours = float(masked_model.summed_loss(model, batch, masked_only=False)) / len(
            batch["labels"]
        )
    assert ours == pytest.approx(stock, rel=1e-5)
    with pytest.warns(UserWarning, match="head does not work on masked positions alone"):
        (tuned,) = masked_words(opened, texts, (100,), recipe)
    assert not tuned.facts["masked_only"]
    assert tuned.losses[-1][1] < tuned.losses[0][1]
    assert min(mlm.token_rates(opened, texts[:23], recipe, 2)) > 0


def test_a_lacking_head_is_named_and_starts_as_the_identity(tiny):
    model, lacking = masked_model.open_model(tiny)
    transform = "cls.predictions.transform"
    assert lacking == [
        "cls.predictions.bias",
        f"{transform}.LayerNorm.bias",
        f"{transform}.LayerNorm.weight",
        f"{transform}.dense.bias",
        f"{transform}.dense.weight",
    ]
    parameters = dict(model.named_parameters())
    assert torch.equal(parameters[f"{transform}.dense.weight"], torch.eye(tiny.dimension))
    assert (parameters[f"{transform}.LayerNorm.weight"] == 1).all()
    assert all((parameters[name] == 0).all() for name in lacking if name.endswith("bias"))
    embeddings = model.base_model.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.weight is embeddings


def test_a_head_that_cannot_be_the_identity_is_always_drawn_alike(tmp_path, texts):
    import transformers

    from tests.conftest import BERT_TOKENS, SHAPE, tokenizer

    words = tokenizer(BERT_TOKENS, byte_level=False)
    config = transformers.AlbertConfig(vocab_size=len(words), embedding_size=16, **SHAPE)
    with encoder.quiet():
        transformers.AlbertModel(config).save_pretrained(tmp_path / "albert")
        words.save_pretrained(tmp_path / "albert")
    opened = encoder_opening.open_encoder(str(tmp_path / "albert"))
    torch.manual_seed(1)
    first = masked_model.open_model(opened)[0].predictions.dense.weight
    torch.manual_seed(2)
    again = masked_model.open_model(opened)[0].predictions.dense.weight
    assert first.shape == (16, 32)
    assert torch.equal(first, again)
    assert first.std() > 0


def test_an_architecture_without_masked_language_model_is_refused(tmp_path):
    import transformers

    from tests.conftest import BERT_TOKENS, tokenizer

    words = tokenizer(BERT_TOKENS, byte_level=False)
    config = transformers.MistralConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=32,
    )  # fmt: skip
    with encoder.quiet():
        transformers.MistralModel(config).save_pretrained(tmp_path / "mistral")
        words.save_pretrained(tmp_path / "mistral")
    opened = encoder_opening.open_encoder(str(tmp_path / "mistral"))
    with pytest.raises(cli.InputError, match="'mistral', for which transformers has no masked"):
        masked_model.open_model(opened)


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_pooler_may_be_missing_on_the_way_back(encoder_of, architecture, share):
    opened = encoder_of(architecture)
    model, _ = masked_model.open_model(opened)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before = encoder.transformer(opened.model).state_dict()
    after = encoder.transformer(masked_model.put_back(model, opened, share)).state_dict()
    for name, tensor in before.items():
        moved = 0.0 if name.startswith("pooler.") else share
        torch.testing.assert_close(after[name], tensor + moved)


def test_weights_that_do_not_fit_are_not_put_back(tiny):
    other = SimpleNamespace(base_model=torch.nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match=r"do not fit the encoder: .*embeddings.*'bias'"):
        masked_model.put_back(other, tiny)
