"""Click logs: any table of (session or user, item, time), in any form that the tables module reads.

The engine reads, filters and sorts, out of core where a log is large; what comes out of it is the flat arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, catalogue
from recbole_tme.data.items import ItemTable, item_column
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import blocks, keep_clicks, take_sessions
from recbole_tme.data.readers import engine as sql
from recbole_tme.data.readers.columns import FoundColumns, LogColumns, find_columns, has_columns
from recbole_tme.data.readers.engine import Engine, QueryError, engine
from recbole_tme.data.readers.items import is_fraction, refuse_many, text_of
from recbole_tme.data.readers.tables import Table, open_table
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.times import Times, read_times, to_seconds
from recbole_tme.errors import UserError
from recbole_tme.utils.hardware import return_freed_memory

# What stands for no value elsewhere, and is a name like any other here.
_MISSING = ("na", "n/a", "<na>", "nan", "null", "none", "nil", "undefined", "unknown", "(not set)", "-1")
# Between the parts of a session's name that several columns make.
_JOIN = ","
# Types whose values may be ids; those of a date may be part of a session's.
_ID_TYPE = re.compile('VARCHAR|"NULL"|UUID|DATE|ENUM|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$')


def read_log(
    files: Sequence[Path],
    columns: LogColumns,
    record: Record | None = None,
    needs_time: bool = True,
    by_last_click: bool = True,
) -> tuple[NamedSessions, ItemTable]:
    """Read a click log into sessions in time order.

    Clicks are sorted by the times as the source writes them, in full precision, then by the tie-break column, and
    otherwise keep the order of the files. Sessions are sorted by their last click; those that end at the same time, in
    the order of their first rows.

    Args:
        files: files of one form.
        columns: which column is which.
        record: what was read, kept and dropped is added here.
        needs_time: whether a log without a time column is refused, unless ``columns.file_order``.
        by_last_click: whether sessions are sorted so; otherwise they are in the order of their first rows.

    Returns:
        The sessions, with times in seconds (without a time column, none), and what the log says of its items: of a
        value that changes, the last row's.

    Raises:
        UserError: naming the file and the column or the line.
    """
    record = Record() if record is None else record
    with engine() as database:
        table = open_table(
            database,
            [Path(path) for path in files],
            columns,
            lambda names: has_columns(columns, names, needs_time),
            typed=columns.where is not None,
        )
        found = find_columns(columns, list(table.types), table.shown, needs_time)
        table = _stage(database, table, found, columns.where)
        _check_rows(database, table, found, columns, record)
        clicks = _sort(database, table, found, columns, record)
    # What the engine has given back makes room for what follows.
    return_freed_memory()
    if columns.drop_repeats is None and found.time is not None and found.tie_break is None:
        _warn_of_repeats(clicks, record)
    sessions = _cut(clicks, columns, by_last_click, timed=found.time is not None)
    if columns.drop_repeats == "item":
        sessions = _without_repeats(sessions, record)
    record.read["sessions"] = len(sessions)
    return NamedSessions(sessions, clicks.tokens), clicks.content


def _cut(clicks: _Sorted, columns: LogColumns, by_last_click: bool, timed: bool) -> Sessions:
    """Sessions in the order of their first rows or last clicks, from clicks by session or user, which are gone then."""
    offsets, names = clicks.offsets, clicks.names
    if columns.user is not None:
        users, offsets = _cut_at_pauses(clicks.stamps, offsets, columns.session_gap * clicks.per_second)
        names = _numbered(names.take(users), users)
    # By the times as they were, which may be finer than seconds tell.
    order = np.argsort(clicks.stamps[offsets[1:] - 1], kind="stable") if by_last_click else None
    times = to_seconds(clicks.stamps, clicks.per_second) if timed else None
    sessions = Sessions(clicks.items, offsets, names, times)
    return sessions if order is None else take_sessions(sessions, order, in_place=True)


def _cut_at_pauses(stamps: np.ndarray, offsets: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """The number of the user and the first click of each session; behind the latter, how many clicks there are."""
    users, begins = [], []
    for start, stop in blocks(offsets):
        lo, hi = offsets[start], offsets[stop]
        new = np.append(True, np.diff(stamps[lo:hi]) > longest)
        new[offsets[start:stop] - lo] = True
        begins.append(lo + np.flatnonzero(new))
        users.append(np.searchsorted(offsets, begins[-1], "right") - 1)
    return np.concatenate(users), np.append(np.concatenate(begins), len(stamps))


def _numbered(names: Names, users: np.ndarray) -> Names:
    """Names ``user-1``, ``user-2``, ... for the sessions of each user; ``users`` is ascending."""
    first = np.searchsorted(users, users)
    number = pa.array(np.arange(len(users)) - first + 1).cast(pa.string())
    parts = names.text, number.cast(pa.large_string()), pa.scalar("-", pa.large_string())
    return Names(pc.binary_join_element_wise(*parts))


def _without_repeats(sessions: Sessions, record: Record) -> Sessions:
    repeated = np.append(False, sessions.items[1:] == sessions.items[:-1])
    repeated[sessions.offsets[:-1]] = False
    record.drop("repeats: the click before is on the same item", np.count_nonzero(repeated))
    return keep_clicks(sessions, ~repeated, in_place=True)


def _warn_of_repeats(clicks: _Sorted, record: Record) -> None:
    same = clicks.items[1:] == clicks.items[:-1]
    same &= clicks.stamps[1:] == clicks.stamps[:-1]
    same[clicks.offsets[1:-1] - 1] = False
    n = np.count_nonzero(same)
    if n:
        record.warn(
            f"{n:,} clicks repeat the one before: same session, item and time. If events are logged twice, drop them "
            "with --drop-repeats=exact"
        )


def _stage(database: Engine, table: Table, found: FoundColumns, where: str | None) -> Table:
    """Read the files into the engine's table ``clicks``: session, item, time, tie, title, content0 ..., kept, trimmed.

    Its ``rowid`` is the row in the files. Rows that the filter leaves out are there, empty.
    """
    try:
        database.run(f"CREATE TABLE clicks AS {_selection(table, found, where)}")
        return table
    except QueryError as error:
        kind = str(error).partition(" Error")[0]
        if where is not None and kind in ("Parser", "Binder", "Catalog", "Conversion"):
            raise UserError(
                f"where={where!r}: {error}; it is an SQL condition over the columns {', '.join(table.types)[:200]}"
            ) from None
        table = table.mend(str(error))
    return _stage(database, table, found, where)


def _selection(table: Table, found: FoundColumns, where: str | None) -> str:
    refuse_many(table, [*found.content, *filter(None, [found.title])])
    keys, item = [_as_text(table, key) for key in found.keys], _as_text(table, found.item)
    blanks = [f"{value} <> {sql.trimmed(value)}" for value in (*keys, item)]
    values = {
        "session": f" || {sql.text(_JOIN)} || ".join(map(sql.trimmed, keys)),
        "item": sql.trimmed(item),
        "time": _value(table, found.time),
        "tie": _value(table, found.tie_break),
        "title": "NULL" if found.title is None else text_of(found.title),
        **{f"content{k}": text_of(name) for k, name in enumerate(found.content)},
        "trimmed": f"coalesce({' OR '.join(blanks)}, false)",
    }
    if where is None:
        columns = ", ".join(f"{value} AS {sql.name(role)}" for role, value in values.items())
        return f"SELECT {columns}, true AS kept FROM {table.relation}"
    hidden = ", ".join(f"{value} AS {sql.name('#' + role)}" for role, value in values.items())
    typed = ", ".join(
        f"CAST({sql.name(name)} AS {table.guessed.get(name, kind)}) AS {sql.name(name)}"
        for name, kind in table.types.items()
    )
    columns = ", ".join(f'CASE WHEN "#kept" THEN {sql.name("#" + role)} END AS {sql.name(role)}' for role in values)
    return (
        f'SELECT {columns}, "#kept" AS kept FROM (SELECT *, coalesce(({where}\n), false) AS "#kept" '
        f"FROM (SELECT {hidden}, {typed} FROM {table.relation}))"
    )


def _as_text(table: Table, column: str) -> str:
    kind = table.types[column]
    if not _ID_TYPE.match(kind):
        raise UserError(f"{table.shown}: column {column!r} holds {kind.lower()}; ids must be integers or strings")
    return sql.name(column) if kind == "VARCHAR" else f"CAST({sql.name(column)} AS VARCHAR)"


def _value(table: Table, column: str | None) -> str:
    if column is None:
        return "NULL"
    value = sql.name(column)
    return sql.trimmed(value) if table.types[column] == "VARCHAR" else value


def _check_rows(database: Engine, table: Table, found: FoundColumns, columns: LogColumns, record: Record) -> None:
    rows, kept, trimmed = database.run("SELECT count(*), sum(kept::INT), sum(trimmed::INT) FROM clicks")[0]
    if rows == 0:
        raise UserError(f"{table.shown}: a header but no rows; at least one click is needed")
    if kept == 0:
        raise UserError(f"{table.shown}: where={columns.where!r} keeps none of {rows} rows; change it")
    record.read |= {"files": len(table.files), "form": table.form, "rows": rows}
    record.drop(f"rows without {columns.where}", rows - kept)
    if trimmed:
        record.warn(f"{trimmed:,} clicks had blanks around an id, which were cut off")
    for role, name in (("session", ",".join(found.keys)), ("item", found.item)):
        row = database.run(f"SELECT min(rowid) FROM clicks WHERE kept AND {role} IS NULL")[0][0]
        if row is not None:
            raise UserError(
                f"{table.place(row)}: empty {name}; give it an id, remove the row or leave such rows out (--where)"
            )


class _Sorted(NamedTuple):
    """Clicks by session (or user) and time, and where each begins."""

    items: np.ndarray
    stamps: np.ndarray
    offsets: np.ndarray
    names: Names
    tokens: np.ndarray
    content: ItemTable
    per_second: int


def _sort(database: Engine, table: Table, found: FoundColumns, columns: LogColumns, record: Record) -> _Sorted:
    kinds = database.describe("clicks")
    times = Times("rowid", 1, "")
    if found.time is not None:
        times = read_times(database, "time", kinds["time"], columns.time_unit, columns.time_format, table.place)
    tie = "0"
    if found.tie_break is not None:
        tie = read_times(database, "tie", kinds["tie"], "s", None, table.place).stamp
    record.read |= {
        "session": ",".join(found.keys),
        "item": found.item,
        "time": "the order of the rows" if found.time is None else f"{found.time} ({times.form})",
    }
    kept = int(database.run("SELECT sum(kept::INT) FROM clicks")[0][0])
    rows = f"SELECT session, item, {times.stamp} AS stamp, {tie} AS tie, rowid AS row FROM clicks WHERE kept"
    if columns.drop_repeats == "exact":
        rows = f"SELECT session, item, stamp, tie, min(row) AS row FROM ({rows}) GROUP BY ALL"
    database.run("CREATE TABLE keys AS SELECT session, min(rowid) AS first FROM clicks WHERE kept GROUP BY session")
    database.run(
        "CREATE TABLE items AS SELECT item, row_number() OVER (ORDER BY min(rowid)) AS code, "
        f"{_last_values(['title', *(f'content{k}' for k in range(len(found.content)))])} FROM clicks WHERE kept "
        "GROUP BY item"
    )
    _warn_of_missing(database, found, record)
    items, stamps, offsets = _fetch(
        database,
        f"SELECT keys.first, items.code, rows.stamp FROM ({rows}) AS rows JOIN keys USING (session) "
        "JOIN items USING (item) ORDER BY keys.first, rows.stamp, rows.tie, rows.row",
        kept,
    )
    record.drop("exact repeats: another click has its session, item and time", kept - len(items))
    return _Sorted(
        items,
        stamps,
        offsets,
        _names(database, "SELECT session FROM keys ORDER BY first"),
        catalogue(_names(database, "SELECT item FROM items ORDER BY code")),
        _content(database, table, found),
        times.per_second,
    )


def _warn_of_missing(database: Engine, found: FoundColumns, record: Record) -> None:
    names = ", ".join(map(sql.text, _MISSING))
    for role, table, column in (("session", "keys", ",".join(found.keys)), ("item", "items", found.item)):
        for (name,) in database.run(f"SELECT {role} FROM {table} WHERE lower({role}) IN ({names})"):
            n = database.run(f"SELECT count(*) FROM clicks WHERE {role} = {sql.text(name)}")[0][0]
            record.warn(
                f"{n:,} clicks have the {column} {name!r}, which was taken for a name; if it stands for a missing one, "
                f"leave such rows out: --where=\"{column} <> '{name}'\""
            )


def _last_values(columns: Sequence[str]) -> str:
    # Rows without a value do not count.
    return ", ".join(f"arg_max({column}, rowid) AS {column}" for column in columns)


def _content(database: Engine, table: Table, found: FoundColumns) -> ItemTable:
    def values(column: str) -> dict[str, str]:
        return dict(database.run(f"SELECT item, {column} FROM items WHERE {column} IS NOT NULL ORDER BY code"))

    columns = {
        name: item_column(name, values(f"content{k}"), kind, is_fraction(table.types[name]))
        for k, (name, kind) in enumerate(found.content.items())
    }
    return ItemTable(values("title"), columns)


def _fetch(database: Engine, query: str, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items int32, stamps and sessions' offsets of at most so many sorted clicks, a batch at a time."""
    items, begins = np.empty(most, np.int32), []
    stamps, n, last = None, 0, None
    for batch in database.batches(query):
        session, code, stamp = (column.to_numpy() for column in batch.columns)
        if stamps is None:
            stamps = np.empty(most, stamp.dtype)
        part = slice(n, n + len(session))
        items[part], stamps[part] = code, stamp
        begins.append(n + np.flatnonzero(np.diff(session, prepend=session[0] - 1 if last is None else last)))
        n, last = part.stop, session[-1]
    return items[:n], stamps[:n], np.append(np.concatenate(begins), n)


def _names(database: Engine, query: str) -> Names:
    return Names.joined(Names(batch.column(0)) for batch in database.batches(query))
