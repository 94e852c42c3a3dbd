"""Single test sessions: what each model recommends, and where the target ranked."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_tme.report.section import Section

TOP = 20


@dataclass(frozen=True)
class Answer:
    """What one model recommends: item names, best first, and the target's rank."""

    model: str
    rank: float
    recommended: list[str]


@dataclass(frozen=True)
class Example:
    """One test instance, in item names."""

    instance: int
    session: list[str]
    target: str
    answers: list[Answer]


def examples(section: Section) -> list[Example]:
    """The instances that a model shows, in order, each with the answers of the models that show it."""
    found: dict[int, Example] = {}
    for model in section.models:
        for one in model.examples:
            clicks = [item_name(section, item) for item in one["session"]]
            target = item_name(section, one["target"])
            example = found.setdefault(one["instance"], Example(one["instance"], clicks, target, []))
            recommended = [item_name(section, item) for item in one["recommended"]]
            example.answers.append(Answer(model.name, one["rank"], recommended))
    return [found[instance] for instance in sorted(found)]


def item_name(section: Section, item: str) -> str:
    """An item's title with its id, or its id where it has no title."""
    title = section.catalogue.titles.get(item) if section.catalogue else None
    return f"{title} ({item})" if title else item


def shown_rank(rank: float) -> str:
    """``25``, or ``25.5`` for a target that ties."""
    return f"{rank:,.1f}".removesuffix(".0")


def outcome(example: Example, reference: str) -> str:
    """How the models did, in a few words."""
    hits = sum(answer.rank <= TOP for answer in example.answers)
    own = [
        f"{answer.model} ranks it {shown_rank(answer.rank)}" for answer in example.answers if answer.model == reference
    ]
    return "; ".join([*own, f"in the first {TOP} of {hits} of {len(example.answers)} models"])
