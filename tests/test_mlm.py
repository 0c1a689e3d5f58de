"""Tuning: the stock loss, every token once, one pass for all sizes, the same bits each time."""

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bat import cli, encoder, mlm
from tests.conftest import ARCHITECTURES, MAX_TOKENS, sentences

RECIPE = mlm.Recipe(
    learning_rate=2e-3, blocks_a_step=4, micro_blocks=4, tuned_share=1.0, precision="fp32"
)
SIZES = (100, 200, 300)  # some 19 steps of four blocks for every hundred


@pytest.fixture
def short(monkeypatch):
    """Let sizes be too small to say anything; how they are made is the same."""
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    monkeypatch.setattr(mlm, "HEAD_STEPS", 3)


def weights(tuned):
    return {name: tensor.clone() for name, tensor in tuned.model.state_dict().items()}


def equal_bits(some, others):
    return len(some) == len(others) and all(torch.equal(some[name], others[name]) for name in some)


def finetune(opened, texts, sizes=SIZES, recipe=RECIPE, **options):
    return {t.documents: t for t in mlm.finetune(opened, texts, sizes, recipe, **options)}


def batch_of(opened, texts, recipe=RECIPE, rows=3):
    blocks = mlm.pack(opened, texts, [len(texts)], whole_words=recipe.whole_words)
    words = opened.model.tokenizer
    made = [mlm.masked(blocks, row, 0, recipe, words) for row in range(len(blocks.tokens))[-rows:]]
    return mlm._batch(made, words)


# The loss


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
    model, lacking = mlm.open_model(opened)
    assert lacking == []
    batch = batch_of(opened, texts[:23])
    assert (batch["attention_mask"] == 0).any()  # the last block is padded
    stock = stock_loss(model, batch)
    expected = gradients(model, stock)
    mlm.attend_plainly(model, precision)
    for masked_only in (True, False):
        ours = mlm.summed_loss(model, batch, masked_only=masked_only) / len(batch["labels"])
        assert float(ours.detach()) == pytest.approx(float(stock.detach()), rel=1e-5)
        found = gradients(model, ours)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * max(scale, 1))


def test_the_head_sees_masked_rows_alone(tiny, texts):
    model, _ = mlm.open_model(tiny)
    batch = batch_of(tiny, texts[:23])
    seen = []
    handle = model.cls.register_forward_hook(lambda module, inputs, output: seen.append(output))
    mlm.summed_loss(model, batch, masked_only=True)
    handle.remove()
    assert seen[0].shape == (1, len(batch["labels"]), len(tiny.model.tokenizer))
    full = model(input_ids=batch["input_ids"]).logits  # and the model is as before
    assert full.shape == (3, MAX_TOKENS, len(tiny.model.tokenizer))


