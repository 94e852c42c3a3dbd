"""The web application: what it answers and what it refuses."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers.quick_run import quick_run
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.bundle import write_bundle
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server import app as application
from recbole_tme.serving.server.models import Models, Served, model_card
from recbole_tme.serving.server.protection import MAX_BODY, SECURITY_HEADERS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return quick_run(tmp_path_factory.mktemp("serve"), "DANSeR", embedding_size=8, MAX_ITEM_LIST_LENGTH=20)


@pytest.fixture(scope="module")
def recommender(finished) -> Recommender:
    return Recommender.load(finished.path)


def app_of(recommender, path, **options):
    """The application of one model, whose card tells of the run at ``path``."""
    served = Served("default", path, lambda _: recommender)
    return application.make_app(Models([served]), **options)


@pytest.fixture(scope="module")
def client(recommender, finished):
    with TestClient(app_of(recommender, finished.path)) as client:
        yield client


def ask(client, **body):
    response = client.post("/recommend", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def same(found, wanted: Recommendation, titles) -> None:
    assert [entry["item"] for entry in found["items"]] == wanted.items
    assert [entry["title"] for entry in found["items"]] == [titles.get(item) for item in wanted.items]
    np.testing.assert_allclose([entry["score"] for entry in found["items"]], wanted.scores, rtol=1e-5)
    assert (found["source"], found["unknown"]) == (wanted.source, wanted.unknown)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_answers_are_the_recommenders(client, recommender, data):
    items = st.sampled_from([*recommender.items, "stranger", "another"])
    sessions = data.draw(st.lists(st.lists(items, max_size=8), min_size=1, max_size=5))
    k, exclude_seen = data.draw(st.integers(1, 40)), data.draw(st.booleans())
    wanted = list(recommender.answers(sessions, k, exclude_seen))
    found = ask(client, sessions=sessions, k=k, exclude_seen=exclude_seen)["results"]
    assert len(found) == len(sessions)
    for session, one, answer in zip(sessions, found, wanted):
        same(one, answer, recommender.titles)
        same(ask(client, session=session, k=k, exclude_seen=exclude_seen), answer, recommender.titles)


def test_twenty_items_unless_another_number_is_asked_for(client, recommender):
    assert len(ask(client, session=recommender.items[:2])["items"]) == 20


def test_unknown_items_are_skipped_and_reported(client, recommender):
    found = ask(client, session=["zz", recommender.items[0], 17], k=3)
    assert found["source"] == "model" and found["unknown"] == ["zz", "17"] and "'zz'" in found["note"]
    assert found["items"] == ask(client, session=recommender.items[:1], k=3)["items"]
    assert ask(client, session=recommender.items[:1])["note"] is None


@pytest.mark.parametrize("session", [[], ["zz"]])
def test_nothing_known_is_answered_by_popularity_which_is_said(client, recommender, session):
    found = ask(client, session=session, k=2)
    best = sorted(recommender.clicks, reverse=True)[:2]
    assert found["source"] == "popularity" and [entry["score"] for entry in found["items"]] == best
    assert "most popular" in found["note"]


def test_an_explanation_fits_the_session_as_it_was_sent(client, recommender):
    known = recommender.items[:3]
    session = [known[0], "zz", *[known[1]] * 19, known[2]]
    found = ask(client, session=session, explain=True)["explanation"]
    numbers = torch.tensor([[2] * 19 + [3]])
    with torch.no_grad():
        wanted = recommender.model.explain(numbers, torch.tensor([20]))
    # Of 21 known clicks the model looks at the last 20.
    assert found["attention"][:2] == [None, None]
    np.testing.assert_allclose(found["attention"][2:], wanted.attention[0], rtol=1e-4)
    np.testing.assert_allclose(found["hops"], wanted.hops[0], rtol=1e-4)
    assert found["repeat"] == pytest.approx(wanted.repeat.item(), rel=1e-4)
    for row, weights in zip(found["hop_attention"], wanted.hop_attention[0]):
        assert row[:2] == [None, None]
        np.testing.assert_allclose(row[2:], weights, rtol=1e-4)


def test_an_explanation_is_given_where_it_is_asked_for_and_there_is_one(client, recommender):
    assert "explanation" not in ask(client, session=recommender.items[:1])
    assert ask(client, session=["zz"], explain=True)["explanation"] is None
    both = ask(client, sessions=[recommender.items[:1], recommender.items[1:3]], explain=True)["results"]
    assert [len(one["explanation"]["attention"]) for one in both] == [1, 2]


@pytest.mark.parametrize("model", ["SPop", "recbole:STAMP"])
def test_a_model_without_weights_shows_none(tmp_path, model):
    settings = {} if model == "SPop" else {"embedding_size": 8}
    run = quick_run(tmp_path, model, **settings).path
    one = Recommender.load(run)
    with TestClient(app_of(one, run)) as client:
        found = ask(client, session=one.items[:2], explain=True)
    assert found["explanation"] is None and found["source"] == "model"


LONG = 10_000


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 422, "body"),
        (b"{", 422, "body"),
        (b"[" * 100_000, 400, None),
        (b"\xff\xff", 400, None),
        (b'{"session": [' + b"1" * 5000 + b"]}", 400, None),
        ([], 422, "body"),
        ("text", 422, "body"),
        ({}, 422, "body"),
        ({"session": ["a"], "sessions": [["a"]]}, 422, "body"),
        ({"session": "a b"}, 422, "session"),
        ({"session": {"0": "a"}}, 422, "session"),
        ({"session": ["a", None]}, 422, "session.1"),
        ({"session": ["a", True]}, 422, "session.1"),
        ({"session": [1.5]}, 422, "session.0"),
        ({"session": [["a"]]}, 422, "session.0"),
        (b'{"session": ["\\ud800"]}', 422, "session.0"),
        ({"session": ["a"] * LONG}, 422, "session"),
        ({"sessions": []}, 422, "sessions"),
        ({"sessions": ["a"]}, 422, "sessions.0"),
        ({"sessions": [["a"], ["b", 0.5]]}, 422, "sessions.1.1"),
        ({"sessions": [["a"]] * 257}, 422, "sessions"),
        ({"sessions": [["a"] * LONG]}, 422, "sessions.0"),
        ({"session": ["a"], "k": 0}, 422, "k"),
        ({"session": ["a"], "k": 81}, 422, "k"),
        ({"session": ["a"], "k": "5"}, 422, "k"),
        ({"session": ["a"], "k": True}, 422, "k"),
        ({"session": ["a"], "exclude_seen": "yes"}, 422, "exclude_seen"),
        ({"session": ["a"], "explain": 1}, 422, "explain"),
        ({"session": ["a"], "topk": 3}, 422, "body"),
        ({"session": ["a" * 10_000_000]}, 413, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_each_bad_request_is_refused_by_its_field(client, body, status, field):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert response.status_code == status
    found = response.json()
    assert "\n" not in found["error"] and len(response.content) < 1000
    if field is not None:
        assert field in [one["field"] for one in found["fields"]] and field in found["error"]
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "body",
    [
        {"session": [None] * 1000},
        {"sessions": [[None] * 1000] * 200},
        {"sessions": [0] * 256},
        dict.fromkeys(map(str, range(90_000)), 0),
    ],
    ids=["clicks", "sessions of clicks", "sessions", "options"],
)
def test_of_thousands_of_errors_one_is_described(client, body):
    response = client.post("/recommend", json=body)
    assert response.status_code == 422 and len(response.json()["fields"]) == 1


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_a_body_of_unknown_length_is_measured_on_its_way(client, size):
    body = json.dumps({"session": []}).encode()
    parts = iter([body, b" " * (size - len(body))])
    response = client.post("/recommend", content=parts, headers={"content-type": "application/json"})
    assert response.status_code == (200 if size <= MAX_BODY else 413)


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=101", f"q={'a' * 201}"])
def test_an_impossible_page_of_items_is_refused(client, query):
    response = client.get(f"/items?{query}")
    assert response.status_code == 422 and response.json()["fields"][0]["field"] == query.partition("=")[0]


@settings(max_examples=60, deadline=None)
@given(words=st.text('aäÄrtikel123 ,"\n', max_size=5), limit=st.integers(1, 30))
def test_a_search_finds_what_a_loop_over_the_items_finds(client, recommender, words, limit):
    def plain(text):
        return " ".join(text.casefold().split())

    lines = {item: plain(f"{recommender.titles.get(item, '')} {item}") for item in recommender.items}
    popular = sorted(range(len(lines)), key=lambda i: (-recommender.clicks[i], i))
    wanted = [recommender.items[i] for i in popular if plain(words) in lines[recommender.items[i]]]
    found, more = [], True
    while more:
        page = client.get("/items", params={"q": words, "offset": len(found), "limit": limit}).json()
        assert len(page["items"]) == limit or not page["more"]
        found, more = found + page["items"], page["more"]
    assert [entry["item"] for entry in found] == wanted
    clicks = dict(zip(recommender.items, recommender.clicks))
    assert all(entry["clicks"] == clicks[entry["item"]] for entry in found)
    assert all(entry["title"] == recommender.titles.get(entry["item"]) for entry in found)


def test_the_item_of_just_this_id_comes_first(finished):
    one = Recommender.load(finished.path)
    one.items, one.titles = [str(i) for i in range(80)], {str(i): f"Part {i} of 7" for i in range(80)}
    one.clicks = np.arange(80)
    with TestClient(app_of(one, finished.path)) as client:
        found = client.get("/items?q=7&limit=100").json()["items"]
    assert found[0]["item"] == "7" and [entry["item"] for entry in found].count("7") == 1
    assert [entry["item"] for entry in found[1:]] == [str(i) for i in range(79, -1, -1) if i != 7]


def test_the_model_is_described(client, finished, recommender, tmp_path):
    found = client.get("/model").json()
    assert (found["model"], found["dataset"], found["items"]) == ("DANSeR", "shop", len(recommender.items))
    assert found["seed"] == 2020 and found["metrics"] == finished.read_metrics()["test"] and found["version"]
    write_bundle(finished.path, tmp_path / "bundle")
    card = model_card(Recommender.load(tmp_path / "bundle"), tmp_path / "bundle")
    assert card == {name: found[name] for name in card} and card["trained"] and card["test_sessions"]
    for metric, (low, high) in found["intervals"].items():
        assert low <= found["metrics"][metric] <= high
    assert found["name"] == "default" and found["limits"]["k"] == len(recommender.items)


@pytest.mark.parametrize("path", ["/", "/page.js", "/health", "/model", "/items", "/missing", "/recommend"])
def test_every_answer_forbids_requests_to_elsewhere_and_none_invites_other_pages(client, path):
    response = client.get(path, headers={"origin": "http://elsewhere.example"})
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
    assert not [name for name in response.headers if name.startswith("access-control-")]
    sources = re.findall(r"(\S+)-src ([^;]+)", response.headers["content-security-policy"])
    assert dict(sources) == {"default": "'none'"} | dict.fromkeys(["script", "style", "img", "connect"], "'self'")


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "/page/index.html",
        "/index.html",
        "//etc/passwd",
        "/redoc",
        "/docs/index.html",
    ],
)
def test_no_other_file_is_to_be_had(client, path):
    response = client.get(path)
    assert response.status_code == 404 and "error" in response.json()


def test_the_page_names_nothing_outside_the_server(client):
    for path in application.PAGES:
        text = client.get(path).text
        assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+", text.replace("http://www.w3.org/2000/svg", ""))
        assert "innerHTML" not in text and "style=" not in text


def test_scores_that_are_no_numbers_are_an_error_and_not_the_end(finished):
    one = Recommender.load(finished.path)
    with torch.no_grad():
        one.model.item_embedding.weight[1] = torch.nan
    with TestClient(app_of(one, finished.path)) as client:
        response = client.post("/recommend", json={"session": one.items[:1]})
        assert response.status_code == 500 and "NaN" in response.json()["error"]
        assert ask(client, session=[])["source"] == "popularity"


def test_a_failure_of_the_model_is_an_error_and_not_the_end(finished, recommender, monkeypatch):
    def fails(*_):
        raise RuntimeError("secret detail")

    with TestClient(app_of(recommender, finished.path), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(recommender, "answers", fails)
            response = client.post("/recommend", json={"session": []})
        assert response.status_code == 500 and "secret" not in response.text
        assert response.json()["error"] and response.headers["content-security-policy"]
        assert ask(client, session=[])["source"] == "popularity"


def test_infinite_scores_are_null(client, recommender, monkeypatch):
    best = Recommendation(recommender.items[:2], np.array([1.0, -np.inf], dtype=np.float32), "model", [])
    monkeypatch.setattr(recommender, "answers", lambda sessions, *_: iter([best] * len(sessions)))
    assert [entry["score"] for entry in ask(client, session=["a"])["items"]] == [1.0, None]


def test_a_catalogue_without_titles_and_with_odd_ones(finished, tmp_path):
    run = shutil.copytree(finished.path, tmp_path / "run")
    items = ItemList.read(run / "catalogue.json")
    first, second = items.ids[:2]
    ItemList(items.ids, items.clicks, {first: "two\nlines", second: ""}).write(run / "catalogue.json")
    one = Recommender.load(run)
    with TestClient(app_of(one, finished.path)) as client:
        (found,) = client.get("/items", params={"q": "TWO LINES"}).json()["items"]
        assert found["item"] == first and found["title"] == "two\nlines"
        assert len(client.get("/items?limit=100").json()["items"]) == len(items.ids)
