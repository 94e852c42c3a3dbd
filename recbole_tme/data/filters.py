"""The field's usual filters on a click log."""

from __future__ import annotations

import numpy as np

from recbole_tme.data.ragged import (
    CLICKS_AT_ONCE,
    blocks,
    counts,
    keep_clicks,
    look_up,
    occurring,
    take_sessions,
    without_empty,
)
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError


def filter_log(
    sessions: Sessions,
    min_support: int = 5,
    min_length: int = 2,
    max_length: int | None = None,
    record: Record | None = None,
    in_place: bool = False,
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
        in_place: whether the clicks that are left may be written over those of ``sessions``, which is of no use then.

    Raises:
        UserError: nothing is left.
    """
    record = Record() if record is None else record
    if max_length is not None:
        before = len(sessions.items)
        sessions = most_recent(sessions, max_length, in_place)
        record.drop(f"long session: only its last {max_length} clicks are kept", before - len(sessions.items))
    n_items = int(sessions.items.max(initial=0)) + 1
    # Which clicks are left is settled first, so that they are copied once.
    kept = np.ones(len(sessions.items), dtype=bool)
    n_kept, before, short, rare = len(kept), -1, 0, 0
    while n_kept != before:
        before = n_kept
        n_kept, n_long = _without_short(sessions.offsets, kept, min_length)
        short += before - n_kept
        left = n_kept
        n_kept = _without_rare(sessions.items, kept, n_items, min_support)
        rare += left - n_kept
    if n_kept == 0:
        raise UserError(f"the filters leave no click (min_support={min_support}, min_length={min_length}); lower them")
    record.drop(f"rare item: clicked fewer than {min_support} times", rare)
    record.drop(f"short session: fewer than {min_length} clicks", short, len(sessions) - n_long)
    return without_empty(keep_clicks(sessions, kept, in_place))


def _without_short(offsets: np.ndarray, kept: np.ndarray, min_length: int) -> tuple[int, int]:
    """Take the clicks of short sessions out of ``kept``; how many clicks and sessions are left."""
    n_clicks = n_sessions = 0
    for start, stop in blocks(offsets):
        some = offsets[start : stop + 1]
        lengths = counts(kept[some[0] : some[-1]], some - some[0])
        long = lengths >= min_length
        kept[some[0] : some[-1]] &= np.repeat(long, np.diff(some))
        n_clicks, n_sessions = n_clicks + int(lengths[long].sum()), n_sessions + np.count_nonzero(long)
    return n_clicks, n_sessions


def _without_rare(items: np.ndarray, kept: np.ndarray, n_items: int, min_support: int) -> int:
    """Take the clicks of rare items out of ``kept``; how many are left."""
    parts = [slice(start, start + CLICKS_AT_ONCE) for start in range(0, len(items), CLICKS_AT_ONCE)]
    clicks = np.zeros(n_items, dtype=np.int64)
    for part in parts:
        clicks += np.bincount(items[part][kept[part]], minlength=n_items)
    frequent = clicks >= min_support
    kept &= look_up(frequent, items)
    return int(clicks[frequent].sum())


def most_recent(sessions: Sessions, max_length: int, in_place: bool = False) -> Sessions:
    """The last ``max_length`` clicks of every session; ``in_place`` as in :func:`take_sessions`."""
    keep = np.empty(len(sessions.items), dtype=bool)
    for start, stop in blocks(sessions.offsets):
        lo, hi = sessions.offsets[start], sessions.offsets[stop]
        ends = np.repeat(sessions.offsets[start + 1 : stop + 1], sessions.lengths[start:stop])
        keep[lo:hi] = ends - np.arange(lo, hi) <= max_length
    return keep_clicks(sessions, keep, in_place)


def drop_unseen(test: Sessions, train: Sessions) -> Sessions:
    """Drop test clicks on items that train never clicks, then test sessions of fewer than two clicks."""
    seen = occurring(train.items, least=int(test.items.max(initial=0)) + 1)
    test = keep_clicks(test, look_up(seen, test.items))
    return take_sessions(test, test.lengths >= 2)
