"""Prefix rows back into sessions: RecBole's ``*-session`` benchmark files and the field's (prefixes, targets)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, catalogue
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import spans, to_offsets
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import TEXT, TOKEN, read_columns, row_line
from recbole_tme.errors import UserError

logger = logging.getLogger()

COLUMNS = {"session_id": "token", "item_id_list": "token_seq", "item_id": "token"}


def read_presplit(path: Path, names: list[str], record: Record | None = None) -> NamedSessions:
    """Read an atomic file of prefix rows and fold it into sessions (see :func:`fold`).

    Zeros that fill up the lists to one length are stripped, and said so in the record and in the log.

    Args:
        path: file with the columns ``session_id``, ``item_id_list`` (separated by single spaces) and ``item_id``.
        names: its columns in order.
        record: warnings are added here.

    Raises:
        UserError: naming the file and the line.
    """
    table = read_columns(path, names, {"session_id": TOKEN, "item_id_list": TEXT, "item_id": TOKEN})
    lists = pc.split_pattern(table["item_id_list"].chunk(0), " ")
    offsets = lists.offsets.to_numpy().astype(np.int64)
    clicks = lists.flatten().dictionary_encode()
    empty = pc.index(clicks.dictionary, "").as_py()
    if empty >= 0:
        click = int(np.argmax(clicks.indices.to_numpy() == empty))
        row = int(np.searchsorted(offsets, click, side="right")) - 1
        raise UserError(
            f"{path} line {row_line(path, row)}: empty item_id_list, or an empty item in it; "
            "items are separated by single spaces"
        )
    chunks = pa.chunked_array([clicks, table["item_id"].chunk(0)]).unify_dictionaries()
    items, targets = (chunk.indices.to_numpy() + 1 for chunk in chunks.chunks)
    offsets = offsets - offsets[0]
    zero = pc.index(chunks.chunk(0).dictionary, "0").as_py() + 1
    padding = _padding(items, offsets, zero) if zero else None
    if padding is not None:
        if (targets == zero).any():
            raise UserError(
                f"{path}: zeros fill up the lists to one length, yet 0 is also an item_id; give that item another id"
            )
        text = f"{path}: {np.count_nonzero(padding):,} zeros at the ends of lists are padding and were stripped"
        logger.warning(text) if record is None else record.warn(text)
        items, offsets = items[~padding], to_offsets(~padding)[offsets]
    row_ids = table["session_id"].chunk(0)
    sessions, unnamed = fold(items, offsets, targets, row_ids.indices.to_numpy(), Names(row_ids.dictionary))
    return NamedSessions(sessions, catalogue(chunks.chunk(0).dictionary.to_pylist()), unnamed)


def _padding(items: np.ndarray, offsets: np.ndarray, zero: int) -> np.ndarray | None:
    """Where zeros fill up lists of one length at their ends (or at their beginnings), bool; None where none do."""
    lengths = np.diff(offsets)
    width = int(lengths[0])
    if width < 2 or (lengths != width).any():
        return None
    rows = items.reshape(-1, width) == zero
    if rows[:, -1].any() and not rows[:, 0].any():
        at_end = np.logical_and.accumulate(rows[:, ::-1], axis=1)[:, ::-1]
    elif rows[:, 0].any() and not rows[:, -1].any():
        at_end = np.logical_and.accumulate(rows, axis=1)
    else:
        return None
    return at_end.ravel() if (at_end == rows).all() else None


def fold(
    items: np.ndarray,
    offsets: np.ndarray,
    targets: np.ndarray,
    row_ids: np.ndarray | None = None,
    id_names: Names | None = None,
) -> tuple[Sessions, bool]:
    """Fold (prefix, target) rows of one session into that session.

    Longest first (the field's order), a row continues the one before it when its prefix is that row's prefix
    without the last click and its target is that last click; shortest first, the other way round. The order is that
    of the majority of the file. A row that continues nothing begins a session, so that rows without order become
    sessions of their own with only the last click a target. For rows longest first ``Sessions.instances()`` of
    the result gives back the rows one by one.

    Args:
        items: clicks of all prefixes, int ``[n_prefix_clicks]``.
        offsets: row ``r`` has the prefix ``items[offsets[r]:offsets[r + 1]]``, int64 ``[n_rows + 1]``.
        targets: int ``[n_rows]``.
        row_ids: session of each row as the file names it, int ``[n_rows]``, coded in order of appearance. RecBole's
            files give every row an id of its own; where rows share one, only such rows are put together, wherever they
            stand, and a prefix that lost its first click to the longest list's length still continues the one before.
        id_names: names of ``row_ids``.

    Returns:
        The sessions in the order of the file, and whether they are unnamed: they bear their file's names where
        those are names of sessions and not of rows, otherwise numbers from 1.
    """
    lengths = np.diff(offsets)
    shared = row_ids is not None and len(np.unique(row_ids)) < len(row_ids)
    if shared and (row_ids[1:] < row_ids[:-1]).any():
        order = np.argsort(row_ids, kind="stable")
        items, targets, row_ids = items[spans(offsets[order], lengths[order])], targets[order], row_ids[order]
        offsets, lengths = to_offsets(lengths[order]), lengths[order]
    last = items[offsets[1:] - 1]
    earlier, later = slice(None, -1), slice(1, None)
    shrinks = _continues(items, offsets, long=earlier, short=later) & (targets[1:] == last[:-1])
    grows = _continues(items, offsets, long=later, short=earlier) & (last[1:] == targets[:-1])
    if shared:
        grows |= _slides(items, offsets, before=earlier, after=later) & (last[1:] == targets[:-1])
        shrinks |= _slides(items, offsets, before=later, after=earlier) & (targets[1:] == last[:-1])
        same = row_ids[1:] == row_ids[:-1]
        shrinks &= same
        grows &= same
    ascending = np.count_nonzero(grows) > np.count_nonzero(shrinks)
    linked = grows if ascending else shrinks

    begins = np.flatnonzero(np.concatenate(([True], ~linked)))
    ends = np.append(begins[1:], len(targets))
    shortest = begins if ascending else ends - 1
    n_targets = ends - begins
    first_clicks = lengths[shortest]
    session_offsets = to_offsets(first_clicks + n_targets)
    clicks = np.empty(session_offsets[-1], dtype=np.int32)
    to_end = np.repeat(session_offsets[1:], first_clicks + n_targets) - np.arange(len(clicks))
    is_target = to_end <= np.repeat(n_targets, first_clicks + n_targets)
    clicks[~is_target] = items[spans(offsets[shortest], first_clicks)]
    if ascending:
        clicks[is_target] = targets
    else:
        # Backwards within each session.
        clicks[is_target] = targets[np.repeat(begins + ends - 1, n_targets) - np.arange(len(targets))]
    named = shared and len(np.unique(row_ids[begins])) == len(begins)
    ids = id_names.take(row_ids[begins]) if named else Names.numbered(1, len(begins))
    only = None if (first_clicks == 1).all() else is_target
    return Sessions(items=clicks, offsets=session_offsets, ids=ids, is_target=only), not named


def _continues(items: np.ndarray, offsets: np.ndarray, long: slice, short: slice) -> np.ndarray:
    """For each pair of neighbouring rows, whether the long prefix is the short prefix and one click more."""
    lengths = np.diff(offsets)
    starts = offsets[:-1]
    result = lengths[long] == lengths[short] + 1
    pairs = np.flatnonzero(result)
    n = lengths[short][pairs]
    differs = items[spans(starts[long][pairs], n)] != items[spans(starts[short][pairs], n)]
    result[pairs[np.repeat(np.arange(len(pairs)), n)[differs]]] = False
    return result


def _slides(items: np.ndarray, offsets: np.ndarray, before: slice, after: slice) -> np.ndarray:
    """For each pair of neighbouring rows of the greatest length, whether all but the last click of the one behind are
    all but the first click of the one before."""
    lengths = np.diff(offsets)
    starts = offsets[:-1]
    result = (lengths[before] == lengths.max()) & (lengths[after] == lengths.max())
    pairs = np.flatnonzero(result)
    n = lengths[after][pairs] - 1
    differs = items[spans(starts[before][pairs] + 1, n)] != items[spans(starts[after][pairs], n)]
    result[pairs[np.repeat(np.arange(len(pairs)), n)[differs]]] = False
    return result
