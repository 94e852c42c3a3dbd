"""Seeded sessions with known structure, for tests, checks and benchmarks."""

from __future__ import annotations

import numpy as np

from recbole_tme.data.catalogue import NamedSessions, assemble, catalogue
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.sessions import SessionData, Sessions

_START = 1_400_000_000.0


def toy(
    name: str = "toy", seed: int = 0, n_chains: int = 16, chain_length: int = 5, n_sessions: int = 1200
) -> SessionData:
    """Sessions that walk along chains of items, so that the next item is a function of the last click alone.

    The items are dealt out to chains of equal length; a session begins and ends anywhere in one chain. A model that
    learns the successor of every item reaches hit@1 = 1. Chains have ends on purpose: models that score by the inner
    product of clicked and candidate item know no direction but the one that clicks and popularity give away, and on a
    cycle their affinities would have to be symmetric.

    Args:
        name: the data set's name.
        seed: equal seeds give equal data.
        n_chains, chain_length: the catalogue has their product of items, each clicked in train; length at least 2.
        n_sessions: train and test together; the last fifth is test.
    """
    rng = np.random.default_rng(seed)
    n_items = n_chains * chain_length
    chains = rng.permutation(n_items).reshape(n_chains, chain_length) + 1
    # The first sessions walk each chain from end to end, so that train clicks every item.
    whole = np.arange(n_sessions) < n_chains
    chain = np.where(whole, np.arange(n_sessions), rng.integers(0, n_chains, n_sessions))
    first = np.where(whole, 0, rng.integers(0, chain_length - 1, n_sessions))
    stop = np.where(whole, chain_length, rng.integers(first + 2, chain_length + 1))
    place = np.arange(chain_length)
    taken = (place >= first[:, None]) & (place < stop[:, None])
    sessions = Sessions(
        items=chains[chain % n_chains][taken].astype(np.int32),
        offsets=to_offsets(stop - first),
        ids=Names.numbered(1, n_sessions),
        times=(_START + 20.0 * np.arange(n_sessions * chain_length).reshape(n_sessions, chain_length))[taken],
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
        ids=Names.numbered(1, n_sessions),
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
