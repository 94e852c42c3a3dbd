"""Which column of a log is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

# Names that are taken where none is given: ours, those of session-rec's logs and of OTTO's, which recommend knows too.
SESSIONS = ("session_id", "session", "SessionId")
ITEMS = ("item_id", "item", "ItemId", "aid")
TIMES = ("timestamp", "time", "Time", "ts")


@dataclass(frozen=True)
class Layout:
    """How text is written.

    Attributes:
        delimiter: between fields, of one character or several, or None to tell by the first line.
        names: column names of text without a header line.
        encoding: of text; None for UTF-8, or what a byte order mark says.
    """

    delimiter: str | None = None
    names: tuple[str, ...] | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class LogColumns:
    """Which column of a log is which, and how the log is written.

    Attributes:
        session: name of the session column, or of several with commas between them whose values together make the
            session; None for one of :data:`SESSIONS`.
        user: name of the user column instead: a new session begins after a pause.
        session_gap: with ``user``, the pause in seconds.
        item: name of the item column; None for one of :data:`ITEMS`.
        time: name of the time column; None for one of :data:`TIMES`.
        file_order: the rows of the file are in order of time; then there is no time column.
        tie_break: name of a column of numbers or dates that orders clicks of the same time.
        time_unit: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to tell by the numbers' size.
        time_format: see :func:`~recbole_tme.data.times.read_times`.
        title: name of a column with the items' readable names, or None.
        where: an SQL condition over the columns; other rows are left out.
        drop_repeats: ``exact`` drops clicks whose session, item and time another has, ``item`` those on the item of
            the click before; None drops none.
        layout: how text is written.
    """

    session: str | None = None
    user: str | None = None
    session_gap: float | None = None
    item: str | None = None
    time: str | None = None
    file_order: bool = False
    tie_break: str | None = None
    time_unit: str = "auto"
    time_format: str | None = None
    title: str | None = None
    where: str | None = None
    drop_repeats: str | None = None
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True)
class FoundColumns:
    """The columns of a log by what they are for; ``keys`` together make a session or name a user."""

    keys: list[str]
    item: str
    time: str | None
    tie_break: str | None
    title: str | None


def has_columns(columns: LogColumns, names: Sequence[str], needs_time: bool = True) -> bool:
    """Whether a log's columns are among ``names``."""
    try:
        find_columns(columns, names, "", needs_time)
    except UserError:
        return False
    return True


def find_columns(columns: LogColumns, names: Sequence[str], shown: str, needs_time: bool = True) -> FoundColumns:
    """Find a log's columns among ``names``.

    Args:
        columns: what was asked for.
        names: the table's columns.
        shown: the file, for messages.
        needs_time: whether a log without a time column is refused; otherwise its rows are in order.

    Raises:
        UserError: a column is missing; the line names those that are there.
    """

    def found(role: str, given: str | None, usual: Sequence[str], hint: str = "") -> str:
        wanted = [given] if given is not None else list(usual)
        name = next((name for name in wanted if name in names), None)
        if name is not None:
            return name
        if names and all(name.replace(".", "").isdigit() for name in names):
            hint += "; where the first line is a click and no header, name all columns (--columns)"
        raise UserError(
            f"{shown}: no column {wanted[0]!r}{did_you_mean(wanted[0], names)} "
            f"(its columns: {', '.join(names)[:200]}); name the {role} column (--{role}){hint}"
        )

    if columns.user is not None:
        keys = [found("user", columns.user, ())]
    elif columns.session is not None and columns.session not in names and "," in columns.session:
        keys = [found("session", name.strip(), ()) for name in columns.session.split(",")]
    else:
        keys = [found("session", columns.session, SESSIONS)]
    item = found("item", columns.item, ITEMS)
    time = None
    if not columns.file_order and (needs_time or columns.time is not None or any(name in names for name in TIMES)):
        hint = ", or say that the file is in order of time (--file-order)"
        time = found("time", columns.time, TIMES, hint)
    tie_break = columns.tie_break and found("tie-break", columns.tie_break, ())
    title = columns.title and found("title", columns.title, ())
    return FoundColumns(keys, item, time, tie_break, title)
