"""Sessions to recommend for, read as a stream: from lines of item ids or from CSV with a click per row."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from recbole_tme.errors import UserError

SESSION_COLUMNS = ("session", "session_id")
ITEM_COLUMNS = ("item", "item_id")


class NamedSession(NamedTuple):
    """External item ids in click order, and what the session is called."""

    name: str
    items: list[str]


def read_sessions(source: str, form: str | None = None) -> Iterator[NamedSession]:
    """The sessions of a file one by one.

    Args:
        source: the file, or "-" for the standard input.
        form: "csv" (columns ``session`` and ``item``, or ``session_id`` and ``item_id``, the clicks of a session in
            consecutive rows) or "txt" (a session per line, ids between white space, named by the line's number); None
            takes csv for a name that ends in ``.csv`` and else txt.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or is no such CSV; names the line.
    """
    name = "standard input" if source == "-" else source
    is_csv = Path(source).suffix.lower() == ".csv" if form is None else form == "csv"
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as file:
            lines = _decoded(file, name)
            yield from _csv_sessions(lines, name) if is_csv else _line_sessions(lines)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error}); name a file of sessions") from error


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            # The first line may begin with a byte order mark.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name} line {number}: is not UTF-8; convert the file") from error


def _line_sessions(lines: Iterable[str]) -> Iterator[NamedSession]:
    for number, line in enumerate(lines, start=1):
        yield NamedSession(str(number), line.split())


def _csv_sessions(lines: Iterable[str], name: str) -> Iterator[NamedSession]:
    reader = csv.reader(lines, strict=True)
    for session, clicks in itertools.groupby(_clicks(reader, name), key=itemgetter(0)):
        yield NamedSession(session, [item for _, item in clicks])


def _clicks(reader, name: str) -> Iterator[tuple[str, str]]:
    """Session and item of each row of a CSV file."""
    try:
        head = next(reader, None)
        if head is None:
            return
        session, item = (_column(head, names, name) for names in (SESSION_COLUMNS, ITEM_COLUMNS))
        for row in reader:
            # An empty line.
            if not row:
                continue
            place = f"{name} line {reader.line_num}"
            if len(row) != len(head):
                raise UserError(f"{place}: has {len(row)} fields where the header has {len(head)}; mend the row")
            if not row[session] or not row[item]:
                raise UserError(f"{place}: has no session or no item; fill it in or remove the row")
            yield row[session], row[item]
    except csv.Error as error:
        raise UserError(f"{name} line {reader.line_num}: is no CSV ({error}); mend the line") from error


def _column(head: list[str], names: tuple[str, ...], file: str) -> int:
    for name in names:
        if name in head:
            return head.index(name)
    raise UserError(f"{file} line 1: has no column {' or '.join(names)}; name it so in the header")
