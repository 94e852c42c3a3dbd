"""Plain session lines: one session per line, item ids separated by blanks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, catalogue
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import take_sessions, to_offsets
from recbole_tme.data.readers.forms import JSON, TEXT, form_of
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import numbered_lines
from recbole_tme.errors import UserError

FIRST_FIELDS = ("item", "session")
# Fewer lines whose first fields all differ may do so by chance.
_LEAST_LINES = 20


def read_lines(path: Path, first_field: str | None = None) -> NamedSessions:
    """Read a text file of sessions, plain or compressed.

    Sessions have no names of their own and are numbered from 1, unless the first field names them; empty lines are
    skipped. There are no times: the order of the lines is taken for the order of time.

    Args:
        path: the file.
        first_field: ``item`` where a line holds nothing but items; ``session`` where it begins with the id of its
            session (or user): then lines of the same id are one session. None takes items, and refuses files that look
            otherwise.

    Raises:
        UserError: naming the file, and the line where there is one; or the file looks as if ids of sessions or users
            came first.
    """
    form = form_of(path)
    if form not in (TEXT, JSON):
        raise UserError(f"{path}: a {form} file, not lines of text; leave --format out, or name a file of sessions")
    lines = []
    for number, line in numbered_lines(path):
        if b"\x00" in line:
            raise UserError(f"{path} line {number}: not a text file of sessions (a zero byte in it)")
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path} line {number}: not UTF-8 text; convert the file (iconv -t UTF-8)") from None
        # ASCII blanks only: other Unicode spaces may be part of a name.
        fields = line.split()
        if first_field == "session" and len(fields) == 1:
            raise UserError(f"{path} line {number}: an id of a session but no item behind it; remove the line")
        if fields:
            lines.append(b" ".join(fields))
    if not lines:
        raise UserError(f"{path}: the file is empty; one session per line is expected")
    lists = pc.split_pattern(pa.array(lines, pa.string()), " ")
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if first_field == "session":
        return _named(lists, offsets)
    clicks = lists.flatten().dictionary_encode()
    if first_field is None:
        _refuse_ids(path, clicks.indices.to_numpy(), offsets)
    sessions = Sessions(
        items=clicks.indices.to_numpy() + 1,
        offsets=offsets,
        ids=Names.numbered(1, len(lists)),
    )
    return NamedSessions(sessions, catalogue(clicks.dictionary.to_pylist()), unnamed=True)


def _named(lists: pa.ListArray, offsets: np.ndarray) -> NamedSessions:
    words = lists.flatten()
    is_item = np.ones(len(words), dtype=bool)
    is_item[offsets[:-1]] = False
    names = words.take(pa.array(offsets[:-1])).dictionary_encode()
    clicks = words.filter(pa.array(is_item)).dictionary_encode()
    owner = names.indices.to_numpy()
    # Codes are in order of appearance, and the sort keeps the lines of a session in theirs.
    lines = np.argsort(owner, kind="stable")
    by_line = Sessions(
        items=clicks.indices.to_numpy() + 1,
        offsets=to_offsets(np.diff(offsets) - 1),
        ids=Names.numbered(1, len(owner)),
    )
    sorted_lines = take_sessions(by_line, lines)
    lengths = np.bincount(owner, weights=by_line.lengths).astype(np.int64)
    sessions = Sessions(items=sorted_lines.items, offsets=to_offsets(lengths), ids=Names(names.dictionary))
    return NamedSessions(sessions, catalogue(clicks.dictionary.to_pylist()))


def _refuse_ids(path: Path, codes: np.ndarray, offsets: np.ndarray) -> None:
    """Refuse files that look like "user item" a line, or like lines that begin with the id of their user."""
    lengths, firsts = np.diff(offsets), codes[offsets[:-1]]
    if len(lengths) < _LEAST_LINES:
        return
    ways = "read them with --first-field=session, or with --first-field=item if it is an item"
    if lengths[0] > 1 and (lengths == lengths[0]).all():
        raise UserError(
            f"{path}: every line has {lengths[0]} fields: are they a session or user, an item ...? Then name them "
            "(--columns=session_id,item_id,...; --file-order without a time); if all are items, say --first-field=item"
        )
    if len(np.unique(firsts)) == len(firsts) and (lengths > 1).any():
        raise UserError(
            f"{path}: every line begins with another field: is it the id of a session or a user? Then {ways}"
        )
