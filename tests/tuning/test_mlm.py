"""Masked words: masks, steps, one pass for all sizes, the same bits each time."""

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bat import cli, units
from bat.models import embedding, encoder, encoder_opening
from bat.tuning import loop, packing
from bat.tuning.objective import Examples
from bat.tuning.objectives import mlm
from tests.conftest import MAX_TOKENS, masked_words, sentences
from tests.tuning.test_packing import content

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
    return {t.documents: t for t in masked_words(opened, texts, sizes, recipe, **options)}


# Masks


@pytest.fixture(scope="module")
def many():
    return sentences(1500, seed=2)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_masks_hide_the_asked_share_and_never_a_special_token(encoder_of, many, architecture):
    opened = encoder_of(architecture)
    words = opened.model.tokenizer
    blocks = packing.pack(opened, many, [len(many)])
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
    blocks = packing.pack(tiny, texts, [100])
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
    blocks = packing.pack(opened, texts, [100], whole_words=True)
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
    blocks = packing.pack(opened, ["red", "red"] * 5, [10], whole_words=True)
    words = np.cumsum(blocks.starts[0])
    special = np.isin(blocks.tokens[0], opened.model.tokenizer.all_special_ids)
    length = len(content(opened, "red"))
    assert len(set(words[~special].tolist())) == min(10, math.ceil((~special).sum() / length))


# The schedule


