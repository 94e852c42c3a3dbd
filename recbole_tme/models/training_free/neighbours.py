"""Similar training sessions: who shares an item with the current session, and which items they clicked.

Everything works on several current sessions at once, as flat arrays with a row number, because that is several times
faster than one session after the other; no row's figures depend on another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.models.training_free.clicks import Clicks, latest_clicks

# Scores held at once, in float64: small enough for a core's cache to help, large enough for numpy's overhead.
SCORES_AT_ONCE = 2**21
# Sessions of the index per posting that is read from which on postings are sorted: adding them up in an array costs an
# array as long as there are sessions.
SPARSE = 8


class Current(NamedTuple):
    """The distinct items of several current sessions, in order of their latest clicks, row after row.

    Attributes:
        row: which session, ``[n]``, ascending.
        item: item ids, ``[n]``.
        position: position (1..l) of the item's latest click, ``[n]``.
        length: clicks of the session that the item is from, ``[n]``.
        lengths: clicks of each session, ``[B]``.
    """

    row: np.ndarray
    item: np.ndarray
    position: np.ndarray
    length: np.ndarray
    lengths: np.ndarray


class Candidates(NamedTuple):
    """Training sessions that share an item with a current session, ``[m]`` each.

    Attributes:
        row: the current session.
        session: numbers of the training sessions; a higher number is a more recent session.
        weight: sum of the current session's item weights over the shared items; then their similarity.
    """

    row: np.ndarray
    session: np.ndarray
    weight: np.ndarray

    def take(self, kept) -> Candidates:
        """Some of them."""
        return Candidates(*(column[kept] for column in self))


class Entries(NamedTuple):
    """The distinct items of the neighbours, one row per item and neighbour, ``[n]`` each.

    Attributes:
        row: the current session that the neighbour is one of.
        item: item ids.
        position: position (1..) of the item's latest click in the neighbour.
        similarity: of the neighbour.
        match: position (1..) in the neighbour of its latest click on the item, of those that the two sessions share,
            that the current session clicked last.
        since: clicks of the current session after that item's latest click there.
    """

    row: np.ndarray
    item: np.ndarray
    position: np.ndarray
    similarity: np.ndarray
    match: np.ndarray
    since: np.ndarray


class SessionIndex:
    """Training sessions by item and items by training session.

    Args:
        clicks: the training sessions, in time order.
        n_items: items of the catalogue and padding.
        sample_size: sessions per item that can be candidates, the most recent ones. This is exact: of a union of
            sessions only the ``sample_size`` most recent are wanted, and those are recent for each item they hold.
    """

    def __init__(self, clicks: Clicks, n_items: int, sample_size: int):
        self.n_items, self.n_sessions = n_items, clicks.n_sessions
        self.lengths = clicks.lengths
        self.popularity = clicks.popularity(n_items)
        self.sample_size = sample_size
        session = clicks.session
        position = np.arange(len(session)) - clicks.offsets[session] + 1
        order = np.lexsort((position, clicks.items, session))
        is_latest = np.append(_changes(session[order]) | _changes(clicks.items[order]), len(order) > 0)
        rows = order[is_latest[: len(order)]]
        self.item, self.position, session = clicks.items[rows], position[rows], session[rows]
        self.n_distinct = np.bincount(session, minlength=self.n_sessions)
        self.start = _starts(self.n_distinct)
        self.n_sessions_with = np.bincount(self.item, minlength=n_items)

        recent_first = np.lexsort((-session, self.item))
        place = np.arange(len(rows)) - _starts(self.n_sessions_with)[self.item[recent_first]]
        kept = recent_first[place < sample_size]
        posted = session[kept], _starts(np.minimum(self.n_sessions_with, sample_size))
        self.posted = sparse.csr_matrix((np.ones(len(kept)), *posted), shape=(n_items, self.n_sessions))

    def candidates(self, current: Current, weight: np.ndarray) -> Candidates:
        """The ``sample_size`` most recent training sessions with one of the items of each current session.

        Args:
            current: the current sessions.
            weight: of each of their items, ``[n]``, above 0.
        """
        found = self._sorted(current, weight) if self._is_sparse(current) else self._multiplied(current, weight)
        counts = np.bincount(found.row, minlength=len(current.lengths))
        # Of each row the last ones: sessions are ascending.
        from_end = np.repeat(np.cumsum(counts), counts) - np.arange(len(found.row))
        return found.take(from_end <= self.sample_size) if counts.max(initial=0) > self.sample_size else found

    def _is_sparse(self, current: Current) -> bool:
        starts = self.posted.indptr
        return SPARSE * int((starts[current.item + 1] - starts[current.item]).sum()) < self.n_sessions

    def _sorted(self, current: Current, weight: np.ndarray) -> Candidates:
        """All sessions with an item of each current one, ascending: the items' lists put together, in the time of
        these lists whatever the number of sessions."""
        starts = self.posted.indptr
        counts = starts[current.item + 1] - starts[current.item]
        postings = self.posted.indices[_ranges(starts[current.item], counts)]
        keys = np.repeat(current.row * self.n_sessions, counts) + postings
        distinct, place = np.unique(keys, return_inverse=True)
        return Candidates(*np.divmod(distinct, self.n_sessions), np.bincount(place, np.repeat(weight, counts)))

    def _multiplied(self, current: Current, weight: np.ndarray) -> Candidates:
        """The same, number for number, for many postings at once."""
        n_rows = len(current.lengths)
        starts = np.searchsorted(current.row, np.arange(n_rows + 1))
        found = sparse.csr_matrix((weight, current.item, starts), shape=(n_rows, self.n_items)) @ self.posted
        found.sort_indices()
        return Candidates(np.repeat(np.arange(n_rows), np.diff(found.indptr)), found.indices, found.data)

    def entries(self, current: Current, near: Candidates) -> Entries:
        """The distinct items of the neighbours ``near`` of current sessions."""
        counts = self.n_distinct[near.session]
        rows = _ranges(self.start[near.session], counts)
        item, position = self.item[rows], self.position[rows]
        row = np.repeat(near.row, counts)
        here = positions_of(current, row, item, self.n_items)
        latest = np.maximum.reduceat(here, _starts(counts)[:-1]) if len(near.session) else here
        # The one entry of each neighbour that is that item.
        match = position[here == np.repeat(latest, counts)]
        since = current.lengths[near.row] - latest
        return Entries(row, item, position, *(np.repeat(column, counts) for column in (near.weight, match, since)))

    def rarity(self, weight: float) -> np.ndarray:
        """``1 + weight * ln(sessions / sessions with the item)``, 1 for items without a session, ``[N + 1]``."""
        return 1 + weight * self.idf()

    def idf(self) -> np.ndarray:
        """``ln(sessions / sessions with the item)``, 0 for items without a session, ``[N + 1]``."""
        count = self.n_sessions_with
        return np.where(count > 0, np.log(max(1, self.n_sessions) / np.maximum(count, 1)), 0)


class Found(NamedTuple):
    """Items with a score, ascending, and their scores, float32; ``[n]`` each."""

    items: np.ndarray
    scores: np.ndarray


class Prepared(NamedTuple):
    """The index, and factors on each item's weight in a similarity and on its score, ``[N + 1]``."""

    index: SessionIndex
    match_weights: np.ndarray
    item_weights: np.ndarray


