"""Masked-language-model tuning: one pass over the corpus yields the encoder of every subset size.

A trunk runs at a constant rate over the nested order of documents. For each size n a branch leaves
it at (1 - decay_share) n, lets the rate fall to 0 at n, and is one finished encoder (Hägele et al.
2024, arXiv 2405.18392). Only masked positions go through the vocabulary head, and dropout is off.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.utils import checkpoint as again

from bat import units
from bat.cli import InputError
from bat.encoder import (
    Encoder,
    device,
    quiet,
    token_ids,
    tokenizer_digest,
    transformer,
    transformer_folder,
)

Progress = Callable[[int, torch.Tensor], None]  # tokens and mean training loss of the step

Agreed = TypeVar("Agreed")
Ids = npt.NDArray[np.int64]
Masked = tuple[Ids, Ids, Ids]  # tokens with masks (t,), masked positions (m,), their labels (m,)

# Attention grows with the square of a block, and long blocks leave a small corpus too few steps.
MAX_BLOCK_TOKENS = 512
MAX_BLOCKS_A_STEP = 8  # some 2,000 tokens for an encoder of 256, the batch of the plain recipe
MIN_STEPS = 50  # fewer and warm-up and decay are all there is: the size says nothing
# Of the rate. Half of the shortest trunk there is, so that a size warms up alike alone and in any
# study's pass: with 100 steps where the size allows them, 512 and 768 documents tuned alone ended 2
# and 3 % above the held-out loss that they had in one pass, whose smallest size allowed 20.
WARMUP_STEPS = 20
HELD_OUT_BLOCKS = 16  # some 4,000 tokens; each look costs what two steps do
HELD_OUT_SEED = 0  # the same masks whatever the run's seed, so that losses compare
HELD_OUT_CHECKS = 5  # in the course of the trunk
MAX_GRADIENT_NORM = 1.0  # the default of transformers.Trainer
HEAD_SEED = 0
HEAD_DOCUMENTS = 256  # the smallest size allowed, so every size has seen them
HEAD_STEPS = 40
HEAD_BLOCKS_A_STEP = 4
HEAD_LEARNING_RATE = 1e-3
HEAD_PASS = 1 << 20  # numbers the masks of the head's warm-up apart from those of any pass
TIMED_STEPS = 3
CHECKPOINT_SECONDS = 120.0  # work that a killed run repeats at most, branches apart
MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays (Devlin et al. 2019, section 3.1)


@dataclass(frozen=True)
class Recipe:
    """How to tune; with the texts and sizes it decides the weights.

    ``passes`` above 1 repeats the corpus, and then each size is tuned by itself. ``blocks_a_step``
    of 0 takes as many as leave the smallest size ``MIN_STEPS`` steps, 8 at most. A finished encoder
    has the weights that lie this share, ``tuned_share``, of the way from the factory's to the tuned
    ones (Wortsman et al. 2022, arXiv 2109.01903): halfway keeps most of what tuning brings, and
    loses little of what the trees read in the factory embedding (docs/LOG.md).
    """

    learning_rate: float = 1e-4
    mask_share: float = 0.2
    decay_share: float = 0.2
    passes: int = 1
    blocks_a_step: int = 0
    micro_blocks: int = 4
    whole_words: bool = False
    tuned_share: float = 0.5
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Blocks:
    """Texts cut into rows of the encoder's input length, nothing dropped.

    ``tokens`` is int32 of shape (b, length), padded only in the last row of each size;
    ``starts`` is True where a word begins, None unless whole words are masked.
    ``ends[i]`` counts the rows, ``counts[i]`` the tokens of the texts, of the i-th size.
    """

    tokens: npt.NDArray[np.int32]
    starts: npt.NDArray[np.bool_] | None
    ends: tuple[int, ...]
    counts: tuple[int, ...]
    head: int  # rows that lie within the first HEAD_DOCUMENTS texts


@dataclass(frozen=True)
class Schedule:
    """Which rows each step takes, and where each size leaves the trunk and ends."""

    steps: tuple[tuple[int, int, int], ...]  # pass, first row, row after the last
    leaves: tuple[int, ...]
    ends: tuple[int, ...]
    warmup: int

    def rate(self, step: int, size: int) -> float:
        """Share of the learning rate at a step on the way to the size with that index."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        leave, end = self.leaves[size], self.ends[size]
        return 1.0 if step < leave else 1.0 - math.sqrt((step - leave) / (end - leave))


