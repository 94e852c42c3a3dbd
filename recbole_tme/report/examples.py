"""Single test sessions: what each model recommends, and where the target ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_tme.report.section import Section

TOP = 20
# What a reader can choose, in the order of the page.
KINDS = {
    "won": "won by {best}",
    "disagreed": "models disagree",
    "found": "found by all",
    "missed": "missed by all",
}


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


def kind(example: Example, best: str) -> str:
    """How the models did: one of :data:`KINDS`.

    Args:
        example: the instance.
        best: the model that it is told of.
    """
    hits = {answer.model: answer.rank <= TOP for answer in example.answers}
    others = [hit for model, hit in hits.items() if model != best]
    if hits.get(best) and 2 * sum(others) < len(others):
        return "won"
    if any(hits.values()):
        return "found" if all(hits.values()) else "disagreed"
    return "missed"


def in_order(found: Sequence[Example], best: str) -> list[tuple[str, Example]]:
    """Instances with their kinds: the ones won first, and within a kind those on which the models differ most."""

    def key(entry: tuple[str, Example]) -> tuple[int, float, int]:
        of_kind, example = entry
        ranks = [math.log(answer.rank) for answer in example.answers]
        return list(KINDS).index(of_kind), min(ranks) - max(ranks), example.instance

    return sorted(((kind(example, best), example) for example in found), key=key)


def outcome(example: Example, best: str) -> str:
    """How the models did, in a few words."""
    hits = sum(answer.rank <= TOP for answer in example.answers)
    own = [f"{answer.model} ranks it {shown_rank(answer.rank)}" for answer in example.answers if answer.model == best]
    return "; ".join([*own, f"in the first {TOP} of {hits} of {len(example.answers)} models"])
