"""Session popularity first, then STAN: the strongest of the baselines where sessions repeat themselves."""

from __future__ import annotations

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

    def score(self, session: np.ndarray) -> np.ndarray:
        scores = super().score(session)
        scores /= scores.max() or 1
        index, _ = self.prepared
        items, ranks = rank_own_items(session, index.popularity, self.tie_break)
        scores[items] = 1 + ranks
        return scores
