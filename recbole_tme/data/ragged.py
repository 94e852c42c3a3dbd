"""Picking sessions and clicks out of flat arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recbole_tme.data.sessions import Sessions


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


def to_offsets(lengths: np.ndarray) -> np.ndarray:
    """Offsets of parts of the given lengths, int64 ``[n + 1]``."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def take_sessions(sessions: Sessions, index: np.ndarray) -> Sessions:
    """The sessions of the given numbers (or where a mask is true), in that order; the same ones where that is all."""
    if index.dtype == bool:
        if index.all():
            return sessions
        index = np.flatnonzero(index)
    lengths = sessions.lengths[index]
    clicks = spans(sessions.offsets[index], lengths)
    return Sessions(
        items=sessions.items[clicks],
        offsets=to_offsets(lengths),
        ids=sessions.ids[index],
        times=None if sessions.times is None else sessions.times[clicks],
        is_target=None if sessions.is_target is None else sessions.is_target[clicks],
    )


def keep_clicks(sessions: Sessions, keep: np.ndarray) -> Sessions:
    """The clicks where ``keep`` (bool ``[n_clicks]``) is true; sessions left without clicks stay, empty."""
    if keep.all():
        return sessions
    before = to_offsets(keep)
    return replace(
        sessions,
        items=sessions.items[keep],
        offsets=before[sessions.offsets],
        times=None if sessions.times is None else sessions.times[keep],
        is_target=None if sessions.is_target is None else sessions.is_target[keep],
    )


def concatenate(parts: list[Sessions]) -> Sessions:
    """The sessions of several lists one after the other; times are kept where all have them."""
    timed = all(part.times is not None for part in parts)
    marked = any(part.is_target is not None for part in parts)
    return Sessions(
        items=np.concatenate([part.items for part in parts]),
        offsets=to_offsets(np.concatenate([part.lengths for part in parts])),
        ids=np.concatenate([part.ids for part in parts]),
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
