"""Normalisation with the user's behaviour on the item set: repeat an item of the session, or explore the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.nn.readout import reversed_positions

HIDDEN_SIZE = 32


class Behaviour(NamedTuple):
    """What a session does with the item set.

    Attributes:
        log_repeat, log_explore: log of the chance that the next click is on an item of the session, or on another,
            ``[B]`` each; the chances sum to 1.
        log_item: log of the chance, given a repeat, that it is the item of this click, ``[B, L]``; -inf at padding and
            at all but the latest click on an item.
    """

    log_repeat: Tensor
    log_explore: Tensor
    log_item: Tensor

    def log_items(self, item_seq: Tensor) -> Tensor:
        """Log of the chance, given a repeat, of each click's item, whichever click on it; ``[B, L]``.

        Args:
            item_seq: the clicks, ``[B, L]`` long, 0 is padding.
        """
        floor = torch.finfo(self.log_item.dtype).min
        chances = self.log_item.clamp(min=floor).unsqueeze(1).expand(-1, item_seq.shape[1], -1)
        return chances.masked_fill(~same_item(item_seq), floor).amax(2)


def same_item(item_seq: Tensor) -> Tensor:
    """Whether two clicks are on one item, ``[B, L]`` long -> ``[B, L, L]`` bool; padding is like nothing."""
    return (item_seq.unsqueeze(2) == item_seq.unsqueeze(1)) & (item_seq > 0).unsqueeze(1)


class RepeatExplore(nn.Module):
    """A gate between repeating and exploring, and a distribution over the items to repeat.

    An item of the session is scored by how often and how recently it was clicked and by how many other sessions hold
    it: a small network of three logarithms. Item vectors take no part in it, because the prefixes of a training session
    are learned by heart through them. The gate sees the session vector, the last click, the log of the length and the
    share of distinct items.

    Source: a re-implementation from the abstract of DANSeR (Chen et al., 2025): "the user's behaviour on the item set
    enters the normalisation"; the two modes are RepeatNet's (Ren et al., AAAI 2019).

    Args:
        size: embedding size d.
        dropout: share of the vectors' entries that the gate does not see in training.

    Shapes:
        session and last click ``[B, d]``, item_seq ``[B, L]``, lengths ``[B]``, other_sessions
        ``[B, L]``: the sessions, besides this one, that hold a click's item -> :class:`Behaviour`.
    """

    def __init__(self, size: int, dropout: float):
        super().__init__()
        self.habit = nn.Sequential(
            nn.Linear(3, HIDDEN_SIZE),
            nn.ReLU(),
            nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE),
            nn.ReLU(),
            nn.Linear(HIDDEN_SIZE, 1),
        )
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Sequential(nn.Linear(2 * size + 2, size), nn.ReLU(), nn.Linear(size, 1))

    def forward(
        self, session: Tensor, last: Tensor, item_seq: Tensor, lengths: Tensor, other_sessions: Tensor
    ) -> Behaviour:
        same = same_item(item_seq)
        latest = (item_seq > 0) & ~same.triu(1).any(dim=2)
        position = reversed_positions(lengths, item_seq.shape[1])
        habits = torch.stack([same.sum(2).clamp(min=1).log(), position.log1p(), other_sessions.log1p()], dim=2)
        both = self.dropout(torch.cat([session, last], dim=1))
        energy = self.habit(habits).squeeze(2)
        log_item = energy.masked_fill(~latest, -torch.inf).log_softmax(dim=1)

        length = lengths.to(session.dtype).unsqueeze(1)
        distinct = latest.sum(1, keepdim=True) / length
        logit = self.gate(torch.cat([both, length.log(), distinct], dim=1)).squeeze(1)
        return Behaviour(F.logsigmoid(logit), F.logsigmoid(-logit), log_item)
