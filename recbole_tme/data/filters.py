"""The field's usual filters on a click log."""

from __future__ import annotations

import numpy as np

from recbole_tme.data.ragged import keep_clicks, take_sessions
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError


def filter_log(
    sessions: Sessions,
    min_support: int = 5,
    min_length: int = 2,
    max_length: int | None = None,
    record: Record | None = None,
) -> Sessions:
    """Cut long sessions, then drop short sessions and rare items until neither is left.

    The order: (1) of a session longer than ``max_length`` only its most recent clicks are kept; (2) sessions
    shorter than ``min_length`` are dropped; (3) items with fewer than ``min_support`` clicks are dropped; (2) and
    (3) are repeated until they drop nothing. The common scripts of the field do (2), (3), (2) once, after which some
    items have fewer clicks than asked for.

    Args:
        sessions: a whole log, train and test together, as in those scripts.
        min_support: fewest clicks of an item.
        min_length: fewest clicks of a session.
        max_length: most clicks of a session, or None for no bound.
        record: what each filter drops is added here.

    Raises:
        UserError: nothing is left.
    """
    record = Record() if record is None else record
    if max_length is not None:
        before = len(sessions.items)
        sessions = most_recent(sessions, max_length)
        record.drop(f"long session: only its last {max_length} clicks are kept", before - len(sessions.items))
    n_items = int(sessions.items.max(initial=0)) + 1
    n_read = len(sessions)
    short = rare = 0
    while True:
        before = len(sessions.items)
        sessions = take_sessions(sessions, sessions.lengths >= min_length)
        short += before - len(sessions.items)
        left = len(sessions.items)
        clicks = np.bincount(sessions.items, minlength=n_items)
        sessions = keep_clicks(sessions, clicks[sessions.items] >= min_support)
        rare += left - len(sessions.items)
        if len(sessions.items) == before:
            break
    if before == 0:
        raise UserError(f"the filters leave no click (min_support={min_support}, min_length={min_length}); lower them")
    record.drop(f"rare item: clicked fewer than {min_support} times", rare)
    record.drop(f"short session: fewer than {min_length} clicks", short, n_read - len(sessions))
    return sessions


def most_recent(sessions: Sessions, max_length: int) -> Sessions:
    """The last ``max_length`` clicks of every session."""
    to_end = np.repeat(sessions.offsets[1:], sessions.lengths) - np.arange(len(sessions.items))
    return keep_clicks(sessions, to_end <= max_length)


def drop_unseen(test: Sessions, train: Sessions) -> Sessions:
    """Drop test clicks on items that train never clicks, then test sessions of fewer than two clicks."""
    seen = np.zeros(int(max(test.items.max(initial=0), train.items.max(initial=0))) + 1, dtype=bool)
    seen[train.items] = True
    test = keep_clicks(test, seen[test.items])
    return take_sessions(test, test.lengths >= 2)
