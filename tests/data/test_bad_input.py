"""Every command with input that cannot be meant: status 2, one message, nothing left as finished.

A case is a command, its parameters, and what the message must hold; ``@name`` stands for a file or
folder of ``made``. What single bad rows are told stands in test_corpus.py.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from bat import cli
from entrypoints import evaluate, finetune, promote, report, scaling_study, score

ROOT = Path(__file__).parents[2]
N = 120
GOOD = [{"text": f"Car number {i}", "price": 1000 + 7 * i} for i in range(N)]


def json_lines(rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


def csv(lines, header="text,price"):
    return "\n".join([header, *lines]).encode()


PLAIN_CSV = csv(f"{row['text']},{row['price']}" for row in GOOD)
PRICES = {  # what stands as a price in every tenth row: what is said of it
    "$12,000": "price is not a plain number (write 12000.50: no currency, no separators)",
    "12,000": "price is not a plain number",
    "12 000": "price is not a plain number",
    "12k": "price is not a plain number",
    "12.000,50": "price is not a plain number",
    "EUR 5": "price is not a plain number",
    "five": "price is not a plain number",
    "NaN": "price is not a plain number",
    "1_000": "price is not a plain number",
    "": "price is missing",
    None: "price is missing",
    float("nan"): "price is not a number",
    float("inf"): "price is infinite",
    float("-inf"): "price is not above zero",
    True: "price is not a number",
    (): "price is not a number",
    0: "price is not above zero",
    -5: "price is not above zero",
    "-5": "price is not above zero",
    1e300: "price is infinite or above 1e+15",
    10**400: "price is infinite or above 1e+15",
}
TEXTS = {  # likewise for texts
    None: "text is not a string",
    5: "text is not a string",
    (): "text is not a string",
    True: "text is not a string",
    "": "text is empty",
    " \t": "text is empty",
    "\u200b\u00a0": "text is empty",
    "...": "text is empty",
    "\ud800": "text is not valid Unicode",
}
FILES = {  # name: content, what is said of it
    "empty.jsonl": (b"", "which holds no rows"),
    "empty.csv": (b"", "which holds no rows"),
    "blank.jsonl": (b"\n \n\n", "which holds no rows"),
    "header.csv": (b"text,price\n", "which holds no rows"),
    "three.jsonl": (json_lines(GOOD[:3]), "3 distinct texts"),
    "repeated.jsonl": (json_lines(GOOD[:1] * N), "1 distinct texts"),
    "spelled.jsonl": (json_lines([GOOD[0], GOOD[0] | {"text": "CAR  number 0"}] * N), "1 distinct"),
    "one_price.jsonl": (json_lines([row | {"price": 5} for row in GOOD]), "the one price 5"),
    "array.jsonl": (json.dumps(GOOD).encode(), "one JSON value over the whole file"),
    "pretty.jsonl": (json.dumps(GOOD[0], indent=1).encode(), "one JSON value over the whole file"),
    "lists.jsonl": (json_lines([GOOD[0], *[[1, 2]] * N]), "not a JSON object"),
    "numbers.jsonl": (b"1\n" * N, "not a JSON object"),
    "words.jsonl": (b"hello\n" * N, "not valid JSON"),
    "deep.jsonl": (b'{"a":' * 50_000 + b"\n" + json_lines(GOOD[:9]), "not valid JSON"),
    "nested.jsonl": (json_lines([{"row": row} for row in GOOD]), "no field 'text'"),
    "fields.jsonl": (json_lines([{"Text": "a", "Price": 1}] * N), "no field 'text'"),
    "cut.jsonl.gz": (gzip.compress(json_lines(GOOD) * 99)[:-20], "unreadable after"),
    "flipped.jsonl.gz": (gzip.compress(json_lines(GOOD) * 99)[:90] + b"x" * 400, "unreadable"),
    "plain.jsonl.gz": (json_lines(GOOD), "Not a gzipped file"),
    "utf16.csv": (PLAIN_CSV.decode().encode("utf-16")[:-1], "UTF-16 that breaks off"),
    "utf16.jsonl": (json_lines(GOOD).decode().encode("utf-16")[:-1], "UTF-16 that breaks off"),
    "latin.csv": (PLAIN_CSV.replace(b"Car", b"Citro\xebn"), "120 × not UTF-8"),
    "binary.csv": (bytes(range(256)) * 9, "binary.csv"),
    "ragged.csv": (csv(f"Car, number {i},{i}" for i in range(N)), "wrong number of fields"),
    "unclosed.csv": (PLAIN_CSV + b'\n"open,5\nCar,6\n', "is broken on line"),
    "semicolons.csv": (csv(["a;1"] * N, "title;price"), "found: 'title;price'"),
    "tabs.csv": (csv(["a\t1"] * N, "title\tprice"), "a CSV header has one of , ; tab"),
    "headless.csv": (PLAIN_CSV.partition(b"\n")[2], "without the column 'text'"),
    "titles.csv": (csv(["a,1"] * N, "title,price"), "text_column="),
    "no_price.csv": (csv(["a,1"] * N, "text,sold"), "target_column="),
    "cut.parquet": (b"PAR1" + b"\0" * 50, "a whole Parquet file"),
    "json.parquet": (json_lines(GOOD), "a whole Parquet file"),
    "cars.txt": (PLAIN_CSV, "a file ending in"),
    "cars.xlsx": (b"PK", "a file ending in"),
    "cars.json": (json_lines(GOOD), "a file ending in"),
    "cars.csv.zip": (b"PK", "a file ending in"),
    "cars.gz": (gzip.compress(PLAIN_CSV), "a file ending in"),
    "cars": (PLAIN_CSV, "a file ending in"),
}
SOURCES = {
    "": "got data=''",
    "missing.jsonl": "which does not exist",
    "~nobody/x.jsonl": "which does not exist",
    "a\0b.jsonl": "which does not exist",
    "s3://bucket/cars.jsonl": "which does not exist",
    "auctions": "a file ending in",
    "auctions:": "auctions:N",
    "auctions:many": "auctions:N",
    "auctions:99": "auctions:N",
    "auctions:-5": "auctions:N",
    "auctions:1e4": "auctions:N",
    "auctions:٣٠٠": "auctions:N",
    "hf:": "which the hub did not give",
    "hf:nobody/none": "which the hub did not give",
    "hf:a/b/c": "which the hub did not give",
}
SMALL = {"data": "auctions:100"}
QUICK = {  # for parameters that a case does not give
    evaluate: SMALL | {"encoder": "@tiny"},
    finetune: SMALL | {"base_model": "@tiny"},
    scaling_study: SMALL | {"base_model": "@tiny"},
    score: SMALL,
}
TYPES = {  # wrong for any parameter of that type
    int: {"x": "a whole number", "1.5": "a whole number", "": "a whole number", "nan": "a whole"},
    float: {"x": "a number", "": "a number", "nan": "expected:", "-1": "expected:"},
    bool: {"maybe": "true or false", "": "true or false", "2": "true or false"},
}
STOPPING = {"data": "auctions:500", "stop_when_enough": "true", "sizes": "1.0"}
PARAMETERS = [
    *[
        (c, {"limit": v}, "limit")
        for c in (scaling_study, evaluate, finetune)
        for v in ("-1", "50")
    ],
    (evaluate, SMALL | {"text_column": "price"}, "both 'price'"),
    (evaluate, {"data": "@good.csv", "text_column": ""}, "text_column=''"),
    (evaluate, {"data": "@good.csv", "target_column": ""}, "target_column=''"),
    (evaluate, {"data": "@good.csv", "text_column": "txt"}, "'text', 'price'"),
    (evaluate, {"data": "@good.csv", "target_column": "cost"}, "'text', 'price'"),
    (evaluate, {"data": "@good.csv", "group_column": "seller"}, "group_column="),
    (evaluate, {"data": "@good.csv", "time_column": "day"}, "time_column="),
    (evaluate, {"data": "@good.csv", "time_column": "text"}, "neither a number nor an ISO date"),
    (evaluate, SMALL | {"group_column": "seller"}, "no field 'seller'"),
    (evaluate, {"trials": "0"}, "trials=0"),
    (evaluate, {"trials": "1001"}, "trials=1001"),
    (evaluate, {"seed": "-1"}, "seed=-1"),
    (evaluate, {"seed": str(2**40)}, "seed="),
    (finetune, {"seed": "-1"}, "seed=-1"),
    (finetune, {"seed": str(2**40)}, "seed="),
    (finetune, {"passes": "0"}, "passes=0"),
    (finetune, {"mask_share": "0"}, "mask_share=0"),
    (finetune, {"mask_share": "1"}, "mask_share=1"),
    (finetune, {"learning_rate": "0"}, "learning_rate=0"),
    (finetune, {"learning_rate": "inf"}, "learning_rate=inf"),
    (finetune, {"finetune_on": "test"}, "finetune_on='test'"),
    (finetune, {"documents": "some"}, "documents='some'"),
    (finetune, {"documents": "0"}, "documents=0"),
    (finetune, {"documents": "-5"}, "documents"),
    (finetune, {"documents": "0.01"}, "at least 256 documents"),
    (finetune, {"documents": "99999999"}, "99,999,999 documents"),
    (finetune, {"documents": "0.5,0.7"}, "documents=0.5,0.7"),
    (finetune, {"documents": ""}, "documents=''"),
    (scaling_study, {"trials": "0"}, "trials=0"),
    (scaling_study, {"margin": "0"}, "margin=0"),
    (scaling_study, {"margin": "1"}, "margin=1"),
    (scaling_study, {"seeds": ""}, "'' in seeds"),
    (scaling_study, {"seeds": "0,"}, "'' in seeds"),
    (scaling_study, {"seeds": "1,1"}, "'1' in seeds"),
    (scaling_study, {"seeds": "-1"}, "'-1' in seeds"),
    (scaling_study, {"seeds": "three"}, "'three' in seeds"),
    (scaling_study, {"seeds": str(2**40)}, "in seeds"),
    (scaling_study, {"sizes": ""}, "'' in sizes"),
    (scaling_study, {"sizes": "0,half"}, "'half' in sizes"),
    (scaling_study, {"sizes": "0,nan"}, "a subset size of nan"),
    (scaling_study, {"sizes": "0,inf"}, "a subset size of inf"),
    (scaling_study, {"sizes": "-0.5"}, "a subset size of -0.5"),
    (scaling_study, {"sizes": "0,300.5"}, "a subset size of 300.5"),
    (scaling_study, {"sizes": "0,0.01"}, "at least 256 documents"),
    (scaling_study, {"sizes": "0,99999999"}, "99,999,999 documents"),
    (scaling_study, {"data": "auctions:200", "sizes": "1.0"}, "at least 256 documents"),
    (scaling_study, {"recipe": "schedule=both"}, "schedule='both'"),
    (scaling_study, {"recipe": "finetune_on=none"}, "finetune_on='none'"),
    (scaling_study, {"recipe": "features=factory"}, "features='factory'"),
    (scaling_study, {"keep": "some"}, "keep='some'"),
    (scaling_study, {"baselines": "tfidf,word2vec"}, "'word2vec' in baselines"),
    (scaling_study, {"baselines": ""}, "'' in baselines"),
    (scaling_study, {"baselines": "tfidf,tfidf"}, "'tfidf' in baselines"),
    (scaling_study, {"recipe": ""}, "'' in recipe"),
    (scaling_study, {"recipe": "best"}, "'best' in recipe"),
    (scaling_study, {"recipe": "learning_rate"}, "'learning_rate' in recipe"),
    (scaling_study, {"recipe": "learning_rate=fast"}, "learning_rate='fast'"),
    (scaling_study, {"recipe": "learning_rate=nan"}, "learning_rate=nan"),
    (scaling_study, {"recipe": "mask_share=2"}, "mask_share=2"),
    (scaling_study, {"recipe": "mask_share=0.2,mask_share=0.3"}, "mask_share"),
    (scaling_study, {"recipe": "passes=1.5"}, "passes='1.5'"),
    (scaling_study, {"recipe": "passes=2"}, "schedule=independent"),
    (scaling_study, {"recipe": "layers=2"}, "'layers=2' in recipe"),
    (scaling_study, STOPPING, "without the size 0"),
    (scaling_study, {"stop_when_enough": "true", "executor": "ray"}, "one of them"),
    (scaling_study, {"promote": "sometimes"}, "promote='sometimes'"),
    (scaling_study, {"promote": "if_better:much"}, "if_better='much'"),
    (scaling_study, {"promote": "if_better:"}, "if_better=''"),
    (scaling_study, {"promote": "if_better:2"}, "promote=2"),
    (scaling_study, {"promote": "always:0.1"}, "promote"),
    (report, {}, "no study"),
    (report, {"studies": ","}, "no study"),
    (report, {"studies": "0123"}, "which the tracking store does not have"),
    (report, {"studies": "../../etc"}, "which the tracking store does not have"),
    (report, {"studies": "@plain_run"}, "study.json can be read"),
    (promote, {"version": "99"}, "99"),
    (promote, {"version": "best"}, "best"),
    (promote, {"version": ""}, "''"),
    (score, {"output": "prices.txt"}, "a file ending in"),
    (score, {"output": ""}, "a file ending in"),
    (score, {"output": "@good.csv"}, "which exists"),
    (score, {"output": "nowhere/prices.csv"}, "whose folder does not exist"),
    (score, {"coverage": "1.5"}, "coverage=1.5"),
    (score, {"model": "models:/none@champion"}, "which the tracking store does not have"),
    (score, {"model": "models:/bat-pricer/x"}, "which the tracking store does not have"),
    (score, {"model": "nowhere"}, "which holds no encoder and regressor"),
    (score, {"model": "@empty"}, "which holds no encoder and regressor"),
    (score, {"model": "@tiny"}, "which holds no encoder and regressor"),
]
MODELS = {  # what is given as an encoder: what is said of it
    "": "the encoder ''",
    "@empty": "without a .safetensors file",
    "@pickled": "without a .safetensors file",
    "@cut": "which does not open",
    "@garbage": "which does not open",
    "@half": "whose file lacks 16 of",
    "@no_config": "which does not open",
    "@bad_config": "which does not open",
    "@unknown_type": "which does not open",
    "@no_tokenizer": "no vocabulary",
    "@static": "whose first module is its only transformer",
    "@good.csv": "no folder here and not on the hub",
    "nowhere": "no folder here and not on the hub",
    "nobody/none": "no folder here and not on the hub",
    "a/b/c/d": "no folder here and not on the hub",
    "not a name!": "no folder here and not on the hub",
    "runs:/0123/encoder": "which the tracking store does not have",
    "models:/none/1": "which the tracking store does not have",
    "models:/none@champion": "which the tracking store does not have",
    "runs:/": "which the tracking store does not have",
}


def typed_cases():
    """Every number and truth of every command, with what is none."""
    import dataclasses
    import typing

    for command in (scaling_study, evaluate, finetune, score):
        config = config_of(command)
        for field in dataclasses.fields(config):
            for value, said in TYPES.get(typing.get_type_hints(config)[field.name], {}).items():
                yield command, {field.name: value}, said


def config_of(command):
    inherited = ("DataConfig",)
    return next(
        kind
        for name, kind in vars(command).items()
        if name.endswith("Config") and name not in inherited
    )


CAUSAL = {"data": "auctions:500", "base_model": "@causal", "sizes": "0,1.0"}
CASES = [
    *[(evaluate, {"data": f"@{name}"}, said) for name, (_, said) in FILES.items()],
    *[(evaluate, {"data": f"@price_{i}.jsonl"}, said) for i, said in enumerate(PRICES.values())],
    *[(evaluate, {"data": f"@text_{i}.jsonl"}, said) for i, said in enumerate(TEXTS.values())],
    *[(c, {"data": d}, said) for c in (finetune, evaluate) for d, said in SOURCES.items()],
    *typed_cases(),
    *PARAMETERS,
    *[(evaluate, SMALL | {"encoder": name}, said) for name, said in MODELS.items()],
    (finetune, {"data": "auctions:500", "base_model": "@causal"}, "no masked-language model"),
    (scaling_study, CAUSAL, "no masked-language model"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_folder):
    """The folder in which everything lies that is not as it should be."""
    top = tmp_path_factory.mktemp("bad")
    (top / "good.csv").write_bytes(PLAIN_CSV)
    for name, (content, _) in FILES.items():
        (top / name).write_bytes(content)
    for kind, values in (("price", PRICES), ("text", TEXTS)):
        for i, value in enumerate(values):
            rows = [row | ({kind: value} if at % 10 == 0 else {}) for at, row in enumerate(GOOD)]
            (top / f"{kind}_{i}.jsonl").write_bytes(json_lines(rows))
    for name, break_it in BREAKS.items():
        break_it(Path(shutil.copytree(tiny_folder, top / name)))
    (top / "empty").mkdir()
    shutil.copytree(tiny_folder, top / "tiny")
    causal(top / "causal")
    static(top / "static")
    return top


def weights(folder):
    return folder / "model.safetensors"


def half(folder):
    from safetensors.torch import load_file, save_file

    kept = {name: value for name, value in load_file(weights(folder)).items() if "r.1." not in name}
    save_file(kept, weights(folder), {"format": "pt"})


def typed(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "none-such"}))


def untokenized(folder):
    for path in folder.glob("*token*"):
        path.unlink()


BREAKS = {
    "pickled": lambda folder: weights(folder).rename(folder / "pytorch_model.bin"),
    "cut": lambda folder: weights(folder).write_bytes(weights(folder).read_bytes()[:-100]),
    "garbage": lambda folder: weights(folder).write_bytes(b"\xff" * 1000),
    "half": half,
    "no_config": lambda folder: (folder / "config.json").unlink(),
    "bad_config": lambda folder: (folder / "config.json").write_text("{"),
    "unknown_type": typed,
    "no_tokenizer": untokenized,
}


def causal(folder):
    """A language model that reads to the left only; nothing to mask."""
    from conftest import BERT_TOKENS, tokenizer
    from transformers import GPT2Config, GPT2Model

    words = tokenizer(BERT_TOKENS, byte_level=True)
    ends = {"bos_token_id": 0, "eos_token_id": 2}
    GPT2Model(
        GPT2Config(vocab_size=len(words), n_embd=32, n_layer=1, n_head=2, n_positions=64, **ends)
    ).save_pretrained(folder)
    words.save_pretrained(folder)


def static(folder):
    """A table of vectors, without a transformer."""
    from conftest import BERT_TOKENS, tokenizer
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    words = tokenizer(BERT_TOKENS, byte_level=False)
    table = StaticEmbedding(words, embedding_dim=8)
    SentenceTransformer(modules=[table], device="cpu").save(str(folder))


@pytest.fixture(scope="module")
def place(made, migrated, tmp_path_factory):
    """A store of its own, with one run that is no study."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(migrated, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        with mlflow.start_run() as run:
            pass
        yield {"plain_run": run.info.run_id}


