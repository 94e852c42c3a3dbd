"""Requests made from the server's own OpenAPI description, right, nearly right and wrong: each answer is as described.

The generator is ours because the schema is: it has a dozen of JSON schema's words, and an unknown one fails the test.
"""

import json
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from recbole_tme.serving.bundle import pack
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.app import make_app
from recbole_tme.serving.server.models import Models, Served
from tests.helpers.tally import TRIED
from tests.helpers.untrained import untrained

pytestmark = pytest.mark.slow

# Of each route; more by the environment, for a longer attack.
REQUESTS = int(os.environ.get("ATTACK_REQUESTS", "120"))
KNOWN_WORDS = {
    *("type", "anyOf", "$ref", "properties", "items", "minimum", "maximum", "maxLength", "minItems", "maxItems"),
    *("default", "description", "title", "additionalProperties", "required"),
}
NASTY = st.sampled_from(["", "\0", "\ud800", "i1", "i59", "a'b\"c", "{{7*7}}", "%s%n", "../../x", "x" * 600, "NaN"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NASTY | st.text(max_size=8)
ANYTHING = st.recursive(SCALARS, lambda part: st.lists(part, max_size=4) | st.dictionaries(NASTY, part, max_size=4))
COLUMNS = ["item", "title", "price", "nothing", "a b"]
QUERIES = st.lists(
    st.sampled_from(
        [*COLUMNS, "=", "!=", "<", "and", "or", "not", "in", "(", ")", "'x'", "1e999", "-", ",", "\\", "''"]
    ),
    max_size=12,
).map(" ".join)
ITEMS = st.lists(st.sampled_from(["i1", "i2", "stranger"]) | SCALARS, max_size=4)
# The rules are an object of their own language, which the schema leaves open.
RULES = st.fixed_dictionaries(
    {},
    optional={
        "allow": ITEMS | QUERIES | ANYTHING,
        "deny": ITEMS | QUERIES | ANYTHING,
        "boost": st.lists(st.fixed_dictionaries({"where": QUERIES | ITEMS, "factor": SCALARS}), max_size=3) | ANYTHING,
        "pin": ITEMS | ANYTHING,
        "max_per": st.dictionaries(st.sampled_from(COLUMNS), SCALARS, max_size=2) | ANYTHING,
        "diversity": SCALARS,
        "exclude_seen": SCALARS,
        "unheard": SCALARS,
    },
)


def made_from(schema: dict, definitions: dict) -> st.SearchStrategy:
    """Values as a schema has them."""
    assert schema.keys() <= KNOWN_WORDS, f"words that this generator does not know: {schema.keys() - KNOWN_WORDS}"
    if "$ref" in schema:
        return made_from(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([made_from(one, definitions) for one in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "array":
        part = st.sampled_from(["i1", "i2", "i3"]) | made_from(schema["items"], definitions)
        if schema["items"].get("type") == "array":
            part = made_from(schema["items"], definitions)
        return st.lists(part, min_size=schema.get("minItems", 0), max_size=6)
    if kind == "object":
        parts = {name: made_from(one, definitions) for name, one in schema.get("properties", {}).items()}
        return st.fixed_dictionaries({}, optional=parts) if parts else RULES
    if kind == "integer":
        return st.integers(schema.get("minimum"), schema.get("maximum"))
    return {"string": st.text(max_size=12) | NASTY, "boolean": st.booleans(), "null": st.none(), "number": st.floats()}[
        kind
    ]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    pack(untrained("DANSeR", folder, embedding_size=8), folder / "bundle")
    recommender = Recommender.load(folder / "bundle")
    with TestClient(make_app(Models([Served("default", folder / "bundle", lambda _: recommender)]))) as client:
        yield client


@pytest.fixture(scope="module")
def described(client):
    return client.get("/openapi.json").json()


def check(response, operation, described, started):
    """An answer of a status that is described, of the shape that is described, and soon."""
    TRIED["requests"] += 1
    what = f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:300]}"
    assert time.monotonic() - started < 10, what
    assert response.status_code != 500 and str(response.status_code) in operation["responses"], what
    if response.status_code != 200:
        error = response.json()["error"]
        assert error and "\n" not in error and len(response.content) < 5_000, what
    content = operation["responses"][str(response.status_code)].get("content", {}).get("application/json")
    if content and content["schema"]:
        Draft202012Validator({**content["schema"], "components": described["components"]}).validate(response.json())


def fuzz(test):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=REQUESTS, deadline=None, derandomize=True, suppress_health_check=checks)(test)


@fuzz
@given(data=st.data())
def test_bodies_made_from_the_schema(client, described, data):
    operation = described["paths"]["/recommend"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    body = data.draw(made_from(schema, schema.get("$defs", {})))
    wrong = data.draw(st.sampled_from([*schema["properties"], "unheard", None, None, None]))
    if wrong is not None:
        body[wrong] = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        # Otherwise most have no session, or two kinds of them.
        body = {name: part for name, part in body.items() if name != "sessions"} | {"session": ["i1", "i2"]}
    content = json.dumps(body).encode()
    if data.draw(st.integers(0, 9)) == 0:
        at = data.draw(st.integers(0, len(content)))
        content = content[:at] + data.draw(st.binary(max_size=4)) + content[at + data.draw(st.integers(0, 4)) :]
    started = time.monotonic()
    headers = {"content-type": data.draw(st.sampled_from(["application/json"] * 9 + ["text/plain", "", "x" * 99]))}
    check(client.post("/recommend", content=content, headers=headers), operation, described, started)


@fuzz
@given(data=st.data())
def test_queries_made_from_the_schema(client, described, data):
    gets = {path: methods["get"] for path, methods in described["paths"].items() if "get" in methods}
    path = data.draw(st.sampled_from(sorted(gets)))
    parameters = {}
    for one in gets[path].get("parameters", []):
        if data.draw(st.booleans()):
            wanted = SCALARS if data.draw(st.integers(0, 3)) == 0 else made_from(one["schema"], {})
            # Half a character cannot stand in an address.
            parameters[one["name"]] = str(data.draw(wanted)).encode(errors="replace").decode()
    started = time.monotonic()
    check(client.get(path, params=parameters), gets[path], described, started)
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        assert client.request(method, path).status_code == 405


def test_a_body_of_a_hundred_thousand_keys_of_which_one_is_twice_keeps_nobody_waiting(client, described):
    body = "{" + ",".join(f'"{number:x}":0' for number in range(100_000)) + ',"1869f":0}'
    started = time.monotonic()
    response = client.post("/recommend", content=body, headers={"content-type": "application/json"})
    check(response, described["paths"]["/recommend"]["post"], described, started)
    assert response.status_code == 422 and "twice" in response.text


def test_every_route_is_fuzzed(described):
    """A route with a parameter in its path, or another method with a body, would need more than the tests above."""
    for path, methods in described["paths"].items():
        assert "{" not in path and (methods.keys() == {"get"} or (path, *methods) == ("/recommend", "post"))
