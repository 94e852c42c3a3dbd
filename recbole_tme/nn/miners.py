"""Miners choose negatives by what the model scores highly now."""

from __future__ import annotations

import torch
from torch import Tensor


def clamp_window(low: int, high: int, n_negatives: int, n_candidates: int) -> tuple[int, int]:
    """Fit the rank window ``low .. high - 1`` into a catalogue.

    Args:
        low, high: wanted window, 0-based ranks, ``high`` exclusive.
        n_negatives: how many ranks will be drawn from it.
        n_candidates: items that can be ranked (the catalogue without the target).

    Returns:
        The clamped ``(low, high)``: inside the catalogue and, where it is large enough, wide enough for the draw.
    """
    high = min(high, n_candidates)
    low = max(0, min(low, high - n_negatives))
    return low, high


def scale_window(low: int, high: int, share: float) -> tuple[int, int]:
    """The ranks in a random subset of the catalogue that stand for the ranks ``low .. high - 1`` in all of it.

    Args:
        low, high: 0-based ranks, ``high`` exclusive.
        share: the subset's share of the catalogue, in (0, 1].

    Returns:
        The scaled ``(low, high)``, one rank wide at least.
    """
    low = round(low * share)
    return low, max(low + 1, round(high * share))


def draw_from_window(ranked: Tensor, low: int, n_negatives: int) -> Tensor:
    """Draw items per session without replacement, uniformly over the ranks of a window.

    Args:
        ranked: items by descending score, ``[B, high]`` long, the target and padding already left out.
        low: first rank that may be drawn (0 = the highest score).
        n_negatives: draws per session; all of the window where it holds fewer.

    Returns:
        ``[B, min(n_negatives, high - low)]`` long.
    """
    window = ranked[:, low:]
    # The n largest of independent uniforms are a draw without replacement, for all sessions at once.
    order = torch.rand(window.shape, device=ranked.device).topk(min(n_negatives, window.shape[1]), dim=1).indices
    return window.gather(1, order)


def self_adaptive_negatives(
    candidates: Tensor, target: Tensor, allowed: Tensor, alpha: float, beta: float, power: float
) -> Tensor:
    r"""Pick each session's negative by how hard it should be for this session now.

    The candidate whose score is closest to :math:`\beta (f(s, y) + \alpha)^{p + 1}` is taken, so that with p < -1 the
    hardness that is wanted falls as the target's own score f(s, y) rises.

    Args:
        candidates: scores of the candidates, ``[B, M]``.
        target: score of the target, ``[B]``, on the same scale.
        allowed: False where a candidate is the target or in the session, ``[B, M]`` bool.
        alpha, beta, power: of the formula; the base is kept at 1e-3 or more.

    Returns:
        Column of the chosen candidate, ``[B]`` long; any where none is allowed.

    Source: a re-implementation from the abstract of DANSeR (Chen et al., 2025); the rule is AHNS's (Lai et al., 2024).
    """
    wanted = beta * (target + alpha).clamp(min=1e-3) ** (power + 1)
    distance = (candidates - wanted.unsqueeze(1)).abs()
    return distance.masked_fill(~allowed, torch.inf).argmin(dim=1)
