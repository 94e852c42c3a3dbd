"""One atomic file: clicks or prefix rows of sessions, or what is known of items."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from recbole_tme.data.catalogue import NamedSessions, catalogue
from recbole_tme.data.items import KINDS, ItemTable, item_column, title_column
from recbole_tme.data.names import Names
from recbole_tme.data.readers import presplit
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import NUMBER, TEXT, TOKEN, read_columns, read_header, row_line
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

COLUMNS = {"session_id": "token", "item_id": "token", "timestamp": "float", "is_target": "float"}
_REQUIRED = ("session_id", "item_id")


def read_inter(path: Path, record: Record | None = None, session: str = "session_id") -> NamedSessions:
    """Read one ``.inter`` file, of clicks or of prefix rows, plain or compressed.

    Args:
        path: the file.
        record: warnings are added here.
        session: what the column of sessions is called.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    header = [_renamed(field, session) for field in read_header(path)]
    if any(field.partition(":")[0] == "item_id_list" for field in header):
        found = presplit.read_presplit(path, check_header(path, header, presplit.COLUMNS, presplit.COLUMNS), record)
    else:
        found = _read_clicks(path, check_header(path, header, COLUMNS, _REQUIRED))
    if len(found.sessions) == len(found.sessions.items):
        raise UserError(f"{path}: every session has one click only, so that there is nothing to predict")
    return found


def _renamed(field: str, session: str) -> str:
    name, colon, kind = field.partition(":")
    return f"session_id{colon}{kind}" if name == session else field


def check_header(path: Path, header: list[str], known: dict[str, str], required: Iterable[str]) -> list[str]:
    """Column names of a header of ``name:type`` fields.

    Raises:
        UserError: a field without type or of another type than ``known`` gives it, an unknown column, a column of
            ``required`` that is missing.
    """
    where = f"{path} line 1"
    names = []
    for field in header:
        name, _, kind = field.partition(":")
        if len(header) == 1 and " " in field:
            raise UserError(f"{where}: columns are separated by tabs, not spaces")
        if name not in known:
            there = [other.partition(":")[0] for other in header]
            session = "session_id" if "session_id" in there else name
            item = "item_id" if "item_id" in there else "COLUMN"
            raise UserError(
                f"{where}: unknown column {field!r}{did_you_mean(name, known)} "
                f"(known: {', '.join(f'{n}:{k}' for n, k in known.items())}); files with other columns are read by "
                f"recbole-tme prepare {path.parent} --session {session} --item {item} ..."
            )
        if kind != known[name]:
            raise UserError(f"{where}: column {field!r} must be {name}:{known[name]}")
        names.append(name)
    for name in required:
        if name not in names:
            raise UserError(f"{where}: column {name}:{known[name]} is missing")
    return names


def _read_clicks(path: Path, names: list[str]) -> NamedSessions:
    types = {"token": TOKEN, "float": NUMBER}
    table = read_columns(path, names, {name: types[COLUMNS[name]] for name in names})
    session = table["session_id"].chunk(0)
    item = table["item_id"].chunk(0)
    codes = session.indices.to_numpy()
    begins = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    # Sessions are coded in order of appearance: one that returns has a code below the highest so far.
    run_codes = codes[begins]
    returns = np.flatnonzero(np.diff(run_codes) < 0)
    if len(returns):
        row = int(begins[returns[0] + 1])
        raise UserError(
            f"{path} line {row_line(path, row)}: session {session[row].as_py()!r} returns after others; "
            "rows of a session must be consecutive (recbole-tme prepare puts a click log in order)"
        )
    offsets = np.append(begins, len(codes)).astype(np.int64)
    times = table["timestamp"].to_numpy() if "timestamp" in names else None
    if times is not None:
        _check_order(path, times, offsets)
    is_target = None
    if "is_target" in names:
        flags = table["is_target"].to_numpy()
        odd = np.flatnonzero((flags != 0) & (flags != 1))
        if len(odd):
            raise UserError(f"{path} line {row_line(path, int(odd[0]))}: is_target must be 0 or 1")
        is_target = flags == 1
    sessions = Sessions(
        items=item.indices.to_numpy() + 1,
        offsets=offsets,
        ids=Names(session.dictionary),
        times=times,
        is_target=is_target,
    )
    return NamedSessions(sessions, catalogue(item.dictionary.to_pylist()))


def _check_order(path: Path, times: np.ndarray, offsets: np.ndarray) -> None:
    back = np.diff(times) < 0
    back[offsets[1:-1] - 1] = False
    if back.any():
        line = row_line(path, int(np.argmax(back)) + 1)
        raise UserError(
            f"{path} line {line}: the click is earlier than the one before it in its session; "
            "recbole-tme prepare puts a click log in order"
        )
    last = times[offsets[1:] - 1]
    back = np.diff(last) < 0
    if back.any():
        line = row_line(path, int(offsets[np.argmax(back) + 1]))
        raise UserError(
            f"{path} line {line}: the session ends earlier than the one before it; sessions must be in time order "
            "of their last click (recbole-tme prepare puts a click log in order)"
        )


def read_item_file(path: Path) -> ItemTable:
    """A RecBole ``.item`` file.

    Titles are the column ``title`` or ``name``, otherwise the first of type ``token_seq`` that is called like one.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    fields = [field.partition(":") for field in read_header(path)]
    kinds = {name: kind for name, _, kind in fields}
    names = list(kinds)
    if "item_id" not in names:
        raise UserError(f"{path} line 1: column item_id:token is missing{did_you_mean('item_id', names)}")
    title = title_column([n for n in names if n in ("title", "name")]) or title_column(
        [name for name in names if kinds[name] == "token_seq"]
    )
    table = read_columns(path, names, {name: TOKEN if name == "item_id" else TEXT for name in names})
    items = table["item_id"].to_pylist()
    values = {
        name: {item: value for item, value in zip(items, table[name].to_pylist()) if value}
        for name in names
        if name != "item_id"
    }
    titles = values.pop(title) if title else {}
    columns = {
        name: item_column(name, found, kinds[name] if kinds[name] in KINDS else None) for name, found in values.items()
    }
    return ItemTable(titles, columns)
