"""What a request may hold, and what it is told otherwise."""

import asyncio
import io
import json
import re
import sys
import time
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies
from mlflow.exceptions import MlflowException

from bat import cli
from bat.data import corpus
from bat.data import texts as texts_module
from bat.models import embedding, interval, predictors, pricer, regressor
from bat.registry import score, serving


def test_the_forms_of_a_request_give_the_same_texts():
    wanted = ["a car", "a boat"]
    assert serving.checked_texts(pd.DataFrame({"text": wanted})) == wanted
    assert serving.checked_texts(pd.Series(wanted)) == wanted
    assert serving.checked_texts(wanted) == wanted


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"text": ["fine", ""]}), "row 1: text is empty"),
        (pd.DataFrame({"text": ["fine", " \n"]}), "row 1: text is empty"),
        (pd.DataFrame({"text": [None, "fine"]}), "row 0: text is null"),
        (pd.DataFrame({"text": ["fine", float("nan")]}), "row 1: text is null"),
        (pd.DataFrame({"text": ["fine", 5]}, dtype=object), "row 1: text is int"),
        (pd.DataFrame({"text": [["fine"], "fine"]}), "row 0: text is list"),
        (pd.DataFrame({"text": [["fine", "fine"]]}), "row 0: text is list"),
        (pd.DataFrame({"text": [[]]}), "row 0: text is list"),
        ([{"text": ["fine", "fine"]}], "row 0: text is list"),
        ({"text": ["fine", ""]}, "row 1: text is empty"),
        (pd.DataFrame({"text": []}), "no rows"),
        (pd.DataFrame({"words": ["fine"]}), "no column 'text'"),
        ([], "no rows"),
        (["fine"] * 1_001, "1001 rows; expected at most 1000"),
        (["fine", "long " * 400_000], "2000004 characters; expected at most 2000000"),
        (["fine", "\ud800"], "row 1: text is not valid Unicode"),
    ],
)
def test_a_bad_request_is_the_callers_mistake(rows, message):
    with pytest.raises(MlflowException, match=message) as refused:
        serving.checked_texts(rows)
    assert refused.value.get_http_status_code() == 400
    assert "expected" in str(refused.value)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_folder, tiny, texts):
    """A fitted pair, and its folder."""
    prices = np.array([1000.0 + 10 * len(text) for text in texts])
    embeddings = embedding.encode(tiny, texts)
    fitted = regressor.fit(embeddings, prices, regressor.Settings(), n_trees=20, seed=0)
    folder = tmp_path_factory.mktemp("pricers") / "pricer"
    calibrated = interval.calibrate(
        embeddings[500:],
        prices[500:],
        fitted.predict(embeddings[500:]),
        groups=np.arange(100),
        seed=0,
    )
    made = predictors.Pair(tiny, fitted)
    held_out = [("c", 1000.0, 1100.5), ("d", 0.1 + 0.2, 1 / 3)]
    pricer.save(
        predictors.PAIR, made, calibrated, folder, seen=["b", "a", "b"], held_out=iter(held_out)
    )
    return pricer.Pricer(made, calibrated), folder


def test_a_pricer_is_its_encoder_then_its_regressor_then_its_interval(pair, texts):
    made, folder = pair
    embeddings = embedding.encode(made.predictor.encoder, texts[:50])
    wanted = made.predictor.regressor.predict(embeddings)
    found = pricer.load(folder).predict(texts[:50], 0.8)
    np.testing.assert_array_equal(found.price, wanted)
    np.testing.assert_array_equal(
        (found.low, found.high), made.interval.bounds(embeddings, wanted, 0.8)
    )
    assert pricer.rows_seen(folder) == {"a", "b"}
    # to the bit, so that the same fit is compared with itself as such
    assert pricer.held_out(folder) == {
        pricer.row_key("c", 1000): 1100.5, pricer.row_key("d", np.float64(0.1 + 0.2)): 1 / 3
    }  # fmt: skip
    assert pricer.row_key("c", 1000.0) != pricer.row_key("c", np.nextafter(1000.0, 2000.0))
    usual = made.predict(texts[:50])
    np.testing.assert_array_equal(usual.low, made.predict(texts[:50], 0.9).low)


@pytest.fixture
def served(pair):
    """The served model over the pair, as MLflow opens it."""
    model = serving.PricerModel()
    model.load_context(SimpleNamespace(artifacts={"pricer": str(pair[1])}))
    return model


