"""Readouts: from the clicks of a session to one session vector."""

import torch
from torch import Tensor, nn

from recbole_tme.nn.graphs import Cells


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the clicks of each session.

    Args:
        states: ``[B, L, d]``.
        mask: True at clicks, ``[B, L]`` bool.

    Returns:
        ``[B, d]``; zero for a session without clicks.
    """
    weight = mask.to(states.dtype).unsqueeze(-1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def reversed_positions(lengths: Tensor, width: int) -> Tensor:
    """Position of each click counted back from the last one (0 = last click), clamped to 0 at padding.

    Args:
        lengths: clicks per session, ``[B]`` long.
        width: padded length L.

    Returns:
        ``[B, L]`` long.
    """
    forward = torch.arange(width, device=lengths.device)
    return (lengths.unsqueeze(1) - 1 - forward).clamp(min=0)


def last_click(states: Tensor, lengths: Tensor) -> Tensor:
    """State of each session's last click, ``[B, L, ...]`` and ``[B]`` -> ``[B, ...]``."""
    return states[torch.arange(states.shape[0], device=states.device), lengths - 1]


def first_clicks(item_seq: Tensor) -> Tensor:
    """Whether each click is the first on its item, ``[B, L]`` long -> ``[B, L]`` bool; padding is none."""
    same = item_seq.unsqueeze(2) == item_seq.unsqueeze(1)
    return (item_seq > 0) & ~same.tril(-1).any(dim=2)


def shares(weights: Tensor) -> Tensor:
    """Share of each click in a readout's weights, for a reader: their size whatever their sign, adding up to 1.

    Args:
        weights: ``[..., L]``, 0 at padding.
    """
    size = weights.abs()
    return size / size.sum(-1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)


class LastClickReadout(nn.Module):
    r"""Soft attention from the last click.

    .. math::
        \alpha_t = q^\top \sigma(W_1 v_{last} + W_2 v_t + c), \quad s = W_3 [v_{last} ; \sum_t \alpha_t v_t]

    over clicks, without a softmax over t.

    Source: SR-GNN (Wu et al., AAAI 2019, equations 6-7).

    Args:
        size: embedding size d.

    Shapes:
        nodes ``[n, d]``, the occupied cells' rows; the node of each click ``[B, L]``, lengths ``[B]``, clicked
        ``[B, L]`` -> session vectors ``[B, d]`` and the weights :math:`\alpha` ``[B, L]``, 0 at padding.
    """

    def __init__(self, size: int):
        super().__init__()
        self.from_last = nn.Linear(size, size)
        self.from_click = nn.Linear(size, size)
        self.weight = nn.Linear(size, 1, bias=False)
        self.merge = nn.Linear(2 * size, size)

    def forward(
        self, nodes: Tensor, cells: Cells, alias: Tensor, lengths: Tensor, clicked: Tensor
    ) -> tuple[Tensor, Tensor]:
        states = cells.spread(nodes)
        last = states[torch.arange(alias.shape[0], device=alias.device), last_click(alias, lengths)]
        gate = torch.sigmoid(cells.repeat(self.from_last(last)) + self.from_click(nodes))
        # Clicks of one item have one alpha, so that it is computed once per node and counts once per click.
        alpha = cells.spread(self.weight(gate)).squeeze(2).gather(1, alias) * clicked
        of_node = torch.zeros_like(alpha).scatter_add(1, alias, alpha)
        summed = (of_node.unsqueeze(1) @ states).squeeze(1)
        return self.merge(torch.cat([summed, last], dim=1)), alpha


class ReversedPositionReadout(nn.Module):
    r"""Soft attention with reversed positions.

    .. math::
        z_t = \tanh(W_1 [p_{l-t} ; x_t]), \quad g_t = \sigma(W_2 z_t + b + W_3 \bar x), \quad
        s = \sum_t (w^\top g_t) x_t

    without a softmax over t. :math:`p_0` is the position of the last click.

    Source: GCE-GNN (Wang et al., SIGIR 2020, equations 12-16), the readout of TME-GNN.

    Args:
        size: embedding size d.
        max_length: longest session the position table covers.

    Shapes:
        clicks ``[B, L, d]``, lengths ``[B]``, mask ``[B, L]`` -> session vectors ``[B, d]`` and the weights
        :math:`w^\top g` ``[B, L]``, 0 at padding.
    """

    def __init__(self, size: int, max_length: int):
        super().__init__()
        self.position_embedding = nn.Embedding(max_length, size)
        self.from_position = nn.Linear(size, size, bias=False)
        self.from_click = nn.Linear(size, size, bias=False)
        self.gate_click = nn.Linear(size, size)
        self.gate_mean = nn.Linear(size, size, bias=False)
        self.weight = nn.Linear(size, 1, bias=False)

    def forward(self, clicks: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # W1 [p ; x] = W1p p + W1x x: the position half is computed once per position, not once per click.
        positions = self.from_position(self.position_embedding.weight)
        # A session longer than the table shares the oldest position instead of failing.
        oldest = positions.shape[0] - 1
        position = positions[reversed_positions(lengths, clicks.shape[1]).clamp(max=oldest)]
        z = torch.tanh(position + self.from_click(clicks))
        gate = torch.sigmoid(self.gate_click(z) + self.gate_mean(masked_mean(clicks, mask)).unsqueeze(1))
        beta = self.weight(gate) * mask.unsqueeze(-1)
        return (beta * clicks).sum(1), beta.squeeze(-1)