def words(parameters, made, place):
    """The command line of a case."""
    for name, value in parameters.items():
        known = value[1:] if value.startswith("@") else ""
        yield f"--{name}={place.get(known, made / known) if known else value}"


def name_of(case):
    command, parameters, _ = case
    said = ",".join(f"{k}={v[:30]}" for k, v in parameters.items())
    return ascii(f"{command.__name__.removeprefix('entrypoints.')} {said}").strip("'")


def finished():
    done = "attributes.status = 'FINISHED'"
    return mlflow.search_runs(["0"], done, output_format="list")


def test_there_are_enough_of_them():
    assert len({(c.__name__, tuple(p.items())) for c, p, _ in CASES}) == len(CASES)
    assert len(CASES) >= 150


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_bad_input_ends_with_status_2_and_a_remedy(case, made, place, monkeypatch, capsys):
    command, parameters, expected = case
    argv = [command.__name__, *words(QUICK.get(command, {}) | parameters, made, place)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        cli.main(command.run, config_of(command))
    assert stop.value.code == cli.USER_ERROR
    said = capsys.readouterr().err
    message = said[said.rindex("error: got ") :]
    assert expected in message
    assert "\n  expected: " in message
    assert "\n  remedy:   " in message
    assert len(message) < 2_000
    assert [run.info.run_id for run in finished()] == [place["plain_run"]]


TEN = [
    CASES[0],
    (evaluate, {"data": "missing.jsonl"}, "which does not exist"),
    (evaluate, {"data": "@price_0.jsonl"}, "price is not a plain number"),
    (evaluate, SMALL | {"encoder": "@cut"}, "which does not open"),
    (evaluate, SMALL | {"encoder": "nobody/none"}, "not on the hub"),
    (scaling_study, CAUSAL, "no masked-language model"),
    (scaling_study, {"sizes": "0,half"}, "'half' in sizes"),
    (finetune, {"documents": "some"}, "documents='some'"),
    (report, {"studies": "0123"}, "does not have"),
    (score, {"model": "nowhere"}, "which holds no encoder"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", TEN, ids=name_of)
def test_a_real_process_shows_no_traceback(case, made, place):
    command, parameters, expected = case
    done = subprocess.run(
        [sys.executable, "-m", command.__name__, *words(parameters, made, place)],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.USER_ERROR
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


ODD = {
    "long": "word " * 2_000_000,
    "right to left": "سيارة قديمة بحالة جيدة",
    "emoji": "🚗🚙 nice 👩‍👩‍👧‍👦",
    "control characters": "a\0b\x07c\x1b[31m d",
    "one long word": "x" * 100_000,
    "byte order mark": "\ufeffcar",
    "markup": "<script>alert(1)</script> car",
}


@pytest.mark.slow  # a text of 10 MB takes its time
def test_odd_texts_are_texts(made, place, tiny_folder, tmp_path, monkeypatch, capsys):
    """What is unusual and not wrong is read, embedded and scored like any other row."""
    rows = [*GOOD, *({"text": text, "price": 3000} for text in ODD.values())]
    path = tmp_path / "odd.jsonl"
    path.write_bytes(json_lines(rows))
    argv = [f"--data={path}", f"--encoder={tiny_folder}", "--trials=1"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *argv])
    cli.main(evaluate.run, evaluate.EvaluateConfig)
    (run,) = (run for run in finished() if run.info.run_id != place["plain_run"])
    mlflow.delete_run(run.info.run_id)
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/rejected.jsonl").split() == []
    assert "R²" in capsys.readouterr().out
