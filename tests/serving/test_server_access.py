"""Who may ask the server, from where, and what is refused before a model sees it."""

import asyncio
import json

import pytest

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")


from helpers.served import running, served

from recbole_tme.errors import UserError
from recbole_tme.serving.server import protection
from recbole_tme.serving.server.models import Models
from recbole_tme.serving.server.protection import Access, protected, read_token

TOKEN = "0123456789abcdef0123456789abcdef"


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
