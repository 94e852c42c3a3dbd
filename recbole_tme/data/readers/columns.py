"""Which column of a log is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_tme.data.items import KINDS
from recbole_tme.data.times import UNITS
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
        columns: column names of text without a header line; a string of names with commas between them is split.
        encoding: of text; None for UTF-8, or what a byte order mark says.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        self._split_names("columns")
        if self.delimiter is not None and not 1 <= len(self.delimiter) <= 4:
            raise UserError("delimiter must be one character, or up to four")

    def _split_names(self, key: str) -> None:
        names = getattr(self, key)
        if names is not None:
            # The way to set a field of a frozen dataclass.
            object.__setattr__(self, key, tuple(names.split(",") if isinstance(names, str) else names))


@dataclass(frozen=True)
class LogColumns(Layout):
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
        item_columns: names of further columns that tell of items, each alone or as ``name:token``, ``name:float`` or
            ``name:token_seq``; see :func:`~recbole_tme.data.items.item_column`.
        where: an SQL condition over the columns; other rows are left out.
        drop_repeats: ``exact`` drops clicks whose session, item and time another has, ``item`` those on the item of
            the click before; None drops none.

    Raises:
        UserError: options that contradict one another.
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
    item_columns: tuple[str, ...] = ()
    where: str | None = None
    drop_repeats: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._split_names("item_columns")
        one_of(self, "time_unit", ("auto", *UNITS))
        one_of(self, "drop_repeats", (None, "item", "exact"))
        require(self.session is None or self.user is None, "give session or user, not both")
        require((self.user is None) == (self.session_gap is None), "user and session_gap (seconds) go together")
        require(self.user is None or not self.file_order, "user needs the time of every click, not file_order")
        require(not self.file_order or self.time is None, "give time or file_order, not both")
        require(not self.file_order or self.tie_break is None, "tie_break orders clicks of one time: not file_order")
        require(self.session_gap is None or self.session_gap > 0, "session_gap must be above 0 seconds")


def require(condition: bool, message: str) -> None:
    """Raise a UserError with that message unless the condition holds."""
    if not condition:
        raise UserError(message)


def one_of(options: object, key: str, choices: Sequence[str | None]) -> None:
    """Raise a UserError unless an option has one of the choices."""
    value = getattr(options, key)
    require(value in choices, f"{key}={value}: one of {', '.join(filter(None, choices))}")


@dataclass(frozen=True)
class FoundColumns:
    """The columns of a log by what they are for; ``keys`` together make a session or name a user. ``content``: the type
    that was asked for of each further column that tells of items, or None."""

    keys: list[str]
    item: str
    time: str | None
    tie_break: str | None
    title: str | None
    content: dict[str, str | None]


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

    if "item_id_list" in names:
        raise UserError(
            f"{shown}: rows are prefixes of sessions (item_id_list), not clicks; recbole-tme prepare reads them "
            "without column options, or with --session alone"
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
    twice = next((name for name in (item, time) if name in keys or (name == time == item)), None)
    if twice is not None:
        raise UserError(f"{shown}: column {twice!r} cannot be both of --session, --item and --time; name three columns")
    tie_break = columns.tie_break and found("tie-break", columns.tie_break, ())
    title = columns.title and found("title", columns.title, ())
    content = find_content(columns.item_columns, names, shown)
    return FoundColumns(keys, item, time, tie_break, title, content)


def find_content(wanted: Sequence[str], names: Sequence[str], shown: str) -> dict[str, str | None]:
    """The type asked for of each column that tells of items, None where it is told by the values.

    Args:
        wanted: names, alone or with ``:token``, ``:float`` or ``:token_seq``.
        names: the table's columns.
        shown: the file, for messages.

    Raises:
        UserError: a column is missing, named twice or of an unknown type.
    """
    content: dict[str, str | None] = {}
    for text in wanted:
        name, _, kind = (text, "", None) if text in names or ":" not in text else text.rpartition(":")
        if name not in names:
            raise UserError(
                f"{shown}: no column {name!r}{did_you_mean(name, names)} (its columns: {', '.join(names)[:200]}); "
                "correct --item-columns"
            )
        require(kind in (None, *KINDS), f"--item-columns: {text}: a column is {', '.join(KINDS)}")
        require(name not in content, f"--item-columns: {name} is named twice")
        content[name] = kind
    return content
