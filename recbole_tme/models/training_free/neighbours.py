"""Similar training sessions: who shares an item with the current session, and which items they clicked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.models.training_free.clicks import Clicks, latest_clicks


class Candidates(NamedTuple):
    """Training sessions that share an item with the current session, ``[m]`` each.

    Attributes:
        session: their numbers; a higher number is a more recent session.
        weight: sum of the current session's item weights over the shared items; then their similarity.
        here: position (1..l) in the current session of the last click on a shared item.
        there: position (1..) in the training session of its latest click on that same item.
    """

    session: np.ndarray
    weight: np.ndarray
    here: np.ndarray
    there: np.ndarray

    def take(self, rows) -> Candidates:
        """Some of them."""
        return Candidates(*(column[rows] for column in self))


class Entries(NamedTuple):
    """The distinct items of several training sessions, ``[n]`` each.

    Attributes:
        item: item ids.
        position: position (1..) of the item's latest click in its session.
        owner: which of the sessions, counted from 0.
    """

    item: np.ndarray
    position: np.ndarray
    owner: np.ndarray


class SessionIndex:
    """Training sessions by item and items by training session.

    Args:
        clicks: the training sessions, in time order.
        n_items: items of the catalogue and padding.
        sample_size: sessions per item that can be candidates, the most recent ones. This is exact: of a union of
            sessions only the ``sample_size`` most recent are wanted, and those are recent for each item they hold.
    """

    def __init__(self, clicks: Clicks, n_items: int, sample_size: int):
        self.n_sessions = clicks.n_sessions
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
        self.posted_session, self.posted_position = session[kept], self.position[kept]
        self.n_posted = np.minimum(self.n_sessions_with, sample_size)
        self.posted_start = _starts(self.n_posted)

    def candidates(self, items: np.ndarray, position: np.ndarray, weight: np.ndarray) -> Candidates:
        """The ``sample_size`` most recent training sessions with one of the items, oldest first.

        Args:
            items: distinct item ids of the current session, ``[n]``.
            position: positions of their latest clicks, ascending.
            weight: their weights.
        """
        counts = self.n_posted[items]
        found = _ranges(self.posted_start[items], counts)
        session, slot = np.unique(self.posted_session[found], return_inverse=True)
        total = np.bincount(slot, np.repeat(weight, counts), minlength=len(session))
        here, there = np.empty(len(session), dtype=np.int64), np.empty(len(session), dtype=np.int64)
        # Of repeated indices the last assignment stands: the item clicked last.
        here[slot] = np.repeat(position, counts)
        there[slot] = self.posted_position[found]
        return Candidates(session, total, here, there).take(slice(max(0, len(session) - self.sample_size), None))

    def entries(self, sessions: np.ndarray) -> Entries:
        """The distinct items of training sessions, ``[k]`` of their numbers."""
        counts = self.n_distinct[sessions]
        rows = _ranges(self.start[sessions], counts)
        return Entries(self.item[rows], self.position[rows], np.repeat(np.arange(len(sessions)), counts))

    def rarity(self, weight: float) -> np.ndarray:
        """``1 + weight * ln(sessions / sessions with the item)``, 1 for items without a session, ``[N + 1]``."""
        count = self.n_sessions_with
        return 1 + weight * np.where(count > 0, np.log(max(1, self.n_sessions) / np.maximum(count, 1)), 0)


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

    def click_weights(self, position: np.ndarray, length: int) -> np.ndarray:
        """Weights of the current session's distinct items, by the positions of their latest clicks, ``[n]``."""
        raise NotImplementedError

    def similarity(self, found: Candidates, weights: np.ndarray, length: int, index: SessionIndex) -> np.ndarray:
        """Similarity of each candidate to the current session of ``length`` clicks, ``[m]``, above 0."""
        raise NotImplementedError

    def entry_weights(self, near: Candidates, entries: Entries, length: int) -> np.ndarray:
        """What each item of each neighbour adds to the item's score, ``[n]``; ``near.weight`` is the similarity."""
        raise NotImplementedError

    def item_weights(self, index: SessionIndex) -> np.ndarray:
        """Factor on each item's score, ``[N + 1]``."""
        return np.ones(self.n_items)

    def prepare(self, state: dict[str, np.ndarray]) -> tuple[SessionIndex, np.ndarray]:
        clicks = Clicks(state["clicks"], state["offsets"])
        index = SessionIndex(clicks, self.n_items, self.sample_size)
        return index, self.item_weights(index) * clicks.tie_factors(self.n_items)

    def score(self, session: np.ndarray) -> np.ndarray:
        index, item_weights = self.prepared
        items, position, _ = latest_clicks(session)
        weights = self.click_weights(position, len(session))
        found = index.candidates(items, position, weights)
        near = found._replace(weight=self.similarity(found, weights, len(session), index))
        if len(near.session) > self.k:
            # Oldest last, so that the stable sort prefers the recent among equals.
            near = near.take(slice(None, None, -1))
            near = near.take(np.argsort(-near.weight, kind="stable")[: self.k])
        entries = index.entries(near.session)
        added = self.entry_weights(near, entries, len(session))
        return np.bincount(entries.item, added, minlength=self.n_items) * item_weights


def _changes(values: np.ndarray) -> np.ndarray:
    return values[1:] != values[:-1]


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts))


def _ranges(start: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``start[0], start[0] + 1, ...`` (``counts[0]`` of them), then those from ``start[1]``, and so on."""
    end = np.cumsum(counts)
    return np.arange(counts.sum()) + np.repeat(start - (end - counts), counts)
