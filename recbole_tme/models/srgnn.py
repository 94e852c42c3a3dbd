"""SR-GNN: gated propagation over the session graph and a soft attention readout."""

from __future__ import annotations

from torch import Tensor

from recbole_tme.models.base import Encoded, SessionRecommender
from recbole_tme.nn.gated_graph import GatedGraphLayer
from recbole_tme.nn.graphs import Cells, session_nodes, transition_matrix
from recbole_tme.nn.readout import LastClickReadout


class SRGNN(SessionRecommender):
    """Session-based recommendation with graph neural networks.

    The same scores as RecBole's built-in SRGNN with the same weights (a test copies them), without its Python loop per
    session.

    Source: SR-GNN (Wu et al., AAAI 2019).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.propagation = GatedGraphLayer(self.embedding_size, config["step"])
        self.readout = LastClickReadout(self.embedding_size)
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Encoded:
        nodes, alias = session_nodes(item_seq)
        clicked, cells = item_seq > 0, Cells(nodes > 0)
        rows = self.item_embedding(cells.pack(nodes))
        rows = self.propagation(rows, transition_matrix(alias, clicked), cells)
        session, weights = self.readout(rows, cells, alias, item_seq_len, clicked)
        return Encoded(session, weights=weights)
