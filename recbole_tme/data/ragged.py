"""Picking sessions and clicks out of flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from recbole_tme.data.names import Names
from recbole_tme.data.sessions import Sessions

# What making or picking so many takes for a moment is little beside a log.
CLICKS_AT_ONCE = 2**20


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices ``starts[k], ..., starts[k] + lengths[k] - 1`` for every ``k``, one after the other.

    Args:
        starts, lengths: int64 ``[n]``.

    Returns:
        int64 ``[lengths.sum()]``.
    """
    ends = np.cumsum(lengths)
    result = np.repeat(starts - (ends - lengths), lengths)
    # In place: these arrays are the largest there are.
    result += np.arange(len(result))
    return result


def look_up(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``values[index]`` for as many numbers as a log has clicks, without a copy of them that is twice as wide."""
    result = np.empty(len(index), values.dtype)
    for start in range(0, len(index), CLICKS_AT_ONCE):
        part = slice(start, start + CLICKS_AT_ONCE)
        result[part] = values[index[part]]
    return result


def occurring(items: np.ndarray, least: int = 0) -> np.ndarray:
    """Whether each number occurs among ``items``, bool; as long as the largest needs and as ``least``."""
    seen = np.zeros(max(int(items.max(initial=-1)) + 1, least), dtype=bool)
    for start in range(0, len(items), CLICKS_AT_ONCE):
        seen[items[start : start + CLICKS_AT_ONCE]] = True
    return seen


def to_offsets(lengths: np.ndarray) -> np.ndarray:
    """Offsets of parts of the given lengths, int64 ``[n + 1]``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def blocks(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of sessions, start and stop, with about ``CLICKS_AT_ONCE`` clicks each, one session at least."""
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + CLICKS_AT_ONCE, "right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def take_sessions(sessions: Sessions, index: np.ndarray, in_place: bool = False) -> Sessions:
    """The sessions of the given numbers (or where a mask is true), in that order; the same ones where that is all.

    Args:
        sessions: whose.
        index: numbers of sessions, or bool ``[n_sessions]``.
        in_place: whether the clicks may be written over those of ``sessions``, which is of no use then.
    """
    if index.dtype == bool:
        if index.all():
            return sessions
        index = np.flatnonzero(index)
    offsets = to_offsets(sessions.lengths[index])

    def copied(column: np.ndarray) -> np.ndarray:
        result = np.empty(offsets[-1], column.dtype)
        for start, stop in blocks(offsets):
            clicks = spans(sessions.offsets[index[start:stop]], np.diff(offsets[start : stop + 1]))
            result[offsets[start] : offsets[stop]] = column[clicks]
        return result

    def picked(column: np.ndarray) -> np.ndarray:
        if not in_place or not column.flags.writeable or offsets[-1] > len(column):
            return copied(column)
        # Four bytes of each click at a time exist twice.
        narrow = column.view(f"u{min(column.itemsize, 4)}").reshape(len(column), -1)
        for k in range(narrow.shape[1]):
            narrow[: offsets[-1], k] = copied(narrow[:, k])
        return column[: offsets[-1]]

    return Sessions(**_each_column(sessions, picked), offsets=offsets, ids=sessions.ids.take(index))


def keep_clicks(sessions: Sessions, keep: np.ndarray, in_place: bool = False) -> Sessions:
    """The clicks where ``keep`` is true; sessions left without clicks stay, empty.

    Args:
        sessions: whose.
        keep: bool ``[n_clicks]``.
        in_place: as in :func:`take_sessions`.
    """
    if keep.all():
        return sessions
    offsets = to_offsets(counts(keep, sessions.offsets))

    def picked(column: np.ndarray) -> np.ndarray:
        result = column if in_place and column.flags.writeable else np.empty(offsets[-1], column.dtype)
        for start, stop in blocks(sessions.offsets):
            # Never ahead of what is still to be read.
            part = slice(sessions.offsets[start], sessions.offsets[stop])
            result[offsets[start] : offsets[stop]] = column[part][keep[part]]
        return result[: offsets[-1]]

    return Sessions(**_each_column(sessions, picked), offsets=offsets, ids=sessions.ids)


def without_empty(sessions: Sessions) -> Sessions:
    """The sessions that have clicks."""
    full = sessions.lengths > 0
    if full.all():
        return sessions
    return replace(sessions, offsets=sessions.offsets[np.append(True, full)], ids=sessions.ids.take(full))


def counts(marked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many clicks of each session are marked, int64 ``[n_sessions]``.

    Args:
        marked: bool ``[n_clicks]``.
        offsets: int64 ``[n_sessions + 1]``.
    """
    result = np.empty(len(offsets) - 1, dtype=np.int64)
    for start, stop in blocks(offsets):
        before = to_offsets(marked[offsets[start] : offsets[stop]])
        result[start:stop] = np.diff(before[offsets[start : stop + 1] - offsets[start]])
    return result


def _each_column(sessions: Sessions, picked: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    columns = {name: getattr(sessions, name) for name in ("items", "times", "is_target")}
    return {name: picked(column) for name, column in columns.items() if column is not None}


def concatenate(parts: list[Sessions]) -> Sessions:
    """The sessions of several lists one after the other; times are kept where all have them."""
    timed = all(part.times is not None for part in parts)
    marked = any(part.is_target is not None for part in parts)
    return Sessions(
        items=np.concatenate([part.items for part in parts]),
        offsets=to_offsets(np.concatenate([part.lengths for part in parts])),
        ids=Names.joined(part.ids for part in parts),
        times=np.concatenate([part.times for part in parts]) if timed else None,
        is_target=np.concatenate([explicit_targets(part) for part in parts]) if marked else None,
    )


def explicit_targets(sessions: Sessions) -> np.ndarray:
    """``is_target`` spelled out, bool ``[n_clicks]``."""
    if sessions.is_target is not None:
        return sessions.is_target
    targets = np.ones(len(sessions.items), dtype=bool)
    targets[sessions.offsets[:-1]] = False
    return targets
