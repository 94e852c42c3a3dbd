"""Session neighbours, aware of order and time."""

from __future__ import annotations

import numpy as np

from recbole_tme.models.training_free.neighbours import Candidates, Current, Entries, SessionIndex, SessionNeighbours


class STAN(SessionNeighbours):
    """Sequence and time aware neighbours.

    Item i of the current session, last clicked at position p of l, has weight w = exp((p - l) / lambda_spw). Session n
    of |n| clicks has similarity

        sum of w over the shared items / (||w|| sqrt(|n|)) * exp(-age(n) / lambda_snh),

    where the age is n's distance from the end of the training sessions as a share of their number: their order stands
    in for time, which most of the field's sets do not have. With i* the most recently clicked of the shared items, the
    score of item j is

        sum over neighbours n with j of  similarity(n) * exp(-|position of j in n - position of i* in n| / lambda_inh),

    positions being those of the latest clicks in n.

    Source: "Sequence and Time Aware Neighborhood for Session-based Recommendations" (Garg et al., SIGIR 2019).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.lambda_spw = config["lambda_spw"]
        self.lambda_snh = config["lambda_snh"]
        self.lambda_inh = config["lambda_inh"]

    def click_weights(self, current: Current) -> np.ndarray:
        return np.exp((current.position - current.length) / self.lambda_spw)

    def similarity(self, found: Candidates, current: Current, weights: np.ndarray, index: SessionIndex) -> np.ndarray:
        norm = np.sqrt(np.bincount(current.row, weights**2))
        similarity = found.weight / (norm[found.row] * np.sqrt(index.lengths[found.session]))
        if self.lambda_snh > 0:
            similarity *= np.exp((found.session / index.n_sessions - 1) / self.lambda_snh)
        return similarity

    def entry_weights(self, entries: Entries) -> np.ndarray:
        return entries.similarity * np.exp(-np.abs(entries.position - entries.match) / self.lambda_inh)