def test_a_request_may_ask_for_a_coverage(served, pair, texts):
    rows = pd.DataFrame({"text": texts[:5]})
    narrow, usual = served.predict(None, rows, {"coverage": 0.5}), served.predict(None, rows)
    assert list(usual) == ["price", "price_low", "price_high", "truncated"]
    assert (narrow.price == usual.price).all()
    assert (usual.price_low < narrow.price_low).all()
    assert (narrow.price_high < usual.price_high).all()


def test_a_text_whose_end_is_not_read_is_flagged(served, pair, texts):
    long = " ".join(texts[:3])
    found = served.predict(None, pd.DataFrame({"text": [texts[0], long, f"{long} and more"]}))
    assert found.truncated.tolist() == [False, True, True]
    assert found.price[1] == pytest.approx(found.price[2], rel=1e-4)


@pytest.mark.parametrize("coverage", [0.0, -1.0, 0.999, 2.0, float("nan")])
def test_a_coverage_that_nothing_vouches_for_is_the_callers_mistake(served, texts, coverage):
    with pytest.raises(MlflowException, match=r"got coverage .*; expected .* at most 0\.98") as no:
        served.predict(None, pd.DataFrame({"text": texts[:5]}), {"coverage": coverage})
    assert no.value.get_http_status_code() == 400


def test_a_price_does_not_hang_on_the_texts_beside_it(pair, texts):
    made, _ = pair
    together = made.predict(texts[:20]).price
    alone = [made.predict([text]).price[0] for text in texts[:20]]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_threads_may_share_a_pricer(pair, texts):
    from concurrent.futures import ThreadPoolExecutor

    made, _ = pair
    wanted = made.predict(texts[:64]).price
    with ThreadPoolExecutor(6) as pool:
        chunks = list(pool.map(lambda at: made.predict(texts[at : at + 8]).price, range(0, 64, 8)))
    np.testing.assert_allclose(np.concatenate(chunks), wanted, rtol=1e-4)


@pytest.fixture(scope="module")
def opened(pair, tmp_path_factory):
    """The saved model as MLflow's server opens it."""
    import mlflow
    from mlflow.pyfunc import scoring_server  # noqa: F401 - it reads requests, as in a server

    from bat.registry import tracking

    saved = tmp_path_factory.mktemp("saved") / "model"
    with tracking._calm():
        mlflow.pyfunc.save_model(
            saved,
            python_model=str(tracking.SERVING_FILE),
            artifacts={"pricer": str(pair[1])},
            signature=tracking.TEXT_TO_PRICE,
            pip_requirements=[],
        )
        return mlflow.pyfunc.load_model(str(saved))


@pytest.fixture(scope="module")
def answer(opened):
    """Ask as MLflow's server asks: status, message, and whether our own code was reached."""
    from mlflow.pyfunc import scoring_server

    from bat.registry import tracking

    model = opened
    inner, reached = type(model.unwrap_python_model()), []
    real = inner.predict

    def noted(self, context, model_input, params=None):
        reached.append(True)
        return real(self, context, model_input, params)

    inner.predict = noted

    def ask(body, kind="application/json"):
        reached.clear()
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with tracking._calm():
                found = scoring_server.invocations(
                    body, kind, model, model.metadata.get_input_schema()
                )
            return found.status, found.response, bool(reached)
        except MlflowException as error:
            return error.get_http_status_code(), error.serialize_as_json(), bool(reached)

    yield ask
    inner.predict = real


VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**70), 2**70)
    | strategies.floats()
    | strategies.text(max_size=60),
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(strategies.sampled_from(["text", "x", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
ROWS = strategies.lists(strategies.fixed_dictionaries({"text": VALUES}), max_size=4)
FORMS = ("dataframe_records", "inputs", "instances")
PARAMS = strategies.sampled_from(
    [{}, {"coverage": 0.8}, {"explain": True}]
) | strategies.dictionaries(
    strategies.sampled_from(["coverage", "explain", "x"]), VALUES, max_size=2
)


def asked_for(rows):
    """The texts of a request that is answered: rows, bare texts, a column, or a lone text.

    A lone text beside columns of several rows stands in each of them: so pandas reads it.
    """
    if isinstance(rows, dict) and isinstance(rows["text"], str):
        beside = [len(column) for column in rows.values() if isinstance(column, list | dict)]
        return [rows["text"]] * max(beside, default=1)
    rows = rows["text"] if isinstance(rows, dict) else rows
    rows = rows if isinstance(rows, list) else [rows]
    return [row["text"] if isinstance(row, dict) else row for row in rows]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@example(form="inputs", rows={"text": "0", "x": [None, None]}, params={})
@given(form=strategies.sampled_from(FORMS), rows=ROWS | VALUES, params=PARAMS)
def test_whatever_is_asked_gets_an_answer_or_a_short_refusal(answer, form, rows, params):
    status, said, reached = answer({form: rows, "params": params})
    assert status in (200, 400)
    if status == 200:
        texts = asked_for(rows)
        assert all(isinstance(text, str) for text in texts)
        assert len(json.loads(said)["predictions"]) == len(texts)
    elif reached:
        message = json.loads(said)["message"]
        assert re.fullmatch(r"got .{1,80}; expected .{1,80}", message), message
        assert "stack_trace" not in said


def test_the_forms_of_a_request_get_the_same_answer(answer, texts):
    forms = [
        {"dataframe_records": [{"text": text} for text in texts[:2]]},
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts[:2]]}},
        {"inputs": [{"text": text} for text in texts[:2]]},
        {"inputs": {"text": list(texts[:2])}},
        {"instances": [{"text": text} for text in texts[:2]]},
    ]
    answers = [answer(body) for body in forms]
    assert answers[0][0] == 200
    assert answers == [answers[0]] * len(forms)


def test_a_refusal_does_not_repeat_the_request(answer):
    secret = "four words nobody repeats"
    status, said, reached = answer({"dataframe_records": [{"text": secret}, {"text": " "}]})
    assert (status, reached) == (400, True)
    assert json.loads(said)["message"] == (
        "got row 1: text is empty; expected a string with words in it"
    )


def test_a_failure_inside_tells_the_log_and_not_the_client(answer, monkeypatch, capsys):
    def broken(opened, texts, beside):
        raise RuntimeError("/inner/path")

    monkeypatch.setattr(embedding, "read", broken)
    status, said, reached = answer({"dataframe_records": [{"text": "a car"}]})
    assert (status, reached) == (500, True)
    assert json.loads(said)["message"] == (
        "the server could not price this request; its log says why"
    )
    assert "stack_trace" not in said
    assert "/inner/path" not in said
    assert "/inner/path" in capsys.readouterr().err


def started(work):
    """Run something in a thread; returns the thread and the list that will hold its answer."""
    found = []

    def keep():
        try:
            found.append(work())
        except MlflowException as error:
            found.append(error)

    thread = Thread(target=keep)
    thread.start()
    return thread, found


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def read_texts(monkeypatch):
    """What the encoder is given, one list a call; each call waits for ``go_on``."""
    given, go_on, real = [], Event(), embedding.read

    def noted(opened, texts, beside):
        given.append(list(texts))
        assert go_on.wait(30)
        return real(opened, texts, beside)

    monkeypatch.setattr(embedding, "read", noted)
    return SimpleNamespace(given=given, go_on=go_on)


def test_a_lone_text_does_not_wait_for_the_rest_of_a_large_request(served, texts, read_texts):
    large, _ = started(lambda: served.predict(None, list(texts[:300])))
    wait_until(lambda: read_texts.given)
    lone, _ = started(lambda: served.predict(None, [texts[300]]))
    wait_until(lambda: served.turns._waiting)
    read_texts.go_on.set()
    lone.join()
    before = read_texts.given.index([texts[300]])
    assert before == 1
    assert len(read_texts.given[0]) <= 3
    large.join()
    assert [text for given in read_texts.given for text in given] == [
        texts[0],
        texts[300],
        *texts[1:300],
    ]


def test_a_lone_text_waits_for_a_few_of_the_texts_that_an_explanation_reads(
    served, texts, read_texts
):
    asked = [" ".join(f"{text[:-1]};" for text in texts[at : at + 6]) for at in range(0, 60, 6)]
    explained, found = started(lambda: served.predict(None, asked, {"explain": True}))
    wait_until(lambda: read_texts.given)
    read_texts.go_on.set()
    for text in texts[100:104]:
        before = len(read_texts.given)
        served.predict(None, [text])
        assert read_texts.given.index([text]) <= before + 2
        assert explained.is_alive()
    explained.join()
    assert max(map(len, read_texts.given)) <= 5
    # a turn for whatever is read, and for what the predictor knows exactly of each text
    assert served.turns._begun == len(read_texts.given) + len(asked)
    assert len(found[0]["why"]) == 10


