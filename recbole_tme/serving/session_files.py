"""Sessions to recommend for: from lines of item ids, read as a stream, or from a click log of any form."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from recbole_tme.data.readers.columns import LogColumns
from recbole_tme.data.record import Record
from recbole_tme.errors import UserError

# What reads logs is imported where one is read: a bundle answers lines without pyarrow and DuckDB.
STANDARD_INPUT = "standard input"
# Fewer lines that are all alike may be so by chance; of more lines than these the first ones are looked at.
_LEAST_LINES, _LOOKED_AT = 20, 100_000


class NamedSession(NamedTuple):
    """External item ids in click order, and what the session is called."""

    name: str
    items: list[str]


def read_sessions(
    source: str, form: str | None = None, columns: LogColumns | None = None, record: Record | None = None
) -> Iterator[NamedSession]:
    """The sessions of a file one by one.

    Args:
        source: a file, a folder or a pattern of files' names, or "-" for the standard input.
        form: ``clicks`` for a click log of any form that prepare reads, whose clicks are grouped by session and sorted
            by time, wherever they stand (a log without a time column is in order); ``lines`` for a session per line,
            ids between white space, named by the line's number. None tells by the file, and takes lines from the
            standard input.
        columns: which column of a log is which; where it is given, the input is a log.
        record: what was read is added here.

    Returns:
        The sessions, in the order of their first clicks in the file.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or is no such log; names the line.
    """
    told = form is not None
    if form is None:
        form = "clicks" if columns is not None else _form(source)
    if form == "lines":
        lines = _lines(source)
        yield from lines if told else _doubted(lines, source, Record() if record is None else record)
        return
    try:
        from recbole_tme.data.readers.clicklog import read_log
    except ImportError as error:
        raise UserError(f"reading click logs needs {error.name}: pip install duckdb pyarrow") from None
    with _files(source) as files, _naming(source, files):
        log, _ = read_log(files, columns or LogColumns(), record, needs_time=False, by_last_click=False)
    for name, start, stop in zip(log.sessions.ids, log.sessions.offsets, log.sessions.offsets[1:]):
        yield NamedSession(name, list(log.tokens[log.sessions.items[start:stop]]))


def _form(source: str) -> str:
    if source == "-":
        return "lines"
    try:
        from recbole_tme.data.sources import detect_format
    except ImportError:
        # Without pyarrow a log could not be read.
        return "lines"
    path = Path(source)
    return "lines" if path.is_file() and detect_format(path) == "lines" else "clicks"


@contextmanager
def _files(source: str) -> Iterator[list[Path]]:
    """The files of a log; what comes from the standard input is one, too."""
    from recbole_tme.data.sources import find_files

    if source != "-":
        yield list(find_files([Path(source)], is_log=True).log)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "input"
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [copy]


@contextmanager
def _naming(source: str, files: list[Path]) -> Iterator[None]:
    """Messages name the standard input, not its copy."""
    try:
        yield
    except UserError as error:
        if source != "-":
            raise
        raise UserError(str(error).replace(str(files[0]), STANDARD_INPUT)) from None


def _lines(source: str) -> Iterator[NamedSession]:
    name = STANDARD_INPUT if source == "-" else source
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else _opened(source) as file:
            for number, line in enumerate(_decoded(file, name), start=1):
                yield NamedSession(str(number), line.split())
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error}); name a file of sessions") from error


def _opened(source: str) -> BinaryIO:
    try:
        from recbole_tme.data.textfile import open_bytes
    except ImportError:
        return open(source, "rb")
    return open_bytes(Path(source))


def _doubted(lines: Iterable[NamedSession], source: str, record: Record) -> Iterator[NamedSession]:
    """Lines that nobody said are sessions: what cannot be one is refused, and what looks otherwise is warned of.

    Raises:
        UserError: the first line is a header, JSON or a web page.
    """
    name = STANDARD_INPUT if source == "-" else source
    firsts: set[str] = set()
    others: set[str] = set()
    lengths: set[int] = set()
    n = 0
    for session in lines:
        if n == 0 and _is_no_session(session.items):
            raise UserError(
                f"{name} line 1: {' '.join(session.items)[:60]!r} is no session of item ids; a click log is read with "
                "--format=clicks, and lines of sessions whatever they look like with --format=lines"
            )
        if session.items:
            n += 1
            lengths.add(len(session.items))
            # Of a long stream the first ones tell.
            if n <= _LOOKED_AT:
                firsts.add(session.items[0])
                others.update(session.items[1:])
        yield session
    if n >= _LEAST_LINES and lengths == {2}:
        record.warn("every line has two ids: if they are a user and an item, say --columns=session_id,item_id")
    elif n >= _LEAST_LINES and len(firsts) == min(n, _LOOKED_AT) > len(others) > 0:
        record.warn(
            "every line begins with another id, of more than there are behind them: if they are of users or sessions, "
            "cut them off"
        )


def _is_no_session(items: list[str]) -> bool:
    if not items or items[0][:1] in ("{", "[", "<"):
        return bool(items)
    try:
        from recbole_tme.data.sources import is_header
    except ImportError:
        return False
    return is_header(" ".join(items).encode())


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            # The first line may begin with a byte order mark.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{name} line {number}: is not UTF-8; convert the file") from error
