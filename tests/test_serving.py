"""What a request may hold, and what it is told otherwise."""

import json
import re
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies
from mlflow.exceptions import MlflowException

from bat import encoder, interval, pricer, regressor, serving


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
        (pd.DataFrame({"text": [["fine", 5]]}), "row 0: text is list"),
        (pd.DataFrame({"text": [["fine", ""]]}), "row 1: text is empty"),
        (pd.DataFrame({"text": [[]]}), "no rows"),
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
    embeddings = encoder.encode(tiny, texts)
    fitted = regressor.fit(embeddings, prices, regressor.Settings(), n_trees=20, seed=0)
    folder = tmp_path_factory.mktemp("pricers") / "pricer"
    calibrated = interval.calibrate(
        embeddings[:500],
        prices[:500],
        fitted.predict(embeddings[:500]) * 1.1,
        fitted,
        apart=(embeddings[500:], prices[500:]),
        seed=0,
    )
    pricer.save(tiny_folder, fitted, calibrated, folder, seen=["b", "a", "b"])
    return pricer.Pricer(tiny, fitted, calibrated), folder


def test_a_pricer_is_its_encoder_then_its_regressor_then_its_interval(pair, texts):
    made, folder = pair
    embeddings = encoder.encode(made.encoder, texts[:50])
    wanted = made.regressor.predict(embeddings)
    found = pricer.load(folder).predict(texts[:50], 0.8)
    np.testing.assert_array_equal(found.price, wanted)
    np.testing.assert_array_equal(
        (found.low, found.high), made.interval.bounds(embeddings, wanted, 0.8)
    )
    assert pricer.rows_seen(folder) == {"a", "b"}
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
def answer(pair, tmp_path_factory):
    """Ask as MLflow's server asks: status, message, and whether our own code was reached."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    from bat import tracking

    saved = tmp_path_factory.mktemp("saved") / "model"
    with tracking._calm():
        mlflow.pyfunc.save_model(
            saved,
            python_model=str(tracking.SERVING_FILE),
            artifacts={"pricer": str(pair[1])},
            signature=tracking.TEXT_TO_PRICE,
            pip_requirements=[],
        )
        model = mlflow.pyfunc.load_model(str(saved))
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
COVERAGES = strategies.sampled_from([{}, {"coverage": 0.8}]) | strategies.dictionaries(
    strategies.sampled_from(["coverage", "x"]), VALUES, max_size=2
)


def asked_for(rows):
    """The texts of a request that is answered: rows, bare texts, a column, a lone text or list.

    A lone text beside columns of several rows stands in each of them: so pandas reads it.
    """
    if isinstance(rows, dict) and isinstance(rows["text"], str):
        beside = [len(column) for column in rows.values() if isinstance(column, list | dict)]
        return [rows["text"]] * max(beside, default=1)
    rows = rows["text"] if isinstance(rows, dict) else rows
    rows = rows if isinstance(rows, list) else [rows]
    texts = [row["text"] if isinstance(row, dict) else row for row in rows]
    return texts[0] if len(texts) == 1 and isinstance(texts[0], list) else texts


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@example(form="inputs", rows={"text": "0", "x": [None, None]}, params={})
@given(form=strategies.sampled_from(FORMS), rows=ROWS | VALUES, params=COVERAGES)
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

    monkeypatch.setattr(encoder, "read", broken)
    status, said, reached = answer({"dataframe_records": [{"text": "a car"}]})
    assert (status, reached) == (500, True)
    assert json.loads(said)["message"] == (
        "the server could not price this request; its log says why"
    )
    assert "stack_trace" not in said
    assert "/inner/path" not in said
    assert "/inner/path" in capsys.readouterr().err


def test_requests_that_wait_are_encoded_together(pair, texts, monkeypatch):
    """While one batch is encoded five more requests come; they share the next one."""
    from threading import Event, Thread

    made, _ = pair
    wanted = made.predict(texts[:12]).price
    sizes, begun, go_on = [], Event(), Event()

    def slow(opened, together, beside, real=encoder.read):
        sizes.append(len(together))
        begun.set()
        assert go_on.wait(30)
        return real(opened, together, beside)

    monkeypatch.setattr(encoder, "read", slow)
    found = {}

    def ask(number):
        found[number] = made.predict(texts[2 * number : 2 * number + 2]).price

    threads = [Thread(target=ask, args=(number,)) for number in range(6)]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + 30
    while len(made.waiting.requests) < 5:
        assert time.monotonic() < deadline
    go_on.set()
    for thread in threads:
        thread.join()
    assert sizes == [2, 10]
    np.testing.assert_allclose(np.concatenate([found[n] for n in range(6)]), wanted, rtol=1e-4)


def test_a_batch_that_fails_does_so_for_nobody_else(pair, texts, monkeypatch):
    """Two requests wait; the texts of one cannot be encoded, and the other is answered."""
    from threading import Thread

    made, _ = pair
    wanted = made.predict([texts[0]]).price
    real = encoder.read

    def picky(opened, together, beside):
        if "poison" in together:
            raise MemoryError
        return real(opened, together, beside)

    monkeypatch.setattr(encoder, "read", picky)
    found = {}

    def ask(text):
        try:
            found[text] = made.predict([text]).price
        except MemoryError as error:
            found[text] = error

    threads = [Thread(target=ask, args=(text,)) for text in ("poison", texts[0], "poison ")]
    with made.waiting.turn:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(made.waiting.requests) < len(threads):
            assert time.monotonic() < deadline
    for thread in threads:
        thread.join()
    assert isinstance(found["poison"], MemoryError)
    np.testing.assert_array_equal(found[texts[0]], wanted)
    assert found["poison "] is not None
    assert made.waiting.requests == []


def test_a_batch_stays_small(pair, texts, monkeypatch):
    made, _ = pair
    monkeypatch.setattr(pricer, "MOST_TOGETHER", 5)
    waiting = [pricer._Request(list(texts[:n])) for n in (3, 3, 2)]
    made.waiting.requests.extend(waiting)
    together = made._gathered(waiting[1])
    assert together == [waiting[1], waiting[2]]
    assert made.waiting.requests == [waiting[0]]
    made.waiting.requests.clear()