def test_two_texts_to_explain_are_a_large_request(served, texts, read_texts):
    served.large = serving.LargeRequests(1)
    rows = list(texts[:2])
    large, _ = started(lambda: served.predict(None, rows, {"explain": True}))
    wait_until(lambda: read_texts.given)
    with pytest.raises(MlflowException, match="send this one again later, or fewer texts") as no:
        served.predict(None, rows, {"explain": True})
    assert no.value.get_http_status_code() == 429
    read_texts.go_on.set()
    assert len(served.predict(None, rows[:1], {"explain": True})) == 1
    large.join()


def test_an_explanation_that_was_answered_with_504_is_dropped(served, texts, read_texts):
    served.patience = 0.05
    asked, found = started(lambda: served.predict(None, [texts[0]], {"explain": True}))
    wait_until(lambda: read_texts.given)
    time.sleep(0.06)
    read_texts.go_on.set()
    asked.join()
    assert read_texts.given == [[texts[0]]]
    assert found[0].get_http_status_code() == 504


def test_a_failure_while_explaining_tells_the_log_and_not_the_client(answer, monkeypatch, capsys):
    def broken(self, texts, turn):
        raise RuntimeError("/inner/path")

    monkeypatch.setattr(pricer.Pricer, "explain", broken)
    asked = {"dataframe_records": [{"text": "a car"}], "params": {"explain": True}}
    status, said, _ = answer(asked)
    assert status == 500
    assert json.loads(said)["message"].endswith("its log says why")
    assert "/inner/path" in capsys.readouterr().err


def test_the_answer_over_http_is_a_list_of_objects_on_request_alone(answer, pair, texts):
    rows = {"dataframe_records": [{"text": text} for text in texts[:3]]}
    status, said, _ = answer(rows | {"params": {"explain": True, "coverage": 0.5}})
    assert status == 200
    found = json.loads(said)["predictions"]
    wanted = pair[0].explain(texts[:3])
    assert [row.pop("why") for row in found] == [[e._asdict() for e in why] for why in wanted]
    assert wanted[0]
    for plain in ({}, {"explain": False}):
        status, said, _ = answer(rows | {"params": plain | {"coverage": 0.5}})
        assert (status, json.loads(said)["predictions"]) == (200, found)
    assert answer(rows | {"params": {"explain": "yes"}})[0] == 400


def test_a_price_does_not_hang_on_the_request_to_the_last_bit(served, texts):
    together = served.predict(None, list(texts[:40]))
    alone = pd.concat([served.predict(None, [text]) for text in texts[:40]], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_a_request_that_was_answered_with_504_is_dropped(served, texts, read_texts):
    served.patience = 0.05
    large, found = started(lambda: served.predict(None, list(texts[:10])))
    wait_until(lambda: read_texts.given)
    lone, late = started(lambda: served.predict(None, [texts[10]]))
    wait_until(lambda: served.turns._waiting)
    time.sleep(0.06)
    read_texts.go_on.set()
    for thread in (large, lone):
        thread.join()
    assert read_texts.given == [[texts[0]]]
    assert [error.get_http_status_code() for error in found + late] == [504, 504]


def test_large_requests_leave_threads_to_others(served, texts, read_texts):
    served.large = serving.LargeRequests(1)
    rows = list(texts[: serving.LARGE_TEXTS + 1])
    large, _ = started(lambda: served.predict(None, rows))
    wait_until(lambda: read_texts.given)
    with pytest.raises(MlflowException, match="send this one again later, or fewer texts") as no:
        served.predict(None, rows)
    assert no.value.get_http_status_code() == 429
    assert texts[0] not in str(no.value)
    read_texts.go_on.set()
    assert len(served.predict(None, rows[: serving.LARGE_TEXTS])) == serving.LARGE_TEXTS
    large.join()
    assert len(served.predict(None, rows)) == len(rows)


def test_a_refused_request_leaves_its_place(served, texts, monkeypatch):
    served.large = serving.LargeRequests(1)

    def broken(opened, texts, beside):
        raise MemoryError

    rows = list(texts[: serving.LARGE_TEXTS + 1])
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "read", broken)
        with pytest.raises(MlflowException, match="its log says why"):
            served.predict(None, rows)
    assert len(served.predict(None, rows)) == len(rows)


