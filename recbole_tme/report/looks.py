"""How a model looks on the page: one colour everywhere, its place in the ranking, and a mark on the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from recbole_tme.report.section import Section

# Colours of the style sheet; further models begin again, with dashed lines and squares.
COLOURS = 24
BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_=+:/])")


@dataclass(frozen=True)
class Look:
    """How one model looks in one section.

    Attributes:
        name: the model.
        place: in the section's ranking, from 1; it stands for the model where there is no room for the name.
        colour: the same in all sections.
        is_reference: whether it is what the others are compared with.
    """

    name: str
    place: int
    colour: int
    is_reference: bool

    @property
    def kind(self) -> str:
        """The classes that colour it."""
        return f"t{self.colour % COLOURS}" + " again" * (self.colour >= COLOURS) + " reference" * self.is_reference

    @property
    def dot(self) -> str:
        """Its coloured mark."""
        return f'<i class="dot {self.kind}" aria-hidden="true"></i>'

    @property
    def chip(self) -> str:
        """Its mark and name, in HTML."""
        tag = ' <span class="tag">reference</span>' * self.is_reference
        who = f'<span><span class="name">{breakable(self.name)}</span>{tag}</span>'
        return f'<span class="chip">{self.dot}{who}</span>'

    @property
    def numbered(self) -> str:
        """Its mark, place and name, in HTML."""
        return self.chip.replace("</i>", f'</i><span class="no">{self.place}</span> ', 1)


Looks = dict[str, Look]


def breakable(name: str) -> str:
    """A name in HTML that may go on in the next line between its words."""
    return "<wbr>".join(map(escape, BREAKS.split(name)))


def looks(sections: Sequence[Section]) -> list[Looks]:
    """The looks of each section's models by name, best first."""
    names = dict.fromkeys(model.name for section in sections for model in section.models)
    colours = {name: colour for colour, name in enumerate(names)}
    return [
        {
            model.name: Look(model.name, place, colours[model.name], model.name == section.reference)
            for place, model in enumerate(section.models, 1)
        }
        for section in sections
    ]
