"""What a data set knows of its items besides their clicks: readable names, and columns such as category and price."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from recbole_tme.errors import UserError

# RecBole's types of columns, behind a name and a colon: a word or number, or several with blanks between them.
KINDS = ("token", "float", "token_seq", "float_seq")

# What the readable names of items are called among their columns.
TITLE = "title"


@dataclass(frozen=True)
class ItemColumn:
    """One column of the catalogue.

    Attributes:
        kind: one of :data:`KINDS`.
        values: each item's value as text, by external item id; an item without a value is not there.
    """

    kind: str
    values: dict[str, str]


@dataclass(frozen=True)
class ItemTable:
    """What is known of items.

    Attributes:
        titles: readable name per external item id.
        columns: further columns by name.
    """

    titles: dict[str, str] = field(default_factory=dict)
    columns: dict[str, ItemColumn] = field(default_factory=dict)

    def __or__(self, other: ItemTable) -> ItemTable:
        """Both together; where both know of an item, as ``other`` has it."""
        columns = dict(self.columns)
        for name, column in other.columns.items():
            before = columns.get(name)
            kind = "token" if before is not None and before.kind != column.kind else column.kind
            columns[name] = ItemColumn(kind, (before.values if before else {}) | column.values)
        return ItemTable(self.titles | other.titles, columns)

    def of(self, items: Collection[str]) -> ItemTable:
        """What is known of some items."""
        columns = {name: ItemColumn(one.kind, _of(one.values, items)) for name, one in self.columns.items()}
        return ItemTable(_of(self.titles, items), columns)


def item_column(name: str, values: Mapping[str, str], kind: str | None, is_number: bool = False) -> ItemColumn:
    """A column of the catalogue, of the type that was asked for or that its values have.

    Args:
        name: for messages.
        values: each item's value as text, by external item id.
        kind: one of :data:`KINDS`; None for ``float`` where all values are numbers and one at least is no whole number
            (whole numbers are as often codes as they are amounts), and ``token`` otherwise.
        is_number: whether the source says itself that these are numbers with decimals.

    Raises:
        UserError: ``float`` is asked for and a value is no finite number.
    """
    if kind is None:
        numbers = all(map(_is_number, values.values()))
        fractions = is_number or (numbers and any(not float(value).is_integer() for value in values.values()))
        kind = "float" if numbers and fractions else "token"
    elif kind == "float":
        odd = next((item for item, value in values.items() if not _is_number(value)), None)
        if odd is not None:
            raise UserError(
                f"{name}:float: item {odd!r} has {values[odd]!r}; a finite number is expected, or {name}:token"
            )
    return ItemColumn(kind, dict(values))


def title_column(names: Sequence[str]) -> str | None:
    """The column that holds readable names, going by what it is called, or None."""
    tests = (lambda n: n in ("title", "name"), lambda n: "title" in n, lambda n: "name" in n)
    return next((name for test in tests for name in names if test(name.lower())), None)


def _of(values: Mapping[str, str], items: Collection[str]) -> dict[str, str]:
    return {item: value for item, value in values.items() if item in items}


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
