"""Shared by all tests: no network, an empty cache, and tiny real encoders made on the spot."""

import os
import random
import re
import socket
from pathlib import Path

import pytest

LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}
READY_SECONDS = 300  # until a server answers; a shared machine may take minutes
MAX_TOKENS = 32  # what the tiny encoders read of a text


def pytest_configure():
    """Before any import: libraries read these once."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"  # over tiny matrices threads only wait for each other


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Each test has its own cache, and reaches no other machine."""
    monkeypatch.setenv("BAT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("bat.tuning.precision.stepper", lambda: lambda name: 1.0)  # a tie: float32
    connect = socket.socket.connect

    def only_here(self, address):
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise RuntimeError(f"a test reached out to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="session")
def served():
    """Run a server on a free port while a ``with`` block lasts; yields its address."""
    import contextlib

    return contextlib.contextmanager(_served)


def _served(command, probe, **options):
    import signal
    import subprocess
    import time
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # MLflow starts helpers, which shall end with it
        **options,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(READY_SECONDS):
            try:
                urllib.request.urlopen(f"{address}{probe}").read()
                break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail(f"{' '.join(command)} did not answer in {READY_SECONDS} s")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def sentences(n, seed=0):
    """Invent n different short texts in which each word says something about the others."""
    rng = random.Random(seed)
    makes = {
        "arrow": ("coupe", "red", "manual"),
        "birch": ("wagon", "green", "automatic"),
        "comet": ("roadster", "silver", "manual"),
        "delta": ("sedan", "black", "automatic"),
    }
    found = {}
    while len(found) < n:
        make = rng.choice(list(makes))
        body, colour, gearbox = makes[make]
        year, miles = rng.randint(1950, 2019), rng.randint(1, 99)
        owner = rng.choice(("one careful owner", "two owners from new", "a small museum"))
        found[f"{year} {make} {body} in {colour}, {miles}k miles, {gearbox}, {owner}."] = None
    return tuple(found)


@pytest.fixture(scope="session")
def texts():
    """Some hundreds of invented texts, all different."""
    return sentences(600)


# What each architecture calls its special tokens, in the order of their ids: start, padding, end,
# unknown, mask. Its configuration must agree, and RoBERTa counts positions from the padding's id.
BERT_TOKENS = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _word_pieces(special):
    """A vocabulary of some words and the pieces of numbers; the same in each run."""
    words = sorted({word for text in sentences(60, seed=1) for word in re.findall("[a-z]+", text)})
    digits = list("0123456789")
    pieces = [*special, *words, "19", "20", ".", ",", *digits, *(f"##{x}" for x in [*digits, "k"])]
    return {piece: number for number, piece in enumerate(pieces)}


def tokenizer(special, *, byte_level):
    """A small tokenizer that also cuts words: WordPiece (``##``), or BPE on bytes (``Ġ``)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    start, padding, end, unknown, mask = special
    if byte_level:
        inner = Tokenizer(models.BPE(unk_token=unknown))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=list(special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(sentences(60, seed=1), trainer)
    else:
        inner = Tokenizer(models.WordPiece(_word_pieces(special), unk_token=unknown))
        inner.normalizer = normalizers.BertNormalizer()
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B {end}",
        special_tokens=[(start, 0), (end, 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        cls_token=start,
        pad_token=padding,
        sep_token=end,
        unk_token=unknown,
        mask_token=mask,
        model_max_length=MAX_TOKENS,
    )


SHAPE = {
    "initializer_range": 0.2,  # ten times the usual: texts differ without any training
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "pad_token_id": 1,
    "max_position_embeddings": MAX_TOKENS + 2,  # RoBERTa's positions start at 2
}
DISTILBERT_SHAPE = {
    "initializer_range": 0.2,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,
    "pad_token_id": 1,
    "max_position_embeddings": MAX_TOKENS,
}
ARCHITECTURES = {
    "bert": ("Bert", SHAPE, BERT_TOKENS, False),
    "roberta": ("Roberta", SHAPE, ROBERTA_TOKENS, True),
    "xlm-r": ("XLMRoberta", SHAPE, ROBERTA_TOKENS, True),
    "distilbert": ("DistilBert", DISTILBERT_SHAPE, BERT_TOKENS, False),
    "mpnet": ("MPNet", SHAPE, ROBERTA_TOKENS, False),
    "modernbert": (
        "ModernBert",
        SHAPE | {"bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2},
        BERT_TOKENS,
        True,
    ),
}


def _masked_model(architecture):
    """A tiny ``*ForMaskedLM`` with drawn weights, and a tokenizer that fits it."""
    import torch
    import transformers

    name, shape, special, byte_level = ARCHITECTURES[architecture]
    words = tokenizer(special, byte_level=byte_level)
    config = getattr(transformers, f"{name}Config")(vocab_size=len(words), **shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{name}ForMaskedLM")(config), words


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Hand out the folder of a tiny checkpoint with its masked-language head, by architecture."""
    from bat.models import encoder

    made = {}

    def folder(architecture):
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp(architecture)
            with encoder.quiet():
                for part in _masked_model(architecture):
                    part.save_pretrained(made[architecture])
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def encoder_of(folder_of):
    """Hand out a tiny encoder with its masked-language head, by architecture; not to be changed."""
    from bat.models import encoder_opening

    return lambda architecture: encoder_opening.open_encoder(str(folder_of(architecture)))


def save_encoder(folder: Path, *, pooling="mean", normalize=True, prompt=None):
    """Save a tiny BERT without head as a sentence encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from bat.models import encoder

    model, words = _masked_model("bert")
    inside = folder.with_name(folder.name + "-transformer")
    with encoder.quiet():
        model.base_model.save_pretrained(inside)
        words.save_pretrained(inside)
        modules = [Transformer(str(inside)), Pooling(SHAPE["hidden_size"], pooling)]
        modules += [Normalize()] if normalize else []
        prompts = {"prompts": {"sell": prompt}, "default_prompt_name": "sell"} if prompt else {}
        whole = SentenceTransformer(modules=modules, device="cpu", **prompts)
        whole.max_seq_length = MAX_TOKENS
        whole.save(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a tiny encoder like all-MiniLM-L6-v2: no head, mean pooling, Normalize."""
    return save_encoder(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """Open the tiny encoder once; not to be changed."""
    from bat.models import encoder_opening

    return encoder_opening.open_encoder(str(tiny_folder))


@pytest.fixture(scope="session")
def sales(tmp_path_factory, texts):
    """A file of 500 short texts with prices that follow from their words."""
    import json

    path = tmp_path_factory.mktemp("sales") / "sales.jsonl"
    worth = {"arrow": 40_000, "birch": 8_000, "comet": 25_000, "delta": 12_000}
    noise = random.Random(0)
    lines = [
        {"text": text, "price": round(worth[text.split()[1]] * noise.lognormvariate(0, 0.3))}
        for text in texts[:500]
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.fixture(scope="session")
def saved_pair(tmp_path_factory, tiny, texts):
    """Where a pair that prices texts by their length is saved, as a study saves what is served."""
    import numpy as np

    from bat.models import embedding, interval, predictors, pricer, regressor

    prices = np.array([1000.0 + 10 * len(text) for text in texts])
    embeddings = embedding.encode(tiny, texts)
    made = regressor.fit(embeddings, prices, regressor.Settings(), n_trees=5, seed=0)
    calibrated = interval.calibrate(
        embeddings, prices, made.predict(embeddings), groups=np.arange(len(prices)), seed=0
    )
    folder = tmp_path_factory.mktemp("pair") / "p"
    pricer.save(predictors.PAIR, predictors.Pair(tiny, made), calibrated, folder, seen=())
    return folder


def fitted(name, texts, prices, train, *, groups=None, base=None, seed=0):
    """Fit a predictor by its name in the table; where trees are searched, a few by default."""
    import numpy as np

    from bat.models import predictors, regressor, ridge_column
    from bat.tuning.objectives import supervised

    prices = np.asarray(prices, np.float64)
    groups = np.arange(len(texts)) if groups is None else groups

    def trees(features, columns=None):
        rows, settings = features[train], regressor.Settings()
        if columns is not None:
            rows = ridge_column.append(rows, columns(train, train[:0])[0])
        return regressor.fit(
            rows, prices[train], settings, n_trees=20, seed=seed, with_line=columns is None
        )

    def tune():
        return supervised.fit(base, texts, prices, train, seed=seed)

    return predictors.named(name).fit(
        predictors.TrainingData(texts, prices, groups, train, base, seed, trees, tune)
    )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """An empty MLflow database; a fresh one takes seconds to migrate, so tests copy this one."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(migrated, tmp_path, monkeypatch):
    """A tracking store of the test's own, chosen as a user does: by the environment."""
    import shutil
    import sqlite3

    import mlflow

    path = tmp_path / "mlflow.db"
    shutil.copy(migrated, path)
    with sqlite3.connect(path) as database:  # the artifacts' folder is stored as an absolute path
        database.execute("UPDATE experiments SET artifact_location = ?", (f"{tmp_path}/mlruns/0",))
    database.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.chdir(tmp_path)
    yield mlflow.MlflowClient(f"sqlite:///{path}")
    assert mlflow.active_run() is None, "the test left a run open"


@pytest.fixture(scope="session")
def command(sales, tiny_folder):
    """A small study with all stages, as a process."""
    import sys

    asked = {"data": sales, "base_model": tiny_folder, "sizes": "0,256,1.0", "trials": 2}
    asked |= {"baselines": "median,tfidf,lengths", "model_name": "bat-pricer", "stack": "none"}
    words = [f"--{name}={value}" for name, value in asked.items()]
    return [sys.executable, "-m", "entrypoints.scaling_study", *words]


@pytest.fixture(scope="session")
def undisturbed(command, tmp_path_factory, migrated):
    """How a study ends that nobody kills, how long its work takes, and how many bytes it leaves."""
    import time

    from tests.place import Place

    place = Place(tmp_path_factory.mktemp("undisturbed") / "place", migrated)
    process = place.start(command)
    began = time.monotonic()
    assert process.wait() == 0, place.said()
    return place.result(), time.monotonic() - began, place.used()


def context_of(base, texts, sizes, recipe, held_out=(), *, name="", prepared=None, seed=0):
    """What the tasks of a study share that tunes on some texts in the order they are given."""
    from types import SimpleNamespace

    import numpy as np

    from bat.workflow import spec, tasks

    if prepared is None:
        corpus = SimpleNamespace(name=name, texts=list(texts))
        prepared = SimpleNamespace(corpus=corpus, token_counts=np.ones(len(texts)))
    wanted = spec.StudySpec(sizes, (seed,), 1, recipe)
    made = tasks.Context(base, prepared, wanted, {seed: list(texts)})
    vars(made)["held_out"] = list(held_out)
    return made


def masked_words(opened, texts, sizes, recipe, held_out=(), **options):
    """Tune on masked words; each size, smallest first."""
    from bat.tuning import loop
    from bat.tuning.objective import Examples
    from bat.tuning.objectives import mlm

    examples = Examples(texts, sizes, held_out)
    return loop.finetune(mlm.OBJECTIVE, opened, examples, recipe, **options)


def tuned_by(context):
    """Tune what a context is for; the encoders, smallest first."""
    from bat.workflow import graph, local, stages

    curve = graph.Curve("mlm", context.spec.seeds[0])
    wanted = list(graph.encoders(context, curve).values())
    for task, _ in local.execute(context, wanted):
        if task in wanted:
            yield stages.read_tuned(task.unit.folder)