class SessionNeighbours(TrainingFree):
    """Scores from the ``k`` most similar of the ``sample_size`` most recent sessions that share an item.

    Of equally similar sessions the more recent ones are neighbours. Equal scores are put in order by the items' last
    click in training, the later first. Items of no neighbour score 0.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.k = config["k"]
        self.sample_size = config["sample_size"]
        clicks = self.train_clicks(dataset)
        self.remember("clicks", clicks.items, ragged=True)
        self.remember("offsets", clicks.offsets, ragged=True)

    def click_weights(self, current: Current) -> np.ndarray:
        """Weights of the current sessions' items by their positions, ``[n]``, above 0."""
        raise NotImplementedError

    def match_weights(self, index: SessionIndex) -> np.ndarray:
        """Factor on each item's weight where two sessions share it, ``[N + 1]``, above 0."""
        return np.ones(self.n_items)

    def similarity(self, found: Candidates, current: Current, weights: np.ndarray, index: SessionIndex) -> np.ndarray:
        """Similarity of each candidate to its current session, ``[m]``, above 0; ``weights`` as given, ``[n]``."""
        raise NotImplementedError

    def entry_weights(self, entries: Entries) -> np.ndarray:
        """What each item of each neighbour adds to the item's score, ``[n]``."""
        raise NotImplementedError

    def item_weights(self, index: SessionIndex) -> np.ndarray:
        """Factor on each item's score, ``[N + 1]``."""
        return np.ones(self.n_items)

    def prepare(self, state: dict[str, np.ndarray]) -> Prepared:
        clicks = Clicks(state["clicks"], state["offsets"])
        index = SessionIndex(clicks, self.n_items, self.sample_size)
        weights = self.item_weights(index) * clicks.tie_factors(self.n_items)
        return Prepared(index, self.match_weights(index), weights)

    def score_sessions(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        at_once = max(1, SCORES_AT_ONCE // self.n_items)
        parts = [self.score_some(sessions[at : at + at_once]) for at in range(0, len(sessions), at_once)]
        return np.concatenate(parts)

    def score_some(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        """:meth:`score_sessions` of few enough sessions to hold their scores in float64."""
        row, item, added = self._additions(sessions)
        shape = len(sessions), self.n_items
        scores = np.bincount(row * self.n_items + item, added, minlength=shape[0] * shape[1]).reshape(shape)
        weights = self.prepared.item_weights
        return np.multiply(scores, weights, out=np.empty(shape, dtype=np.float32), casting="same_kind")

    def found(self, sessions: Sequence[np.ndarray]) -> list[Found] | None:
        """The items that have a score, in the time that looking the neighbours up takes, whatever the catalogue.

        Returns:
            For each session what :meth:`score_sessions` gives, number for number, without the zeros; None for a
            subclass that scores in another way.
        """
        scoring = (type(self).score_sessions, type(self).score_some)
        if scoring != (SessionNeighbours.score_sessions, SessionNeighbours.score_some):
            return None
        row, item, added = self._additions(sessions)
        cells, place = np.unique(row * self.n_items + item, return_inverse=True)
        items = cells % self.n_items
        scores = (np.bincount(place, added) * self.prepared.item_weights[items]).astype(np.float32)
        bounds = np.searchsorted(cells, np.arange(1, len(sessions)) * self.n_items)
        return [Found(*part) for part in zip(np.split(items, bounds), np.split(scores, bounds))]

    def _additions(self, sessions: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each item of each neighbour adds to which item's score in which session's row, ``[n]`` each."""
        index, match_weights, _ = self.prepared
        current = flat(sessions)
        weights = self.click_weights(current)
        found = index.candidates(current, weights * match_weights[current.item])
        near = most_similar(found._replace(weight=self.similarity(found, current, weights, index)), self.k)
        entries = index.entries(current, near)
        return entries.row, entries.item, self.entry_weights(entries)


def flat(sessions: Sequence[np.ndarray]) -> Current:
    """Several sessions, item ids in click order, as the arrays that scoring works on."""
    items, positions, _ = zip(*map(latest_clicks, sessions))
    lengths = np.fromiter(map(len, sessions), dtype=np.int64)
    row = np.repeat(np.arange(len(sessions)), [len(part) for part in items])
    return Current(row, np.concatenate(items), np.concatenate(positions), lengths[row], lengths)


def positions_of(current: Current, row: np.ndarray, item: np.ndarray, n_items: int) -> np.ndarray:
    """Where each row clicked an item last, 0 for items that it did not click, ``[n]``."""
    keys = current.row * n_items + current.item
    order = np.argsort(keys)
    keys = keys[order]
    wanted = row * n_items + item
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, current.position[order][place], 0)


def most_similar(found: Candidates, k: int) -> Candidates:
    """The ``k`` candidates of the highest weight of each row, of equal ones the more recent sessions."""
    kept = np.ones(len(found.row), dtype=bool)
    ends = _starts(np.bincount(found.row))
    for row in np.flatnonzero(np.diff(ends) > k):
        part = slice(ends[row], ends[row + 1])
        weight, session = found.weight[part], found.session[part]
        least = np.partition(weight, -k)[-k]
        above = weight > least
        equal = np.flatnonzero(weight == least)
        latest = equal[np.argsort(-session[equal])[: k - np.count_nonzero(above)]]
        above[latest] = True
        kept[part] = above
    return found.take(kept)


def _changes(values: np.ndarray) -> np.ndarray:
    return values[1:] != values[:-1]


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts))


def _ranges(start: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``start[0], start[0] + 1, ...`` (``counts[0]`` of them), then those from ``start[1]``, and so on."""
    end = np.cumsum(counts)
    return np.arange(counts.sum()) + np.repeat(start - (end - counts), counts)
