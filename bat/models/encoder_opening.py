"""Open a sentence encoder, or refuse it in a sentence: what no batch of texts would get through."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bat.cli import InputError
from bat.models import encoder_files
from bat.models.encoder import (
    SEEN_FILE,
    Encoder,
    device,
    digest,
    pooled,
    prompt_of,
    quiet,
    tokenise,
    tokenizer_digest,
    transformer,
)

LENGTH = "max_position_embeddings"  # what configurations call the length of the position table
# Stored where there is no limit: 10**30 by transformers, 10**6 or 10**9 by others; encoders that
# were trained on long texts state 8,192 to 40,960.
ENDLESS = 100_000
TABLE = re.compile("pos|^wpe$")  # what architectures of transformers call a table of positions
UNSTATED_TOKENS = 512  # read where no file says how many: what BERT, T5 and XLNet were trained on
PROBE_TEXTS = ("A short text of 7 words.", "...?!")
PROBE_WORDS = "one 2, "  # repeated, the text that is too long
PROBE_TOKENS = 512
# Of the longest embedding. Padding moves the last bits (1e-6 of MiniLM's); another pooling, prompt
# or length moves whole digits.
PROBE_TOLERANCE = 1e-3
_COMPARED: set[str] = set()  # digests of the encoders that this process has compared


def open_encoder(base_model: str, *, name: str = "") -> Encoder:
    """Open an encoder by hub id or folder, from safetensors alone and without remote code.

    Args:
        base_model: hub id or folder.
        name: how reports call it; ``base_model`` when empty. Of a folder they say the last part.

    Raises:
        InputError: nothing opens there, or it is no encoder with exactly one transformer.
    """
    folder = encoder_files.find(base_model)
    encoder_files.check(base_model, folder)
    model = _load(base_model, folder)
    _refuse_other_kinds(base_model, model)
    _refuse_missing_parts(base_model, model, folder)
    _refuse_unusable_settings(base_model, model)
    if (code := encoder_files.own_code(folder)) and not (folder / SEEN_FILE).exists():
        kind = type(transformer(model)).__name__
        warnings.warn(f"{base_model}: {code}, which is not run; {kind} reads it", stacklevel=2)
    _limit_length(base_model, model, folder)
    model.to(device()).eval()
    given = name or base_model
    shown = Path(given).name if Path(given).is_dir() else given
    opened = Encoder(model=model, name=shown, folder=folder, digest=digest(model))
    # Of our own saving, it was compared with the one in memory; a study opens the others often.
    if not (folder / SEEN_FILE).exists() and opened.digest not in _COMPARED:
        _refuse_unlike_encode(base_model, opened)
        _COMPARED.add(opened.digest)
    return opened


def _load(base_model: str, folder: Path) -> Any:
    """Read a SentenceTransformer onto the CPU, where a token too many is an error and no more."""
    # A pooler that the file lacks is drawn; drawn always alike, it does not change the digest.
    with quiet(), torch.random.fork_rng():
        from sentence_transformers import SentenceTransformer

        torch.manual_seed(0)
        try:
            return SentenceTransformer(
                str(folder),
                device="cpu",
                trust_remote_code=False,
                # float32 whatever the file holds: tuned weights must not be rounded on their way.
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        except Exception as error:
            reason = encoder_files.first_line(error)
            raise encoder_files.refusal(base_model, folder, reason) from error


def _refuse_other_kinds(base_model: str, model: Any) -> None:
    """Masked-language-model tuning needs exactly one transformer that reads text."""
    from sentence_transformers.base.modules import Transformer

    found = [type(module).__name__ for module in model]
    transformers = [module for module in model.modules() if isinstance(module, Transformer)]
    text_only = len(transformers) == 1 and set(transformers[0].modalities) <= {"text", "message"}
    if len(transformers) != 1 or not isinstance(model[0], Transformer) or not text_only:
        raise InputError(
            f"the encoder {base_model!r} with the modules {', '.join(found)}",
            "an encoder whose first module is its only transformer, and reads text",
            "static, image and router models cannot be tuned; choose a BERT-like encoder",
        )


def _refuse_missing_parts(base_model: str, model: Any, folder: Path) -> None:
    """What a folder lacks is made up without a word; only a pooler may be: no pooling reads it."""
    from transformers import AutoModel

    if not _word_ids(model.tokenizer):
        raise InputError(
            f"the encoder {base_model!r}, whose folder has no vocabulary",
            "the files of its tokenizer, such as tokenizer.json or vocab.txt",
            "save tokenizer and model into one folder",
        )
    if (folder / SEEN_FILE).exists():  # saved by us, from an encoder that was looked at
        return
    with quiet(), torch.random.fork_rng():
        try:
            _, report = AutoModel.from_pretrained(
                encoder_files.transformer_folder(folder),
                output_loading_info=True,
                use_safetensors=True,
            )
        except Exception as error:
            reason = f"transformers says: {encoder_files.first_line(error)}"
            raise encoder_files.refusal(base_model, folder, reason) from error
    wanted = transformer(model).state_dict()
    missing = sorted(n for n in report["missing_keys"] if n in wanted and "pooler." not in n)
    if missing:
        if code := encoder_files.own_code(folder):
            raise encoder_files.needs_code(base_model, code)
        raise InputError(
            f"the encoder {base_model!r}, whose file lacks {len(missing)} of {len(wanted)} "
            f"weights, such as {missing[0]}",
            "a file with all weights of its encoder",
            "save the model again, or copy the whole file",
        )


def _word_ids(tokenizer: Any) -> list[int]:
    """List the ids of all tokens but the special ones."""
    special = set(tokenizer.all_special_tokens)
    return [number for token, number in tokenizer.get_vocab().items() if token not in special]


def _refuse_unusable_settings(base_model: str, model: Any) -> None:
    """Refuse what no batch of texts would get through: tokens without a row or without padding."""
    width, tokenizer = model.truncate_dim, model.tokenizer
    if width is not None and not (type(width) is int and width > 0):
        raise encoder_files.damaged(
            base_model, f"its truncate_dim is {width!r}, which is no whole number above 0"
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"the encoder {base_model!r}, whose tokenizer has no padding token",
            "one, which fills up the shorter texts of a batch; SentenceTransformer.encode needs it",
            "set tokenizer.pad_token (often to tokenizer.eos_token), and save the tokenizer again",
        )
    table = transformer(model).get_input_embeddings()
    rows = int(getattr(table, "num_embeddings", 0))  # 0: an architecture that has no such table
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if rows and beyond:
        raise InputError(
            f"the encoder {base_model!r}, whose tokenizer has {len(beyond)} tokens beyond the "
            f"{rows} rows of its embedding table, such as {beyond[min(beyond)]!r}",
            "a row for each token",
            "call model.resize_token_embeddings(len(tokenizer)), train the new rows, and save both",
        )


class _ReachedLayers(Exception):
    """The first layer of a transformer is about to run: every position was looked up."""


def _limit_length(base_model: str, model: Any, folder: Path) -> None:
    """Lower the stored length to what the position table holds; give one where none is stored."""
    stated = model.max_seq_length or getattr(transformer(model).config, LENGTH, 0)
    endless = not 0 < stated < ENDLESS
    limit = UNSTATED_TOKENS if endless else stated
    readable = _readable(model, limit)
    room = readable - model.tokenizer.num_special_tokens_to_add()
    if room < 1:
        raise encoder_files.refusal(
            base_model, folder, f"of a text it reads {max(0, room)} tokens besides the special ones"
        )
    model.max_seq_length = readable
    table = getattr(transformer(model).config, LENGTH, None)  # nobody stored that as a length
    if endless or (readable < limit and limit != table):
        says = "state no limit" if endless else f"say {limit:,}"
        warnings.warn(
            f"{base_model} reads {readable:,} tokens of a text; its files {says}", stacklevel=3
        )


def _readable(model: Any, limit: int) -> int:
    """Find by trial how many tokens, at most ``limit``, the position table has a place for.

    RoBERTa's of 514 rows holds 512: its positions start after that of the padding. Where positions
    are relative or rotary nothing is tried: masks of so many tokens may take gigabytes.
    """
    if not _tables(transformer(model)) or _has_positions(model, limit):
        return limit
    works, fails = 0, limit
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if _has_positions(model, middle) else (works, middle)
    return works


def _tables(inside: Any) -> list[str]:
    """Name the tables of absolute positions, such as ``embeddings.position_embeddings``."""
    return [
        name
        for name, module in inside.named_modules()
        if isinstance(module, torch.nn.Embedding) and TABLE.search(name.rpartition(".")[2])
    ]


def _has_positions(model: Any, count: int) -> bool:
    """Try one text of ``count`` tokens up to the first layer; the layers know no limit."""
    inside = transformer(model)

    def stop(module: Any, inputs: Any) -> None:
        raise _ReachedLayers

    lists = (each for each in inside.modules() if isinstance(each, torch.nn.ModuleList) and each)
    handles = [each[0].register_forward_pre_hook(stop) for each in lists]
    ids = torch.full((1, count), min(_word_ids(model.tokenizer)))
    try:
        with quiet(), torch.inference_mode():
            inside(input_ids=ids, attention_mask=torch.ones_like(ids))
    except _ReachedLayers:
        return True
    except (IndexError, RuntimeError, ValueError):
        return False
    finally:
        for handle in handles:
            handle.remove()
    return True


def _refuse_unlike_encode(base_model: str, opened: Encoder) -> None:
    """Compare a few embeddings with those of ``SentenceTransformer.encode``, text by text.

    Raises:
        InputError: one of the two fails, or they differ by ``PROBE_TOLERANCE`` or more.
    """
    model, long = opened.model, PROBE_WORDS * opened.max_tokens
    # Of a very long text only the tokens are compared: to embed it takes a minute.
    texts = [*PROBE_TEXTS, long] if opened.max_tokens <= PROBE_TOKENS else list(PROBE_TEXTS)
    try:
        with quiet(), torch.inference_mode():
            theirs = model.encode(texts, batch_size=1, show_progress_bar=False)
            ours = pooled(opened, tokenise(opened, texts)).float().cpu().numpy()
            prepared = model.preprocess([long], prompt=prompt_of(model) or None)["input_ids"][0]
        agree = np.array_equal(prepared.cpu().numpy(), tokenise(opened, [long])[0])
    except Exception as error:
        reason = f"it embeds no text: {encoder_files.first_line(error)}"
        raise encoder_files.refusal(base_model, opened.folder, reason) from error
    if ours.shape != (len(texts), opened.dimension) or ours.shape != theirs.shape:
        reason = f"its embeddings have {theirs.shape[1]} columns, its files say {opened.dimension}"
        raise encoder_files.refusal(base_model, opened.folder, reason)
    apart = np.abs(ours - theirs).max() / np.linalg.norm(theirs, axis=1).max()
    if not (agree and apart < PROBE_TOLERANCE):  # also where one is not a number
        reason = f"its embeddings differ by {apart:.2g} from those of SentenceTransformer.encode"
        raise encoder_files.refusal(base_model, opened.folder, f"{reason}, text by text")


def refuse_unsavable(opened: Encoder) -> None:
    """Refuse an encoder whose copies would cut texts otherwise; BERTweet's lose their merges.

    Raises:
        InputError: transformers does not read its tokenizer back as it was saved.
    """
    tokenizer = opened.model.tokenizer
    with tempfile.TemporaryDirectory() as top, quiet():
        tokenizer.save_pretrained(top)
        try:
            same = tokenizer_digest(type(tokenizer).from_pretrained(top)) == tokenizer_digest(
                tokenizer
            )
        except Exception:  # of any kind: what was saved does not even open
            same = False
    if not same:
        raise InputError(
            f"the encoder {opened.name!r}, whose {type(tokenizer).__name__} transformers does not "
            "save as it was read",
            "a tokenizer that comes back unchanged from the folders in which encoders are kept",
            "choose an encoder with a fast tokenizer (tokenizer.json); evaluate takes this one",
        )
