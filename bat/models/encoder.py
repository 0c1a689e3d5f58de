"""A sentence encoder in memory: what it is, the tokens it reads, and one pass through it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Ids = npt.NDArray[np.int32]  # tokens of one text, (t,)
Progress = Callable[[int], None]  # called with how many more items are done
SEEN_FILE = "rows_seen.json"  # of a tuned encoder: digests of the texts that it has seen
LONG_TOKEN = 16  # characters: some four times what a token of prose has
TOKENISE_AT_ONCE = 10_000  # texts; bounds the memory of token lists
COUNT_AT_ONCE = 500  # texts between two looks at a bar: a second of a slow tokenizer
# In configurations, and no matter of embeddings: where one came from, and who wrote it.
PLACES = ("name_or_path", "is_local", "local_files_only", "backend", "model_max_length")
NOISE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder in memory, with the name the user gave and the digest of what it is."""

    model: Any  # SentenceTransformer
    name: str
    folder: Path
    digest: str

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        return int(self.model.get_embedding_dimension())

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the encoder reads, special tokens counted."""
        return int(self.model.max_seq_length)


def device() -> torch.device:
    """Choose where to compute: CUDA if there is one, each process its own device, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # set by launchers


def save(encoder: Encoder, folder: Path) -> None:
    """Write an encoder into a new folder; what ``open_encoder`` reads there embeds as it does.

    Its own folder is copied with all that lies there, unless its weights have changed in memory.
    """
    if digest(encoder.model) == encoder.digest:
        shutil.copytree(encoder.folder, folder)
        return
    with quiet():
        encoder.model.save_pretrained(str(folder))


def rows_seen(folder: Path) -> frozenset[str] | None:
    """Read the digests of the texts that an encoder was tuned on; None where nobody noted them."""
    path = folder / SEEN_FILE
    return frozenset(json.loads(path.read_text())) if path.is_file() else None


def transformer(model: Any) -> Any:
    """Hand out the one transformers model inside a sentence encoder."""
    return model[0].auto_model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the load reports and bars of the libraries: they speak of heads we handle."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    loggers = [getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    from transformers.utils import logging

    transformers_logging: Any = logging
    bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def digest(model: Any) -> str:
    """Fingerprint all that decides an embedding: weights, configuration, tokenizer, prompts.

    Returns:
        SHA-256 as 64 hex digits; the same before saving and after loading.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    settings = {
        "modules": [(type(module).__name__, module.get_config_dict()) for module in model],
        "transformer": _without(transformer(model).config.to_dict(), NOISE),
        "length": model.max_seq_length,
        "prompts": [model.prompts, model.default_prompt_name],
        "truncate_dim": model.truncate_dim,
    }
    sha.update(json.dumps(settings, sort_keys=True, default=str).encode())
    sha.update(tokenizer_digest(model.tokenizer).encode())
    return sha.hexdigest()


def _without(settings: Any, names: Sequence[str]) -> Any:
    """Leave some names out of settings, at any depth."""
    if not isinstance(settings, dict):
        return settings
    return {str(k): _without(value, names) for k, value in settings.items() if k not in names}


def tokenizer_digest(tokenizer: Any) -> str:
    """Fingerprint a tokenizer, whatever padding and truncation it was last used with."""
    state = {
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "side": tokenizer.truncation_side,
        "words": _words(tokenizer),
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _words(tokenizer: Any) -> dict[str, Any]:
    """Tell how a tokenizer cuts texts: its fast backend's state, or the files it would save."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        state = json.loads(backend.to_str())
        return {name: state[name] for name in state if name not in ("truncation", "padding")}
    with tempfile.TemporaryDirectory() as top, quiet():
        tokenizer.save_pretrained(top)
        files = {path.name: path.read_text() for path in sorted(Path(top).iterdir())}
    settings = json.loads(files.pop("tokenizer_config.json"))
    return files | {"settings": _without(settings, PLACES)}


def prompt_of(model: Any) -> str:
    """The words that ``SentenceTransformer.encode`` puts before each text by default."""
    return str((model.prompts or {}).get(model.default_prompt_name) or "")