@dataclass(frozen=True)
class Tuned:
    """One finished encoder: the tuned weights inside the original pooling and normalisation."""

    documents: int
    model: Any  # SentenceTransformer
    tokens: int
    steps: int
    blocks_a_step: int
    # Step and mean cross-entropy a masked token, of the weights as tuned, whatever their share.
    losses: tuple[tuple[int, float], ...]
    held_out: tuple[tuple[int, float], ...]
    head_warmed: bool
    masked_only: bool
    seconds: float  # trunk since the last branch, and this branch
    tokens_trained: int  # in those seconds


@dataclass
class _Run:
    """What stays and what changes while tuning."""

    recipe: Recipe
    blocks: Blocks
    plan: Schedule
    held_out_blocks: Blocks | None
    tokenizer: Any
    model: Any
    wrapped: Any  # the model, or the wrapper that adds up gradients over processes
    optimizer: torch.optim.Optimizer
    accelerator: Any
    masked_only: bool
    progress: Progress
    checkpoint: Path | None
    saved_at: float = field(default_factory=time.monotonic)
    step: int = 0
    losses: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    def cast(self) -> Any:
        """Compute in the run's precision; the weights stay float32."""
        dtype = precision(self.recipe.precision)
        return torch.autocast(device().type, dtype, enabled=dtype != torch.float32)


def _processes() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=device().type == "cpu")


def is_main() -> bool:
    """Tell whether this process is alone, or the first of those that tune together."""
    return bool(_processes().is_main_process)


def agreed(value: Agreed) -> Agreed:
    """Hand every process what the first one has: what is on disk may differ between machines."""
    from accelerate.utils import broadcast_object_list

    _processes()
    received: Agreed = broadcast_object_list([value])[0]
    return received


def precision(asked: str) -> torch.dtype:
    """Choose bfloat16 where the machine multiplies it faster, else float32.

    CUDA does, and CPUs with AMX or AVX512-BF16 (tokens/s of tuning 1.9 and 1.7 times as many).
    """
    if asked == "auto":
        has = torch.cpu.get_capabilities()
        faster = device().type == "cuda" or has.get("amx_bf16") or has.get("avx512_bf16")
        asked = "bf16" if faster else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[asked]


def pack(
    encoder: Encoder, texts: Sequence[str], sizes: Sequence[int], *, whole_words: bool = False
) -> Blocks:
    """Cut texts into blocks, starting afresh at each size, so that a size sees its texts alone.

    A block is the start token, then texts, each closed by the separator; a text may run on into
    the next block. The rows lie in a memory-mapped file that later runs share.

    Args:
        encoder: gives the tokenizer and the length of a block.
        texts: in nested order.
        sizes: rising numbers of texts; the last one may be below ``len(texts)``.
        whole_words: also note where words start.
    """
    length = min(encoder.max_tokens, MAX_BLOCK_TOKENS)
    used = texts[: sizes[-1]]
    unit = units.key(
        texts=units.digest(used),
        sizes=list(sizes),
        tokenizer=tokenizer_digest(encoder.model.tokenizer),
        length=length,
        whole_words=whole_words,
    )
    folder = units.build(
        "blocks", unit, lambda p: _pack(encoder, used, sizes, length, whole_words, p)
    )
    tokens = np.load(folder / "tokens.npy", mmap_mode="r")
    starts = np.load(folder / "starts.npy", mmap_mode="r") if whole_words else None
    ends, counts, head = np.load(folder / "counts.npy").reshape(3, -1).tolist()
    return Blocks(tokens, starts, tuple(ends), tuple(counts), head[0])


