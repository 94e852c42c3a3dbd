"""Chances of several models mixed into one, apart for the items of the session and for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 200
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
        """Of one item per session: the chance that it is in the session, or that it is not, whichever it is, and its
        chance given that, ``[B, 2]``."""
        is_target = item_seq == target.unsqueeze(1)
        is_repeat = is_target.any(dim=1)
        own = (self.own * is_target).amax(1)
        new = self.new.gather(1, target.unsqueeze(1)).squeeze(1)
        where = torch.where(is_repeat, self.repeat, 1 - self.repeat)
        return torch.stack([where, torch.where(is_repeat, own, new)], dim=1)


def split_chances(chances: Tensor, item_seq: Tensor) -> Chances:
    """Chances in two parts.

    Args:
        chances: of each item, at least 0, ``[B, N + 1]``; they need not add up to 1. Column 0 is not read.
        item_seq: the sessions' clicks, ``[B, L]`` long, 0 is padding.
    """
    clicked = item_seq > 0
    own = chances.gather(1, item_seq) * clicked
    same = item_seq.unsqueeze(2) == item_seq.unsqueeze(1)
    is_first = clicked & ~same.tril(-1).any(dim=2)
    of_own = (own * is_first).sum(1)
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

    Args:
        parts: of the M models.
        weights: rows for the repeats' chance, the session's items and the others, ``[3, M]``; each adds up to 1.
        item_seq: ``[B, L]`` long.

    Returns:
        ``[B, N + 1]``, 0 for padding.
    """
    repeat = sum(weight * part.repeat for weight, part in zip(weights[0], parts))
    own = sum(weight * part.own for weight, part in zip(weights[1], parts))
    mixed: Tensor = sum(weight * part.new for weight, part in zip(weights[2], parts))
    mixed *= (1 - repeat).unsqueeze(1)
    mixed.scatter_(1, item_seq, repeat.unsqueeze(1) * own)
    mixed[:, 0] = 0
    return mixed


def mixture_weights(chances: Tensor) -> Tensor:
    """The weights of a mixture under which what happened is likeliest, by expectation maximisation.

    Args:
        chances: that each of M models gave to what happened n times, ``[n, M]``; where none gave it any, it does not
            count.

    Returns:
        ``[M]``, adding up to 1; equal weights where there is nothing to learn from.
    """
    chances = chances[(chances > 0).any(dim=1)].double()
    weights = chances.new_full((chances.shape[1],), 1 / chances.shape[1])
    for _ in range(STEPS if len(chances) else 0):
        share = chances * weights
        weights = (share / share.sum(1, keepdim=True)).mean(0)
    return weights


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


def candidate_ranks(candidates: Candidates, weights: Tensor) -> Tensor:
    """The rank of each session's first candidate in a mixture, among its candidates.

    Args:
        candidates: the target comes first.
        weights: ``[3, M]``, as for :func:`mix_chances`.

    Returns:
        ``[n]``, 1 = best; equal chances share their mean rank. Infinite where the mixture gives the target no chance:
        all other items of the catalogue would share its place.
    """
    where, own, new = weights
    repeat = (candidates.repeat @ where).unsqueeze(1)
    mixed = torch.where(
        candidates.is_own, repeat * (candidates.chance @ own), (1 - repeat) * (candidates.chance @ new)
    ).masked_fill(~candidates.counts, -1.0)
    target, others = mixed[:, :1], mixed[:, 1:]
    rank = 1.0 + (others > target).sum(1) + (others == target).sum(1) / 2
    return rank.masked_fill(target.squeeze(1) <= 0, torch.inf)


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

    def worth(weights: Tensor) -> float:
        return value(candidate_ranks(candidates, weights))

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
