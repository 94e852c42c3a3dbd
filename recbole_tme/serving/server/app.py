"""The web application: what it is asked and what it answers.

FastAPI and pydantic are an optional extra, so that they are imported inside the functions that need them; annotations
of routes have to be real objects, hence no postponed evaluation here.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from contextlib import asynccontextmanager
from importlib import resources
from json import JSONDecodeError
from typing import Annotated, Any

from recbole_tme import __version__
from recbole_tme.errors import UserError
from recbole_tme.serving.answers import Skipped
from recbole_tme.serving.rules.rules import Rules
from recbole_tme.serving.server.batching import Answer, Batcher, Question
from recbole_tme.serving.server.metrics import Metrics
from recbole_tme.serving.server.models import Models, Served, largest_k
from recbole_tme.serving.server.protection import MAX_BODY, Access, protected
from recbole_tme.serving.server.requests import (
    MAX_CLICKS,
    MAX_ID,
    MAX_SESSIONS,
    DuplicateKey,
    parse_json,
    schemas,
)
from recbole_tme.serving.server.standing_rules import StandingRules

MAX_PAGE = 100
MAX_WORDS = 200
MAX_OFFSET = 2**31
DEFAULT_K = 20
# Requests whose copies the shadow has not answered yet; further ones are not copied.
SHADOW_BACKLOG = 64

PAGES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("page", "parts", "asking", "reasons", "code")},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
}


def make_app(
    models: Models,
    access: Access | None = None,
    log: Callable[[dict], None] = lambda _: None,
    background: Callable[[Metrics], Any] | None = None,
    standing: StandingRules | None = None,
) -> Callable:
    """The ASGI application.

    Args:
        models: who answers.
        access: who may ask; None lets everybody.
        log: told of every request, as the access log is.
        background: makes a coroutine that runs as long as the application does.
        standing: rules that hold for every list, before those of a request.
    """
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response
    from pydantic import ValidationError

    types, metrics = schemas(), Metrics()
    batchers = {
        name: Batcher(lambda served=served: served.now.recommender, metrics.batches.labels(name).observe)
        for name, served in models.by_name.items()
    }
    shadow = Shadow(models.shadow, batchers, metrics)

    @asynccontextmanager
    async def lifespan(_):
        async with contextlib.AsyncExitStack() as stack:
            for batcher in batchers.values():
                await stack.enter_async_context(batcher)
            task = None if background is None else asyncio.create_task(background(metrics))
            yield
            for running in [*shadow.pending, *([] if task is None else [task])]:
                running.cancel()

    # The documentation pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="recbole_tme", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    add_error_handlers(app)
    problems = {status: {"model": types.Problem} for status in (400, 401, 408, 413, 415, 422, 500, 503)}
    asked_for = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": types.Request.model_json_schema()}},
        }
    }

    def invalid(field: str, message: str, value: Any = None) -> RequestValidationError:
        loc = ("body", field) if field else ("body",)
        return RequestValidationError([{"type": "value_error", "loc": loc, "msg": message, "input": value}])

    def find(name: str | None, key: str | None = None) -> Served:
        try:
            return models.choose(name, key)
        except KeyError:
            raise invalid("model", f"there is no such model; there are {', '.join(models.by_name)}") from None

    async def body_of(request: Request):
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPProblem(415, "the body must be JSON, and content-type say application/json")
        try:
            return types.Request.model_validate(parse_json(await request.body()))
        except DuplicateKey as error:
            raise invalid("", str(error)) from error
        except JSONDecodeError as error:
            raise invalid("", f"is not JSON: {error.msg} (character {error.pos})") from error
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            raise RequestValidationError([one | {"loc": ("body", *one["loc"])} for one in found]) from error
        # No UTF-8, a number of thousands of digits, thousands of brackets.
        except (ValueError, RecursionError) as error:
            raise HTTPProblem(400, "the body cannot be read as JSON") from error

    def rules_of(given: dict[str, Any] | None, served: Served) -> tuple[Rules, ...]:
        parts = () if standing is None else (standing.current(),)
        if given is None:
            return parts
        try:
            parts = (*parts, Rules.of(given))
            # They are kept in numbers for the batch that answers.
            served.now.recommender.compiled(parts)
        except UserError as error:
            raise invalid("rules", str(error)) from error
        return parts

    @app.post(
        "/recommend",
        response_model=types.Answer | types.Answers,
        responses=problems,
        openapi_extra=asked_for,
        description="The best items for a session, or `results` for several sessions.",
    )
    async def recommend(request: Request) -> JSONResponse:
        given = await body_of(request)
        served = find(given.model, given.key)
        most = largest_k(served.now.recommender)
        if given.k is not None and given.k > most:
            raise invalid("k", f"must be at most {most}")
        sessions = [given.session] if given.sessions is None else given.sessions
        k = min(DEFAULT_K, most) if given.k is None else given.k
        rules = rules_of(given.rules, served)
        question = Question(sessions, k, given.exclude_seen, given.explain, rules)
        answers = await batchers[served.name].ask(question)
        metrics.answered(served.name, [answer.recommendation for answer in answers])
        shadow.follow(question, answers)
        shown = [as_json(served.name, answer, given.explain) for answer in answers]
        return JSONResponse(shown[0] if given.sessions is None else {"results": shown})

    @app.get("/health", description="200 as long as the process answers.")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/ready", response_model=types.Readiness, description="200 as soon as every model is loaded.")
    async def ready() -> JSONResponse:
        errors = {name: served.error for name, served in models.by_name.items() if served.error}
        if standing is not None and standing.error:
            errors["rules"] = standing.error
        return JSONResponse({"status": "stale" if errors else "ready", "errors": errors})

    def card_of(served: Served) -> dict[str, Any]:
        now = served.now
        limits = {"clicks": MAX_CLICKS, "sessions": MAX_SESSIONS, "k": largest_k(now.recommender), "bytes": MAX_BODY}
        return {"name": served.name, **now.card, "loaded": now.since, "limits": limits}

    Name = Annotated[str | None, Query(max_length=MAX_ID, description="name of the model; the first one by default")]

    @app.get("/model", response_model=types.Card, responses={422: problems[422]})
    async def model(model: Name = None) -> JSONResponse:
        return JSONResponse(card_of(find(model)))

    @app.get("/models", response_model=types.Cards)
    async def all_models() -> JSONResponse:
        return JSONResponse({"models": [card_of(served) for served in models.by_name.values()]})

    @app.get("/items", response_model=types.Items, responses={422: problems[422]}, description="Popular items first.")
    def items(
        q: Annotated[str, Query(max_length=MAX_WORDS, description="words of the title, or the id")] = "",
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        model: Name = None,
    ) -> JSONResponse:
        found, more = find(model).now.catalogue.search(q, offset, limit)
        return JSONResponse({"items": found, "more": more})

    @app.get("/examples", response_model=types.Examples, responses={422: problems[422]})
    async def examples(model: Name = None) -> JSONResponse:
        return JSONResponse({"examples": find(model).now.examples})

    @app.get("/metrics", description="For Prometheus.")
    def numbers() -> Response:
        text, media_type = metrics.page()
        return Response(text, headers={"content-type": media_type})

    def add_file(route: str, name: str, media_type: str) -> None:
        content = (resources.files(__package__) / "page" / name).read_bytes()

        @app.get(route, include_in_schema=False)
        async def file() -> Response:
            return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    for route, (name, media_type) in PAGES.items():
        add_file(route, name, media_type)
    paths = {route.path for route in app.routes}

    def report(about: dict) -> None:
        path = about["path"] if about["path"] in paths else "other"
        metrics.requests.labels(path, str(about["status"])).inc()
        metrics.seconds.labels(path).observe(about["seconds"])
        log(about)

    return protected(app, access or Access(), report)


class Shadow:
    """A model that is asked what another one has answered; only how far the lists agree is kept.

    Args:
        served: the model; None for none.
        batchers: who asks it, by name.
        metrics: where it is counted.
    """

    def __init__(self, served: Served | None, batchers: dict[str, Batcher], metrics: Metrics):
        self._served, self._batchers, self._metrics = served, batchers, metrics
        self.pending: set[asyncio.Task] = set()

    def follow(self, question: Question, answers: list[Answer]) -> None:
        """Ask the shadow too, later; nobody waits for it."""
        if self._served is None:
            return
        if len(self.pending) >= SHADOW_BACKLOG:
            self._metrics.dropped.labels(self._served.name).inc()
            return
        task = asyncio.create_task(self._compare(question._replace(explain=False), answers))
        self.pending.add(task)
        task.add_done_callback(self._done)

    async def _compare(self, question: Question, answers: list[Answer]) -> None:
        name = self._served.name
        found = [answer.recommendation for answer in await self._batchers[name].ask(question)]
        self._metrics.answered(name, found)
        for answer, other in zip(answers, found):
            items = answer.recommendation.items
            self._metrics.overlap.labels(name).observe(len({*items} & {*other.items}) / max(1, len(items)))

    def _done(self, task: asyncio.Task) -> None:
        self.pending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._metrics.dropped.labels(self._served.name).inc()


class HTTPProblem(Exception):
    """A refusal by its status and one line."""

    def __init__(self, status: int, line: str):
        self.status, self.line = status, line


def add_error_handlers(app) -> None:
    """Every refusal is ``{"error": one line}``; 422 also has the ``fields`` and what is wrong with each."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @app.exception_handler(RequestValidationError)
    async def invalid(_, error: RequestValidationError) -> JSONResponse:
        # What was sent is not sent back: it may be long.
        fields = [field_error(one) for one in error.errors()]
        line = "; ".join(f"{one['field']}: {one['message']}" for one in fields)
        return JSONResponse({"error": line, "fields": fields}, status_code=422)

    @app.exception_handler(HTTPProblem)
    async def problem(_, error: HTTPProblem) -> JSONResponse:
        return JSONResponse({"error": error.line}, status_code=error.status)

    @app.exception_handler(HTTPException)
    async def refused(_, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(UserError)
    async def unusable(_, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=500)

    @app.exception_handler(Exception)
    async def failed(_, error: Exception) -> JSONResponse:
        # It is logged besides, with its traceback.
        return JSONResponse({"error": "the server failed; its log says why"}, status_code=500)


def field_error(error: dict[str, Any]) -> dict[str, str]:
    """Pydantic's description of one error, by the field's name such as ``sessions.3.0``."""
    name = ".".join(map(str, error["loc"][1:])) or "body"
    return {"field": name, "message": error["msg"].removeprefix("Value error, ")}


def as_json(model: str, answer: Answer, explain: bool) -> dict[str, Any]:
    """One session's answer as plain data."""
    best, skipped = answer.recommendation, Skipped()
    skipped.add(best)
    shown = {
        "model": model,
        "items": [
            {"item": item, "title": answer.titles.get(item), "score": number(score)}
            for item, score in zip(best.items, best.scores)
        ],
        "source": best.source,
        "unknown": best.unknown,
        "note": str(skipped) or None,
    }
    if explain:
        shown["explanation"] = None if answer.reasons is None else answer.reasons._asdict()
    return shown


def number(score: float) -> float | None:
    """A score in the nine digits that a float32 has; JSON knows no infinity."""
    return float(f"{score:.9g}") if math.isfinite(score) else None
