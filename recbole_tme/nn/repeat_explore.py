"""Normalisation with the user's behaviour on the item set: repeat an item of the session, or explore the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.nn.readout import reversed_positions


class Behaviour(NamedTuple):
    """What a session does with the item set.

    Attributes:
        log_repeat, log_explore: log of the chance that the next click is on an item of the session, or on another,
            ``[B]`` each; the chances sum to 1.
        log_click: log of the chance, given a repeat, that it is the item of this click, ``[B, L]``; -inf at padding.
    """

    log_repeat: Tensor
    log_explore: Tensor
    log_click: Tensor

    def log_items(self, item_seq: Tensor) -> Tensor:
        """Log of the chance, given a repeat, of each click's item: clicks on one item add up; ``[B, L]``.

        Args:
            item_seq: the clicks, ``[B, L]`` long, 0 is padding.
        """
        same = (item_seq.unsqueeze(2) == item_seq.unsqueeze(1)) & (item_seq > 0).unsqueeze(1)
        floor = torch.finfo(self.log_click.dtype).min
        return self.log_click.unsqueeze(1).expand(-1, item_seq.shape[1], -1).masked_fill(~same, floor).logsumexp(2)


class RepeatExplore(nn.Module):
    """A gate between repeating and exploring, and a distribution over the clicks to repeat.

    A click is scored by its item against a query made of the session vector and the last click, by its reversed
    position, and by its item's popularity. The gate sees the session vector, the last click, the log of the length and
    the share of distinct items.

    Source: a re-implementation from the abstract of DANSeR (Chen et al., 2025): "the user's behaviour on the item set
    enters the normalisation"; the two modes are RepeatNet's (Ren et al., AAAI 2019).

    Args:
        size: embedding size d.
        max_length: longest session the position table covers.
        scale: of the inner products, which are of unit vectors.

    Shapes:
        session and last click ``[B, d]``, clicks ``[B, L, d]``, item_seq ``[B, L]``, lengths ``[B]``, popularity
        ``[B, L]`` -> :class:`Behaviour`.
    """

    def __init__(self, size: int, max_length: int, scale: float):
        super().__init__()
        self.scale = scale
        self.query = nn.Linear(2 * size, size)
        self.position_bias = nn.Embedding(max_length, 1)
        self.popularity_weight = nn.Linear(1, 1, bias=False)
        self.gate = nn.Sequential(nn.Linear(2 * size + 2, size), nn.ReLU(), nn.Linear(size, 1))

    def forward(
        self, session: Tensor, last: Tensor, clicks: Tensor, item_seq: Tensor, lengths: Tensor, popularity: Tensor
    ) -> Behaviour:
        clicked = item_seq > 0
        both = torch.cat([session, last], dim=1)
        query = F.normalize(self.query(both), dim=1)
        oldest = self.position_bias.num_embeddings - 1
        position = reversed_positions(lengths, item_seq.shape[1]).clamp(max=oldest)
        energy = self.scale * (clicks @ query.unsqueeze(2)) + self.position_bias(position)
        energy = (energy + self.popularity_weight(popularity.unsqueeze(2))).squeeze(2)
        log_click = energy.masked_fill(~clicked, -torch.inf).log_softmax(dim=1)

        length = lengths.to(session.dtype).unsqueeze(1)
        earlier = (item_seq.unsqueeze(2) == item_seq.unsqueeze(1)).tril(-1).any(dim=2)
        distinct = (clicked & ~earlier).sum(1, keepdim=True) / length
        logit = self.gate(torch.cat([both, length.log(), distinct], dim=1)).squeeze(1)
        return Behaviour(F.logsigmoid(logit), F.logsigmoid(-logit), log_click)
