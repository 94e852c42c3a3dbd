"""Losses as pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ROWS = 128


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Forms the gradients in the forward pass, a chunk of sessions at a time.

    The ``[B, N]`` scores, their softmax and the softmax's gradient are the largest tensors of a training step by two
    orders of magnitude; here only ``CHUNK_ROWS`` rows of one of them exist at any time.
    """

    @staticmethod
    def forward(ctx, sessions, table, target, top, excluded, weight):
        need_sessions, need_table = ctx.needs_input_grad[:2]
        loss = sessions.new_zeros(())
        grad_sessions = torch.empty_like(sessions) if need_sessions else None
        grad_table = torch.zeros_like(table) if need_table else None
        ranked = target.new_empty(len(sessions), top)
        for start in range(0, len(sessions), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            wanted = target[rows].unsqueeze(1)
            scores = sessions[rows] @ table.T
            if excluded is not None:
                scores.scatter_(1, excluded[rows], -torch.inf)
            scores[:, 0] = -torch.inf
            if top:
                # In place and back: a copy of the scores would cost as much as ranking them.
                of_target = scores.gather(1, wanted)
                ranked[rows] = scores.scatter_(1, wanted, -torch.inf).topk(top, dim=1).indices
                scores.scatter_(1, wanted, of_target)
            # log_softmax is the one fused kernel here; every further pass over the scores costs as much as it.
            log_probability = scores.log_softmax(dim=1)
            of_row = weight[rows].unsqueeze(1)
            loss -= (log_probability.gather(1, wanted) * of_row).sum()
            if not (need_sessions or need_table):
                continue
            # d loss / d scores = weight (softmax - one-hot of the target); the row weights go into the small tensors.
            gradient = log_probability.exp_()
            gradient.scatter_add_(1, wanted, gradient.new_full(wanted.shape, -1.0))
            if need_sessions:
                torch.mul(gradient @ table, of_row, out=grad_sessions[rows])
            if need_table:
                grad_table.addmm_(gradient.T, sessions[rows] * of_row)
        ctx.save_for_backward(grad_sessions, grad_table)
        ctx.mark_non_differentiable(ranked)
        return loss, ranked

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor, _grad_ranked):
        grad_sessions, grad_table = ctx.saved_tensors
        return (
            None if grad_sessions is None else grad_sessions * grad_loss,
            None if grad_table is None else grad_table * grad_loss,
            *[None] * 4,
        )


def catalogue_cross_entropy(
    sessions: Tensor,
    table: Tensor,
    target: Tensor,
    top: int = 0,
    excluded: Tensor | None = None,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Softmax cross entropy of ``sessions @ table.T`` over the whole catalogue, without keeping the scores.

    Equals ``F.cross_entropy(sessions @ table[1:].T, target - 1)`` in value and first gradient; it cannot be
    differentiated twice.

    Args:
        sessions: session vectors, ``[B, d]``.
        table: item embeddings, ``[N + 1, d]``; row 0 is padding and takes no part.
        target: item ids 1..N, ``[B]`` long.
        top: also return this many best-scored items per session (at most N - 1).
        excluded: items left out of each row's softmax, ``[B, n]`` long, filled up with 0; never the row's target.
        weight: of each row's loss, ``[B]``; the mean is over all B rows.

    Returns:
        The mean loss (scalar) and ``[B, top]`` item ids by descending score, the target and padding left out. The
        ranking comes out of the scores the loss needs anyway, so that mining by rank costs no second product.
    """
    # Mixed precision stops here: sums of exponentials over a catalogue need the table's own precision.
    with torch.autocast(device_type=sessions.device.type, enabled=False):
        rows = sessions.new_ones(len(sessions), dtype=table.dtype) if weight is None else weight.to(table.dtype)
        rows = rows / len(sessions)
        return _CatalogueCrossEntropy.apply(sessions.to(table.dtype), table, target, top, excluded, rows)


def triplet_margin(anchor: Tensor, positive: Tensor, negatives: Tensor, margin: float) -> Tensor:
    r"""Sum over the negatives, mean over the batch, of :math:`\max(0, \|a-p\|_2 - \|a-n_k\|_2 + m)`.

    Args:
        anchor, positive: ``[B, d]``.
        negatives: ``[B, n, d]``.
        margin: in units of distance.

    Returns:
        Scalar; 0 where there are no negatives.

    Source: TME-GNN (Zhu et al., 2023), triplet mining task.
    """
    to_positive = torch.linalg.vector_norm(anchor - positive, dim=-1, keepdim=True)
    to_negatives = torch.linalg.vector_norm(anchor.unsqueeze(1) - negatives, dim=-1)
    return (to_positive - to_negatives + margin).clamp(min=0).sum(1).mean()