def laid(ends, sizes=None, **changes):
    """What ``schedule`` takes, for sizes that end after so many rows."""
    rows = np.zeros((ends[-1], 8), np.int32)
    blocks = packing.Blocks(rows, None, ends, (0,) * len(ends), 1)
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
    plan = mlm.schedule(packing.pack(tiny, texts, SIZES), SIZES, RECIPE)
    assert [found[size].steps for size in SIZES] == list(plan.ends)
    assert len(steps) == plan.leaves[-1] + sum(
        end - leave for leave, end in zip(plan.leaves, plan.ends, strict=True)
    )
    assert sum(steps) == loop.work(started(tiny, texts).laid, SIZES, SIZES)
    assert sum(steps) == sum(tuned.tokens_trained for tuned in found.values())
    for size, tuned in found.items():
        assert tuned.tokens == sum(len(content(tiny, text)) for text in texts[:size])
        assert [step for step, _ in tuned.losses] == list(range(1, tuned.steps + 1))
        assert tuned.held_out[-1][0] == tuned.steps
        assert (tuned.head_warmed, tuned.facts) == (True, {"masked_only": True, "blocks_a_step": 4})


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
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    checkpoint = units.unit(units.TRUNKS)
    done, taken = {}, []

    def killed(tokens, loss):
        taken.append(tokens)
        if len(taken) == killed_at:
            raise KeyboardInterrupt

    run = masked_words(
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
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    finetune(tiny, texts, only=[300], checkpoint=units.unit(units.TRUNKS))
    again = finetune(tiny, texts, only=[100], checkpoint=units.unit(units.TRUNKS))
    assert equal_bits(weights(found[100]), weights(again[100]))


def test_branches_off_a_trunk_run_elsewhere_piece_by_piece_give_the_same_bits(
    tiny, texts, one_pass, short, tmp_path
):
    found, _ = one_pass
    held_out, checkpoint = texts[500:], None
    for size in SIZES:
        examples = Examples(texts, SIZES, held_out)
        run = loop.start(mlm.OBJECTIVE, tiny, examples, RECIPE, checkpoint=checkpoint)
        state = loop.trunk_state(run, size)
        checkpoint = units.unit(units.TRUNKS, size=size)
        loop.keep_state(checkpoint, "before", state)
        (branch,) = masked_words(
            tiny, texts, SIZES, RECIPE, held_out=held_out, only=[size], checkpoint=checkpoint
        )
        assert equal_bits(weights(found[size]), weights(branch))
        assert (found[size].losses, found[size].held_out) == (branch.losses, branch.held_out)
        assert branch.tokens_trained == found[size].tokens_trained
        (before,) = units.parts(checkpoint)
        assert (units.find(before) / loop.STATE_FILE).read_bytes() == state


# Accumulation and processes


def started(opened, texts, recipe=RECIPE):
    return loop.start(mlm.OBJECTIVE, opened, Examples(texts, SIZES), recipe)


def cosines(opened, some, others, texts):
    a, b = (
        embedding.encode(dataclasses.replace(opened, model=tuned.model), texts)
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
        run = started(tiny, texts, dataclasses.replace(RECIPE, micro_blocks=micro_blocks))
        loop.take_step(run, 0)
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


PROCESSES = """
import json, sys
from pathlib import Path

import torch

from bat.models import encoder_opening
from bat.tuning import loop
from bat.tuning.objective import Examples
from bat.tuning.objectives import mlm

mlm.MIN_STEPS, mlm.HEAD_STEPS = 5, 3
folder, texts, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
recipe = mlm.Recipe(**json.loads(sys.argv[4]))
opened, examples = encoder_opening.open_encoder(folder), Examples(texts, [100])
for tuned in loop.finetune(mlm.OBJECTIVE, opened, examples, recipe):
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
        env=os.environ | {"PYTHONPATH": str(Path(mlm.__file__).parents[3])},
    )  # fmt: skip
    losses, state = torch.load(tmp_path / "out.pt")
    np.testing.assert_allclose(np.array(losses)[:, 1], np.array(alone.losses)[:, 1], rtol=1e-4)
    shared = dataclasses.replace(alone, model=copy.deepcopy(alone.model))
    shared.model.load_state_dict(state)
    assert cosines(tiny, alone, shared, texts[:50]).mean() > 0.9999


# The head, and the way back


def test_warming_changes_the_head_alone(tiny, texts, short):
    run = started(tiny, texts)
    before = copy.deepcopy(run.model.state_dict())
    loop.warm_head(run)
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed - {"cls.predictions.decoder.bias"} == set(
        run.opened.lacking
    )  # the same as .bias
    assert all(parameter.requires_grad for parameter in run.model.parameters())
    assert all(parameter.grad is None for parameter in run.model.parameters())  # nothing lingers


def test_warming_lowers_the_loss_and_is_the_same_for_every_size(tiny, texts, monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    losses = {}
    heads = []
    for sizes in ((260, 300), (260, 500)):
        examples = Examples(texts, sizes, texts[500:])
        run = loop.start(mlm.OBJECTIVE, tiny, examples, RECIPE)
        loop.check_held_out(run)
        loop.warm_head(run)
        loop.check_held_out(run)
        losses[sizes] = [loss for _, loss in run.held_out]
        heads.append(copy.deepcopy(run.model.state_dict()))
    assert equal_bits(*heads)
    assert all(after < before for before, after in losses.values())


def test_a_head_that_is_there_is_not_warmed(encoder_of, texts, short, monkeypatch):
    monkeypatch.setattr(loop, "warm_head", lambda run: pytest.fail("warmed"))
    assert not finetune(encoder_of("bert"), texts, sizes=(100,))[100].head_warmed


def test_the_saved_encoder_gives_the_embeddings_of_the_tuned_one(tiny, texts, one_pass, tmp_path):
    tuned = one_pass[0][300].model
    with encoder.quiet():
        tuned.save(str(tmp_path / "tuned"))
    again = encoder_opening.open_encoder(str(tmp_path / "tuned"))
    rows = embedding.encode(again, texts[:50])
    in_memory = embedding.encode(dataclasses.replace(tiny, model=tuned), texts[:50])
    np.testing.assert_allclose(rows, in_memory, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)  # Normalize is kept
    assert [type(module) for module in again.model] == [type(module) for module in tiny.model]
    assert again.max_tokens == MAX_TOKENS
    assert np.abs(rows - embedding.encode(tiny, texts[:50])).max() > 0.01  # and it was tuned


def test_a_block_of_nothing_but_special_tokens_adds_nothing(tiny, short):
    # 32 texts of 31 words and a separator are 33 rows of 31 tokens, and one separator.
    recipe = dataclasses.replace(RECIPE, blocks_a_step=1)
    examples = Examples(["red " * 31] * 32, (32,))
    run = loop.start(mlm.OBJECTIVE, tiny, examples, recipe)
    assert run.laid.plan.ends == (34,)
    assert tiny.model.tokenizer.decode(run.laid.rows.blocks.tokens[33][:3]) == "[CLS] [SEP] [PAD]"
    run.step = 33
    loop.take_step(run, 0)
    assert float(run.losses[-1][1]) == 0.0
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


@pytest.mark.parametrize("held_out", [0, 20])
def test_a_rate_that_ends_in_no_number_is_refused(tiny, texts, short, held_out):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e38)
    tuning = masked_words(tiny, texts[:100], [100], recipe, held_out=texts[100 : 100 + held_out])
    with pytest.raises(cli.InputError, match=r"=1e\+38, with which the loss is no number"):
        next(tuning)
