"""Readable names of items from a table of any form."""

from __future__ import annotations

from pathlib import Path

from recbole_tme.data.readers import engine as sql
from recbole_tme.data.readers.columns import ITEMS, Layout
from recbole_tme.data.readers.engine import QueryError, engine
from recbole_tme.data.readers.tables import open_table
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

_BLANKS = "' \t\r\n'"


def read_item_titles(
    path: Path, item_id: str | None, log_item: str | None, title: str | None, layout: Layout
) -> dict[str, str]:
    """The title per external item id in a table of items.

    Args:
        path: RecBole's ``.item`` file, CSV, JSON, Parquet ...
        item_id: the column of ids; None for the name it has in the log, or a usual one.
        log_item: the column of ids in the log, if it was named.
        title: the column of titles; None for the first that is called a title or a name.
        layout: how the log's text is written; the encoding counts for the table, too.

    Returns:
        Titles in the order of the table; of an item that stands there twice, the last.

    Raises:
        UserError: naming the file and the column or the line.
    """
    usual = [log_item, *ITEMS, "id"] if item_id is None else [item_id]

    def found(names: list[str]) -> tuple[str | None, str | None]:
        key = next((name for name in usual if name in names), None)
        if title is not None:
            return key, title if title in names else None
        return key, next((n for n in names if n != key and ("title" in n.lower() or "name" in n.lower())), None)

    with engine() as database:
        table = open_table(database, [path], Layout(encoding=layout.encoding), lambda names: None not in found(names))
        names = list(table.types)
        key, column = found(names)
        shown = ", ".join(names)[:200]
        if key is None:
            wanted = item_id or log_item or "item_id"
            raise UserError(
                f"{path}: no column {wanted!r}{did_you_mean(wanted, names)} (its columns: {shown}); name the column of "
                "item ids (--items-id)"
            )
        if column is None:
            wanted = f"{title!r}{did_you_mean(title, names)}" if title else "of titles"
            raise UserError(f"{path}: no title column, {wanted} (its columns: {shown}); name it (--title)")
        query = (
            f"SELECT trim(CAST({sql.name(key)} AS VARCHAR), {_BLANKS}), "
            f"trim(CAST({sql.name(column)} AS VARCHAR), {_BLANKS}) FROM "
        )
        try:
            rows = database.run(query + table.relation)
        except QueryError as error:
            rows = database.run(query + table.mend(str(error)).relation)
        empty = next((row for row, (item, _) in enumerate(rows) if not item), None)
        if empty is not None:
            raise UserError(f"{table.place(empty)}: empty {key}; give it an id or remove the line")
    return {item: name for item, name in rows if name}


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
    with engine() as database:
        table = open_table(database, [path], Layout(), lambda names: any(name in names for name in usual))
        key = next((name for name in usual if name in table.types), None)
        if key is None:
            shown = ", ".join(table.types)[:200]
            raise UserError(f"{path}: no column of item ids (its columns: {shown}); call it item_id")
        names = [name for name in table.types if name != key]
        wanted = ", ".join(f"trim(CAST({sql.name(name)} AS VARCHAR), {_BLANKS})" for name in [key, *names])
        query = f"SELECT {wanted} FROM "
        try:
            rows = database.run(query + table.relation)
        except QueryError as error:
            rows = database.run(query + table.mend(str(error)).relation)
    return names, {row[0]: list(row[1:]) for row in rows if row[0]}
