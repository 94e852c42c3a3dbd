"""TME-GNN: a session graph encoder trained with triplets of mined negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tme.models.base import Encoded, SessionRecommender
from recbole_tme.nn.edge_attention import EdgeTypedAttention
from recbole_tme.nn.graphs import nodes_to_clicks, session_graph
from recbole_tme.nn.losses import triplet_margin
from recbole_tme.nn.miners import clamp_window, draw_from_window, scale_window
from recbole_tme.nn.readout import ReversedPositionReadout, masked_mean

ANCHOR_HIDDEN_SIZE = 512
# Where the loss does not score the catalogue, it is not scored for mining either.
DEFAULT_SUBSET = 8192


class TMEGNN(SessionRecommender):
    """Edge-typed attention over the session graph, plus a triplet task on negatives mined by rank.

    The anchor is the session's mean item embedding through an MLP, the positive its session vector, the negatives are
    items the model ranks ``rank_low .. rank_high - 1`` for this very session, the target left out.

    Source: "TME-GNN" (Zhu et al., 2023); the encoder is GCE-GNN's session-level part (Wang et al., SIGIR 2020).
    Where the public code departs from the paper's intent (it returns the first of K layers, and draws one set of ranks
    for the whole batch), this follows the intent.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = self.embedding_size
        self.layers = nn.ModuleList(EdgeTypedAttention(size) for _ in range(config["n_layers"]))
        self.dropout = nn.Dropout(config["dropout_prob"])
        self.readout = ReversedPositionReadout(size, self.max_seq_length)
        self.triplet_weight = config["triplet_weight"]
        self.triplet_margin = config["triplet_margin"]
        self.n_negatives = config["negatives"]
        if self.triplet_weight > 0:
            self.anchor = nn.Sequential(
                nn.Linear(size, ANCHOR_HIDDEN_SIZE),
                nn.LeakyReLU(0.2),
                nn.Linear(ANCHOR_HIDDEN_SIZE, size),
                nn.LeakyReLU(0.2),
            )
            self._choose_window(config)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As every model's, but for the sign of one vector.

        The weight of every click starts near half the sum of the readout's w. Where that is negative, sessions point
        away from their own items, and it takes epochs to turn round what the item vectors have learned by then.
        """
        super().reset_parameters()
        weight = self.readout.weight.weight
        with torch.no_grad():
            weight.copy_(torch.where(weight.sum() < 0, -weight, weight))

    def _choose_window(self, config) -> None:
        """Where negatives are drawn from: ranks of the catalogue, or the ranks in a subset that stand for them."""
        n_items, subset = self.n_items - 1, config["mining_subset"]
        if subset is None and self.loss_type != "full":
            subset = DEFAULT_SUBSET
        self.ranked_subset = None if subset is None else min(subset, n_items)
        n_scored = self.ranked_subset or n_items
        low, high = scale_window(config["rank_low"], config["rank_high"], n_scored / n_items)
        # Padding is no candidate and neither is the target.
        self.rank_low, self.n_ranked = clamp_window(low, high, self.n_negatives, n_scored - 1)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Encoded:
        graph = session_graph(item_seq)
        states = self.item_embedding(graph.nodes)
        for layer in self.layers:
            states = layer(states, graph.relation)
        clicks = nodes_to_clicks(self.dropout(states), graph.alias)
        session, weights = self.readout(clicks, item_seq_len, item_seq > 0)
        return Encoded(session, weights=weights)

    def auxiliary_losses(self, encoded: Encoded, ranked: Tensor) -> dict[str, Tensor]:
        if self.triplet_weight == 0:
            return {}
        raw = self.item_embedding(encoded.item_seq)
        anchor = self.anchor(masked_mean(raw, encoded.item_seq > 0))
        negatives = self.item_embedding(draw_from_window(ranked, self.rank_low, self.n_negatives))
        loss = triplet_margin(anchor, encoded.session, negatives, self.triplet_margin)
        return {"triplet": self.triplet_weight * loss}
