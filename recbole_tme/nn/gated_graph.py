"""Gated propagation over the session graph."""

import torch
from torch import Tensor, nn

from recbole_tme.nn.graphs import Cells

# Nodes updated at once: their gates stay in a core's cache, which makes large batches a fifth quicker.
CPU_ROWS = 512


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
        nodes ``[n, d]``, the occupied cells' rows; transitions ``[B, L, L]`` bool (row is followed by column) ->
        ``[n, d]``.
    """

    def __init__(self, size: int, steps: int = 1):
        super().__init__()
        self.steps = steps
        self.edge_in = nn.Linear(size, size)
        self.edge_out = nn.Linear(size, size)
        self.bias_in = nn.Parameter(torch.zeros(size))
        self.bias_out = nn.Parameter(torch.zeros(size))
        self.cell = nn.GRUCell(2 * size, size)

    def forward(self, nodes: Tensor, transitions: Tensor, cells: Cells) -> Tensor:
        edges = transitions.to(nodes.dtype)
        averages = [row_normalised(edges.transpose(1, 2)), row_normalised(edges)]
        has_edge = [cells.pack((average.sum(2, keepdim=True) > 0).to(nodes.dtype)) for average in averages]
        weight, bias = self._folded()
        for _ in range(self.steps):
            states = cells.spread(nodes)
            around = [cells.pack(average @ states) for average in averages]
            nodes = self._update(torch.cat(around + has_edge, dim=1), nodes, weight, bias)
        return nodes

    def _folded(self) -> tuple[Tensor, Tensor]:
        """The GRU's input weights, ``[3d, 2d + 2]``, and bias, ``[3d]``, with the edges' layers multiplied into them.

        A(H W + b) is (A H) W, and b where a node has an edge at all: two products per node become one of two small
        matrices per batch. The last two columns belong to those b.
        """
        weight, size = self.cell.weight_ih, self.edge_in.in_features
        into, out = weight[:, :size], weight[:, size:]
        products = [into @ self.edge_in.weight, out @ self.edge_out.weight]
        products += [(into @ self.edge_in.bias).unsqueeze(1), (out @ self.edge_out.bias).unsqueeze(1)]
        bias = self.cell.bias_ih + weight @ torch.cat([self.bias_in, self.bias_out])
        return torch.cat(products, dim=1), bias

    def _update(self, inputs: Tensor, nodes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The GRU, ``[n, 2d + 2]`` and ``[n, d]`` -> ``[n, d]``."""
        rest = weight, self.cell.weight_hh, bias, self.cell.bias_hh
        # A traced graph must not depend on how many nodes there are.
        if nodes.device.type != "cpu" or torch.compiler.is_compiling():
            return torch.gru_cell(inputs, nodes, *rest)
        parts = zip(inputs.split(CPU_ROWS), nodes.split(CPU_ROWS), strict=True)
        return torch.cat([torch.gru_cell(*part, *rest) for part in parts])


def row_normalised(edges: Tensor) -> Tensor:
    """Divide each row by its sum; rows without an edge stay zero. ``[B, L, L]`` -> ``[B, L, L]``."""
    return edges / edges.sum(2, keepdim=True).clamp(min=1)
