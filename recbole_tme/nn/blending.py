"""Chances of several models mixed into one, apart for the items of the session and for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_tme.nn.readout import first_clicks

# A chance of 0 counts as this much, and all others as this much more: far below one item's share of any catalogue.
LEAST_CHANCE = 1e-7
# What a step of the search for the best ranks gives to one member, or takes from it; the longest first.
SHARES = (0.5, 0.25, 0.1, 0.05)


class Chances(NamedTuple):
    """A distribution over the catalogue in two parts.

    Attributes:
        repeat: chance that the next item is one of the session's, ``[B]``.
        own: the chance, given that, that it is the item of this click, ``[B, L]``; every click on an item has the
            item's chance, padding 0.
        new: the chance of each item, given that it is none of the session's, ``[B, N + 1]``; 0 for those and padding.
    """

    repeat: Tensor
    own: Tensor
    new: Tensor

    def of(self, item_seq: Tensor, target: Tensor) -> Tensor:
        """The chance of one item per session, ``[B]``."""
        is_target = item_seq == target.unsqueeze(1)
        own = self.repeat * (self.own * is_target).amax(1)
        new = (1 - self.repeat) * self.new.gather(1, target.unsqueeze(1)).squeeze(1)
        return torch.where(is_target.any(dim=1), own, new)


def split_chances(chances: Tensor, item_seq: Tensor) -> Chances:
    """Chances in two parts.

    Args:
        chances: of each item, at least 0, ``[B, N + 1]``; they need not add up to 1. Column 0 is not read.
        item_seq: the sessions' clicks, ``[B, L]`` long, 0 is padding.
    """
    own = chances.gather(1, item_seq) * (item_seq > 0)
    of_own = (own * first_clicks(item_seq)).sum(1)
    new = chances.scatter(1, item_seq, 0.0)
    new[:, 0] = 0
    of_new = new.sum(1)
    tiny = torch.finfo(chances.dtype).tiny
    return Chances(
        of_own / (of_own + of_new).clamp(min=tiny),
        own / of_own.clamp(min=tiny).unsqueeze(1),
        new / of_new.clamp(min=tiny).unsqueeze(1),
    )


def mix_chances(parts: Sequence[Chances], weights: Tensor, item_seq: Tensor) -> Tensor:
    """The chance of each item in a mixture.

    The chances of a repeat are averaged. Those of the session's items, and those of the others, are multiplied, each to
    the power of its weight, and divided by their sum: an item comes first where all agree on it.

    Args:
        parts: of the M models.
        weights: rows for the repeats' chance, the session's items and the others, ``[3, M]``; each adds up to 1.
        item_seq: ``[B, L]`` long.

    Returns:
        ``[B, N + 1]``, adding up to 1; 0 for padding.

    Source: linear and logarithmic opinion pools (Genest and Zidek, 1986).
    """
    where, *given = weights
    repeat = sum(weight * part.repeat for weight, part in zip(where, parts))
    own = _pooled([part.own for part in parts], given[0])
    own = own / (own * first_clicks(item_seq)).sum(1, keepdim=True).clamp(min=torch.finfo(own.dtype).tiny)
    mixed = _pooled([part.new for part in parts], given[1]).scatter_(1, item_seq, 0.0)
    mixed[:, 0] = 0
    mixed *= ((1 - repeat) / mixed.sum(1).clamp(min=torch.finfo(mixed.dtype).tiny)).unsqueeze(1)
    mixed.scatter_(1, item_seq, repeat.unsqueeze(1) * own)
    mixed[:, 0] = 0
    return mixed


def _pooled(chances: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The product of M models' chances, each to the power of its weight."""
    total = torch.zeros_like(chances[0])
    for weight, of_model in zip(weights, chances):
        total += weight * (of_model + LEAST_CHANCE).log_()
    return total.exp_()


class Candidates(NamedTuple):
    """What M models say of the items of n sessions that may come first, C per session.

    Attributes:
        repeat: chance that the next item is one of the session's, ``[n, M]``.
        chance: of each candidate, given that it is in the session, or that it is not, whichever it is, ``[n, C, M]``.
        is_own: whether it is in the session, bool ``[n, C]``.
        counts: whether it is a candidate; False for an item that stands there a second time, bool ``[n, C]``.
    """

    repeat: Tensor
    chance: Tensor
    is_own: Tensor
    counts: Tensor


def candidate_ranks(candidates: Candidates) -> Callable[[Tensor], Tensor]:
    """The rank of each session's first candidate in a mixture, among its candidates.

    The sum that :func:`mix_chances` divides by goes over items, too, that are no candidates. Of each model the sum of
    these is known; their products are taken to add up to the product of these sums, which they do where the models
    agree on how the rest is spread, and which they never exceed (Hölder's inequality).

    Args:
        candidates: the target comes first.

    Returns:
        A function of the weights ``[3, M]``, as for :func:`mix_chances`, that gives the ranks ``[n]``, 1 = best; equal
        chances share their mean rank.
    """
    chance, is_own, counts = candidates.chance, candidates.is_own, candidates.counts
    log_chance = (chance + LEAST_CHANCE).log()
    parts = []
    for taken in (counts & is_own, counts & ~is_own):
        rest = 1 - (chance * taken.unsqueeze(2)).sum(1)
        parts.append((taken, rest.clamp(min=LEAST_CHANCE).log()))

    def ranks(weights: Tensor) -> Tensor:
        repeat = (candidates.repeat @ weights[0]).unsqueeze(1)
        of_part = []
        for (taken, log_rest), of_models in zip(parts, weights[1:]):
            pooled = (log_chance @ of_models).exp()
            of_part.append(pooled / ((pooled * taken).sum(1) + (log_rest @ of_models).exp()).unsqueeze(1))
        mixed = torch.where(is_own, repeat * of_part[0], (1 - repeat) * of_part[1]).masked_fill(~counts, -1.0)
        target, others = mixed[:, :1], mixed[:, 1:]
        return 1.0 + (others > target).sum(1) + (others == target).sum(1) / 2

    return ranks


def searched_weights(candidates: Candidates, value: Callable[[Tensor], float], starts: Sequence[Tensor]) -> Tensor:
    """The weights of a mixture under which the ranks of the first candidates are worth most.

    A hill is climbed from the best start: a share of a row's weight goes to one member, or is taken from it, for as
    long as that is worth more, with smaller shares in the end. Of weights that are worth the same, the first are kept.

    Args:
        candidates: the target comes first.
        value: what ranks ``[n]`` (:func:`candidate_ranks`) are worth.
        starts: weights to begin with, ``[3, M]`` each, as for :func:`mix_chances`.

    Returns:
        ``[3, M]``; each row adds up to 1.

    Source: coordinate search (Hooke and Jeeves, 1961).
    """

    ranks = candidate_ranks(candidates)

    def worth(weights: Tensor) -> float:
        return value(ranks(weights))

    best = max(starts, key=worth)
    most = worth(best)
    for share in SHARES:
        is_better = True
        while is_better:
            is_better = False
            for row in range(len(best)):
                for moved in _moves(best[row], share):
                    weights = best.clone()
                    weights[row] = moved
                    worth_now = worth(weights)
                    if worth_now > most:
                        best, most, is_better = weights, worth_now, True
    return best


def _moves(weights: Tensor, share: float) -> Iterator[Tensor]:
    """A row of weights ``[M]`` with a share of all of them given to one member, or with a share of one's taken away."""
    for member in torch.eye(len(weights), dtype=weights.dtype, device=weights.device):
        yield (1 - share) * weights + share * member
        less = weights * (1 - share * member)
        yield less / less.sum()
