"""Several models in one server: chosen by name and by key, replaced while they answer, and counted; and who may ask."""

import asyncio
import json
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
from helpers.untrained import untrained

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")

from fastapi.testclient import TestClient

from recbole_tme.errors import UserError
from recbole_tme.serving import client as one_file
from recbole_tme.serving.bundle import pack
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import Rules
from recbole_tme.serving.server import protection, standing_rules
from recbole_tme.serving.server.app import make_app
from recbole_tme.serving.server.metrics import Metrics
from recbole_tme.serving.server.models import Models, Served
from recbole_tme.serving.server.protection import Access, protected, read_token
from recbole_tme.serving.server.serve import Reloader

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of one catalogue with other weights."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, seed in (("a", 0), ("b", 1)):
        (folder / f"weights-{name}").mkdir()
        pack(untrained("DANSeR", folder / f"weights-{name}", seed=seed, embedding_size=8), folder / name)
    return folder


def served(bundles, name="a", path=None):
    return Served(name, path or bundles / name, Recommender.load)


@contextmanager
def running(models, *given, **options):
    with TestClient(make_app(models, *given, **options), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def both(bundles):
    with running(Models([served(bundles, "a"), served(bundles, "b")], {"a": 0.25, "b": 0.75}, shadow="b")) as client:
        yield client


def items_of(answer):
    return [entry["item"] for entry in answer["items"]]


def counted(client, line):
    """The value of one line of /metrics."""
    rows = dict(row.rsplit(" ", 1) for row in client.get("/metrics").text.splitlines() if row[0] != "#")
    return float(rows.get(line, 0))


def test_a_request_gets_the_model_that_it_names(both, bundles):
    for name in "ab":
        (wanted,) = Recommender.load(bundles / name).answers([["i1", "i2"]], 5)
        answer = both.post("/recommend", json={"session": ["i1", "i2"], "k": 5, "model": name}).json()
        assert answer["model"] == name and items_of(answer) == wanted.items
    assert [card["name"] for card in both.get("/models").json()["models"]] == ["a", "b"]
    assert both.get("/model?model=b").json()["name"] == "b" and both.get("/model").json()["name"] == "a"
    refused = both.post("/recommend", json={"session": [], "model": "c"})
    assert refused.status_code == 422 and refused.json()["fields"][0]["field"] == "model"


def test_a_key_keeps_its_side_and_the_shares_are_those_of_the_split(both):
    def side(key):
        return both.post("/recommend", json={"session": ["i1"], "k": 1, "key": key}).json()["model"]

    sides = [side(f"visitor {i}") for i in range(200)]
    assert 25 <= sides.count("a") <= 75
    assert [side(f"visitor {i}") for i in range(20)] == sides[:20]
    assert both.post("/recommend", json={"session": ["i1"], "k": 1}).json()["model"] == "a"


@pytest.mark.parametrize(
    ("split", "shadow"), [({"a": 0.5}, None), ({"a": 0.5, "c": 0.5}, None), ({"a": 1.0}, "c"), ({"a": 1.5}, None)]
)
def test_a_split_that_does_not_add_up_and_unknown_names_are_refused(bundles, split, shadow):
    with pytest.raises(UserError, match=r"--split|--shadow"):
        Models([served(bundles)], split, shadow)


def test_two_models_of_one_name_are_refused(bundles):
    with pytest.raises(UserError, match="'a'"):
        Models([served(bundles), served(bundles)])


def test_the_shadow_is_asked_and_only_counted(bundles):
    with running(Models([served(bundles, "a"), served(bundles, "b")], shadow="b")) as client:
        answer = client.post("/recommend", json={"session": ["i1", "i3"], "k": 10}).json()
        assert answer["model"] == "a"
        end = time.monotonic() + 30
        while not counted(client, 'recbole_tme_shadow_overlap_count{model="b"}') and time.monotonic() < end:
            time.sleep(0.02)
        lists = [set(next(Recommender.load(bundles / name).answers([["i1", "i3"]], 10)).items) for name in "ab"]
        share = counted(client, 'recbole_tme_shadow_overlap_sum{model="b"}')
        assert share == pytest.approx(len(lists[0] & lists[1]) / 10)


def test_what_happens_is_counted(bundles):
    with running(Models([served(bundles)])) as client:
        client.post("/recommend", json={"sessions": [["i1", "zz"], ["yy"], []]})
        client.post("/recommend", json={"session": 7})
        client.get("/no/such/path")
        assert counted(client, 'recbole_tme_sessions_total{model="a",source="model"}') == 1
        assert counted(client, 'recbole_tme_sessions_total{model="a",source="popularity"}') == 2
        assert counted(client, 'recbole_tme_unknown_items_total{model="a"}') == 2
        assert counted(client, 'recbole_tme_batch_sessions_sum{model="a"}') == 3
        assert counted(client, 'recbole_tme_requests_total{path="/recommend",status="422"}') == 1
        assert counted(client, 'recbole_tme_requests_total{path="other",status="404"}') == 1
        assert counted(client, 'recbole_tme_request_seconds_count{path="/recommend"}') == 2


def test_a_reload_replaces_the_model_and_a_broken_bundle_leaves_the_old_one(bundles, tmp_path, caplog):
    shutil.copytree(bundles / "a", tmp_path / "a")
    one = served(bundles, "a", tmp_path / "a")
    with running(Models([one])) as client:

        def best():
            return items_of(client.post("/recommend", json={"session": ["i1", "i2"], "k": 10}).json())

        first = best()
        assert not one.has_changed() and client.get("/ready").json() == {"status": "ready", "errors": {}}
        shutil.copy(bundles / "b" / "model.safetensors", tmp_path / "a")
        assert one.has_changed() and not one.reload()
        assert best() == first and "checksum" in client.get("/ready").json()["errors"]["a"]
        assert client.get("/ready").json()["status"] == "stale" and client.get("/ready").status_code == 200
        assert "the old one stays" in caplog.text
        shutil.copytree(bundles / "b", tmp_path / "a", dirs_exist_ok=True)
        assert one.reload() and best() != first
        (wanted,) = Recommender.load(bundles / "b").answers([["i1", "i2"]], 10)
        assert best() == wanted.items and client.get("/ready").json()["status"] == "ready"


def test_nobody_is_lost_while_models_are_replaced(bundles, tmp_path):
    shutil.copytree(bundles / "a", tmp_path / "a")
    one, wrong, stop = served(bundles, "a", tmp_path / "a"), [], threading.Event()
    lists = [next(Recommender.load(bundles / name).answers([["i1", "i2"]], 10)).items for name in "ab"]
    with running(Models([one])) as client:

        def ask():
            while not stop.is_set():
                response = client.post("/recommend", json={"session": ["i1", "i2"], "k": 10})
                if response.status_code != 200 or items_of(response.json()) not in lists:
                    wrong.append(response.text)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for thread in clients:
            thread.start()
        for i in range(6):
            shutil.copytree(bundles / "ba"[i % 2], tmp_path / "a", dirs_exist_ok=True)
            one.reload()
        stop.set()
        for thread in clients:
            thread.join()
    assert not wrong


def test_changed_files_are_reloaded_where_they_are_watched(bundles, tmp_path):
    shutil.copytree(bundles / "a", tmp_path / "a")
    one = served(bundles, "a", tmp_path / "a")

    async def watch():
        task = asyncio.create_task(Reloader(Models([one]), 0.02)(Metrics()))
        since = one.now.since
        shutil.copytree(bundles / "b", tmp_path / "a", dirs_exist_ok=True)
        end = time.monotonic() + 30
        while (one.now.since == since or one.error) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(watch())
    (wanted,) = Recommender.load(bundles / "b").answers([["i1"]], 5)
    assert next(one.now.recommender.answers([["i1"]], 5)).items == wanted.items


def test_without_the_token_only_pages_and_health_are_answered(bundles):
    with running(Models([served(bundles)]), Access(token=TOKEN)) as client:
        for path in ("/", "/docs", "/health", "/ready", "/openapi.json"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            for path in ("/model", "/items", "/metrics", "/no/such/path"):
                refused = client.get(path, headers=headers)
                assert refused.status_code == 401 and "token" in refused.json()["error"]
            assert client.post("/recommend", json={"session": []}, headers=headers).status_code == 401
        assert client.get("/model", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_token_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod"):
        read_token(file)


@pytest.mark.parametrize("content", [b"", b"short", b"two words are no token", b"\xff" * 20])
def test_a_token_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UserError, match=str(file)):
        read_token(file)


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("localhost:8000", 200), ("LOCALHOST", 200), ("[::1]:80", 200), ("evil.example", 421),
     ("localhost.evil.example", 421), ("evil.example:8000", 421), ("", 421)],
)  # fmt: skip
def test_a_name_that_is_not_this_machines_is_refused(bundles, host, status):
    with running(Models([served(bundles)]), Access(hosts={"localhost", "127.0.0.1", "[::1]"})) as client:
        response = client.get("/health", headers={"host": host})
        assert response.status_code == status and response.headers["content-security-policy"]


