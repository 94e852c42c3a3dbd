"""Prefix rows back into sessions: RecBole's ``*-session`` benchmark files and the field's (prefixes, targets)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, catalogue, number_names, text_array
from recbole_tme.data.ragged import spans, to_offsets
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import TEXT, TOKEN, read_columns, row_line
from recbole_tme.errors import UserError

COLUMNS = {"session_id": "token", "item_id_list": "token_seq", "item_id": "token"}


def read_presplit(path: Path, names: list[str]) -> NamedSessions:
    """Read an atomic file of prefix rows and fold it into sessions (see :func:`fold`).

    Args:
        path: file with the columns ``session_id``, ``item_id_list`` (separated by single spaces) and ``item_id``.
        names: its columns in order.

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
    row_ids = table["session_id"].chunk(0)
    sessions, unnamed = fold(
        items=chunks.chunk(0).indices.to_numpy() + 1,
        offsets=offsets - offsets[0],
        targets=chunks.chunk(1).indices.to_numpy() + 1,
        row_ids=row_ids.indices.to_numpy(),
        id_names=text_array(row_ids.dictionary),
    )
    return NamedSessions(sessions, catalogue(chunks.chunk(0).dictionary.to_pylist()), unnamed)


def fold(
    items: np.ndarray,
    offsets: np.ndarray,
    targets: np.ndarray,
    row_ids: np.ndarray | None = None,
    id_names: np.ndarray | None = None,
) -> tuple[Sessions, bool]:
    """Fold consecutive (prefix, target) rows of one session into that session.

    Longest first (the field's order), a row continues the one before it when its prefix is that row's prefix
    without the last click and its target is that last click; shortest first, the other way round. The order is that
    of the majority of the file. A row that continues nothing begins a session, so that rows without order become
    sessions of their own with only the last click a target. For rows longest first ``Sessions.instances()`` of
    the result gives back the rows one by one.

    Args:
        items: clicks of all prefixes, int ``[n_prefix_clicks]``.
        offsets: row ``r`` has the prefix ``items[offsets[r]:offsets[r + 1]]``, int64 ``[n_rows + 1]``.
        targets: int ``[n_rows]``.
        row_ids: session of each row as the file names it, int ``[n_rows]``. RecBole's files give every row an id
            of its own; where rows next to each other share one, only such rows are put together.
        id_names: names of ``row_ids``.

    Returns:
        The sessions in the order of the file, and whether they are unnamed: they bear their file's names where
        those are names of sessions and not of rows, otherwise numbers from 1.
    """
    lengths = np.diff(offsets)
    last = items[offsets[1:] - 1]
    shrinks = _continues(items, offsets, long=slice(None, -1), short=slice(1, None))
    shrinks &= targets[1:] == last[:-1]
    grows = _continues(items, offsets, long=slice(1, None), short=slice(None, -1))
    grows &= last[1:] == targets[:-1]
    shared = row_ids is not None and bool((row_ids[1:] == row_ids[:-1]).any())
    if shared:
        same = row_ids[1:] == row_ids[:-1]
        shrinks &= same
        grows &= same
    ascending = np.count_nonzero(grows) > np.count_nonzero(shrinks)
    linked = grows if ascending else shrinks

    begins = np.flatnonzero(np.concatenate(([True], ~linked)))
    ends = np.append(begins[1:], len(targets))
    longest = ends - 1 if ascending else begins
    n_targets = ends - begins
    session_offsets = to_offsets(lengths[longest] + 1)
    clicks = np.empty(session_offsets[-1], dtype=np.int32)
    is_last = np.zeros(len(clicks), dtype=bool)
    is_last[session_offsets[1:] - 1] = True
    clicks[is_last] = targets[longest]
    clicks[~is_last] = items[spans(offsets[longest], lengths[longest])]

    is_target = None
    if (n_targets != lengths[longest]).any():
        to_end = np.repeat(session_offsets[1:], lengths[longest] + 1) - np.arange(len(clicks))
        is_target = to_end <= np.repeat(n_targets, lengths[longest] + 1)
    named = shared and len(np.unique(row_ids[begins])) == len(begins)
    ids = id_names[row_ids[begins]] if named else number_names(1, len(begins))
    return Sessions(items=clicks, offsets=session_offsets, ids=ids, is_target=is_target), not named


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