def test_a_server_keeps_two_of_its_threads_free(pair, monkeypatch):
    async def pool():
        await asyncio.to_thread(int)
        return asyncio.get_running_loop()._default_executor._max_workers

    for cores in (1, 2, 64):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert serving.server_threads() == asyncio.run(pool()) == min(32, cores + 4)
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc.scoring_server.app", sys)
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "7")
    usual = sys.getswitchinterval()
    model = serving.PricerModel()
    model.load_context(SimpleNamespace(artifacts={"pricer": str(pair[1])}))
    sys.setswitchinterval(usual)
    assert model.large._most == 30
    assert model.patience == 7


# Blanks, punctuation, letters, digits, what is not valid Unicode, and what looks like a null.
LETTERS = strategies.sampled_from(" \t\n\u00a0\u200b\ufeff.-…½aÉß字9\ud800\udfff\0'\",")
ODD_TEXTS = strategies.text(LETTERS, max_size=8) | strategies.sampled_from(
    ["NA", "null", "None", "nan", "1990", " 7 ", "...", "a\r\nb"]
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=strategies.lists(ODD_TEXTS | VALUES, min_size=1, max_size=12))
@example(values=["9\ud800\udfff", "9\udfff\ud800"])
def test_study_score_endpoint_and_pricer_judge_and_read_a_text_alike(
    answer, pair, sales, tmp_path_factory, monkeypatch, values
):
    """Of each value: the text that reaches the encoder, or None where it is refused."""
    folder, real, seen = tmp_path_factory.mktemp("alike"), embedding.read, []
    values = json.loads(json.dumps(values))  # two surrogates side by side are one letter in JSON

    def noted(opened, given, beside):
        seen.extend(given)
        return real(opened, given, beside)

    def read_by(work, refusals):
        seen.clear()
        try:
            work()
        except refusals:
            return None
        return seen[0] if seen else None

    lines = "".join(json.dumps({"text": value}) + "\n" for value in values)
    (folder / "in.jsonl").write_text(lines)
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "read", noted)
        by_pricer = [read_by(lambda v=v: pair[0].predict([v]), cli.InputError) for v in values]
        by_endpoint = [
            read_by(lambda v=v: answer({"dataframe_records": [{"text": v}]}), ()) for v in values
        ]
        seen.clear()
        score.score(pair[1], str(folder / "in.jsonl"), folder / "out.jsonl")
        scored = iter(list(seen))
    rows = list(map(json.loads, (folder / "out.jsonl").read_text().splitlines()))
    by_score = [None if row["reason"] else next(scored) for row in rows]
    assert by_pricer == by_endpoint == by_score
    assert [row["reason"] is None for row in rows] == [text is not None for text in by_score]
    whole = sales.read_text() + "\n"
    priced = "".join(json.dumps({"text": value, "price": 5}) + "\n" for value in values)
    (folder / "study.jsonl").write_text(whole + priced)
    loaded, n_sales = corpus.load(str(folder / "study.jsonl")), whole.count("\n")
    refused = {row.line - n_sales - 1 for row in loaded.rejected}
    assert refused == {at for at, text in enumerate(by_score) if text is None}
    known = set(loaded.texts)
    keys = {texts_module.normalise(text) for text in known}
    for text in filter(None, by_score):
        assert texts_module.normalise(text) in keys
    assert all(text in by_score for text in known - set(corpus.load(str(sales)).texts))


FORMS_OF = {
    "records": lambda values: {"dataframe_records": [{"text": v} for v in values]},
    "split": lambda values: {
        "dataframe_split": {"columns": ["text"], "data": [[v] for v in values]}
    },
    "inputs": lambda values: {"inputs": [{"text": v} for v in values]},
    "inputs by column": lambda values: {"inputs": {"text": list(values)}},
    "inputs, bare": lambda values: {"inputs": list(values)},
    "instances": lambda values: {"instances": [{"text": v} for v in values]},
    "instances by column": lambda values: {"instances": {"text": list(values)}},
    "instances, bare": lambda values: {"instances": list(values)},
    "records, bare": lambda values: {"dataframe_records": list(values)},
}


