"""Columns of a catalogue that rules ask about: category, brand, price and whatever else a shop's table has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Column:
    """One column, aligned with the catalogue.

    Attributes:
        codes: number of each item's value in ``values``, int32 ``[N]``; -1 where it has none.
        values: the distinct values as text.
    """

    codes: np.ndarray
    values: list[str]

    @cached_property
    def code(self) -> dict[str, int]:
        """The number of each value."""
        return {value: number for number, value in enumerate(self.values)}

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """Each item's value as a number, float64 ``[N]``, NaN where it has none; None unless all are numbers."""
        try:
            of_values = np.array([float(value) for value in self.values] + [math.nan])
        except ValueError:
            return None
        return of_values[self.codes]


@dataclass(frozen=True)
class ItemColumns:
    """The columns of a catalogue by name.

    Attributes:
        columns: aligned with the catalogue.
        missing: items of the catalogue that the table lacks.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    missing: int = 0

    @classmethod
    def of(cls, items: Sequence[str], rows: Mapping[str, Sequence[str | None]], names: Sequence[str]) -> ItemColumns:
        """The columns of a table that is known by item.

        Args:
            items: external ids, in the catalogue's order.
            rows: values per external id, in the order of ``names``; None or "" where there is none.
            names: of the columns.
        """
        nothing = [None] * len(names)
        found = [rows.get(item, nothing) for item in items]
        columns = {name: _column([row[i] for row in found]) for i, name in enumerate(names)}
        return cls(columns, sum(item not in rows for item in items))

    @classmethod
    def read(cls, path: Path, items: Sequence[str], item_id: str | None = None) -> ItemColumns:
        """The columns of a file: RecBole's ``.item``, CSV, JSON, Parquet ...

        Args:
            path: the file.
            items: external ids, in the catalogue's order.
            item_id: the column of ids; None for a usual name.

        Raises:
            UserError: it cannot be read, or has no column of ids; names the file and the line or the column.
        """
        from recbole_tme.data.readers.items import read_item_columns

        names, rows = read_item_columns(path, item_id)
        return cls.of(items, rows, names)


def _column(values: Sequence[str | None]) -> Column:
    codes: dict[str, int] = {}
    numbers = [codes.setdefault(value, len(codes)) if value else -1 for value in values]
    return Column(np.array(numbers, dtype=np.int32), list(codes))