def test_pages_of_allowed_origins_may_ask_and_no_others(bundles):
    with running(Models([served(bundles)]), Access(origins=["https://shop.example"])) as client:
        asking = {"access-control-request-method": "POST"}
        preflight = client.options("/recommend", headers={"origin": "https://shop.example", **asking})
        assert preflight.status_code == 204 and "POST" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
        answer = client.post("/recommend", json={"session": []}, headers={"origin": "https://shop.example"})
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        other = client.options("/recommend", headers={"origin": "https://evil.example", **asking})
        assert not [name for name in other.headers if name.startswith("access-control-")]


def test_head_is_get_without_a_body(bundles):
    with running(Models([served(bundles)])) as client:
        for path in ("/", "/health", "/ready", "/items", "/docs"):
            head, get = client.head(path), client.get(path)
            assert head.status_code == 200 and not head.content
            assert head.headers["content-length"] == get.headers["content-length"]
        assert client.head("/recommend").status_code == 405


def test_each_request_has_an_id_and_a_line_in_the_log(bundles):
    lines = []
    with running(Models([served(bundles)]), log=lines.append) as client:
        assert client.get("/health", headers={"x-request-id": "my.id-1"}).headers["x-request-id"] == "my.id-1"
        made = client.post("/recommend", content=b"{", headers={"x-request-id": "a\tb"}).headers["x-request-id"]
    assert len(made) == 32 and [line["id"] for line in lines] == ["my.id-1", made]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/health", 200),
        ("POST", "/recommend", 415),
    ]
    assert all(line["seconds"] > 0 and line["bytes"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"session": ["i1"], "session": ["i2"]}', "twice"),
        (b'{"session": ["i1"], "k": 1, "k": 2}', "twice"),
        (b'{"session": [NaN]}', "NaN"),
        (json.dumps({"session": ["x" * 513]}).encode(), "512"),
        (json.dumps({"sessions": [["i1"]] * 17, "explain": True}).encode(), "16"),
    ],
)
def test_what_two_readers_would_read_differently_and_what_costs_too_much_is_refused(bundles, body, word):
    with running(Models([served(bundles)])) as client:
        response = client.post("/recommend", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422 and word in response.json()["error"] and len(response.content) < 500
        assert client.get("/items?offset=9223372036854775807").status_code == 422


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(protection, "BODY_SECONDS", 0.05)
    sent = []

    async def ask():
        async def receive():
            await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/recommend", "headers": []}
        await asyncio.wait_for(protected(None, Access(), lambda _: None)(scope, receive, send), 20)

    asyncio.run(ask())
    assert sent[0]["status"] == 408


def test_the_one_file_client_fits_the_schema_and_the_server(bundles, monkeypatch):
    with running(Models([served(bundles)])) as client:
        api = client.get("/openapi.json").json()
        body = api["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        described = one_file.Client.recommend.__doc__
        assert all(f"``{name}``" in described for name in set(body["properties"]) - {"session", "sessions"})
        answer = api["components"]["schemas"]["Answer"]["properties"]
        assert all(f"``{name}``" in described for name in answer)

        mine = one_file.Client("http://localhost")

        def once(method, path, body, headers):
            response = client.request(method, path, content=body, headers=headers)
            return response.status_code, response.content

        monkeypatch.setattr(mine, "_once", once)
        found = mine.recommend(["i1", "zz"], k=3, explain=True)
        assert set(found) == set(answer) and len(found["items"]) == 3
        assert mine.recommend_many([["i1"], ["i2"]], k=2)[0]["source"] == "model"
        assert mine.items("i5", limit=1)["items"][0]["item"] == "i5" and mine.models()[0]["name"] == "a"
        assert mine.ready()["status"] == "ready"
        with pytest.raises(one_file.Refused, match="422: k") as refused:
            mine.recommend([], k=0)
        assert refused.value.fields[0]["field"] == "k"


def test_every_answer_is_described(bundles):
    with running(Models([served(bundles)])) as client:
        api = client.get("/openapi.json").json()
        assert set(api["paths"]) == {"/recommend", "/health", "/ready", "/model", "/models", "/items", "/metrics"}
        for path, query in (("/model", ""), ("/models", ""), ("/items", "?limit=1"), ("/ready", "")):
            schema = api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            wanted = api["components"]["schemas"][schema["$ref"].split("/")[-1]]["properties"]
            assert set(client.get(path + query).json()) == set(wanted)


def test_docs_ask_nobody_else(bundles):
    with running(Models([served(bundles)])) as client:
        for path in ("/docs", "/docs.js"):
            text = client.get(path).text
            assert "innerHTML" not in text and "://" not in text


def test_rules_of_a_request_and_of_the_server_hold_together(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr(standing_rules, "PAUSE", 0)
    (tmp_path / "items.csv").write_text("item_id,price\n" + "".join(f"i{i},{i}\n" for i in range(60)))
    file = tmp_path / "rules.yaml"
    file.write_text("deny: price >= 50\n")
    one = Recommender.load(bundles / "a", items=tmp_path / "items.csv")
    models = Models([Served("a", bundles / "a", lambda _: one)])
    standing = standing_rules.StandingRules(str(file))
    standing.check_with(lambda: [one])
    with running(models, standing=standing) as client:

        def ask(k=60, **rules):
            return client.post("/recommend", json={"session": ["i1"], "k": k, **rules}).json()

        assert set(items_of(ask())) == {f"i{i}" for i in range(50)}
        found = ask(rules={"allow": "price > 40", "pin": ["i45"]})
        assert set(items_of(found)) == {f"i{i}" for i in range(41, 50)} and items_of(found)[0] == "i45"
        assert found["note"] == "the rules leave 9 of 60 items"
        (wanted,) = one.answers([["i1"]], 5, rules=[Rules(deny="price >= 50"), Rules(max_per=(("price", 1),))])
        assert items_of(ask(5, rules={"max_per": {"price": 1}})) == wanted.items

        file.write_text("deny: price >\n")
        assert len(items_of(ask())) == 50
        file.write_text("denny: price > 1\n")
        assert len(items_of(ask())) == 50 and "denny" in client.get("/ready").json()["errors"]["rules"]
        file.write_text("deny: price >= 20\n")
        assert len(items_of(ask())) == 20 and client.get("/ready").json()["errors"] == {}


@pytest.mark.parametrize(
    ("rules", "word"),
    [({"allow": "price <"}, "position"), ({"allow": "i1 = 2"}, "--items"), ({"pin": "@/etc/passwd"}, "rules.pin"),
     ({"deny": "@/etc/passwd"}, "position"), ({"denny": []}, "deny"), ([], "rules"), ({"diversity": 2}, "diversity")],
)  # fmt: skip
def test_bad_rules_are_refused_by_their_field(bundles, rules, word):
    with running(Models([served(bundles)])) as client:
        response = client.post("/recommend", json={"session": ["i1"], "rules": rules})
        assert response.status_code == 422 and word in response.json()["error"]
        assert response.json()["fields"][0]["field"] == "rules"
