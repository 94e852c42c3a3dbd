"""Readable names and other columns of items from a table of any form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from recbole_tme.data.items import KINDS, ItemTable, item_column, title_column
from recbole_tme.data.readers import engine as sql
from recbole_tme.data.readers.columns import ITEMS, Layout, find_content
from recbole_tme.data.readers.engine import QueryError, engine
from recbole_tme.data.readers.tables import Table, open_table
from recbole_tme.data.textfile import read_header
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

# What --item-columns says to take every column of a table.
ALL = ("all",)
# Types that are numbers with decimals, and those that are no single value.
_FRACTION = re.compile("FLOAT|DOUBLE|DECIMAL")
_MANY = re.compile(r"STRUCT|MAP|UNION|.*\]$|BLOB")


def read_items(
    path: Path,
    item_id: str | None,
    log_item: str | None,
    title: str | None,
    wanted: Sequence[str],
    encoding: str | None = None,
) -> ItemTable:
    """The titles and other columns of a table of items; of an item that stands there twice, the last value.

    Args:
        path: RecBole's ``.item`` file, CSV, JSON, Parquet ...
        item_id: the column of ids; None for the name it has in the log, or a usual one.
        log_item: the column of ids in the log, if it was named.
        title: the column of titles; None for the first that is called a title or a name.
        wanted: further columns, see :class:`~recbole_tme.data.readers.columns.LogColumns`; :data:`ALL` for all.
        encoding: of text.

    Raises:
        UserError: naming the file and the column or the line.
    """
    declared = _declared(path)
    column: str | None = None
    content: dict[str, str | None] = {}

    def choose(table: Table, others: list[str]) -> list[str]:
        nonlocal column, content
        column = title_column(others) if title is None else title
        if (column is None and not wanted) or (title is not None and title not in others):
            hint = f"{title!r}{did_you_mean(title, others)}" if title else "of titles"
            shown = ", ".join(table.types)[:200]
            raise UserError(f"{path}: no title column, {hint} (its columns: {shown}); name it (--title)")
        if tuple(wanted) == ALL and ALL[0] not in others:
            content = {name: declared.get(name) for name in others if name != column}
        else:
            content = find_content(wanted, others, str(path))
        names = list(dict.fromkeys([*([column] if column else []), *content]))
        refuse_many(table, names)
        return names

    types, names, rows = _read(path, [item_id] if item_id else [log_item, *ITEMS, "id"], encoding, choose)
    values = {name: {row[0]: row[k] for row in rows if row[k]} for k, name in enumerate(names, start=1)}
    columns = {name: item_column(name, values[name], kind, is_fraction(types[name])) for name, kind in content.items()}
    return ItemTable(values[column] if column else {}, columns)


def read_item_columns(path: Path, item_id: str | None = None) -> tuple[list[str], dict[str, list[str | None]]]:
    """All columns of a table of items, as text.

    Args:
        path: RecBole's ``.item`` file, CSV, JSON, Parquet ...
        item_id: the column of ids; None for a usual name.

    Returns:
        The names of the columns without that of ids, and the values of each item in their order; of an item that stands
        there twice, the last.

    Raises:
        UserError: naming the file and the column or the line.
    """
    usual = [*ITEMS, "id"] if item_id is None else [item_id]
    _, names, rows = _read(path, usual, None, lambda table, others: others)
    return names, {row[0]: list(row[1:]) for row in rows}


def text_of(column: str) -> str:
    """The SQL expression of a column's values as text on one line, without blanks at its ends; NULL where it is
    empty."""
    return sql.one_line(f"CAST({sql.name(column)} AS VARCHAR)")


def refuse_many(table: Table, columns: Iterable[str]) -> None:
    """Refuse columns that hold lists or records.

    Raises:
        UserError: naming the first of them.
    """
    for name in columns:
        if _MANY.match(table.types[name]):
            raise UserError(
                f"{table.shown}: column {name!r} holds {table.types[name].lower()}; one value an item is expected"
            )


def is_fraction(kind: str) -> bool:
    """Whether a type of the engine's is that of numbers with decimals."""
    return _FRACTION.match(kind) is not None


def _declared(path: Path) -> dict[str, str]:
    """The types in the header of one of RecBole's files."""
    if not path.name.endswith(".item"):
        return {}
    fields = [field.rpartition(":") for field in read_header(path)]
    return {name: kind for name, _, kind in fields if kind in KINDS}


def _read(
    path: Path,
    usual: Sequence[str | None],
    encoding: str | None,
    choose: Callable[[Table, list[str]], list[str]],
) -> tuple[dict[str, str], list[str], list[tuple]]:
    """The table's columns and their types; the names of those that ``choose`` takes of all but the ids'; its rows as
    text, the id first."""
    with engine() as database:
        table = open_table(database, [path], Layout(encoding=encoding), lambda names: any(n in names for n in usual))
        key = next((name for name in usual if name in table.types), None)
        if key is None:
            wanted = usual[0] or ITEMS[0]
            raise UserError(
                f"{path}: no column {wanted!r}{did_you_mean(wanted, table.types)} (its columns: "
                f"{', '.join(table.types)[:200]}); name the column of item ids (--items-id)"
            )
        chosen = choose(table, [name for name in table.types if name != key])
        query = f"SELECT {', '.join(text_of(name) for name in (key, *chosen))} FROM "
        try:
            rows = database.run(query + table.relation)
        except QueryError as error:
            rows = database.run(query + table.mend(str(error)).relation)
        empty = next((row for row, values in enumerate(rows) if not values[0]), None)
        if empty is not None:
            raise UserError(f"{table.place(empty)}: empty {key}; give it an id or remove the line")
    return table.types, chosen, rows
