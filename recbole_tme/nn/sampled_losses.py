"""Cross entropy over catalogues too large to score: a few rows of the item table per step, and gradients of those rows.

Every gradient towards the table is sparse; :class:`recbole_tme.nn.row_optim.RowAdam` updates such a table.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Numbers (bucket, item) that exist at once while buckets choose their items.
BUCKET_CHUNK = 2**24


def sampled_cross_entropy(
    sessions: Tensor,
    table: Tensor,
    target: Tensor,
    n_sampled: int,
    share: Tensor | None = None,
    excluded: Tensor | None = None,
    weight: Tensor | None = None,
    unit: bool = False,
) -> Tensor:
    r"""Cross entropy against sampled negatives, the same for all sessions of a batch, with the logQ correction.

    The negatives are ``n_sampled`` items drawn uniformly and, with ``share``, the other sessions' targets. A negative
    j that is drawn with probability q_j enters the softmax with the score :math:`z_j - \log q_j`, so that the sum of
    exponentials, and its gradient, equal the whole catalogue's in expectation; the target is always there and is not
    corrected. With every item drawn this is the full softmax. A session's target is never its own negative, and items
    that are drawn twice count once.

    Args:
        sessions: session vectors, ``[B, d]``.
        table: item embeddings, ``[N + 1, d]``; row 0 is padding and takes no part.
        target: item ids 1..N, ``[B]`` long.
        n_sampled: uniform draws, without replacement; all items where there are no more.
        share: share of each item among the training targets, ``[N + 1]``; None for uniform negatives alone. Batches
            are taken for independent draws from it, which sessions that give a batch several prefixes are not quite.
        excluded: items left out of each row's softmax, ``[B, n]`` long, filled up with 0; never the row's target.
        weight: of each row's loss, ``[B]``; the mean is over all B rows.
        unit: score with the direction of an item's embedding, its length set to 1.

    Returns:
        The mean loss, a scalar.

    Source: importance sampling for softmax (Bengio & Senecal, 2008), with the correction of negatives only as in
    Blanc & Rendle (ICML 2018); in-batch and uniform negatives mixed as in Yang et al. (WWW 2020).
    """
    # Mixed precision stops here: sums of exponentials over a catalogue need the table's own precision.
    with torch.autocast(device_type=sessions.device.type, enabled=False):
        bounds = strata(len(table) - 1, n_sampled, target.device)
        negatives = draw(bounds)
        # Repeated items stay, with weight 0: to drop them, a GPU would have to say how many remain.
        candidates = torch.cat([target, negatives]).sort().values
        own = torch.searchsorted(candidates, target)
        chance = 1 / widths(bounds)[torch.searchsorted(bounds, candidates, right=True) - 1].to(table.dtype)
        if share is None:
            nearest = torch.searchsorted(negatives, candidates).clamp(max=len(negatives) - 1)
            chance = chance.masked_fill(negatives[nearest] != candidates, torch.inf)
        else:
            # By one of the two ways at least; a row's own target is no draw for that row.
            chance = 1 - (1 - chance) * (1 - share[candidates].to(table.dtype)) ** (len(target) - 1)
        chance[1:].masked_fill_(candidates[1:] == candidates[:-1], torch.inf)
        sessions = sessions.to(table.dtype)
        vectors = F.embedding(candidates, table, sparse=True)
        if unit:
            vectors = F.normalize(vectors, dim=1)
        scores = torch.addmm(-chance.log(), sessions, vectors.T)
        of_target = (sessions * vectors[own]).sum(1, keepdim=True)
        scores = scores.scatter(1, own.unsqueeze(1), of_target)
        if excluded is not None:
            scores = scores.masked_fill(_columns_of(excluded, candidates), -torch.inf)
        losses = F.cross_entropy(scores, own, reduction="none")
        return (losses if weight is None else losses * weight.to(losses.dtype)).mean()


def _columns_of(items: Tensor, candidates: Tensor) -> Tensor:
    """Which candidates, ascending, are among each row's items, ``[B, n]`` -> ``[B, n_candidates]`` bool."""
    column = torch.searchsorted(candidates, items).clamp(max=len(candidates) - 1)
    # What is not there is noted in a column of its own, which is dropped.
    column = column.masked_fill(candidates[column] != items, len(candidates))
    found = torch.zeros(len(items), len(candidates) + 1, dtype=torch.bool, device=items.device)
    return found.scatter_(1, column, True)[:, :-1]


