"""The new log, read as the run's data set was prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_tme.data.filters import most_recent
from recbole_tme.data.items import ItemTable
from recbole_tme.data.locate import locate
from recbole_tme.data.prepare import PrepareOptions, fingerprint
from recbole_tme.data.readers.clicklog import read_log
from recbole_tme.data.readers.columns import LogColumns
from recbole_tme.data.readers.items import ALL, read_items
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.sources import detect_format, find_files
from recbole_tme.errors import UserError
from recbole_tme.updating.parent import Parent
from recbole_tme.utils.shapes import read_json

# Settings of ``prepare`` that say how a log is read, and are asked of the next log, too.
READING = {f.name for f in fields(LogColumns)} | {"max_length"}
# Those that name columns of a table of items, where there is one.
OF_ITEMS = {"title", "item_columns", "items_id"}
RECORD_SHAPE = {"settings?": dict, "items_from?": (type(None), str)}


class NewLog(NamedTuple):
    """Sessions in ascending time of their last click.

    Attributes:
        sessions: over ``tokens``; with times.
        tokens: external item ids, the padding token first.
        content: what the log, or a table beside it, says of items.
        provenance: files and settings, as plain data for the grown data set's file.
    """

    sessions: Sessions
    tokens: np.ndarray
    content: ItemTable
    provenance: dict[str, Any]


def read_new_log(
    logs: Sequence[Path | str], reading: Mapping[str, Any] | None, parent: Parent, record: Record
) -> NewLog:
    """Read a click log.

    Args:
        logs: its files, patterns or folders.
        reading: options of :class:`~recbole_tme.data.prepare.PrepareOptions` where they are not as the run's data set
            was prepared; ``items`` is a table with what is known of items.
        parent: the run.
        record: what was read and dropped is added here.

    Raises:
        UserError: naming the file and the column or the line; or the log has no times.
    """
    given = PrepareOptions(**(reading or {}))
    table = None if given.items is None else Path(given.items)
    options = PrepareOptions(**(_settings(parent, table is not None) | given.given), items=table)
    files = list(find_files([Path(log) for log in logs], is_log=True).log)
    if not files:
        raise UserError(f"{logs[0]}: a data set that is split is no log to append; name the files of the log")
    for file in files:
        if file.suffix == ".inter" and detect_format(file) != "clicks":
            raise UserError(f"{file}: sessions without the time of each click cannot be appended")
    named, content = read_log(files, options.log_columns, record)
    if named.sessions.times is None:
        raise UserError(f"{files[0]}: new sessions need the time of each click; name its column (--time)")
    if table is not None:
        wanted = options.item_columns or ALL
        content |= read_items(table, options.items_id, options.item, options.title, wanted, options.encoding)
    sessions = named.sessions if options.max_length is None else most_recent(named.sessions, options.max_length)
    provenance = {
        "sources": [fingerprint(file) for file in [*files, *([table] if table else [])]],
        "format": "clicks",
        "settings": options.given,
        "items_from": None if table is None else table.name,
    }
    return NewLog(sessions, named.tokens, content, provenance)


def _settings(parent: Parent, with_items: bool) -> dict[str, Any]:
    """How the run's data set was read, where its file tells."""
    name = parent.config["dataset"]
    file = locate(name, parent.config["data_path"]) / f"{name}.json"
    if not file.is_file():
        return {}
    stored = read_json(file, RECORD_SHAPE, "prepare the data set again")
    wanted = READING | OF_ITEMS if with_items else READING
    if not with_items and stored.get("items_from"):
        wanted = READING - OF_ITEMS
    return {key: value for key, value in stored.get("settings", {}).items() if key in wanted}
