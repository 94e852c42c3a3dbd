"""Recommendations for sessions given in external item ids, by a trained model."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from recbole_tme.errors import UserError
from recbole_tme.models.base import SessionRecommender
from recbole_tme.models.foundation import Interaction
from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.serving.answers import Recommendation, Skipped, as_frame
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.given import given_sessions
from recbole_tme.serving.index_search import LARGEST_K, UsedIndex, best_first, checked_index
from recbole_tme.serving.new_items import with_new_items
from recbole_tme.serving.reasons import Reasons
from recbole_tme.serving.rules.columns import ItemColumns
from recbole_tme.serving.rules.compiled import CompiledRules, compiled, fewer
from recbole_tme.serving.rules.rules import GivenRules, Rules
from recbole_tme.serving.saved import SavedModel, build_model, checked_device
from recbole_tme.serving.selection import batch_size, best_found, check_numbers, top_k, top_k_of_row
from recbole_tme.serving.vectors import vectors_of
from recbole_tme.utils.hardware import one_thread
from recbole_tme.utils.unit import unit_rows

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)
# The numbers of the known items of each session, and the names of the unknown ones.
Best = tuple[np.ndarray, np.ndarray]
Asked = Sequence[tuple[list[int], list[str]]]
# Sets of rules that are kept in numbers: some bytes for every item and set.
KEPT_RULES = 16


class Recommender:
    """A trained model that is asked in external item ids; made by :meth:`load`.

    It can be used by several threads at a time, and gives equal answers to equal questions: of equal scores the item
    that came first in the training data is the better one. On a CPU it computes on the calling thread alone
    (:func:`~recbole_tme.utils.hardware.one_thread` says why).

    Args:
        saved: the trained model.
        device: where it computes.
        index: None for the scores of the whole catalogue, or "faiss" for those of the items that an index finds.
        items: a table with columns of the items, which rules may ask about; None for no columns.

    Attributes:
        name: the model's name.
        settings: what it was trained with, as plain data.
        model: the model, in evaluation mode.
        items: external item ids, ``[N]``.
        titles: readable name per external item id, where the data set has any.
        clicks: each item's clicks in training, int64 ``[N]``.
        columns: what rules may ask of the items.
        batch_size: sessions that are scored at a time.
        index: what is to be known of the index; None without one.
        new_items: how many of the last of ``items`` were added by their content.
    """

    def __init__(
        self, saved: SavedModel, device: torch.device, index: str | None = None, items: Path | str | None = None
    ):
        self.name, self.settings = saved.name, saved.settings
        self.model = build_model(saved, device)
        self.items, self.new_items = saved.items.ids, saved.new_items
        self.titles = saved.items.titles
        self.batch_size = batch_size(len(self.items))
        self._device = device
        self._number = {item: number for number, item in enumerate(self.items, start=1)}
        self.clicks = saved.items.clicks
        self.columns = ItemColumns() if items is None else ItemColumns.read(Path(items), self.items)
        self._compiled: dict[tuple[Rules, ...], CompiledRules] = {}
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
    def load(
        cls,
        path: Path | str = "latest",
        device: str = "cpu",
        index: str | None = None,
        items: Path | str | None = None,
        new_items: Sequence[Path | str] | Path | str = (),
    ) -> Recommender:
        """A recommender of a finished run, or of a bundle; neither needs the data set.

        Args:
            path: the run directory, a folder of runs (its newest finished one), ``"latest"``, or a bundle.
            device: "cpu" or "cuda".
            index: None, or "faiss" to score only what an index of the item vectors finds, which large catalogues want.
                It is made at the first time and kept beside the weights; ``index.recall`` says what share of the 20
                best items it finds. More than 100 items per session, and lists with rules, are found without it.
            items: a table of items for rules: RecBole's ``.item``, CSV, JSON or Parquet with a column ``item_id`` and
                any others. Items of the table that the model does not know are left out.
            new_items: tables of items, or files of vectors, with items that the model does not know, to be recommended
                by their content; see :func:`~recbole_tme.serving.new_items.with_new_items`.

        Raises:
            UserError: there is no finished run and no bundle, the model is not to be had here or needs its data set, a
                file is missing, damaged or does not fit, there is no such device, or the model cannot be indexed.
        """
        where = checked_device(device)
        return cls(with_new_items(read_saved(Path(path)), new_items), where, index, items)

    def __repr__(self) -> str:
        return f"<Recommender: {self.name} over {len(self.items):,} items>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"

    def recommend(
        self,
        sessions: Iterable | pd.DataFrame,
        k: int = 20,
        exclude_seen: bool = False,
        rules: GivenRules = None,
        *,
        session: str | None = None,
        item: str | None = None,
        time: str | None = None,
    ) -> pd.DataFrame:
        """The ``k`` best items for each session.

        Clicks on unknown items are skipped; of the others the most recent ``MAX_ITEM_LIST_LENGTH`` count. A session
        that has none gets the items with most clicks in training. Both are logged as one warning, and
        :meth:`answers` says it for each session.

        Args:
            sessions: external item ids in click order: one list, several, or a DataFrame with a click per row.
            k: how many items.
            exclude_seen: leave out the items of the session; there may be fewer than ``k`` then.
            rules: a :class:`~recbole_tme.serving.rules.rules.Rules`, or a mapping of its attributes such as ``{"deny":
                "price > 50", "max_per": {"brand": 2}}``. The list is filled up to ``k`` as far as they allow.
            session, item, time: columns of a DataFrame, see :func:`~recbole_tme.serving.given.given_sessions`.

        Returns:
            A row per recommendation: ``session`` (counted from 1, or a DataFrame's own name), ``rank`` (from 1),
            ``item`` (external id), ``title`` where the data set has titles, ``score`` (the model's, or clicks in
            training) and ``source`` ("model" or "popularity").

        Raises:
            UserError: ``k`` is impossible, a session is no list, a rule is none, or the model's scores hold NaN.
        """
        names, clicks = given_sessions(sessions, session, item, time)
        answers, skipped = list(self.answers(clicks, k, exclude_seen, rules)), Skipped()
        for answer in answers:
            skipped.add(answer)
        if skipped:
            logger.warning("%s", skipped)
        return as_frame(names, answers, self.titles)

    def answers(
        self, sessions: Iterable[Iterable], k: int = 20, exclude_seen: bool = False, rules: GivenRules = None
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
        return self._answers(sessions, int(k), exclude_seen, self.compiled(rules, exclude_seen))

    def compiled(self, rules: GivenRules, exclude_seen: bool = False) -> CompiledRules | None:
        """Rules in numbers, which are kept for the next request; None where there are none.

        Raises:
            UserError: a rule is none; names it.
        """
        if rules is None:
            return None
        parts = (rules,) if isinstance(rules, (Rules, Mapping)) else tuple(rules)
        parts = tuple(Rules.of(part) for part in parts)
        if exclude_seen:
            parts = (*parts, Rules(exclude_seen=True))
        if all(part == Rules() for part in parts):
            return None
        found = self._compiled.get(parts)
        if found is None:
            found = compiled(parts, self.items, self._number, self.columns, self._vectors is not None)
            if len(self._compiled) >= KEPT_RULES:
                self._compiled.clear()
            self._compiled[parts] = found
        return found

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

    def _answers(
        self, sessions: Iterable[Iterable], k: int, exclude_seen: bool, rules: CompiledRules | None
    ) -> Iterator[Recommendation]:
        batch = []
        for session in sessions:
            batch.append(self._numbers(session))
            if len(batch) == self.batch_size:
                yield from self._answer_batch(batch, k, exclude_seen, rules)
                batch = []
        yield from self._answer_batch(batch, k, exclude_seen, rules)

    def _numbers(self, session: Iterable) -> tuple[list[int], list[str]]:
        """The model's numbers of a session's known items, and the names of the others."""
        if isinstance(session, str):
            raise UserError(f"sessions: each must be a list of item ids, not the text {session!r}")
        names = [str(item) for item in session]
        known = [self._number[name] for name in names if name in self._number]
        return known, [name for name in names if name not in self._number]

    def _answer_batch(
        self, batch: Asked, k: int, exclude_seen: bool, rules: CompiledRules | None
    ) -> Iterator[Recommendation]:
        if rules is not None:
            yield from self._answer_by_rules(batch, k, rules)
            return
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

    def _answer_by_rules(self, batch: Asked, k: int, rules: CompiledRules) -> Iterator[Recommendation]:
        asked = [known for known, _ in batch if known]
        rows = iter(self._scores(asked) if asked else ())
        are_logs = not isinstance(self.model, TrainingFree)
        for known, unknown in batch:
            row = next(rows) if known else self.clicks.astype(np.float32)
            with one_thread():
                seen = np.unique(known).astype(np.int64) - 1
                places, scores = rules.best(row, k, seen, are_logs and bool(known), lambda at: self._vectors[at])
            left = fewer(k, len(places))
            notes = rules.notes if left is None else (*rules.notes, left)
            source = "model" if known else "popularity"
            yield Recommendation([self.items[place] for place in places], scores, source, unknown, notes)

    @cached_property
    def _vectors(self) -> np.ndarray | None:
        """Item vectors without padding, of length 1; None where the model has none."""
        with self._lock:
            vectors = vectors_of(self.model, len(self.items))
        return None if vectors is None else unit_rows(vectors)

    def _best(self, sessions: Sequence[list[int]], k: int, exclude_seen: bool) -> Iterator[Best]:
        """Places in the catalogue and scores of each session's best items."""
        seen = [np.unique(session) - 1 if exclude_seen else np.arange(0) for session in sessions]
        if self.index is not None and k <= LARGEST_K:
            return self._best_indexed(sessions, k, seen)
        with self._lock, one_thread():
            best = best_found(self.model, [one[-self._max_clicks :] for one in sessions], k, len(self.items), seen)
        return self._best_of_all(sessions, k, seen) if best is None else iter(best)

    def _best_of_all(self, sessions: Sequence[list[int]], k: int, seen: Sequence[np.ndarray]) -> Iterator[Best]:
        scores = self._scores(sessions)
        for row, places in zip(scores, seen):
            row[places] = -np.inf
        with one_thread():
            best = list(top_k(scores, k))
        for row, (chosen, of_chosen), places in zip(scores, best, seen):
            if of_chosen[-1] == -np.inf and len(places):
                # Only what is left out, or impossible to the model, is left: the latter may fill the list up.
                chosen = top_k_of_row(row, k, places)
                of_chosen = row[chosen]
            yield chosen, of_chosen

    def _best_indexed(self, sessions: Sequence[list[int]], k: int, seen: Sequence[np.ndarray]) -> Iterator[Best]:
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
        parts = (sessions[i : i + self.batch_size] for i in range(0, len(sessions), self.batch_size))
        return [places + 1 for part in parts for places, _ in self._best_of_all(part, k, [np.arange(0)] * len(part))]

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
        with self._lock, one_thread(), torch.inference_mode():
            # A copy, as a model may hand out what it keeps.
            return self.model.full_sort_predict(fields).reshape(len(sessions), -1)[:, 1:].cpu().numpy().copy()
