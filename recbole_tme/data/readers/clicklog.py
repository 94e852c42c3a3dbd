"""Click logs: any CSV, TSV or Parquet table of (session or user, item, time)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_tme.data.catalogue import NamedSessions, catalogue, text_array
from recbole_tme.data.ragged import take_sessions
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import (
    TEXT,
    TOKEN,
    numbered_lines,
    read_columns,
    read_header,
    reading,
    row_line,
    split_fields,
)
from recbole_tme.data.times import to_numbers, to_seconds
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

DELIMITERS = ("\t", ",", ";", "|")
_TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class LogColumns:
    """Which column of a log is which, and how the log is written.

    Attributes:
        session: name of the session column; the sessions are the log's own.
        user: name of the user column instead: a new session begins after a pause.
        session_gap: with ``user``, the pause in seconds.
        item: name of the item column.
        time: name of the time column, or None where the rows of the file are in order of time.
        time_unit: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to tell by the numbers' size.
        delimiter: between fields of a text file, or None to tell by the header. Double quotes are syntax in CSV, and
            part of a name in tab-separated files.
        names: column names of a text file without header line.
    """

    session: str | None = "session_id"
    user: str | None = None
    session_gap: float | None = None
    item: str = "item_id"
    time: str | None = "timestamp"
    time_unit: str = "auto"
    delimiter: str | None = None
    names: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """The column that tells whose clicks they are."""
        return self.session if self.user is None else self.user

    @property
    def wanted(self) -> list[str]:
        """The columns that are read."""
        return [name for name in (self.key, self.item, self.time) if name is not None]


def read_log(path: Path, columns: LogColumns) -> NamedSessions:
    """Read a click log into sessions in time order.

    Clicks are sorted by the times as the source writes them, in full precision, and clicks of equal time keep the
    order of the file. Sessions are sorted by their last click.

    Args:
        path: a CSV or TSV file, gzip or not, or a Parquet file.
        columns: which column is which.

    Returns:
        The sessions; times in seconds (without a time column, none).

    Raises:
        UserError: naming the file and the column or the line.
    """
    table, place = _read_parquet(path, columns) if is_parquet(path) else _read_text(path, columns)
    key, item = table[columns.key].chunk(0), table[columns.item].chunk(0)
    keys = key.indices.to_numpy()
    if columns.time is None:
        stamps, per_second = np.arange(len(keys)), 1
    else:
        stamps, per_second = to_numbers(table[columns.time].chunk(0), columns.time_unit, place)
    order = np.lexsort((stamps, keys))
    keys, stamps = keys[order], stamps[order]
    new = keys[1:] != keys[:-1]
    if columns.user is not None:
        new |= np.diff(stamps) > columns.session_gap * per_second
    begins = np.flatnonzero(np.concatenate(([True], new)))
    names = text_array(key.dictionary)[keys[begins]]
    if columns.user is not None:
        names = _numbered(names, keys[begins])
    sessions = Sessions(
        items=item.indices.to_numpy()[order] + 1,
        offsets=np.append(begins, len(keys)).astype(np.int64),
        ids=names,
        times=None if columns.time is None else to_seconds(stamps, per_second),
    )
    last = stamps[sessions.offsets[1:] - 1]
    sessions = take_sessions(sessions, np.argsort(last, kind="stable"))
    return NamedSessions(sessions, catalogue(item.dictionary.to_pylist()))


def is_parquet(path: Path) -> bool:
    """Whether the file begins as a Parquet file does."""
    with reading(path), open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _numbered(names: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Names ``user-1``, ``user-2``, ... for the sessions of each user; ``users`` is ascending."""
    first = np.searchsorted(users, users)
    number = pa.array(np.arange(len(users)) - first + 1).cast(pa.string())
    return text_array(pc.binary_join_element_wise(pa.array(names, pa.string()), number, "-"))


def _read_text(path: Path, columns: LogColumns) -> tuple[pa.Table, Callable[[int], str]]:
    delimiter, names = _layout(path, columns)
    header = columns.names is None
    types = {name: TEXT if name == columns.time else TOKEN for name in columns.wanted}
    table = read_columns(path, names, types, delimiter, delimiter != "\t", header)
    return table, lambda row: f"{path} line {row_line(path, row, header)}"


def _layout(path: Path, columns: LogColumns) -> tuple[str, list[str]]:
    """Delimiter and column names of a text file."""
    candidates = [columns.delimiter] if columns.delimiter else DELIMITERS
    found = []
    for delimiter in candidates:
        names = read_header(path, delimiter, delimiter != "\t") if columns.names is None else list(columns.names)
        names = [_untyped(name) for name in names]
        if columns.names is not None and not _fits(path, delimiter, len(names)):
            continue
        if all(name in names for name in columns.wanted):
            return delimiter, names
        found.append(names)
    if not found:
        raise UserError(
            f"{path} line 1: not {len(columns.names)} fields as in columns={','.join(columns.names)}, "
            "whatever the delimiter; correct the list"
        )
    raise _missing(path, columns, max(found, key=len))


def _fits(path: Path, delimiter: str, n: int) -> bool:
    first = next(numbered_lines(path), None)
    if first is None:
        raise UserError(f"{path}: the file is empty")
    with reading(path):
        return len(split_fields(first[1], delimiter, delimiter != "\t")) == n


def _untyped(name: str) -> str:
    head, _, kind = name.rpartition(":")
    return head if head and kind in _TYPES else name


def _missing(path: Path, columns: LogColumns, names: list[str]) -> UserError:
    name = next(name for name in columns.wanted if name not in names)
    role = {columns.key: "user" if columns.user else "session", columns.item: "item", columns.time: "time"}[name]
    hint = ", or say that the file is in order of time (--file-order)" if role == "time" else ""
    return UserError(
        f"{path}: no column {name!r}{did_you_mean(name, names)} (its columns: {', '.join(names)[:200]}); "
        f"name the {role} column (--{role}){hint}"
    )


def _read_parquet(path: Path, columns: LogColumns) -> tuple[pa.Table, Callable[[int], str]]:
    try:
        with reading(path):
            names = pq.read_schema(path).names
            if not all(name in names for name in columns.wanted):
                raise _missing(path, columns, names)
            table = pq.read_table(path, columns=columns.wanted)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: a damaged Parquet file ({str(error).splitlines()[0]})") from None
    if table.num_rows == 0:
        raise UserError(f"{path}: no rows; at least one click is needed")

    def place(row: int) -> str:
        return f"{path} row {row + 1}"

    for name in (columns.key, columns.item):
        column = _ids(path, name, table[name], place)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table.combine_chunks(), place


def _ids(path: Path, name: str, column: pa.ChunkedArray, place: Callable[[int], str]) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: column {name!r} holds {kind}; ids must be integers or strings")
    column = column.cast(pa.string())
    empty = pc.index(pc.fill_null(pc.equal(column, ""), True), True).as_py()
    if empty >= 0:
        raise UserError(f"{place(empty)}: empty {name}; give it an id or remove the row")
    return column.dictionary_encode().unify_dictionaries()
