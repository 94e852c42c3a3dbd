"""Sequential rules: which items were clicked a few clicks after the last one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import sparse

from recbole_tme.models.training_free.clicks import Clicks
from recbole_tme.models.training_free.item_to_item import ItemToItem, keep_highest

WEIGHTS: dict[str, Callable[[int], float]] = {
    "reciprocal": lambda step: 1 / step,
    "log": lambda step: 1 / math.log10(step + 1.7),
}


class SR(ItemToItem):
    """Sequential rules: what was clicked soon after the last click.

    R[a, b] = sum of w(k) over the clicks on b that came k <= ``max_steps`` clicks after one on a; the ``n_rules``
    strongest rules of each a are kept. Equal rules are put in order by the last click on b in training, later first.
    w(k) is 1/k, or with ``weighting: log`` 1/log10(k + 1.7), as the paper's authors have it in their code.

    Source: "Evaluation of session-based recommendation algorithms" (Ludewig and Jannach, UMUAI 2018).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        clicks = self.train_clicks(dataset)
        rules = _rules(clicks, self.n_items, config["max_steps"], WEIGHTS[config["weighting"]])
        rules.data *= clicks.tie_factors(self.n_items)[rules.indices]
        self.remember_matrix(keep_highest(rules, config["n_rules"]))


def _rules(clicks: Clicks, n_items: int, max_steps: int, weight: Callable[[int], float]) -> sparse.csr_matrix:
    rules = sparse.csr_matrix((n_items, n_items))
    session = clicks.session
    for step in range(1, max_steps + 1):
        first = np.flatnonzero(session[:-step] == session[step:])
        pairs = clicks.items[first], clicks.items[first + step]
        rules += sparse.csr_matrix((np.full(len(first), weight(step)), pairs), shape=rules.shape)
    return rules
