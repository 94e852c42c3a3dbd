"""Several models in one server: chosen by name and by key, replaced while they answer, and counted."""

import asyncio
import shutil
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")


from helpers.served import running, served

from recbole_tme.errors import UserError
from recbole_tme.serving import client as one_file
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import Rules
from recbole_tme.serving.server import standing_rules
from recbole_tme.serving.server.metrics import Metrics
from recbole_tme.serving.server.models import Models, Served
from recbole_tme.serving.server.serve import Reloader


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
        names = ["recommend", "health", "ready", "model", "models", "items", "examples", "metrics"]
        assert set(api["paths"]) == {f"/{name}" for name in names}
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
