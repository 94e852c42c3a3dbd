"""Gated propagation over the session graph."""

import torch
from torch import Tensor, nn

from recbole_tme.graphs import Cells


class GatedGraphLayer(nn.Module):
    r"""A gated graph neural network over in- and out-going edges.

    .. math::
        a = [A_{in}(H W_{in} + b_{in}) ; A_{out}(H W_{out} + b_{out})] + b, \quad H' = \mathrm{GRU}(a, H)

    Row v of :math:`A_{in}` averages over v's predecessors, row u of :math:`A_{out}` over u's successors.

    Source: SR-GNN (Wu et al., AAAI 2019, equations 1-5). The GRU cell is PyTorch's, whose update gate weights the old
    state; cells whose gate weights the new state are equal to it with that gate's weights negated.

    Args:
        size: state size d.
        steps: propagation steps T, all with the same weights.

    Shapes:
        states ``[B, L, d]``, transitions ``[B, L, L]`` bool (row is followed by column), is_node ``[B, L]`` bool ->
        ``[B, L, d]``; zero where there is no node.
    """

    def __init__(self, size: int, steps: int = 1):
        super().__init__()
        self.steps = steps
        self.edge_in = nn.Linear(size, size)
        self.edge_out = nn.Linear(size, size)
        self.bias_in = nn.Parameter(torch.zeros(size))
        self.bias_out = nn.Parameter(torch.zeros(size))
        self.cell = nn.GRUCell(2 * size, size)

    def forward(self, states: Tensor, transitions: Tensor, is_node: Tensor) -> Tensor:
        successors = row_normalised(transitions.to(states.dtype))
        predecessors = row_normalised(transitions.transpose(1, 2).to(states.dtype))
        cells = Cells(is_node)
        nodes = cells.pack(states)
        for _ in range(self.steps):
            incoming = predecessors @ cells.spread(self.edge_in(nodes)) + self.bias_in
            outgoing = successors @ cells.spread(self.edge_out(nodes)) + self.bias_out
            nodes = self.cell(cells.pack(torch.cat([incoming, outgoing], dim=2)), nodes)
        return cells.spread(nodes)


def row_normalised(edges: Tensor) -> Tensor:
    """Divide each row by its sum; rows without an edge stay zero. ``[B, L, L]`` -> ``[B, L, L]``."""
    return edges / edges.sum(2, keepdim=True).clamp(min=1)
