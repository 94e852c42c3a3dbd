"""STAN with what VSKNN knows besides: where the match lies in the current session, and how rare an item is."""

from __future__ import annotations

import numpy as np

from recbole_tme.models.training_free.neighbours import Entries, SessionIndex
from recbole_tme.models.training_free.stan import STAN


class VSTAN(STAN):
    """STAN with VSKNN's decay of old matches and its weight for rare items.

    Each neighbour's part is multiplied by exp((p - l) / lambda_ipw), p being the position in the current session (of l
    clicks) of the last click on a shared item, and each score by 1 + idf_weight ln(sessions / sessions with the item).

    Source: "Empirical analysis of session-based recommendation algorithms" (Ludewig et al., UMUAI 2021).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.lambda_ipw = config["lambda_ipw"]
        self.idf_weight = config["idf_weight"]

    def entry_weights(self, entries: Entries) -> np.ndarray:
        return super().entry_weights(entries) * np.exp(-entries.since / self.lambda_ipw)

    def item_weights(self, index: SessionIndex) -> np.ndarray:
        return index.rarity(self.idf_weight)