def _pack(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    length: int,
    whole_words: bool,
    folder: Path,
) -> None:
    """Write tokens.npy, starts.npy and counts.npy, holding little more than one block at a time."""
    tokenizer = encoder.model.tokenizer
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    ends, counts = [], []
    stream: list[int] = []
    rows = content = head = 0
    room = length - 1
    with (folder / "tokens").open("wb") as file:
        for number, ids in enumerate(token_ids(encoder, texts, special=False, max_tokens=None), 1):
            stream += [*ids, last]
            content += len(ids)
            flush = number in sizes
            while len(stream) >= room or (flush and stream):
                row, stream = stream[:room], stream[room:]
                np.asarray([first, *row, *[pad] * (room - len(row))], np.int32).tofile(file)
                rows += 1
            if number <= min(HEAD_DOCUMENTS, sizes[0]):
                head = rows
            if flush:
                ends.append(rows)
                counts.append(content)
    tokens = np.memmap(folder / "tokens", np.int32, "r", shape=(rows, length))
    np.save(folder / "tokens.npy", tokens)
    if whole_words:
        np.save(folder / "starts.npy", _word_starts(tokenizer)[tokens])
    (folder / "tokens").unlink()
    np.save(folder / "counts.npy", np.asarray([ends, counts, [max(1, head)] * len(ends)]))


def _word_starts(tokenizer: Any) -> npt.NDArray[np.bool_]:
    """Tell for each id of the vocabulary whether a word starts there.

    WordPiece marks what continues a word (``##``); SentencePiece and byte-level BPE mark what
    starts one (``▁``, ``Ġ``). A vocabulary with none of these has only whole words. Special tokens
    count as starts, so that the first word of a text, unmarked in BPE, never joins the text before.
    """
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = [word or "" for word in words]
    if any(word.startswith("##") for word in words):
        starts = [not word.startswith("##") for word in words]
    elif any(word.startswith(("▁", "Ġ")) for word in words):
        starts = [word.startswith(("▁", "Ġ")) for word in words]
    else:
        starts = [True] * len(words)
    found = np.asarray(starts)
    found[tokenizer.all_special_ids] = True
    return found


