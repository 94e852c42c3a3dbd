"""Recommendations for sessions given in external item ids, by a trained model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from recbole_tme.errors import UserError
from recbole_tme.models.base import SessionRecommender
from recbole_tme.models.foundation import Interaction
from recbole_tme.serving.answers import Recommendation, Skipped
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.index_search import LARGEST_K, IndexedScores, UsedIndex, best_first
from recbole_tme.serving.reasons import Reasons
from recbole_tme.serving.saved import SavedModel, build_model
from recbole_tme.serving.selection import check_numbers, top_k, top_k_of_row
from recbole_tme.utils.hardware import one_thread

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# Scores that are held at a time: 8 MB of float32, which the processor's cache holds at least in part, ...
SCORES_AT_ONCE = 2**21
# ... or more for so many sessions, for which the item vectors are then read only once, but never over 64 MB.
EFFICIENT_BATCH, MOST_SCORES = 16, 2**24
LARGEST_BATCH = 1024


class Recommender:
    """A trained model that is asked in external item ids; made by :meth:`load`.

    It can be used by several threads at a time, and gives equal answers to equal questions: of equal scores the item
    that came first in the training data is the better one. On a CPU it computes on the calling thread alone
    (:func:`~recbole_tme.utils.hardware.one_thread` says why).

    Args:
        saved: the trained model.
        device: where it computes.
        index: None for the scores of the whole catalogue, or "faiss" for those of the items that an index finds.

    Attributes:
        name: the model's name.
        settings: what it was trained with, as plain data.
        model: the model, in evaluation mode.
        items: external item ids, ``[N]``.
        titles: readable name per external item id, where the data set has any.
        clicks: each item's clicks in training, int64 ``[N]``.
        batch_size: sessions that are scored at a time.
        index: what is to be known of the index; None without one.
    """

    def __init__(self, saved: SavedModel, device: torch.device, index: str | None = None):
        self.name, self.settings = saved.name, saved.settings
        self.model = build_model(saved, device)
        self.items = saved.items.ids
        self.titles = saved.items.titles
        self.batch_size = _batch_size(len(self.items))
        self._device = device
        self._number = {item: number for number, item in enumerate(self.items, start=1)}
        self.clicks = saved.items.clicks
        self._by_popularity = np.argsort(-self.clicks, kind="stable")
        self._max_clicks = saved.settings["MAX_ITEM_LIST_LENGTH"]
        self._fixed_width = saved.settings["padding"] == "max"
        # RecBole's models, and anyone's, may keep things in attributes during a forward pass.
        self._lock = threading.Lock()
        self.index: UsedIndex | None = None
        if index is not None:
            self._search = checked_index(index)(self.model, saved)
            self.index = self._search.open(saved, self._fields, self._exact_numbers)

    @classmethod
    def load(cls, path: Path | str, device: str = "cpu", index: str | None = None) -> Recommender:
        """A recommender of a finished run, or of a bundle; neither needs the data set.

        Args:
            path: the run directory or the bundle.
            device: "cpu" or "cuda".
            index: None, or "faiss" to score only what an index of the item vectors finds, which large catalogues want.
                It is made at the first time and kept beside the weights; ``index.recall`` says what share of the 20
                best items it finds. More than 100 items per session are found without it.

        Raises:
            UserError: there is no finished run and no bundle, the model is not to be had here or needs its data set, a
                file is missing, damaged or does not fit, there is no such device, or the model cannot be indexed.
        """
        where = checked_device(device)
        return cls(read_saved(Path(path)), where, index)

    def recommend(self, sessions: Iterable[Iterable], k: int = 20, exclude_seen: bool = False) -> pd.DataFrame:
        """The ``k`` best items for each session.

        Clicks on unknown items are skipped; of the others the most recent ``MAX_ITEM_LIST_LENGTH`` count. A session
        that has none gets the items with most clicks in training. Both are logged as one warning, and
        :meth:`answers` says it for each session.

        Args:
            sessions: external item ids in click order.
            k: how many items.
            exclude_seen: leave out the items of the session; there may be fewer than ``k`` then.

        Returns:
            A row per recommendation: ``session`` (its place in ``sessions``), ``rank`` (from 1), ``item`` (external
            id), ``score`` (the model's, or clicks in training) and ``source`` ("model" or "popularity").

        Raises:
            UserError: ``k`` is impossible, a session is no list, or the model's scores hold NaN.
        """
        import pandas as pd

        answers, skipped = list(self.answers(sessions, k, exclude_seen)), Skipped()
        for answer in answers:
            skipped.add(answer)
        if skipped:
            logger.warning("%s", skipped)
        sizes = [len(answer.items) for answer in answers]
        return pd.DataFrame(
            {
                "session": np.repeat(np.arange(len(answers)), sizes),
                "rank": np.concatenate([np.arange(0), *(np.arange(1, size + 1) for size in sizes)]),
                "item": pd.Series([item for answer in answers for item in answer.items], dtype=object),
                "score": np.concatenate([np.zeros(0), *(answer.scores for answer in answers)]),
                "source": pd.Series(np.repeat([answer.source for answer in answers], sizes), dtype=object),
            }
        )

    def answers(
        self, sessions: Iterable[Iterable], k: int = 20, exclude_seen: bool = False
    ) -> Iterator[Recommendation]:
        """The same as :meth:`recommend`, one :class:`Recommendation` per session; takes ``batch_size`` sessions at a
        time, so that they may be a stream.

        Raises:
            UserError: as :meth:`recommend`.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= len(self.items):
            raise UserError(
                f"k: must be a whole number from 1 to {len(self.items)}, the number of items the model knows, not {k!r}"
            )
        if isinstance(sessions, str):
            raise UserError(f"sessions: must be a list of lists of item ids, not the text {sessions!r}")
        return self._answers(sessions, int(k), exclude_seen)

    def explain(self, session: Iterable) -> Reasons | None:
        """What a session's scores rest on; None where the model has no weights to show (RecBole's, the
        baselines) and for a session without a click on a known item.

        Args:
            session: external item ids in click order.

        Raises:
            UserError: the session is no list.
        """
        session = session if isinstance(session, str) else list(session)
        known, _ = self._numbers(session)
        if not known or not isinstance(self.model, SessionRecommender):
            return None
        fields = self._fields([known])
        with self._lock, one_thread(), torch.inference_mode():
            found = self.model.explain(fields[self.model.ITEM_SEQ], fields[self.model.ITEM_SEQ_LEN])
        if found is None:
            return None
        places = [place for place, item in enumerate(session) if str(item) in self._number]
        return Reasons.of(found, places[-self._max_clicks :], len(session))

    def _answers(self, sessions: Iterable[Iterable], k: int, exclude_seen: bool) -> Iterator[Recommendation]:
        batch = []
        for session in sessions:
            batch.append(self._numbers(session))
            if len(batch) == self.batch_size:
                yield from self._answer_batch(batch, k, exclude_seen)
                batch = []
        yield from self._answer_batch(batch, k, exclude_seen)

    def _numbers(self, session: Iterable) -> tuple[list[int], list[str]]:
        """The model's numbers of a session's known items, and the names of the others."""
        if isinstance(session, str):
            raise UserError(f"sessions: each must be a list of item ids, not the text {session!r}")
        names = [str(item) for item in session]
        known = [self._number[name] for name in names if name in self._number]
        return known, [name for name in names if name not in self._number]

    def _answer_batch(
        self, batch: Sequence[tuple[list[int], list[str]]], k: int, exclude_seen: bool
    ) -> Iterator[Recommendation]:
        asked = [known for known, _ in batch if known]
        rows = iter(self._best(asked, k, exclude_seen) if asked else ())
        for known, unknown in batch:
            if known:
                places, scores = next(rows)
                source = "model"
            else:
                places = self._by_popularity[:k]
                scores, source = self.clicks[places].astype(np.float64), "popularity"
            yield Recommendation([self.items[place] for place in places], scores, source, unknown)

    def _best(
        self, sessions: Sequence[list[int]], k: int, exclude_seen: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places in the catalogue and scores of each session's best items."""
        seen = [np.unique(session) - 1 if exclude_seen else np.arange(0) for session in sessions]
        if self.index is not None and k <= LARGEST_K:
            return self._best_found(sessions, k, seen)
        return self._best_of_all(sessions, k, seen)

    def _best_of_all(
        self, sessions: Sequence[list[int]], k: int, seen: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with one_thread():
            scores = self._scores(sessions)
            for row, places in zip(scores, seen):
                row[places] = -np.inf
            best = list(top_k(scores, k))
        for row, (chosen, of_chosen), places in zip(scores, best, seen):
            if of_chosen[-1] == -np.inf and len(places):
                # Only what is left out, or impossible to the model, is left: the latter may fill the list up.
                chosen = top_k_of_row(row, k, places)
                of_chosen = row[chosen]
            yield chosen, of_chosen

    def _best_found(
        self, sessions: Sequence[list[int]], k: int, seen: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        fields = self._fields(sessions)
        with self._lock, one_thread():
            items, scores = self._search.best(fields, k + max(map(len, seen)))
        check_numbers(scores)
        for found, of_found, places in zip(items - 1, scores, seen):
            of_found[np.isin(found, places)] = -np.inf
            chosen = best_first(found, of_found, k)
            yield found[chosen], of_found[chosen]

    def _exact_numbers(self, sessions: Sequence[list[int]], k: int) -> list[np.ndarray]:
        """Numbers of each session's best items, whatever index there is."""
        parts = [sessions[i : i + self.batch_size] for i in range(0, len(sessions), self.batch_size)]
        nothing = [np.arange(0)] * self.batch_size
        return [places + 1 for part in parts for places, _ in self._best_of_all(part, k, nothing)]

    def _fields(self, sessions: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """The model's inputs, by name."""
        recent = [session[-self._max_clicks :] for session in sessions]
        width = self._max_clicks if self._fixed_width else max(map(len, recent))
        padded = np.zeros((len(recent), width), dtype=np.int64)
        for row, session in zip(padded, recent):
            row[: len(session)] = session
        lengths = torch.tensor([len(session) for session in recent])
        fields = {
            self.model.ITEM_SEQ: torch.from_numpy(padded),
            self.model.ITEM_SEQ_LEN: lengths,
            # Whose session it is: nobody's of training.
            self.model.USER_ID: torch.zeros_like(lengths),
        }
        return {name: value.to(self._device) for name, value in fields.items()}

    def _scores(self, sessions: Sequence[list[int]]) -> np.ndarray:
        """Scores of the catalogue without padding, ``[B, N]``; the caller may change them."""
        fields = Interaction(self._fields(sessions))
        with self._lock, torch.inference_mode():
            # A copy, because a model may hand out what it keeps.
            return self.model.full_sort_predict(fields).reshape(len(sessions), -1)[:, 1:].cpu().numpy().copy()


def _batch_size(n_items: int) -> int:
    """Sessions that are scored at a time."""
    efficient = min(EFFICIENT_BATCH, MOST_SCORES // (n_items + 1))
    return max(1, min(LARGEST_BATCH, max(SCORES_AT_ONCE // (n_items + 1), efficient)))


def checked_index(name: str) -> type[IndexedScores]:
    """The kind of index by name.

    Raises:
        UserError: there is no such kind.
    """
    if name != "faiss":
        raise UserError(f"index: must be 'faiss' or None, not {name!r}")
    return IndexedScores


def checked_device(name: str) -> torch.device:
    """A device by name.

    Raises:
        UserError: there is no such device here.
    """
    if name == "cpu" or (name == "cuda" and torch.cuda.is_available()):
        return torch.device(name)
    there = "cpu or cuda" if torch.cuda.is_available() else "cpu (there is no usable GPU here)"
    raise UserError(f"device: must be {there}, not {name!r}")
