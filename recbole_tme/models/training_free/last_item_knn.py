"""Item-to-item neighbours of the last click."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recbole_tme.models.training_free.clicks import Clicks
from recbole_tme.models.training_free.item_to_item import ItemToItem, keep_highest

# Items whose neighbours are computed at once.
CHUNK = 4096


class LastItemKNN(ItemToItem):
    """Item-kNN by the last click.

    sim(a, b) = sessions with a and b / sqrt((sessions with a + shrink) (sessions with b + shrink)); the ``k`` most
    similar items b of each item a are kept, never a itself. Equal similarities are put in order by the last click on b
    in training, later first. RecBole's ItemKNN is another model: it scores a user by all items.

    Source: Item-KNN, a baseline of GRU4Rec (Hidasi et al., ICLR 2016), with shrink 20.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        clicks = self.train_clicks(dataset)
        self.remember_matrix(_neighbours(clicks, self.n_items, config["shrink"], config["k"]))


def _neighbours(clicks: Clicks, n_items: int, shrink: float, k: int) -> sparse.csr_matrix:
    pairs = clicks.session, clicks.items
    by_session = sparse.csr_matrix((np.ones(len(clicks.items)), pairs), shape=(clicks.n_sessions, n_items))
    # An item counts once per session, however often it was clicked.
    by_session.data[:] = 1
    by_item = by_session.T.tocsr()
    root = np.sqrt(np.diff(by_item.indptr) + shrink)
    ties = clicks.tie_factors(n_items)
    parts = []
    for start in range(0, n_items, CHUNK):
        both = (by_item[start : start + CHUNK] @ by_session).tocoo()
        row, column = both.row + start, both.col
        value = (row != column) * both.data / (root[row] * root[column]) * ties[column]
        part = sparse.csr_matrix((value, (both.row, column)), shape=both.shape)
        part.eliminate_zeros()
        parts.append(keep_highest(part, k))
    return sparse.vstack(parts, format="csr")
