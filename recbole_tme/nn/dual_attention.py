"""Attention within and across the receptive fields of a graph encoder, distinguished by their hops."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_tme.nn.readout import last_click, masked_mean


class HopReadout(nn.Module):
    r"""One session vector per receptive field.

    .. math::
        e_t = w^\top \sigma(W_1 x_t + W_2 x_{last} + W_3 \bar x), \quad u = W_u [\sum_t e_t x_t ; x_{last}]

    With ``attend`` off, the mean of the clicks stands in the place of the weighted sum.

    Source: a re-implementation from the abstract of DANSeR (Chen et al., 2025): "intent within receptive fields".

    Args:
        size: embedding size d.
        attend: whether to weight the clicks.

    Shapes:
        clicks ``[B, L, d]``, lengths ``[B]``, mask ``[B, L]`` -> ``[B, d]``.
    """

    def __init__(self, size: int, attend: bool = True):
        super().__init__()
        self.merge = nn.Linear(2 * size, size)
        self.attend = attend
        if attend:
            self.from_click = nn.Linear(size, size)
            self.from_last = nn.Linear(size, size, bias=False)
            self.from_mean = nn.Linear(size, size, bias=False)
            self.weight = nn.Linear(size, 1, bias=False)

    def forward(self, clicks: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        return self.read(clicks, lengths, mask)[0]

    def read(self, clicks: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The session vectors and the weights :math:`e` they were made with, ``[B, L]``, 0 at padding."""
        last, mean = last_click(clicks, lengths), masked_mean(clicks, mask)
        if self.attend:
            context = self.from_last(last) + self.from_mean(mean)
            gate = torch.sigmoid(self.from_click(clicks) + context.unsqueeze(1))
            energy = self.weight(gate) * mask.unsqueeze(-1)
            pooled, weights = (energy * clicks).sum(1), energy.squeeze(-1)
        else:
            pooled, weights = mean, mask / lengths.unsqueeze(1).to(mean.dtype)
        return self.merge(torch.cat([pooled, last], dim=1)), weights


class AcrossHops(nn.Module):
    r"""Mix the receptive fields' vectors.

    .. math::
        \gamma = \mathrm{softmax}_k\, v^\top \tanh(W_f u^k + W_g \bar x^0), \quad s = \sum_k \gamma_k u^k

    Source: a re-implementation from the abstract of DANSeR (Chen et al., 2025): "intent across receptive fields".

    Args:
        size: embedding size d.

    Shapes:
        hops ``[B, K + 1, d]``, mean of the raw clicks ``[B, d]`` -> ``[B, d]``.
    """

    def __init__(self, size: int):
        super().__init__()
        # Saved weights have this name.
        self.from_field = nn.Linear(size, size)
        self.from_mean = nn.Linear(size, size, bias=False)
        self.weight = nn.Linear(size, 1, bias=False)

    def forward(self, hops: Tensor, mean: Tensor) -> Tensor:
        return self.read(hops, mean)[0]

    def read(self, hops: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        r"""The session vectors and the weights :math:`\gamma` they were made with, ``[B, K + 1]``."""
        energy = self.weight(torch.tanh(self.from_field(hops) + self.from_mean(mean).unsqueeze(1)))
        gamma = energy.softmax(dim=1)
        return (gamma * hops).sum(1), gamma.squeeze(-1)
