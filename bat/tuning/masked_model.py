"""The masked-language model around an encoder: opened, its loss, and put back."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bat.cli import InputError
from bat.models.encoder import Encoder, device, quiet, transformer
from bat.models.encoder_files import first_line, transformer_folder
from bat.models.encoder_opening import refuse_unsavable
from bat.tuning import loop, packing

Ids = npt.NDArray[np.int64]
Masked = tuple[Ids, Ids, Ids]  # tokens with masks (t,), masked positions (m,), their labels (m,)

HEAD_SEED = 0
UNTUNED = "choose another base_model to tune; evaluate and sizes=0 take this one"  # the remedy


def stacked(made: Sequence[Masked], tokenizer: Any) -> dict[str, torch.Tensor]:
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


@contextlib.contextmanager
def only_rows(model: Any, rows: torch.Tensor) -> Iterator[None]:
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
    model: Any,
    batch: dict[str, torch.Tensor],
    *,
    masked_only: bool,
    head_sees: Callable[[Any, torch.Tensor], contextlib.AbstractContextManager[None]] = only_rows,
) -> torch.Tensor:
    """Add up the cross-entropy of a batch's masked tokens, a scalar.

    The sum, so that the caller divides by the masked tokens of the whole step: a mean of means
    would weigh micro-batches and processes wrongly.

    Args:
        model: what is called; a wrapper for several processes, or the model itself.
        batch: from ``stacked``.
        masked_only: run the head on masked positions alone.
        head_sees: lets the head see what belongs to those positions, as ``only_rows`` does.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    rows = batch["rows"]
    if masked_only:
        with head_sees(loop.unwrapped(model), rows):
            logits = model(**inputs).logits[0]  # (m, vocabulary)
    else:
        logits = model(**inputs).logits.flatten(0, 1)[rows]
    return functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")


def masked_only_agrees(model: Any, made: Masked, tokenizer: Any) -> bool:
    """Compare the loss from masked rows alone with the stock one, on one block."""
    batch = stacked([made], tokenizer)
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


def open_model(encoder: Encoder) -> tuple[Any, list[str]]:
    """Open the masked-language model around an encoder's weights.

    Returns:
        The model in evaluation mode (no dropout), and the names of head parameters that the
        checkpoint lacks; those are set so that the head starts as the identity.

    Raises:
        InputError: the architecture has no masked-language-model head, or its weights under that
            head are not those of the encoder, so that they could not be put back.
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
                "choose another base_model; scaling_study and evaluate can do without tuning it "
                "(sizes=0)",
            ) from error
    _refuse_other_weights(encoder, model)
    model.base_model.load_state_dict(transformer(encoder.model).state_dict(), strict=False)
    missing = sorted(report["missing_keys"])
    parameters = dict(model.named_parameters())
    base = {id(parameter) for parameter in model.base_model.parameters()}
    lacking = [name for name in missing if name in parameters and id(parameters[name]) not in base]
    for name in lacking:
        start_as_identity(parameters[name], is_weight=name.endswith("weight"))
    return model.to(device()).eval(), lacking


def refuse_untunable(encoder: Encoder) -> None:
    """Refuse what would end the tuning of an encoder, before any work is done for it.

    Raises:
        InputError: its tokenizer lacks what a masked block is made of, its architecture has no
            masked-language model, or that model does not fit.
    """
    refuse_unsavable(encoder)
    tokenizer = encoder.model.tokenizer
    first, last = packing.end_tokens(tokenizer)
    ends = {"mask": tokenizer.mask_token_id, "start": first, "separator": last}
    lacking = [name for name, number in ends.items() if number is None]
    padding = [name for name, number in ends.items() if number == tokenizer.pad_token_id]
    if lacking or padding:
        fault = f"has no {lacking[0]} token" if lacking else f"pads with its {padding[0]} token"
        raise InputError(
            f"base_model={encoder.name!r}, whose tokenizer {fault}",
            "tokens of their own for mask, start, separator and padding: blocks are made of them",
            UNTUNED,
        )
    if encoder.max_tokens < len(ends):
        raise InputError(
            f"base_model={encoder.name!r}, which reads {encoder.max_tokens} tokens of a text",
            f"at least {len(ends)}: a block holds a start, a word and a separator",
            UNTUNED,
        )
    _refuse_unfit(encoder, list(ends.values()))


def _refuse_unfit(encoder: Encoder, block: Sequence[int]) -> None:
    """Try the masked-language model of an encoder on one block, of which the first token is masked.

    Raises:
        InputError: it is none, has other weights than the encoder, or gives no number for a loss.
    """
    model, _ = open_model(encoder)
    vocabulary = encoder.model.tokenizer.get_vocab().values()
    fault = "its loss is no number"
    try:
        label = next(number for number in vocabulary if number not in block)
        made = (np.asarray(block, np.int64), np.asarray([0]), np.asarray([label]))
        batch = stacked([made], encoder.model.tokenizer)
        with torch.no_grad():
            loss = float(summed_loss(model, batch, masked_only=False))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        fault, loss = first_line(error), math.nan
    if not math.isfinite(loss):
        raise InputError(
            f"base_model={encoder.name!r}, whose masked-language model does not fit it ({fault})",
            "a model that takes the encoder's weights and predicts its tokens",
            UNTUNED,
        )


def _refuse_other_weights(encoder: Encoder, model: Any) -> None:
    """See before any tuning that ``put_back`` will find a place for every weight."""
    inner, outer = transformer(encoder.model).state_dict(), model.base_model.state_dict()
    lost = [
        name
        for name in sorted(inner.keys() | outer.keys())
        if not name.startswith("pooler.")
        and (name not in inner or name not in outer or inner[name].shape != outer[name].shape)
    ]
    if lost:
        raise InputError(
            f"base_model={encoder.name!r}, whose masked-language model does not fit it: it has "
            f"other weights, such as {lost[0]}",
            "an architecture whose *ForMaskedLM class holds the encoder as it is",
            UNTUNED,
        )


def start_as_identity(parameter: torch.nn.Parameter, *, is_weight: bool) -> None:
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
