"""Rows of length 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-12


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):
        inverse = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min_(EPSILON).reciprocal_()
        unit = rows * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        unit, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(gradient, unit, dim=1).unsqueeze(1)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)


def unit_rows(rows: Tensor) -> Tensor:
    """``F.normalize(rows, dim=1)`` in half the passes over memory, which is what a whole catalogue costs.

    Args:
        rows: ``[N, d]``; a row of zeros stays one.
    """
    return _UnitRows.apply(rows)