def token_ids(
    encoder: Encoder, texts: Sequence[str], *, special: bool, max_tokens: int | None
) -> Iterator[list[int]]:
    """Tokenise texts in order, some thousands at a time.

    Args:
        special: add the encoder's special tokens.
        max_tokens: cut each text there, or None to keep all of it.
    """
    tokenizer = encoder.model.tokenizer
    for start in range(0, len(texts), TOKENISE_AT_ONCE):
        yield from tokenizer(
            list(texts[start : start + TOKENISE_AT_ONCE]),
            add_special_tokens=special,
            truncation=max_tokens is not None,
            max_length=max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # a text longer than the encoder reads is no news: the plan counts them
        )["input_ids"]


def token_counts(encoder: Encoder, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Count the tokens of each text, special ones and prompt included, nothing cut, shape (n,)."""
    return count_tokens(encoder, texts)[0]


def count_tokens(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count each text's tokens, and those of them that the vocabulary does not know.

    Args:
        texts: n strings.
        progress: called now and then with how many more texts are done.

    Returns:
        All tokens, special ones and prompt included, nothing cut (n,); the unknown ones (n,).
    """
    prompt, unknown = prompt_of(encoder.model), _unknown_id(encoder.model.tokenizer)
    counts = np.zeros((2, len(texts)), np.int64)
    for start in range(0, len(texts), COUNT_AT_ONCE):
        prompted = [prompt + text for text in texts[start : start + COUNT_AT_ONCE]]
        found = token_ids(encoder, prompted, special=True, max_tokens=None)
        for at, row in enumerate(found, start):
            counts[:, at] = len(row), row.count(unknown)
        if progress:
            progress(len(prompted))
    return counts[0], counts[1]


def _unknown_id(tokenizer: Any) -> int:
    """Name the token for what the vocabulary lacks; -1 where there is none.

    Byte-level vocabularies know every text, and may call the end of a text their unknown token.
    """
    names = ("bos", "eos", "cls", "sep", "pad", "mask")
    others = [getattr(tokenizer, f"{name}_token_id") for name in names]
    unknown = tokenizer.unk_token_id
    return -1 if unknown is None or unknown in others else int(unknown)


def beginning(encoder: Encoder, text: str) -> str:
    """Cut off what is far beyond the tokens that the encoder reads of a stripped text.

    What ``read`` finds stays the same: its tokens hang on the words around them, and at least as
    many tokens as it reads are kept behind those. So nobody waits for the end of a text: two
    million characters took 2.6 s of a processor.
    """
    end = LONG_TOKEN * encoder.max_tokens
    while end < len(text) and token_counts(encoder, [text[:end]])[0] <= 2 * encoder.max_tokens:
        end *= 4  # long runs of blanks, or words that are one token each
    return text[:end]


def tokenise(encoder: Encoder, texts: list[str]) -> list[Ids]:
    """Tokenise as ``SentenceTransformer.encode`` does: default prompt, special tokens, cut.

    Arrays, since Python's numbers would take some 30 bytes a token over all texts.
    """
    prompt = prompt_of(encoder.model)
    prompted = [prompt + text for text in texts] if prompt else texts
    found = token_ids(encoder, prompted, special=True, max_tokens=encoder.max_tokens)
    return [np.asarray(row, np.int32) for row in found]


def pooled(encoder: Encoder, ids: list[Ids]) -> torch.Tensor:
    """Pad one batch and run the encoder's own modules over it: (b, t) token ids -> (b, d)."""
    model = encoder.model
    width = max(len(row) for row in ids)
    tokens = torch.full((len(ids), width), model.tokenizer.pad_token_id)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for index, row in enumerate(ids):
        tokens[index, : len(row)] = torch.from_numpy(row)
        mask[index, : len(row)] = 1
    features: dict[str, Any] = {
        "input_ids": tokens.to(device()),
        "attention_mask": mask.to(device()),
    }
    if prompt := prompt_of(model):
        length = model.preprocess(["a"], prompt=prompt).get("prompt_length")
        features |= {} if length is None else {"prompt_length": length}
    rows: torch.Tensor = model(features)["sentence_embedding"]  # (b, d)
    return rows if model.truncate_dim is None else rows[:, : model.truncate_dim]