def schedule(blocks: Blocks, sizes: Sequence[int], recipe: Recipe) -> Schedule:
    """Lay the steps over the blocks; no step reaches across the end of a size.

    Raises:
        InputError: the smallest size gives fewer than ``MIN_STEPS`` steps.
    """
    count = blocks_a_step(blocks, recipe)
    steps: list[tuple[int, int, int]] = []
    ends = []
    for number in range(recipe.passes):
        start = 0
        for end in blocks.ends:
            steps += [(number, at, min(at + count, end)) for at in range(start, end, count)]
            start = end
            ends.append(len(steps))
    ends = ends[-len(sizes) :]
    if ends[0] < MIN_STEPS:
        raise InputError(
            f"{sizes[0]} documents that give {ends[0]} steps of {count} blocks",
            f"at least {MIN_STEPS} steps for the smallest size",
            "make the smallest size larger (about "
            f"{math.ceil(sizes[0] * MIN_STEPS / ends[0])} documents), or raise passes",
        )
    leaves = [end - max(1, round(recipe.decay_share * end)) for end in ends]
    return Schedule(tuple(steps), tuple(leaves), tuple(ends), min(WARMUP_STEPS, leaves[0] // 2))


def blocks_a_step(blocks: Blocks, recipe: Recipe) -> int:
    """Take the recipe's number, or the largest that leaves the smallest size enough steps."""
    if recipe.blocks_a_step:
        return recipe.blocks_a_step
    return max(1, min(MAX_BLOCKS_A_STEP, blocks.ends[0] * recipe.passes // MIN_STEPS))


def masked(blocks: Blocks, row: int, number: int, recipe: Recipe, tokenizer: Any) -> Masked:
    """Mask one block, as a pure function of seed, pass and row: resumed runs mask alike.

    Args:
        blocks: of which ``row`` is masked.
        row: number of the block.
        number: of the pass.
        recipe: gives share, seed, and whether whole words are masked.
        tokenizer: gives the mask token, the vocabulary, and what is never masked.

    Returns:
        The block with its masks (t,), the masked positions (m,), and what stood there (m,).
    """
    tokens = np.asarray(blocks.tokens[row], np.int64)
    random = np.random.Generator(np.random.Philox(key=[recipe.seed, (number << 40) + row]))
    free = np.flatnonzero(~np.isin(tokens, tokenizer.all_special_ids))
    wanted = max(1, round(recipe.mask_share * len(free)))
    if blocks.starts is None:
        positions = np.sort(random.permutation(free)[:wanted])
    else:
        word = np.cumsum(blocks.starts[row])[free]
        order = random.permutation(np.unique(word))
        sizes = np.bincount(word)[order]
        taken = order[: 1 + int(np.searchsorted(np.cumsum(sizes), wanted))]
        positions = free[np.isin(word, taken)]
    labels = tokens[positions]
    draw = random.random(len(positions))
    others = random.integers(len(tokenizer), size=len(positions))
    changed = np.where(draw < MASKED, tokenizer.mask_token_id, labels)
    tokens[positions] = np.where((draw >= MASKED) & (draw < MASKED + RANDOM), others, changed)
    return tokens, positions, labels


@contextlib.contextmanager
def _only_rows(model: Any, rows: torch.Tensor) -> Iterator[None]:
    """Let the head of a masked-language model see these positions alone.

    ``rows`` indexes the flattened (b * t) last hidden state; logits become (1, m, vocabulary).
    A tensor of indices rather than a boolean mask, which would make a GPU wait.
    """

    def gather(module: Any, inputs: Any, output: Any) -> Any:
        hidden = output.last_hidden_state  # (b, t, h)
        output.last_hidden_state = hidden.reshape(-1, hidden.shape[-1])[rows].unsqueeze(0)
        return output

    handle = model.base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def summed_loss(
    model: Any, batch: dict[str, torch.Tensor], *, masked_only: bool, inner: Any = None
) -> torch.Tensor:
    """Add up the cross-entropy of a batch's masked tokens, a scalar.

    The sum, so that the caller divides by the masked tokens of the whole step: a mean of means
    would weigh micro-batches and processes wrongly.

    Args:
        model: what is called; a wrapper for several processes, or the model itself.
        batch: from ``_batch``.
        masked_only: run the head on masked positions alone.
        inner: the model inside the wrapper.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    rows = batch["rows"]
    if masked_only:
        with _only_rows(inner if inner is not None else model, rows):
            logits = model(**inputs).logits[0]  # (m, vocabulary)
    else:
        logits = model(**inputs).logits.flatten(0, 1)[rows]
    return functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")


def _batch(made: Sequence[Masked], tokenizer: Any) -> dict[str, torch.Tensor]:
    """Stack masked blocks: input_ids (b, t), and for the m masked tokens rows (m,), labels (m,)."""
    ids = torch.from_numpy(np.stack([tokens for tokens, _, _ in made]))
    length = ids.shape[1]
    places = [index * length + positions for index, (_, positions, _) in enumerate(made)]
    batch = {
        "input_ids": ids,
        "rows": torch.from_numpy(np.concatenate(places)),
        "labels": torch.from_numpy(np.concatenate([labels for _, _, labels in made])),
    }
    if (ids[:, -1] == tokenizer.pad_token_id).any():  # full blocks do without a mask, and faster
        batch["attention_mask"] = (ids != tokenizer.pad_token_id).long()
    return {name: tensor.to(device(), non_blocking=True) for name, tensor in batch.items()}


def open_model(encoder: Encoder) -> tuple[Any, list[str]]:
    """Open the masked-language model around an encoder's weights.

    Returns:
        The model in evaluation mode (no dropout), and the names of head parameters that the
        checkpoint lacks; those are set so that the head starts as the identity.

    Raises:
        InputError: the architecture has no masked-language-model head.
    """
    from transformers import AutoModelForMaskedLM

    # What a head lacks and cannot be an identity (ALBERT's is not square) is drawn, always alike.
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(HEAD_SEED)
        try:
            model, report = AutoModelForMaskedLM.from_pretrained(
                transformer_folder(encoder.folder),
                output_loading_info=True,
                use_safetensors=True,
                dtype=torch.float32,
            )
        except ValueError as error:
            raise InputError(
                f"base_model={encoder.name!r}, for which transformers has no masked-language model",
                "an architecture with a *ForMaskedLM class, such as BERT, RoBERTa or MPNet",
                "choose another base_model",
            ) from error
    model.base_model.load_state_dict(transformer(encoder.model).state_dict(), strict=False)
    missing = sorted(report["missing_keys"])
    parameters = dict(model.named_parameters())
    base = {id(parameter) for parameter in model.base_model.parameters()}
    lacking = [name for name in missing if name in parameters and id(parameters[name]) not in base]
    for name in lacking:
        _start_as_identity(parameters[name], is_weight=name.endswith("weight"))
    return model.to(device()).eval(), lacking


def attend_plainly(model: Any, asked: str) -> None:
    """Write attention out in bfloat16 on a CPU, for architectures that let it be chosen.

    There the backward pass of torch's fused attention took 29 % of a step, eight times its forward
    pass; written out, a step took 0.76 of the time (MiniLM, 8 blocks of 256, torch 2.13).
    """
    if device().type != "cpu" or precision(asked) != torch.bfloat16:
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register("bat_plain", _attend)
    AttentionMaskInterface.register("bat_plain", eager_mask)
    with quiet():
        model.set_attn_implementation("bat_plain")


def _attend(
    module: Any,
    query: torch.Tensor,  # (b, heads, t, d), as key and value
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # added to the scores, (b, 1, t, t)
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend without dropout; the weights (b, heads, t, t) are not kept but worked out again."""
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling

    def attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = query @ key.transpose(2, 3) * factor
        if attention_mask is not None:
            scores = scores + attention_mask
        return (functional.softmax(scores, dim=-1) @ value).transpose(1, 2).contiguous()

    out: torch.Tensor = again.checkpoint(
        attended, query, key, value, use_reentrant=False, preserve_rng_state=False
    )
    return out, None


def _start_as_identity(parameter: torch.nn.Parameter, *, is_weight: bool) -> None:
    """Set a head's parameter so that it passes through what it is given."""
    with torch.no_grad():
        if parameter.ndim == 2 and parameter.shape[0] == parameter.shape[1]:
            torch.nn.init.eye_(parameter)
        elif parameter.ndim == 1:
            parameter.fill_(1.0 if is_weight else 0.0)


def put_back(model: Any, encoder: Encoder, share: float = 1.0) -> Any:
    """Copy tuned weights into a copy of the original encoder: pooling and Normalize are kept.

    Args:
        model: the tuned masked-language model.
        encoder: the original.
        share: of the tuned weights; the rest of each weight stays the original's.

    Returns:
        A SentenceTransformer; only its ``pooler``, which no embedding uses, is as before.

    Raises:
        RuntimeError: any other weight has no counterpart.
    """
    tuned = copy.deepcopy(encoder.model)
    before = transformer(encoder.model).state_dict()
    weights = {
        name: torch.lerp(before[name], new, share)
        if name in before and new.is_floating_point()
        else new
        for name, new in model.base_model.state_dict().items()
    }
    result = transformer(tuned).load_state_dict(weights, strict=False)
    lost = [name for name in result.missing_keys if not name.startswith("pooler.")]
    if lost or result.unexpected_keys:
        raise RuntimeError(f"weights do not fit the encoder: {lost + result.unexpected_keys}")
    return tuned.eval()


def _warm_head(run: _Run, names: Sequence[str]) -> None:
    """Train a head that the checkpoint lacks while all else is frozen, alike for every size.

    A random head would send its noise through the encoder first.
    """
    parameters = dict(run.model.named_parameters())
    head = [parameter for name, parameter in parameters.items() if name in names]
    others = [parameter for name, parameter in parameters.items() if name not in names]
    for parameter in others:
        parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW(head, lr=HEAD_LEARNING_RATE, weight_decay=0.0, fused=True)
    for step in range(HEAD_STEPS):
        places = range(step * HEAD_BLOCKS_A_STEP, (step + 1) * HEAD_BLOCKS_A_STEP)
        made = [
            masked(run.blocks, at % rows, HEAD_PASS + at // rows, run.recipe, run.tokenizer)
            for rows in [run.blocks.head]
            for at in places
        ]
        batch = _batch(made, run.tokenizer)
        with run.cast():
            loss = summed_loss(run.model, batch, masked_only=run.masked_only)
        torch.autograd.backward(loss / len(batch["labels"]))
        optimizer.step()
        optimizer.zero_grad()
    for parameter in others:
        parameter.requires_grad_(True)


def masked_only_agrees(model: Any, made: Masked, tokenizer: Any) -> bool:
    """Compare the loss from masked rows alone with the stock one, on one block."""
    batch = _batch([made], tokenizer)
    labels = torch.full_like(batch["input_ids"], -100)  # what stock losses leave out
    labels.view(-1)[batch["rows"]] = batch["labels"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    with torch.no_grad():
        stock = float(model(**inputs, labels=labels).loss)
        try:
            ours = float(summed_loss(model, batch, masked_only=True)) / len(batch["labels"])
        except (AttributeError, RuntimeError, IndexError):  # another shape of output or head
            return False
    return math.isclose(ours, stock, rel_tol=1e-4)


def finetune(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    recipe: Recipe,
    *,
    held_out: Sequence[str] = (),
    only: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Tuned]:
    """Tune one trunk over the texts and hand out the finished encoder of each size in turn.

    The same inputs give the same weights, bit for bit on one CPU, also after a restart from
    ``checkpoint`` and whichever sizes ``only`` names.

    Args:
        encoder: where tuning starts; it is not changed.
        texts: in nested order; a size sees a prefix.
        sizes: rising numbers of texts.
        recipe: rates, masks, seed.
        held_out: texts for the loss on unseen text; none, no such loss.
        only: the sizes wanted; the others shape the blocks but get no branch.
        checkpoint: file for the trunk's state, which the caller removes when all is done.
        progress: called after each step.

    Yields:
        The encoder of each size, smallest first. The next size starts when the caller asks.

    Raises:
        InputError: a size is too small, or the architecture has no masked-language model.
    """
    wanted = list(sizes if only is None else only)
    run, lacking = _start(encoder, texts, sizes, recipe, held_out, progress, checkpoint)
    _set_off(run, lacking, [list(sizes).index(size) for size in wanted])
    for index, size in enumerate(sizes):
        _advance(run, index, run.plan.leaves[index], trunk=True)
        if size not in wanted:
            continue
        kept = None if size == wanted[-1] else _snapshot(run)
        _advance(run, index, run.plan.ends[index], trunk=False)
        _check_held_out(run)
        yield _finished(run, encoder, index, size, head_warmed=bool(lacking))
        if kept is None:
            return
        _restore(run, kept)
        run.seconds, run.tokens = 0.0, 0


def trunk_state(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    recipe: Recipe,
    size: int,
    *,
    held_out: Sequence[str] = (),
    checkpoint: Path | None = None,
) -> bytes:
    """Run the trunk to where a size leaves it, for a branch that is finished elsewhere.

    Args:
        encoder: as for ``finetune``, like the others.
        size: one of ``sizes``.
        checkpoint: file with the state at which an earlier size leaves; none, from the beginning.

    Returns:
        The content of a ``checkpoint`` with which ``finetune`` gives the encoder of ``size`` the
        same bits as in one process.
    """
    run, lacking = _start(encoder, texts, sizes, recipe, held_out, None, checkpoint)
    index = list(sizes).index(size)
    _set_off(run, lacking, [index])
    run.seconds, run.tokens = 0.0, 0
    _advance(run, index, run.plan.leaves[index], trunk=True)
    return _packed(run)


def _set_off(run: _Run, lacking: Sequence[str], wanted: Sequence[int]) -> None:
    """Go on from the checkpoint where it serves all wanted sizes (their indices), else begin."""
    if not _resume(run, [run.plan.leaves[index] for index in wanted]):
        if lacking:
            _warm_head(run, lacking)
        _check_held_out(run)


def _start(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    recipe: Recipe,
    held_out: Sequence[str],
    progress: Progress | None,
    checkpoint: Path | None,
) -> tuple[_Run, list[str]]:
    """Pack the texts, open the model and put it under one or several processes."""
    from accelerate import Accelerator

    blocks = pack(encoder, texts, sizes, whole_words=recipe.whole_words)
    plan = schedule(blocks, sizes, recipe)
    apart = pack(encoder, held_out, [len(held_out)]) if len(held_out) else None
    model, lacking = open_model(encoder)
    attend_plainly(model, recipe.precision)
    tokenizer = encoder.model.tokenizer
    agrees = masked_only_agrees(model, masked(blocks, 0, 0, recipe, tokenizer), tokenizer)
    if not agrees:
        warnings.warn(
            f"{encoder.name}: its head does not work on masked positions alone; the full "
            "vocabulary is predicted for every token, which takes longer",
            stacklevel=2,
        )
    accelerator = Accelerator(cpu=device().type == "cpu")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=0.0, fused=True
    )
    run = _Run(
        recipe=recipe,
        blocks=blocks,
        plan=plan,
        held_out_blocks=apart,
        tokenizer=tokenizer,
        model=model,
        wrapped=model,
        optimizer=optimizer,
        accelerator=accelerator,
        masked_only=agrees,
        progress=progress or (lambda tokens, loss: None),
        checkpoint=checkpoint,
    )
    return run, lacking


def _advance(run: _Run, size: int, until: int, *, trunk: bool) -> None:
    """Take the steps up to ``until`` towards the size with that index."""
    if run.wrapped is run.model and run.accelerator.num_processes > 1:
        run.wrapped = run.accelerator.prepare_model(run.model)
    every = math.ceil(run.plan.leaves[-1] / HELD_OUT_CHECKS)
    while run.step < until:
        began = time.monotonic()
        _take_step(run, size)
        run.seconds += time.monotonic() - began
        if trunk and run.step % every == 0:
            _check_held_out(run)
        if trunk and time.monotonic() - run.saved_at > CHECKPOINT_SECONDS:
            _save(run)


def _take_step(run: _Run, size: int) -> None:
    """One optimiser step: loss and gradient are those of all masked tokens of its blocks."""
    number, first, end = run.plan.steps[run.step]
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    made = [masked(run.blocks, row, number, run.recipe, run.tokenizer) for row in range(first, end)]
    count = sum(len(labels) for _, _, labels in made)
    share = world / max(1, count)  # gradients are averaged over processes, and shall be summed
    mine = made[rank::world]
    if not mine:  # more processes than blocks: take part in the exchange, add nothing
        mine, share = made[:1], 0.0
    micro = [
        mine[at : at + run.recipe.micro_blocks]
        for at in range(0, len(mine), run.recipe.micro_blocks)
    ]
    total = torch.zeros((), device=device())
    for index, part in enumerate(micro):
        exchange = index == len(micro) - 1
        with contextlib.nullcontext() if exchange else run.accelerator.no_sync(run.wrapped):
            with run.cast():
                loss = summed_loss(
                    run.wrapped,
                    _batch(part, run.tokenizer),
                    masked_only=run.masked_only,
                    inner=run.model,
                )
            torch.autograd.backward(loss * share)
            total += loss.detach() * share
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), MAX_GRADIENT_NORM)
    for group in run.optimizer.param_groups:
        group["lr"] = run.recipe.learning_rate * run.plan.rate(run.step, size)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.step += 1
    mean = run.accelerator.reduce(total, "mean")
    run.losses.append((run.step, mean))
    tokens = (end - first) * run.blocks.tokens.shape[1]
    run.tokens += tokens
    run.progress(tokens, mean)


def _check_held_out(run: _Run) -> None:
    """Note the mean loss on unseen texts; the masks are the same for every run and step."""
    if run.held_out_blocks is None:
        return
    blocks = run.held_out_blocks
    recipe = dataclasses.replace(run.recipe, seed=HELD_OUT_SEED, whole_words=False)
    total, count = 0.0, 0
    rows = range(min(HELD_OUT_BLOCKS, len(blocks.tokens)))
    for first in rows[:: run.recipe.micro_blocks]:
        part = rows[first : first + run.recipe.micro_blocks]
        made = [masked(blocks, row, 0, recipe, run.tokenizer) for row in part]
        batch = _batch(made, run.tokenizer)
        with torch.no_grad(), run.cast():
            total += float(summed_loss(run.model, batch, masked_only=run.masked_only))
        count += len(batch["labels"])
    if count:  # special tokens alone leave nothing to mask
        run.held_out.append((run.step, total / count))


def _finished(run: _Run, encoder: Encoder, index: int, size: int, *, head_warmed: bool) -> Tuned:
    return Tuned(
        documents=size,
        model=put_back(run.model, encoder, run.recipe.tuned_share),
        tokens=run.blocks.counts[index],
        steps=run.step,
        blocks_a_step=blocks_a_step(run.blocks, run.recipe),
        losses=tuple((step, float(loss)) for step, loss in run.losses),
        held_out=tuple(run.held_out),
        head_warmed=head_warmed,
        masked_only=run.masked_only,
        seconds=run.seconds,
        tokens_trained=run.tokens,
    )


def _state(run: _Run) -> dict[str, Any]:
    """All that a step depends on; masks and order are functions of the step's number."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "losses": [(step, float(loss)) for step, loss in run.losses],
        "held_out": list(run.held_out),
        "spent": (run.seconds, run.tokens),
    }


def _snapshot(run: _Run) -> dict[str, Any]:
    return copy.deepcopy(_state(run))


def _restore(run: _Run, state: dict[str, Any]) -> None:
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step = state["step"]
    run.losses = [(step, torch.tensor(loss)) for step, loss in state["losses"]]
    run.held_out = [tuple(point) for point in state["held_out"]]
    run.seconds, run.tokens = state["spent"]


def _save(run: _Run) -> None:
    """Keep the trunk's state, so that a killed run goes on from here."""
    run.saved_at = time.monotonic()
    if run.checkpoint is not None and is_main():
        units.write(run.checkpoint, _packed(run))


def _packed(run: _Run) -> bytes:
    buffer = io.BytesIO()
    torch.save(_state(run), buffer)
    return buffer.getvalue()


def _resume(run: _Run, leaves: Sequence[int]) -> bool:
    """Go on from the checkpoint, if there is one from which every wanted size can be reached."""
    state = None
    if run.checkpoint is not None and run.checkpoint.exists() and is_main():
        state = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
    state = agreed(state)  # other machines do not see the file
    if state is None or any(leave < state["step"] for leave in leaves):
        return False
    _restore(run, state)
    return True


def work(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    recipe: Recipe,
    wanted: Sequence[int],
) -> int:
    """Count the tokens, padding included, that ``finetune`` will train on: trunk and branches."""
    blocks = pack(encoder, texts, sizes, whole_words=recipe.whole_words)
    plan = schedule(blocks, sizes, recipe)
    rows = [end - first for _, first, end in plan.steps]
    spans = [(plan.leaves[i], plan.ends[i]) for i, size in enumerate(sizes) if size in wanted]
    trunk = sum(rows[: max(leave for leave, _ in spans)])
    branches = sum(sum(rows[leave:end]) for leave, end in spans)
    return int((trunk + branches) * blocks.tokens.shape[1])


def tokens_per_second(encoder: Encoder, texts: Sequence[str], recipe: Recipe) -> float:
    """Time a few steps on some texts, for the plan of a study; nothing is kept of them."""
    blocks = pack(encoder, texts, [len(texts)], whole_words=recipe.whole_words)
    model, _ = open_model(encoder)
    attend_plainly(model, recipe.precision)
    tokenizer = encoder.model.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    rows = range(min(recipe.blocks_a_step or MAX_BLOCKS_A_STEP, len(blocks.tokens)))
    made = [masked(blocks, row, 0, recipe, tokenizer) for row in rows]
    agrees = masked_only_agrees(model, made[0], tokenizer)
    began = 0.0
    for step in range(1 + TIMED_STEPS):
        if step == 1:  # the first one also sets up the machine's libraries
            began = time.monotonic()
        dtype = precision(recipe.precision)
        with torch.autocast(device().type, dtype, enabled=dtype != torch.float32):
            loss = summed_loss(model, _batch(made, tokenizer), masked_only=agrees)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    if device().type == "cuda":
        torch.cuda.synchronize()
    tokens = TIMED_STEPS * len(rows) * blocks.tokens.shape[1]
    return float(tokens / (time.monotonic() - began))
