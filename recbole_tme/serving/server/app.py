"""The web application: what it is asked and what it answers.

FastAPI and pydantic are an optional extra, so that they are imported, and the classes made of them defined, inside the
functions that need them; their annotations have to be real objects, hence no postponed evaluation here.
"""

import math
from collections.abc import Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from recbole_tme import __version__
from recbole_tme.errors import UserError
from recbole_tme.serving.answers import Skipped
from recbole_tme.serving.bundle import is_bundle
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.batching import Answer, Batcher, Question
from recbole_tme.serving.server.catalogue import Catalogue
from recbole_tme.serving.server.protection import protected

MAX_BODY = 2**20
MAX_CLICKS = 1000
MAX_SESSIONS = 256
MAX_K = 1000
MAX_PAGE = 100
MAX_WORDS = 200
# Characters of an unknown field's name that an answer repeats.
LONGEST_NAME = 40

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def model_card(recommender: Recommender, path: Path) -> dict[str, Any]:
    """What ``GET /model`` tells: the metrics are those of the run directory; a bundle holds none."""
    metrics = None
    if not is_bundle(path):
        # Reading a run needs RecBole, as its configuration does, and a bundle does not.
        from recbole_tme.runs.directory import RunDirectory

        metrics = RunDirectory.open(path).read_metrics()["test"]
    return {
        "model": recommender.name,
        "dataset": recommender.settings["dataset"],
        "items": len(recommender.items),
        "seed": recommender.settings["seed"],
        "metrics": metrics,
        "version": __version__,
        "limits": {"clicks": MAX_CLICKS, "sessions": MAX_SESSIONS, "k": largest_k(recommender), "bytes": MAX_BODY},
    }


def largest_k(recommender: Recommender) -> int:
    """How many recommendations a session may ask for."""
    return min(MAX_K, len(recommender.items))


def make_app(recommender: Recommender, card: dict[str, Any]) -> Callable:
    """The ASGI application.

    Args:
        recommender: who answers.
        card: what ``GET /model`` tells.
    """
    from fastapi import FastAPI, Query
    from fastapi.responses import JSONResponse, Response

    catalogue, batcher = Catalogue(recommender), Batcher(recommender)
    Request = request_type(largest_k(recommender))

    @asynccontextmanager
    async def lifespan(_):
        async with batcher:
            yield

    # The documentation pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="recbole_tme", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    add_error_handlers(app)

    @app.post("/recommend")
    async def recommend(request: Request) -> JSONResponse:
        sessions = [request.session] if request.sessions is None else request.sessions
        answers = await batcher.ask(Question(sessions, request.k, request.exclude_seen, request.explain))
        shown = [as_json(answer, recommender.titles, request.explain) for answer in answers]
        return JSONResponse(shown[0] if request.sessions is None else {"results": shown})

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/model")
    async def model() -> JSONResponse:
        return JSONResponse(card)

    @app.get("/items")
    def items(
        q: Annotated[str, Query(max_length=MAX_WORDS)] = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    ) -> JSONResponse:
        found, more = catalogue.search(q, offset, limit)
        return JSONResponse({"items": found, "more": more})

    def add_file(route: str, name: str, media_type: str) -> None:
        content = (resources.files(__package__) / "page" / name).read_bytes()

        @app.get(route, include_in_schema=False)
        async def file() -> Response:
            return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    for route, (name, media_type) in PAGE.items():
        add_file(route, name, media_type)
    return protected(app, MAX_BODY)


def request_type(largest: int) -> type:
    """The class of the body of ``POST /recommend``; ``largest`` is the largest k."""
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

    def as_id(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("must be an item id: text or a whole number")
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            # JSON can write half a character, which no answer could hold.
            raise ValueError("must be whole characters") from None
        return text

    # The first wrong element is enough: to describe a hundred thousand of them takes seconds.
    Session = Annotated[list[Annotated[str, BeforeValidator(as_id)]], Field(max_length=MAX_CLICKS, fail_fast=True)]
    Sessions = Annotated[list[Session], Field(min_length=1, max_length=MAX_SESSIONS, fail_fast=True)]

    class Request(BaseModel):
        model_config = ConfigDict(strict=True)

        session: Session | None = None
        sessions: Sessions | None = None
        k: Annotated[int, Field(ge=1, le=largest)] = min(20, largest)
        exclude_seen: bool = False
        explain: bool = False

        @model_validator(mode="before")
        @classmethod
        def nothing_else(cls, content: Any) -> Any:
            if isinstance(content, dict):
                for name in content.keys() - cls.model_fields.keys():
                    raise ValueError(f"has no {name[:LONGEST_NAME]!a}; it may have {', '.join(cls.model_fields)}")
            return content

        @model_validator(mode="after")
        def one_of_both(self):
            if (self.session is None) == (self.sessions is None):
                raise ValueError("give session (one list of item ids) or sessions (a list of them)")
            return self

    return Request


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
    if error["type"] == "json_invalid":
        return {"field": "body", "message": f"is not JSON: {error['ctx']['error']} (character {error['loc'][-1]})"}
    name = ".".join(map(str, error["loc"][1:])) or "body"
    return {"field": name, "message": error["msg"].removeprefix("Value error, ")}


def as_json(answer: Answer, titles: dict[str, str], explain: bool) -> dict[str, Any]:
    """One session's answer as plain data."""
    best, skipped = answer.recommendation, Skipped()
    skipped.add(best)
    shown = {
        "items": [
            {"item": item, "title": titles.get(item), "score": number(score)}
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
