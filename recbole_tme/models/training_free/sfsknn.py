"""Session neighbours whose items have to have followed the last click once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recbole_tme.models.training_free.clicks import Clicks
from recbole_tme.models.training_free.neighbours import Prepared
from recbole_tme.models.training_free.sknn import SKNN


class SFSKNN(SKNN):
    """SKNN's scores for the items that were clicked right after the current session's last item in training; 0 else.

    Source: "Evaluation of session-based recommendation algorithms" (Ludewig and Jannach, UMUAI 2018).
    """

    def prepare(self, state: dict[str, np.ndarray]) -> Prepared:
        self.followers = _followers(Clicks(state["clicks"], state["offsets"]), self.n_items)
        return super().prepare(state)

    def score_some(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        scores = super().score_some(sessions)
        last = np.array([session[-1] for session in sessions])
        return scores * self.followers[last].toarray()


def _followers(clicks: Clicks, n_items: int) -> sparse.csr_matrix:
    """1 where the column's item was clicked right after the row's, float32 ``[N + 1, N + 1]``."""
    session = clicks.session
    first = np.flatnonzero(session[:-1] == session[1:])
    pairs = clicks.items[first], clicks.items[first + 1]
    counts = sparse.csr_matrix((np.ones(len(first), dtype=np.float32), pairs), shape=(n_items, n_items))
    counts.data[:] = 1
    return counts
