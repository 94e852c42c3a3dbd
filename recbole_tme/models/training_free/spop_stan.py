"""Session popularity first, then STAN: the strongest of the baselines where sessions repeat themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_tme.models.training_free.spop import rank_own_items
from recbole_tme.models.training_free.stan import STAN


class SPopSTAN(STAN):
    """The items of the session by their clicks in it, as SPop puts them in order, then the others by STAN.

    STAN's scores are divided by their highest, so that all of them lie below the session's own items, which score from
    2 upwards.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.tie_break = config["tie_break"]

    def score_sessions(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        scores = super().score_sessions(sessions)
        highest = scores.max(1, keepdims=True)
        scores /= np.where(highest > 0, highest, 1)
        for row, session in zip(scores, sessions):
            items, ranks = rank_own_items(session, self.prepared.index.popularity, self.tie_break)
            row[items] = 1 + ranks
        return scores
