"""What a request and an answer look like, as pydantic classes: they check what comes and describe it in OpenAPI.

pydantic is part of an optional extra, so that the classes are made inside a function; their annotations have to be real
objects, hence no postponed evaluation here.
"""

import json
from types import SimpleNamespace
from typing import Annotated, Any

from recbole_tme.serving.server.models import MAX_K
from recbole_tme.utils.spelling import first_repeated

MAX_CLICKS = 1000
MAX_SESSIONS = 256
# Sessions of a request that may be explained: one by one, a few milliseconds each.
MAX_EXPLAINED = 16
# Characters of an item id, a model's name or a key.
MAX_ID = 512
# Characters of an unknown field's name that an answer repeats.
LONGEST_NAME = 40


def parse_json(body: bytes) -> Any:
    """The content of a body; unlike ``json.loads`` alone it refuses an object that has a key twice.

    Raises:
        ValueError: as ``json.loads``, or of a key that is there twice.
        RecursionError: it is nested too deeply.
    """
    return json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and (twice := first_repeated([name for name, _ in pairs])) is not None:
        raise DuplicateKey(f"has {twice[:LONGEST_NAME]!a} twice")
    return found


def _no_constant(name: str) -> None:
    raise DuplicateKey(f"has {name}, which is no number of JSON")


class DuplicateKey(ValueError):
    """JSON that another reader would understand differently."""


def schemas() -> SimpleNamespace:
    """The class of requests and those of the answers, by name."""
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

    def as_id(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError("must be an item id: text or a whole number")
        text = str(value)
        if len(text) > MAX_ID:
            raise ValueError(f"must have at most {MAX_ID} characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            # JSON can write half a character, which no answer could hold.
            raise ValueError("must be whole characters") from None
        return text

    Id = Annotated[str, BeforeValidator(as_id, json_schema_input_type=str | int)]
    Name = Annotated[str, Field(max_length=MAX_ID)]
    # The first wrong element is enough: to describe a hundred thousand of them takes seconds.
    Session = Annotated[list[Id], Field(max_length=MAX_CLICKS, fail_fast=True)]
    Sessions = Annotated[list[Session], Field(min_length=1, max_length=MAX_SESSIONS, fail_fast=True)]

    def described(text: str, **options):
        return Field(description=text, **options)

    class Request(BaseModel):
        """One session, or several that share the options."""

        model_config = ConfigDict(strict=True)

        session: Annotated[Session | None, described("item ids in click order")] = None
        sessions: Annotated[Sessions | None, described("several sessions")] = None
        k: Annotated[
            Annotated[int, Field(ge=1, le=MAX_K)] | None, described("items per session (20, or all if there are fewer)")
        ] = None
        exclude_seen: Annotated[bool, described("leave out the items of the session itself")] = False
        explain: Annotated[bool, described(f"say what the scores rest on (at most {MAX_EXPLAINED} sessions)")] = False
        model: Annotated[Name | None, described("name of the model that is to answer")] = None
        key: Annotated[Name | None, described("of the session or visitor; chooses the side of an A/B split")] = None
        rules: Annotated[
            dict[str, Any] | None,
            described(
                "allow and deny (item ids or a query over item columns), boost (list of where and factor), pin (item "
                "ids), max_per (column and number), diversity (0 to 1), exclude_seen"
            ),
        ] = None

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
            if self.explain and self.sessions is not None and len(self.sessions) > MAX_EXPLAINED:
                raise ValueError(f"explain: at most {MAX_EXPLAINED} sessions of a request can be explained")
            return self

    class Recommended(BaseModel):
        item: str
        title: str | None
        score: Annotated[float | None, described("null where it is infinite")]

    class Explained(BaseModel):
        attention: Annotated[list[float | None], described("share of each click; null where it was skipped")]
        hops: Annotated[list[float] | None, described("share of each receptive field, the single clicks first")]
        hop_attention: list[list[float | None]] | None
        repeat: Annotated[float | None, described("chance that the next click is on an item of the session")]

    class Answer(BaseModel):
        model: Annotated[str, described("name of the model that answered")]
        items: Annotated[list[Recommended], described("the best first")]
        source: Annotated[str, described("model, or popularity for a session without a known item")]
        unknown: Annotated[list[str], described("clicks that were skipped, because the model does not know the item")]
        note: Annotated[str | None, described("what could not be used, in words")]
        explanation: Explained | None = None

    class Answers(BaseModel):
        results: Annotated[list[Answer], described("one for each of the sessions, in their order")]

    class Limits(BaseModel):
        clicks: int
        sessions: int
        k: int
        bytes: int

    class Card(BaseModel):
        name: str
        model: str
        dataset: str
        items: int
        seed: int
        metrics: Annotated[dict[str, float] | None, described("on the test set")]
        intervals: Annotated[dict[str, list[float]] | None, described("95 % intervals over sessions, low and high")]
        trained: Annotated[str | None, described("date, as in 2026-01-31")]
        train_instances: int | None
        test_sessions: int | None
        refitted: Annotated[
            bool | None,
            described("since trained on everything; the results are of the run that chose the epochs"),
        ]
        scores: Annotated[str, described("logits, whose softmax is a probability, or weights")]
        version: str
        loaded: Annotated[float, described("seconds since 1970")]
        limits: Limits

    class Cards(BaseModel):
        models: list[Card]

    class CatalogueItem(BaseModel):
        item: str
        title: str | None
        clicks: int

    class Items(BaseModel):
        items: list[CatalogueItem]
        more: bool

    class NamedItem(BaseModel):
        item: str
        title: str | None

    class Example(BaseModel):
        session: list[NamedItem]
        next: Annotated[NamedItem, described("the item that was clicked next")]
        rank: Annotated[float, described("of that item, by this model")]

    class Examples(BaseModel):
        examples: Annotated[list[Example], described("sessions of the test set; none for a bundle")]

    class Readiness(BaseModel):
        status: Annotated[str, described("ready, or stale: a reload failed and the model from before it answers")]
        errors: Annotated[dict[str, str], described("why the latest reload failed, by the model's name")]

    class FieldProblem(BaseModel):
        field: str
        message: str

    class Problem(BaseModel):
        error: Annotated[str, described("one line")]
        fields: list[FieldProblem] | None = None

    made = (Request, Answer, Answers, Card, Cards, Items, Examples, Readiness, Problem)
    return SimpleNamespace(**{one.__name__: one for one in made})
