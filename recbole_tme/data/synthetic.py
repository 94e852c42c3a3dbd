"""Seeded sessions with known structure, for tests, checks and benchmarks."""

from __future__ import annotations

import numpy as np

from recbole_tme.data.catalogue import NamedSessions, assemble, catalogue, number_names
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.sessions import SessionData, Sessions

_START = 1_400_000_000.0


def toy(
    name: str = "toy", seed: int = 0, n_items: int = 80, n_sessions: int = 800, max_length: int = 12
) -> SessionData:
    """Sessions that walk round cycles, so that the next item is a function of the last click alone.

    The items are dealt out to cycles of 2 to 9 items; a session begins at a random item and follows its cycle, round
    again where it is long enough, so that items recur within a session without making the next one any less certain.
    A model that learns the successor of every item reaches hit@1 = 1.

    Args:
        name: the data set's name.
        seed: equal seeds give equal data.
        n_items: size of the catalogue; every item is clicked in train.
        n_sessions: train and test together; the last fifth is test.
        max_length: clicks of the longest session; lengths are uniform from 2.
    """
    rng = np.random.default_rng(seed)
    items = rng.permutation(n_items) + 1
    successor = np.zeros(n_items + 1, dtype=np.int32)
    rest = items
    while len(rest):
        length = int(rng.integers(2, 10))
        # A single item left over would be a cycle of one: it joins the last cycle.
        cycle, rest = (rest[:length], rest[length:]) if len(rest) > length + 1 else (rest, rest[:0])
        successor[cycle] = np.roll(cycle, -1)

    lengths = rng.integers(2, max_length + 1, n_sessions)
    walk = np.empty((n_sessions, max_length), dtype=np.int32)
    # The first sessions begin once at every item, so that train clicks them all.
    walk[:, 0] = np.concatenate([items, rng.integers(1, n_items + 1, max(n_sessions - n_items, 0))])[:n_sessions]
    for k in range(1, max_length):
        walk[:, k] = successor[walk[:, k - 1]]
    taken = np.arange(max_length) < lengths[:, None]
    sessions = Sessions(
        items=walk[taken],
        offsets=to_offsets(lengths),
        ids=number_names(1, n_sessions),
        times=(_START + 20.0 * np.arange(n_sessions * max_length).reshape(n_sessions, max_length))[taken],
    )
    return _split(name, sessions, n_items)


def random_sessions(
    n_sessions: int,
    n_items: int,
    *,
    seed: int = 0,
    mean_length: float = 6.0,
    max_length: int = 40,
    exponent: float = 1.0,
    repeat: float = 0.2,
) -> Sessions:
    """Sessions without structure but with the shape of real ones.

    Args:
        n_sessions: how many.
        n_items: item ids are 1..n_items; popularity falls as ``rank ** -exponent`` (Zipf).
        seed: equal seeds give equal sessions.
        mean_length: mean of the geometric distribution of lengths, before the cut at ``max_length``; least 2.
        max_length: clicks of the longest session.
        exponent: of the popularity.
        repeat: chance that a click after the first returns to an earlier click of its session.

    Returns:
        Sessions with times: 20 s from click to click, each session over before the next begins.
    """
    rng = np.random.default_rng(seed)
    lengths = np.minimum(1 + rng.geometric(1 / (mean_length - 1), n_sessions), max_length)
    offsets = to_offsets(lengths)
    n_clicks = int(offsets[-1])
    weights = np.arange(1, n_items + 1) ** -exponent
    share = np.cumsum(weights) / weights.sum()
    items = np.minimum(np.searchsorted(share, rng.random(n_clicks)), n_items - 1) + 1

    start = np.repeat(offsets[:-1], lengths)
    position = np.arange(n_clicks) - start
    returns = (rng.random(n_clicks) < repeat) & (position > 0)
    source = np.where(returns, start + (rng.random(n_clicks) * position).astype(np.int64), np.arange(n_clicks))
    # A click may return to one that itself returned: follow to the end.
    while (source[source] != source).any():
        source = source[source]
    session = np.repeat(np.arange(n_sessions), lengths)
    return Sessions(
        items=items[source].astype(np.int32),
        offsets=offsets,
        ids=number_names(1, n_sessions),
        times=_START + 20.0 * (max_length * session + position),
    )


def random_dataset(name: str, n_sessions: int, n_items: int, **shape) -> SessionData:
    """A data set of :func:`random_sessions`, the last fifth of them test."""
    return _split(name, random_sessions(n_sessions, n_items, **shape), n_items)


def _split(name: str, sessions: Sessions, n_items: int) -> SessionData:
    n_train = len(sessions) - len(sessions) // 5
    tokens = catalogue([f"i{k}" for k in range(1, n_items + 1)])
    train = NamedSessions(sessions.slice(0, n_train), tokens)
    return assemble(name, train, NamedSessions(sessions.slice(n_train, len(sessions)), tokens))
