"""Random clicks between a session's own, to see how much a model relies on every click being meant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.sessions import Sessions


def insert_random_items(sessions: Sessions, rate: float, n_items: int, seed: int = 0) -> Sessions:
    """Insert random items into the prefixes of sessions; what is to be predicted stays as it is.

    The clicks that any prefix shows (those before the session's last target) are counted over all sessions, and
    behind a share ``rate`` of them, drawn without replacement, one item is inserted, drawn uniformly from the
    catalogue. So a prefix of l clicks gets ``rate * l`` items in expectation, and the last click that a model sees is
    an inserted one with probability ``rate``. An inserted click is never a target. With the same seed, what a lower
    rate inserts, a higher one inserts too.

    Args:
        sessions: the sessions.
        rate: inserted clicks per click that a prefix shows, in ``[0, 1]``.
        n_items: items of the catalogue, 1..n_items.
        seed: of the places and of the items.

    Returns:
        The sessions in the same order, with as many instances in the same order, without times.

    Raises:
        ValueError: the rate is outside ``[0, 1]``.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"a share of clicks lies in [0, 1], not {rate}")
    session, target = sessions.instances()
    last_target = sessions.offsets[:-1].copy()
    np.maximum.at(last_target, session, target)
    shown = np.flatnonzero(np.arange(len(sessions.items)) < np.repeat(last_target, sessions.lengths))
    rng = np.random.default_rng(seed)
    places, items = rng.permutation(shown), rng.integers(1, n_items + 1, len(shown))
    n = round(rate * len(shown))
    behind = np.zeros(len(sessions.items), dtype=np.int64)
    behind[places[:n]] = items[:n]

    # Every click is followed by what is inserted behind it, or by a gap that is closed at once.
    both = np.column_stack([sessions.items, behind]).ravel()
    targets = np.zeros(len(sessions.items), dtype=bool)
    targets[target] = True
    is_target = np.column_stack([targets, np.zeros_like(targets)]).ravel()
    keep = both > 0
    return replace(
        sessions,
        items=both[keep].astype(np.int32),
        offsets=to_offsets(keep)[2 * sessions.offsets],
        times=None,
        is_target=is_target[keep],
    )