@pytest.mark.parametrize("form", FORMS_OF.values(), ids=FORMS_OF.keys())
@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (5, "int"), (2.5, "float"), (True, "bool"), (["a", "b"], "list")],
)
def test_in_every_form_a_value_stays_what_it_is(answer, texts, form, value, kind):
    """MLflow's own reader would make a text of a number beside texts."""
    status, said, reached = answer(form([texts[0], value]))
    assert (status, reached) == (400, True)
    assert f"got row 1: text is {kind};" in json.loads(said)["message"]
    status, said, _ = answer(form([texts[0], texts[1]]))
    assert status == 200
    assert len(json.loads(said)["predictions"]) == 2


def test_a_list_in_a_row_is_no_column(answer, texts):
    both = list(texts[:2])
    for key in ("inputs", "instances"):
        status, said, _ = answer({key: [{"text": both}]})
        assert status == 400
        assert json.loads(said)["message"].startswith("got row 0: text is list;")
        status, said, _ = answer({key: {"text": both}})
        assert (status, len(json.loads(said)["predictions"])) == (200, 2)


def test_csv_gets_the_prices_of_json(answer, texts):
    asked = ["1990", "NA", 'red, with a "roof"', "two\r\nlines", texts[0]]
    body = pd.DataFrame({"make": range(5), "text": asked}).to_csv(index=False)
    by_json = answer({"dataframe_records": [{"text": text} for text in asked]})
    assert by_json[0] == 200
    assert answer(body.encode(), "text/csv") == by_json
    assert answer(b"\xef\xbb\xbf" + body.encode(), "text/csv; charset=utf-8") == by_json
    assert answer(b"text\n1990\n", "text/csv")[0] == 200  # a column that pandas takes for numbers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('text\nfine\n""\n', "row 1: text is empty"),
        ("text,make\nfine,a\nred, manual,a\n", "row 1: fields: 3, in the header: 2"),
        ("text\nred, manual\n", "row 0: fields: 2, in the header: 1"),
        ('text\n"open\n', "row 0: broken CSV quotes"),
        ("words\nfine\n", "no column 'text'"),
        ("text\n", "no rows"),
        ("", "no column 'text'"),
        ("text,text\na,b\n", "more than one column 'text'"),
    ],
)
def test_bad_csv_is_refused_without_a_trace_or_an_echo(answer, body, message):
    status, said, _ = answer(body.encode(), "text/csv")
    assert status == 400
    assert json.loads(said)["message"].startswith(f"got {message}")
    assert "stack_trace" not in said
    assert "manual" not in said


def test_a_model_with_a_schema_is_read_by_mlflow(answer):
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import ColSpec, Schema

    schema = Schema([ColSpec("double", "x")])
    assert scoring_server.infer_and_parse_data({"inputs": {"x": [1]}}, schema)["x"].dtype == float
    assert scoring_server.parse_csv_input(io.StringIO("x\n1\n"), schema).x.dtype == float


def test_what_is_asked_in_python_keeps_its_index(opened, texts):
    frame = pd.DataFrame({"make": list("abcd"), "text": texts[:4]}, index=[9, 3, 3, 7])
    wanted = opened.predict(frame)["price"].tolist()
    some = frame[frame.make > "b"].copy()
    some["price"] = opened.predict(some)["price"]
    assert some.price.tolist() == wanted[2:]
    named = frame.set_index("make").text
    forms = [named, named.rename("words"), named.rename(None)]
    for column in forms:
        found = opened.predict(column)
        assert found.index.tolist() == list("abcd")
        assert found.price.tolist() == wanted
    for rows in (list(texts[:4]), {"text": list(texts[:4])}, np.array(texts[:4])):
        assert opened.predict(rows).price.tolist() == wanted


@pytest.mark.parametrize(
    "rows",
    [
        pd.Series(["four words nobody repeats", None]),
        pd.Series(["four words nobody repeats", 5], name="text"),
        ["four words nobody repeats", None],
        [["four words nobody repeats"]],
        [{"text": "four words nobody repeats"}, "four words nobody repeats"],
        {"text": ["four words nobody repeats"], "make": ["a", "b"]},
        {"words": ["four words nobody repeats"]},
        pd.DataFrame({"words": ["four words nobody repeats"]}),
    ],
)
def test_what_is_refused_in_python_is_not_repeated(opened, rows):
    with pytest.raises(MlflowException, match=r"^got .*; expected") as refused:
        opened.predict(rows)
    assert "nobody" not in str(refused.value)