def test_a_uniform_model_loses_the_logarithm_of_the_vocabulary(tiny, texts):
    model, _ = mlm.open_model(tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    batch = batch_of(tiny, texts[:23])
    loss = float(mlm.summed_loss(model, batch, masked_only=True).detach()) / len(batch["labels"])
    assert loss == pytest.approx(math.log(len(tiny.model.tokenizer)), rel=1e-6)


def test_there_is_no_dropout_while_tuning(tiny, texts):
    model, _ = mlm.open_model(tiny)
    assert model.config.hidden_dropout_prob > 0  # the checkpoint would have some
    batch = batch_of(tiny, texts[:23])
    first, again = (mlm.summed_loss(model, batch, masked_only=True) for _ in range(2))
    assert torch.equal(first, again)


def needs_all_rows(monkeypatch):
    """Make a head that takes the mean of all rows away, and so is wrong on masked rows alone."""
    opens = mlm.open_model

    def with_other_head(opened):
        model, lacking = opens(opened)
        model.cls.register_forward_pre_hook(lambda _, x: (x[0] - x[0].mean(1, keepdim=True),))
        return model, lacking

    monkeypatch.setattr(mlm, "open_model", with_other_head)


def test_a_head_that_needs_all_rows_gets_them_with_a_warning(encoder_of, texts, monkeypatch, short):
    needs_all_rows(monkeypatch)
    opened = encoder_of("bert")
    model, _ = mlm.open_model(opened)
    batch = batch_of(opened, texts[:23])
    with torch.no_grad():
        stock = float(stock_loss(model, batch))
        ours = float(mlm.summed_loss(model, batch, masked_only=False)) / len(batch["labels"])
    assert ours == pytest.approx(stock, rel=1e-5)
    with pytest.warns(UserWarning, match="head does not work on masked positions alone"):
        tuned = finetune(opened, texts, sizes=(100,))
    assert not tuned[100].masked_only
    assert tuned[100].losses[-1][1] < tuned[100].losses[0][1]
    assert mlm.tokens_per_second(opened, texts[:23], RECIPE) > 0


# Blocks


def content(opened, text):
    return opened.model.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_every_token_is_in_the_blocks_once_and_in_order(encoder_of, texts, architecture):
    opened = encoder_of(architecture)
    words = opened.model.tokenizer
    blocks = mlm.pack(opened, texts, [30, 31, 90])
    assert blocks.tokens.shape[1] == MAX_TOKENS
    first_text = first_row = 0
    for size, end, count in zip((30, 31, 90), blocks.ends, blocks.counts, strict=True):
        ids = [content(opened, text) for text in texts[first_text:size]]
        stream = [token for row in ids for token in (*row, words.sep_token_id)]
        rows = np.asarray(blocks.tokens[first_row:end])
        assert (rows[:, 0] == words.cls_token_id).all()
        flat = rows[:, 1:].ravel()
        assert flat[: len(stream)].tolist() == stream
        assert (flat[len(stream) :] == words.pad_token_id).all()
        assert len(flat) - len(stream) < MAX_TOKENS - 1  # padding in the last row alone
        assert count == sum(len(content(opened, text)) for text in texts[:size])
        first_text, first_row = size, end
    assert blocks.ends[-1] == len(blocks.tokens)  # nothing beyond the last size


def test_a_corpus_smaller_than_a_block_gives_one_block(tiny):
    blocks = mlm.pack(tiny, ["red coupe", "green wagon"], [2])
    rows = tiny.model.tokenizer.convert_ids_to_tokens(blocks.tokens[0])
    start = ["[CLS]", "red", "coupe", "[SEP]", "green", "wagon", "[SEP]"]
    assert rows == start + ["[PAD]"] * (MAX_TOKENS - 7)
    assert (blocks.tokens.shape, blocks.ends, blocks.counts, blocks.head) == (
        (1, 32),
        (1,),
        (4,),
        1,
    )


def test_blocks_of_a_size_do_not_depend_on_later_texts(tiny, texts):
    short, long = mlm.pack(tiny, texts, [30]), mlm.pack(tiny, texts[::-1][-90:][::-1], [30, 90])
    assert short.ends[0] == long.ends[0]
    assert (short.tokens == long.tokens[: long.ends[0]]).all()


def test_the_head_is_warmed_on_rows_of_the_first_documents(tiny, texts, monkeypatch):
    monkeypatch.setattr(mlm, "HEAD_DOCUMENTS", 10)
    alone = sum(len(content(tiny, text)) + 1 for text in texts[:10])
    assert mlm.pack(tiny, texts, [20, 40]).head == alone // (MAX_TOKENS - 1)
    assert mlm.pack(tiny, texts, [5, 40]).head == mlm.pack(tiny, texts, [5]).ends[0]


# Masks


@pytest.fixture(scope="module")
def many():
    return sentences(1500, seed=2)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_masks_hide_the_asked_share_and_never_a_special_token(encoder_of, many, architecture):
    opened = encoder_of(architecture)
    words = opened.model.tokenizer
    blocks = mlm.pack(opened, many, [len(many)])
    hidden = replaced = kept = total = 0
    for row in range(len(blocks.tokens)):
        before = np.asarray(blocks.tokens[row])
        after, positions, labels = mlm.masked(blocks, row, 0, RECIPE, words)
        free = (~np.isin(before, words.all_special_ids)).sum()
        assert len(set(positions.tolist())) == len(positions) == max(1, round(0.2 * free))
        assert not np.isin(labels, words.all_special_ids).any()
        assert (labels == before[positions]).all()
        assert (np.delete(after, positions) == np.delete(before, positions)).all()
        hidden += (after[positions] == words.mask_token_id).sum()
        kept += (after[positions] == labels).sum()
        total += len(positions)
    replaced = total - hidden - kept
    for count, share in ((hidden, 0.8), (replaced, 0.1), (kept, 0.1)):
        # Four standard deviations; a drawn token is by chance the old one once in a vocabulary.
        slack = 4 * math.sqrt(share * (1 - share) / total) + 0.1 / len(words)
        assert count / total == pytest.approx(share, abs=slack)


def test_masks_are_a_function_of_seed_pass_and_row(tiny, texts):
    blocks = mlm.pack(tiny, texts, [100])
    blocks = dataclasses.replace(blocks, tokens=np.repeat(blocks.tokens[:1], 8, axis=0))
    words = tiny.model.tokenizer

    def positions(row, number, seed):
        recipe = dataclasses.replace(RECIPE, seed=seed)
        return tuple(mlm.masked(blocks, row, number, recipe, words)[1].tolist())

    mlm.masked(blocks, 3, 0, RECIPE, words)  # what was masked before does not matter
    first = positions(5, 0, 0)
    np.random.default_rng(0).random()
    assert positions(5, 0, 0) == first
    assert len({first, positions(6, 0, 0), positions(5, 1, 0), positions(5, 0, 1)}) == 4


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_whole_words_are_masked_whole(encoder_of, texts, architecture):
    opened = encoder_of(architecture)
    words = opened.model.tokenizer
    recipe = dataclasses.replace(RECIPE, whole_words=True)
    blocks = mlm.pack(opened, texts, [100], whole_words=True)
    cut = 0
    for row in range(len(blocks.tokens)):
        tokens = words.convert_ids_to_tokens(blocks.tokens[row])
        _, positions, _ = mlm.masked(blocks, row, 0, recipe, words)
        chosen = np.zeros(MAX_TOKENS, bool)
        chosen[positions] = True
        special = np.isin(blocks.tokens[row], words.all_special_ids)
        for at in range(1, MAX_TOKENS):
            joins = tokens[at].startswith("##") if architecture == "bert" else tokens[at][0] != "Ġ"
            if joins and not special[at] and not special[at - 1]:
                assert chosen[at] == chosen[at - 1], tokens
                cut += chosen[at]
        free = (~special).sum()
        assert max(1, round(0.2 * free)) <= len(positions) < 0.2 * free + 12  # one word more
    assert cut > 20


def test_the_first_word_of_a_text_is_not_part_of_the_text_before(encoder_of):
    opened = encoder_of("roberta")  # whose first words bear no mark
    blocks = mlm.pack(opened, ["red", "red"] * 5, [10], whole_words=True)
    words = np.cumsum(blocks.starts[0])
    special = np.isin(blocks.tokens[0], opened.model.tokenizer.all_special_ids)
    length = len(content(opened, "red"))
    assert len(set(words[~special].tolist())) == min(10, math.ceil((~special).sum() / length))


# The schedule


def laid(ends, sizes=None, **changes):
    """What ``schedule`` takes, for sizes that end after so many rows."""
    rows = np.zeros((ends[-1], 8), np.int32)
    blocks = mlm.Blocks(rows, None, ends, (0,) * len(ends), 1)
    return blocks, sizes or ends, mlm.Recipe(**changes)


def test_the_rate_warms_up_stays_and_decays_to_nothing():
    plan = mlm.schedule(*laid((100, 250), blocks_a_step=1))
    assert (plan.leaves, plan.ends, plan.warmup) == ((80, 200), (100, 250), 20)
    assert [plan.rate(step, 0) for step in (0, 9, 19, 20, 80)] == [1 / 20, 0.5, 1, 1, 1]
    assert plan.rate(85, 0) == pytest.approx(0.5)  # a quarter of the way: 1 - sqrt(1/4)
    assert plan.rate(99, 0) == pytest.approx(1 - math.sqrt(19 / 20))
    assert plan.rate(99, 1) == 1  # the trunk goes on
    assert plan.rate(225, 1) == pytest.approx(1 - math.sqrt(0.5))
    falls = [plan.rate(step, 0) for step in range(80, 101)]
    assert falls == sorted(falls, reverse=True)
    assert falls[-1] == 0


@pytest.mark.parametrize("end", [10, 40, 50, 1000])
def test_the_warm_up_is_at_most_half_of_the_smallest_trunk(end, monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 1)
    plan = mlm.schedule(*laid((end, 5000), blocks_a_step=1))
    assert plan.warmup == min(20, int(0.8 * end) // 2)


def test_no_step_reaches_across_the_end_of_a_size():
    plan = mlm.schedule(*laid((101, 250), blocks_a_step=2))
    assert plan.ends == (51, 126)
    assert plan.steps[50:52] == ((0, 100, 101), (0, 101, 103))
    rows = [row for _, first, end in plan.steps for row in range(first, end)]
    assert rows == list(range(250))


def test_each_pass_takes_all_rows_again():
    plan = mlm.schedule(*laid((30,), blocks_a_step=1, passes=2))
    assert plan.ends == (60,)
    assert [(number, first) for number, first, _ in plan.steps[28:32]] == [
        (0, 28), (0, 29), (1, 0), (1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "count"), [(49, 1), (50, 1), (120, 2), (399, 7), (9000, 8)])
def test_a_step_has_as_many_blocks_as_leave_the_smallest_size_enough_steps(rows, count):
    blocks, _, recipe = laid((rows, 10_000))
    assert mlm.blocks_a_step(blocks, recipe) == count


def test_a_size_of_too_few_steps_is_refused():
    made = laid((80, 400), (300, 900), blocks_a_step=2)
    with pytest.raises(cli.InputError, match=r"300 documents that give 40 steps of 2 blocks") as no:
        mlm.schedule(*made)
    assert "about 375 documents" in str(no.value)  # 300 * 50 / 40


# One pass


@pytest.fixture(scope="module")
def one_pass(tiny, texts, tmp_path_factory):
    """Tune for all sizes once, with held-out texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(mlm, "MIN_STEPS", 5)
        patch.setattr(mlm, "HEAD_STEPS", 3)
        steps = []
        found = finetune(
            tiny, texts, held_out=texts[500:], progress=lambda tokens, loss: steps.append(tokens)
        )
        return found, steps


def test_a_pass_says_what_it_did(tiny, texts, one_pass, short):
    found, steps = one_pass
    plan = mlm.schedule(mlm.pack(tiny, texts, SIZES), SIZES, RECIPE)
    assert [found[size].steps for size in SIZES] == list(plan.ends)
    assert len(steps) == plan.leaves[-1] + sum(
        end - leave for leave, end in zip(plan.leaves, plan.ends, strict=True)
    )
    assert sum(steps) == mlm.work(tiny, texts, SIZES, RECIPE, SIZES)
    assert sum(steps) == sum(tuned.tokens_trained for tuned in found.values())
    for size, tuned in found.items():
        assert tuned.tokens == sum(len(content(tiny, text)) for text in texts[:size])
        assert [step for step, _ in tuned.losses] == list(range(1, tuned.steps + 1))
        assert tuned.held_out[-1][0] == tuned.steps
        assert (tuned.head_warmed, tuned.masked_only, tuned.blocks_a_step) == (True, True, 4)


def test_tuning_learns_what_it_has_not_seen(one_pass):
    found, _ = one_pass
    last = [found[size].held_out[-1][1] for size in SIZES]
    first = found[SIZES[0]].held_out[0][1]
    assert first * 0.9 > last[0] > last[1] > last[2]


def test_equal_inputs_give_equal_bits_and_another_seed_others(tiny, texts, one_pass, short):
    found, _ = one_pass
    again = finetune(tiny, texts)
    assert all(equal_bits(weights(found[size]), weights(again[size])) for size in SIZES)
    other = finetune(tiny, texts, recipe=dataclasses.replace(RECIPE, seed=1), only=[100])
    assert not equal_bits(weights(found[100]), weights(other[100]))


def test_a_size_depends_on_its_own_texts_alone(tiny, texts, one_pass, short):
    found, _ = one_pass
    others = finetune(tiny, (*texts[:200], *texts[400:]))
    for size in (100, 200):
        assert equal_bits(weights(found[size]), weights(others[size]))
    assert not equal_bits(weights(found[300]), weights(others[300]))


def test_a_size_alone_gives_the_bits_of_the_whole_pass(tiny, texts, one_pass, short):
    found, _ = one_pass
    for only in ([200], [100, 300]):
        some = finetune(tiny, texts, only=only)
        assert list(some) == only
        assert all(equal_bits(weights(found[size]), weights(some[size])) for size in only)


def test_the_encoder_that_is_tuned_is_not_changed(tiny, one_pass):
    found, _ = one_pass
    assert encoder.digest(tiny.model) == tiny.digest
    assert len({tiny.digest, *(encoder.digest(tuned.model) for tuned in found.values())}) == 4


@pytest.mark.parametrize("killed_at", [12, 31])  # in the first trunk; in the second branch
def test_a_killed_run_goes_on_to_the_same_bits(
    tiny, texts, one_pass, short, monkeypatch, tmp_path, killed_at
):
    found, steps = one_pass
    monkeypatch.setattr(mlm, "CHECKPOINT_SECONDS", 0.0)
    checkpoint = tmp_path / "trunk.pt"
    done, taken = {}, []

    def killed(tokens, loss):
        taken.append(tokens)
        if len(taken) == killed_at:
            raise KeyboardInterrupt

    run = mlm.finetune(
        tiny, texts, SIZES, RECIPE, held_out=texts[500:], checkpoint=checkpoint, progress=killed
    )
    with pytest.raises(KeyboardInterrupt):
        done.update((tuned.documents, tuned) for tuned in run)
    left = [size for size in SIZES if size not in done]
    again = []
    done |= finetune(
        tiny,
        texts,
        only=left,
        held_out=texts[500:],
        checkpoint=checkpoint,
        progress=lambda tokens, loss: again.append(tokens),
    )
    assert len(again) < len(steps) - 10  # it did not start from nothing
    for size in SIZES:
        assert equal_bits(weights(found[size]), weights(done[size]))
        assert (found[size].losses, found[size].held_out) == (
            done[size].losses, done[size].held_out,
        )  # fmt: skip


def test_a_checkpoint_beyond_a_wanted_size_is_not_used(
    tiny, texts, one_pass, short, monkeypatch, tmp_path
):
    found, _ = one_pass
    monkeypatch.setattr(mlm, "CHECKPOINT_SECONDS", 0.0)
    finetune(tiny, texts, only=[300], checkpoint=tmp_path / "trunk.pt")
    again = finetune(tiny, texts, only=[100], checkpoint=tmp_path / "trunk.pt")
    assert equal_bits(weights(found[100]), weights(again[100]))


def test_branches_off_a_trunk_run_elsewhere_piece_by_piece_give_the_same_bits(
    tiny, texts, one_pass, short, tmp_path
):
    found, _ = one_pass
    held_out, checkpoint = texts[500:], None
    for size in SIZES:
        state = mlm.trunk_state(
            tiny, texts, SIZES, RECIPE, size, held_out=held_out, checkpoint=checkpoint
        )
        checkpoint = tmp_path / f"{size}.pt"
        checkpoint.write_bytes(state)
        (branch,) = mlm.finetune(
            tiny, texts, SIZES, RECIPE, held_out=held_out, only=[size], checkpoint=checkpoint
        )
        assert equal_bits(weights(found[size]), weights(branch))
        assert (found[size].losses, found[size].held_out) == (branch.losses, branch.held_out)
        assert branch.tokens_trained == found[size].tokens_trained
        assert checkpoint.read_bytes() == state


# Accumulation and processes


def started(opened, texts, recipe=RECIPE):
    return mlm._start(opened, texts, SIZES, recipe, (), None, None)


def cosines(opened, some, others, texts):
    a, b = (
        encoder.encode(dataclasses.replace(opened, model=tuned.model), texts)
        for tuned in (some, others)
    )
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_a_step_in_parts_is_the_same_step(tiny, texts, one_pass, short):
    whole = one_pass[0][100]
    parts = finetune(tiny, texts, recipe=dataclasses.replace(RECIPE, micro_blocks=1), only=[100])[
        100
    ]
    ours, theirs = (np.array(tuned.losses)[:, 1] for tuned in (whole, parts))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert cosines(tiny, whole, parts, texts[:50]).mean() > 0.9999


def test_a_step_in_parts_has_the_same_gradient(tiny, texts, short, monkeypatch):
    clip = torch.nn.utils.clip_grad_norm_
    norms = []  # before clipping; Adam would forgive a wrong scale, the clipping would not

    def noted(parameters, most):
        norms.append(float(clip(parameters, most)))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    for micro_blocks in (4, 3, 1):
        run, _ = started(tiny, texts, dataclasses.replace(RECIPE, micro_blocks=micro_blocks))
        mlm._take_step(run, 0)
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


PROCESSES = """
import json, sys
from pathlib import Path

import torch

from bat import encoder, mlm

mlm.MIN_STEPS, mlm.HEAD_STEPS = 5, 3
folder, texts, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
recipe = mlm.Recipe(**json.loads(sys.argv[4]))
for tuned in mlm.finetune(encoder.open_encoder(folder), texts, [100], recipe):
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save((tuned.losses, tuned.model.state_dict()), out)
"""


@pytest.mark.slow
@pytest.mark.parametrize("blocks_a_step", [3, 1])  # shared unevenly, and not at all
def test_two_processes_take_the_steps_of_one(
    tiny_folder, tiny, texts, tmp_path, short, blocks_a_step
):
    recipe = dataclasses.replace(RECIPE, blocks_a_step=blocks_a_step, micro_blocks=1)
    alone = finetune(tiny, texts, sizes=(100,), recipe=recipe)[100]
    (tmp_path / "run.py").write_text(PROCESSES)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
            tmp_path / "run.py", tiny_folder, tmp_path / "texts.json", tmp_path / "out.pt",
            json.dumps(dataclasses.asdict(recipe)),
        ],
        check=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(Path(mlm.__file__).parents[1])},
    )  # fmt: skip
    losses, state = torch.load(tmp_path / "out.pt")
    np.testing.assert_allclose(np.array(losses)[:, 1], np.array(alone.losses)[:, 1], rtol=1e-4)
    shared = dataclasses.replace(alone, model=copy.deepcopy(alone.model))
    shared.model.load_state_dict(state)
    assert cosines(tiny, alone, shared, texts[:50]).mean() > 0.9999


# The head, and the way back


def test_a_lacking_head_is_named_and_starts_as_the_identity(tiny):
    model, lacking = mlm.open_model(tiny)
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
    opened = encoder.open_encoder(str(tmp_path / "albert"))
    torch.manual_seed(1)
    first = mlm.open_model(opened)[0].predictions.dense.weight
    torch.manual_seed(2)
    again = mlm.open_model(opened)[0].predictions.dense.weight
    assert first.shape == (16, 32)
    assert torch.equal(first, again)
    assert first.std() > 0


def test_warming_changes_the_head_alone(tiny, texts, short):
    run, lacking = started(tiny, texts)
    before = copy.deepcopy(run.model.state_dict())
    mlm._warm_head(run, lacking)
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed - {"cls.predictions.decoder.bias"} == set(lacking)  # the same as .bias
    assert all(parameter.requires_grad for parameter in run.model.parameters())
    assert all(parameter.grad is None for parameter in run.model.parameters())  # nothing lingers


def test_warming_lowers_the_loss_and_is_the_same_for_every_size(tiny, texts, monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    losses = {}
    heads = []
    for sizes in ((260, 300), (260, 500)):
        run, lacking = mlm._start(tiny, texts, sizes, RECIPE, texts[500:], None, None)
        mlm._check_held_out(run)
        mlm._warm_head(run, lacking)
        mlm._check_held_out(run)
        losses[sizes] = [loss for _, loss in run.held_out]
        heads.append(copy.deepcopy(run.model.state_dict()))
    assert equal_bits(*heads)
    assert all(after < before for before, after in losses.values())


def test_a_head_that_is_there_is_not_warmed(encoder_of, texts, short, monkeypatch):
    monkeypatch.setattr(mlm, "_warm_head", lambda run, names: pytest.fail("warmed"))
    assert not finetune(encoder_of("bert"), texts, sizes=(100,))[100].head_warmed


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
    opened = encoder.open_encoder(str(tmp_path / "mistral"))
    with pytest.raises(cli.InputError, match="'mistral', for which transformers has no masked"):
        mlm.open_model(opened)


def test_the_saved_encoder_gives_the_embeddings_of_the_tuned_one(tiny, texts, one_pass, tmp_path):
    tuned = one_pass[0][300].model
    with encoder.quiet():
        tuned.save(str(tmp_path / "tuned"))
    again = encoder.open_encoder(str(tmp_path / "tuned"))
    rows = encoder.encode(again, texts[:50])
    in_memory = encoder.encode(dataclasses.replace(tiny, model=tuned), texts[:50])
    np.testing.assert_allclose(rows, in_memory, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)  # Normalize is kept
    assert [type(module) for module in again.model] == [type(module) for module in tiny.model]
    assert again.max_tokens == MAX_TOKENS
    assert np.abs(rows - encoder.encode(tiny, texts[:50])).max() > 0.01  # and it was tuned


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_pooler_may_be_missing_on_the_way_back(encoder_of, architecture, share):
    opened = encoder_of(architecture)
    model, _ = mlm.open_model(opened)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before = encoder.transformer(opened.model).state_dict()
    after = encoder.transformer(mlm.put_back(model, opened, share)).state_dict()
    for name, tensor in before.items():
        moved = 0.0 if name.startswith("pooler.") else share
        torch.testing.assert_close(after[name], tensor + moved)


def test_weights_that_do_not_fit_are_not_put_back(tiny):
    other = SimpleNamespace(base_model=torch.nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match=r"do not fit the encoder: .*embeddings.*'bias'"):
        mlm.put_back(other, tiny)


def test_a_block_of_nothing_but_special_tokens_adds_nothing(tiny, short):
    # 32 texts of 31 words and a separator are 33 rows of 31 tokens, and one separator.
    recipe = dataclasses.replace(RECIPE, blocks_a_step=1)
    run, _ = mlm._start(tiny, ["red " * 31] * 32, (32,), recipe, (), None, None)
    assert run.plan.ends == (34,)
    assert tiny.model.tokenizer.decode(run.blocks.tokens[33][:3]) == "[CLS] [SEP] [PAD]"
    run.step = 33
    mlm._take_step(run, 0)
    assert float(run.losses[-1][1]) == 0.0
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_precision_is_as_asked(monkeypatch):
    assert mlm.precision("bf16") == torch.bfloat16
    assert mlm.precision("fp32") == torch.float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for has, expected in (
        ({"amx_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert mlm.precision("auto") == expected
