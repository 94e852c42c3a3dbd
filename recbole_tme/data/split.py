"""Splits by whole sessions in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recbole_tme.data.ragged import take_sessions
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.errors import UserError

SECONDS_PER_DAY = 86_400


def validation_cut(data: SessionData, valid_ratio: float) -> SessionData:
    """Make the last ``valid_ratio`` of the training sessions the validation set.

    Whole sessions go to one side or the other, in the order of the training set, which is that of time. A data set
    that has validation sessions of its own keeps them.

    Args:
        data: the data set.
        valid_ratio: share of the training sessions, above 0 and below 1.

    Raises:
        UserError: the ratio leaves train or validation without a session or without an instance.
    """
    if data.valid is not None:
        return data
    start = len(data.train) - _n_last(len(data.train), valid_ratio, "valid_ratio")
    train, valid = data.train.slice(0, start), data.train.slice(start, len(data.train))
    for side, part in (("training", train), ("validation", valid)):
        if part.n_instances == 0:
            raise UserError(f"valid_ratio={valid_ratio} leaves no {side} session with two clicks; change it")
    return replace(data, train=train, valid=valid)


def by_last_click(sessions: Sessions, in_place: bool = False) -> Sessions:
    """Sessions in ascending time of their last click, equal times in the given order; unchanged without times.

    Args:
        sessions: whose clicks may be written over where it says ``in_place``; it is of no use then.
    """
    if sessions.times is None:
        return sessions
    last = last_clicks(sessions)
    if (last[1:] >= last[:-1]).all():
        return sessions
    order = np.argsort(last, kind="stable")
    del last
    return take_sessions(sessions, order, in_place)


def last_clicks(sessions: Sessions) -> np.ndarray:
    """Time of each session's last click, float64 ``[n_sessions]``, of sessions that have times."""
    assert sessions.times is not None
    return sessions.times[sessions.offsets[1:] - 1]


def time_split(
    sessions: Sessions, test_ratio: float | None = None, test_days: float | None = None
) -> tuple[Sessions, Sessions]:
    """Cut a log into train and test at one moment, each session by its last click.

    Args:
        sessions: in ascending time of their last click.
        test_ratio: the last share of the sessions is test, above 0 and below 1; or
        test_days: sessions whose last click is less than so many days before the end of the log are test.

    Returns:
        Train and test.

    Raises:
        UserError: the split leaves a side without sessions, or days are asked for without times.
    """
    n = len(sessions)
    if test_days is None:
        start = n - _n_last(n, test_ratio, "test_ratio")
    else:
        if sessions.times is None:
            raise UserError("test_days needs the time of every click: name the time column, or use test_ratio")
        last = last_clicks(sessions)
        start = int(np.searchsorted(last, last[-1] - test_days * SECONDS_PER_DAY, side="right"))
        if not 0 < start < n:
            days = (last[-1] - last[0]) / SECONDS_PER_DAY
            raise UserError(f"test_days={test_days} leaves one side empty: the log's sessions span {days:.3g} days")
    return sessions.slice(0, start), sessions.slice(start, n)


def last_fraction(sessions: Sessions, fraction: float) -> Sessions:
    """The last ``fraction`` of the sessions, as in Yoochoose 1/64; at least one."""
    if not 0 < fraction <= 1:
        raise UserError(f"train_fraction={fraction} must be above 0 and at most 1")
    n = max(1, round(len(sessions) * fraction))
    return take_sessions(sessions, np.arange(len(sessions) - n, len(sessions)))


def _n_last(n: int, ratio: float, key: str) -> int:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1:
        raise UserError(f"{key}={ratio} must be a number above 0 and below 1")
    n_last = round(n * ratio)
    if not 0 < n_last < n:
        raise UserError(f"{key}={ratio} of {n} sessions leaves one side empty; change it or bring more sessions")
    return n_last