def bucketed_cross_entropy(
    sessions: Tensor, table: Tensor, target: Tensor, n_buckets: int, bucket_sessions: int, bucket_items: int
) -> Tensor:
    """Scalable cross entropy: softmax within buckets of sessions and items that lie in the same direction.

    Each bucket has a direction, a random combination of the batch's sessions, and takes the ``bucket_sessions``
    sessions and the ``bucket_items`` items that reach furthest along it: hard negatives for those sessions. A session
    in several buckets counts with its largest loss, one in none does not count. A session's target is never its own
    negative. One bucket that holds everything is the full softmax.

    Args:
        sessions: session vectors, ``[B, d]``.
        table: item embeddings, ``[N + 1, d]``; row 0 is padding and takes no part.
        target: item ids 1..N, ``[B]`` long.
        n_buckets: buckets, drawn again at each call.
        bucket_sessions, bucket_items: sessions and items of each; all of them where there are no more.

    Returns:
        The mean loss over the sessions that are in a bucket, a scalar.

    Source: Mezentsev et al., "Scalable Cross-Entropy Loss for Sequential Recommendations with Large Item Catalogs"
    (RecSys 2024), with its mixed directions.
    """
    with torch.autocast(device_type=sessions.device.type, enabled=False):
        sessions = sessions.to(table.dtype)
        with torch.no_grad():
            directions = torch.randn(n_buckets, len(sessions), device=table.device, dtype=table.dtype) @ sessions
            members = (directions @ sessions.T).topk(min(bucket_sessions, len(sessions)), dim=1).indices
            items = furthest_items(directions, table, min(bucket_items, len(table) - 1))
        negatives = sessions[members] @ F.embedding(items, table, sparse=True).transpose(1, 2)
        is_target = items.unsqueeze(1) == target[members].unsqueeze(2)
        of_target = (sessions * F.embedding(target, table, sparse=True)).sum(1)[members].unsqueeze(2)
        scores = torch.cat([of_target, negatives.masked_fill(is_target, -torch.inf)], dim=2)
        losses = (scores.logsumexp(dim=2) - of_target.squeeze(2)).view(-1)
        members = members.view(-1)
        largest = losses.new_zeros(len(sessions)).scatter_reduce(0, members, losses, "amax", include_self=False)
        counted = torch.zeros_like(largest).index_fill_(0, members, 1.0)
        return largest.sum() / counted.sum()


@torch.no_grad()
def furthest_items(directions: Tensor, table: Tensor, n: int) -> Tensor:
    """The ``n`` items with the largest inner product with each direction, ``[n_buckets, n]`` long; never padding.

    Args:
        directions: ``[n_buckets, d]``.
        table: ``[N + 1, d]``.
        n: at most N.
    """
    chosen = []
    for part in directions.split(max(1, BUCKET_CHUNK // len(table))):
        reach = part @ table.T
        reach[:, 0] = -torch.inf
        chosen.append(reach.topk(n, dim=1).indices)
    return torch.cat(chosen)


@torch.no_grad()
def rank_in_subset(sessions: Tensor, table: Tensor, target: Tensor, n_subset: int, top: int) -> Tensor:
    """Best-scored items of each session within a uniform random subset of the catalogue, one subset for all.

    An item of rank r among the ``n_subset`` stands for one of rank r N / ``n_subset`` in the catalogue.

    Args:
        sessions: ``[B, d]``.
        table: ``[N + 1, d]``; row 0 is padding.
        target: ``[B]`` long, left out of each session's ranking.
        n_subset: items in the subset, at most N.
        top: how many to return, at most ``n_subset - 1``.

    Returns:
        Item ids by descending score, ``[B, top]`` long.
    """
    subset = draw(strata(len(table) - 1, n_subset, target.device))
    scores = sessions.to(table.dtype) @ table[subset].T
    scores.masked_fill_(subset == target.unsqueeze(1), -torch.inf)
    return subset[scores.topk(top, dim=1).indices]


def strata(n_items: int, n: int, device: torch.device | None = None) -> Tensor:
    """Ids 1..``n_items`` cut into ``min(n, n_items)`` runs whose lengths differ by one at most.

    One item drawn from each run is a uniform sample without replacement in time of the sample, not of the catalogue.

    Returns:
        Run k is ``bounds[k] .. bounds[k + 1] - 1``; long, one more than there are runs.
    """
    n = min(n, n_items)
    return torch.arange(n + 1, device=device) * n_items // n + 1


def widths(bounds: Tensor) -> Tensor:
    """Items in each run of :func:`strata`."""
    return bounds[1:] - bounds[:-1]


def draw(bounds: Tensor) -> Tensor:
    """One item, uniformly, of each run of :func:`strata`, ascending."""
    # In double: a float32 uniform times a width may round up to the width.
    uniform = torch.rand(len(bounds) - 1, dtype=torch.double, device=bounds.device)
    return bounds[:-1] + (uniform * widths(bounds)).long()
