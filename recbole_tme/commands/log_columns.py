"""The options for the columns of a click log, the same for whatever reads one."""

from __future__ import annotations

import argparse
from dataclasses import fields

from recbole_tme.data.readers.columns import ITEMS, SESSIONS, TIMES, LogColumns
from recbole_tme.data.times import UNITS


def add_column_arguments(parser) -> None:
    """Declare them on a parser or a group of one."""
    parser.add_argument(
        "--session",
        help=f"session column, or several with commas that make a session together (default: {' or '.join(SESSIONS)})",
    )
    parser.add_argument("--user", help="user column instead; needs --session-gap")
    parser.add_argument("--session-gap", type=float, help="seconds of pause that begin a new session")
    parser.add_argument("--item", help=f"item column (default: {' or '.join(ITEMS)})")
    parser.add_argument("--time", help=f"time column (default: {' or '.join(TIMES)})")
    parser.add_argument("--time-unit", default="auto", help=f"auto, {', '.join(UNITS)} (default: auto)")
    parser.add_argument("--time-format", help="how dates are written: %%d.%%m.%%Y or DD.MM.YYYY hh:mm:ss")
    parser.add_argument("--tie-break", help="a second column of numbers or dates that orders clicks of the same time")
    parser.add_argument("--file-order", action="store_true", help="rows are in order of time; no time column")
    parser.add_argument(
        "--delimiter", type=_delimiter, help="between fields, such as , or :: or tab (default: by the header)"
    )
    parser.add_argument("--encoding", help="of text: utf-16, latin-1, gbk, ... (default: utf-8)")
    parser.add_argument("--where", help="SQL condition on the columns of a log: \"event_type = 'view'\"")
    parser.add_argument("--columns", help="column names, comma-separated, of a log without header")


def add_item_arguments(items) -> None:
    """Declare what says where items are described, on a group of a parser."""
    items.add_argument("--title", help="column with titles, of the log or of the table --items")
    items.add_argument(
        "--item-columns",
        default=(),
        help="further columns of the log or of that table, comma-separated, such as category,price:float; all: every "
        "column of the table",
    )
    items.add_argument("--items", help="a table of items: RecBole's .item, CSV, JSON, Parquet, ...")
    items.add_argument("--items-id", help="column of item ids in that table, where it is not called as in the log")


def log_columns(args: argparse.Namespace) -> LogColumns:
    """What they say."""
    known = {f.name for f in fields(LogColumns)} & set(vars(args))
    return LogColumns(**{name: getattr(args, name) for name in known})


def _delimiter(text: str) -> str:
    return "\t" if text in ("tab", "\\t") else text
