"""The precision of tuning: timed once on a machine, remembered, and kept by what has begun.

Flags of a processor do not tell: with AVX512-BF16 and no AMX one machine tunes 661 tokens a second
in bfloat16 and 1,074 in float32, another twice as many in bfloat16 as in float32.
"""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils import checkpoint as again

from bat import cli, drafts, home, locks, units
from bat.models.encoder import device, quiet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")  # of x86 and of ARM; without, it is emulated
ROUNDS = 5  # of one step in each precision by turns, so that another's load meets both
# Of float32's time, which bfloat16 must save: it rounds more, and on a machine at eight times its
# load three measurements of the share gave 0.37 to 0.43 (docs/LOG.md).
MARGIN = 0.1
# MiniLM with 2 of its 6 layers and a quarter of its words, on two of its blocks: bfloat16 took 0.37
# to 0.43 of float32's time a step there, tuning MiniLM itself 0.43 to 0.45.
LAYERS, WIDTH, HEADS, WORDS = 2, 384, 12, 8192
BLOCKS, TOKENS, MASK_EVERY = 2, 256, 5

STUDY: ContextVar[str] = ContextVar("study", default="")  # whose precision is wanted
FIXED: ContextVar[str] = ContextVar("fixed", default="")  # a precision that was chosen elsewhere


@dataclass(frozen=True)
class Choice:
    """The precision in which a machine tunes, and the median seconds a step that decided it."""

    precision: str  # of DTYPES
    seconds: dict[str, float]  # empty where the device offers one precision alone


def choose(wanted: str) -> torch.dtype:
    """Turn fp32 or bf16 into a dtype; ``auto`` is what the study began with, or the machine's."""
    if wanted == "auto":
        study = STUDY.get()
        wanted = FIXED.get() or (_of_study(_folder() / f"study-{study}") if study else _usual())
    return DTYPES[wanted]


def name_of(dtype: torch.dtype) -> str:
    """Name a dtype as recipes do."""
    return next(name for name, each in DTYPES.items() if each == dtype)


@contextlib.contextmanager
def of_study(key: str) -> Iterator[None]:
    """Take, for ``auto``, what the study of that key began with, whatever was measured since."""
    token = STUDY.set(key)
    try:
        yield
    finally:
        STUDY.reset(token)


@contextlib.contextmanager
def fixed(precision: str) -> Iterator[None]:
    """Take one precision for ``auto`` while the block lasts."""
    token = FIXED.set(precision)
    try:
        yield
    finally:
        FIXED.reset(token)


def facts() -> dict[str, str]:
    """Say in which precision is tuned and why, as tags of a run."""
    timed = ", ".join(f"{name} {spent:.3g}" for name, spent in of_machine().seconds.items())
    chosen = {"precision": name_of(choose("auto"))}
    return chosen | ({"precision_seconds_a_step": timed} if timed else {})


def of_machine() -> Choice:
    """Read what was measured on such a machine with so many threads, measuring it first if need be.

    Nothing is timed twice on one machine: near ties would fall otherwise the next time.
    """
    name = units.digest([json.dumps(_machine(), sort_keys=True, default=str)])[:32]
    path = _folder() / f"{name}.json"
    with locks.lock(f"precision-{name}"):
        known = _read(path)
        if known is None:
            known = measure(stepper()) if len(offered()) > 1 else Choice("fp32", {})
            drafts.write(path, json.dumps(asdict(known) | _machine(), default=str).encode())
            if known.seconds:
                cli.say(_sentence(known))
    return known


def _folder() -> Path:
    return home.folder() / "precision"


def _usual() -> str:
    return of_machine().precision


@functools.cache
def _of_study(path: Path) -> str:
    """Read the precision that a study noted when it began, or note today's."""
    known = path.read_text() if path.is_file() else ""
    if known not in DTYPES:
        known = _usual()
        drafts.write(path, known.encode())
    return known


def _read(path: Path) -> Choice | None:
    """Read a choice; None if there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text())
        choice = Choice(found["precision"], dict(found["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if choice.precision in DTYPES else None


def _sentence(choice: Choice) -> str:
    times = " and ".join(f"{spent:.3g} s in {name}" for name, spent in choice.seconds.items())
    return f"Timed once here: a step of tuning takes {times}, so it is done in {choice.precision}."


def _machine() -> dict[str, object]:
    """Tell on what the times depend."""
    on_gpu = device().type == "cuda"
    made = torch.cuda.get_device_name() if on_gpu else torch.cpu.get_capabilities()
    return {"device": made, "threads": torch.get_num_threads(), "torch": torch.__version__}


def offered() -> tuple[str, ...]:
    """List the precisions in which this device computes by itself."""
    if device().type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = any(torch.cpu.get_capabilities().get(flag) for flag in BF16_FLAGS)
    return ("fp32", "bf16") if has else ("fp32",)


def measure(step_seconds: Callable[[str], float]) -> Choice:
    """Time steps by turns, and choose bfloat16 where it saves more than ``MARGIN``.

    Args:
        step_seconds: takes a step in the precision of that name; gives its seconds.
    """
    for name in DTYPES:
        step_seconds(name)  # the first one also sets up the machine's libraries
    rounds = [{name: step_seconds(name) for name in DTYPES} for _ in range(ROUNDS)]
    share = statistics.median(each["bf16"] / each["fp32"] for each in rounds)
    seconds = {name: statistics.median(each[name] for each in rounds) for name in DTYPES}
    return Choice("bf16" if share < 1 - MARGIN else "fp32", seconds)


def stepper() -> Callable[[str], float]:
    """Make a small masked-language model, and what takes and times a step of tuning it."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
    )
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = BertForMaskedLM(config).to(device()).eval()
        ids = torch.randint(WORDS, (BLOCKS, TOKENS)).to(device())
    plain = model.config._attn_implementation
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    rows = torch.arange(0, ids.numel(), MASK_EVERY, device=ids.device)

    def step_seconds(name: str) -> float:
        dtype = DTYPES[name]
        model.set_attn_implementation(plain)
        attend_plainly(model, dtype)
        began = time.monotonic()
        with torch.autocast(device().type, dtype, enabled=dtype != torch.float32):
            hidden = model.bert(input_ids=ids).last_hidden_state.flatten(0, 1)[rows]
            logits = model.cls(hidden)
        loss = functional.cross_entropy(logits.float(), ids.flatten()[rows])
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if device().type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - began

    return step_seconds


def attend_plainly(model: Any, dtype: torch.dtype) -> None:
    """Write attention out in bfloat16 on a CPU, for architectures that let it be chosen.

    There the backward pass of torch's fused attention took 29 % of a step, eight times its forward
    pass; written out, a step took 0.76 of the time (MiniLM, 8 blocks of 256, torch 2.13).
    """
    if device().type != "cpu" or dtype != torch.bfloat16:
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
