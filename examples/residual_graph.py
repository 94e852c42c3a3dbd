"""A model of one's own: session graph, layers, readout. Its settings are in ResidualGraph.yaml beside it.

recbole-tme run --plugin=examples/residual_graph.py --model=ResidualGraph --dataset=toy
"""

from torch import Tensor, nn

from recbole_tme.models.base import Encoded, SessionRecommender
from recbole_tme.nn.edge_attention import EdgeTypedAttention
from recbole_tme.nn.graphs import nodes_to_clicks, session_graph
from recbole_tme.nn.readout import ReversedPositionReadout


class ResidualGraph(SessionRecommender):
    """Edge-typed attention over the session graph, each layer added to what it was given."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = self.embedding_size
        self.layers = nn.ModuleList(EdgeTypedAttention(size) for _ in range(config["n_layers"]))
        self.dropout = nn.Dropout(config["dropout_prob"])
        self.readout = ReversedPositionReadout(size, self.max_seq_length)
        self.norm_weight = config["norm_weight"]
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        graph = session_graph(item_seq)
        states = self.item_embedding(graph.nodes)
        for layer in self.layers:
            states = states + layer(states, graph.relation)
        clicks = nodes_to_clicks(self.dropout(states), graph.alias)
        session, _ = self.readout(clicks, item_seq_len, item_seq > 0)
        return session

    def auxiliary_losses(self, encoded: Encoded, ranked: Tensor) -> dict[str, Tensor]:
        if self.norm_weight == 0:
            return {}
        return {"norm": self.norm_weight * encoded.session.square().sum(1).mean()}
