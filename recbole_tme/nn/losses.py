"""Losses as pure functions of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_tme.nn.scoring import padded_rows

# Columns per block when the best of a row are looked for.
BLOCK = 6
# Rows of scores that exist at one time: some 20 MB of a catalogue of 40,000 items, in either precision.
CHUNK_ROWS = {torch.float32: 128, torch.bfloat16: 256}
# Well above where float32 and bfloat16 lose digits to denormal numbers.
SAFE_CHANCE = 1e-30


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Forms the gradients in the forward pass, a chunk of sessions at a time.

    The ``[B, N]`` scores, their softmax and the softmax's gradient are the largest tensors of a training step by two
    orders of magnitude; here only a chunk of rows of one of them exists at any time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        sessions: Tensor,
        table: Tensor,
        target: Tensor,
        top: int,
        excluded: Tensor | None,
        weight: Tensor,
        precision: torch.dtype,
        with_padding: bool,
    ) -> tuple[Tensor, Tensor]:
        need_sessions, need_table = ctx.needs_input_grad[:2]
        factor, items = sessions.to(precision), table.to(precision)
        weighted = (sessions * weight.unsqueeze(1)).to(precision)
        # d loss / d scores = weight (softmax - one-hot of the target). What the target alone contributes, to the loss
        # and to the gradients, never passes through the products' precision, in which the difference would cancel.
        of_target = table[target]
        loss = -((sessions * of_target).sum(1) * weight).sum()
        grad_sessions = of_target * -weight.unsqueeze(1) if need_sessions else None
        grad_table = (
            torch.zeros_like(table).index_add_(0, target, sessions * -weight.unsqueeze(1)) if need_table else None
        )
        ranked = target.new_empty(len(sessions), top)
        chunk = CHUNK_ROWS.get(precision, CHUNK_ROWS[torch.float32])
        for start in range(0, len(sessions), chunk):
            rows = slice(start, start + chunk)
            # The columns that fill up a row are items of probability 0.
            padded = padded_rows(len(factor[rows]), len(items), items)
            padded[:, len(items) :] = -torch.inf
            scores = torch.mm(factor[rows], items.T, out=padded[:, : len(items)])
            row = torch.arange(len(scores), device=scores.device)
            if excluded is not None:
                # Not scatter_, which copies all of a bfloat16 tensor.
                scores[row.unsqueeze(1), excluded[rows]] = -torch.inf
            if not with_padding:
                scores[:, 0] = -torch.inf
            if top:
                # In place and back: a copy of the scores would cost as much as ranking them.
                score = scores[row, target[rows]]
                scores[row, target[rows]] = -torch.inf
                ranked[rows] = top_columns(scores, top)
                scores[row, target[rows]] = score
            probability = padded.softmax(1)[:, : len(items)]
            loss += (log_normaliser(scores, probability, target[rows]).to(table.dtype) * weight[rows]).sum()
            if grad_sessions is not None:
                grad_sessions[rows] += (probability @ items) * weight[rows].unsqueeze(1)
            if grad_table is not None:
                accumulate_product(grad_table, probability.T, weighted[rows])
        ctx.save_for_backward(grad_sessions, grad_table)
        ctx.mark_non_differentiable(ranked)
        return loss, ranked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _grad_ranked: None) -> tuple[Tensor | None, ...]:
        grad_sessions, grad_table = ctx.saved_tensors
        return (
            None if grad_sessions is None else grad_sessions * grad_loss,
            None if grad_table is None else grad_table * grad_loss,
            *[None] * 6,
        )


def log_normaliser(scores: Tensor, probability: Tensor, column: Tensor) -> Tensor:
    """The logarithm of each row's sum of exponentials, ``[B]`` in at least float32, from scores and their softmax.

    Every pass over the scores costs, so it is read off one of a row's items: ``column``, or the most probable one where
    that may have underflowed; on a GPU, where to ask would wait for the device, always the most probable.

    Args:
        scores, probability: ``[B, N]``.
        column: an item of each row, ``[B]`` long.
    """
    row = torch.arange(len(scores), device=scores.device)
    score, chance = scores[row, column], probability[row, column]
    if scores.device.type != "cpu" or bool((chance < SAFE_CHANCE).any()):
        score, chance = scores.amax(1), probability.amax(1)
    wide = torch.promote_types(scores.dtype, torch.float32)
    return score.to(wide) - chance.to(wide).log()


def accumulate_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` to ``total`` in place, whose precision may be higher than the factors'."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def top_columns(scores: Tensor, top: int, in_order: bool = True) -> Tensor:
    """Columns of each row's highest scores; equals ``scores.topk(top).indices`` up to ties.

    A selection costs several passes, so that it is made among the maxima of blocks of columns first, and among those
    in the same way: the best ``top`` scores lie in the ``top`` blocks with the best maxima.

    Args:
        scores: ``[B, N]``.
        top: at most N.
        in_order: best first; else in any order.

    Returns:
        ``[B, top]`` long.
    """
    n_blocks = scores.shape[1] // BLOCK
    if n_blocks <= 2 * top:
        return scores.topk(top, dim=1, sorted=in_order).indices
    in_blocks = n_blocks * BLOCK
    # Block j holds columns j, j + n_blocks, ..., so that its maximum is taken over whole rows of memory.
    blocks = top_columns(scores[:, :in_blocks].unflatten(1, (BLOCK, n_blocks)).amax(1), top, in_order=False)
    offsets = torch.arange(BLOCK, device=scores.device) * n_blocks
    columns = (blocks.unsqueeze(2) + offsets).flatten(1)
    rest = torch.arange(in_blocks, scores.shape[1], device=scores.device)
    columns = torch.cat([columns, rest.expand(len(scores), -1)], dim=1)
    return columns.gather(1, scores.gather(1, columns).topk(top, dim=1, sorted=in_order).indices)


def catalogue_cross_entropy(
    sessions: Tensor,
    table: Tensor,
    target: Tensor,
    top: int = 0,
    excluded: Tensor | None = None,
    weight: Tensor | None = None,
    precision: torch.dtype | None = None,
    with_padding: bool = False,
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
        precision: of the three large products' factors, such as ``torch.bfloat16``; sums are kept in the table's own.
            None: the table's own throughout.
        with_padding: let row 0 take part as if it were an item, which it does in RecBole's own models.

    Returns:
        The mean loss (scalar) and ``[B, top]`` item ids by descending score, the target and padding left out. The
        ranking comes out of the scores the loss needs anyway, so that mining by rank costs no second product.
    """
    # Mixed precision stops here: sums of exponentials over a catalogue need the table's own precision.
    with torch.autocast(device_type=sessions.device.type, enabled=False):
        rows = sessions.new_ones(len(sessions), dtype=table.dtype) if weight is None else weight.to(table.dtype)
        rows = rows / len(sessions)
        sessions = sessions.to(table.dtype)
        found: tuple[Tensor, Tensor] = _CatalogueCrossEntropy.apply(  # type: ignore[no-untyped-call]
            sessions, table, target, top, excluded, rows, precision or table.dtype, with_padding
        )
        return found


def smooth_rank(scores: Tensor, target: Tensor, width: float) -> Tensor:
    r"""The rank of each row's target with smooth steps: :math:`1 + \sum_{j \ne t} \sigma((s_j - s_t) / w)`.

    Args:
        scores: of all items, ``[B, N]``.
        target: columns, ``[B]`` long.
        width: of a step, w, in the unit of the scores; the smaller, the closer to the rank.

    Returns:
        ``[B]``, from 1 to N.

    Source: Qin, Liu and Li, "A general approximation framework for direct optimization of information retrieval
    measures", Information Retrieval 13 (2010).
    """
    gaps = scores - scores.gather(1, target.unsqueeze(1))
    # The target itself adds a half.
    return 0.5 + torch.sigmoid(gaps / width).sum(1)


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
    to_positive: Tensor = torch.linalg.vector_norm(anchor - positive, dim=-1, keepdim=True)
    to_negatives: Tensor = torch.linalg.vector_norm(anchor.unsqueeze(1) - negatives, dim=-1)
    return (to_positive - to_negatives + margin).clamp(min=0).sum(1).mean()
