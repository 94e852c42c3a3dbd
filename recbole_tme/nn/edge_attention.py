"""Attention over the session graph whose weights depend on the kind of edge."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.nn.graphs import N_RELATIONS, NO_EDGE


class EdgeTypedAttention(nn.Module):
    r"""One propagation step over a session graph.

    .. math::
        e_{ij} = \mathrm{LeakyReLU}_{0.2}(a_{r(i,j)}^\top (h_i \odot h_j)), \quad
        h'_i = \sum_j \mathrm{softmax}_j(e_{ij}) h_j

    over the nodes j that share an edge (or the self loop) with i.

    Source: the session-level aggregation of GCE-GNN (Wang et al., SIGIR 2020, equations 5-7), the encoder of TME-GNN.

    Args:
        size: embedding size d.
        negative_slope: of the LeakyReLU.

    Shapes:
        states ``[B, L, d]``, relation ``[B, L, L]`` -> ``[B, L, d]``; rows without any edge (padding) are zero.
    """

    def __init__(self, size: int, negative_slope: float = 0.2):
        super().__init__()
        self.negative_slope = negative_slope
        self.relation_weight = nn.Parameter(torch.empty(N_RELATIONS, size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the relation vectors from U(-1/sqrt(d), 1/sqrt(d))."""
        bound = self.relation_weight.shape[1] ** -0.5
        nn.init.uniform_(self.relation_weight, -bound, bound)

    def forward(self, states: Tensor, relation: Tensor) -> Tensor:
        connected = relation != NO_EDGE
        # (h * a_r) h^T is one batched product per relation: [B, 4, L, L], never [B, L, L, d].
        weighted = states.unsqueeze(1) * self.relation_weight.view(1, N_RELATIONS, 1, -1)
        products = weighted @ states.unsqueeze(1).transpose(2, 3)
        chosen = products.gather(1, (relation - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        energy = F.leaky_relu(chosen, self.negative_slope)
        # A finite floor instead of -inf: a row of padding has no edge at all and must not become NaN.
        energy = energy.masked_fill(~connected, torch.finfo(energy.dtype).min)
        attention = energy.softmax(dim=2) * connected
        return attention @ states
