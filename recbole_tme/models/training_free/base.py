"""What the baselines without gradients have in common: made when constructed, kept in buffers, scored by session."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_tme.models.foundation import InputType, SequentialRecommender
from recbole_tme.models.training_free.clicks import Clicks, train_clicks


class TrainingFree(SequentialRecommender):
    """A model of counts: no epoch changes it, and ``state_dict`` is all of it.

    Subclasses learn from :meth:`train_clicks` in ``__init__`` and :meth:`remember` what they learnt, make from it what
    scoring needs in :meth:`prepare`, and score one session at a time in :meth:`score`, so that no session can see
    another; those that are faster with several at once override :meth:`score_sessions`. Scores are computed by the CPU
    in float64 and handed out in float32 on the device of the batch.
    """

    input_type = InputType.POINTWISE
    variable_length = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        # A trainer wants a loss with a gradient, and an optimiser something to optimise.
        self.dummy = nn.Parameter(torch.zeros(1))
        self._ragged: set[str] = set()

    def prepare(self, state: dict[str, np.ndarray]) -> Any:
        """What :meth:`score` needs, from the remembered arrays; called once, at the first score after a change."""
        raise NotImplementedError(f"{type(self).__name__} must implement prepare")

    def score(self, session: np.ndarray) -> np.ndarray:
        """Scores of the catalogue for one session.

        Args:
            session: its item ids in click order, int64 ``[l]``, at least one.

        Returns:
            Float ``[N + 1]``; the value for padding, item 0, has no meaning.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement score")

    def score_sessions(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        """Scores of the catalogue for several sessions, float32 ``[B, N + 1]``; no row may depend on another."""
        scores = np.empty((len(sessions), self.n_items), dtype=np.float32)
        for row, session in zip(scores, sessions):
            row[:] = self.score(session)
        return scores

    def found(self, sessions: Sequence[np.ndarray]) -> Sequence[tuple[np.ndarray, np.ndarray]] | None:
        """The items of the catalogue whose score is not 0, and their scores, for each of several sessions.

        For models that find them without looking at the whole catalogue; None from the others. What is in neither list
        scores 0, and the scores are those of :meth:`score_sessions`, number for number.
        """
        return None

    def train_clicks(self, dataset) -> Clicks:
        """The sessions to learn from, see :func:`~recbole_tme.models.training_free.clicks.train_clicks`."""
        return train_clicks(dataset, self.USER_ID, self.ITEM_ID, self.ITEM_SEQ, self.ITEM_SEQ_LEN)

    def remember(self, name: str, array: np.ndarray, ragged: bool = False) -> None:
        """Keep an array as a buffer; ``ragged``: its size depends on the sessions, not only on the catalogue."""
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))
        if ragged:
            self._ragged.add(name)

    @functools.cached_property
    def prepared(self) -> Any:
        """The result of :meth:`prepare`."""
        return self.prepare({name: buffer.cpu().numpy() for name, buffer in self.named_buffers()})

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for name in self._ragged:
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        self.__dict__.pop("prepared", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def calculate_loss(self, interaction) -> Tensor:
        return 0 * self.dummy.sum()

    def predict(self, interaction) -> Tensor:
        """Scores of the items in ``interaction``, ``[B]``."""
        items = interaction[self.ITEM_ID].unsqueeze(1)
        return self.full_sort_predict(interaction).gather(1, items).squeeze(1)

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of the whole catalogue, ``[B, N + 1]``; column 0 is padding."""
        padded = interaction[self.ITEM_SEQ]
        lengths = interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        sessions = [clicks[:length] for clicks, length in zip(padded.cpu().numpy(), lengths)]
        return torch.from_numpy(self.score_sessions(sessions)).to(padded.device)
