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
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def to_offsets(lengths: np.ndarray) -> np.ndarray:
    """Offsets of parts of the given lengths, int64 ``[n + 1]``."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def take_sessions(sessions: Sessions, index: np.ndarray) -> Sessions:
    """The sessions of the given numbers (or where a mask is true), in that order."""
    if index.dtype == bool:
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
    before = to_offsets(keep)
    return replace(
        sessions,
        items=sessions.items[keep],
        offsets=before[sessions.offsets],
        times=None if sessions.times is None else sessions.times[keep],
        is_target=None if sessions.is_target is None else sessions.is_target[keep],
    )
